"""Faults planted in the rules of time: at doors, in what is stored, and for who reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import world
from things import DAY, T0

from millstream.features.updater import Updater
from millstream.ingest import ahead, doors, reading
from millstream.ingest.collector import Collector
from millstream.ingest.doors import DoorClock, Machine
from millstream.lake import batch
from millstream.lake import judge as judging
from millstream.lake.batch import Batcher
from millstream.log.dedupe import NEVER
from millstream.serve.updates import Updates

Plant = Callable[[pytest.MonkeyPatch], None]


def own_clock(patch: pytest.MonkeyPatch) -> None:
    """A door judges by its wall clock, whatever that shows."""
    patch.setattr(DoorClock, "now_us", lambda self: self._machine.wall_us())


def steps_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Nobody holds the wall clock against one that is never set."""
    patch.setattr(Machine, "step_us", lambda self: 0)


def never_behind(patch: pytest.MonkeyPatch) -> None:
    """A machine that starts in 2020 refuses every record of 2026."""
    patch.setattr(DoorClock, "_behind", lambda self, wall: False)


def only_forward(patch: pytest.MonkeyPatch) -> None:
    """Only a clock that jumps ahead counts as moved."""
    real = Machine.step_us
    patch.setattr(Machine, "step_us", lambda self: max(0, real(self)))


def released(to: int | None) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        real = DoorClock.__init__
        patch.setattr(
            DoorClock, "__init__", lambda self, *args, **more: real(self, *args, **{**more, "released": lambda: to})
        )

    return plant


def asked_once(patch: pytest.MonkeyPatch) -> None:
    """A door in doubt does not look again, so it never hears that it was released."""
    patch.setattr(doors, "ASK_AGAIN_S", 1e9)


def event_time_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ahead, "ARRIVED_AT", "")


def event_time_alone_over_http(patch: pytest.MonkeyPatch) -> None:
    real = Collector._intake

    def intake(self: Collector, stream: Any) -> Any:
        made = real(self, stream)
        made.times = {stream.schema.event_time: made.times[stream.schema.event_time]}
        return made

    patch.setattr(Collector, "_intake", intake)


def files_unjudged(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reading, "without_ahead", lambda found, *args: found)


def places_unmoved(patch: pytest.MonkeyPatch) -> None:
    """Rows that become bad records move, and the position of those behind them does not."""
    patch.setattr(ahead, "_after", lambda found, kept, late: found.after)


def judged_by_the_sink(patch: pytest.MonkeyPatch) -> None:
    """The sink decides again what lies too far ahead, by its own now."""
    real = judging.judge

    def judge(stream: Any, rows: pa.RecordBatch, *args: Any) -> Any:
        found = real(stream, rows, *args)
        if found.rows.num_rows and not found.rows.column("ts").null_count:
            far = found.rows.column("ts").cast(pa.int64()).to_numpy() > T0 + DAY
            for at in np.flatnonzero(far & found.good).tolist():
                found.errors[at] = "too far ahead"
                found.good[at] = False
        return found

    patch.setattr(batch, "judge", judge)


def late_by_the_wall(patch: pytest.MonkeyPatch) -> None:
    """What is late is held against times that a wall clock has capped."""
    real = Batcher._finish

    def finish(self: Batcher, made: Any, *args: Any) -> Any:
        rows = real(self, made, *args)
        made.newest_us = min(made.newest_us, T0 + DAY)
        return rows

    patch.setattr(Batcher, "_finish", finish)


def late_by_event_times(patch: pytest.MonkeyPatch) -> None:
    """One sender's clock that runs ahead makes all others late."""
    real = Batcher._finish

    def finish(self: Batcher, made: Any, rows: pa.RecordBatch, schema: pa.Schema) -> Any:
        done = real(self, made, rows, schema)
        made.newest_us = max(made.newest_us, int(pa.compute.max(rows.column("ts").cast(pa.int64())).as_py()))
        return done

    patch.setattr(Batcher, "_finish", finish)


def uncapped_watermark(patch: pytest.MonkeyPatch) -> None:
    real = world.SimTables.__init__
    patch.setattr(world.SimTables, "__init__", lambda self, fault, now_us: real(self, fault, lambda: NEVER))


def uncapped_online_clock(patch: pytest.MonkeyPatch) -> None:
    """The online clock follows arrivals, whatever the wall clock says."""
    real = Updater.__init__
    patch.setattr(
        Updater, "__init__", lambda self, *args, **more: real(self, *args, **{**more, "wall_us": lambda: NEVER})
    )


def uncapped_fill(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(world.World, "capped", lambda self, clock_us, box: clock_us)


def beyond_for_good(patch: pytest.MonkeyPatch) -> None:
    """A generation that a wrong clock has put into the future stays there."""
    patch.setattr(Updates, "_fill_beyond", lambda self, stream, definitions: None)


FAULTS: dict[str, Plant] = {
    "a door judges by its own wrong clock": own_clock,
    "steps of a clock are forgotten": steps_forgotten,
    "a clock that is set back has not stepped": only_forward,
    "a door never holds its clock against the log": never_behind,
    "a door never hears that it was released": released(None),
    "a door that was released once is released for ever": released(NEVER),
    "a door in doubt does not ask again": asked_once,
    "files: ahead is checked for the event time only": event_time_alone,
    "HTTP: ahead is checked for the event time only": event_time_alone_over_http,
    "files are not checked for ahead": files_unjudged,
    "a record that is ahead moves no position": places_unmoved,
    "the sink judges ahead again": judged_by_the_sink,
    "late is capped by a wall clock": late_by_the_wall,
    "late by event times that lie after their arrival": late_by_event_times,
    "a watermark that is read uncapped": uncapped_watermark,
    "an online clock of the future": uncapped_online_clock,
    "a fill with a clock of the future": uncapped_fill,
    "features of the future are not filled again": beyond_for_good,
}
