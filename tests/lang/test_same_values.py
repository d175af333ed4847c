"""The two readers of an expression give one value, to the bit: every function over the values at the edges of its type,
and every letter there is.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.base.errors import DefinitionError
from millstream.base.event import Kind
from millstream.base.letters import LOWER, UPPER
from millstream.lang.expression import compile as compile_expression

ARROW: dict[str, pa.DataType] = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
}
LETTERS = [chr(point) for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]
INTS = [
    0,
    1,
    -1,
    2,
    -2,
    3,
    4,
    5,
    -5,
    7,
    -7,
    14,
    15,
    -15,
    25,
    49,
    50,
    -50,
    1000,
    2**31 - 1,
    2**31,
    -(2**31),
    2**53,
    2**53 + 1,
    -(2**53) - 1,
    10**18 * 5,
    2**62,
    2**63 - 513,
    2**63 - 6,
    2**63 - 1,
    -(2**63) + 1,
    -(2**63),
]
FLOATS = [
    0.0,
    -0.0,
    0.1,
    0.15,
    -0.15,
    0.25,
    0.285,
    0.35,
    0.4,
    -0.4,
    0.49999999999999994,
    0.5,
    -0.5,
    0.6,
    -0.6,
    1.0,
    -1.0,
    1.005,
    1.5,
    -1.5,
    2.5,
    -2.5,
    2.675,
    3.5,
    7.0,
    -7.0,
    15.0,
    25.0,
    -25.0,
    123.456,
    4503599627370495.5,
    4503599627370496.5,
    2.0**53,
    -(2.0**53) - 2,
    2.0**62,
    9.223372036854775e18,
    2.0**63,
    -(2.0**63),
    -(2.0**63) - 2048,
    1e22,
    1e23,
    1e300,
    -1e300,
    1.7976931348623157e308,
    -1.7976931348623157e308,
    5e-324,
    -5e-324,
    2.2250738585072014e-308,
    1e-300,
    709.78,
    709.79,
    -745.2,
    math.nan,
    math.inf,
    -math.inf,
]
TEXTS = [
    "",
    " ",
    "a",
    "A",
    "aB",
    "ß",
    "ẞ",
    "İ",
    "ı",
    "ŉ",
    "ǰ",
    "ΐ",
    "ᾳ",
    "ᾼ",
    "ᾀ",
    "ﬁ",
    "Σ",
    "ΣΑΣ",
    "e\u0301",
    "\u0301",
    "é",
    "日本",
    "👩\u200d👩\u200d👧",
    "\x00",
    "a\x00b",
    "\n",
    "\r\n",
    "a\nb",
    "%",
    "_",
    "a%b",
    "\\",
    "a\\b",
    "'",
    '"',
    "{}",
    "\ufeff",
    "\u2028",
    "\U0001e900",
    "𐐀",
    "nan",
    "true",
    "1",
    "Ａ",
    "x" * 300,
]
TIMES = [
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2026, 1, 4, 23, 59, 59, tzinfo=UTC),
    datetime(2024, 2, 29, 0, 0, 0, 1, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
    datetime(2026, 11, 1, 5, 30, tzinfo=UTC),
]
DAYS = [
    date(1, 1, 1),
    date(1582, 10, 10),
    date(1900, 2, 28),
    date(1970, 1, 1),
    date(2000, 12, 31),
    date(2024, 2, 29),
    date(2026, 1, 4),
    date(9999, 12, 31),
]
EDGES: dict[Kind, list[Any]] = {
    "int64": INTS,
    "float64": FLOATS,
    "bool": [True, False],
    "string": TEXTS,
    "timestamp": TIMES,
    "date": DAYS,
}
PARTS = ("year", "month", "day", "dayofweek", "dow", "isodow", "dayofyear")
ONE: list[tuple[str, Kind]] = [
    *(
        (f.replace("{}", "x"), kind)
        for kind in ("int64", "float64", "bool")
        for f in (
            "{}",
            "-{}",
            "abs({})",
            "floor({})",
            "ceil({})",
            "round({})",
            "exp({})",
            "ln({})",
            "sqrt({})",
            "{}::double",
            "{} / 3",
            "3 / {}",
            "{} + 0.1",
            "{} * 1e10",
            "{} - 1",
            "{} * 3",
            "power({}, 2)",
            "power({}, 0.5)",
            "power({}, -1)",
            "power(2, {})",
            "power(-8, {})",
            "{} is null",
            "coalesce({}, 7)",
            "nullif({}, 0)",
            "{} > 1",
            "{} between 0 and 2",
            "{} in (1, 2)",
            "case when {} > 1 then {} else 0.5 end",
            "greatest({}, 0)",
            "least({}, 0)",
            "round({} * 0.1, 3)",
            "round(round({}, 2), 1)",
            *(f"round({{}}, {n})" for n in range(-22, 23)),
        )
    ),
    *(
        ("(" + f.replace("{}", "x") + ")::bigint", "float64")
        for f in ("{}", "-{}", "{} * 2", "{} / 2", "round({})", "abs({})")
    ),
    *(
        (f.replace("{}", "x"), kind)
        for kind in ("int64", "bool")
        for f in (
            "{}::varchar",
            "{}::boolean",
            "{}::bigint",
            "{} // 3",
            "{} // -3",
            "{} % 3",
            "{} % -3",
            "3 // {}",
            "7 % {}",
            "-7 % {}",
            "{} // 0",
            "{} % 0",
        )
    ),
    *(
        (f, "string")
        for f in (
            "x",
            "lower(x)",
            "upper(x)",
            "lower(upper(x))",
            "length(x)",
            "length(upper(x))",
            "x || x",
            "concat(x, null, 'é')",
            "x like '%'",
            "x like '_'",
            "x like 'a%b'",
            "x like '%\\%'",
            "x like 'é'",
            "x like '___'",
            "x = 'é'",
            "x < 'b'",
            "x > 'Z'",
            "x between 'A' and 'z'",
            "x in ('ß', 'İ', '')",
            "greatest(x, 'é')",
            "least(x, 'Z')",
            "nullif(x, '')",
            "coalesce(x, 'n')",
        )
    ),
    *((f"extract({part} from x)", kind) for kind in ("timestamp", "date") for part in PARTS if part != "dayofyear"),
    ("dayofyear(x)", "timestamp"),
    ("dayofyear(x)", "date"),
    *((f"{part}(x)", "timestamp") for part in ("hour", "minute", "second")),
    ("x > '2026-01-01T00:00Z'", "timestamp"),
    ("x > '2026-01-01'", "date"),
    ("greatest(x, x)", "date"),
    *((f, "bool") for f in ("not x", "x and null", "x or null", "x::int", "x is true", "x is not false")),
]
TWO = (
    "x + y",
    "x - y",
    "x * y",
    "x / y",
    "power(x, y)",
    "least(x, y)",
    "greatest(x, y)",
    "x = y",
    "x < y",
    "x <> y",
    "nullif(x, y)",
    "coalesce(x, y)",
    "x is distinct from y",
    "case when x > y then x else y end",
    "x * y - x",
    "round(x / y, 2)",
)
WHOLE = ("x // y", "x % y")
WORDS = ("x || y", "concat(x, y)", "x = y", "x < y", "x > y", "least(x, y)", "greatest(x, y)", "nullif(x, y)")


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("set global TimeZone = 'America/New_York'").fetchall()
        yield connection


def bits(value: Any) -> Any:
    """What two values share iff no bit differs."""
    return struct.pack("<d", value) if isinstance(value, float) else (type(value), value)


def differing(
    con: duckdb.DuckDBPyConnection, source: str, kinds: dict[str, Kind], columns: dict[str, list[Any]]
) -> list[tuple[Any, ...]]:
    """Rows of which the readers say different things: source, row, DuckDB's value, Python's value."""
    made = compile_expression(source, kinds)
    table = pa.table({name: pa.array(values, ARROW[kinds[name]]) for name, values in columns.items()})
    with con.cursor() as cursor:
        cursor.register("given", table)
        found = cursor.sql(f"select {made.sql} as v from given").to_arrow_table()["v"].to_pylist()
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    pairs = zip(rows, found, map(made.evaluate, rows), strict=True)
    return [(source, row, sql, python) for row, sql, python in pairs if bits(sql) != bits(python)]


@pytest.mark.parametrize("kind", EDGES)
def test_functions_of_one_value(con: duckdb.DuckDBPyConnection, kind: Kind) -> None:
    sources = [source for source, of in ONE if of == kind]
    assert sources
    wrong = [one for source in sources for one in differing(con, source, {"x": kind}, {"x": [*EDGES[kind], None]})]
    assert not wrong, f"{len(wrong)} values: {wrong[:20]}"


@pytest.mark.parametrize(
    ("left", "right", "sources"),
    [
        ("int64", "int64", (*TWO, *WHOLE)),
        ("float64", "float64", TWO),
        ("int64", "float64", TWO),
        ("float64", "int64", TWO),
        ("bool", "int64", (*TWO, *WHOLE)),
        ("string", "string", WORDS),
    ],
)
def test_functions_of_two_values(
    con: duckdb.DuckDBPyConnection, left: Kind, right: Kind, sources: tuple[str, ...]
) -> None:
    pairs = [(a, b) for a in [*EDGES[left], None] for b in [*EDGES[right], None]]
    columns = {"x": [a for a, _ in pairs], "y": [b for _, b in pairs]}
    wrong = [one for source in sources for one in differing(con, source, {"x": left, "y": right}, columns)]
    assert not wrong, f"{len(wrong)} values: {wrong[:20]}"


@pytest.mark.parametrize(
    "source",
    ["lower(x)", "upper(x)", "length(x)", "upper(lower(x))", "x || 'é'", "x like '_'", "x < 'é'", "x = lower(x)"],
)
def test_every_letter(con: duckdb.DuckDBPyConnection, source: str) -> None:
    """Of Unicode's 1,112,064: 28 differed (İ, and Greek letters with a iota subscript)."""
    assert not differing(con, source, {"x": "string"}, {"x": LETTERS})


def test_the_table_of_letters_is_duckdbs(con: duckdb.DuckDBPyConnection) -> None:
    """Each letter that changes, and no other, so that a new DuckDB with a newer Unicode is seen here."""
    with con.cursor() as cursor:
        cursor.register("given", pa.table({"x": LETTERS}))
        found = cursor.sql("select x, lower(x), upper(x) from given").fetchall()
    assert {ord(x): ord(low) for x, low, _ in found if low != x} == LOWER
    assert {ord(x): ord(high) for x, _, high in found if high != x} == UPPER


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("round(0.15, 1)", 0.1),
        ("round(2.675, 2)", 2.67),
        ("round(0.25, 1)", 0.3),
        ("round(-0.25, 1)", -0.3),
        ("round(0.35, 1)", 0.3),
        ("round(25.0, -1)", 30.0),
        ("round(1e308, 5)", 1e308),
        ("round(15, -1)", 20),
        ("round(-15, -1)", -20),
        ("round(9223372036854775807, -1)", None),
        ("round(9223372036854775807, 3)", 2**63 - 1),
        ("lower('İ')", "i"),
        ("upper('ᾀ')", "ᾈ"),
        ("upper('straße')", "STRAẞE"),
    ],
)
def test_meaning_at_the_edges(con: duckdb.DuckDBPyConnection, source: str, value: Any) -> None:
    assert compile_expression(source, {"x": "int64"}).evaluate({}) == value
    assert not differing(con, source, {"x": "int64"}, {"x": [1]})


halves = st.tuples(st.integers(-(10**9), 10**9), st.integers(-8, 18)).map(lambda a: (a[0] * 10 + 5) / 10.0 ** a[1])
doubles = (
    st.floats() | st.floats(-1e6, 1e6) | halves | st.integers(-(10**17), 10**17).map(float) | st.sampled_from(FLOATS)
)


@settings(max_examples=300, deadline=None)
@given(digits=st.integers(-22, 22), some=st.lists(doubles, min_size=1, max_size=200))
def test_round_is_duckdbs(con: duckdb.DuckDBPyConnection, digits: int, some: list[float]) -> None:
    """In a table's SQL, in the offline reader and online."""
    assert not differing(con, f"round(x, {digits})", {"x": "float64"}, {"x": some})
    finite = [0.0 + x for x in some if math.isfinite(x)]
    with con.cursor() as cursor:
        cursor.register("given", pa.table({"x": pa.array(finite, pa.float64())}))
        table = [value for (value,) in cursor.sql(f"select round(x, {digits}) from given").fetchall()]
    made = compile_expression(f"round(x, {digits})", {"x": "float64"})
    assert [bits(made.evaluate({"x": x})) for x in finite] == [bits(value) for value in table]


@pytest.mark.parametrize("source", ["round(x, 23)", "round(x, -23)", "round(x, i)", "round(x, 1.5)", "round(x, '2')"])
def test_other_numbers_of_decimals_are_refused(source: str) -> None:
    with pytest.raises(DefinitionError, match="rounds to an unknown number of decimals") as caught:
        compile_expression(source, {"x": "float64", "i": "int64"})
    assert caught.value.fix == "write a number from -22 to 22: round(x, 2)"
