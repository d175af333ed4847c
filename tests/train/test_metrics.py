"""Metrics beside scikit-learn's, and at their edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.base.errors import UsageError
from millstream.declare.model import METRICS
from millstream.train.metrics import _MEASURES, auc, measure

theirs = pytest.importorskip("sklearn.metrics")
shares = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5000001, 0.9, 1.0]) | st.floats(0, 1)),
    min_size=2,
    max_size=80,
)
numbers = st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=2, max_size=80)


@settings(max_examples=80, deadline=None)
@given(shares)
def test_probabilities_are_judged_as_sklearn_does(pairs: list[tuple[bool, float]]) -> None:
    y, p = np.array([float(a) for a, _ in pairs]), np.array([b for _, b in pairs])
    told = measure(["auc", "brier", "log_loss", "accuracy"], y, p)
    assert told["brier"] == pytest.approx(theirs.brier_score_loss(y, p), abs=1e-12)
    assert told["log_loss"] == pytest.approx(
        theirs.log_loss(y, np.clip(p, 1e-15, 1 - 1e-15), labels=[0.0, 1.0]), rel=1e-9, abs=1e-12
    )
    assert told["accuracy"] == pytest.approx(theirs.accuracy_score(y, (p >= 0.5).astype(float)))
    if 0 < y.sum() < len(y):
        assert told["auc"] == pytest.approx(theirs.roc_auc_score(y, p), abs=1e-12)
    else:
        assert math.isnan(told["auc"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40), st.sampled_from([1, 2, 4]))
def test_classes_are_judged_as_sklearn_does(pairs: list[tuple[int, int]], most: int) -> None:
    """Of two classes and of many: a class is not a probability, though 2 lies above a half as 1 does."""
    y, p = np.minimum(np.array(pairs, dtype=np.float64).T, most)
    assert measure(["accuracy"], y, p)["accuracy"] == pytest.approx(theirs.accuracy_score(y, p))


@settings(max_examples=60, deadline=None)
@given(numbers)
def test_numbers_are_judged_as_sklearn_does(pairs: list[tuple[float, float]]) -> None:
    y, p = np.array(pairs).T
    told = measure(["rmse", "mae", "r2"], y, p)
    assert told["rmse"] == pytest.approx(math.sqrt(theirs.mean_squared_error(y, p))) and told["mae"] == pytest.approx(
        theirs.mean_absolute_error(y, p)
    )
    if np.ptp(y) > 1e-6:
        assert told["r2"] == pytest.approx(theirs.r2_score(y, p), rel=1e-6, abs=1e-9)


def test_auc_of_many_ties_by_hand() -> None:
    """Of 2 x 3 pairs two are right, three tie, one is wrong: (2 + 1.5) / 6."""
    assert auc(np.array([1.0, 1.0, 0.0, 0.0, 0.0]), np.array([0.5, 0.4, 0.5, 0.4, 0.4])) == pytest.approx((2 + 1.5) / 6)


def test_rows_without_a_label_do_not_count() -> None:
    y, p = np.array([1.0, math.nan, 0.0]), np.array([0.9, 0.1, 0.2])
    assert measure(["brier"], y, p) == {"brier": pytest.approx((0.01 + 0.04) / 2)}
    assert all(math.isnan(v) for v in measure(list(METRICS), np.array([math.nan]), np.array([0.5])).values())
    assert math.isnan(measure(["r2"], np.array([2.0, 2.0]), np.array([1.0, 3.0]))["r2"])


def test_several_labels_are_named() -> None:
    y, p = np.array([[1.0, 4.0], [0.0, 6.0]]), np.array([[0.8, 5.0], [0.2, 5.0]])
    assert measure(["mae", "brier"], y, p, ["late", "minutes"]) == pytest.approx(
        {"late.mae": 0.2, "minutes.mae": 1.0, "late.brier": 0.04, "minutes.brier": 1.0}
    )


def test_an_unknown_metric_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match='no metric "gini"; there are auc, brier'):
        measure(["gini"], np.zeros(2), np.zeros(2))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", METRICS)
def test_what_is_no_number_makes_no_metric(name: str, bad: float) -> None:
    """auc would rank NaN highest, accuracy take it for false, log_loss clip an infinity."""
    y, p = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.1, 0.2, bad, 0.7])
    assert math.isnan(_MEASURES[name](y, p)) and math.isnan(measure([name], y, p)[name])
    labels = np.array([0.0, 1.0, bad, 1.0])
    assert math.isnan(_MEASURES[name](labels, np.array([0.1, 0.9, 0.2, 0.8])))
    assert math.isnan(_MEASURES[name](np.empty(0), np.empty(0)))
    several = measure([name], np.stack([y, y], 1), np.stack([p, np.array([0.1, 0.9, 0.2, 0.8])], 1), ["a", "b"])
    assert math.isnan(several[f"a.{name}"]) and not math.isnan(several[f"b.{name}"]), "the other label has its own"


def test_auc_with_nan_is_none() -> None:
    assert math.isnan(auc(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.1, 0.2, math.nan, math.nan])))


@pytest.mark.parametrize("p", [1.2, -0.1, 1 + 1e-6])
def test_the_loss_of_what_is_no_probability(p: float) -> None:
    y = np.array([0.0, 1.0])
    assert math.isnan(_MEASURES["log_loss"](y, np.array([0.5, p])))
    assert _MEASURES["log_loss"](y, np.array([0.0, 1 + 1e-12])) == pytest.approx(0, abs=1e-11), (
        "but rounding is not a lie"
    )


@pytest.mark.parametrize(
    ("offset", "scale"),
    [(0.0, 1.0), (1e9, 1.0), (1e15, 4.0), (0.0, 1e-200), (0.0, 1e-160), (0.0, 1e160), (0.0, 1e300), (-1e12, 1e-3)],
)
def test_errors_at_every_scale(offset: float, scale: float) -> None:
    random = np.random.default_rng(4)
    y = offset + scale * random.normal(0, 1, 500)
    p = y + scale * random.normal(0.1, 0.5, 500)
    first, second = (y - offset) / scale, (p - offset) / scale
    told = measure(["rmse", "mae", "r2"], y, p)
    assert told["rmse"] / scale == pytest.approx(math.sqrt(theirs.mean_squared_error(first, second)), rel=1e-9)
    assert told["mae"] / scale == pytest.approx(theirs.mean_absolute_error(first, second), rel=1e-9)
    assert told["r2"] == pytest.approx(theirs.r2_score(first, second), rel=1e-7)


@pytest.mark.parametrize("value", [0.1, 1e9 / 3, 0.0, -7.7, 1e200 / 3])
def test_labels_that_are_all_alike_have_no_r2(value: float) -> None:
    """The mean of ten times 0.1 is not 0.1: the sum of squares is 1e-33, and r2 would be -1e31."""
    y = np.full(10, value)
    assert math.isnan(_MEASURES["r2"](y, y + 1.0))


def test_every_metric_that_can_be_declared_is_measured() -> None:
    assert tuple(_MEASURES) == METRICS
