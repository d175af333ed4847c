"""A fitted model as a function: of a matrix for evaluation, of one row for serving; stored natively where that is
faster or safer.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from millstream import stored
from millstream.base.errors import UsageError, WorkFailed
from millstream.base.theirs import pass_on
from millstream.train import answers
from millstream.train.compiled import BoosterScorer, LinearScorer

Floats: TypeAlias = NDArray[np.float64]
PICKLE, BOOSTER = "model.pkl", "model.lgb.txt"
_ALIKE = 1e-12
# What cloudpickle stores by value is one set for the process: two models trained at once share their module
_ONE = threading.Lock()


class Scorer(Protocol):
    """`form` names the way: "lightgbm", "linear", "sklearn", "frame"."""

    form: str

    def matrix(self, X: Any) -> Floats:
        """[rows], or [rows, labels]."""
        ...

    def row(self, x: Any) -> Any:
        """Of one row [columns]: a float, or an array of one a label."""
        ...


class PlainScorer:
    """Any object with `predict` (and `predict_proba`), called as it is."""

    form = "sklearn"

    def __init__(self, fitted: Any, probability: bool, labels: int = 1) -> None:
        self.fitted, self.probability, self.labels = fitted, probability, labels

    def matrix(self, X: Any) -> Floats:
        name = type(self.fitted).__name__
        if not self.probability:
            return answers.numbers(self.fitted.predict(X), f"predict() of {name}")
        return answers.probabilities(
            self.fitted.predict_proba(X), answers.classes_of(self.fitted), self.labels, f"predict_proba() of {name}"
        )

    def row(self, x: Any) -> Any:
        told = self.matrix(x if hasattr(x, "columns") else x.reshape(1, -1))[0]
        return float(told) if np.ndim(told) == 0 else told


def scorer(fitted: object, *, output: str, boolean: bool, place: str = "the model", labels: int = 1) -> PlainScorer:
    """How this object answers.

    Args:
        labels: How many it answers for.
        output: The model's `output`: "auto" asks for P(true) when the label is boolean.
        boolean: Whether the label is.

    Raises:
        WorkFailed: It has neither `predict` nor `predict_proba`.
        UsageError: "probability" was asked for, and it has none.
    """
    if not hasattr(fitted, "predict"):
        raise WorkFailed(f"{place} returned {type(fitted).__name__}, which has no predict(); return the fitted model")
    proba = hasattr(fitted, "predict_proba")
    if output == "probability" and not proba:
        raise UsageError(f'{place} says output="probability", and {type(fitted).__name__} has no predict_proba()')
    return PlainScorer(fitted, proba and output != "predict" and (boolean or output == "probability"), labels)


def save(
    fitted: object,
    folder: Path,
    module: str | None = None,
    *,
    native: bool = True,
    probability: bool = True,
    check: tuple[Any, Floats] | None = None,
) -> str:
    """Write it: LightGBM as its own text (read by any version of it), all else by cloudpickle. Returns the file's name.

    Args:
        native: Whether LightGBM's own text will do (a model of frames keeps its frame).
        probability: Whether the model is asked for P(true): the text of a classifier knows no other answer.
        check: Rows and what the model says of them: a text that says anything else is not used.
        module: The user's module: classes defined there, and in other modules of its folder, are stored by value, so a
            version outlives a change of the files. What is Millstream's is stored by a name that no room is part of
            (`millstream.stored`).
    """
    booster = _booster(fitted, probability) if native else None
    if booster is not None:
        best = getattr(fitted, "best_iteration_", None) or booster.best_iteration
        text = booster.model_to_string(num_iteration=best if best and best > 0 else None)
        if check is None or np.allclose(BoosterScorer(text).matrix(check[0]), check[1], rtol=_ALIKE, atol=_ALIKE):
            (folder / BOOSTER).write_text(text)
            return BOOSTER
    held = sys.modules.get(module) if module else None
    with _ONE:
        try:
            told = _dumped(fitted, project_modules(held))
        except Exception:
            # Something that a helper holds cannot be stored; the rows that are checked at load tell when it changes
            try:
                told = _dumped(fitted, [held] if held is not None else [])
            except Exception as error:
                raise WorkFailed(
                    f"{type(fitted).__name__} cannot be stored, so no endpoint could load it: {type(error).__name__}:"
                    f" {error}; keep what is open (files, locks, connections) out of the model, or open it in predict()"
                ) from error
    (folder / PICKLE).write_bytes(told)
    return PICKLE


def _dumped(fitted: object, by_value: Sequence[ModuleType]) -> bytes:
    import cloudpickle  # type: ignore[import-untyped,unused-ignore]

    try:
        for module in by_value:
            cloudpickle.register_pickle_by_value(module)
        return stored.dumps(fitted)
    finally:
        for module in by_value:
            with suppress(ValueError):
                cloudpickle.unregister_pickle_by_value(module)


def project_modules(module: ModuleType | None) -> list[ModuleType]:
    """The module, and all others that were imported from its folder: a version must not change with any of them."""
    file = getattr(module, "__file__", None)
    if module is None or file is None:
        return [] if module is None else [module]
    home = Path(file).resolve().parent
    found = [module]
    for name, other in list(sys.modules.items()):
        path = getattr(other, "__file__", None)
        if other is module or not path or name == "__main__" or name.partition(".")[0] == "millstream":
            continue
        inside = Path(path).resolve()
        if inside.is_relative_to(home) and not {"site-packages", "dist-packages"} & set(inside.relative_to(home).parts):
            found.append(other)
    return found


def load(
    folder: Path,
    file: str,
    *,
    probability: bool,
    check: tuple[Floats, Floats] | None = None,
    frame: bool = False,
    labels: int = 1,
) -> Scorer:
    """The stored model, in its fastest form that gives the stored predictions.

    Args:
        check: Test rows [n, columns] and what the model said of them when it was trained.

    Raises:
        WorkFailed: It cannot be read, e.g. because a library is missing.
    """
    if file == BOOSTER:
        return BoosterScorer((folder / file).read_text(), check)
    try:
        fitted = stored.loads((folder / file).read_bytes())
    except BaseException as error:
        pass_on(error)
        raise WorkFailed(f"the stored model {folder / file} cannot be read: {type(error).__name__}: {error}") from error
    plain = PlainScorer(fitted, probability, labels)
    if frame:
        plain.form = "frame"
        return plain
    return LinearScorer.of(fitted, probability=probability, check=check, else_=plain) or plain


def _booster(fitted: Any, probability: bool) -> Any:
    """The LightGBM booster inside, when its raw prediction is what the wrapper is asked for: binary P(true), or a plain
    regression.
    """
    known = sys.modules.get("lightgbm")
    if known is None or not any(kind.__module__.partition(".")[0] == "lightgbm" for kind in type(fitted).__mro__):
        return None  # another thread may be in the middle of importing it: only a model of it is sure that it is whole
    booster = (
        fitted
        if isinstance(fitted, known.Booster)
        else getattr(fitted, "booster_", None)
        if isinstance(fitted, known.LGBMModel)
        else None
    )
    if booster is None or booster.num_model_per_iteration() != 1:
        return None
    if isinstance(fitted, known.Booster) or not answers.by_class(fitted):
        return booster
    return booster if probability and answers.plain(answers.classes_of(fitted)) else None
