"""The expression language: what is refused and how, and parity of DuckDB's text with the closure by generated
expressions.
"""

from __future__ import annotations

import math
import struct
import timeit
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.base.errors import DefinitionError, Place
from millstream.base.event import Kind
from millstream.lang.expression import compile as compile_expression

FIELDS: dict[str, Kind] = {
    "i": "int64",
    "j": "int64",
    "x": "float64",
    "y": "float64",
    "p": "bool",
    "q": "bool",
    "s": "string",
    "t": "string",
    "ts": "timestamp",
    "day": "date",
    "color": "enum",
}
ARROW = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "enum": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
}
PARAMS = {"limit": 15, "share": 0.25, "name": "UA'x", "on": True}

ints = st.sampled_from([0, 1, -1, 2, 7, -13, 100, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)]) | st.integers(-1000, 1000)
floats = st.sampled_from(
    [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -2.5, 1e-300, 1e300, -1e300, math.nan, math.inf, -math.inf, 0.49999999999999994]
) | st.floats(-1e6, 1e6)
texts = st.sampled_from(["", "a", "A", "ab", "UA'x", "x%y", "_", "ß", "É", "nan", "true", "10"]) | st.text(
    "abcXYZ%_é", max_size=4
)
moments = st.datetimes(datetime(1969, 1, 1), datetime(2040, 1, 1)).map(lambda m: m.replace(tzinfo=UTC))
days = st.dates(date(1900, 1, 1), date(2100, 1, 1))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int64": ints,
    "float64": floats,
    "bool": st.booleans(),
    "string": texts,
    "enum": st.sampled_from(["red", "green"]),
    "timestamp": moments,
    "date": days,
}
rows = st.fixed_dictionaries({name: st.none() | VALUES[kind] for name, kind in FIELDS.items()})


def number(depth: int) -> st.SearchStrategy[str]:
    leaf = (
        st.sampled_from(["i", "j", "x", "y", "p", "null", "$limit", "$share"])
        | st.integers(-20, 20).map(str)
        | st.sampled_from(["0.5", "1e3", "0.1", "2.0"])
    )
    if depth == 0:
        return leaf
    n, b, s = number(depth - 1), truth(depth - 1), text(depth - 1)
    whole = st.sampled_from(["i", "j", "p", "3", "0", "-2", "length(s)", "i + j", "i * j", "hour(ts)"])
    return st.one_of(
        leaf,
        st.tuples(n, st.sampled_from(["+", "-", "*", "/"]), n).map(lambda a: f"({a[0]} {a[1]} {a[2]})"),
        st.tuples(whole, st.sampled_from(["//", "%"]), whole).map(lambda a: f"(({a[0]}) {a[1]} ({a[2]}))"),
        st.tuples(st.sampled_from(["abs", "floor", "ceil", "round", "exp", "ln", "sqrt", "-"]), n).map(
            lambda a: f"{a[0]}({a[1]})"
        ),
        st.tuples(n, st.integers(-3, 17)).map(lambda a: f"round({a[0]}, {a[1]})"),
        st.tuples(st.sampled_from(["power", "least", "greatest", "coalesce", "nullif"]), n, n).map(
            lambda a: f"{a[0]}({a[1]}, {a[2]})"
        ),
        st.tuples(b, n, n).map(lambda a: f"case when {a[0]} then {a[1]} else {a[2]} end"),
        st.tuples(n, n, n).map(lambda a: f"case {a[0]} when {a[1]} then {a[2]} end"),
        b.map(lambda a: f"({a})::int"),
        n.map(lambda a: f"({a})::double"),
        n.map(lambda a: f"({a})::bigint"),
        s.map(lambda a: f"length({a})"),
        st.sampled_from(["year", "month", "day", "hour", "minute", "second", "dow", "isodow", "doy"]).map(
            lambda part: f"extract({part} from ts)" if part != "doy" else "dayofyear(ts)"
        ),
        st.sampled_from(["year", "month", "day", "dayofweek"]).map(lambda part: f"{part}(day)"),
    )


def truth(depth: int) -> st.SearchStrategy[str]:
    leaf = st.sampled_from(
        [
            "p",
            "q",
            "true",
            "false",
            "null",
            "$on",
            "x > y",
            "i = 1",
            "s = $name",
            "ts > '2000-01-01'",
            "day <= '2013-03-10'",
            "color = 'red'",
            "ts between '1990-01-01' and '2020-06-01T12:00Z'",
            "s like 'a%'",
            "t like '%x_'",
            "s is not distinct from t",
            "i is distinct from j",
        ]
    )
    if depth == 0:
        return leaf
    n, b, s = number(depth - 1), truth(depth - 1), text(depth - 1)
    return st.one_of(
        leaf,
        st.tuples(n, st.sampled_from(["=", "<>", "<", "<=", ">", ">=", "!="]), n).map(
            lambda a: f"({a[0]} {a[1]} {a[2]})"
        ),
        st.tuples(s, st.sampled_from(["=", "<>", "<", ">"]), s).map(lambda a: f"({a[0]} {a[1]} {a[2]})"),
        st.tuples(b, st.sampled_from(["and", "or"]), b).map(lambda a: f"({a[0]} {a[1]} {a[2]})"),
        b.map(lambda a: f"not ({a})"),
        st.tuples(n, st.sampled_from(["is null", "is not null"])).map(lambda a: f"({a[0]}) {a[1]}"),
        st.tuples(b, st.sampled_from(["is true", "is false", "is not true"])).map(lambda a: f"({a[0]}) {a[1]}"),
        st.tuples(n, n, n).map(lambda a: f"({a[0]} between {a[1]} and {a[2]})"),
        st.tuples(n, n, n).map(lambda a: f"({a[0]} in ({a[1]}, {a[2]}, 3))"),
        st.tuples(n, n).map(lambda a: f"({a[0]} not in ({a[1]}, 0))"),
    )


def text(depth: int) -> st.SearchStrategy[str]:
    leaf = st.sampled_from(["s", "t", "color", "'ab'", "'it''s'", "null::varchar", "$name", "i::varchar", "p::varchar"])
    if depth == 0:
        return leaf
    s = text(depth - 1)
    return st.one_of(
        leaf,
        st.tuples(s, s).map(lambda a: f"({a[0]} || {a[1]})"),
        st.tuples(s, s).map(lambda a: f"concat({a[0]}, {a[1]})"),
        st.tuples(st.sampled_from(["lower", "upper"]), s).map(lambda a: f"{a[0]}({a[1]})"),
        st.tuples(s, s).map(lambda a: f"coalesce({a[0]}, {a[1]})"),
        st.tuples(truth(depth - 1), s, s).map(lambda a: f"if({a[0]}, {a[1]}, {a[2]})"),
    )


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("set global TimeZone = 'America/New_York'").fetchall()  # a session's zone must not matter
        yield connection


def both(con: duckdb.DuckDBPyConnection, source: str, some: list[dict[str, Any]]) -> tuple[list[Any], list[Any]]:
    made = compile_expression(source, FIELDS, PARAMS)
    table = pa.table({name: pa.array([row[name] for row in some], ARROW[kind]) for name, kind in FIELDS.items()})
    with con.cursor() as cursor:
        cursor.register("given", table)
        found = cursor.sql(f"select {made.sql} as v from given").to_arrow_table()["v"].to_pylist()
    return found, [made.evaluate(row) for row in some]


def same(a: Any, b: Any) -> bool:
    """To the bit: 0.0 is not -0.0."""
    return type(a) is type(b) and (struct.pack("<d", a) == struct.pack("<d", b) if isinstance(a, float) else a == b)


@settings(max_examples=400, deadline=None)
@given(source=st.one_of(number(3), truth(3), text(2)), some=st.lists(rows, min_size=1, max_size=12))
def test_duckdb_and_the_closure_agree(con: duckdb.DuckDBPyConnection, source: str, some: list[dict[str, Any]]) -> None:
    sql, python = both(con, source, some)
    for row, a, b in zip(some, sql, python, strict=True):
        assert same(a, b), (source, {k: v for k, v in row.items() if k in source}, a, b)


ROW = {
    "i": 7,
    "j": 0,
    "x": 1.5,
    "y": 0.0,
    "p": True,
    "q": None,
    "s": "Abc",
    "t": None,
    "color": "red",
    "ts": datetime(2013, 3, 10, 7, 30, tzinfo=UTC),
    "day": date(2013, 3, 10),
}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("i / j", None),
        ("x / y", None),
        ("x / y > 1", None),
        ("0 / 0", None),
        ("i // j", None),
        ("i % j", None),
        ("-7 // 2", -3),
        ("-7 % 2", -1),
        ("q and false", False),
        ("q and true", None),
        ("q or true", True),
        ("q or false", None),
        ("not q", None),
        ("t = t", None),
        ("t is null", True),
        ("t in ('a', 'b')", None),
        ("i in (1, null)", None),
        ("i in (7, null)", True),
        ("i not in (1, null)", None),
        ("9223372036854775807 + 1", None),
        ("i * 9223372036854775807", None),
        ("exp(1000)", None),
        ("ln(0)", None),
        ("sqrt(-1)", None),
        ("power(0, -1)", None),
        ("power(-8, 0.5)", None),
        ("1 - power(x - p, 2)", 0.75),
        ("round(2.5)", 3.0),
        ("round(-2.5)", -3.0),
        ("round(x * 1.111, 2)", 1.67),
        ("floor(-x)", -2.0),
        ("ceil(x)", 2.0),
        ("least(x, y, null)", 0.0),
        ("greatest(null, null)", None),
        ("coalesce(t, s)", "Abc"),
        ("nullif(i, 7)", None),
        ("i between 1 and 7", True),
        ("lower(s) || 'd'", "abcd"),
        ("s like 'a%'", False),
        ("s like 'A_c'", True),
        ("case when q then 1 when p then 2 end", 2),
        ("case i when 1 then 'a' when 7 then 'b' else 'c' end", "b"),
        ("(x > 1)::int", 1),
        ("x > $limit", False),
        ("hour(ts)", 7),
        ("extract(dow from ts)", 0),
        ("year(day)", 2013),
        ("ts > '2013-03-10T03:00-05:00'", False),
        ("'2013-03-10T03:30-04:00' = ts", True),
        ("I + J", 7),
        ('"i"', 7),
        ("p + p", 2),
        ("null", None),
        ("x is not null and x > 0", True),
    ],
)
def test_meaning(con: duckdb.DuckDBPyConnection, source: str, value: Any) -> None:
    sql, python = both(con, source, [ROW])
    assert python == [value] and sql == [value]
    assert type(python[0]) is type(sql[0]) is type(value)


def refused(source: str, fields: dict[str, Kind] | None = None) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        compile_expression(
            source,
            FIELDS if fields is None else fields,
            PARAMS,
            place=Place("features.py", 6),
            what='features "carrier_left", late',
        )
    return caught.value


def test_an_unknown_field_is_named_with_what_there_is_and_the_fix() -> None:
    error = refused("dealy > $limit", {"carrier": "string", "delay": "float64"})
    assert (
        str(error)
        == 'features.py:6  features "carrier_left", late: no field "dealy"\n  found  "dealy > $limit" over carrier,'
        ' delay\n  fix    did you mean "delay"?    E111'
    )


@pytest.mark.parametrize(
    ("source", "code", "word"),
    [
        ("x >", "E116", "parse"),
        ("", "E116", "expression"),
        ("x y", "E116", "parse"),
        ("x; drop table t", "E116", "parse"),
        ("nothing + 1", "E111", "nothing"),
        ("a.x", "E111", "x"),
        ("count(*)", "E117", "count"),
        ("sum(x) over ()", "E117", "OVER"),
        ("(select 1)", "E117", "SELECT"),
        ("x in (select 1)", "E117", "query"),
        ("read_text('/etc/passwd')", "E117", "read_text"),
        ("getenv('HOME')", "E117", "getenv"),
        ("s > 1", "E117", "mixes"),
        ("not x", "E117", "condition"),
        ("s + 1", "E117", "arithmetic"),
        ("upper(i)", "E117", "string"),
        ("$nothing", "E135", "nothing"),
        ("x // 2", "E117", "whole"),
        ("ts > 'soon'", "E117", "time"),
        ("s like t", "E117", "like"),
        ("x::varchar", "E117", "cast"),
        ("random()", "E117", "random"),
        ("current_date", "E117", "date"),
        ("case when x then 1 end", "E117", "condition"),
    ],
)
def test_what_is_outside_is_refused(source: str, code: str, word: str) -> None:
    error = refused(source)
    assert error.code == code and error.place == Place("features.py", 6)
    assert word.lower() in f"{error} {error.found}".lower()


def test_texts_are_bound_not_pasted(con: duckdb.DuckDBPyConnection) -> None:
    evil = "'; drop table given; --"
    made = compile_expression("s = $evil", {"s": "string"}, {"evil": evil})
    with con.cursor() as cursor:
        cursor.register("given", pa.table({"s": [evil]}))
        assert cursor.execute(f"select {made.sql} from given").fetchall() == [(True,)]
    assert made.evaluate({"s": evil}) is True
    strange = 'a"b'
    assert compile_expression('"a""b" > 1', {strange: "int64"}).evaluate({strange: 2}) is True


def test_a_date_beside_a_moment_is_told_how_a_moment_is_written() -> None:
    """Its fix was "cast one side", and no cast goes between them."""
    with pytest.raises(DefinitionError, match="mixes date and timestamp") as caught:
        compile_expression("ts > $day", FIELDS, {"day": date(2026, 1, 5)})
    assert "2026-01-05T00:00:00Z" in caught.value.fix and "cast" not in caught.value.fix


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-05:00", "0001-01-01T00:00+05:00"])
def test_a_moment_that_utc_does_not_have_is_refused(moment: str) -> None:
    """It was an OverflowError of Python without a place."""
    error = refused(f"ts > '{moment}'")
    assert (
        "outside the years 1 to 9999 of UTC" in str(error)
        and error.fix == "write a moment that UTC has: '2013-11-01T12:00Z'"
    )
    with pytest.raises(DefinitionError, match="outside the years 1 to 9999 of UTC"):
        compile_expression("ts > $since", FIELDS, {"since": datetime.fromisoformat(moment)})


def test_types_and_columns() -> None:
    made = compile_expression("y > 0 and x / y > $limit", FIELDS, PARAMS)
    assert (made.kind, made.columns) == ("bool", ("y", "x"))
    assert compile_expression("case when p then 1 else x end", FIELDS).kind == "float64"
    assert compile_expression("i + p", FIELDS).kind == "int64"
    assert compile_expression("ts", FIELDS).kind == "timestamp"
    moment = datetime(2013, 1, 1, tzinfo=UTC)
    assert compile_expression("ts >= $since", FIELDS, {"since": moment}).evaluate({"ts": moment + timedelta(1)}) is True


def test_an_expression_takes_microseconds_not_milliseconds() -> None:
    made = compile_expression("delay > $limit and carrier = 'UA'", {"delay": "float64", "carrier": "string"}, PARAMS)
    row = {"delay": 31.0, "carrier": "UA"}
    # 0.3 us here; the bound holds on a busy machine
    assert min(timeit.repeat(lambda: made.evaluate(row), number=2000, repeat=5)) / 2000 < 20e-6
