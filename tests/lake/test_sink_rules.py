"""A sink's rules: what is late, what a newer writer brings, when it commits, whose partition it is, and when it must
stop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from lake_actors import LENIENT, World
from test_verify_bites import lose

from millstream.base import points
from millstream.base.errors import Conflict, Corrupt, Full, Incompatible, NotFound, Recreated, Truncated, UsageError
from millstream.base.event import ARRIVED_AT, EVENT_ID, LATE, OFFSET, PARTITION
from millstream.lake import gaps, landing
from millstream.lake.contract import READINGS, T0, WIDE, ids, ids_of, proven, put, readings, rows_in
from millstream.lake.dead import DEAD, Quarantine
from millstream.lake.landing import HOLES_AFTER
from millstream.lake.positions import app_id
from millstream.lake.sink import Progress, Sink, SinkLimits
from millstream.lake.verify import verify
from millstream.log.envelope import topic_of
from millstream.log.port import Append, Ends, Slice, Topic

NOW, DAY = timedelta(0), timedelta(days=1)
SIZE = readings(1, 2).nbytes
"""Less than what the log hands out for them, which has two columns more."""


class Clock:
    """Seconds that grow when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def late(world: World) -> list[int]:
    return sorted(row["n"] for row in rows_in(world.lake.table("readings")) if row[LATE])


def test_late_rows_land_and_are_marked(world: World) -> None:
    """Against their own partition's watermark, in the order of the log, across commits, and a minute is allowed."""
    put(world.log, world.schemas, 0, 100, 41, 39, 200, 150, 139)
    put(world.log, world.schemas, 1, 1)
    progress = world.drain()
    assert (progress.rows, progress.late, late(world)) == (7, 2, [39, 139])
    put(world.log, world.schemas, 0, 138, 141)
    assert world.drain().late == 1 and late(world) == [39, 138, 139]
    assert world.lake.watermark(READINGS) == int((T0 + timedelta(seconds=140)).timestamp() * 1e6)


def test_a_clock_that_runs_ahead_makes_no_other_late(world: World) -> None:
    """An event of 2099 that arrives now is kept as it is, and moves the watermark to its arrival only."""
    ahead = (datetime(2099, 1, 1, tzinfo=UTC) - T0) // timedelta(seconds=1)
    put(world.log, world.schemas, 0, 100, ahead)
    world.drain()
    mark = world.lake.watermark(READINGS)
    assert (
        mark is not None
        and mark < time.time() * 1e6
        and [r["n"] for r in rows_in(world.lake.table("readings")) if r["ts"].year == 2099] == [ahead]
    )


def test_history_before_1970_has_a_watermark_of_its_own(world: World) -> None:
    """Its times are negative, and no time is not 0."""
    at = datetime(1960, 5, 1, tzinfo=UTC)
    put(world.log, world.schemas, 0, (at - T0) // timedelta(seconds=1))
    world.drain()
    assert world.lake.watermark(READINGS) == (
        at - timedelta(minutes=1) - datetime(1970, 1, 1, tzinfo=UTC)
    ) // timedelta(microseconds=1)


def test_no_watermark_before_the_first_row(world: World) -> None:
    assert world.lake.watermark(READINGS) is None
    put(world.log, world.schemas, 0, 1, bad=[1])
    world.drain()
    assert world.lake.watermark(READINGS) is None


def test_a_newer_writers_columns_land(world: World) -> None:
    put(world.log, world.schemas, 0, 1)
    world.drain()
    binding = topic_of(world.log, world.schemas, WIDE)
    rows = readings(2).append_column("unit", pa.array(["F"])).append_column("exact", pa.array([2.5]))
    world.log.append([Append("readings", 0, binding.schema_id, rows)])
    put(world.log, world.schemas, 0, 3)
    world.drain()  # a sink of the old class
    found = {row["n"]: (row["unit"], row["exact"]) for row in rows_in(world.lake.table("readings"))}
    assert found == {1: (None, None), 2: ("F", 2.5), 3: (None, None)}
    put(world.log, world.schemas, 0, 4)
    world.drain(of=WIDE)
    assert {row["n"]: row["unit"] for row in rows_in(world.lake.table("readings"))}[4] == "C", (
        "the class's default, for an older record"
    )
    proven(world.lake, world.log)


def test_a_column_of_another_type_stops_the_stream(world: World) -> None:
    put(world.log, world.schemas, 0, 1)
    world.drain()
    rows = pa.record_batch(
        {"who": ["a"], "n": ["no number"], "ts": pa.array([T0], pa.timestamp("us", tz="UTC")), EVENT_ID: ["x"]}
    )
    world.log.append([Append("readings", 0, 1, rows)])
    with pytest.raises(Incompatible, match='field "n" is int64 in Reading and string in the log'):
        world.drain()
    assert world.lake.table("readings").rows() == 1


@pytest.mark.parametrize(
    "limits", [SinkLimits(rows=4, age=DAY), SinkLimits(bytes=2 * SIZE, age=DAY), SinkLimits(age=timedelta(seconds=3))]
)
def test_a_commit_at_the_first_limit(world: World, limits: SinkLimits) -> None:
    clock = Clock()
    topic_of(world.log, world.schemas, READINGS)
    sink = Sink(world.log, world.schemas, world.lake, READINGS, limits=limits, clock=clock)
    put(world.log, world.schemas, 0, 1, 2)
    assert sink.step() == Progress()
    clock.now += 2.9
    assert sink.step().rows == 0
    put(world.log, world.schemas, 1, 3, 4)
    clock.now += 0.2 if limits.age == timedelta(seconds=3) else 0
    assert sink.step().rows == 4
    sink.close()


def test_what_is_buffered_is_read_again_by_the_next(world: World) -> None:
    put(world.log, world.schemas, 0, 1, 2)
    sink = world.sink()
    sink.limits = SinkLimits()
    sink.step()
    sink.close()
    assert ids(world.lake) == []
    assert world.drain().rows == 2


def test_a_group_shares_partitions_and_a_revoked_one_is_dropped(world: World) -> None:
    """With a full buffer; the new owner has it all."""
    for partition in range(3):
        put(world.log, world.schemas, partition, 10 * partition, 10 * partition + 1)
    one = world.sink()
    one.limits = SinkLimits()
    one.step()
    assert one.buffered_rows == 6
    one._assign(frozenset({0}))
    assert (sorted(one.buffer), one.buffered_rows) == ([0], 2)
    two = world.sink(partitions=[1, 2])
    assert two.drain().rows == 4
    assert one.drain().rows == 2
    put(world.log, world.schemas, 1, 12)
    one._assign(frozenset({0, 1}))
    assert one.drain().rows == 1, "what is given is read from where the table stands"
    assert ids(world.lake) == ids_of(0, 1, 10, 11, 12, 20, 21) and proven(world.lake, world.log).rows == 7
    for sink in (one, two):
        sink.close()


def test_two_members_run_and_one_leaves(world: World) -> None:
    topic_of(world.log, world.schemas, READINGS)
    stops, members = [threading.Event(), threading.Event()], [world.sink(member=name) for name in ("a", "b")]
    threads = [threading.Thread(target=member.run, args=(stop,)) for member, stop in zip(members, stops, strict=True)]
    for thread in threads:
        thread.start()

    def landed(count: int) -> None:
        deadline = time.monotonic() + 60
        while len(ids(world.lake)) < count:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    for n in range(30):
        put(world.log, world.schemas, n % 3, n)
    landed(30)
    stops[0].set()
    threads[0].join()
    for n in range(30, 45):
        put(world.log, world.schemas, n % 3, n)
    landed(45)
    stops[1].set()
    threads[1].join()
    assert ids(world.lake) == ids_of(*range(45)) and proven(world.lake, world.log).rows == 45


def test_somebody_else_was_faster(world: World) -> None:
    put(world.log, world.schemas, 0, 1, 2)
    put(world.log, world.schemas, 1, 3)
    slow = world.sink()
    slow.limits = SinkLimits()
    slow.step()
    world.drain(partitions=[0])
    found = slow.drain()
    assert (found.rows, found.dropped) == (1, 2) and ids(world.lake) == ids_of(1, 2, 3)
    slow.close()


def test_an_error_that_stays_is_raised_and_nothing_is_lost(world: World) -> None:
    """A full disk at each try: the sink gives up, and continues from the table's position when there is room."""
    put(world.log, world.schemas, 0, 1, 2)
    sink, full = world.sink(), [True]

    def handler(point: str) -> None:
        if point == "sink.files" and full[0]:
            raise Full("no space left")

    end = points.watch(handler)
    try:
        with pytest.raises(Full):
            sink.drain()
        full[0] = False
        assert sink.drain().rows == 2
    finally:
        end()
        sink.close()
    assert proven(world.lake, world.log).rows == 2


def test_no_topic(world: World) -> None:
    with pytest.raises(NotFound, match="no topic"):
        world.sink()


def test_another_topic_of_the_name(world: World) -> None:
    """Deleted and made again while the sink was stopped, and while it runs: it stops, the table is as it was."""
    put(world.log, world.schemas, 0, 1, 2)
    running = world.sink()
    running.drain()
    world.log.delete("readings")
    put(world.log, world.schemas, 0, 3)
    with pytest.raises(Recreated, match="drop the table"):
        world.sink()
    with pytest.raises(Recreated):
        running.step()
    running.close()
    assert ids(world.lake) == ids_of(1, 2)


def test_a_forgotten_position_is_no_beginning(world: World) -> None:
    put(world.log, world.schemas, 0, 1, 2)
    world.drain()
    table, topic = world.lake.table("readings"), world.log.topic("readings")
    assert topic is not None
    rows = rows_in(table)
    world.lake.drop("readings")
    world.lake.create("readings", table.schema).append([pa.RecordBatch.from_pylist(rows, schema=table.schema)])
    with pytest.raises(Corrupt, match="no position"):
        world.sink()
    world.sink(partitions=[1, 2]).close()  # nothing is known of these, and nothing is there
    assert world.lake.table("readings").position(app_id(topic, 0)) is None


def test_a_table_that_forgets_positions_is_refused(world: World) -> None:
    put(world.log, world.schemas, 0, 1)
    world.drain()
    table = world.lake.table("readings")
    table.delta.alter.set_table_properties(
        {"delta.setTransactionRetentionDuration": "interval 1 hour"}, raise_if_not_exists=False
    )
    with pytest.raises(UsageError, match="setTransactionRetentionDuration"):
        world.sink()


def test_a_log_that_lost_records(world: World) -> None:
    put(world.log, world.schemas, 0, *range(10))
    put(world.log, world.schemas, 0, *range(10, 20))
    put(world.log, world.schemas, 0, *range(20, 25))
    sink = world.sink(rows=10)
    sink._read(NOW)
    sink._land()
    sink.close()
    lose(world, 20)
    with pytest.raises(
        Truncated, match=r"records \[10, 20\) left the log before they were written .*--accept-loss readings"
    ):
        world.sink()
    found = gaps.find(world.log, world.lake, READINGS)
    assert [str(gap) for gap in found] == [
        "partition 0, offsets [10, 20): they left the log before they were written to the lake"
    ]
    gaps.accept(world.log, world.lake, READINGS, found)
    with pytest.raises(Conflict):
        gaps.accept(world.log, world.lake, READINGS, found)  # accepted once
    assert world.drain().rows == 5 and world.drain() == Progress() and gaps.find(world.log, world.lake, READINGS) == []
    assert ids(world.lake) == ids_of(*range(10), *range(20, 25))


def test_a_log_restored_from_an_older_copy(world: World) -> None:
    put(world.log, world.schemas, 0, *range(10))
    world.drain()
    with world.log._write() as con:
        con.execute("delete from batch where partition = 0")
        con.execute("update part set high = 4 where partition = 0")
    with pytest.raises(Truncated, match="older copy"):
        world.sink()


def test_verdicts_of_another_worker_stand(world: World) -> None:
    """It quarantined between our judging and our commit: our batch is made anew."""
    put(world.log, world.schemas, 0, *range(6), bad=[2])
    sink, raced = world.sink(), list[int]()

    def handler(point: str) -> None:
        if point == "sink.read" and not raced and sink.buffer:
            raced.append(1)
            end()
            other = world.sink(rows=4)
            other.limits = SinkLimits(rows=3)
            other._read(NOW)
            batches = {
                p: other.batcher.batch(p, pieces[0].start, pieces, other.table) for p, pieces in other.buffer.items()
            }
            other.batcher.quarantine(batches)
            other.close()

    end = points.watch(handler)
    assert sink.drain().rows == 5
    sink.close()
    assert raced and world.lake.table("readings__dead").rows() == 1 and proven(world.lake, world.log).dead == 1


def test_recorded_verdicts_are_those_of_the_range_the_partition_and_the_topic(world: World) -> None:
    quarantine = Quarantine(world.lake, "readings", "a" * 32)
    places = [
        ("a" * 32, 0, 1),
        ("a" * 32, 0, 2),
        ("a" * 32, 0, 3),
        ("a" * 32, 0, 4),
        ("a" * 32, 1, 2),
        ("b" * 32, 0, 2),
        ("a" * 32, 0, 2),
    ]
    letters = pa.RecordBatch.from_pylist(
        [{"topic": topic, PARTITION: partition, OFFSET: offset} for topic, partition, offset in places], DEAD
    )
    assert quarantine.recorded("app", 0, 0, 9).tolist() == []
    quarantine.land([letters], {"app": (None, 4)}, {})
    assert [quarantine.recorded("app", 0, start, end).tolist() for start, end in ((2, 4), (1, 2), (0, 9), (4, 9))] == [
        [2, 3],
        [1],
        [1, 2, 3, 4],
        [],
    ]


def test_dead_letters_with_changed_code_and_bounds(world: World) -> None:
    """Quarantine ahead of the table, then other code and other bounds, again and again: each record in one place."""
    for n in range(0, 120, 12):
        put(world.log, world.schemas, n // 12 % 2, *range(n, n + 12), bad=[n + 1, n + 7])
    for turn in range(8):
        sink = world.sink(rows=5 + 7 * turn % 11, of=LENIENT if turn % 2 else READINGS)

        def stop(point: str, at: str = ("sink.quarantined", "sink.files")[turn // 2 % 2]) -> None:
            if point == at:
                raise KeyboardInterrupt

        end = points.watch(stop)
        try:
            sink.drain()
        except KeyboardInterrupt:
            pass
        finally:
            end()
            sink.close()
    world.drain(of=LENIENT)
    found = [
        (row["_partition"], row[OFFSET])
        for name in ("readings", "readings__dead")
        for row in rows_in(world.lake.table(name))
    ]
    assert len(found) == len(set(found)) == 120
    assert 1 <= world.lake.table("readings__dead").rows() < 20, "some were judged by the one, some by the other"
    proven(world.lake, world.log, LENIENT)


class Holes:
    """A log whose partition 0 has records at even offsets below `records`, and markers of transactions up to `high`."""

    def __init__(self) -> None:
        self.known, self.records, self.high, self.low = Topic("readings", "one", 1), 20, 40, 0
        self.told: list[Mapping[int, int]] = []
        self.at = 0

    def topic(self, name: str) -> Topic:
        return self.known

    def ends(self, topic: str) -> dict[int, Ends]:
        return {0: Ends(self.low, self.high)}

    def reader(self, topic: str, positions: Mapping[int, int]) -> Holes:
        self.at = positions[0]
        return self

    def poll(self, max_rows: int, timeout: timedelta) -> list[Slice]:
        start, self.at = self.at, self.high
        if start == self.high:
            return []
        offsets = [n for n in range(start, self.records) if n % 2 == 0]
        rows = readings(*offsets).append_column(
            ARRIVED_AT, pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * len(offsets), pa.timestamp("us", tz="UTC"))
        )
        return [Slice("readings", 0, start, self.high, 1, rows.append_column(OFFSET, pa.array(offsets, pa.int64())))]

    def seek(self, partition: int, offset: int) -> None:
        self.at = offset

    def drop(self, partition: int) -> None: ...

    def position(self, partition: int) -> int:
        return self.at

    def retain(self, topic: str, *, before: Mapping[int, int], reader: str = "lake", uuid: str | None = None) -> None:
        self.told.append(before)

    def close(self) -> None: ...


def test_a_position_passes_holes(world: World) -> None:
    """Markers at the tail: the position is behind them, is committed without rows an hour later, and retention is not a
    false alarm then.
    """
    log, clock = Holes(), Clock()
    make: Callable[[], Sink] = lambda: Sink(log, world.schemas, world.lake, READINGS, clock=clock)  # type: ignore[arg-type]  # noqa: E731
    sink = make()
    assert sink.drain().rows == 10 and log.told == [{0: 0}, {0: 40}]
    log.high = 60  # aborted transactions only
    assert sink.step() == Progress()
    clock.now += HOLES_AFTER.total_seconds() - 1
    assert sink.step() == Progress() and sink.table.position("millstream/one/0") == 40
    clock.now += 2
    sink.step()
    assert sink.table.position("millstream/one/0") == 60
    log.high = 80
    sink.step()
    sink._land()  # before it stops
    log.low = log.high
    again = make()
    assert again.drain() == Progress() and again.table.position("millstream/one/0") == 80
    found = verify(world.lake, log, READINGS)  # type: ignore[arg-type]
    assert found.ok and found.rows == found.records == 10
    log.low = log.high = 90
    with pytest.raises(Truncated):
        make()


def test_retention_waits_for_what_landed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log hears a position only when it is durable."""
    put(world.log, world.schemas, 0, *range(10))
    told: list[dict[int, int]] = []
    monkeypatch.setattr(world.log, "retain", lambda topic, *, before, uuid: told.append(dict(before)))
    sink = world.sink()
    assert told == [{0: 0, 1: 0, 2: 0}], "from the moment it opens"
    sink.limits = SinkLimits()
    sink.step()
    assert len(told) == 1
    sink.drain()
    assert told[1:] == [{0: 10}]
    sink.close()


def test_a_transient_error_in_telling_is_told_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    put(world.log, world.schemas, 0, 1)
    sink, real, failed = world.sink(), world.log.retain, list[int]()

    def fails(topic: str, *, before: Mapping[int, int], uuid: str) -> None:
        if not failed:
            failed.append(1)
            raise Full("no room for a mark")
        real(topic, before=before, uuid=uuid)

    monkeypatch.setattr(world.log, "retain", fails)
    assert sink.drain().rows == 1
    put(world.log, world.schemas, 1, 2)
    assert sink.drain().rows == 1 and sink.marks == {0: 1, 1: 1, 2: 0}
    sink.close()


def test_it_gives_up_after_some_conflicts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    put(world.log, world.schemas, 0, 1)
    sink = world.sink()

    def always(batches: Sequence[Any]) -> None:
        raise Conflict("again")

    monkeypatch.setattr(sink, "_append", always)
    with pytest.raises(Conflict, match="again"):
        sink.drain()
    assert sink.buffer == {} and sink.reader.position(0) == 0, "it will read from the table's position"
    monkeypatch.undo()
    assert sink.drain().rows == 1
    sink.close()
    assert landing._TRIES == 8
