"""What drift could not see: long lists of categories, columns that are not numbers any more, other types, numbers at
the ends of a double.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millstream.base.registry import engine
from millstream.transform.buckets import BUCKETS, bucket, bucketed, of_listed
from millstream.transform.port import Sql
from millstream.transform.profile import profile
from millstream.watch.drift import Distance, compare, ks, missing_mass

stats = pytest.importorskip("scipy.stats")


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sql]:
    made = engine("sql", "duckdb")("duckdb:?threads=2", tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


def distances(sql: Sql, old: Any, new: Any, tolerance: float = 0.1) -> dict[str, Distance]:
    """Of one column as the monitor compares it."""
    tables = [
        pa.table({"x": values if isinstance(values, pa.Array) else pa.array(values, from_pandas=False)})
        for values in (old, new)
    ]
    made = [profile(sql, table) for table in tables]
    before, after = ({c.name: c for c in one.columns} for one in made)
    counted = (bucketed(sql, tables[0], made[0]), bucketed(sql, tables[1], made[1]))
    return {d.kind: d for d in compare(before, after, tolerance, counted)}


def drifted(found: dict[str, Distance]) -> set[str]:
    return {kind for kind, d in found.items() if d.status == "drifted"}


def names(rng: np.random.Generator, n: int, categories: int, first: int = 0, skew: float = 0.0) -> list[str]:
    weights = (1.0 / np.arange(1, categories + 1)) ** skew
    return [f"c{first + i}" for i in rng.choice(categories, n, p=weights / weights.sum())]


# Categories


def test_a_heavy_category_replaced_beside_thousands_of_rare_ones(sql: Sql) -> None:
    rng = np.random.default_rng(1)
    old, new = (["heavy " + mark] * 12_000 + names(rng, 8_000, 3_000) for mark in "ab")
    found = distances(sql, old, new)
    assert drifted(found) == {"tv", "unseen"} and found["tv"].value >= 0.6 and found["unseen"].value >= 0.6


@pytest.mark.parametrize(("categories", "skew"), [(257, 0.0), (400, 0.0), (1000, 0.0), (1000, 1.0), (3000, 0.0)])
@pytest.mark.parametrize("replaced", ["all", "half", "moved"])
def test_many_categories_that_change(sql: Sql, categories: int, skew: float, replaced: str) -> None:
    """Each list is cut at 256, and what one cut off is not what the other did."""
    rng = np.random.default_rng(2)
    old = names(rng, 40_000, categories, skew=skew)
    if replaced == "moved":  # all the rows are now of a tenth of the categories that there were
        found = distances(sql, old, names(rng, 40_000, categories // 10, first=categories // 2))
        assert drifted(found) == {"tv"}
        return
    new = [
        f"new {name}" if replaced == "all" or int(name[1:]) % 2 else name
        for name in names(rng, 40_000, categories, skew=skew)
    ]
    found = distances(sql, old, new)
    assert "tv" in drifted(found), found
    if replaced == "all" or categories < 1000:
        assert "unseen" in drifted(found), found


@pytest.mark.parametrize("rows", [(2_000, 2_000), (40_000, 40_000), (250_000, 5_000), (5_000, 60_000)])
@pytest.mark.parametrize(
    ("categories", "skew"),
    [(200, 0.0), (257, 0.0), (512, 0.0), (3_000, 0.0), (3_000, 1.0), (100_000, 0.0), (100_000, 1.2)],
)
def test_no_drift_where_there_is_none(sql: Sql, rows: tuple[int, int], categories: int, skew: float) -> None:
    rng = np.random.default_rng(3)
    old, new = (names(rng, n, categories, skew=skew) for n in rows)
    found = distances(sql, old, new, tolerance=0.05)
    assert drifted(found) == set(), found


def test_names_that_never_come_again_are_no_drift(sql: Sql) -> None:
    """Each row has its own: all are new, and the distribution of their hashes is what it was."""
    found = distances(sql, [f"u{i}" for i in range(50_000)], [f"v{i}" for i in range(50_000)])
    assert drifted(found) == set() and found["tv"].status == "ok"


def test_a_short_list_that_grew_long_and_a_long_one_that_grew_short(sql: Sql) -> None:
    rng = np.random.default_rng(4)
    short, long = names(rng, 20_000, 50), names(rng, 20_000, 1_000, first=100)
    assert drifted(distances(sql, short, long)) == {"tv", "unseen"} == drifted(distances(sql, long, short))


def test_an_empty_text_is_a_category_of_its_own(sql: Sql) -> None:
    """It had the name of "all else" in a list that was cut."""
    rng = np.random.default_rng(5)
    rest = names(rng, 10_000, 600)
    found = distances(sql, [""] * 10_000 + rest, ["x"] * 10_000 + rest)
    assert found["tv"].value >= 0.5 and found["tv"].status == "drifted"
    assert drifted(distances(sql, [""] * 10_000 + rest, [""] * 10_000 + rest)) == set()


def test_a_bucket_is_the_same_in_sql_and_here(sql: Sql) -> None:
    texts = ["", "a", "abc", "łódź", "x" * 1000, "\0", *(f"c{i}" for i in range(600))]
    table = pa.table({"x": texts})
    counted = bucketed(sql, table, profile(sql, table))
    assert counted == {"x": of_listed(dict.fromkeys(texts, 1))} and all(0 <= bucket(t) < BUCKETS for t in texts)
    assert bucketed(sql, pa.table({"x": ["a", "b"]}), profile(sql, pa.table({"x": ["a", "b"]}))) == {}, (
        "a list that is whole needs none"
    )


def test_five_rows_have_not_seen_every_category(sql: Sql) -> None:
    rng = np.random.default_rng(6)
    found = distances(sql, ["a", "a", "b", "a", "a"], names(rng, 50_000, 3))
    assert found["unseen"].status == found["tv"].status == "unknown"
    share = np.array([0.9, 0.06, 0.03, 0.01])
    for n in (20, 200):
        unseen = [share[np.unique(rng.choice(4, n, p=share), return_counts=False)].sum() for _ in range(300)]
        assert 1 - min(unseen) <= missing_mass(4, n)


# What is not a number, and other types


NUMBERS = np.random.default_rng(7).normal(size=5_000)


@pytest.mark.parametrize(
    ("new", "kinds"),
    [
        (np.full(5_000, np.nan), {"odd"}),
        (np.full(5_000, np.inf), {"odd"}),
        (np.where(np.arange(5_000) % 2, NUMBERS, -np.inf), {"odd"}),
        (np.where(np.arange(5_000) % 50, NUMBERS, np.nan), set()),
        (pa.array([None] * 5_000, pa.float64()), {"nulls"}),
        (pa.array([str(v) for v in NUMBERS]), {"type"}),
        (pa.array([v > 0 for v in NUMBERS]), {"type"}),
        (pa.array([[v] for v in NUMBERS]), {"type"}),
        (pa.array([None] * 5_000, pa.string()), {"type", "nulls"}),
        (pa.array(np.arange(5_000), pa.timestamp("us", tz="UTC")), {"type"}),
        (pa.array(NUMBERS, pa.float32()), set()),
        (NUMBERS * 4e307, {"ks"}),
        (NUMBERS * 1e-308, {"ks"}),
    ],
)
def test_numbers_that_became_something_else(sql: Sql, new: Any, kinds: set[str]) -> None:
    assert drifted(distances(sql, NUMBERS, new)) == kinds
    assert drifted(distances(sql, new, NUMBERS)) == kinds, "and back"


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        (pa.array([True, False] * 2_000), pa.array([True] * 4_000), {"tv"}),
        (pa.array([True, False] * 2_000), pa.array(["true", "false"] * 2_000), set()),
        (pa.array([True, False] * 2_000), pa.array(["yes", "no"] * 2_000), {"tv", "unseen"}),
        (pa.array([True, False] * 2_000), pa.array([1, 0] * 2_000), {"type"}),
        (pa.array([1, 0] * 2_000), pa.array([1.0, 0.0] * 2_000), set()),
        (pa.array(range(4_000), pa.date32()), pa.array(range(4_000, 8_000), pa.date32()), set()),
        (pa.array(range(4_000), pa.date32()), pa.array([None] * 4_000, pa.date32()), {"nulls"}),
        (pa.array(range(4_000), pa.date32()), pa.array(range(4_000), pa.timestamp("us", tz="UTC")), set()),
        (pa.array(range(4_000), pa.date32()), pa.array([str(i) for i in range(4_000)]), {"type"}),
        (pa.array(["a", "b"] * 2_000), pa.array(["a", "b"] * 2_000).dictionary_encode(), set()),
        (pa.array([[1]] * 4_000), pa.array([None] * 4_000, pa.list_(pa.int64())), {"nulls"}),
    ],
)
def test_booleans_dates_and_types(sql: Sql, old: Any, new: Any, kinds: set[str]) -> None:
    assert drifted(distances(sql, old, new)) == kinds


@pytest.mark.parametrize(
    ("offset", "scale"),
    [(0.0, 1.0), (1e9, 1.0), (1e15, 8.0), (0.0, 1e300), (0.0, 2e307), (0.0, 1e-300), (-1e200, 1e190)],
)
def test_the_distance_of_numbers_is_scipys_at_every_scale(sql: Sql, offset: float, scale: float) -> None:
    rng = np.random.default_rng(8)
    old, new = offset + scale * rng.normal(0, 1, 20_000), offset + scale * rng.normal(0.5, 1, 20_000)
    truth = stats.ks_2samp(old, new).statistic
    found = distances(sql, old, new)["ks"]
    assert found.value == pytest.approx(truth, abs=2 / 256) and found.status == "drifted"
    assert distances(sql, old, old)["ks"].value == 0.0


def test_ends_of_a_double_are_a_distance_apart() -> None:
    low, high = [-1.7e308, 0.0, 1.7e308], [-1.7e308, 1.7e308, 1.7e308]
    assert ks(low, high) == pytest.approx(0.5) and ks(low, low) == 0.0


def test_a_profile_of_the_largest_numbers_is_json(sql: Sql) -> None:
    made = profile(sql, pa.table({"x": np.linspace(-1, 1, 5_000) * 1.7e308}))
    json.dumps(made.to_dict(), allow_nan=False)
    quantiles = made["x"].quantiles
    assert (
        list(quantiles) == sorted(quantiles)
        and np.isfinite(quantiles).all()
        and quantiles[128] == pytest.approx(0.0, abs=1e305)
    )


def test_alarms_of_no_drift_are_as_rare_as_said(sql: Sql, tmp_path: Path) -> None:
    """Forty columns of ten kinds and no drift, with no tolerance at all: in 20 comparisons at most one alarm (1 %
    each).
    """
    rng = np.random.default_rng(9)

    def table(n: int) -> pa.Table:
        columns: dict[str, Any] = {}
        for i in range(8):
            columns |= {
                f"n{i}": rng.normal(size=n),
                f"b{i}": rng.random(n) < 0.1 * (i + 1),
                f"c{i}": names(rng, n, 3 + 5 * i),
                f"m{i}": names(rng, n, 300 * (i + 1), skew=1.0),
                f"o{i}": np.where(rng.random(n) < 0.02, np.nan, rng.normal(size=n)),
            }
        return pa.table({k: pa.array(v, from_pandas=False) for k, v in columns.items()})

    alarms = 0
    for _ in range(5):
        pair = [table(3_000), table(1_500)]
        made = [profile(sql, one) for one in pair]
        before, after = ({c.name: c for c in one.columns} for one in made)
        alarms += any(
            d.status == "drifted"
            for d in compare(before, after, 0.0, (bucketed(sql, pair[0], made[0]), bucketed(sql, pair[1], made[1])))
        )
    assert alarms == 0
