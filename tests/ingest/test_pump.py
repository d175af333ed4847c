"""Sources into the log: merged by event time, resumable at any point, nothing lost and nothing twice."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import millstream as ms
from millstream.base.errors import Corrupt, Fenced, Full, Recreated
from millstream.base.registry import engine
from millstream.engines.files.source import FileSource, Quiet
from millstream.ingest import pump as pumping
from millstream.ingest.pump import Counts, follow, pump, pump_all


class Tick(ms.Event):
    """Something happened."""

    name: str
    n: int
    ts: ms.EventTime


T0 = datetime(2013, 1, 1, tzinfo=UTC)
FAST, SLOW = ms.stream("fast", Tick, key="name"), ms.stream("slow", Tick, key="name", partitions=2)


def us(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


def line(name: str, n: int, minutes: float) -> str:
    return f"{name}{n},{n},{(T0 + timedelta(minutes=minutes)).isoformat()}\n"


def write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("name,n,ts\n" + "".join(lines))


def sources(root: Path, **globs: str) -> list[tuple[Any, Any]]:
    made = [
        ms.source(stream, ms.read.files(globs.get(stream.name, f"data/{stream.name}*.csv"), watch=True))
        for stream in (FAST, SLOW)
    ]
    return [(source, FileSource(source, root)) for source in made]


class Store:
    """An embedded log that remembers the order in which its writers committed."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:{folder / 'log.db'}"
        self.schemas = engine("schemas", self.url)(self.url)
        self.log = engine("log", self.url)(self.url, self.schemas)

    def rows(self, topic: str) -> list[dict[str, Any]]:
        if self.log.topic(topic) is None:
            return []
        ends = self.log.ends(topic)
        reader = self.log.reader(topic, {p: end.low for p, end in ends.items()})
        found: list[dict[str, Any]] = []
        while any(reader.position(p) < end.high for p, end in ends.items()):
            found += [row for piece in reader.poll(100_000, timedelta(0)) for row in piece.rows.to_pylist()]
        reader.close()
        return found

    def names(self, *topics: str) -> Counter[str]:
        return Counter(row["name"] for topic in topics for row in self.rows(topic) if "name" in row)

    def close(self) -> None:
        self.log.close()
        self.schemas.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.close()


def test_rows_arrive_whole_with_ids_and_times(tmp_path: Path, store: Store) -> None:
    write(tmp_path / "data/fast.csv", [line("f", i, i) for i in range(500)])
    write(tmp_path / "data/slow.csv", [line("s", i, 10 * i) for i in range(50)])
    counts = pump(store.log, store.schemas, sources(tmp_path))
    assert (counts.rows, counts.bad, counts.by_stream) == (550, 0, {"fast": 500, "slow": 50})
    rows = store.rows("fast")
    assert sorted(r["n"] for r in rows) == list(range(500))
    assert all(r["_event_id"] == f"data/fast.csv:{r['n'] + 2}" and r["_arrived_at"] == r["ts"] for r in rows)
    assert pump(store.log, store.schemas, sources(tmp_path)) == Counts()


def test_no_stream_gets_ahead(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is committed never lies further ahead of another stream than a batch of the denser one is long."""
    monkeypatch.setattr(pumping, "BATCH_ROWS", 1_000)
    write(tmp_path / "data/fast.csv", [line("f", i, i) for i in range(10_000)])
    for day in range(7):
        write(
            tmp_path / f"data/slow-{day}.csv",
            [line("s", i, i) for i in range(day * 1440, min((day + 1) * 1440, 10_000), 30)],
        )
    newest, apart = {"fast": us(T0), "slow": us(T0)}, 0
    real = store.log.writer

    def writer(split: str) -> Any:
        made = real(split)
        commit = made.commit

        def told(appends: Any, position: str) -> Any:
            nonlocal apart
            done = commit(appends, position)
            for append in appends:
                times = append.rows.column("ts").cast(pa.int64()).to_pylist()
                assert times == sorted(times)
                newest[append.topic] = max(newest[append.topic], *times)
            return done

        made.commit = told
        return made

    def step(done: int, total: int | None = None, note: str = "") -> None:
        nonlocal apart
        apart = max(apart, abs(newest["fast"] - newest["slow"]))

    monkeypatch.setattr(store.log, "writer", writer)
    counts = pump(store.log, store.schemas, sources(tmp_path), report=step)
    assert counts.rows == 10_000 + len(store.rows("slow")) == 10_334
    assert apart <= 31 * 60_000_000, "after each step the two stand within one record of the slower"


def test_until_stops_each_split_and_the_next_call_goes_on(tmp_path: Path, store: Store) -> None:
    """The bound is exclusive, and bad lines around it are neither lost nor taken twice."""
    fast = [line("f", i, i) if i % 7 else f"bad{i}\n" for i in range(300)]
    write(tmp_path / "data/fast.csv", fast)
    write(tmp_path / "data/slow.csv", [line("s", i, 10 * i) for i in range(30)])
    bound = us(T0 + timedelta(minutes=101))
    first = pump(store.log, store.schemas, sources(tmp_path), until_us=bound)
    assert first.by_stream == {"fast": len([i for i in range(101) if i % 7]), "slow": 11} and first.held == 2
    assert max(r["ts"] for r in store.rows("fast") if "ts" in r) == T0 + timedelta(minutes=100)
    assert pump(store.log, store.schemas, sources(tmp_path), until_us=bound).rows == 0
    second = pump(store.log, store.schemas, sources(tmp_path))
    assert first.rows + second.rows == 257 + 30 and first.bad + second.bad == 43
    assert set(store.names("fast", "slow").values()) == {1}
    assert len([r for r in store.rows("fast") if "raw" in r]) == 43


def test_bad_records_travel_with_their_neighbours(tmp_path: Path, store: Store) -> None:
    write(tmp_path / "data/fast.csv", [line("f", 0, 0), "x,y,z\n", line("f", 1, 1), "cut\n"])
    counts = pump(store.log, store.schemas, sources(tmp_path))
    assert (counts.rows, counts.bad) == (2, 2)
    raw = {r["origin"]: (r["raw"], r["error"]) for r in store.rows("fast") if "raw" in r}
    assert raw["data/fast.csv:3"][0] == b"x,y,z" and 'column "n" is "y"' in raw["data/fast.csv:3"][1]
    assert raw["data/fast.csv:5"][0] == b"cut"


def test_a_file_of_bad_records_alone(tmp_path: Path, store: Store) -> None:
    write(tmp_path / "data/fast.csv", ["x\n"] * 10)
    counts = pump(store.log, store.schemas, sources(tmp_path), until_us=us(T0))
    assert (counts.rows, counts.bad) == (0, 10)
    assert pump(store.log, store.schemas, sources(tmp_path)) == Counts()


def test_unsorted_files_and_clock_jumps_lose_nothing(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pumping, "BATCH_ROWS", 1_000)
    order = list(range(5_000))
    random.Random(7).shuffle(order)
    lines = [line("f", i, i) for i in order]
    lines[10], lines[2_000] = (
        f"jump1,1,{datetime(2999, 1, 1, tzinfo=UTC).isoformat()}\n",
        f"jump2,1,{datetime(1, 1, 2, tzinfo=UTC).isoformat()}\n",
    )
    write(tmp_path / "data/fast.csv", lines)
    write(tmp_path / "data/slow.csv", [line("s", i, 100 * i) for i in range(40)])
    assert pump(store.log, store.schemas, sources(tmp_path)).rows == 5_039, "the year 2999 is a bad record"
    names = store.names("fast", "slow")
    assert len(names) == 5_039 and set(names.values()) == {1}


def test_progress_is_told(tmp_path: Path, store: Store) -> None:
    write(tmp_path / "data/fast.csv", [line("f", i, i) for i in range(100)])
    told: list[tuple[Any, ...]] = []
    pump(store.log, store.schemas, sources(tmp_path), report=lambda *args: told.append(args))
    size = (tmp_path / "data/fast.csv").stat().st_size
    assert told[-1] == (size, size, "2013-01-01 01:39")


def test_a_damaged_file_is_named_when_all_others_are_in(tmp_path: Path, store: Store) -> None:
    write(tmp_path / "data/fast.csv", [line("f", i, i) for i in range(100)])
    (tmp_path / "data/slow.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(Corrupt, match=r"slow\.csv\.gz cannot be decompressed"):
        pump(store.log, store.schemas, sources(tmp_path, slow="data/slow*"))
    assert len(store.rows("fast")) == 100


def test_another_pump_takes_over_and_the_first_is_fenced(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes running one project: the later continues, the earlier stops, and each record is there once."""
    monkeypatch.setattr(pumping, "BATCH_ROWS", 1_000)
    write(tmp_path / "data/fast.csv", [line("f", i, i) for i in range(5_000)])
    steps = 0

    def report(*args: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 2:
            assert pump(store.log, store.schemas, sources(tmp_path)).rows == 3_000

    with pytest.raises(Fenced):
        pump(store.log, store.schemas, sources(tmp_path), report=report)
    names = store.names("fast")
    assert len(names) == 5_000 and set(names.values()) == {1}


def test_a_full_log_stops_it_where_it_can_go_on(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pumping, "BATCH_ROWS", 1_000)
    write(tmp_path / "data/fast.csv", [line("f", i, i) for i in range(5_000)])
    rooms, real = iter([None, None, Full("no room")]), store.log.writer

    def writer(split: str) -> Any:
        made = real(split)
        commit = made.commit

        def guarded(appends: Any, position: str) -> Any:
            error = next(rooms, None)
            if error:
                raise error
            return commit(appends, position)

        made.commit = guarded
        return made

    monkeypatch.setattr(store.log, "writer", writer)
    with pytest.raises(Full):
        pump(store.log, store.schemas, sources(tmp_path))
    assert pump(store.log, store.schemas, sources(tmp_path)).rows == 3_000
    assert set(store.names("fast").values()) == {1}


def test_follow_finds_new_files_and_more_of_old_ones(tmp_path: Path, store: Store) -> None:
    write(tmp_path / "data/fast-1.csv", [line("f", i, i) for i in range(10)])
    stop = threading.Event()
    thread = threading.Thread(
        target=follow, args=(store.log, store.schemas, sources(tmp_path), stop), kwargs={"poll_s": 0.02}
    )
    thread.start()

    def until(count: int) -> None:
        deadline = time.monotonic() + 20
        while len(store.names("fast")) < count:
            assert thread.is_alive() and time.monotonic() < deadline
            time.sleep(0.02)

    try:
        until(10)
        write(tmp_path / "data/fast-2.csv", [line("g", i, i) for i in range(10)])
        (tmp_path / "data/slow.csv").write_bytes(b"name,n,ts\n")
        until(20)
        with (tmp_path / "data/fast-1.csv").open("a") as file:
            file.write(line("f", 10, 10))
        until(21)
    finally:
        stop.set()
        thread.join()
    assert set(store.names("fast").values()) == {1}


PUMP = """
import sys; sys.path.insert(0, sys.argv[2])
import test_pump as t
from pathlib import Path
t.pumping.BATCH_ROWS = 1_000
store = t.Store(Path(sys.argv[1]))
print("begun", flush=True)
t.pump(store.log, store.schemas, t.sources(Path(sys.argv[1])))
print("done", flush=True)
"""


def pumper(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PUMP, str(folder), str(Path(__file__).parent)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.fault
def test_killed_at_any_point_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    """source.produced and source.committed: SIGKILL at random moments, again and again, until a pump comes through."""
    bad = {i for i in range(60_000) if i % 1_001 == 0}
    write(tmp_path / "data/fast.csv", [line("f", i, i) if i not in bad else f"bad{i}\n" for i in range(60_000)])
    write(tmp_path / "data/slow.csv", [line("s", i, 10 * i) for i in range(6_000)])
    chance, kills, finished = random.Random(11), 0, False
    while not finished:
        child = pumper(tmp_path)
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        if kills < 12:
            time.sleep(chance.uniform(0.0, 0.15))
            child.send_signal(signal.SIGKILL)
        finished = child.stdout.read() == "done\n"
        child.wait()
        child.stdout.close()
        kills += child.returncode == -signal.SIGKILL
    store = Store(tmp_path)
    names = store.names("fast", "slow")
    assert kills >= 3 and set(names.values()) == {1}
    assert len(names) == 60_000 - len(bad) + 6_000
    assert Counter(r["raw"] for r in store.rows("fast") if "raw" in r) == Counter(f"bad{i}".encode() for i in bad)
    store.close()


def stopped_outside_a_write(process: int, lock: Path) -> bool:
    """Stop it; False when it holds the write lock, which nobody else would get."""
    os.kill(process, signal.SIGSTOP)
    time.sleep(0.02)
    with lock.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False


@pytest.mark.fault
def test_a_stopped_pump_that_wakes_up_writes_nothing(tmp_path: Path) -> None:
    """source.zombie: SIGSTOP, take-over, SIGCONT: the zombie fails, 0 lost, 0 double."""
    write(tmp_path / "data/fast.csv", [line("f", i, i) for i in range(150_000)])
    zombie = pumper(tmp_path)
    assert zombie.stdout is not None and zombie.stdout.readline() == "begun\n"
    store = Store(tmp_path)
    while not store.log.positions("fast_files/"):
        time.sleep(0.005)
    while not stopped_outside_a_write(zombie.pid, tmp_path / "log.db.lock"):
        os.kill(zombie.pid, signal.SIGCONT)
        time.sleep(0.003)
    before = sum(store.names("fast").values())
    if zombie.poll() is None and 0 < before < 150_000:
        pump(store.log, store.schemas, sources(tmp_path))
    os.kill(zombie.pid, signal.SIGCONT)
    out = zombie.stdout.read()
    zombie.wait()
    zombie.stdout.close()
    assert 0 < before < 150_000, "it was stopped in the middle"
    assert out == "" and zombie.returncode != 0
    names = store.names("fast")
    assert len(names) == 150_000 and set(names.values()) == {1}
    store.close()


def test_a_renamed_file_goes_on_and_whoever_reads_it_under_its_old_name_is_fenced(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pumping, "BATCH_ROWS", 1_000)
    write(tmp_path / "data/fast.csv", [line("f", i, i) for i in range(5_000)])
    steps = 0

    def report(*args: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 2:
            (tmp_path / "data/fast.csv").rename(tmp_path / "data/fast-1.csv")
            assert pump(store.log, store.schemas, sources(tmp_path)).rows == 3_000

    with pytest.raises(Fenced):
        pump(store.log, store.schemas, sources(tmp_path), report=report)
    names = store.names("fast")
    assert len(names) == 5_000 and set(names.values()) == {1}
    write(tmp_path / "data/fast.csv", [line("g", i, i) for i in range(3)])
    assert pump(store.log, store.schemas, sources(tmp_path)).rows == 3
    assert {row["_event_id"] for row in store.rows("fast") if row["name"].startswith("g")} == {
        f"data/fast.csv~2:{n}" for n in (2, 3, 4)
    }


def test_a_replaced_file_stops_alone(tmp_path: Path, store: Store) -> None:
    write(tmp_path / "data/fast.csv", [line("f", 1, 1)])
    pump(store.log, store.schemas, sources(tmp_path))
    write(tmp_path / "data/fast.csv", [line("g", 1, 1)])
    write(tmp_path / "data/slow.csv", [line("s", 1, 1)])
    for _ in range(2):
        with pytest.raises(Recreated, match=r"data/fast\.csv was replaced after it had been read up to line 2"):
            pump(store.log, store.schemas, sources(tmp_path))
    assert store.names("fast", "slow") == Counter({"f1": 1, "s1": 1})


def test_a_file_of_which_no_record_is_good_and_a_line_taken_too_early_are_faults(tmp_path: Path, store: Store) -> None:
    write(tmp_path / "data/fast.csv", ["x\n"] * 3)
    write(tmp_path / "data/slow.csv", [line("s", 0, 0), line("s", 1, 1)[:-8]])
    os.utime(tmp_path / "data/slow.csv", (1, 1))
    counts = pump_all(store.log, store.schemas, sources(tmp_path))
    assert list(counts.faults) == ["fast_files/data/fast.csv"]
    assert counts.faults["fast_files/data/fast.csv"].startswith(
        "no record of data/fast.csv is good: all 3 are dead letters; the first: data/fast.csv:2: "
    )
    with (tmp_path / "data/slow.csv").open("a") as file:
        file.write(line("s", 1, 1)[-8:])
    counts = pump_all(store.log, store.schemas, sources(tmp_path))
    assert (
        counts.bad == 1
        and "line 3 continued after it had been read as the file's last" in counts.faults["slow_files/data/slow.csv"]
    )
    assert pump_all(store.log, store.schemas, sources(tmp_path)) == Counts()


def test_a_last_line_that_is_being_written_is_waited_for_and_keeps_its_place(tmp_path: Path, store: Store) -> None:
    """All files wait together, and before they are read."""
    write(tmp_path / "data/fast-1.csv", [line("f", 0, 0), line("f", 1, 1)[:-1]])
    write(tmp_path / "data/fast-2.csv", [line("f", 2, 2), line("f", 3, 3)[:-1]])
    waited: list[float | None] = []
    clock = [0.0]

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout)
            clock[0] += timeout or 0
            return False

    made = sources(tmp_path)
    for _, source in made:
        source._quiet = Quiet(steady=lambda: clock[0], wall=lambda: 0)
    counts = pump_all(store.log, store.schemas, made, stop=Stop())
    assert waited == [5.0] and counts.rows == 4 and counts.unended == []
    assert [row["n"] for row in sorted(store.rows("fast"), key=lambda r: r["n"])] == [0, 1, 2, 3]


def test_a_file_that_is_never_quiet_is_not_waited_for_without_end(tmp_path: Path, store: Store) -> None:
    write(tmp_path / "data/fast.csv", [line("f", 0, 0), line("f", 1, 1)[:-3]])
    waited = 0.0

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal waited
            waited += timeout or 0
            (tmp_path / "data/fast.csv").write_bytes((tmp_path / "data/fast.csv").read_bytes() + b"0")
            return False

    made = sources(tmp_path)
    for _, source in made:
        source._quiet = Quiet(steady=lambda: waited, wall=lambda: 0)
    counts = pump_all(store.log, store.schemas, made, stop=Stop())
    assert waited == pumping.PATIENCE_S and counts.rows == 1 and counts.unended == ["data/fast.csv"]
