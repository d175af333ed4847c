"""`endpoint`: a model, or experiments over models or values, behind HTTP; its decisions are one more stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, TypeVar, overload

from millstream.declare.arguments import checked
from millstream.declare.event import Event
from millstream.declare.experiment import ARM, Experiment
from millstream.declare.model import ModelRef
from millstream.declare.noun import Noun
from millstream.declare.plain import Instance
from millstream.declare.rules import Doc, Either, Items, Name
from millstream.declare.stream import Stream
from millstream.declare.table import Table

E = TypeVar("E", bound=Event)
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)


Deciding = Annotated[
    ModelRef[Any] | Experiment[Any] | Sequence[Experiment[Any]],
    Either((Instance(ModelRef), Instance(Experiment), Items(Instance(Experiment), least=1, distinct=True))),
]


@dataclass(frozen=True, eq=False, kw_only=True)
class Endpoint(Noun, Generic[E, V_co]):
    """See `endpoint`. Invariant in its request, so that a client cannot ask with another class.

    Attributes:
        model: The one model decided by, when there is no experiment.
        default: What units outside every experiment get: a `ModelRef` or a value.
    """

    kind: ClassVar[str] = "endpoint"
    model: ModelRef[Any] | None
    experiments: tuple[Experiment[Any], ...]
    default: Any
    request: type[E] | None

    @property
    def spine(self) -> Stream[Any] | Table | None:
        """The spine of the models, whose class is the body of a request; None for value arms."""
        refs = [*self.refs()]
        return refs[0].model.on.at if refs else None

    @property
    def event(self) -> type[Event] | None:
        """The class of a request."""
        spine = self.spine
        return self.request or (spine.event if isinstance(spine, Stream) else None)

    def refs(self) -> tuple[ModelRef[Any], ...]:
        """Every model version it may use, by alias."""
        named = [self.model, self.default, *(arm for e in self.experiments for arm in e.arms.values())]
        return tuple(ref for ref in named if isinstance(ref, ModelRef))

    def upstream(self) -> tuple[Noun, ...]:
        return (*self.experiments, *dict.fromkeys(ref.model for ref in self.refs()))

    @property
    def decisions(self) -> str:
        """The stream (and lake table) of its decisions."""
        return f"{self.name}_decisions"

    @property
    def outcomes(self) -> str:
        """The table of its decisions with mature outcomes and rewards."""
        return f"{self.name}_outcomes"


@overload
def endpoint(
    name: Name, decide: ModelRef[E], *, default: object = None, request: None = None, doc: Doc = ""
) -> Endpoint[E, float]: ...
@overload
def endpoint(
    name: Name,
    decide: Experiment[ModelRef[E]] | Sequence[Experiment[ModelRef[E]]],
    *,
    default: ModelRef[E] | None = None,
    request: None = None,
    doc: Doc = "",
) -> Endpoint[E, float]: ...
@overload
def endpoint(
    name: Name, decide: ModelRef[Any], *, default: object = None, request: type[E], doc: Doc = ""
) -> Endpoint[E, float]: ...
@overload
def endpoint(
    name: Name,
    decide: Experiment[ModelRef[Any]] | Sequence[Experiment[ModelRef[Any]]],
    *,
    default: ModelRef[Any] | None = None,
    request: type[E],
    doc: Doc = "",
) -> Endpoint[E, float]: ...
@overload
def endpoint(
    name: Name,
    decide: Experiment[V] | Sequence[Experiment[V]],
    *,
    default: V | None = None,
    request: type[E],
    doc: Doc = "",
) -> Endpoint[E, V]: ...
@checked
def endpoint(
    name: Name,
    decide: Deciding,
    *,
    default: Annotated[Any, ARM] = None,
    request: type[Event] | None = None,
    doc: Doc = "",
) -> Endpoint[Any, Any]:
    """Declare what answers `POST /v1/predict/{name}`.

    Makes the stream `<name>_decisions` and the table `<name>_outcomes`. The body of a request is the class of the
    models' spine; a request without an event time happens now.

    Args:
        decide: A model's version, an experiment, or several of one layer with disjoint `traffic`.
        default: What units outside every `traffic` range, and of stopped experiments, get.
        request: The class of a request, for models over a table and experiments over values; models over a stream have
            its class.
    """
    model = decide if isinstance(decide, ModelRef) else None
    experiments = () if isinstance(decide, ModelRef) else (decide,) if isinstance(decide, Experiment) else tuple(decide)
    return Endpoint(
        name=name,
        model=model,
        experiments=experiments,
        default=default if default is not None else model,
        request=request,
        doc=doc,
    )


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Decisions:
    """The stream of an endpoint's decisions, named before the endpoint exists."""

    endpoint: str

    @property
    def name(self) -> str:
        return f"{self.endpoint}_decisions"

    def __repr__(self) -> str:
        return f'ms.decisions("{self.endpoint}")'


@checked
def decisions(endpoint: Name) -> Decisions:
    """An endpoint's decisions, by its name, before it is declared.

    Nothing takes them as they are, since their columns follow from the endpoint: read `<endpoint>_decisions` in a
    table's SQL and use that table. Being read back through the log is not a circle.
    """
    return Decisions(endpoint=endpoint)
