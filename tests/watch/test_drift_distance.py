"""The distances are right, and the allowance is honest: no drift is found where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.transform.profile import Column
from millstream.watch.drift import compare, dkw, judged, ks, total_variation, weissman

STEPS = 200
numbers = st.lists(st.one_of(st.integers(-5, 5).map(float), st.floats(-1e6, 1e6)), min_size=1, max_size=300)


def quantiles(values: np.ndarray) -> list[float]:
    return np.quantile(values, np.linspace(0, 1, STEPS + 1), method="inverted_cdf").tolist()


def exact(a: np.ndarray, b: np.ndarray) -> float:
    points = np.union1d(a, b)
    return float(
        np.abs(
            np.searchsorted(np.sort(a), points, "right") / len(a)
            - np.searchsorted(np.sort(b), points, "right") / len(b)
        ).max()
    )


@given(numbers, numbers)
@settings(max_examples=150, deadline=None)
def test_from_quantiles_within_two_steps_of_the_exact_distance(a: list[float], b: list[float]) -> None:
    first, second = np.array(a), np.array(b)
    # a small sample's steps are larger than the profile's: each of its values is a mass of 1 / n
    rounding = 2 / STEPS + 1 / min(len(a), 10_000) + 1 / min(len(b), 10_000)
    assert abs(ks(quantiles(first), quantiles(second)) - exact(first, second)) <= rounding


def test_on_large_samples_within_the_steps() -> None:
    rng = np.random.default_rng(7)
    pairs = [
        (rng.normal(0, 1, 50_000), rng.normal(0.3, 1, 50_000)),
        (rng.integers(0, 24, 50_000).astype(float), rng.integers(2, 24, 50_000).astype(float)),
        (rng.exponential(1, 50_000), rng.exponential(1, 50_000)),
        (np.zeros(1000), np.zeros(1000)),
        (np.zeros(1000), np.ones(1000)),
        (
            np.where(rng.random(50_000) < 0.9, 0.0, rng.normal(0, 1, 50_000)),
            np.where(rng.random(50_000) < 0.8, 0.0, rng.normal(0, 1, 50_000)),
        ),
    ]
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
    # At a million rows chance is not an excuse, and no drift of 0.01 fires at tolerance 0.1
    assert dkw(1_000_000) < 0.002


def test_verdicts() -> None:
    assert judged("x", "ks", 0.30, 0.05, 0.1).status == "drifted"
    assert judged("x", "ks", 0.12, 0.05, 0.1).status == "ok"
    assert judged("x", "ks", 0.12, 0.15, 0.1).status == "unknown"
    assert judged("x", "ks", 0.90, 0.30, 0.1).status == "drifted"  # few rows, but chance cannot do this


def test_total_variation() -> None:
    assert total_variation({"a": 1.0}, {"a": 1.0}) == 0.0
    assert total_variation({"a": 1.0}, {"b": 1.0}) == 1.0
    assert total_variation({}, {}) == 0.0


def shape(values: Any, nulls: int = 0) -> Column:
    values = np.asarray(values)
    if values.dtype.kind in "US":
        names, counts = np.unique(values, return_counts=True)
        return category(len(values) + nulls, {str(n): int(c) for n, c in zip(names, counts, strict=True)}, nulls=nulls)
    return Column("x", "double", "number", len(values) + nulls, nulls, quantiles=tuple(quantiles(values.astype(float))))


def category(rows: int, counts: dict[str, int], *, nulls: int = 0, complete: bool = True) -> Column:
    return Column("x", "string", "category", rows, nulls, top=tuple(counts.items()), complete=complete)


def found(old: Column, new: Column, tolerance: float = 0.1) -> dict[str, str]:
    return {d.kind: d.status for d in compare({"x": old}, {"x": new}, tolerance)}


def test_numbers_categories_nulls_and_unseen_each_drift_alone() -> None:
    rng = np.random.default_rng(5)
    same = rng.normal(size=20_000)
    assert found(shape(same), shape(rng.normal(size=20_000))) == {"nulls": "ok", "ks": "ok"}
    assert found(shape(same), shape(rng.normal(0.5, 1, 20_000))) == {"nulls": "ok", "ks": "drifted"}
    assert found(shape(same), shape(same, nulls=8_000)) == {"nulls": "drifted", "ks": "ok"}
    names = rng.choice(["a", "b", "c"], 20_000)
    assert found(shape(names), shape(rng.choice(["a", "b", "c"], 20_000))) == {
        "nulls": "ok",
        "tv": "ok",
        "unseen": "ok",
    }
    assert found(shape(names), shape(rng.choice(["a", "b", "c"], 20_000, p=[0.6, 0.2, 0.2]))) == {
        "nulls": "ok",
        "tv": "drifted",
        "unseen": "ok",
    }
    assert found(shape(names), shape(rng.choice(["a", "b", "d"], 20_000)))["unseen"] == "drifted"


def test_few_rows_are_not_enough_to_say() -> None:
    rng = np.random.default_rng(6)
    assert set(found(shape(rng.normal(size=20_000)), shape(rng.normal(size=30))).values()) == {"unknown"}
    assert found(shape(rng.normal(size=20_000)), shape(rng.normal(10, 1, 200)))["ks"] == "drifted", (
        "so far apart that 200 rows are enough"
    )


def test_a_cut_list_of_categories_is_compared_by_what_both_list() -> None:
    whole = category(100_000, {f"c{i}": 1_000 for i in range(100)})
    cut = category(100_000, {f"c{i}": 1_000 for i in range(20)}, complete=False)
    assert found(whole, cut) == {"nulls": "ok", "tv": "ok", "unseen": "ok"}
    assert "unseen" not in found(cut, whole), "what training saw is not fully listed, so nothing can be called unseen"


def test_the_furthest_comes_first_and_a_column_of_nulls_is_no_error() -> None:
    rng = np.random.default_rng(8)
    old = {
        "a": shape(rng.normal(size=9_000)),
        "b": shape(rng.normal(size=9_000)),
        "gone": shape(np.zeros(9)),
        "empty": shape(rng.normal(size=9_000)),
    }
    new = {
        "a": shape(rng.normal(size=9_000)),
        "b": shape(rng.normal(3, 1, 9_000)),
        "empty": Column("x", "double", "number", 9_000, 9_000),
    }
    told = compare(old, new, 0.1)
    assert told[0].column in ("b", "empty") and {(d.column, d.kind) for d in told if d.status == "drifted"} == {
        ("b", "ks"),
        ("empty", "nulls"),
    }
    assert "gone" not in {d.column for d in told}
