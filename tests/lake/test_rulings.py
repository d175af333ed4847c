"""Rulings on a real lake: what a verdict depends on besides the log is recorded with its first offsets, and heard by
who is at work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from lake_actors import World

from millstream.base import points
from millstream.base.errors import Conflict, Fenced, Unwritable
from millstream.base.event import OFFSET
from millstream.declare.stream import stream
from millstream.lake import aside, batch, cut, deltalog, gaps, landing
from millstream.lake.contract import READINGS, WIDE, Loose, Reading, ids, ids_of, proven, put, readings, rows_in
from millstream.lake.judge import judge
from millstream.lake.lineage import fold
from millstream.lake.parquet import encoded_rows
from millstream.lake.ruling import Rule, current, ensure, stamp
from millstream.lake.sink import Sink
from millstream.lake.table import LakeTable
from millstream.lake.verify import verify
from millstream.log.envelope import topic_of
from millstream.log.port import Append

LONGER = stream("readings", Reading, key="who", partitions=3, lateness="60s", dedupe_within=timedelta(hours=48))
LOOSE = stream("readings", Loose, key="who", partitions=3, lateness="60s")


def ruling(world: World) -> Any:
    topic = world.log.topic("readings")
    assert topic is not None
    return current(world.lake.table("readings"), topic.uuid)


def test_the_first_commit_brings_the_first_ruling(world: World) -> None:
    put(world.log, world.schemas, 0, 1, 2)
    world.drain()
    found = ruling(world)
    assert (found.number, found.amended, found.rule) == (1, 0, Rule.of(READINGS).fingerprint)
    table = world.lake.table("readings")
    assert table.version == 1 and table.metadata(1)["ruling"]["first"] == {"0": 0, "1": 0, "2": 0}
    put(world.log, world.schemas, 0, 3)
    world.drain()
    assert ruling(world) == found, "nothing changed, nothing is ruled"


def test_a_changed_window_is_a_ruling_with_first_offsets(world: World) -> None:
    put(world.log, world.schemas, 0, 1, 2)
    world.drain()
    put(world.log, world.schemas, 0, 3)
    put(world.log, world.schemas, 1, 4)
    world.drain(of=LONGER)
    table = world.lake.table("readings")
    said = table.metadata(table.version - 1)["ruling"]  # before anything is written by it
    assert (said["number"], said["first"], said["within_us"]) == (2, {"0": 2, "1": 0, "2": 0}, LONGER.dedupe_within_us)
    assert [(r.partition, r.start, r.ruling, r.within_us) for r in table.ranges()] == [
        (0, 0, 1, READINGS.dedupe_within_us),
        (0, 2, 2, LONGER.dedupe_within_us),
        (1, 0, 2, LONGER.dedupe_within_us),
    ]
    report = verify(world.lake, world.log, LONGER)
    assert report.ok and (report.recomputed, report.not_recomputed) == (2, 2)
    assert fold(world.lake, table) == 3 and world.lake.table("readings").ranges() == table.ranges()


def test_who_is_at_work_under_an_older_definition_stops(world: World) -> None:
    put(world.log, world.schemas, 0, 1)
    old = world.sink()
    assert old.drain().rows == 1
    put(world.log, world.schemas, 0, 2)
    old._read(timedelta(0))
    new = world.sink(of=LONGER)
    assert new.drain().rows == 1
    put(world.log, world.schemas, 0, 3)
    with pytest.raises(Fenced, match="another definition"):
        old.drain()
    old.close()
    assert new.drain().rows == 1 and ids(world.lake) == ids_of(1, 2, 3)
    new.close()
    proven(world.lake, world.log, LONGER)


@contextmanager
def meanwhile(point: str, do: Callable[[], object]) -> Iterator[None]:
    """`do` it once, when this process comes to the point."""
    left = [do]

    def come(reached: str) -> None:
        if reached == point and left:
            left.pop()()

    end = points.watch(come)
    try:
        yield
    finally:
        end()
    assert not left


@pytest.mark.parametrize("first", [True, False], ids=["the first letter", "one more"])
def test_a_letter_under_way_does_not_land_beside_a_row_of_another_definition(world: World, first: bool) -> None:
    """Dead by one class and good by the next: the letter of a sink that was replaced while it wrote comes too late."""
    put(world.log, world.schemas, 0, 1) if first else put(world.log, world.schemas, 0, 1, 2, bad=[2])
    world.drain()
    put(world.log, world.schemas, 0, 3, 4, bad=[3])
    old = world.sink()
    with meanwhile("append.files", lambda: world.drain(of=LOOSE)), pytest.raises(Fenced, match="another definition"):
        old.drain()
    old.close()
    assert ids(world.lake) == ids_of(1, 3, 4)
    report = proven(world.lake, world.log, LOOSE)
    assert (report.rows, report.dead) == (3, 0 if first else 1)


def test_letters_of_one_definition_at_a_time(world: World) -> None:
    """Between the ruling of a new definition and its first rows, the older one buries nothing more; started again, it
    takes the stream back.
    """
    put(world.log, world.schemas, 0, 1)
    world.drain()
    put(world.log, world.schemas, 0, 2, 3, bad=[2])
    new = world.sink(of=LOOSE)

    def taken_back() -> None:
        assert (report := world.drain()).rows == 1 and report.dead == 1

    with meanwhile("sink.files", taken_back), pytest.raises(Fenced):
        new.drain()
    new.close()
    assert ids(world.lake) == ids_of(1, 3) and proven(world.lake, world.log).dead == 1


def test_a_letter_under_way_does_not_outlive_the_ruling_that_a_cut_took(world: World) -> None:
    """Found by the simulator (seed 416387574): set aside, and the table cut back to before that while its letter was
    still being written.
    """
    put(world.log, world.schemas, 0, 1, 2, bad=[1])
    world.drain()
    put(world.log, world.schemas, 0, 3, 4)
    aside.set_aside(world.log, world.lake, READINGS, 0, 2)
    sink = world.sink()

    def power_cut() -> None:
        newest = world.lake.files.root + "/" + deltalog.commit_path("readings", world.lake.table("readings").version)
        Path(newest).write_bytes(b"")
        cut.cut(world.lake, world.log, "readings")
        assert world.drain().rows == 2

    with meanwhile("append.files", power_cut), suppress(Conflict):
        sink.drain()
    sink.close()
    world.drain()
    assert ids(world.lake) == ids_of(2, 3, 4) and proven(world.lake, world.log).dead == 1


def test_a_ruling_between_a_commit_and_the_look_at_it_is_heard(world: World) -> None:
    """The handle that a sink has after its commit may show more than that commit."""
    put(world.log, world.schemas, 0, 1)
    sink, topic = world.sink(), world.log.topic("readings")
    assert topic is not None
    ruled: list[int] = []

    def rule(point: str) -> None:
        if point == "commit.linked" and not ruled:
            ruled.append(1)
            ensure(world.lake, LONGER, topic)

    end = points.watch(rule)
    try:
        assert sink.drain().rows == 1
    finally:
        end()
    assert ruled and ruling(world).number == 2
    put(world.log, world.schemas, 0, 2)
    with pytest.raises(Fenced):
        sink.drain()
    sink.close()
    assert ruling(world).number == 2, "it did not take the stream back"


@pytest.mark.parametrize("amended", [False, True], ids=["another rule", "an amendment"])
def test_a_ruling_that_comes_while_a_column_is_added_is_heard(world: World, amended: bool) -> None:
    """The simulator's seed 5000570: adding a column takes a newer handle, and what was ruled in between was passed
    over.
    """
    put(world.log, world.schemas, 0, 1)
    sink, topic = world.sink(), world.log.topic("readings")
    assert topic is not None and sink.drain().rows == 1
    wide = (
        readings(2, 3)
        .append_column("unit", pa.array(["C", "F"]))
        .append_column("exact", pa.array([0.5, None], pa.float64()))
    )
    world.log.append([Append("readings", 0, topic_of(world.log, world.schemas, WIDE).schema_id, wide)])

    def rule(point: str) -> None:
        if point == "sink.read" and ruling(world).number == 1:
            if amended:
                aside.set_aside(world.log, world.lake, READINGS, 0, 1)
            else:
                ensure(world.lake, LONGER, topic)

    end = points.watch(rule)
    try:
        if amended:
            done = sink.drain()
            assert (done.rows, done.dead) == (1, 1)
        else:
            with pytest.raises(Fenced):
                sink.drain()
    finally:
        end()
        sink.close()
    assert ruling(world).number == 2
    world.drain(of=READINGS if amended else LONGER)
    assert ids(world.lake) == ids_of(*((1, 3) if amended else (1, 2, 3)))
    proven(world.lake, world.log, READINGS if amended else LONGER)


def test_a_reader_may_rule_too_and_fences_the_sink(world: World) -> None:
    put(world.log, world.schemas, 0, 1)
    sink, topic = world.sink(), world.log.topic("readings")
    assert topic is not None and sink.drain().rows == 1
    before = stamp(Rule.of(READINGS), world.lake.table("readings"), topic.uuid)
    assert stamp(Rule.of(READINGS), None, topic.uuid) == before, "before the first ruling it is that of the first"
    ensure(world.lake, LONGER, topic)
    assert ensure(world.lake, LONGER, topic).version == world.lake.table("readings").version
    assert stamp(Rule.of(LONGER), world.lake.table("readings"), topic.uuid) != before
    put(world.log, world.schemas, 0, 2)
    with pytest.raises(Fenced):
        sink.drain()
    sink.close()


def test_an_optional_field_more_is_no_other_rule(world: World) -> None:
    assert Rule.of(WIDE).fingerprint == Rule.of(READINGS).fingerprint != Rule.of(LONGER).fingerprint


def test_a_record_set_aside_in_front_of_a_sink_that_has_judged_it(world: World) -> None:
    """Its commit is refused, it begins again, and the record is in one place."""
    put(world.log, world.schemas, 0, *range(6))
    sink = world.sink()
    sink._read(timedelta(0))
    sink.batcher.batch(0, 0, sink.buffer[0], sink.table)
    aside.set_aside(world.log, world.lake, READINGS, 0, 3)
    aside.set_aside(world.log, world.lake, READINGS, 0, 3)
    sink.drain()
    sink.close()
    assert ids(world.lake) == ids_of(0, 1, 2, 4, 5) and [
        row[OFFSET] for row in rows_in(world.lake.table("readings__dead"))
    ] == [3]
    assert proven(world.lake, world.log).dead == 1 and ruling(world).amended == 1


def test_a_gap_is_accepted_while_sinks_commit(world: World) -> None:
    put(world.log, world.schemas, 0, *range(4))
    put(world.log, world.schemas, 1, 10)
    with world.log._write() as con:
        con.execute("delete from batch where partition = 0")
        con.execute("update part set low = 4 where partition = 0")
    found = gaps.find(world.log, world.lake, READINGS)
    other = world.sink(partitions=[1])
    assert other.drain().rows == 1
    gaps.accept(world.log, world.lake, READINGS, found)
    put(world.log, world.schemas, 1, 11)
    assert other.drain().rows == 1, "an amendment is no other definition"
    other.close()
    with pytest.raises(Conflict):
        gaps.accept(world.log, world.lake, READINGS, found)
    assert verify(world.lake, world.log, READINGS).ok


@pytest.mark.parametrize("where", ["judged", "written"])
def test_a_record_that_cannot_be_converted_is_named_and_costs_only_itself(
    world: World, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A fault of ours, planted: one value of n makes a conversion fail, in memory."""
    put(world.log, world.schemas, 0, *range(20))

    def poisoned(real: Any, rows_of: Any) -> Any:
        def work(*args: Any, **more: Any) -> Any:
            for rows in rows_of(args):
                if 13 in rows.column(rows.schema.get_field_index("n")).to_pylist():
                    raise OverflowError("date value out of range")
            return real(*args, **more)

        return work

    if where == "judged":
        monkeypatch.setattr(batch, "judge", poisoned(judge, lambda args: [args[1]]))
    else:
        monkeypatch.setattr(landing, "encoded_rows", poisoned(encoded_rows, lambda args: [args[0]]))
        monkeypatch.setattr(LakeTable, "write", poisoned(LakeTable.write, lambda args: list(args[1])))
    with pytest.raises(Unwritable, match=r"record 0:13 of .*OverflowError.*millstream dead set readings 0:13"):
        world.drain()
    aside.set_aside(world.log, world.lake, READINGS, 0, 13)
    assert world.drain().rows == 19 and proven_rows(world) == ids_of(*(n for n in range(20) if n != 13))


def proven_rows(world: World) -> list[str]:
    return ids(world.lake)


def test_a_failed_write_is_nobodys_fault(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    put(world.log, world.schemas, 0, *range(5))

    def fails(*args: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("millstream.lake.parquet.write", fails)
        sink = Sink(world.log, world.schemas, world.lake, READINGS)
        with pytest.raises(Exception, match="space"):
            sink.drain()
        sink.close()
    assert world.drain().rows == 5 and proven(world.lake, world.log).dead == 0
