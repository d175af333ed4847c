"""When the rows of a table are known: read from its query, its inputs and its schedule, and required where nothing
shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from millstream.declare.cron import longest_us
from millstream.declare.known import Known, known
from millstream.declare.load import load
from millstream.declare.project import Project

MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000
STREAMS = """\
from datetime import datetime

import millstream as ms


class Order(ms.Event):
    user: str
    amount: float
    due: datetime
    ts: ms.EventTime


class Visit(ms.Event):
    user: str
    seen: ms.EventTime


orders = ms.stream("orders", Order, key="user", lateness="10m")
visits = ms.stream("visits", Visit, key="user", lateness="2h")
changes = ms.table("changes", orders.history(), time="valid_from", lag="1m")


@ms.table(orders, time="ts", lag="3m")
def mapped(batch):
    return batch
"""


def project(folder: Path, tables: Mapping[str, str], streams: str = STREAMS) -> Project:
    (folder / "tables").mkdir()
    (folder / "millstream.toml").write_text('[project]\nname = "p"\n')
    (folder / "streams.py").write_text(streams)
    for name, text in tables.items():
        (folder / "tables" / f"{name}.sql").write_text(text)
    return load(folder)


def rule(folder: Path, text: str, **others: str) -> Known:
    found = project(folder, {"t": text, **others}).tables["t"].known
    assert found is not None
    return found


HOURS = "-- @time hour\n-- @schedule @hourly\n"
SEEN = [
    ("passed on", "-- @time ts\n-- @lag 5m\nselect user, ts from orders", Known(0, 0, 5 * MINUTE)),
    (
        "passed on by another name",
        "-- @time t\n-- @lag 5m\nselect o.user, o.ts as t from orders o join visits v on o.user = v.user",
        Known(0, 0, 5 * MINUTE),
    ),
    ("when it arrived", "-- @time t\n-- @lag 5m\nselect user, _arrived_at as t from orders", Known(0, 0, 5 * MINUTE)),
    ("all of a stream", "-- @time ts\n-- @lag 5m\nselect * from orders where amount > 0", Known(0, 0, 5 * MINUTE)),
    (
        "an hour",
        HOURS + "select user, date_trunc('hour', ts) as hour, sum(amount) as s from orders group by all",
        Known(0, HOUR, 10 * MINUTE + HOUR),
    ),
    (
        "an hour of the later stream",
        HOURS + "select date_trunc('hour', o.ts) as hour from orders o join visits v using (user)",
        Known(0, HOUR, 3 * HOUR),
    ),
    (
        "a day",
        "-- @time day\n-- @schedule @daily\nselect ts::date as day, count(*) as n from orders group by all",
        Known(0, DAY, 10 * MINUTE + DAY),
    ),
    (
        "a cast keeps what it is",
        HOURS + "select date_trunc('hour', ts)::timestamp as hour from orders",
        Known(0, HOUR, 10 * MINUTE + HOUR),
    ),
    (
        "a quarter of an hour",
        HOURS + "select time_bucket(interval '15 minutes', ts) as hour from orders",
        Known(0, 15 * MINUTE, 10 * MINUTE + HOUR),
    ),
    (
        "a month is as long as the longest",
        HOURS + "select date_trunc('month', ts) as hour from orders",
        Known(0, 31 * DAY, 10 * MINUTE + HOUR),
    ),
    (
        "through a subquery",
        HOURS + "select hour from (select date_trunc('hour', ts) as hour from orders) x",
        Known(0, HOUR, 10 * MINUTE + HOUR),
    ),
    (
        "through a WITH",
        HOURS + "with a as (select date_trunc('hour', ts) as h from orders) select h as hour from a",
        Known(0, HOUR, 10 * MINUTE + HOUR),
    ),
    (
        "a day of hours",
        HOURS + "with a as (select date_trunc('hour', ts) as h from orders) select h::date as hour from a",
        Known(0, DAY, 10 * MINUTE + HOUR),
    ),
    (
        "the longer side of a union",
        HOURS + "select ts as hour from orders union all select date_trunc('hour', seen) from visits",
        Known(missing="x"),
    ),
    (
        "a union",
        HOURS + "select ts as hour from orders union all select date_trunc('hour', seen) as hour from visits",
        Known(0, HOUR, 3 * HOUR),
    ),
    (
        "an interval",
        "-- @time t\n-- @incremental 1h\n-- @lag 1m\nselect max(ts) as t from orders where ts >= $start and ts < $end",
        Known(HOUR, 0, MINUTE),
    ),
    (
        "a moment in an interval",
        "-- @time ts\n-- @incremental 1h\n-- @lag 1m\nselect ts from orders where ts >= $start and ts < $end",
        Known(0, 0, MINUTE),
    ),
    (
        "an aggregate",
        "-- @time t\n-- @schedule @hourly\nselect user, max(ts) as t from orders group by user",
        Known(missing="x"),
    ),
    (
        "an aggregate with a lag",
        "-- @time t\n-- @lag 2h\nselect user, max(ts) as t from orders group by user",
        Known(0, 0, 2 * HOUR),
    ),
    (
        "a time that is not an event time",
        "-- @time due\n-- @schedule @hourly\nselect user, due from orders",
        Known(missing="x"),
    ),
    (
        "a local day",
        (
            "-- @time day\n-- @schedule @daily\nselect date_trunc('day', ts at time zone 'America/New_York') as day"
            " from orders"
        ),
        Known(missing="x"),
    ),
    ("no schedule", "-- @time ts\nselect user, ts from orders", Known(missing="x")),
]


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in SEEN], ids=[case[0] for case in SEEN])
def test_what_a_row_sums_up_is_read_from_its_query(text: str, expected: Known, tmp_path: Path) -> None:
    found = rule(tmp_path, text)
    if expected.missing:
        assert found.missing
    else:
        assert found == expected


def test_a_lag_is_handed_on_by_the_tables_between(tmp_path: Path) -> None:
    """One without a schedule is built with what reads it; one with a lag has that."""
    first = "-- @time hour\nselect date_trunc('hour', ts) as hour, user from orders"
    found = rule(tmp_path, "-- @time hour\n-- @schedule @hourly\nselect hour, user from first", first=first)
    assert found == Known(0, HOUR, 10 * MINUTE + HOUR)


def test_a_lag_of_a_table_between_stands_for_what_it_reads(tmp_path: Path) -> None:
    first = "-- @time hour\n-- @lag 7h\nselect date_trunc('hour', ts) as hour, user from orders"
    found = rule(
        tmp_path, "-- @time day\n-- @schedule @daily\nselect date_trunc('day', hour) as day from first", first=first
    )
    assert found == Known(0, DAY, 7 * HOUR + DAY)


def test_tables_without_sql(tmp_path: Path) -> None:
    found = project(tmp_path, {}).tables
    assert found["changes"].known == Known(0, 0, MINUTE) and found["mapped"].known == Known(0, 0, 3 * MINUTE)
    assert known(found["changes"], {}) == Known(0, 0, MINUTE), "what the noun says itself needs no project"


@pytest.mark.parametrize(
    ("line", "hours"),
    [("@hourly", 1), ("0 9 * * 1-5", 72), ("@monthly", 31 * 24), ("*/5 * * * *", 1 / 12), ("0 0 29 2 *", None)],
)
def test_the_longest_time_between_two_ticks(line: str, hours: float | None) -> None:
    found = longest_us(line)
    assert found == (None if hours is None else hours * HOUR) or (hours is None and (found or 0) > 366 * DAY)
