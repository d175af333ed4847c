"""What DuckDB says against a query, in our words: each sentence is that of the engine that is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from millstream.base.errors import WorkFailed
from millstream.engines.duckdb.sql import DuckDbSql
from millstream.engines.spark.binder import Binder
from millstream.transform.refused import refusal

TABLES = {"bookings": pa.schema([("fee", pa.float64()), ("clinic", pa.string())]), "rooms": pa.schema([("clinic", pa.string()), ("beds", pa.int64())])}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDbSql]:
    made = DuckDbSql("duckdb", tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("sql", "found", "fix", "line"),
    [
        ("-- fees\nselect 'fees',\n  fees from bookings", 'there is no column "fees"', 'did you mean "fee"?', 3),
        ("select b.fee,\nr.clinik from bookings b join rooms r using (clinic)", 'there is no column "clinik" in "r"', 'did you mean "clinic"?', 2),
        ("select r.salary from bookings b join rooms r using (clinic)", 'there is no column "salary" in "r"', "there are clinic, beds", 1),
        ("select * exclude (feee) from bookings", 'there is no column "feee"', 'did you mean "fee"?', 1),
        ("select * from (select fee as price from bookings) p where p.prize > 1", 'there is no column "prize" in "p"', "", 1),
        ("select book.fee from bookings", 'the query reads no table or alias "book"', 'did you mean "bookings"?', 1),
        ("select summ(fee) from bookings", "there is no function summ()", "did you mean sum()?", 1),
        ("select fee from bookings where sum(fee) > 1", "the query cannot be run: WHERE clause cannot contain aggregates", "", None),
        ("select fee + clinic from bookings", "the query cannot be run: No function matches the given name and argument types '+(DOUBLE, VARCHAR)'. "
         "You might need to add explicit type casts", "", None),
        ("select $dear from bookings", "the query asks for $dear, which has no value; known: none; set it under [params] of millstream.toml", "", None),
    ],
)  # fmt: skip
def test_the_name_is_told_with_the_nearest_that_is_there(engine: DuckDbSql, sql: str, found: str, fix: str, line: int | None) -> None:
    with pytest.raises(WorkFailed) as refused:
        engine.describe(sql, TABLES, {})
    told = refusal(str(refused.value), sql, TABLES)
    assert (told.found, told.fix) == (found, fix)
    assert told.line == line or line is None
    assert "\n" not in str(told), "candidates are not a wall of lines"


LONG = "'" + "a" * 100 + "'"


@pytest.mark.parametrize(
    ("sql", "line", "column"),
    [
        ("-- one\nselect clinic,\n  fee + clinic as x\nfrom bookings", 3, 7),
        ("  select fee + clinic from bookings", 1, 14),
        ("-- one\n  select fee + clinic from bookings;", 2, 14),
        (f"select {LONG} as a, fee + clinic as b, {LONG} as c from bookings", 1, 7 + 102 + 12),
        ("select 'äöü', fee + clinic from bookings", 1, 19),
        ("-- one\nselect fee\nfrom bookings\ngroup group by all", 4, 7),
        ("select fee,\n  summ(fee) from bookings", 2, 3),
        ("select fee,\n  feee from bookings", 2, 3),
        ("select clinic,\n  count(*) from bookings", 1, 8),
        ("select $dear, fee,\n  fee + clinic from bookings", 2, 7),
    ],
)  # fmt: skip
def test_the_line_and_the_column_are_those_of_the_expression(engine: DuckDbSql, sql: str, line: int, column: int) -> None:
    """Errors of types had line 1, and none had a column: DuckDB points only when it binds a text, not what it has parsed."""
    with pytest.raises(WorkFailed) as refused:
        engine.describe(sql, TABLES, {"dear": 100})
    told = refusal(str(refused.value), sql, TABLES)
    assert (told.line, told.column) == (line, column) and f"at line {line}, column {column}" in str(told)
    assert "LINE" not in str(told) and "^" not in str(told)


def test_sparks_binder_points_too() -> None:
    sql = "select clinic,\n  fee + clinic as x\nfrom bookings"
    with Binder(TABLES, {}) as binder, pytest.raises(WorkFailed) as refused:
        binder.bound(sql)
    told = refusal(str(refused.value), sql, TABLES)
    assert (told.line, told.column) == (2, 7)


def test_the_engines_own_words_stand_behind_ours(tmp_path: Path, engine: DuckDbSql) -> None:
    said = str(refusal('Binder Error: Referenced column "fees" not found in FROM clause!\nCandidate bindings: "fee"', "select fees from bookings", TABLES))
    assert said == 'there is no column "fees"; did you mean "fee"? (DuckDB: Binder Error: Referenced column "fees" not found in FROM clause!)'
