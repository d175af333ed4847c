"""A table's rows keep what its key and time say, or the build fails and commits nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import millstream as ms
from millstream.base.errors import WorkFailed
from millstream.base.event import TIMESTAMP
from millstream.base.registry import engine
from millstream.declare.table import Table, table
from millstream.lake.lake import Lake
from millstream.transform.build import build
from millstream.transform.port import Sql

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROWS = pa.schema([("id", pa.string()), ("n", pa.int64()), ("x", pa.float64()), ("ts", TIMESTAMP)])


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sql]:
    made: Sql = engine("sql", "duckdb")("duckdb:?threads=2", tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = Lake(engine("files", str(tmp_path / "lake"))(str(tmp_path / "lake")))
    put(made, [{"id": "a", "n": 1, "x": 0.5, "ts": NOON}, {"id": "b", "n": None, "x": None, "ts": None}])
    return made


def put(lake: Lake, rows: list[dict[str, Any]]) -> None:
    (lake.table("given") if lake.exists("given") else lake.create("given", ROWS)).append(
        pa.Table.from_pylist(rows, ROWS)
    )


def passed_on(**options: Any) -> Table:
    @ms.table(table("given", "select 1"), **options)
    def made(batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch

    return made


def both(**options: Any) -> list[Table]:
    """The same table by a function, and by SQL that hides its columns."""
    return [passed_on(**options), table("made", "select * from given", **options)]


def failed(lake: Lake, sql: Sql, noun: Table) -> str:
    before = lake.table("made").version if lake.exists("made") else None
    with pytest.raises(WorkFailed) as caught:
        build(noun, lake, sql, {})
    assert not lake.exists("made") or before is None or lake.table("made").version == before
    assert (
        not lake.exists("made")
        or before is not None
        or not sql.query("select 1 as n from t", {"t": lake.table("made").snapshot()}).read_all().num_rows
    )
    return str(caught.value)


def test_a_column_that_is_not_there_is_named_with_those_that_are(lake: Lake, sql: Sql) -> None:
    """It was built, and said to be well."""
    for noun in both(time="moment"):
        said = failed(lake, sql, noun)
        assert 'table "made" (' in said and "test_identity.py:" in said
        assert 'its time "moment" is not a column of it; found id, n, x, ts' in said and "correct time=" in said
    assert "add it to the rows that the function returns" in failed(lake, sql, passed_on(time="moment"))
    for noun in both(key=["id", "idd"]):
        assert 'its key "idd" is not a column of it; found id, n, x, ts; did you mean "id"?' in failed(lake, sql, noun)
    assert not lake.exists("made")


@pytest.mark.parametrize("name", ["id", "n", "x"])
def test_a_time_of_another_type_is_refused(lake: Lake, sql: Sql, name: str) -> None:
    for noun in both(time=name):
        assert f'its time "{name}" is not a time; found {name} is ' in failed(lake, sql, noun)


def test_headers_of_sql_are_held_to_the_rows_too(lake: Lake, sql: Sql) -> None:
    assert 'its time "moment" is not a column of it' in failed(
        lake, sql, table("made", "-- @time moment\nselect * from given")
    )
    put(lake, [{"id": "a", "n": 1, "x": 0.5, "ts": NOON}])
    assert "its key (id) does not tell its rows apart" in failed(
        lake, sql, table("made", "-- @key id\nselect * from given")
    )


def test_a_date_and_a_moment_are_times_and_letter_case_does_not_count(lake: Lake, sql: Sql) -> None:
    build(table("made", "select id, ts::date as day from given", time="DAY", key="ID"), lake, sql, {})
    build(table("other", "select id, ts from given", time="ts", key="id"), lake, sql, {})
    assert sorted(
        map(str, sql.query("select day from t", {"t": lake.table("made").snapshot()}).read_all()["day"].to_pylist())
    ) == ["2026-01-01", "None"]
    assert date(2026, 1, 1)


def test_a_key_that_is_null_is_refused(lake: Lake, sql: Sql) -> None:
    for noun in both(key=["id", "n"]):
        assert 'its key "n" is NULL; found 1 row without one among 2; leave such rows out' in failed(lake, sql, noun)


def test_a_key_of_several_rows_is_refused_and_named(lake: Lake, sql: Sql) -> None:
    for noun in both(key="id"):
        assert build(noun, lake, sql, {}).rows == 2
    put(lake, [{"id": "a", "n": 2, "x": 0.5, "ts": NOON}, {"id": "a", "n": 2, "x": 0.5, "ts": NOON}])
    for noun in both(key="id"):
        said = failed(lake, sql, noun)
        assert (
            "its key (id) does not tell its rows apart; found 1 key of several rows: id = a in 3 rows; add the column"
            " to the key" in said
        )
    assert build(passed_on(), lake, sql, {}).rows == 4  # without a key rows may repeat


def test_a_key_of_several_columns(lake: Lake, sql: Sql) -> None:
    put(lake, [{"id": "a", "n": 2, "x": 0.5, "ts": NOON}])
    noun = table("made", "select * from given where n is not null", key=["id", "n"])
    assert build(noun, lake, sql, {}).rows == 2
    put(lake, [{"id": "a", "n": 2, "x": 0.7, "ts": NOON}])
    assert "id = a, n = 2 in 2 rows" in failed(lake, sql, noun)


def test_appended_rows_and_intervals_are_held_to_it_too(lake: Lake, sql: Sql) -> None:
    noun = passed_on(key="id", incremental="append")
    build(noun, lake, sql, {})
    put(lake, [{"id": "c", "n": 1, "x": 0.5, "ts": NOON}, {"id": "c", "n": 1, "x": 0.5, "ts": NOON}])
    assert "id = c in 2 rows" in failed(lake, sql, noun)
    days = table(
        "made", "-- @time ts\n-- @key id\n-- @incremental 1d\nselect * from given where ts >= $start and ts < $end"
    )
    assert "id = c in 2 rows" in failed(lake, sql, days)
