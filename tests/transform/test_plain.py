"""JSON and CSV of a table's values: one rule, nothing lost in silence, NULL apart from NaN and from the empty text."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.base.floats import named
from millstream.transform.cell import cells, span
from millstream.transform.plain import flat, values

NAN, INF = float("nan"), float("inf")


def printed(column: pa.Array) -> Any:
    """As `sql --json` prints it."""
    (row,) = values(pa.table({"v": column}))
    return json.loads(msgspec.json.encode(named(msgspec.to_builtins(row, enc_hook=str))))["v"]


def csv(column: pa.Array) -> str:
    out = io.BytesIO()
    pyarrow.csv.write_csv(flat(pa.table({"v": column})), out)
    return out.getvalue().decode().partition("\n")[2].removesuffix("\n")


@pytest.mark.parametrize(
    ("value", "kind", "in_json", "in_csv"),
    [
        (None, pa.float64(), None, ""),
        (None, pa.string(), None, ""),
        ("", pa.string(), "", '""'),
        (NAN, pa.float64(), "NaN", "nan"),
        (INF, pa.float64(), "Infinity", "inf"),
        (-INF, pa.float64(), "-Infinity", "-inf"),
        (NAN, pa.float32(), "NaN", "nan"),
        (1.5, pa.float32(), 1.5, "1.5"),
        (2**53 + 1, pa.int64(), 2**53 + 1, str(2**53 + 1)),
        (2**64 - 1, pa.uint64(), 2**64 - 1, str(2**64 - 1)),
        (Decimal(2**100), pa.decimal128(38, 0), 2**100, str(2**100)),
        (Decimal("1.50"), pa.decimal128(10, 2), "1.50", "1.50"),
        (
            datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            pa.timestamp("us", "UTC"),
            "2026-01-02T03:04:05Z",
            "2026-01-02 03:04:05.000000Z",
        ),
        (datetime(2026, 1, 2, 3, 4, 5), pa.timestamp("us"), "2026-01-02T03:04:05", "2026-01-02 03:04:05.000000"),
        (1, pa.timestamp("ns"), "1970-01-01T00:00:00.000000001", "1970-01-01 00:00:00.000000001"),
        (1, pa.timestamp("ns", "UTC"), "1970-01-01T00:00:00.000000001Z", None),
        (timedelta(days=1, seconds=1.5), pa.duration("us"), "PT24H1.5S", '"PT24H1.5S"'),
        ((14, -1, 2_500_000_000), pa.month_day_nano_interval(), "P1Y2M-1DT2.5S", '"P1Y2M-1DT2.5S"'),
        (b"\xff\x00", pa.binary(), "/wA=", '"/wA="'),
        (b"", pa.binary(), "", '""'),
        ([1.5, NAN, None], pa.list_(pa.float64()), [1.5, "NaN", None], '"[1.5,""NaN"",null]"'),
        ([], pa.list_(pa.int64()), [], '"[]"'),
        (
            {"a": INF, "b": None},
            pa.struct([("a", pa.float64()), ("b", pa.string())]),
            {"a": "Infinity", "b": None},
            '"{""a"":""Infinity"",""b"":null}"',
        ),
        ([("k", NAN)], pa.map_(pa.string(), pa.float64()), {"k": "NaN"}, '"{""k"":""NaN""}"'),
        ([(1, b"x")], pa.map_(pa.int64(), pa.binary()), [[1, "eA=="]], None),
        (
            [[{"d": Decimal("0.10"), "t": datetime(2026, 1, 1, tzinfo=UTC)}]],
            pa.list_(pa.list_(pa.struct([("d", pa.decimal128(4, 2)), ("t", pa.timestamp("us", "UTC"))]))),
            [[{"d": "0.10", "t": "2026-01-01T00:00:00Z"}]],
            '"[[{""d"":""0.10"",""t"":""2026-01-01T00:00:00Z""}]]"',
        ),
        ([(0, 1, 0)], pa.list_(pa.month_day_nano_interval()), ["P1D"], '"[""P1D""]"'),
        (True, pa.bool_(), True, "true"),
    ],
)
def test_each_type_has_one_form(value: Any, kind: pa.DataType, in_json: Any, in_csv: str | None) -> None:
    column = pa.array([value], kind)
    assert printed(column) == in_json and type(printed(column)) is type(in_json)
    if in_csv is not None:
        assert csv(column) == in_csv


def test_null_nan_and_empty_text_differ_in_every_form() -> None:
    numbers, texts = pa.array([None, NAN, 0.0]), pa.array([None, "", "NaN"])
    assert [row["v"] for row in values(pa.table({"v": numbers}))] == [None, "NaN", 0.0] and csv(numbers) == "\nnan\n0"
    assert [row["v"] for row in values(pa.table({"v": texts}))] == [None, "", "NaN"] and csv(texts) == '\n""\n"NaN"'


def test_what_duckdb_gives_has_a_form() -> None:
    with duckdb.connect() as con:
        found = con.sql(
            "select sum(1) as s, interval '1 month -90 minutes' as i, 'b'::enum('a', 'b') as e, time '10:00' as t,"
            " uuid() as u, '101'::bit as b, 170141183460469231731687303715884105727::hugeint as h, 'infinity'::date as"
            " d, union_value(k := 'nan'::double) as n"
        ).to_arrow_table()
    (row,) = json.loads(msgspec.json.encode(named(msgspec.to_builtins(values(found), enc_hook=str)), enc_hook=str))
    assert (row["s"], row["i"], row["e"], row["t"], row["h"], row["n"]) == (
        1,
        "P1MT-1H-30M",
        "b",
        "10:00:00",
        2**127 - 1,
        "NaN",
    )
    assert isinstance(row["d"], str) and isinstance(row["b"], str)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ((0, 0, 0), "PT0S"),
        ((12, 0, 0), "P1Y"),
        ((-1, 2, 0), "P-1M2D"),
        ((0, 0, -1), "PT-0.000000001S"),
        ((0, 0, 3_600_000_000_000), "PT1H"),
        ((0, 0, 60_000_000_001), "PT1M0.000000001S"),
        ((0, 0, 10_000_000_000), "PT10S"),
        ((0, 30, 90_061_000_000_000), "P30DT25H1M1S"),
    ],
)
def test_intervals(parts: tuple[int, int, int], text: str) -> None:
    assert span(*parts) == text
    assert cells(pa.chunked_array([pa.array([parts], pa.month_day_nano_interval())])) == [text]


@given(st.lists(st.floats() | st.none() | st.integers() | st.just("null"), max_size=20))
def test_only_null_is_null(some: list[Any]) -> None:
    """msgspec writes null for NaN by itself."""
    back = json.loads(msgspec.json.encode(named({"v": some})))["v"]
    assert [value is None for value in back] == [value is None for value in some]
