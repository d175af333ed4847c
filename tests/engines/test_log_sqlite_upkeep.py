"""What only the embedded log promises: dense offsets, all or nothing, joined batches, retention in steps, damage that
is noticed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.strategies import integers, sampled_from

from millstream.base.errors import ConfigError, Corrupt, Damaged, NotFound, Truncated, UsageError
from millstream.base.event import ARRIVED_AT, OFFSET
from millstream.base.registry import engine
from millstream.engines.sqlite import upkeep
from millstream.engines.sqlite.log import SqliteLog
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.log.contract import numbers, read, rows
from millstream.log.port import Append


def open_log(folder: Path) -> SqliteLog:
    url = f"sqlite:{folder}/log.db"
    return SqliteLog(url, SqliteSchemas(url))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    made = open_log(tmp_path)
    yield made
    made.close()


def stored(log: SqliteLog) -> list[tuple[int, int]]:
    return log._rows("select start, end from batch order by topic, partition, start")


def age(log: SqliteLog, upto: int, hours: float = 3) -> None:
    """Batches before this offset were appended long ago."""
    with log._write() as con:
        con.execute("update batch set appended_us = appended_us - ? where end <= ?", (int(hours * 3.6e9), upto))


def test_found_by_url() -> None:
    assert engine("log", "sqlite:.millstream/log.db") is SqliteLog and engine("schemas", "sqlite:x.db") is SqliteSchemas


def test_offsets_are_dense_and_an_append_is_all_or_nothing(log: SqliteLog) -> None:
    log.create("t", partitions=2)
    ranges = log.append([Append("t", 0, 1, rows(1, 2)), Append("t", 1, 1, rows(3)), Append("t", 0, 1, rows(4))])
    assert [(r.partition, r.start, r.end) for r in ranges] == [(0, 0, 2), (1, 0, 1), (0, 2, 3)]
    with pytest.raises(NotFound, match="partition 9"):
        log.append([Append("t", 0, 1, rows(5)), Append("t", 9, 1, rows(6))])
    assert log.append([Append("t", 0, 1, rows(7))])[0].start == 3
    (piece,) = read(log.reader("t", {0: 0}), 4)
    assert piece.rows.column(OFFSET).to_pylist() == [0, 1, 2, 3] and numbers([piece]) == [1, 2, 4, 7]


def test_small_appends_of_one_call_share_a_batch(log: SqliteLog) -> None:
    log.create("t", partitions=1)
    log.append([Append("t", 0, 1, rows(n)) for n in range(50)])
    log.append([Append("t", 0, 1, rows(50)), Append("t", 0, 2, rows(51)), Append("t", 0, 1, rows(52, ids=True))])
    assert stored(log) == [(0, 50), (50, 51), (51, 52), (52, 53)]
    assert numbers(read(log.reader("t", {0: 0}), 53)) == list(range(53))


def test_runs_of_small_batches_are_joined(log: SqliteLog) -> None:
    log.create("t", partitions=2)
    for n in range(40):
        log.append([Append("t", 0, 1, rows(2 * n, 2 * n + 1)), Append("t", 1, 1, rows(n))])
    log.append([Append("t", 0, 2, rows(80))])
    before = [p.rows for p in read(log.reader("t", {0: 0, 1: 0}), 121)]
    log.maintain()
    assert stored(log) == [(0, 80), (80, 81), (0, 40)]
    after = [p.rows for p in read(log.reader("t", {0: 0, 1: 0}), 121)]
    assert (
        pa.Table.from_batches(before)
        .sort_by([("n", "ascending"), (OFFSET, "ascending")])
        .equals(pa.Table.from_batches(after).sort_by([("n", "ascending"), (OFFSET, "ascending")]))
    )
    for n in range(81, 101):
        log.append([Append("t", 0, 2, rows(n))])
    reader = log.reader("t", {0: 33})
    assert numbers(reader.poll(3, timedelta(0))) == [33, 34, 35]
    log.maintain()
    assert numbers(read(reader, 65)) == list(range(36, 101)), "a reader in the middle notices nothing"


def test_a_damaged_batch_is_left_out_and_its_neighbours_are_joined(log: SqliteLog) -> None:
    """Upkeep that failed at it ended every sink of the process, round after round."""
    log.create("t", partitions=2)
    for n in range(30):
        log.append([Append("t", 0, 1, rows(n)), Append("t", 1, 1, rows(n))])
    with log._write() as con:
        con.execute("update batch set data = zeroblob(length(data)) where partition = 0 and start = 10")
    log.maintain()
    log.maintain()
    assert stored(log) == [(0, 10), (10, 11), (11, 30), (0, 30)]
    assert numbers(read(log.reader("t", {0: 11}), 19)) == list(range(11, 30))


def test_a_large_append_becomes_several_batches(log: SqliteLog) -> None:
    log.create("t", partitions=1)
    noise = random.Random(1)
    big = pa.record_batch({"n": pa.array(range(40_000)), "text": [noise.randbytes(250).hex() for _ in range(40_000)]})
    (range_,) = log.append([Append("t", 0, 1, big)])
    sizes = [n for (n,) in log._rows("select length(data) from batch")]
    assert (range_.start, range_.end) == (0, 40_000) and len(sizes) >= 3 and max(sizes) < 9_000_000
    assert pa.Table.from_batches([p.rows.select(["n", "text"]) for p in read(log.reader("t", {0: 0}), 40_000)]).equals(
        pa.Table.from_batches([big])
    )


def test_retention_goes_by_age_and_waits_for_the_slowest_reader(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "STEP_BYTES", 2_000)  # several steps
    log.create("t", partitions=1, retention=timedelta(hours=1))
    for n in range(30):
        log.append([Append("t", 0, 1, rows(*range(n * 1000, n * 1000 + 1000)))])
    log.retain("t", before={0: 25_500}, reader="lake")
    log.retain("t", before={0: 5_000}, reader="updater")
    log.retain("t", before={0: 3_000}, reader="updater")
    age(log, 20_000)
    log.maintain()
    assert log.ends("t")[0].low == 3_000, "a mark may move back, and the slowest decides"
    log.retain("t", before={}, reader="updater")
    log.maintain()
    assert log.ends("t")[0].low == 20_000
    age(log, 30_000)
    log.maintain()
    assert log.ends("t")[0].low == 25_000, "whole batches only"
    with pytest.raises(Truncated, match=r"offset 24999 is asked for, and the log holds \[25000, 30000\)"):
        log.reader("t", {0: 24_999}).poll(1, timedelta(0))
    assert numbers(read(log.reader("t", {0: 25_000}), 5_000)) == list(range(25_000, 30_000))
    assert log.append([Append("t", 0, 1, rows(1))])[0].start == 30_000


def test_a_clock_that_jumps_back_makes_no_hole(log: SqliteLog) -> None:
    log.create("t", partitions=1, retention=timedelta(hours=1))
    for n in range(3):
        log.append([Append("t", 0, 1, rows(*range(n * 1000, n * 1000 + 1000)))])
    with log._write() as con:
        con.execute("update batch set appended_us = 0 where start = 1000")
    log.maintain()
    assert log.ends("t")[0].low == 0


def damage(log: SqliteLog, partition: int, start: int) -> None:
    """Flip a bit of a stored batch."""
    with log._write() as con:
        (data,) = con.execute("select data from batch where partition = ? and start = ?", (partition, start)).fetchone()
        con.execute(
            "update batch set data = ? where partition = ? and start = ?",
            (data[:700] + bytes([data[700] ^ 1]) + data[701:], partition, start),
        )


def test_damage_is_noticed_and_moves_nobody(log: SqliteLog) -> None:
    log.create("t", partitions=1)
    log.append([Append("t", 0, 1, rows(*range(5_000)))])
    damage(log, 0, 0)
    reader = log.reader("t", {0: 0})
    with pytest.raises(Damaged, match=r'topic "t", partition 0, offsets \[0, 5000\).*--accept-loss t'):
        reader.poll(10, timedelta(0))
    assert reader.position(0) == 0
    reader.seek(0, 4_000)
    with pytest.raises(Damaged) as caught:
        reader.poll(10, timedelta(0))
    assert (caught.value.partition, caught.value.start, caught.value.end) == (0, 4_000, 5_000)


def test_what_lies_before_a_damage_and_beside_it_is_read(log: SqliteLog) -> None:
    log.create("t", partitions=2)
    for n in range(6):
        for partition in (0, 1):
            log.append([Append("t", partition, 1, rows(*range(n * 100, n * 100 + 100)))])
    damage(log, 0, 300)
    reader = log.reader("t", {0: 0, 1: 0})
    pieces = reader.poll(10_000, timedelta(0))
    assert {p: sum(piece.rows.num_rows for piece in pieces if piece.partition == p) for p in (0, 1)} == {0: 300, 1: 600}
    log.append([Append("t", 1, 1, rows(600))])  # however much comes in other partitions, the damage is told
    with pytest.raises(Damaged, match=r"offsets \[300, 400\)"):
        reader.poll(10_000, timedelta(0))
    assert reader.position(0) == 300 and reader.position(1) == 600
    reader.seek(0, 400)
    assert sum(piece.rows.num_rows for piece in reader.poll(10_000, timedelta(0))) == 201


def test_a_file_of_a_newer_version_is_left_alone(log: SqliteLog, tmp_path: Path) -> None:
    log._con.execute("pragma user_version=99")
    with pytest.raises(ConfigError, match="format 99"):
        open_log(tmp_path)


def test_a_file_that_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"this is not a database, and it is long enough to be looked at" * 100)
    with pytest.raises(Corrupt, match=r"log\.db"):
        open_log(tmp_path)


def test_rows_are_kept_without_what_the_log_makes_itself(log: SqliteLog) -> None:
    log.create("t", partitions=1)
    odd = pa.record_batch(
        {
            "_offset": [7],
            "_event_id": ["a"],
            "n": pa.array([1]).dictionary_encode(),
            "_arrived_at": pa.array([None], pa.timestamp("ms", tz="UTC")),
        }
    )
    log.append([Append("t", 0, 1, odd.replace_schema_metadata({"pandas": "much"}))])
    (piece,) = read(log.reader("t", {0: 0}), 1)
    record = piece.rows.to_pylist()[0]
    assert (
        (record["n"], record["_event_id"], record[OFFSET]) == (1, "a", 0)
        and record[ARRIVED_AT] is not None
        and not piece.rows.schema.metadata
    )
    with pytest.raises(UsageError, match="one name"):
        log.append([Append("t", 0, 1, pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]))])


@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(),
    reason="only where /proc names open folders are long paths woken; elsewhere readers look every 20 ms",
)
def test_readers_in_deep_folders_are_woken_too(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 20) / ("deeper" * 20)
    log = open_log(folder)
    log.create("t", partitions=1)
    reader = log.reader("t", {0: 0})
    log.append([Append("t", 0, 1, rows(1))])
    assert reader._ear._socket is not None and reader._ear._socket.recv(16) == b"!"
    reader.close()
    assert not list((folder / "log.db.readers").iterdir())
    log.close()


def test_a_closed_log_says_so(log: SqliteLog, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    closed = open_log(tmp_path / "other")
    closed.close()
    with pytest.raises(UsageError, match="is closed"):
        closed.topics()


class Story(RuleBasedStateMachine):
    """Appends, commits, take-overs, upkeep, retention and re-opening, beside lists."""

    folder: Path

    @initialize()
    def begin(self) -> None:
        import tempfile

        self.temporary = tempfile.TemporaryDirectory()
        self.log = open_log(Path(self.temporary.name))
        self.log.create("t", partitions=2, retention=timedelta(hours=1))
        self.log.retain("t", before={0: 0, 1: 0})  # there is a reader, and it has read nothing
        self.model: dict[int, list[int]] = {0: [], 1: []}
        self.low, self.count, self.writers = {0: 0, 1: 0}, 0, list[Any]()
        self.position: str | None = None
        self.readers = {p: self.log.reader("t", {p: 0}) for p in (0, 1)}
        self.read: dict[int, list[int]] = {0: [], 1: []}

    def fresh(self, many: int) -> range:
        self.count += many
        return range(self.count - many, self.count)

    @rule(partition=integers(0, 1), many=integers(1, 40), times=integers(1, 12))
    def append(self, partition: int, many: int, times: int) -> None:
        for _ in range(times):
            ns = self.fresh(many)
            (range_,) = self.log.append([Append("t", partition, 1, rows(*ns))])
            assert range_.start == len(self.model[partition])
            self.model[partition] += ns

    @rule()
    def take_over(self) -> None:
        self.writers.append(self.log.writer("s"))
        assert self.writers[-1].position == self.position

    @rule(which=sampled_from([-1, -1, -1, 0]), many=integers(0, 5))
    def commit(self, which: int, many: int) -> None:
        if not self.writers:
            return
        ns, writer = list(range(self.count, self.count + many)), self.writers[which]
        appends = [Append("t", p, 1, rows(*ns)) for p in (0, 1)]
        if writer is not self.writers[-1]:
            with pytest.raises(Exception, match="was taken over"):
                writer.commit(appends, "lost")
            return
        self.count += many
        self.position = str(self.count)
        writer.commit(appends, self.position)
        for p in (0, 1):
            self.model[p] += ns

    @rule(partition=integers(0, 1), many=integers(1, 60))
    def follow(self, partition: int, many: int) -> None:
        self.read[partition] += numbers(self.readers[partition].poll(many, timedelta(0)))
        self.log.retain("t", before={partition: self.readers[partition].position(partition)})

    @rule(old=integers(0, 200))
    def upkeep(self, old: int) -> None:
        age(self.log, old)
        self.log.maintain()

    @rule()
    def reopen(self) -> None:
        positions = {p: self.readers[p].position(p) for p in (0, 1)}
        for reader in self.readers.values():
            reader.close()
        self.log.close()
        self.writers = []
        self.log = open_log(Path(self.temporary.name))
        self.readers = {p: self.log.reader("t", {p: at}) for p, at in positions.items()}

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "log"):
            return
        ends = self.log.ends("t")
        for p in (0, 1):
            assert ends[p].high == len(self.model[p]) and self.low[p] <= ends[p].low <= ends[p].high
            self.low[p] = ends[p].low
            assert self.read[p] == self.model[p][: len(self.read[p])]
        assert self.log.position("s") == self.position

    def teardown(self) -> None:
        if not hasattr(self, "log"):
            return
        for p, reader in self.readers.items():
            left = len(self.model[p]) - len(self.read[p])
            self.read[p] += numbers(read(reader, left)) if left else []
            assert self.read[p] == self.model[p]
            reader.close()
        self.log.close()
        self.temporary.cleanup()


TestStory = Story.TestCase
TestStory.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("ahead_s", [7_200, 400 * 86_400, -7_200])
def test_a_member_that_died_while_its_clock_was_wrong_has_no_share(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch, ahead_s: int
) -> None:
    """Its partitions would be read by nobody until the clock had come there."""
    log.create("t", partitions=4)
    real, now = time.time_ns, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "time_ns", lambda: real() + ahead_s * 10**9)
    log.share("t", "sink", "dead").partitions()
    monkeypatch.setattr(time, "time_ns", real)
    alone = log.share("t", "sink", "me")
    assert alone.partitions() == {0, 1, 2, 3}
    monkeypatch.setattr(time, "time_ns", lambda: real() + ahead_s * 10**9)  # a clock that moves under members that live
    for _ in range(3):
        now[0] += 2
        assert alone.partitions() == {0, 1, 2, 3}


def test_a_member_lives_while_its_heart_beats(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.create("t", partitions=4)
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    a, b = log.share("t", "sink", "a"), log.share("t", "sink", "b")
    for _ in range(5):
        now[0] += 2
        both = [a.partitions(), b.partitions()]
    assert both == [{0, 2}, {1, 3}]
    for _ in range(4):  # b is silent
        now[0] += 2
        left = a.partitions()
    assert left == {0, 1, 2, 3}
