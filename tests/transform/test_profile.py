"""Profiles beside NumPy's numbers: counts exact, quantiles and histograms exact at their places, whatever the sketches
guessed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millstream.base.errors import Incompatible, UsageError
from millstream.base.event import TIMESTAMP
from millstream.base.registry import engine
from millstream.lake.lake import Lake
from millstream.transform.column import STEPS, TOP, Column, Profile, merge, spelled
from millstream.transform.port import Sql
from millstream.transform.profile import kind_of, profile


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sql]:
    made: Sql = engine("sql", "duckdb")("duckdb:?threads=2", tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


def of(sql: Sql, values: Any, kind: pa.DataType | None = None, **options: Any) -> Column:
    return profile(sql, pa.table({"x": pa.array(values, kind)}), **options)["x"]


def near(column: Column, values: np.ndarray) -> None:
    """Each quantile has a share of rows at or below it, and one at or above, within a step of the grid."""
    ordered = np.sort(values)
    assert len(column.quantiles) == STEPS + 1 and (column.quantiles[0], column.quantiles[-1]) == (
        ordered[0],
        ordered[-1],
    )
    assert list(column.quantiles) == sorted(column.quantiles)
    step = 1.0 / STEPS + 1.0 / len(ordered)
    for i, q in enumerate(column.quantiles):
        below, upto = (
            np.searchsorted(ordered, q, "left") / len(ordered),
            np.searchsorted(ordered, q, "right") / len(ordered),
        )
        assert below - step <= i / STEPS <= upto + step


SHAPES = {
    "normal": lambda r: r.normal(size=20_000),
    "integers": lambda r: r.integers(-50, 50, 20_000).astype(float),
    "heavy": lambda r: r.standard_cauchy(20_000),
    "mostly zero": lambda r: np.where(r.random(20_000) < 0.9, 0.0, r.normal(size=20_000)),
    "two": lambda r: r.choice([1.5, 2.5], 20_000),
    "one row": lambda r: r.normal(size=1),
    "few rows": lambda r: r.normal(size=7),
    "constant": lambda r: np.full(5000, 3.25),
    "tiny": lambda r: r.normal(size=5000) * 1e-300,
    "huge": lambda r: r.normal(size=5000) * 1e300,
    "far": lambda r: 1e15 + r.integers(0, 9, 5000).astype(float),
    "long tail": lambda r: r.lognormal(0, 3, 20_000),
    "sorted": lambda r: np.arange(20_000.0),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_numbers_are_numpys(sql: Sql, shape: str) -> None:
    values = SHAPES[shape](np.random.default_rng(3))
    column = of(sql, values)
    assert (column.kind, column.rows, column.nulls, column.odd, column.known) == (
        "number",
        len(values),
        0,
        0,
        len(values),
    )
    assert (column.low, column.high) == (values.min(), values.max())
    assert column.mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-12 * max(1.0, float(np.abs(values).max())))
    if shape == "huge":  # squares of 1e300 are not doubles, here as in NumPy
        assert (
            column.std is None
            or not np.isfinite(column.std)
            or column.std == pytest.approx(values.std(ddof=1), rel=1e-6)
        )
    elif len(values) > 1:
        # At 1e15 a double ends at eighths
        assert column.std == pytest.approx(values.std(ddof=1), rel=1e-3 if shape == "far" else 1e-7, abs=1e-12)
    near(column, values)
    drawn = column.histogram
    assert drawn is not None and sum(drawn.counts) + drawn.under + drawn.over == len(values)
    edges = np.linspace(drawn.low, drawn.high, len(drawn.counts) + 1)
    for i, count in enumerate(drawn.counts):  # (edge, next edge], to within a rounding of the edge
        slack = 1e-9 * max(abs(drawn.low), abs(drawn.high), 1e-300)
        least, most = (np.sum((values > edges[i] + d) & (values <= edges[i + 1] - d)) for d in (slack, -slack))
        assert least <= count <= most
    exact = Counter(values.tolist())
    assert all(exact[float(value)] == count for value, count in column.top), "counts of the values listed are exact"
    if column.complete:
        assert column.distinct == len(column.top) == len(exact)
    else:
        assert column.distinct == pytest.approx(len(exact), rel=0.15)


def test_nulls_and_what_is_no_finite_number(sql: Sql) -> None:
    column = of(sql, [None, 1.0, float("nan"), float("inf"), -float("inf"), None, 3.0, 3.0])
    assert (column.rows, column.nulls, column.odd, column.known) == (8, 2, 3, 3)
    assert (column.low, column.high, column.mean, column.distinct, column.top) == (
        1.0,
        3.0,
        pytest.approx(7 / 3),
        2,
        (("3.0", 2), ("1.0", 1)),
    )
    only = of(sql, [float("nan"), float("nan"), None])
    assert (only.nulls, only.odd, only.known, only.quantiles, only.histogram, only.mean) == (1, 2, 0, (), None, None)


def test_an_empty_text_among_many_is_counted(sql: Sql) -> None:
    """DuckDB's histogram_exact keeps '' for what is not asked for."""
    column = of(sql, [""] * 40 + [f"c{i}" for i in range(1000) for _ in range(2)] + [None])
    assert (
        column.top[0] == ("", 40)
        and column.nulls == 1
        and not column.complete
        and sum(n for _, n in column.top) <= column.known
    )


def test_whole_numbers_and_decimals(sql: Sql) -> None:
    column = of(sql, [1, 2, 2, 2**40], pa.int64())
    assert column.top == (("2", 2), ("1", 1), (str(2**40), 1)) and column.high == float(2**40)
    assert of(sql, [Decimal("1.25"), Decimal("2.50")], pa.decimal128(5, 2)).mean == 1.875
    assert of(sql, [1, 0], pa.uint8()).kind == "number"
    days = of(sql, list(range(1, 8)) * 10, pa.int32())
    assert days.histogram is not None and days.histogram.counts == (10,) * 7, "a bin a whole number"


def test_categories(sql: Sql) -> None:
    column = of(sql, ["b", "a", "b", None, "", "łódź", "b"])
    assert (column.kind, column.nulls, column.distinct, column.complete, column.low, column.high) == (
        "category",
        1,
        4,
        True,
        "",
        "łódź",
    )
    assert column.top == (("b", 3), ("", 1), ("a", 1), ("łódź", 1)) and column.shares == {
        "b": 0.5,
        "": 1 / 6,
        "a": 1 / 6,
        "łódź": 1 / 6,
    }
    assert column.quantiles == () and column.mean is None
    flags = of(sql, [True, False, True, None])
    assert (flags.kind, flags.top) == ("category", (("true", 2), ("false", 1)))
    words = of(sql, pa.array(["x", "y", "x"]).dictionary_encode())
    assert (words.kind, words.top) == ("category", (("x", 2), ("y", 1)))


def test_more_categories_than_are_listed(sql: Sql) -> None:
    random = np.random.default_rng(1)
    names = [f"n{i}" for i in np.minimum(random.geometric(0.02, 30_000), 5000)] + [f"rare{i}" for i in range(3000)]
    column, truth = of(sql, names), Counter(names)
    assert not column.complete and len(column.top) <= TOP and column.distinct == pytest.approx(len(truth), rel=0.1)
    assert all(truth[name] == count for name, count in column.top)
    assert {name for name, _ in truth.most_common(50)} <= set(column.shares)


def test_times(sql: Sql) -> None:
    start = datetime(2013, 1, 1, tzinfo=UTC)
    moments = [start + timedelta(hours=i) for i in range(1000)]
    column = of(sql, moments, TIMESTAMP)
    us = np.array([m.timestamp() * 1e6 for m in moments])
    assert (column.kind, column.low, column.high) == ("time", us[0], us[-1])
    near(column, us)
    days = of(sql, [date(2013, 1, 1), date(1969, 12, 31), None])
    assert (days.kind, days.nulls, [value for value, _ in days.top]) == ("time", 1, ["1969-12-31", "2013-01-01"])
    assert (
        spelled(us[1]) == "2013-01-01 01:00:00"
        and spelled(us[0] + 1) == "2013-01-01 00:00:00.000001"
        and spelled(1e19).endswith(" us")
    )


def test_what_is_only_counted(sql: Sql) -> None:
    table = pa.table(
        {
            "list": [[1], None, []],
            "struct": [{"a": 1}, None, {"a": 2}],
            "raw": [b"\0", b"\xff", None],
            "none": pa.nulls(3),
        }
    )
    found = profile(sql, table)
    assert [(c.kind, c.nulls, c.top, c.quantiles) for c in found.columns] == [("other", 1, (), ())] * 3 + [
        ("other", 3, (), ())
    ]
    assert kind_of(pa.list_(pa.int64())) == "other"


def test_empty_and_all_null(sql: Sql) -> None:
    schema = pa.schema([("n", pa.float64()), ("t", TIMESTAMP), ("s", pa.string()), ("b", pa.bool_())])
    for rows in (0, 5):
        found = profile(sql, pa.table({f.name: pa.nulls(rows, f.type) for f in schema}, schema=schema))
        assert (found.rows, found.of) == (rows, rows)
        assert all(
            (c.rows, c.nulls, c.known, c.distinct, c.quantiles, c.histogram, c.top) == (rows, rows, 0, 0, (), None, ())
            for c in found.columns
        )
    assert profile(sql, pa.table({})).columns == ()


def test_wide_tables_and_names_that_need_quotes(sql: Sql) -> None:
    table = pa.table({f"c\"{i} łó'": [i, i + 1, None] for i in range(150)})
    found = profile(sql, table)
    assert [c.name for c in found.columns] == table.column_names and all(
        c.mean == i + 0.5 and c.nulls == 1 for i, c in enumerate(found.columns)
    )


def test_chosen_columns_in_their_order(sql: Sql) -> None:
    table = pa.table({"a": [1], "b": [2], "c": [3]})
    assert [c.name for c in profile(sql, table, ["c", "a"]).columns] == ["c", "a"]
    with pytest.raises(UsageError, match='there is no column "d"; there are a, b, c'):
        profile(sql, table, ["a", "d"])
    with pytest.raises(KeyError):
        profile(sql, table)["d"]


def test_a_sample_says_of_how_many(sql: Sql) -> None:
    table = pa.table({"x": np.arange(50_000.0), "s": ["a", "b"] * 25_000})
    found = profile(sql, table, sample=5000)
    assert (found.rows, found.of, found["x"].rows) == (5000, 50_000, 5000) and found["x"].mean == pytest.approx(
        25_000, rel=0.05
    )
    assert found == profile(sql, table, sample=5000), "and it is the same one again"
    assert profile(sql, table, sample=50_000) == profile(sql, table), "a sample of all is all"


def test_readers_and_versions_of_the_lake(sql: Sql, tmp_path: Path) -> None:
    lake = Lake(engine("files", "file")(str(tmp_path / "lake")))
    table = lake.create("t", pa.schema([("x", pa.int64())]))
    table.append(pa.table({"x": [1, 2, 3]}))
    table.append(pa.table({"x": [10]}))
    old, new = (profile(sql, lake.table("t").snapshot(version)) for version in (1, None))
    assert (old.table, old.table_version, old.rows, new.table_version, new["x"].high) == ("t", 1, 3, 2, 10.0)
    reader = pa.RecordBatchReader.from_batches(
        pa.schema([("x", pa.int64())]), iter(pa.table({"x": [1, 2, 3]}).to_batches())
    )
    assert profile(sql, reader)["x"] == old["x"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.none() | st.floats(width=32) | st.integers(-3, 3).map(float), max_size=60))
def test_any_numbers_are_counted_and_kept_as_json(sql: Sql, values: list[float | None]) -> None:
    table = pa.table({"x": pa.array(values, pa.float64())})
    found = profile(sql, table)
    column, known = found["x"], np.array([v for v in values if v is not None and np.isfinite(v)])
    assert (column.nulls, column.odd, column.known) == (
        values.count(None),
        len(values) - values.count(None) - len(known),
        len(known),
    )
    assert Profile.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    if len(known):
        near(column, known)
        assert column.complete and sum(count for _, count in column.top) == len(known)


def test_a_profile_of_another_form_is_refused(sql: Sql) -> None:
    told = profile(sql, pa.table({"x": [1]})).to_dict()
    with pytest.raises(Incompatible, match="version 9"):
        Profile.from_dict(told | {"version": 9})


def test_two_profiles_together_are_as_one_of_both(sql: Sql) -> None:
    random = np.random.default_rng(2)
    parts = [
        pa.table(
            {
                "x": random.normal(shift, 1, n),
                "s": random.choice(list("abc"), n),
                "t": pa.array(random.integers(0, 10**12, n), TIMESTAMP),
            }
        )
        for shift, n in ((0.0, 4000), (2.0, 9000))
    ]
    both, whole = merge(*(profile(sql, part) for part in parts)), profile(sql, pa.concat_tables(parts))
    assert (both.rows, both["s"].top, both["s"].complete) == (13_000, whole["s"].top, True)
    for name in ("x", "t"):
        a, b = both[name], whole[name]
        assert (a.low, a.high) == (b.low, b.high) and a.mean == pytest.approx(b.mean) and a.std == pytest.approx(b.std)
        values = np.sort(pa.concat_tables(parts)[name].cast(pa.int64() if name == "t" else pa.float64()).to_numpy())
        at = np.searchsorted(values, a.quantiles) / len(values)
        assert np.abs(at - np.linspace(0, 1, STEPS + 1)).max() < 3 / STEPS
    empty = profile(sql, parts[0].slice(0, 0))
    assert merge(empty, profile(sql, parts[1]))["x"].mean == pytest.approx(float(np.mean(parts[1]["x"].to_numpy())))
