"""What `predict` and `predict_proba` gave, as float64: one number a label, and the probability of true by the names of
the classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from millstream.base.errors import WorkFailed

Floats: TypeAlias = NDArray[np.float64]
_WORDS = {"true": 1.0, "yes": 1.0, "1": 1.0, "1.0": 1.0, "false": 0.0, "no": 0.0, "0": 0.0, "0.0": 0.0}
_ROUNDING = 1e-9  # a probability may be so far outside [0, 1]
_FIT = "fit it on train.y, whose classes are 0 and 1"


def classes_of(fitted: Any) -> Any:
    """`classes_` of the object, or of a pipeline's last step; None when there is none."""
    found = getattr(fitted, "classes_", None)
    steps = getattr(fitted, "steps", None)
    if found is None and isinstance(steps, list) and steps:
        found = getattr(steps[-1][-1], "classes_", None)
    return found if found is None or callable(getattr(found, "__len__", None)) else None


def by_class(fitted: Any) -> bool:
    """Whether its `predict` names classes, where its `predict_proba` tells probabilities."""
    return hasattr(fitted, "predict_proba") or classes_of(fitted) is not None


def plain(classes: Any) -> bool:
    """Whether the classes are those of a boolean in their usual order, so that the second column is P(true)."""
    return [_truth(one) for one in classes] == [0.0, 1.0]


def numbers(told: Any, what: str) -> Floats:
    """As float64.

    Raises:
        WorkFailed: A value is hidden by a mask, has an imaginary part, or is text or a time.
    """
    if np.ma.isMaskedArray(told) and np.ma.is_masked(told):
        raise WorkFailed(
            f"{what} answers {int(np.sum(np.ma.getmaskarray(told))):,} values that are masked, so not known; fill them:"
            " .filled(...)"
        )
    made = np.asarray(told)
    if made.dtype.kind == "c":
        raise WorkFailed(f"{what} answers complex numbers ({made.dtype}); return real ones, e.g. .real")
    if made.dtype.kind in "SUmMV":
        raise WorkFailed(f"{what} answers {made.dtype}, and a prediction is a number; {_FIT}, or return numbers")
    try:
        return np.asarray(made, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise WorkFailed(f"{what} answers what is not an array of numbers: {error}") from None


def probabilities(told: Any, classes: Any, labels: int, what: str) -> Floats:
    """P(true) of each row [rows], or of each row and label [rows, labels].

    Args:
        told: What `predict_proba` gave: one array, or (sklearn's classifiers of several outputs) a list of one a label.
        classes: `classes_` as it is, a list of one a label then; None when there is none.

    Raises:
        WorkFailed: It is not of two classes, or they cannot be told apart.
    """
    if isinstance(told, list):
        each = classes if isinstance(classes, list) and len(classes) == len(told) else [None] * len(told)
        return np.stack([_true(numbers(one, what), own, what) for one, own in zip(told, each, strict=True)], axis=1)
    made = numbers(told, what)
    # P(true) already: of the label, or of each of several
    if made.ndim != 2 or (labels > 1 and made.shape[1] == labels):
        return made
    return _true(made, classes, what)


def outside(said: Floats) -> int | None:
    """The first row with a number that is not a probability."""
    wrong = ((said < -_ROUNDING) | (said > 1 + _ROUNDING)).reshape(len(said), -1).any(axis=1)
    return int(np.argmax(wrong)) if wrong.any() else None


def _true(told: Floats, classes: Sequence[Any] | None, what: str) -> Floats:
    columns = told.shape[1] if told.ndim == 2 else 0
    # Its train rows had one label only; which column that is, is told differently by each library
    if classes is not None and len(classes) == 1:
        return np.full(len(told), _known(classes[0], classes, what))
    if columns != 2 or (classes is not None and len(classes) != 2):
        named = f" (its classes_ are {_shown(classes)})" if classes is not None else ""
        raise WorkFailed(f"{what} has {columns} column(s){named}, and a boolean has two: false and true; {_FIT}")
    if classes is None:
        return told[:, 1]
    truths = [_known(one, classes, what) for one in classes]
    if truths[0] == truths[1]:
        raise WorkFailed(f"{what}: which of its classes_ {_shown(classes)} is true is not known; {_FIT}")
    return told[:, truths.index(1.0)]


def _known(one: Any, classes: Sequence[Any], what: str) -> float:
    found = _truth(one)
    if found is None:
        raise WorkFailed(f"{what}: which of its classes_ {_shown(classes)} is true is not known; {_FIT}")
    return found


def _truth(one: Any) -> float | None:
    """1.0 for True, 1 and "yes", 0.0 for False, 0 and "no"; None for any other class."""
    if isinstance(one, str):
        return _WORDS.get(one.strip().lower())
    try:
        number = float(one)
    except (TypeError, ValueError):
        return None
    return number if number in (0.0, 1.0) else None


def _shown(classes: Sequence[Any]) -> str:
    return ", ".join(str(one) for one in list(classes)[:5]) + (", ..." if len(classes) > 5 else "")
