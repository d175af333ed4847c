"""Doors judge times once: what is too far ahead never reaches the log as an event, and a door whose own clock is wrong
waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import millstream as ms
from millstream.base.errors import ClockWrong, Unreachable
from millstream.base.registry import engine
from millstream.engines.files.source import FileSource
from millstream.ingest.ahead import without_ahead
from millstream.ingest.contract import read_all
from millstream.ingest.doors import ASK_S, LEAST_US, DoorClock, Doors, Machine
from millstream.ingest.port import Batch
from millstream.ingest.pump import Counts, pump

DAY, HOUR = 86_400_000_000, 3_600_000_000
T0 = datetime(2026, 1, 10, tzinfo=UTC)
NOW = int(T0.timestamp() * 1e6)


class Read(ms.Event):
    """A meter was read."""

    meter: str
    n: int
    known: ms.ArrivalTime | None = None
    ts: ms.EventTime


READS = ms.stream("reads", Read, key="meter", lateness="10m", partitions=2)
FAR = ms.stream("far", Read, key="meter", ahead="300d")


class Clock:
    """A wall clock that is set by hand, and one that is not."""

    def __init__(self, wall: int = NOW) -> None:
        self.wall, self.steady = wall, 5 * HOUR

    def machine(self) -> Machine:
        return Machine(lambda: self.wall, lambda: self.steady)

    def passes(self, us: int) -> None:
        self.wall, self.steady = self.wall + us, self.steady + us


# the clock of a door


@given(
    st.integers(0, 3 * DAY),
    st.lists(
        st.tuples(st.integers(0, 2 * DAY), st.integers(-3 * DAY, 3 * DAY), st.integers(-4 * DAY, 4 * DAY)), max_size=8
    ),
)
@settings(deadline=None)
def test_a_door_judges_if_and_only_if_its_clock_is_not_behind_and_has_not_stepped(
    ahead: int, moves: list[tuple[int, int, int]]
) -> None:
    clock, newest, stepped = Clock(), NOW, 0
    door = DoorClock("reads", ahead, lambda: newest, machine=clock.machine())
    slack = max(ahead, LEAST_US)
    for passes, steps, appended in moves:
        clock.passes(passes + round(ASK_S * 1e6))
        clock.wall, stepped, newest = clock.wall + steps, stepped + steps, clock.wall + appended
        door.refresh()
        if abs(stepped) > slack or newest - clock.wall > slack:
            with pytest.raises(ClockWrong):
                door.now_us()
        else:
            assert door.now_us() == clock.wall


def test_a_machine_that_starts_in_2020_waits_and_says_both_moments() -> None:
    clock = Clock(NOW - 6 * 365 * DAY)
    door = DoorClock("reads", DAY, lambda: NOW, machine=clock.machine())
    door.refresh()
    with pytest.raises(
        ClockWrong, match=r"shows 2020-01-12 .* newest append to the stream is from 2026-01-10 .*millstream doctor"
    ):
        door.now_us()
    clock.passes(60 * 1_000_000)
    clock.wall = NOW
    with pytest.raises(ClockWrong, match=r"moved forward by 2,190\.0 days while this process was running"):
        door.now_us()


def test_a_release_is_seen_within_a_second_and_holds_for_that_append_only() -> None:
    clock, newest, released = Clock(), NOW + 36 * 365 * DAY, list[int]()
    asked = list[int]()

    def ask() -> int:
        asked.append(newest)
        return newest

    door = DoorClock("reads", DAY, ask, released=lambda: released[-1] if released else None, machine=clock.machine())
    for _ in range(3):
        door.refresh()
    assert asked == [newest], "a log is not asked for every request"
    released.append(newest)
    clock.passes(1_000_000)
    door.refresh()
    assert door.now_us() == clock.wall
    newest += 1
    clock.passes(round(ASK_S * 1e6))
    door.refresh()
    with pytest.raises(ClockWrong):
        door.now_us()


def test_a_door_that_comes_into_doubt_asks_again_within_a_second() -> None:
    clock, newest, asked = Clock(), [NOW], list[int]()

    def ask() -> int:
        asked.append(clock.steady)
        return newest[-1]

    door = DoorClock("reads", DAY, ask, machine=clock.machine())
    door.refresh()
    clock.wall -= 3 * DAY
    with pytest.raises(ClockWrong):
        door.now_us()
    newest.append(clock.wall)  # what was newest is gone from the log
    clock.passes(1_000_000)
    door.refresh()
    assert len(asked) == 2


def test_a_log_that_does_not_answer_leaves_what_was_known() -> None:
    clock, answers = Clock(), list[Any]([NOW + 2 * DAY, Unreachable("away")])

    def ask() -> int:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return int(found)

    door = DoorClock("reads", DAY, ask, machine=clock.machine())
    door.refresh()
    clock.passes(1_000_000)
    with pytest.raises(Unreachable):
        door.refresh()
    with pytest.raises(ClockWrong):
        door.now_us()


# files


def write(path: Path, lines: list[str]) -> FileSource:
    path.parent.mkdir(exist_ok=True)
    path.write_text("meter,n,known,ts\n" + "".join(lines))
    return FileSource(ms.source(READS, ms.read.files("data/*.csv")), path.parent.parent)


def line(n: int, ts: datetime, known: datetime | None = None) -> str:
    return f"m{n},{n},{known.isoformat() if known else ''},{ts.isoformat()}\n"


def judged(batch: Batch) -> Batch:
    return without_ahead(batch, READS, NOW, lambda event_id: event_id)


@given(st.lists(st.sampled_from(["good", "bad", "ahead", "known ahead"]), min_size=1, max_size=14), st.integers(1, 15))
@settings(deadline=None, max_examples=60)
def test_a_judged_batch_can_be_taken_in_part(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], size: int
) -> None:
    """Whatever is good, bad and ahead between each other: any prefix and what follows it are together the whole."""
    ahead = T0 + timedelta(days=1, microseconds=1)
    lines = {
        "good": lambda n: line(n, T0 + timedelta(days=1)),
        "bad": lambda n: f"m{n},no number,,{T0.isoformat()}\n",
        "ahead": lambda n: line(n, ahead),
        "known ahead": lambda n: line(n, T0, ahead),
    }
    source = write(tmp_path_factory.mktemp("part") / "data/reads.csv", [lines[kind](n) for n, kind in enumerate(kinds)])
    (split,) = source.splits()

    class Judged:
        def read(self, split: str, position: str | None, max_rows: int = 50_000) -> Iterator[Batch]:
            return map(judged, source.read(split, position, max_rows))

    made: Any = Judged()
    rows, bad, _ = read_all(made, split)
    assert [r["n"] for r in rows] == [n for n, kind in enumerate(kinds) if kind == "good"]
    assert {b["origin"] for b in bad} == {
        f"data/reads.csv:{n + 2}" for n, kind in enumerate(kinds) if kind != "good"
    } and len(bad) == len(kinds) - len(rows)
    start, taken = 0, list[str]()
    for batch in made.read(split, None, size):
        origins = batch.bad.column("origin").to_pylist()
        for n in range(batch.rows.num_rows + 1):
            taken_bad, position = batch.after(n)
            more, more_bad, _ = read_all(made, split, position)
            assert more == rows[start + n :]
            assert sorted([*taken, *origins[:taken_bad], *(b["origin"] for b in more_bad)]) == sorted(
                b["origin"] for b in bad
            ), "none twice, none lost"
        assert batch.after(batch.rows.num_rows) == (batch.bad.num_rows, batch.position)
        start, taken = start + batch.rows.num_rows, taken + origins


class Store:
    def __init__(self, folder: Path) -> None:
        url = f"sqlite:{folder / 'log.db'}"
        self.schemas = engine("schemas", url)(url)
        self.log = engine("log", url)(url, self.schemas)

    def records(self, topic: str = "reads") -> list[dict[str, Any]]:
        ends = self.log.ends(topic)
        reader = self.log.reader(topic, dict.fromkeys(ends, 0))
        found: list[dict[str, Any]] = []
        while any(reader.position(p) < end.high for p, end in ends.items()):
            found += [row for piece in reader.poll(1_000, timedelta(0)) for row in piece.rows.to_pylist()]
        reader.close()
        return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.log.close()
    made.schemas.close()


def doors(store: Store, clock: Clock) -> Doors:
    return Doors(store.log, newest=lambda topic: None, machine=clock.machine())


def test_rows_of_a_file_that_lie_ahead_are_bad_records_with_their_lines(tmp_path: Path, store: Store) -> None:
    in_2099 = datetime(2099, 1, 1, tzinfo=UTC)
    source = write(
        tmp_path / "data/reads.csv",
        [line(0, T0), line(1, in_2099), line(2, T0, in_2099), line(3, T0 + timedelta(hours=23))],
    )
    counts = pump(store.log, store.schemas, [(source.source, source)], doors=doors(store, Clock()))
    assert (counts.rows, counts.bad) == (2, 2)
    found = store.records()
    assert sorted(r["n"] for r in found if "n" in r) == [0, 3]
    bad = {r["origin"]: r for r in found if "origin" in r}
    first, second = bad["data/reads.csv:3"], bad["data/reads.csv:4"]
    assert first["error"].startswith(
        'data/reads.csv:3: event time "ts" is 2099-01-01 00:00:00 UTC, more than 1d ahead of the clock (2026-01-10'
        " 00:00:00 UTC)"
    )
    assert 'arrival time "known" is 2099' in second["error"]
    assert first["raw"].decode().rstrip("\n") == line(1, in_2099).rstrip("\n"), "as it was found"


def test_the_verdict_is_not_given_again_when_its_time_has_come(tmp_path: Path, store: Store) -> None:
    clock = Clock()
    source = write(tmp_path / "data/reads.csv", [line(0, T0), line(1, T0 + timedelta(days=2))])
    assert pump(store.log, store.schemas, [(source.source, source)], doors=doors(store, clock)).bad == 1
    clock.passes(10 * DAY)
    assert pump(store.log, store.schemas, [(source.source, source)], doors=doors(store, clock)) == Counts()


def test_the_bound_is_the_streams(tmp_path: Path, store: Store) -> None:
    source = write(tmp_path / "data/reads.csv", [line(0, T0 + timedelta(days=299)), line(1, T0 + timedelta(days=301))])
    far = FileSource(ms.source(FAR, ms.read.files("data/*.csv")), tmp_path)
    assert (
        source.splits() and pump(store.log, store.schemas, [(far.source, far)], doors=doors(store, Clock())).rows == 1
    )


def test_a_pump_whose_clock_is_behind_takes_nothing_and_goes_on_when_it_is_right(tmp_path: Path, store: Store) -> None:
    source = write(tmp_path / "data/reads.csv", [line(n, T0) for n in range(20)])
    clock = Clock(NOW - 6 * 365 * DAY)
    made = Doors(store.log, newest=lambda topic: NOW, machine=clock.machine())
    with pytest.raises(ClockWrong):
        pump(store.log, store.schemas, [(source.source, source)], doors=made)
    assert store.records() == []
    right = Doors(store.log, newest=lambda topic: NOW, machine=Clock().machine())
    assert pump(store.log, store.schemas, [(source.source, source)], doors=right).rows == 20


def test_the_log_itself_says_when_its_newest_append_was(tmp_path: Path, store: Store) -> None:
    source = write(tmp_path / "data/reads.csv", [line(0, T0)])
    sources = [(source.source, source)]
    assert pump(store.log, store.schemas, sources).rows == 1
    write(tmp_path / "data/reads.csv", [line(0, T0), line(1, T0)])
    with pytest.raises(ClockWrong, match="newest append"):
        pump(store.log, store.schemas, sources, doors=Doors(store.log, machine=Clock(0).machine()))
