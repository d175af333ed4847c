"""Rows too far ahead, moved to the dead letters of a real lake: what each reader of the table finds afterwards, and
what a kill leaves.
"""

from __future__ import annotations

import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from lake_actors import LATEST_US, Stage, World

from millstream.base import points
from millstream.base.errors import Conflict, Corrupt, NotFound
from millstream.base.event import ARRIVED_AT, EVENT_ID, OFFSET, PARTITION
from millstream.declare.stream import stream
from millstream.lake import checkpoint, compact, deltalog
from millstream.lake.contract import READINGS, T0, Reading, ids, proven, put, rows_in, unreadable
from millstream.lake.cut import cut
from millstream.lake.dead import MOVED
from millstream.lake.far import look
from millstream.lake.lineage import fold
from millstream.lake.move import Moved, move, open_bound
from millstream.lake.positions import NEVER, time_id
from millstream.lake.ruling import Rule, current, stamp
from millstream.lake.verify import verify
from millstream.log.envelope import topic_of
from millstream.log.port import Append

FAR = 3_000_000_000
"""Seconds after T0: 2115."""


def sow(world: World, partition: int, *said: tuple[str, int], of: Any = READINGS, behind: int = 0) -> None:
    """Readings of these ids, these seconds after T0; each an append of its own, arrived when it happened or so much
    later, or now if that is earlier.
    """
    binding = topic_of(world.log, world.schemas, of)
    for id, seconds in said:
        at = T0 + timedelta(seconds=seconds)
        rows = {
            "who": pa.array(["w"]),
            "n": pa.array([seconds % 1000], pa.int64()),
            "ts": pa.array([at], pa.timestamp("us", "UTC")),
            EVENT_ID: pa.array([id]),
            ARRIVED_AT: pa.array(
                [at + timedelta(seconds=behind) if seconds < FAR else T0 + timedelta(seconds=seconds - FAR)],
                pa.timestamp("us", "UTC"),
            ),
        }
        world.log.append([Append("readings", partition, binding.schema_id, pa.record_batch(rows))])


def moved(world: World, of: Any = READINGS) -> Moved:
    done = move(world.log, world.lake, of, LATEST_US)
    assert done is not None
    return done


def letters(world: World) -> dict[tuple[int, int], str]:
    found = rows_in(world.lake.table("readings__dead")) if world.lake.exists("readings__dead") else []
    assert len({(row[PARTITION], row[OFFSET]) for row in found}) == len(found)
    return {(row[PARTITION], row[OFFSET]): row["error"] for row in found}


def late(world: World) -> list[str]:
    return sorted(row[EVENT_ID] for row in rows_in(world.lake.table("readings")) if row["_late"])


@pytest.fixture
def poisoned(world: World) -> World:
    """Two partitions, several commits: a row of 2115, a record that it made a duplicate, rows that it made late."""
    sow(world, 0, ("a", 0), ("b", 10))
    world.drain()
    sow(world, 0, ("x", FAR + 5_000), ("x", 5_001), ("c", 5_002))
    sow(world, 1, ("d", 0), ("d", 1))
    world.drain()
    sow(world, 0, ("e", 4_990))
    sow(world, 0, ("f", 4_000), behind=61)
    world.drain()
    assert ids(world.lake) == ["a", "b", "c", "d", "e", "f", "x"] and late(world) == ["f"]
    return world


def test_nothing_too_far_ahead_is_nothing_to_do(world: World) -> None:
    with pytest.raises(NotFound, match="no topic"):
        move(world.log, world.lake, READINGS, LATEST_US)
    sow(world, 0, ("a", 0))
    world.drain()
    assert move(world.log, world.lake, READINGS, LATEST_US) is None
    assert world.lake.table("readings").version == 1, "no commit of its own"


def test_rows_letters_and_counts_afterwards(poisoned: World) -> None:
    found = look(poisoned.lake.table("readings"), READINGS, LATEST_US)
    assert found is not None and (found.rows, found.of) == (1, 7)
    assert (
        str(found)
        == '1 of 7 rows lies too far ahead (later than 2030-01-01 00:00:00 UTC): 0:2 event time "ts" is 2115-01-25'
        " 06:43:20 UTC, more than 1d ahead"
    )
    done = moved(poisoned)
    assert (done.rows, done.found, done.buried, done.doubled, done.unread) == (1, 1, 0, 0, ())
    assert str(done).startswith(
        "1 row later than 2030-01-01 00:00:00 UTC moved to the dead letters; 1 record that had been dropped as"
        " duplicates"
    )
    assert ids(poisoned.lake) == ["a", "b", "c", "d", "e", "f", "x"]
    (x,) = [row for row in rows_in(poisoned.lake.table("readings")) if row[EVENT_ID] == "x"]
    assert (x[OFFSET], x["ts"]) == (3, T0 + timedelta(seconds=5_001)), "the corrected one, which had been dropped"
    assert [row[OFFSET] for row in rows_in(poisoned.lake.table("readings")) if row[PARTITION] == 0] == [
        0,
        1,
        3,
        4,
        5,
        6,
    ], "in the order of the log"
    ((place, error),) = letters(poisoned).items()
    assert (
        place == (0, 2)
        and error
        == f'{MOVED}: event time "ts" is 2115-01-25 06:43:20 UTC, more than 1d ahead (later than 2030-01-01 00:00:00'
        " UTC); correct the time and send the record again"
    )
    (letter,) = rows_in(poisoned.lake.table("readings__dead"))
    assert (
        letter["raw"] == b'{"who": "w", "n": 0, "ts": "2115-01-25 06:43:20.000000Z"}'
        and letter["rule"] == Rule.of(READINGS).fingerprint
    )
    report = proven(poisoned.lake, poisoned.log)
    assert (report.records, report.rows, report.dead, report.duplicates) == (9, 7, 1, 1)
    assert move(poisoned.log, poisoned.lake, READINGS, LATEST_US) is None
    assert look(poisoned.lake.table("readings"), READINGS, LATEST_US) is None


def test_flags_and_the_watermark_are_as_if_it_had_never_come(world: World) -> None:
    """Both of its times lie ahead: every row after it was late."""
    sow(world, 0, ("a", 0))
    binding = topic_of(world.log, world.schemas, READINGS)
    at = pa.array([T0 + timedelta(seconds=FAR)], pa.timestamp("us", "UTC"))
    rows = pa.record_batch({"who": ["w"], "n": pa.array([1], pa.int64()), "ts": at, EVENT_ID: ["x"], ARRIVED_AT: at})
    world.log.append([Append("readings", 0, binding.schema_id, rows)])
    sow(world, 0, ("b", 100), ("c", 10), ("d", 90), behind=61)
    world.drain(2)
    assert late(world) == ["b", "c", "d"]
    assert str(moved(world)).endswith("_late set anew in 2 rows")
    assert late(world) == ["c"]
    table = world.lake.table("readings")
    assert table.position(time_id(binding.topic, 0)) == int((T0 + timedelta(seconds=100)).timestamp()) * 1_000_000
    assert world.lake.watermark(READINGS) == int((T0 + timedelta(seconds=40)).timestamp()) * 1_000_000
    assert 'arrival time "_arrived_at"' not in letters(world)[0, 1], "of two wrong times the event's is named"
    sow(world, 0, ("g", 30), behind=61)
    world.drain()
    assert late(world) == ["c", "g"], "and so is what comes later"
    proven(world.lake, world.log)


def test_a_partition_that_has_no_rows_left(world: World) -> None:
    sow(world, 0, ("x", FAR))
    world.drain()
    moved(world)
    table, topic = world.lake.table("readings"), world.log.topic("readings")
    assert (
        topic is not None
        and table.rows() == 0
        and table.position(time_id(topic, 0)) == NEVER
        and world.lake.watermark(READINGS) is None
    )
    checkpoint.make(table)
    sow(world, 0, ("a", 5))
    world.drain()
    assert (
        world.lake.watermark(READINGS) == int((T0 + timedelta(seconds=5 - 60)).timestamp()) * 1_000_000
        and late(world) == []
    )
    proven(world.lake, world.log)


def test_what_is_dropped_below_the_log_is_named(poisoned: World) -> None:
    with poisoned.log._write() as con:
        con.execute("delete from batch where partition = 0 and end <= 5")
        con.execute("update part set low = 5 where partition = 0")
    assert poisoned.log.ends("readings")[0].low == 5
    done = moved(poisoned)
    assert (done.rows, done.found) == (1, 0) and [(u.partition, u.start, u.end, u.dropped) for u in done.unread] == [
        (0, 3, 5, 1)
    ]
    assert str(done).endswith(
        "not judged again: partition 0, offsets [3, 5): the log has removed them; at most 1 record was dropped as"
        " duplicates there"
    )
    assert ids(poisoned.lake) == ["a", "b", "c", "d", "e", "f"]
    report = proven(poisoned.lake, poisoned.log)
    assert (report.rows, report.dead, report.duplicates) == (6, 1, 2)


def test_other_dead_letters_stay_and_are_counted(world: World) -> None:
    put(world.log, world.schemas, 0, 1, 2, bad=[2])
    unreadable(world.log, world.schemas, 0, b"?")
    sow(world, 0, ("x", FAR), ("x", FAR), ("x", FAR + 200_000))
    world.drain()
    done = moved(world)
    assert (done.rows, done.buried, done.found) == (2, 1, 0)
    assert "1 duplicate of them moved as well" in str(done)
    assert sorted(letters(world)) == [(0, n) for n in range(1, 6)]
    report = proven(world.lake, world.log)
    assert (report.records, report.rows, report.dead, report.duplicates) == (6, 1, 5, 0)


@pytest.mark.parametrize("when", ["before", "after", "both"])
def test_folded_lineage_tells_the_same(poisoned: World, when: str) -> None:
    if when != "after":
        fold(poisoned.lake, poisoned.lake.table("readings"))
    before = poisoned.lake.table("readings")
    ranges = before.ranges()
    moved(poisoned)
    assert before.ranges() == ranges, "an older version has its own counts"
    told = poisoned.lake.table("readings").ranges()
    assert [(r.start, r.end, r.version) for r in told] == [(r.start, r.end, r.version) for r in ranges]
    assert [(r.rows, r.dead, r.duplicates) for r in told if r.restated] == [(2, 1, 0)]
    if when != "before":
        fold(poisoned.lake, poisoned.lake.table("readings"))
        assert poisoned.lake.table("readings").ranges() == told and before.ranges() == ranges
    proven(poisoned.lake, poisoned.log)


def test_lineage_of_an_older_millstream_gets_the_column(poisoned: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from millstream.lake import lineage

    with monkeypatch.context() as patched:
        patched.setattr(lineage, "LINEAGE", pa.schema([f for f in lineage.LINEAGE if f.name != "restated"]))
        fold(poisoned.lake, poisoned.lake.table("readings"))
    assert "restated" not in poisoned.lake.table("readings__lineage").schema.names
    moved(poisoned)
    told = poisoned.lake.table("readings").ranges()
    fold(poisoned.lake, poisoned.lake.table("readings"))
    assert poisoned.lake.table("readings").ranges() == told
    proven(poisoned.lake, poisoned.log)


def test_who_reads_what_was_added(poisoned: World) -> None:
    """The move takes rows away: who only adds must read the table whole. Who adds new files finds the rows that are
    there now.
    """
    table = poisoned.lake.table("readings")
    moved(poisoned)
    now = poisoned.lake.table("readings")
    assert now.appended(table.version) is None and now.added(table.version) == []
    since = now.added(1)  # the first commit's file had not been edited
    assert len(since) == 2 and set(since) <= set(now.snapshot().files) and all(Path(path).exists() for path in since)
    assert rows_in(table) == rows_in(poisoned.lake.table("readings").at(table.version)), "an older version is as it was"


def test_compacted_before_and_after(poisoned: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "AT_LEAST", (2, 2, 2))
    first = poisoned.lake.table("readings").version
    assert compact.compact(poisoned.lake.table("readings")) == 3
    moved(poisoned)
    proven(poisoned.lake, poisoned.log)
    now = poisoned.lake.table("readings")
    assert now.added(0) == list(now.snapshot().files), "all is new, and in one file"
    assert now.added(first) == [] and now.appended(first) is None
    from millstream.base.errors import Truncated

    with pytest.raises(Truncated, match="read the table whole"):
        now.added(1)
    sow(poisoned, 0, ("h", 6_000))
    poisoned.drain()
    compact.compact(poisoned.lake.table("readings"))
    proven(poisoned.lake, poisoned.log)


def test_a_compaction_that_comes_between_is_no_loss(poisoned: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "AT_LEAST", (2, 2, 2))
    done: list[int] = []

    def join(point: str) -> None:
        if point == "edit.files" and not done:
            done.append(compact.compact(poisoned.lake.table("readings")))

    end = points.watch(join)
    try:
        assert moved(poisoned).rows == 1
    finally:
        end()
    assert done == [3] and len(letters(poisoned)) == 1
    proven(poisoned.lake, poisoned.log)


def test_a_sink_at_work_begins_again(poisoned: World) -> None:
    """It remembers the moved row's id, and a watermark of 2115."""
    sink = poisoned.sink()
    sow(poisoned, 0, ("g", 5_010))
    sink.drain()
    sow(poisoned, 0, ("x", FAR + 5_020), ("h", 5_020))
    sink._read(timedelta(0))
    before = current(poisoned.lake.table("readings"), sink.topic.uuid)
    moved(poisoned)
    after = current(poisoned.lake.table("readings"), sink.topic.uuid)
    assert (after.number, after.amended, after.rule) == (before.number + 1, before.amended + 1, before.rule)
    sow(poisoned, 0, ("x", 5_030))
    sink.drain()
    sink.close()
    assert ids(poisoned.lake) == ["a", "b", "c", "d", "e", "f", "g", "h", "x"], (
        "of x the corrected one is kept; what came later repeats it"
    )
    proven(poisoned.lake, poisoned.log)


def test_sinks_that_commit_in_between(poisoned: World) -> None:
    """Each try finds that somebody committed: the next one judges what landed meanwhile as well."""
    count = [0]

    def land(point: str) -> None:
        if point == "edit.files" and count[0] < 2:
            count[0] += 1
            sow(poisoned, 0, (f"y{count[0]}", FAR + 5_100), ("x", 5_100))
            poisoned.drain()

    end = points.watch(land)
    try:
        done = moved(poisoned)
    finally:
        end()
    assert count == [2] and done.rows == 3
    assert sorted(letters(poisoned)) == [(0, 2), (0, 7), (0, 9)] and "y1" not in ids(poisoned.lake)
    proven(poisoned.lake, poisoned.log)


def test_sinks_that_never_leave_a_gap(poisoned: World) -> None:
    def land(point: str) -> None:
        if point == "edit.files":
            sow(poisoned, 0, ("z", 5_100))
            poisoned.drain()

    end = points.watch(land)
    try:
        with pytest.raises(Conflict, match="stop its sinks and try again"):
            moved(poisoned)
    finally:
        end()
    assert moved(poisoned).rows == 1
    proven(poisoned.lake, poisoned.log)


def test_a_table_that_is_not_what_its_commits_say_is_left_alone(poisoned: World) -> None:
    table = poisoned.lake.table("readings")
    extra = pa.RecordBatch.from_pylist([{**rows_in(table)[2], OFFSET: 3}], schema=table.schema)
    table.append(extra)
    with pytest.raises(
        Corrupt,
        match=(
            r"the commit says 2 rows, and the table has 3; nothing is moved while millstream verify finds the stream"
            r" broken"
        ),
    ):
        moved(poisoned)
    assert len(rows_in(poisoned.lake.table("readings"))) == 8


def test_a_log_that_ends_before_the_table(poisoned: World) -> None:
    """Restored from an older copy: what it lacks is named, and nobody waits for it."""
    with poisoned.log._write() as con:
        con.execute("delete from batch where partition = 0 and start >= 3")
        con.execute("update part set high = 3 where partition = 0")
    assert poisoned.log.ends("readings")[0].high == 3
    done = moved(poisoned)
    assert [(one.start, one.end, one.dropped, one.why) for one in done.unread] == [
        (3, 7, 1, "the log ends before them")
    ]
    assert ids(poisoned.lake) == ["a", "b", "c", "d", "e", "f"]


def test_features_are_counted_again(poisoned: World) -> None:
    topic = poisoned.log.topic("readings")
    assert topic is not None
    before = stamp(Rule.of(READINGS), poisoned.lake.table("readings"), topic.uuid)
    moved(poisoned)
    assert stamp(Rule.of(READINGS), poisoned.lake.table("readings"), topic.uuid) != before


def test_a_changed_definition_and_what_older_ranges_were_judged_by(world: World) -> None:
    """The window of each range decides in it, also where records are judged again."""
    short = stream("readings", Reading, key="who", partitions=3, lateness="60s", dedupe_within="5s")
    sow(world, 0, ("x", FAR), ("x", 1), ("x", 3))
    world.drain(of=short)
    sow(world, 0, ("x", 100))
    world.drain()
    assert [row[OFFSET] for row in rows_in(world.lake.table("readings"))] == [0]
    done = moved(world)
    assert (done.found, done.doubled) == (1, 0)
    assert [row[OFFSET] for row in rows_in(world.lake.table("readings"))] == [1]
    proven(world.lake, world.log)


def test_a_torn_tail_takes_the_move_with_it(poisoned: World) -> None:
    """The letters stand, so the sink buries the record; what is left of the move is finished by the next."""
    moved(poisoned)
    files, version = poisoned.lake.files, poisoned.lake.table("readings").version
    for cut_at in (version, 2):  # the move itself; the commit that had brought the row
        path = Path(files.root) / deltalog.commit_path("readings", cut_at)
        path.write_bytes(b"")
        cut(poisoned.lake, poisoned.log, "readings")
        topic = poisoned.log.topic("readings")
        assert topic is not None
        poisoned.drain()
        move(poisoned.log, poisoned.lake, READINGS, LATEST_US)
        assert open_bound(poisoned.lake.table("readings"), topic) is None
        assert list(letters(poisoned)) == [(0, 2)] and ids(poisoned.lake) == ["a", "b", "c", "d", "e", "f", "x"]
        proven(poisoned.lake, poisoned.log)


# killed


def test_what_was_begun_is_finished_by_its_own_bound(poisoned: World) -> None:
    """The bound was decided once; by a later one the row of 2115 would stay, with its letter."""

    def die(point: str) -> None:
        if point == "sink.quarantined":
            raise KeyboardInterrupt

    end = points.watch(die)
    try:
        with pytest.raises(KeyboardInterrupt):
            moved(poisoned)
    finally:
        end()
    topic = poisoned.log.topic("readings")
    assert topic is not None and open_bound(poisoned.lake.table("readings"), topic) == LATEST_US
    done = move(poisoned.log, poisoned.lake, READINGS, LATEST_US * 10)
    assert done is not None and (done.bound_us, done.rows) == (LATEST_US, 1)
    proven(poisoned.lake, poisoned.log)


POINTS = [
    ("move.bound", 1),
    ("append.files", 1),
    ("sink.quarantined", 1),
    ("edit.files", 1),
    ("commit.ready", 3),
    ("commit.linked", 3),
    ("move.committed", 1),
]


@pytest.mark.fault
@pytest.mark.parametrize("then", ["move", "sink first"])
@pytest.mark.parametrize("point", POINTS, ids=[name for name, _ in POINTS])
def test_killed_at(poisoned: World, stage: Stage, point: tuple[str, int], then: str) -> None:
    sow(poisoned, 0, ("y", FAR + 5_100), ("y", FAR + 5_101), ("y", 5_200))
    poisoned.drain()
    assert stage.spawn("move", point=(*point, "kill")).wait() == -signal.SIGKILL, stage.told()
    if then == "sink first":
        sow(poisoned, 0, ("y", 5_300), ("i", 5_300))
        assert poisoned.drain().records == 2
    move(poisoned.log, poisoned.lake, READINGS, LATEST_US)
    topic = poisoned.log.topic("readings")
    assert topic is not None and open_bound(poisoned.lake.table("readings"), topic) is None
    assert sorted(letters(poisoned)) == [(0, 2), (0, 7), (0, 8)]
    report = proven(poisoned.lake, poisoned.log)
    assert report.dead == 3 and look(poisoned.lake.table("readings"), READINGS, LATEST_US) is None
    assert ids(poisoned.lake) == sorted(
        ["a", "b", "c", "d", "e", "f", "x", "y", *(["i"] if then == "sink first" else [])]
    )
    assert verify(poisoned.lake, poisoned.log, READINGS, deep=True).ok


@pytest.mark.fault
def test_its_answer_was_lost(poisoned: World, stage: Stage) -> None:
    """A commit landed and the doctor was told that it failed: he says so, and the next one finds it done."""
    assert stage.spawn("move", point=("commit.linked", 3, "raise")).wait() == 1
    assert move(poisoned.log, poisoned.lake, READINGS, LATEST_US) is None
    proven(poisoned.lake, poisoned.log)
