"""The suites that every log engine and every schema store pass: subclass `LogContract`, `SchemasContract`.

What an engine may lack, if it says so, are the tests with `@promise` (base/gaps.py).
"""

from __future__ import annotations

import json
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest

from millstream.base.errors import Conflict, Fenced, Incompatible, NotFound, Recreated, Truncated
from millstream.base.event import ARRIVED_AT, EVENT_ID, OFFSET, TIMESTAMP
from millstream.base.gaps import lacking, promise
from millstream.log.port import RAW, RAW_SCHEMA_ID, Append, Log, Range, Reader, Schemas, Slice

NOW, SOON = timedelta(0), timedelta(seconds=10)
SCHEMA = (
    '{"type": "record", "name": "Seen", "fields": [{"name": "n", "type": "long"}, {"name": "who", "type": ["null",'
    ' "string"], "default": null}]}'
)
WIDER = (
    '{"type": "record", "name": "Seen", "fields": [{"name": "n", "type": "long"}, {"name": "who", "type": ["null",'
    ' "string"], "default": null}, {"name": "x", "type": "double", "default": 0.5}]}'
)
OTHER = '{"type": "record", "name": "Seen", "fields": [{"name": "n", "type": "string"}]}'


def rows(*numbers: int, ids: bool = False, arrived: datetime | None = None) -> pa.RecordBatch:
    """Rows of SCHEMA; every third `who` is NULL."""
    columns: dict[str, Any] = {
        "n": pa.array(numbers, pa.int64()),
        "who": pa.array([None if n % 3 == 0 else f"né {n}" for n in numbers], pa.string()),
    }
    if ids:
        columns[EVENT_ID] = pa.array([f"id-{n}" for n in numbers], pa.string())
    if arrived is not None:
        columns[ARRIVED_AT] = pa.array([arrived] * len(numbers), TIMESTAMP)
    return pa.record_batch(columns)


def read(reader: Reader, count: int, *, at_once: int = 1000) -> list[Slice]:
    """Slices until `count` rows were read; fails when they do not come."""
    found: list[Slice] = []
    deadline = time.monotonic() + SOON.total_seconds()
    while sum(s.rows.num_rows for s in found) < count:
        assert time.monotonic() < deadline, f"{sum(s.rows.num_rows for s in found)} of {count} rows came"
        found += reader.poll(at_once, timedelta(seconds=1))
    return found


def numbers(slices: Sequence[Slice], partition: int | None = None) -> list[int]:
    return [n for s in slices if partition in (None, s.partition) for n in s.rows.column("n").to_pylist()]


class LogContract:
    """`log` has no topics; `schema_id` is that of SCHEMA, registered."""

    @pytest.fixture
    @abstractmethod
    def log(self) -> Iterator[Log]:
        """An engine."""

    @pytest.fixture
    @abstractmethod
    def schema_id(self) -> int:
        """SCHEMA, registered beside `log`."""

    @abstractmethod
    def again(self, log: Log) -> Log:
        """A second engine at the same URL, as another process would open it; closed by its fixture."""

    @pytest.fixture(autouse=True)
    def lacks(self, request: pytest.FixtureRequest, log: Log) -> None:
        lacking(request, log)

    def put(self, log: Log, schema_id: int, partition: int, *ns: int, topic: str = "t") -> list[Range]:
        return log.append([Append(topic, partition, schema_id, rows(*ns))])

    # topics

    def test_a_topic_is_made_once(self, log: Log) -> None:
        made = log.create("t", partitions=3, retention=timedelta(days=2))
        assert (made.name, made.partitions, made.retention) == ("t", 3, timedelta(days=2))
        assert self.again(log).create("t", partitions=3, retention=timedelta(days=2)) == made
        assert log.topic("t") == made and log.topics() == [made] and log.topic("u") is None

    def test_partitions_do_not_change_by_themselves(self, log: Log) -> None:
        log.create("t", partitions=3)
        with pytest.raises(Conflict, match="3 partitions, not 4"):
            log.create("t", partitions=4)

    def test_a_retention_said_later_counts(self, log: Log) -> None:
        uuid = log.create("t", partitions=1).uuid
        changed = log.create("t", partitions=1, retention=timedelta(hours=1))
        assert (changed.uuid, changed.retention) == (uuid, timedelta(hours=1))

    def test_a_topic_made_again_is_another_one(self, log: Log, schema_id: int) -> None:
        first = log.create("t", partitions=1)
        self.put(log, schema_id, 0, 1, 2)
        log.delete("t")
        log.delete("t")
        assert log.topic("t") is None
        assert log.create("t", partitions=2).uuid != first.uuid
        assert numbers(log.reader("t", {0: 0, 1: 0}).poll(10, NOW)) == []

    def test_the_newest_append_is_known_by_the_logs_own_stamp(self, log: Log, schema_id: int) -> None:
        log.create("t", partitions=2)
        assert log.newest("t") is None
        before = time.time_ns() // 1_000_000 * 1_000
        log.append([Append("t", 1, schema_id, rows(1, arrived=datetime(2099, 1, 1, tzinfo=UTC)))])
        first = log.newest("t")
        assert first is not None and before <= first <= time.time_ns() // 1000, (
            "an arrival that history brings along is not an append"
        )
        log.append([Append("t", 0, schema_id, rows(2, arrived=datetime(2013, 1, 1, tzinfo=UTC)))])
        second = self.again(log).newest("t")
        assert second is not None and first <= second <= time.time_ns() // 1000

    def test_what_is_not_there(self, log: Log) -> None:
        with pytest.raises(NotFound):
            log.reader("nothing", {0: 0})
        with pytest.raises(NotFound):
            log.ends("nothing")
        with pytest.raises(NotFound):
            log.newest("nothing")
        assert log.position("nobody") is None and dict(log.positions()) == {}

    # records

    def test_records_come_back_as_they_were(self, log: Log, schema_id: int) -> None:
        log.create("t", partitions=2)
        before = datetime.now(UTC) - timedelta(seconds=2)
        sent = rows(1, 2, 3, ids=True)
        (range_,) = log.append([Append("t", 1, schema_id, sent)])
        (piece,) = read(log.reader("t", {0: 0, 1: 0}), 3)
        assert (piece.topic, piece.partition, piece.schema_id, piece.start) == ("t", 1, schema_id, 0)
        assert piece.rows.schema.names == ["n", "who", EVENT_ID, ARRIVED_AT, OFFSET]
        assert piece.rows.select(sent.schema.names).to_pydict() == sent.to_pydict()
        assert (
            range_.start <= piece.rows.column(OFFSET)[0].as_py()
            and piece.rows.column(OFFSET)[2].as_py() < range_.end <= piece.end
        )
        assert all(
            before < at < datetime.now(UTC) + timedelta(seconds=2) for at in piece.rows.column(ARRIVED_AT).to_pylist()
        )

    def test_an_id_not_given_is_null(self, log: Log, schema_id: int) -> None:
        log.create("t", partitions=1)
        self.put(log, schema_id, 0, 1)
        (piece,) = read(log.reader("t", {0: 0}), 1)
        assert (
            piece.rows.column(EVENT_ID).to_pylist() == [None] and piece.rows.schema.field(EVENT_ID).type == pa.string()
        )

    def test_an_arrival_brought_along_replaces_the_stamp(self, log: Log, schema_id: int) -> None:
        long_ago = datetime(2013, 1, 1, 5, tzinfo=UTC)
        log.create("t", partitions=1)
        log.append([Append("t", 0, schema_id, rows(1, 2, arrived=long_ago))])
        (piece,) = read(log.reader("t", {0: 0}), 2)
        assert piece.rows.column(ARRIVED_AT).to_pylist() == [long_ago, long_ago]

    def test_what_could_not_be_decoded_travels_too(self, log: Log, schema_id: int) -> None:
        bad = pa.record_batch([pa.array([b"\xff\x00"]), pa.array(["not JSON"]), pa.array(["x.csv:17"])], schema=RAW)
        log.create("t", partitions=1)
        log.append(
            [Append("t", 0, schema_id, rows(1)), Append("t", 0, RAW_SCHEMA_ID, bad), Append("t", 0, schema_id, rows(2))]
        )
        pieces = read(log.reader("t", {0: 0}), 3)
        assert [p.schema_id for p in pieces] == [schema_id, RAW_SCHEMA_ID, schema_id]
        assert pieces[1].rows.schema.names == [*RAW.names, ARRIVED_AT, OFFSET]
        assert pieces[1].rows.select(RAW.names).to_pylist() == bad.to_pylist()

    def test_offsets_rise_and_slices_abut(self, log: Log, schema_id: int) -> None:
        log.create("t", partitions=2)
        for n in range(0, 60, 3):
            log.append([Append("t", p, schema_id, rows(n, n + 1, n + 2)) for p in (0, 1)])
        pieces = read(log.reader("t", {0: 0, 1: 0}), 120, at_once=7)
        for partition in (0, 1):
            mine = [p for p in pieces if p.partition == partition]
            assert numbers(mine) == list(range(60))
            assert mine[0].start == 0 and all(a.end == b.start for a, b in pairwise(mine))
            offsets = [o for p in mine for o in p.rows.column(OFFSET).to_pylist()]
            assert offsets == sorted(set(offsets))

    def test_no_partition_starves_another(self, log: Log, schema_id: int) -> None:
        log.create("t", partitions=2)
        for _ in range(20):
            self.put(log, schema_id, 0, *range(100))
        self.put(log, schema_id, 1, 7)
        reader, seen = log.reader("t", {0: 0, 1: 0}), set()
        for _ in range(6):
            seen |= {p.partition for p in reader.poll(100, NOW)}
        assert seen == {0, 1}

    def test_empty_appends(self, log: Log, schema_id: int) -> None:
        log.create("t", partitions=1)
        assert log.append([]) == []
        log.append([Append("t", 0, schema_id, rows())])
        assert log.reader("t", {0: 0}).poll(10, NOW) == []

    def test_large_records(self, log: Log, schema_id: int) -> None:
        log.create("t", partitions=1)
        big = pa.record_batch({"n": pa.array([1, 2], pa.int64()), "who": pa.array(["a" * 10_000_000, "b"])})
        log.append([Append("t", 0, schema_id, big)])
        assert [len(w) for p in read(log.reader("t", {0: 0}), 2) for w in p.rows.column("who").to_pylist()] == [
            10_000_000,
            1,
        ]

    def test_ends(self, log: Log, schema_id: int) -> None:
        log.create("t", partitions=2)
        self.put(log, schema_id, 1, 1, 2, 3)
        ends = log.ends("t")
        assert (ends[0].low, ends[0].high) == (0, 0) and ends[1].low == 0 and ends[1].high >= 3

    # reading

    def test_a_reader_goes_where_it_is_sent(self, log: Log, schema_id: int) -> None:
        log.create("t", partitions=2)
        self.put(log, schema_id, 0, *range(10))
        reader = log.reader("t", {0: 4})
        assert numbers(read(reader, 6)) == [4, 5, 6, 7, 8, 9]
        assert reader.position(0) >= 10
        reader.seek(0, 8)
        assert reader.position(0) == 8 and numbers(read(reader, 2)) == [8, 9]
        self.put(log, schema_id, 1, 100)
        reader.seek(1, 0)
        assert numbers(read(reader, 1), 1) == [100]
        reader.drop(0)
        self.put(log, schema_id, 0, 10)
        assert reader.poll(10, timedelta(milliseconds=50)) == []

    def test_a_follower_is_woken(self, log: Log, schema_id: int) -> None:
        log.create("t", partitions=1)
        reader, came = self.again(log).reader("t", {0: 0}), []
        follower = threading.Thread(target=lambda: came.extend(reader.poll(10, SOON)))
        follower.start()
        time.sleep(0.1)
        begun = time.monotonic()
        self.put(log, schema_id, 0, 5)
        follower.join(SOON.total_seconds())
        assert numbers(came) == [5] and time.monotonic() - begun < 2

    def test_nothing_new_is_waited_for_and_no_longer(self, log: Log) -> None:
        log.create("t", partitions=1)
        begun = time.monotonic()
        assert log.reader("t", {0: 0}).poll(10, timedelta(milliseconds=300)) == []
        assert 0.29 <= time.monotonic() - begun < 3

    def test_a_position_outside_the_log(self, log: Log, schema_id: int) -> None:
        log.create("t", partitions=1)
        self.put(log, schema_id, 0, 1)
        with pytest.raises(Truncated):
            read(log.reader("t", {0: 1_000}), 1)

    def test_a_topic_made_again_stops_its_readers(self, log: Log, schema_id: int) -> None:
        log.create("t", partitions=1)
        self.put(log, schema_id, 0, 1)
        reader = log.reader("t", {0: 0})
        read(reader, 1)
        log.delete("t")
        log.create("t", partitions=1)
        self.put(log, schema_id, 0, 2)
        with pytest.raises(Recreated):
            read(reader, 1)

    # splits

    def test_a_split_remembers_where_it_was(self, log: Log, schema_id: int) -> None:
        for topic in ("t", "u"):
            log.create(topic, partitions=1)
        writer = log.writer("files/a.csv")
        assert writer.position is None
        ranges = writer.commit([Append("t", 0, schema_id, rows(1, 2)), Append("u", 0, schema_id, rows(3))], "line 3")
        assert [(r.topic, r.end - r.start >= 1) for r in ranges] == [("t", True), ("u", True)]
        assert writer.commit([], "line 4") == []
        assert writer.position == "line 4"
        writer.close()
        other = self.again(log)
        assert other.position("files/a.csv") == "line 4"
        assert other.writer("files/a.csv").position == "line 4"
        other.writer("files/b.csv").commit([], "x")
        other.writer("http").commit([], "y")
        assert dict(log.positions("files/")) == {"files/a.csv": "line 4", "files/b.csv": "x"}
        assert numbers(read(log.reader("t", {0: 0}), 2)) == [1, 2] and numbers(read(log.reader("u", {0: 0}), 1)) == [3]

    def test_who_lost_a_split_writes_nothing(self, log: Log, schema_id: int) -> None:
        log.create("t", partitions=1)
        old = log.writer("s")
        old.commit([Append("t", 0, schema_id, rows(1))], "1")
        new = self.again(log).writer("s")
        assert new.position == "1"
        with pytest.raises(Fenced):
            old.commit([Append("t", 0, schema_id, rows(99))], "99")
        new.commit([Append("t", 0, schema_id, rows(2))], "2")
        with pytest.raises(Fenced):
            old.commit([], "99")
        assert numbers(read(log.reader("t", {0: 0}), 2)) == [1, 2] and log.position("s") == "2"

    def test_a_commit_that_fails_leaves_nothing(self, log: Log, schema_id: int) -> None:
        log.create("t", partitions=1)
        writer = log.writer("s")
        with pytest.raises(NotFound):
            writer.commit([Append("t", 0, schema_id, rows(1)), Append("no such topic", 0, schema_id, rows(2))], "1")
        assert log.position("s") is None
        assert log.reader("t", {0: 0}).poll(10, timedelta(milliseconds=50)) == []

    def test_many_threads_append(self, log: Log, schema_id: int) -> None:
        log.create("t", partitions=2)

        def work(worker: int) -> None:
            for n in range(20):
                self.put(log, schema_id, worker % 2, worker * 100 + n)

        threads = [threading.Thread(target=work, args=(w,)) for w in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        pieces = read(log.reader("t", {0: 0, 1: 0}), 160)
        for worker in range(8):  # each thread's records in its order
            assert [n for n in numbers(pieces, worker % 2) if n // 100 == worker] == [
                worker * 100 + n for n in range(20)
            ]

    def test_one_bad_append_harms_no_neighbour(self, log: Log, schema_id: int) -> None:
        log.create("t", partitions=1)
        failed: list[BaseException] = []

        def call(work: Callable[[], object]) -> None:
            try:
                work()
            except NotFound as error:
                failed.append(error)

        def bad() -> object:
            return self.put(log, schema_id, 0, 1, topic="no such topic")

        def good() -> object:
            return self.put(log, schema_id, 0, 7)

        threads = [threading.Thread(target=call, args=(bad if n % 2 else good,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(failed) == 8 and numbers(read(log.reader("t", {0: 0}), 8)) == [7] * 8

    # groups

    def test_members_share_every_partition(self, log: Log) -> None:
        log.create("t", partitions=4)
        first = log.share("t", "sink", "a")
        self.until(lambda: first.partitions() == {0, 1, 2, 3})
        second = self.again(log).share("t", "sink", "b")

        def shared() -> bool:
            mine, others = first.partitions(), second.partitions()
            return len(mine) == len(others) == 2 and mine | others == {0, 1, 2, 3}

        self.until(shared)
        alone = log.share("t", "another group", "a")
        self.until(lambda: alone.partitions() == {0, 1, 2, 3})
        second.leave()
        self.until(lambda: first.partitions() == {0, 1, 2, 3})

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not true():
            assert time.monotonic() < deadline, "it did not come about"
            time.sleep(0.02)

    def test_upkeep_loses_nothing_that_is_wanted(self, log: Log, schema_id: int) -> None:
        log.create("t", partitions=1)
        for n in range(100):
            self.put(log, schema_id, 0, n)
        log.retain("t", before={0: 50})
        log.maintain()
        pieces = read(log.reader("t", {0: 0}), 100)
        assert numbers(pieces) == list(range(100))

    def test_a_reader_of_a_deleted_topic_marks_no_other(self, log: Log, schema_id: int) -> None:
        log.create("t", partitions=1, retention=timedelta(milliseconds=1))
        topic = log.topic("t")
        assert topic is not None
        log.retain("t", before={0: 0}, uuid=topic.uuid)
        log.append([Append("t", 0, schema_id, rows(*range(1000)))])
        with pytest.raises(Recreated):
            log.retain("t", before={0: 1_000}, uuid="another")
        time.sleep(0.01)
        log.maintain()
        assert log.ends("t")[0].low == 0

    # what an engine may lack

    @promise("offsets without holes")
    def test_offsets_have_no_holes(self, log: Log, schema_id: int) -> None:
        log.create("t", partitions=1)
        writer = log.writer("s")
        writer.commit([Append("t", 0, schema_id, rows(1, 2))], "2")
        writer.commit([Append("t", 0, schema_id, rows(3))], "3")
        found = [
            offset for piece in read(log.reader("t", {0: 0}), 3) for offset in piece.rows.column(OFFSET).to_pylist()
        ]
        assert found == [0, 1, 2] and log.ends("t")[0].high == 3

    @promise("retention that waits for the slowest reader")
    def test_what_nobody_has_is_kept(self, log: Log, schema_id: int) -> None:
        """The lake is a reader from the moment that the topic exists; a mark that moves back keeps what is
        still there.
        """
        log.create("t", partitions=2, retention=timedelta(milliseconds=1))
        for partition in (0, 1):
            for n in range(4):
                log.append([Append("t", partition, schema_id, rows(*range(n * 1000, n * 1000 + 1000)))])
        time.sleep(0.01)
        log.maintain()
        assert [end.low for end in log.ends("t").values()] == [0, 0]
        log.retain("t", before={0: 3_000})
        log.retain("t", before={0: 1_000})
        log.maintain()
        assert [end.low for end in log.ends("t").values()] == [1_000, 0]
        log.retain("t", before={0: 3_000}, reader="other")
        log.retain("t", before={}, reader="lake")
        log.maintain()
        assert [end.low for end in log.ends("t").values()] == [1_000, 0], "a lake without a mark has nothing"

    @promise("retention that waits for the slowest reader")
    def test_retention_waits_for_the_slowest_reader(self, log: Log, schema_id: int) -> None:
        log.create("t", partitions=1, retention=timedelta(milliseconds=1))
        for n in range(4):
            log.append([Append("t", 0, schema_id, rows(*range(n * 1000, n * 1000 + 1000)))])
        log.retain("t", before={0: 2_500}, reader="lake")
        log.retain("t", before={0: 1_500}, reader="updater")
        time.sleep(0.01)
        log.maintain()
        assert log.ends("t")[0].low in (1_000, 1_500), (
            "whole batches or parts of one, and none that a reader still wants"
        )
        log.retain("t", before={}, reader="updater")
        log.maintain()
        assert log.ends("t")[0].low in (2_000, 2_500)


class SchemasContract:
    """`schemas` has no subjects."""

    @pytest.fixture
    @abstractmethod
    def schemas(self) -> Schemas:
        """An engine."""

    @abstractmethod
    def again(self, schemas: Schemas) -> Schemas:
        """A second engine at the same URL."""

    def test_a_schema_is_registered_once(self, schemas: Schemas) -> None:
        first = schemas.register("t", SCHEMA)
        assert first >= 1 and self.again(schemas).register("t", SCHEMA.replace(" ", "")) == first
        second = schemas.register("t", WIDER)
        assert second != first and schemas.versions("t") == [first, second]
        assert self.again(schemas).versions("t") == [first, second] and schemas.versions("u") == []

    def test_texts_come_back(self, schemas: Schemas) -> None:
        found = schemas.schema(schemas.register("t", SCHEMA))
        assert json.loads(found) == json.loads(SCHEMA)
        with pytest.raises(NotFound):
            schemas.schema(4711)

    def test_the_rule_is_checked(self, schemas: Schemas) -> None:
        schemas.register("t", SCHEMA)
        with pytest.raises(Incompatible, match="n is long and becomes string"):
            schemas.register("t", OTHER)
        assert len(schemas.versions("t")) == 1
        assert schemas.register("t", OTHER, "none") > 1

    def test_transitive_looks_at_all_of_them(self, schemas: Schemas) -> None:
        without = '{"type": "record", "name": "R", "fields": [{"name": "n", "type": "long"}]}'
        optional = (
            '{"type": "record", "name": "R", "fields": [{"name": "n", "type": "long"}, {"name": "x", "type": "double",'
            ' "default": 0}]}'
        )
        required = (
            '{"type": "record", "name": "R", "fields": [{"name": "n", "type": "long"}, {"name": "x", "type":'
            ' "double"}]}'
        )
        for subject in ("plain", "all"):
            schemas.register(subject, without)
            schemas.register(subject, optional)
        schemas.register("plain", required, "backward")
        with pytest.raises(Incompatible, match="x is missing"):
            schemas.register("all", required, "backward_transitive")

    def test_two_at_once_agree(self, schemas: Schemas) -> None:
        other, found = self.again(schemas), []
        threads = [
            threading.Thread(target=lambda s=s: found.append(s.register("t", SCHEMA))) for s in (schemas, other) * 4
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(found)) == 1 and len(schemas.versions("t")) == 1
