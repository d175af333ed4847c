"""`model`: a training function over a training set; its versions are tracked, registered and reproducible."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, Literal, Protocol, TypeVar

from millstream.declare.arguments import checked
from millstream.declare.event import Event
from millstream.declare.noun import Noun, Term
from millstream.declare.plain import Whole, Word
from millstream.declare.rules import Schedule
from millstream.declare.stream import Stream
from millstream.declare.table import Table
from millstream.declare.training_set import TrainingSet

E = TypeVar("E", bound=Event)
E_co = TypeVar("E_co", bound=Event, covariant=True)
Alias = Literal["champion", "challenger", "latest"]
Version = Alias | Annotated[int, Whole(1)]
Input = Literal["matrix", "frame"]
Output = Literal["auto", "probability", "predict"]
METRICS = ("auc", "brier", "log_loss", "accuracy", "rmse", "mae", "r2")
Metric = Annotated[Literal["auc", "brier", "log_loss", "accuracy", "rmse", "mae", "r2"], Word(METRICS, code="E150")]


class Matrix(Protocol):
    """Rows of one part of the split: `X` float64 [rows, columns], `y` [rows] or [rows, labels]."""

    X: Any
    y: Any


class Train(Matrix, Protocol):
    """What a training function is given.

    Attributes:
        X: float64 matrix [rows, columns]; strings are codes of a vocabulary frozen in the version; unseen and NULL are
            NaN. With `input="frame"`, a pandas frame; numbers are float64 in both, so whole numbers beyond 2^53 are
            rounded, in serving as in training.
        y: Labels of the train rows; bool labels are 0.0 and 1.0.
        valid: The valid rows, the same shape; empty without a split.
        columns: Names of X's columns.
        categorical: Indices of the columns that hold codes.
        numeric: Indices of the others.
        weight: One weight a row, all 1.0 in this version.
        seed: Give it to whatever draws at random, and training again gives the same model.
    """

    valid: Matrix
    columns: list[str]
    categorical: list[int]
    numeric: list[int]
    weight: Any
    seed: int


@dataclass(frozen=True, kw_only=True)
class ModelRef(Term, Generic[E_co]):
    """A version of a model, by alias or number, pinned to a version when something starts to use it."""

    model: Model[E_co]
    version: str

    @checked
    def over(self, spine: Stream[E_co] | Table) -> Scoring:
        """Batch scoring: each row of the spine in, one decision out."""
        return Scoring(ref=self, spine=spine)


@dataclass(frozen=True, kw_only=True)
class Scoring(Term):
    """A table's contents: a model applied to every row of a spine."""

    ref: ModelRef[Any]
    spine: Stream[Any] | Table


@dataclass(frozen=True, eq=False, kw_only=True)
class Model(Noun, Generic[E_co]):
    """See `model`. Calling it runs the plain function, untracked."""

    kind: ClassVar[str] = "model"
    on: TrainingSet[E_co]
    function: Callable[..., object]
    metrics: tuple[str, ...]
    schedule: str | None
    promote_if: str | None
    input: Input
    output: Output

    @property
    def params(self) -> dict[str, Any]:
        """The function's keyword parameters and their defaults, which are versioned."""
        parameters = list(inspect.signature(self.function).parameters.values())[1:]
        return {p.name: p.default for p in parameters}

    def upstream(self) -> tuple[Noun, ...]:
        return (self.on,)

    __iter__ = None
    """A model has versions, but is not a sequence of them."""

    @checked
    def __getitem__(self, version: Version) -> ModelRef[E_co]:
        return ModelRef(model=self, version=str(version))

    def __call__(self, train: Any, **params: Any) -> object:
        return self.function(train, **params)


@checked
def model(
    on: TrainingSet[E],
    *,
    metrics: Sequence[Metric] = (),
    schedule: Schedule | None = None,
    promote_if: str | None = None,
    input: Input = "matrix",
    output: Output = "auto",
) -> Callable[[Callable[..., object]], Model[E]]:
    """Declare a model: decorate a function `def f(train: ms.Train, *, p=default) -> object` that returns a fitted
    model.

    An edit of the function, or of what it names in the project's folder (functions, classes, modules, constants), makes
    the model stale; what no name shows (`getattr` by a computed name, a file that it reads, an installed package) does
    not.

    Args:
        on: The training set.
        metrics: Computed on the test rows (valid, without a test part): "auc", "brier", "log_loss", "accuracy", "rmse",
            "mae", "r2".
        schedule: A cron line or "@daily", for `up`.
        promote_if: E.g. "auc >= champion.auc": both versions are evaluated now on the same test rows. The first is
            promoted.
        input: "matrix" (float64), or "frame" (a pandas frame, dearer to serve).
        output: "auto": P(true) for a boolean label, else `predict`.
    """

    @checked
    def declare(function: Callable[..., object]) -> Model[E]:
        return Model(
            name=function.__name__,
            on=on,
            function=function,
            metrics=tuple(metrics),
            schedule=schedule,
            promote_if=promote_if,
            input=input,
            output=output,
            doc=function.__doc__ or "",
        )

    return declare
