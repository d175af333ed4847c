"""The suites that engines of the lake pass: `FilesContract`, `SinkContract` (a log, files and a sink), `CatalogContract`; tables have `table_contract.py`."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millstream.base import points
from millstream.base.errors import Conflict, NotFound, UsageError
from millstream.base.event import EVENT_ID, OFFSET, PARTITION, EventTime
from millstream.declare.event import Event
from millstream.declare.stream import Stream, stream
from millstream.lake import checkpoint, clean, compact, deltalog
from millstream.lake.catalog import behind, listing, publish
from millstream.lake.dead import dead_name
from millstream.lake.lake import Lake
from millstream.lake.lineage import ranges
from millstream.lake.port import Catalog, Files
from millstream.lake.repair import examine, repair
from millstream.lake.scan import scan
from millstream.lake.sink import Progress, Sink, SinkLimits
from millstream.lake.table import LakeTable
from millstream.lake.verify import Report, verify
from millstream.log.avro import avro_schema
from millstream.log.envelope import topic_of
from millstream.log.port import RAW, RAW_SCHEMA_ID, Append, Log, Schemas

T0 = datetime(2020, 1, 1, tzinfo=UTC)
ROWS = pa.schema([pa.field("x", pa.int64()), pa.field("name", pa.string())])


class Reading(Event):
    """What a sensor read."""

    who: str
    n: int
    ts: EventTime


class Loose(Event):
    """The same by a writer who takes the number for optional."""

    who: str
    n: int | None
    ts: EventTime


class Wide(Event):
    """A reading as a newer writer sends it."""

    who: str
    n: int
    ts: EventTime
    unit: str = "C"
    exact: float | None = None


READINGS = stream("readings", Reading, key="who", partitions=3, lateness="60s")
WIDE = stream("readings", Wide, key="who", partitions=3, lateness="60s")


def readings(*numbers: int, bad: Sequence[int] = ()) -> pa.RecordBatch:
    """Readings a second apart, each with its own id; those in `bad` lack their number."""
    return pa.record_batch(
        {"who": pa.array([f"w{n % 7}" for n in numbers], pa.string()), "n": pa.array([None if n in bad else n for n in numbers], pa.int64()),
         "ts": pa.array([T0 + timedelta(seconds=n) for n in numbers], pa.timestamp("us", tz="UTC")), EVENT_ID: pa.array([f"id-{n}" for n in numbers], pa.string())}
    )  # fmt: skip


def put(log: Log, schemas: Schemas, partition: int, *numbers: int, bad: Sequence[int] = (), to: Stream[Any] = READINGS) -> None:
    """Readings into one partition, in one append; bad ones come from a writer who had its schema registered as it liked."""
    binding = topic_of(log, schemas, to)
    schema_id = schemas.register("loose", avro_schema(Loose.__schema__), "none") if bad else binding.schema_id
    log.append([Append(to.name, partition, schema_id, readings(*numbers, bad=bad))])


def unreadable(log: Log, schemas: Schemas, partition: int, *texts: bytes) -> None:
    """Records that their source could not decode."""
    topic_of(log, schemas, READINGS)
    rows = pa.record_batch([pa.array(texts), pa.array(["not JSON"] * len(texts)), pa.array([f"x.csv:{i}" for i in range(len(texts))])], schema=RAW)
    log.append([Append(READINGS.name, partition, RAW_SCHEMA_ID, rows)])


def rows_in(table: LakeTable) -> list[dict[str, Any]]:
    """All rows, in order of writing."""
    return [row for batch in scan(table, table.schema.names) for row in batch.to_pylist()]


def ids(lake: Lake, name: str = READINGS.name) -> list[str]:
    """Ids of all rows, sorted."""
    return sorted(row[EVENT_ID] for row in rows_in(lake.table(name))) if lake.exists(name) else []


def ids_of(*numbers: int) -> list[str]:
    return sorted(f"id-{n}" for n in numbers)


def proven(lake: Lake, log: Log, of: Stream[Any] = READINGS) -> Report:
    """The report of verify, which must be a good one."""
    report = verify(lake, log, of)
    assert report.ok and not report.gaps, report
    assert report.rows + report.dead + report.duplicates == report.records, report
    return report


class Died(Exception):
    """In the place of a killed process."""


@contextmanager
def dying(at: str, times: int = 1) -> Iterator[None]:
    """Raise `Died` when this thread comes to a point for the `times`th time."""
    left, me = [times], threading.get_ident()

    def handler(point: str) -> None:
        if point == at and threading.get_ident() == me:
            left[0] -= 1
            if left[0] == 0:
                raise Died(at)

    end = points.watch(handler)
    try:
        yield
    finally:
        end()


def at_once(work: Sequence[Callable[[], Any]]) -> list[Any]:
    """Results, or what was raised, of calls that run together."""
    gate, found = threading.Barrier(len(work)), list[Any]([None] * len(work))

    def run(i: int) -> None:
        gate.wait()
        try:
            found[i] = work[i]()
        except Exception as error:
            found[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


class FilesContract:
    """`files` is an empty tree; its root is one that delta-rs can write."""

    @pytest.fixture
    @abstractmethod
    def files(self) -> Iterator[Files]:
        """An engine."""

    @abstractmethod
    def again(self, files: Files) -> Files:
        """A second engine at the same URL."""

    def write(self, files: Files, path: str, content: bytes) -> None:
        with files.create(path) as file:
            file.write(content)
        files.sync(path)

    def test_what_is_written_is_read(self, files: Files) -> None:
        self.write(files, "a/b/c.bin", b"some bytes")
        other = self.again(files)
        assert other.size("a/b/c.bin") == 10
        with other.open("a/b/c.bin") as file:
            assert file.read(4) == b"some"
            file.seek(-5, 2)
            assert file.read() == b"bytes"

    def test_a_file_is_made_once(self, files: Files) -> None:
        self.write(files, "t/x", b"first")
        with pytest.raises(FileExistsError):
            self.again(files).create("t/x")
        with files.open("t/x") as file:
            assert file.read() == b"first"

    def test_of_many_who_make_a_file_one_does(self, files: Files) -> None:
        engines = [self.again(files) for _ in range(6)]
        for turn in range(10):
            found = at_once([lambda e=e, turn=turn: self.write(e, f"t/{turn}", b"x") for e in engines])  # type: ignore[misc]
            assert [type(one) for one in found if one is not None] == [FileExistsError] * 5

    def test_names_are_listed_in_order(self, files: Files) -> None:
        for name in ("b", "a", "d/e", "c"):
            self.write(files, f"t/{name}", b"")
        assert files.list("t") == ["a", "b", "c", "d"]
        assert files.list("t/d") == ["e"] and "t" in files.list("")

    def test_what_is_not_there(self, files: Files) -> None:
        self.write(files, "file", b"x")
        with pytest.raises(FileNotFoundError):
            files.open("nothing")
        assert files.size("nothing") is None and files.size("file/below") is None
        assert files.list("nothing") == [] and files.list("file") == []
        files.remove("nothing")
        files.remove_tree("nothing")

    def test_removed_is_gone(self, files: Files) -> None:
        for path in ("t/a", "t/b/c", "u"):
            self.write(files, path, b"x")
        files.remove("t/a")
        assert files.list("t") == ["b"]
        files.remove_tree("t")
        assert files.list("") == ["u"]

    def test_no_path_leaves_the_root(self, files: Files) -> None:
        for path in ("/etc/passwd", "../x", "a/../../x"):
            with pytest.raises(UsageError, match="leaves"):
                files.create(path)
            with pytest.raises(UsageError, match="leaves"):
                files.size(path)

    def test_space_left(self, files: Files) -> None:
        left = files.free_bytes()
        assert left is None or left > 0

    def test_arrow_reads_and_writes(self, files: Files) -> None:
        table = pa.table({"x": list(range(1000))})
        with files.create("t/x.parquet") as file:
            pq.write_table(table, file)
        files.sync("t/x.parquet")
        with files.open("t/x.parquet") as file:
            assert pq.read_table(file).equals(table)

    def test_a_table_lives_there(self, files: Files) -> None:
        lake = Lake(files)
        table = lake.create("t", ROWS)
        table.append([pa.record_batch({"x": [1, 2], "name": ["a", None]}, schema=ROWS)], txns={"app": (None, 7)}, metadata={"who": "me"})
        seen = Lake(self.again(files)).table("t")
        assert (seen.version, seen.position("app"), seen.metadata(1)) == (1, 7, {"who": "me"})
        assert rows_in(seen) == [{"x": 1, "name": "a"}, {"x": 2, "name": None}]
        checkpoint.make(seen)
        assert self.again(files).size(deltalog.checkpoint_path("t", 1))
        assert lake.table("t").position("app") == 7

    def test_one_of_two_commits_of_one_position_lands(self, files: Files) -> None:
        """What all exactly-once delivery rests on: the store itself refuses the second of two same versions."""
        lake = Lake(files)
        lake.create("t", ROWS)
        for turn in range(8):
            handles = [Lake(self.again(files)).table("t") for _ in range(4)]
            found = at_once([lambda h=h, turn=turn: h.append([pa.record_batch({"x": [turn], "name": ["x"]}, schema=ROWS)],
                                                             txns={"app": (turn or None, turn + 1)}) for h in handles])  # type: ignore[misc]  # fmt: skip
            assert [type(one) for one in found if not isinstance(one, int)] == [Conflict] * 3, found
        assert sorted(row["x"] for row in rows_in(lake.table("t"))) == list(range(8))

    def test_commits_without_a_position_all_land(self, files: Files) -> None:
        lake = Lake(files)
        lake.create("t", ROWS)
        handles = [Lake(self.again(files)).table("t") for _ in range(4)]
        found = at_once([lambda h=h, i=i: h.append([pa.record_batch({"x": [i], "name": ["x"]}, schema=ROWS)]) for i, h in enumerate(handles)])  # type: ignore[misc]
        assert sorted(found) == [1, 2, 3, 4]
        assert {lake.table("t").at(v).rows() for v in found} == {1, 2, 3, 4}

    def test_two_who_make_a_table_make_one(self, files: Files) -> None:
        for turn in range(8):
            found = at_once([lambda name=f"t{turn}": Lake(self.again(files)).create(name, ROWS) for _ in range(4)])  # type: ignore[misc]
            made = Lake(files).table(f"t{turn}")
            assert made.version == 0 and {table.uuid for table in found} == {made.uuid}

    def test_a_torn_tail_is_cut(self, files: Files) -> None:
        """Planted behind the engine's back: the newest commit is empty."""
        lake = Lake(files)
        table = lake.create("t", ROWS)
        for n in range(3):
            table.append([pa.record_batch({"x": [n], "name": ["x"]}, schema=ROWS)], txns={"app": (n or None, n + 1)})
        assert examine(files, "t") is None
        files.remove(deltalog.commit_path("t", 3))
        self.write(files, deltalog.commit_path("t", 3), b"")
        assert "commit 3 is empty" in str(examine(files, "t"))
        repair(files, "t")
        fixed = lake.table("t")
        assert (fixed.version, fixed.position("app"), fixed.rows()) == (2, 2, 2) and examine(files, "t") is None

    def test_dropped_is_gone(self, files: Files) -> None:
        lake = Lake(files)
        lake.create("t", ROWS).pin(0, "me")
        lake.drop("t")
        lake.drop("t")
        assert lake.names() == [] and not lake.exists("t")
        with pytest.raises(NotFound):
            lake.table("t")


class SinkContract:
    """`log` has no topics, `files` no tables."""

    @pytest.fixture
    @abstractmethod
    def log(self) -> Iterator[Log]:
        """A log engine."""

    @pytest.fixture
    @abstractmethod
    def schemas(self) -> Schemas:
        """The schema store of `log`."""

    @pytest.fixture
    @abstractmethod
    def files(self) -> Files:
        """A files engine."""

    @pytest.fixture
    def lake(self, files: Files) -> Lake:
        return Lake(files)

    @pytest.fixture
    def drain(self, log: Log, schemas: Schemas, lake: Lake) -> Callable[..., Progress]:
        """A new sink lands all there is."""

        def run(rows: int = 500_000, of: Stream[Any] = READINGS) -> Progress:
            sink = Sink(log, schemas, lake, of, limits=SinkLimits(rows=rows))
            try:
                return sink.drain()
            finally:
                sink.close()

        return run

    def test_each_record_lands_once(self, log: Log, schemas: Schemas, lake: Lake, drain: Callable[..., Progress]) -> None:
        for n in range(0, 300, 10):
            put(log, schemas, n // 10 % 3, *range(n, n + 10))
        progress = drain(rows=50)
        assert (progress.records, progress.rows) == (300, 300) and progress.commits > 3
        assert ids(lake) == ids_of(*range(300))
        assert drain() == Progress()
        assert proven(lake, log).rows == 300

    def test_rows_are_as_they_were_sent(self, log: Log, schemas: Schemas, lake: Lake, drain: Callable[..., Progress]) -> None:
        put(log, schemas, 1, 5, 6)
        drain()
        rows = rows_in(lake.table("readings"))
        assert [(r["who"], r["n"], r["ts"], r[EVENT_ID], r[PARTITION], r["_late"]) for r in rows] == [
            ("w5", 5, T0 + timedelta(seconds=5), "id-5", 1, False), ("w6", 6, T0 + timedelta(seconds=6), "id-6", 1, False)]  # fmt: skip
        assert rows[0][OFFSET] < rows[1][OFFSET] and all(abs(datetime.now(UTC) - r["_arrived_at"]) < timedelta(minutes=5) for r in rows)

    @pytest.mark.parametrize("point", ["sink.read", "sink.quarantined", "sink.files", "commit.linked", "sink.committed"])
    @pytest.mark.parametrize("rows", [7, 500_000])
    def test_a_sink_that_dies_is_followed(self, log: Log, schemas: Schemas, lake: Lake, drain: Callable[..., Progress], point: str, rows: int) -> None:
        """At every point, with the same or other batch bounds after it: each record in exactly one place."""
        for n in range(0, 60, 5):
            put(log, schemas, n // 5 % 3, *range(n, n + 5), bad=[n + 1])
        for times in (1, 2):
            with dying(point, times), pytest.raises(Died):
                drain(rows=13)
                raise Died("there was nothing left to die of")
        drain(rows=rows)
        report = proven(lake, log)
        assert (report.rows, report.dead) == (48, 12)
        assert ids(lake) == ids_of(*(n for n in range(60) if n % 5 != 1))

    def test_sinks_side_by_side(self, log: Log, schemas: Schemas, lake: Lake, drain: Callable[..., Progress]) -> None:
        for n in range(0, 600, 10):
            put(log, schemas, n // 10 % 3, *range(n, n + 10), bad=[n])
        found = at_once([lambda: drain(rows=40) for _ in range(3)])
        assert all(isinstance(one, Progress) for one in found), found
        assert sum(one.rows for one in found) == 540 and sum(one.dead for one in found) >= 60
        report = proven(lake, log)
        assert (report.rows, report.dead, ids(lake)) == (540, 60, ids_of(*(n for n in range(600) if n % 10)))

    def test_a_repeated_id_lands_once(self, log: Log, schemas: Schemas, lake: Lake, drain: Callable[..., Progress]) -> None:
        put(log, schemas, 0, 1, 2, 2)
        assert drain().duplicates == 1
        put(log, schemas, 0, 2, 3, 1)
        put(log, schemas, 1, 1)
        assert drain().duplicates == 2, "a new sink knows what the one before it landed"
        assert ids(lake) == ids_of(1, 1, 2, 3), "an id is looked for in its partition"
        assert proven(lake, log).duplicates == 3

    def test_what_cannot_land_is_kept(self, log: Log, schemas: Schemas, lake: Lake, drain: Callable[..., Progress]) -> None:
        put(log, schemas, 0, 1, 2, 3, bad=[2])
        unreadable(log, schemas, 0, b"{\xff", b"")
        put(log, schemas, 0, 4)
        progress = drain()
        assert (progress.records, progress.rows, progress.dead) == (6, 3, 3)
        letters = rows_in(lake.table(dead_name("readings")))
        assert [(row["raw"], row["origin"]) for row in letters[1:]] == [(b"{\xff", "x.csv:0"), (b"", "x.csv:1")]
        assert b'"id-2"' in letters[0]["raw"] and 'required field "n"' in letters[0]["error"]
        assert proven(lake, log).dead == 3

    def test_lineage_names_each_commit(self, log: Log, schemas: Schemas, lake: Lake, drain: Callable[..., Progress]) -> None:
        for n in range(4):
            put(log, schemas, 0, 2 * n, 2 * n + 1)
            drain()
        found = ranges(lake.table("readings"))
        assert [(r.partition, r.version, r.rows) for r in found] == [(0, v, 2) for v in (1, 2, 3, 4)]
        assert found[0].start == 0 and all(a.end == b.start for a, b in pairwise(found))
        assert (found[1].min_us, found[1].max_us) == tuple(int((T0 + timedelta(seconds=s)).timestamp() * 1e6) for s in (2, 3))

    def test_torn_tails_are_filled_again(self, log: Log, schemas: Schemas, lake: Lake, drain: Callable[..., Progress]) -> None:
        for n in range(5):
            put(log, schemas, n % 3, n)
            drain()
        lake.files.remove(deltalog.commit_path("readings", 4))
        with lake.files.create(deltalog.commit_path("readings", 4)) as file:
            file.write(b'{"commitInfo":{"timest')
        damage = repair(lake.files, "readings")
        assert damage is not None and (damage.cut, damage.last) == (4, 5)
        assert drain().rows == 2
        assert ids(lake) == ids_of(*range(5)) and proven(lake, log).rows == 5


class CatalogContract:
    """The suite of a catalog. An engine's test gives `catalog` and `lake`, whose files its readers reach, and `found`: what a reader sees."""

    @pytest.fixture
    @abstractmethod
    def catalog(self) -> Catalog: ...

    @pytest.fixture
    @abstractmethod
    def lake(self) -> Lake: ...

    @abstractmethod
    def found(self, table: str) -> list[list[tuple[int, str | None]]]:
        """(x, name) of the table's rows in order of x, once for each kind of reader that the catalog has; an error when it has no such table."""

    def sees(self, lake: Lake, table: str = "rows") -> None:
        want = sorted((row["x"], row["name"]) for row in rows_in(lake.table(table)))
        for rows in self.found(table):
            assert rows == want

    def test_each_version_is_seen_whole_also_after_compaction_and_vacuum(self, lake: Lake, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(compact, "AT_LEAST", (3, 3, 3))
        table = lake.create("rows", ROWS)
        assert publish(lake, catalog) == {} and catalog.known(lake.files.root) == {"rows": 0}
        self.sees(lake)
        for n in range(3):
            table.append(pa.table({"x": [n, n + 10], "name": ["a b%2F", None]}, schema=ROWS))
        assert publish(lake, catalog) == {} and catalog.known(lake.files.root) == {"rows": 3}
        self.sees(lake)
        assert compact.compact(table) == 3
        clean.vacuum(table, time.time() + 30 * 86400)
        self.sees(lake)  # it was told of files that no version has any more, and they are there
        publish(lake, catalog)
        assert clean.vacuum(table, time.time() + 30 * 86400) == 3
        table.replace(pa.table({"x": [7], "name": ["new"]}, schema=ROWS), where=("x", 0, 2))
        publish(lake, catalog)
        self.sees(lake)
        assert publish(lake, catalog) == {} and behind(lake, catalog) == ([], [])

    def test_columns_that_come_later(self, lake: Lake, catalog: Catalog) -> None:
        table = lake.create("rows", pa.schema([("x", pa.int64())]))
        table.append(pa.table({"x": [1]}))
        publish(lake, catalog)
        table = table.add_columns([pa.field("name", pa.string())])
        table.append(pa.table({"x": [2], "name": ["two"]}))
        publish(lake, catalog)
        self.sees(lake)

    def test_partition_columns_are_columns(self, lake: Lake, catalog: Catalog) -> None:
        table = lake.create("rows", ROWS, partition_by=("name",))
        table.append(pa.table({"x": [1, 2, 3], "name": ["a", "b c", None]}, schema=ROWS))
        table.append(pa.table({"x": [4], "name": ["a"]}, schema=ROWS))
        publish(lake, catalog)
        self.sees(lake)

    def test_dropped_is_gone_and_made_again_is_another(self, lake: Lake, catalog: Catalog) -> None:
        lake.create("rows", ROWS).append(pa.table({"x": [1], "name": ["a"]}))
        publish(lake, catalog)
        lake.drop("rows")
        publish(lake, catalog)
        assert catalog.known(lake.files.root) == {}
        with pytest.raises(Exception, match=r"(?i)rows"):
            self.found("rows")
        lake.create("rows", ROWS).append(pa.table({"x": [1], "name": ["a"]}))
        publish(lake, catalog)
        lake.drop("rows")
        lake.create("rows", ROWS).append(pa.table({"x": [2], "name": ["b"]}))  # between two passes, at the same version
        publish(lake, catalog)
        self.sees(lake)

    def test_a_name_that_somebody_else_has_is_left_alone(self, lake: Lake, catalog: Catalog) -> None:
        lake.create("rows", ROWS).append(pa.table({"x": [1], "name": ["a"]}))
        lake.create("others", ROWS)
        publish(lake, catalog)
        theirs = replace(listing(lake.table("rows")), root=f"{lake.files.root}/elsewhere")
        with pytest.raises(Conflict, match="rows"):
            catalog.tell(theirs)
        catalog.forget(theirs.root, "rows")
        assert catalog.known(lake.files.root) == {"rows": 1, "others": 0}
        self.sees(lake)
