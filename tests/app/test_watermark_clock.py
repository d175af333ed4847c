"""Who moves a watermark: events while they come, the clock once a live stream has caught up, and nothing for
history.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from millstream.log.envelope import publish, topic_of
from millstream.run import intake
from millstream.run.runner import run
from millstream.run.steps import steps
from millstream.run.workspace import Workspace

STREAMS = '''
import millstream as ms

class Beat(ms.Event):
    """A sign of life."""
    who: str
    ts: ms.EventTime

beats = ms.stream("beats", Beat, key="who", lateness="1m")
ms.source(beats, ms.read.http())
'''
LATENESS_US = 60_000_000


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    (tmp_path / "millstream.toml").write_text('[project]\nname = "beats"\n')
    (tmp_path / "streams.py").write_text(STREAMS)
    with Workspace.open(str(tmp_path)) as made:
        yield made


def send(ws: Workspace, happened: datetime, arrived: datetime) -> None:
    stream = ws.project.streams["beats"]
    utc = pa.timestamp("us", tz="UTC")
    rows = pa.record_batch(
        {
            "who": pa.array(["a"]),
            "ts": pa.array([happened], utc),
            "_event_id": pa.array([happened.isoformat()]),
            "_arrived_at": pa.array([arrived], utc),
        }
    )
    publish(ws.log, topic_of(ws.log, ws.schemas, stream), rows)


def land(ws: Workspace) -> None:
    sink = intake.sink(ws, ws.project.streams["beats"])
    sink.drain()
    sink.close()


def micros(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)


def watermark(ws: Workspace) -> int:
    found = ws.lake.watermark(ws.project.streams["beats"])
    assert found is not None
    return found


def test_a_live_stream_that_has_caught_up_follows_the_clock(ws: Workspace) -> None:
    now = datetime.now(UTC)
    happened = now - timedelta(hours=2)
    send(ws, happened, now)
    land(ws)
    assert abs(watermark(ws) + LATENESS_US - micros(datetime.now(UTC))) < 60_000_000 < micros(now) - micros(happened)


def test_what_has_not_landed_holds_the_watermark_at_the_newest_event(ws: Workspace) -> None:
    now = datetime.now(UTC)
    happened = now - timedelta(hours=2)
    send(ws, happened, now)
    land(ws)
    send(ws, now - timedelta(hours=1), now)
    assert watermark(ws) == micros(happened) - LATENESS_US


def test_history_has_no_clock(ws: Workspace) -> None:
    happened = datetime(2013, 11, 1, 12, tzinfo=UTC)
    send(ws, happened, happened)
    land(ws)
    assert watermark(ws) == micros(happened) - LATENESS_US


def test_an_event_of_2099_that_is_stored_completes_no_label_of_today(ws: Workspace) -> None:
    now = datetime.now(UTC)
    send(ws, datetime(2099, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC))
    land(ws)
    assert watermark(ws) <= micros(datetime.now(UTC)) - LATENESS_US and watermark(ws) >= micros(now) - LATENESS_US


def known(ws: Workspace) -> None:
    """From now on the records bring their own time of arrival."""
    (ws.project.root / "streams.py").write_text(
        STREAMS.replace("    ts: ms.EventTime\n", "    ts: ms.EventTime\n    seen: ms.ArrivalTime | None = None\n")
    )


@pytest.fixture
def own(tmp_path: Path, ws: Workspace) -> Iterator[Workspace]:
    known(ws)
    with Workspace.open(str(tmp_path)) as made:
        yield made


def test_history_that_brings_its_own_arrival_times_has_no_clock(own: Workspace) -> None:
    """It was live once: each record arrived later than it happened."""
    happened = datetime.now(UTC) - timedelta(days=30)
    send(own, happened, happened + timedelta(minutes=20))
    land(own)
    assert watermark(own) == micros(happened) - LATENESS_US


def test_a_stream_whose_records_bring_their_own_arrival_times_is_live_when_they_come_in_time(own: Workspace) -> None:
    now = datetime.now(UTC)
    history = now - timedelta(days=30)
    send(own, history, history + timedelta(minutes=20))
    send(own, now - timedelta(seconds=5), now)
    land(own)
    live = watermark(own)
    assert abs(live + LATENESS_US - micros(datetime.now(UTC))) < 4_000_000
    send(own, history + timedelta(hours=1), now)  # late, and known at once
    land(own)
    assert watermark(own) >= live, "a late event does not make a live stream a history"


def test_a_new_field_with_a_default_can_be_asked_for_at_once(tmp_path: Path, ws: Workspace) -> None:
    """Before the first record that has it: rows of before hold NULL."""
    now = datetime.now(UTC)
    send(ws, now, now)
    land(ws)
    (tmp_path / "streams.py").write_text(
        STREAMS.replace("    ts: ms.EventTime\n", "    weight: float = 1.0\n    ts: ms.EventTime\n")
    )
    with Workspace.open(str(tmp_path)) as made:
        done = [step for step in steps(made) if step.name == "beats"]
        assert all(d.status == "made" for d in run(done, made.state))
        found = made.sql.query("select weight from beats", {"beats": made.lake.table("beats").snapshot()}).read_all()
    assert found.to_pylist() == [{"weight": None}]
