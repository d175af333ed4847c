"""The distances are right, and the allowance is honest: no drift is found where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.watch.drift import dkw, judged, ks, total_variation, weissman

STEPS = 200
numbers = st.lists(st.one_of(st.integers(-5, 5).map(float), st.floats(-1e6, 1e6)), min_size=1, max_size=300)


def quantiles(values: np.ndarray) -> list[float]:
    return np.quantile(values, np.linspace(0, 1, STEPS + 1), method="inverted_cdf").tolist()


def exact(a: np.ndarray, b: np.ndarray) -> float:
    points = np.union1d(a, b)
    return float(np.abs(np.searchsorted(np.sort(a), points, "right") / len(a) - np.searchsorted(np.sort(b), points, "right") / len(b)).max())


@given(numbers, numbers)
@settings(max_examples=150, deadline=None)
def test_from_quantiles_within_two_steps_of_the_exact_distance(a: list[float], b: list[float]) -> None:
    first, second = np.array(a), np.array(b)
    # a small sample's steps are larger than the profile's: each of its values is a mass of 1 / n
    rounding = 2 / STEPS + 1 / min(len(a), 10_000) + 1 / min(len(b), 10_000)
    assert abs(ks(quantiles(first), quantiles(second)) - exact(first, second)) <= rounding


def test_on_large_samples_within_the_steps() -> None:
    rng = np.random.default_rng(7)
    pairs = [(rng.normal(0, 1, 50_000), rng.normal(0.3, 1, 50_000)), (rng.integers(0, 24, 50_000).astype(float), rng.integers(2, 24, 50_000).astype(float)),
             (rng.exponential(1, 50_000), rng.exponential(1, 50_000)), (np.zeros(1000), np.zeros(1000)), (np.zeros(1000), np.ones(1000)),
             (np.where(rng.random(50_000) < 0.9, 0.0, rng.normal(0, 1, 50_000)), np.where(rng.random(50_000) < 0.8, 0.0, rng.normal(0, 1, 50_000)))]  # fmt: skip
    for a, b in pairs:
        assert ks(quantiles(a), quantiles(b)) == pytest.approx(exact(a, b), abs=2 / STEPS)


def test_identical_samples_are_at_no_distance() -> None:
    for values in (np.zeros(5), np.arange(100.0), np.array([1.0])):
        assert ks(quantiles(values), quantiles(values)) == 0.0


def test_the_allowance_holds_at_its_level() -> None:
    """Of 400 pairs of samples of one distribution none is further apart than both allowances (0.01 each)."""
    rng = np.random.default_rng(1)
    for n, m in ((50, 80), (500, 2_000)):
        far = sum(exact(rng.normal(size=n), rng.normal(size=m)) > dkw(n) + dkw(m) for _ in range(200))
        assert far == 0
    shares = np.array([0.5, 0.2, 0.2, 0.1])
    for n in (100, 2_000):
        apart = [0.5 * np.abs(rng.multinomial(n, shares) / n - shares).sum() for _ in range(200)]
        assert max(apart) <= weissman(4, n) and np.mean(apart) > 0


def test_more_rows_allow_less() -> None:
    assert dkw(0) == 1.0 and dkw(100) > dkw(1_000) > dkw(1_000_000) > 0
    assert weissman(2, 1_000) < weissman(50, 1_000) <= 1.0
    assert dkw(1_000_000) < 0.002  # at a million rows chance is no excuse, and no drift of 0.01 fires at tolerance 0.1


def test_verdicts() -> None:
    assert judged("x", "ks", 0.30, 0.05, 0.1).status == "drifted"
    assert judged("x", "ks", 0.12, 0.05, 0.1).status == "ok"
    assert judged("x", "ks", 0.12, 0.15, 0.1).status == "unknown"
    assert judged("x", "ks", 0.90, 0.30, 0.1).status == "drifted"  # few rows, but chance cannot do this


def test_total_variation() -> None:
    assert total_variation({"a": 1.0}, {"a": 1.0}) == 0.0
    assert total_variation({"a": 1.0}, {"b": 1.0}) == 1.0
    assert total_variation({}, {}) == 0.0
