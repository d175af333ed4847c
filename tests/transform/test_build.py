"""Tables are built whole, by intervals and by appended rows; again adds nothing; and a kill after the commit changes
nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import millstream as ms
from millstream.base.errors import Conflict, DefinitionError, NotFound, UsageError, WorkFailed
from millstream.base.event import ENVELOPE, TIMESTAMP
from millstream.base.registry import engine
from millstream.declare.table import ArrowFunction, Table, table
from millstream.lake.lake import Lake
from millstream.transform.build import Built, build
from millstream.transform.port import Sql
from millstream.transform.recipe import fingerprint, inputs

DAY0 = datetime(2013, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SPINE = pa.schema([("flight_id", pa.string()), ("ts", TIMESTAMP)])
FACT = pa.schema([("flight_id", pa.string()), ("delay", pa.float64()), ("ts", TIMESTAMP)])
FLIGHT_DAYS = """-- @time ts
-- @incremental 1d lookback 1d
select s.flight_id, s.ts, d.delay, d.delay > $late_minutes as late
from scheduled s left join departures d using (flight_id)
where s.ts >= $start and s.ts < $end;
"""
PARAMS = {"late_minutes": 15}


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sql]:
    made: Sql = engine("sql", "duckdb")("duckdb:?threads=2", tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(tmp_path)


def open_lake(folder: Path) -> Lake:
    return Lake(engine("files", str(folder / "lake"))(str(folder / "lake")))


def put(lake: Lake, name: str, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
    (lake.table(name) if lake.exists(name) else lake.create(name, schema)).append(pa.Table.from_pylist(rows, schema))


def days(lake: Lake, *numbers: float, name: str = "scheduled") -> None:
    put(lake, name, SPINE, [{"flight_id": f"f{n}", "ts": DAY0 + n * DAY} for n in numbers])


def left(lake: Lake, *numbers: float, delay: float = 20.0) -> None:
    put(
        lake,
        "departures",
        FACT,
        [{"flight_id": f"f{n}", "delay": delay, "ts": DAY0 + n * DAY + timedelta(hours=1)} for n in numbers],
    )


def rows(lake: Lake, sql: Sql, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        sql.query(f'select * from "{name}" order by all', {name: lake.table(name).snapshot()}).read_all().to_pylist()
    )
    return found


def flights(lake: Lake, sql: Sql, **options: Any) -> Built:
    return build(table("flight_days", FLIGHT_DAYS), lake, sql, PARAMS, **options)


def same_as_full(lake: Lake, sql: Sql) -> None:
    """What the increments made is what one build of everything makes."""
    build(table("again", FLIGHT_DAYS), lake, sql, PARAMS, full=True)
    assert rows(lake, sql, "flight_days") == rows(lake, sql, "again")


# Whole


def test_a_whole_table_is_built_replaced_and_skipped(lake: Lake, sql: Sql) -> None:
    days(lake, 0, 1)
    noun = table(
        "counts", "select count(*) as n, sum(length(flight_id)) as letters, max(ts)::timestamp as newest from scheduled"
    )
    first = build(noun, lake, sql, {})
    assert (first.kind, first.rows, first.inputs) == ("full", 1, {"scheduled": 1})
    assert first.bytes == lake.table("counts").bytes() > 0
    assert lake.table("counts").schema.types == [pa.int64(), pa.int64(), TIMESTAMP]
    assert rows(lake, sql, "counts") == [{"n": 2, "letters": 4, "newest": DAY0 + DAY}]
    again = build(noun, lake, sql, {})
    assert (again.kind, again.rows, again.version) == ("nothing", 0, first.version)
    days(lake, 2)
    assert build(noun, lake, sql, {}).kind == "full"
    assert rows(lake, sql, "counts")[0]["n"] == 3
    assert build(noun, lake, sql, {}, full=True).version == first.version + 2


def test_the_commit_names_what_it_was_made_from(lake: Lake, sql: Sql) -> None:
    days(lake, 0)
    days(lake, 1)
    built = build(table("copy_of", "select * from scheduled"), lake, sql, {}, now_us=7)
    said = lake.table("copy_of").metadata(built.version)
    assert (said["by"], said["kind"], said["inputs"], said["at_us"]) == ("build", "full", {"scheduled": 2}, 7)


def test_changed_sql_params_or_source_rebuild(lake: Lake, sql: Sql) -> None:
    days(lake, 0)
    text = "select *, $late_minutes as late from scheduled"
    assert build(table("t", text), lake, sql, PARAMS).kind == "full"
    assert (
        build(table("t", "-- a word\nselect  *, $late_minutes AS late\nfrom scheduled;"), lake, sql, PARAMS).kind
        == "nothing"
    )
    assert build(table("t", text), lake, sql, PARAMS | {"unused": 1}).kind == "nothing"
    assert build(table("t", text), lake, sql, {"late_minutes": 16}).kind == "full"
    assert build(table("t", text.replace("*", "ts")), lake, sql, {"late_minutes": 16}).kind == "full"
    assert lake.table("t").schema.names == ["ts", "late"]
    lake.drop("scheduled")
    days(lake, 5)
    assert build(table("t", text.replace("*", "ts")), lake, sql, {"late_minutes": 16}).kind == "full"
    assert len(rows(lake, sql, "t")) == 1


def test_an_empty_source_gives_an_empty_table(lake: Lake, sql: Sql) -> None:
    lake.create("scheduled", SPINE)
    assert build(table("t", "select ts, 1.5 as x from scheduled"), lake, sql, {}).rows == 0
    assert lake.table("t").schema.names == ["ts", "x"]
    lake.create("departures", FACT)
    assert (flights(lake, sql).kind, flights(lake, sql).kind) == ("full", "nothing")
    days(lake, 0, 1)
    assert flights(lake, sql).rows == 2


def test_mistakes_change_nothing(lake: Lake, sql: Sql) -> None:
    days(lake, 0)
    build(table("t", "select ts from scheduled"), lake, sql, {})
    before = lake.table("t").version
    for text, wrong, words in (
        ("select tz from scheduled", WorkFailed, "tz"),
        ("select ts from schedule", NotFound, "schedule"),
        ("select ts, ts from scheduled", WorkFailed, "two columns"),
        ("select null as x from scheduled", WorkFailed, "has no type|int32|null"),
        ("select interval '1 day' as x from scheduled", WorkFailed, "interval"),
        ("select $nope as x from scheduled", WorkFailed, r"\$nope"),
        ("select (9223372036854775807::hugeint + length(flight_id)) as x from scheduled", WorkFailed, "does not fit"),
        ("delete from scheduled", DefinitionError, "one SELECT"),
    ):
        with pytest.raises(wrong, match=words):
            build(table("t", text), lake, sql, {})
    assert lake.table("t").version == before
    with pytest.raises(UsageError, match="no SQL"):
        build(table("t"), lake, sql, {})
    for bad in ({"incremental": "1d"}, {"incremental": "daily", "time": "ts"}, {"incremental": "0d", "time": "ts"}):
        with pytest.raises(DefinitionError):
            build(table("t", "select ts from scheduled", **bad), lake, sql, {})


# By intervals


def test_new_days_build_only_themselves_and_the_lookback(lake: Lake, sql: Sql) -> None:
    days(lake, 0, 1, 2, 3)
    left(lake, 0, 1)
    assert (flights(lake, sql).kind, len(rows(lake, sql, "flight_days"))) == ("full", 4)
    left(lake, 2, 3)
    days(lake, 4.5)
    built = flights(lake, sql)
    assert (built.kind, built.rows) == ("intervals", 3)
    assert built.spans == ((us(DAY0 + 2 * DAY), us(DAY0 + 5 * DAY)),)
    same_as_full(lake, sql)
    assert flights(lake, sql).kind == "nothing"


def test_a_late_row_reopens_its_day_and_no_other(lake: Lake, sql: Sql) -> None:
    days(lake, *range(30))
    left(lake, 1)
    flights(lake, sql)
    before = lake.table("flight_days").version
    days(lake, 3.25, 29.5)
    built = flights(lake, sql)
    assert built.spans == ((us(DAY0 + 3 * DAY), us(DAY0 + 4 * DAY)), (us(DAY0 + 28 * DAY), us(DAY0 + 30 * DAY)))
    assert (built.rows, built.version) == (5, before + 2)
    same_as_full(lake, sql)


def test_a_row_beyond_the_lookback_of_another_source_waits_for_a_rebuild(lake: Lake, sql: Sql) -> None:
    days(lake, *range(10))
    left(lake, 9)
    flights(lake, sql)
    left(lake, 2, 8)
    flights(lake, sql)
    late = {row["flight_id"] for row in rows(lake, sql, "flight_days") if row["late"]}
    assert late == {"f9", "f8"}
    flights(lake, sql, full=True)
    same_as_full(lake, sql)


def test_output_outside_the_interval_is_left_out(lake: Lake, sql: Sql) -> None:
    days(lake, 0, 1, 2)
    noun = table("t", "select flight_id, ts from scheduled", time="ts", incremental="1d")
    build(noun, lake, sql, {})
    days(lake, 3)
    built = build(noun, lake, sql, {})
    assert built.rows == 2
    assert len(rows(lake, sql, "t")) == 4


@pytest.mark.parametrize(
    "text",
    [
        (
            "select date_trunc('day', ts) as ts, count(*) as n from scheduled where ts >= $start and ts < $end group"
            " by all"
        ),
        (
            "with s as (select ts + interval 36 hours as moment, flight_id from scheduled) select moment as ts,"
            " flight_id from s where moment >= $start and moment < $end"
        ),
        "select coalesce(d.ts, s.ts) as ts, flight_id from scheduled s left join departures d using (flight_id)",
        "select ts, flight_id from scheduled union all select ts, flight_id from departures",
    ],
)
def test_time_may_be_computed(lake: Lake, sql: Sql, text: str) -> None:
    days(lake, *range(12))
    left(lake, 1, 2)
    build(table("t", text, time="ts", incremental="1d"), lake, sql, {})
    days(lake, 2.5, 12.5)
    built = build(table("t", text, time="ts", incremental="1d"), lake, sql, {})
    assert built.kind == "intervals"
    build(table("whole", text, time="ts", incremental="1d"), lake, sql, {}, full=True)
    assert rows(lake, sql, "t") == rows(lake, sql, "whole")


def test_a_table_over_an_interval_table_moves_with_it(lake: Lake, sql: Sql) -> None:
    days(lake, *range(20))
    left(lake, 1)
    flights(lake, sql)
    text = "select ts, count(*) as n from flight_days where ts >= $start and ts < $end group by all"
    build(table("counts", text, time="ts", incremental="1d"), lake, sql, {})
    days(lake, 5.0, 19.5)
    flights(lake, sql)
    built = build(table("counts", text, time="ts", incremental="1d"), lake, sql, {})
    assert (built.kind, len(built.spans)) == ("intervals", 2)
    assert sum(row["n"] for row in rows(lake, sql, "counts")) == 22


def test_a_scattered_batch_is_few_commits(lake: Lake, sql: Sql) -> None:
    days(lake, *range(60))
    left(lake, 1)
    flights(lake, sql)
    days(lake, *(n + 0.5 for n in range(0, 60, 3)))
    built = flights(lake, sql)
    assert len(built.spans) == 8
    same_as_full(lake, sql)


def test_two_builds_at_once_do_not_double(lake: Lake, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    days(lake, 0, 1)
    left(lake, 0)
    flights(lake, sql)
    days(lake, 2)
    real = sql.query

    def other_first(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(sql, "query", real)
        flights(lake, sql)
        return real(*args, **options)

    monkeypatch.setattr(sql, "query", other_first)
    with pytest.raises(Conflict):
        flights(lake, sql)
    same_as_full(lake, sql)


# By rows


APPEND = table(
    "late_only",
    "select flight_id, delay, ts from departures where delay > $late_minutes",
    time="ts",
    incremental="append",
)


def test_appending_reads_only_what_is_new_and_never_doubles(lake: Lake, sql: Sql) -> None:
    left(lake, 0, 1)
    left(lake, 2, delay=1.0)
    assert build(APPEND, lake, sql, PARAMS).kind == "full"
    left(lake, 3, 4)
    built = build(APPEND, lake, sql, PARAMS)
    assert (built.kind, built.rows) == ("append", 2)
    assert build(APPEND, lake, sql, PARAMS).kind == "nothing"
    left(lake, 5, delay=1.0)
    assert (build(APPEND, lake, sql, PARAMS).rows, build(APPEND, lake, sql, PARAMS).kind) == (0, "nothing")
    assert [row["flight_id"] for row in rows(lake, sql, "late_only")] == ["f0", "f1", "f3", "f4"]


def test_a_source_that_was_rewritten_is_read_whole(lake: Lake, sql: Sql) -> None:
    left(lake, 0, 1)
    build(APPEND, lake, sql, PARAMS)
    lake.table("departures").replace(pa.Table.from_pylist([{"flight_id": "x", "delay": 99.0, "ts": DAY0}], FACT))
    assert build(APPEND, lake, sql, PARAMS).kind == "full"
    assert [row["flight_id"] for row in rows(lake, sql, "late_only")] == ["x"]


def test_a_column_that_came_later_rebuilds(lake: Lake, sql: Sql) -> None:
    days(lake, 0)
    noun = table("t", "select * from scheduled", incremental="append")
    build(noun, lake, sql, {})
    lake.table("scheduled").add_columns([pa.field("gate", pa.string())])
    assert build(noun, lake, sql, {}).kind == "full"
    assert lake.table("t").schema.names == ["flight_id", "ts", "gate"]


def test_append_reads_one_stream() -> None:
    with pytest.raises(DefinitionError, match="one stream"):
        inputs(table("t", "select * from a join b using (x)", incremental="append"))


# Functions and contents


def doubled(reads: Any, **options: Any) -> Table:
    declared: Callable[[ArrowFunction], Table] = ms.table(reads, **options)

    @declared
    def twice(batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.record_batch({"flight_id": batch["flight_id"], "twice": pc.multiply(batch["delay"], 2.0)})

    return twice


def test_a_function_makes_a_table_batch_by_batch(lake: Lake, sql: Sql) -> None:
    noun = doubled(table("departures", "select 1"), incremental="append")
    lake.create("departures", FACT)
    assert build(noun, lake, sql, {}).rows == 0
    assert lake.table("twice").schema.names == ["flight_id", "twice"]
    left(lake, 0)
    assert (build(noun, lake, sql, {}).kind, build(noun, lake, sql, {}).kind) == ("append", "nothing")
    left(lake, 1)
    built = build(noun, lake, sql, {})
    assert (built.kind, built.rows, rows(lake, sql, "twice")[1]) == ("append", 1, {"flight_id": "f1", "twice": 40.0})


def frame_of(kind: str) -> Any:
    """A frame with a text and a time, as its library has them."""
    import pandas as pd
    import polars as pl

    columns: dict[str, Any] = {"s": ["a", None], "n": [1, 2], "at": [datetime(2026, 1, 1, tzinfo=UTC)] * 2}
    frame = pd.DataFrame(columns)
    made = {
        "pandas": lambda: frame,
        "nanoseconds": lambda: frame.astype({"at": "datetime64[ns, UTC]"}),
        "polars": lambda: pl.DataFrame(columns),
        "dicts": lambda: frame_rows(columns),
        "generator": lambda: (part for part in [frame, pl.DataFrame(columns).head(0).to_arrow()]),
    }
    return made[kind]()


def frame_rows(columns: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize("kind", ["pandas", "nanoseconds", "polars", "dicts", "generator"])
def test_a_function_may_give_a_frame(lake: Lake, sql: Sql, kind: str) -> None:
    """A frame of pandas was iterated over, so each of its column names was taken for a batch."""
    left(lake, 0)

    @ms.table(table("departures", "select 1"))
    def framed(batch: pa.RecordBatch) -> Any:
        return frame_of(kind)

    assert build(framed, lake, sql, {}).rows == 2
    assert [row["s"] for row in rows(lake, sql, "framed")] == ["a", None] and lake.table("framed").schema.names == [
        "s",
        "n",
        "at",
    ]
    assert lake.table("framed").schema.types == [pa.string(), pa.int64(), pa.timestamp("us", "UTC")]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (None, "gave None"),
        (5, "gave a value of type int"),
        ("text", "gave a value of type str"),
        ([1, 2], "gave a value of type int among its batches"),
        ({"n": [1]}, "gave a value of type dict"),
        ([None], "gave None among its batches"),
        ([{"n": 1}, {"n": "x"}], "gave a value of type list that Arrow cannot take: "),
    ],
)
def test_a_function_that_gives_something_else_is_told_what_it_may_give(
    lake: Lake, sql: Sql, made: Any, said: str
) -> None:
    left(lake, 0)

    @ms.table(table("departures", "select 1"))
    def odd(batch: pa.RecordBatch) -> Any:
        return made

    with pytest.raises(WorkFailed) as error:
        build(odd, lake, sql, {})
    assert f'table "odd": its function {said}' in str(error.value) and " (test_build.py:" in str(error.value)
    assert "give each column one type" in str(error.value) or "a frame of pandas or Polars, a list of dicts" in str(
        error.value
    )
    assert not lake.exists("odd")


def test_a_function_that_raises_is_named(lake: Lake, sql: Sql) -> None:
    left(lake, 0)

    @ms.table(table("departures", "select 1"))
    def broken(batch: pa.RecordBatch) -> pa.RecordBatch:
        raise ZeroDivisionError("oh")

    with pytest.raises(WorkFailed, match=r'"broken".*ZeroDivisionError: oh'):
        build(broken, lake, sql, {})
    assert not lake.exists("broken")


class Customer(ms.Change):
    customer_id: int
    plan: str


def changes(lake: Lake, *rows: tuple[int, str, str, int]) -> None:
    schema = pa.schema([*Customer.__schema__.arrow(), *(pa.field(name, kind) for name, kind in ENVELOPE.items())])
    made = [
        {
            "customer_id": key,
            "plan": plan,
            "op": op,
            "committed_at": DAY0 + at * DAY,
            "_partition": 0,
            "_offset": n,
            "_event_id": str(n),
            "_arrived_at": DAY0,
            "_late": False,
        }
        for n, (key, plan, op, at) in enumerate(rows)
    ]
    put(lake, "customer_changes", schema, made)


def test_latest_and_history_of_a_stream_of_changes(lake: Lake, sql: Sql) -> None:
    stream = ms.stream("customer_changes", Customer, key="customer_id")
    changes(
        lake,
        (1, "basic", "insert", 0),
        (2, "basic", "insert", 0),
        (1, "plus", "update", 2),
        (2, "basic", "delete", 3),
        (3, "basic", "insert", 1),
        (3, "trial", "insert", 4),
        (3, "plus", "update", 4),
    )
    build(table("customers", stream.latest()), lake, sql, {})
    assert [
        (row["customer_id"], row["plan"])
        for row in sorted(rows(lake, sql, "customers"), key=lambda row: row["customer_id"])
    ] == [(1, "plus"), (3, "plus")]
    build(table("customers_history", stream.history()), lake, sql, {})
    versions = sorted(
        (row["customer_id"], row["plan"], row["valid_from"], row["valid_to"])
        for row in rows(lake, sql, "customers_history")
        if row["valid_to"]
    )
    assert versions == [
        (1, "basic", DAY0, DAY0 + 2 * DAY),
        (2, "basic", DAY0, DAY0 + 3 * DAY),
        (3, "basic", DAY0 + DAY, DAY0 + 4 * DAY),
    ]
    assert {
        (row["customer_id"], row["plan"]) for row in rows(lake, sql, "customers_history") if row["valid_to"] is None
    } == {(1, "plus"), (3, "plus")}


# Fingerprints and crashes


def test_fingerprints_change_with_what_matters() -> None:
    noun = table("t", "select $late_minutes as x from departures")
    base = fingerprint(noun, {"departures": 3}, PARAMS)
    assert base == fingerprint(
        table("t", "select $late_minutes as x -- why\nfrom departures"), {"departures": 3}, PARAMS | {"other": 1}
    )
    others = [
        fingerprint(noun, {"departures": 4}, PARAMS),
        fingerprint(noun, {"departures": 3}, {"late_minutes": 16}),
        fingerprint(table("t", "select $late_minutes as y from departures"), {"departures": 3}, PARAMS),
        fingerprint(
            table("t", "select $late_minutes as x from departures", time="ts", incremental="1d"),
            {"departures": 3},
            PARAMS,
        ),
    ]
    assert len({base, *others}) == 5


CRASH = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_build import *
from millstream.lake.table import LakeTable
lake = open_lake(Path({folder!r}))
sql = engine("sql", "duckdb")("duckdb:?threads=1", Path({folder!r}) / "scratch")
real = LakeTable.commit
def commit(self, *args, **options):
    if {when!r} == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    version = real(self, *args, **options)
    os.kill(os.getpid(), signal.SIGKILL)
LakeTable.commit = commit
build({noun}, lake, sql, PARAMS)
"""


@pytest.mark.fault
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("noun", ["APPEND", 'table("flight_days", FLIGHT_DAYS)'])
def test_transform_committed_a_kill_beside_the_commit_neither_loses_nor_doubles(
    lake: Lake, sql: Sql, tmp_path: Path, noun: str, when: str
) -> None:
    days(lake, 0, 1, 2)
    left(lake, 0, 1)
    made = eval(noun)
    build(made, lake, sql, PARAMS)
    days(lake, 3, 1.5)
    left(lake, 2, 3)
    before = lake.table(made.name).version
    code = CRASH.format(tests=str(Path(__file__).parent), folder=str(tmp_path), when=when, noun=noun)
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, timeout=100, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert lake.table(made.name).version == before + (when == "after")
    build(made, lake, sql, PARAMS)
    assert build(made, lake, sql, PARAMS).kind == "nothing"
    build(Table(name="whole", sql=made.sql, time=made.time, incremental=made.incremental), lake, sql, PARAMS, full=True)
    assert rows(lake, sql, made.name) == rows(lake, sql, "whole")


def us(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
