"""What a model is judged by, computed here so that no statistics package is needed to train or to watch.

References:
    auc: Mann and Whitney (1947), ties counted half; it equals the area under the ROC curve (Hanley and McNeil 1982).
    brier: Brier (1950), for probabilities of a boolean label. log_loss: probabilities are kept 1e-15 away from 0 and 1.

A label or a prediction that is NaN or infinite makes every metric NaN: no comparison with it is true, and ranking or
clipping would hide it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from millstream.base.errors import UsageError
from millstream.base.words import choices

Floats: TypeAlias = NDArray[np.float64]
Metric: TypeAlias = Callable[[Floats, Floats], float]
_LEAST, _MOST = 1e-150, 1e150  # between them squares, and sums of them, are doubles
_ALIKE = 4.0 * float(np.finfo(np.float64).eps)
_OUTSIDE = 1e-9  # a probability may be so far outside [0, 1] by rounding


def _of_numbers(metric: Metric) -> Metric:
    """NaN without rows, or when one of them is not a finite number."""

    @wraps(metric)
    def checked(y: Floats, p: Floats) -> float:
        y, p = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64)
        if not len(y) or not np.isfinite(y).all() or not np.isfinite(p).all():
            return math.nan
        with np.errstate(over="ignore", under="ignore"):
            return metric(y, p)

    return checked


def _unit(*values: Floats) -> float:
    """1; or the size of the largest number, when squares of such numbers are beyond a double."""
    top = max(float(np.max(np.abs(v))) for v in values)
    return 1.0 if top == 0.0 or _LEAST <= top <= _MOST else top


@_of_numbers
def auc(y: Floats, p: Floats) -> float:
    """Probability that a true row is scored above a false one; NaN when one of them is missing.

    >>> auc(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.4, 0.8]))
    0.875
    """
    positives = int(np.sum(y > 0.5))
    negatives = len(y) - positives
    if positives == 0 or negatives == 0:
        return math.nan
    _, place, counts = np.unique(p, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2.0  # mean rank of equal scores
    return float((np.sum(middle[place][y > 0.5]) - positives * (positives + 1) / 2.0) / (positives * negatives))


@_of_numbers
def brier(y: Floats, p: Floats) -> float:
    """Mean squared distance of the probability from what happened; 0 is perfect."""
    return float(np.mean((p - y) ** 2))


@_of_numbers
def log_loss(y: Floats, p: Floats) -> float:
    """Mean negative log likelihood, in nats; NaN when a prediction is not a probability."""
    if p.min() < -_OUTSIDE or p.max() > 1 + _OUTSIDE:
        return math.nan
    kept = np.clip(p, 1e-15, 1 - 1e-15)
    return float(-np.mean(y * np.log(kept) + (1 - y) * np.log1p(-kept)))


@_of_numbers
def accuracy(y: Floats, p: Floats) -> float:
    """Share of rows that are right: of classes (whole numbers), where the prediction is the label; of probabilities, on
    the right side of a half (0.5 says true).

    >>> accuracy(np.array([0.0, 1.0, 1.0]), np.array([0.2, 0.5, 0.4]))
    0.6666666666666666
    >>> accuracy(np.array([0.0, 1.0, 2.0, 2.0]), np.array([0.0, 2.0, 2.0, 2.0]))
    0.75
    """
    classes = bool(((y != 0) & (y != 1)).any() or ((p == np.rint(p)) & (p >= 0)).all())
    return float(np.mean(p == y if classes else (p >= 0.5) == (y > 0.5)))


@_of_numbers
def rmse(y: Floats, p: Floats) -> float:
    """Root of the mean squared error, in the label's unit."""
    unit = _unit(y, p)
    return unit * float(np.sqrt(np.mean((p / unit - y / unit) ** 2)))


@_of_numbers
def mae(y: Floats, p: Floats) -> float:
    """Mean absolute error, in the label's unit."""
    unit = _unit(y, p)
    return unit * float(np.mean(np.abs(p / unit - y / unit)))


@_of_numbers
def r2(y: Floats, p: Floats) -> float:
    """Share of the label's variance that is explained; NaN when all labels are alike (to the rounding of a double)."""
    unit = _unit(y, p)
    y, p = y / unit, p / unit
    away = y - np.mean(y)
    away -= np.mean(away)  # what the mean lost by being rounded
    spread = float(np.max(np.abs(away)))
    if spread <= _ALIKE * float(np.max(np.abs(y))):
        return math.nan
    unexplained = float(np.sum(((y - p) / spread) ** 2)) / float(np.sum((away / spread) ** 2))
    return 1.0 - unexplained if math.isfinite(unexplained) else math.nan


_MEASURES: dict[str, Metric] = {
    "auc": auc,
    "brier": brier,
    "log_loss": log_loss,
    "accuracy": accuracy,
    "rmse": rmse,
    "mae": mae,
    "r2": r2,
}


def measure(names: Sequence[str], y: Floats, p: Floats, labels: Sequence[str] = ("label",)) -> dict[str, float]:
    """Each metric; with several labels `<label>.<metric>`. Rows without a label (NaN) do not count; NaN where a counted
    number is not finite.

    Raises:
        UsageError: There is no such metric.
    """
    told: dict[str, float] = {}
    for name in names:
        if name not in _MEASURES:
            raise UsageError(f'there is no metric "{name}"; {choices(name, _MEASURES)}')
        for i, label in enumerate(labels):
            truth, said = (y, p) if len(labels) == 1 else (y[:, i], p[:, i])
            known = ~np.isnan(truth)
            value = _MEASURES[name](truth[known], said[known]) if known.any() else math.nan
            told[name if len(labels) == 1 else f"{label}.{name}"] = value
    return told
