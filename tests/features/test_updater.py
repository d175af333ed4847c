"""The updater: what it has counted is what the stream's table holds, whatever dies, repeats, comes late or races."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from given import of_world
from oracle import HOUR, MINUTE, PAYLOAD, naive, same, spine
from updater_world import World, across_restarts, one

from millstream.base.errors import Busy, Recreated, Truncated
from millstream.base.event import ARRIVED_AT, EVENT_ID, TIMESTAMP
from millstream.features.fill import fill
from millstream.features.offline import offline
from millstream.features.updater import Applied
from millstream.lake.ruling import Rule, stamp
from millstream.log.envelope import publish
from millstream.serve.updates import Updates


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def test_it_counts_what_the_table_holds_across_restarts(world: World) -> None:
    """Duplicates within the window, dead letters, late events, NaN and null keys; updater and sink begin anew at
    different places.
    """
    across_restarts(world)


def test_filled_then_moved_on(world: World) -> None:
    d = one()
    for _ in range(6):
        world.send(40)
    world.land()
    for _ in range(3):
        world.send(30)
    for _ in range(2):  # again is as well as once
        assert world.fill(d) == len(world.rows())
    updater = world.updater(d)
    updater.drain()
    updater.close()
    world.land()
    assert world.differences(d) == []


def test_a_definition_filled_meanwhile_is_taken_up_and_does_not_disturb_the_others(world: World) -> None:
    d, new, clock = one(), one("new", where="n is not null"), [0.0]
    for _ in range(4):
        world.send(30)
    world.land()
    world.store.create(new)  # somebody has begun to fill it, so the updater leaves it alone
    updater = world.updater(d, new, clock=lambda: clock[0])
    for _ in range(3):
        world.send(30)
    assert updater.drain().events and world.store.applied(new.generation).active is False  # type: ignore[union-attr]
    world.fill(new)
    world.send(30)
    updater.step()
    assert world.store.applied(new.generation).offsets != world.store.applied(d.generation).offsets, (  # type: ignore[union-attr]
        "looked at once a second"
    )
    clock[0] += 2
    updater.drain()
    world.land()
    assert world.differences(d, new) == []
    world.store.drop(d.generation)
    world.send(30)
    done = updater.drain()
    assert done.conflicts == 1 and world.store.generations() == [new.generation]
    world.land()
    assert world.differences(new) == []
    updater.close()


def test_two_updaters_on_one_partition_the_loser_writes_nothing(world: World) -> None:
    """updater.two: in turns, then at once from threads."""
    d = one()
    for _ in range(5):
        world.send(40)
    first, second = world.updater(d), world.updater(d, max_rows=25)
    done = first.step()
    lost = second.step()
    assert lost.conflicts == 1 and lost.events == 0
    assert done.events
    for _ in range(5):
        world.send(40)
    found: list[Applied] = []
    threads = [threading.Thread(target=lambda u=u: found.append(u.drain())) for u in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first.close()
    second.close()
    world.land()
    assert len(found) == 2 and world.differences(d) == []


def test_what_could_not_be_written_is_read_again_with_its_ids(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    d = one()
    updater = world.updater(d, max_rows=1_000)
    world.send(50)
    updater.drain()
    world.send(50)
    apply = world.store.apply
    monkeypatch.setattr(world.store, "apply", lambda applies: (_ for _ in ()).throw(Busy("not now")))
    with pytest.raises(Busy):
        updater.drain()
    monkeypatch.setattr(world.store, "apply", apply)
    updater.drain()
    updater.close()
    world.land()
    assert world.differences(d) == []


def test_where_the_log_has_removed_records_the_features_are_filled_anew(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An updater that was away for longer than the log keeps its records."""
    d, late = one(), one("late")
    for definition in (d, late):
        world.store.create(definition)
        world.store.activate(definition.generation, {}, 0, stamp(Rule.of(world.stream), None, ""))
    for _ in range(3):
        world.send(40)
    ahead = world.updater(late)
    ahead.drain()
    ahead.close()
    world.land()
    with world.log._write() as con:
        con.execute("update topic set retention_us = 3600000000")
        con.execute("update batch set appended_us = appended_us - 36000000000")
    world.log.maintain()
    assert any(end.low for end in world.log.ends("readings").values())
    world.send(30)
    with pytest.raises(Truncated):
        world.updater(d).drain()
    updates = Updates(of_world(world, tmp_path))
    for definition in (d, late):
        updates.want(definition)
    updates.refresh()
    ends = {p: end.high for p, end in world.log.ends("readings").items() if end.high}
    while any(
        (found := world.store.applied(one_.generation)) is None or dict(found.offsets) != ends for one_ in (d, late)
    ):
        threading.Event().wait(0.01)
    assert updates.problems() == []
    updates.close()
    world.land()
    assert world.differences(d, late) == []


def test_a_table_of_two_topics_fills_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.send(20)
    world.land()
    table = world.lake.table("readings")
    table.append([], txns={f"millstream/{'f' * 32}/0": (None, 5)})
    with pytest.raises(Recreated, match="more than one topic"):
        world.fill(one())


def test_it_runs_until_it_is_told_to_stop_and_expires_what_is_old(world: World) -> None:
    d, clock = one(), [0.0]
    updater = world.updater(d, clock=lambda: clock[0])
    for _ in range(3):
        world.send(30)
    stop = threading.Event()
    thread = threading.Thread(target=updater.run, args=(stop,))
    thread.start()
    ends = {p: end.high for p, end in world.log.ends("readings").items() if end.high}
    while dict(world.store.applied(d.generation).offsets) != ends:  # type: ignore[union-attr]
        assert thread.is_alive()
        stop.wait(0.005)
    stop.set()
    thread.join()
    heads = lambda: world.store._writer.execute(f"select count(*) from head_{d.generation}").fetchone()[0]  # noqa: E731
    before = heads()
    world.now += 6 * 3_600_000_000
    world.send(1)
    updater.drain()
    clock[0] += 61
    updater.step()
    assert heads() < before
    world.land()
    assert world.differences(d) == []
    updater.close()


def died(folder: Path, what: str, after: int | str) -> Any:
    return subprocess.run(
        [sys.executable, str(Path(__file__).parent / "updater_world.py"), str(folder), what, str(after)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.fault
@pytest.mark.parametrize("after", [4, -4])
def test_killed_in_and_after_a_commit_it_counts_once(world: World, after: int) -> None:
    """updater.committed: state and position are one; the next updater continues from there."""
    d = one()
    for _ in range(6):
        world.send(40)
    world.land()
    assert died(world.folder, "update", after).returncode == -9
    stands = world.store.applied(d.generation)
    assert stands is not None and stands.active and sum(stands.offsets.values()) > 0
    world.send(20)
    updater = world.updater(d)
    updater.drain()
    updater.close()
    world.land()
    assert world.differences(d) == []


@pytest.mark.fault
@pytest.mark.parametrize("after", [2, 5, -7])
def test_a_killed_fill_leaves_nothing_that_answers(world: World, after: int) -> None:
    d = one()
    for _ in range(4):
        world.send(40)
    world.land()
    assert died(world.folder, "fill", after).returncode == -9
    stands = world.store.applied(d.generation)
    assert stands is not None and not stands.active
    updater = world.updater(d)
    assert updater.step() == Applied(), "what is being filled is left alone"
    world.fill(d)
    updater.close()
    updater = world.updater(d)
    updater.drain()
    updater.close()
    assert world.differences(d) == []


def in_the_log(world: World, arrived: int, happened: int, name: str) -> None:
    rows = {
        "k": pa.array(["a"]),
        "i": pa.array([1], PAYLOAD.field("i").type),
        "v": pa.array([0.5]),
        "n": pa.array([1], pa.int64()),
        "ts": pa.array([happened], TIMESTAMP),
    }
    rows |= {EVENT_ID: pa.array([name]), ARRIVED_AT: pa.array([arrived], TIMESTAMP)}
    publish(world.log, world.binding, pa.RecordBatch.from_pydict(rows))


IN_2062 = 2_903_000_000_000_000


def test_an_arrival_of_2062_that_is_in_the_log_empties_no_counter(world: World) -> None:
    d, clock = one(), [0.0]
    updater = world.updater(d, clock=lambda: clock[0], wall_us=lambda: world.now)
    for turn in range(3):
        world.send(30)
        updater.drain()
        if turn == 0:
            in_the_log(world, IN_2062, world.now, "far")
    clock[0] += 120.0
    updater.step()
    assert world.store.applied(d.generation).clock_us <= world.now, "the wall clock"  # type: ignore[union-attr]
    updater.close()
    world.land()
    assert world.differences(d) == []


def test_a_fill_over_an_arrival_of_2062_keeps_what_windows_reach(world: World) -> None:
    d = one()
    world.send(30)
    in_the_log(world, IN_2062, world.now, "far")
    world.send(30)
    world.land()
    fill(world.sql, world.lake, world.store, d, world.stream, wall_us=lambda: world.now)
    assert world.store.applied(d.generation).clock_us == world.now  # type: ignore[union-attr]
    assert world.differences(d) == []


@pytest.mark.parametrize("ahead", [None, 20 * HOUR, 70 * MINUTE])
def test_a_generation_whose_clock_is_far_ahead_of_the_wall_clock_is_filled_again(
    world: World, tmp_path: Path, ahead: int | None
) -> None:
    """The wall clock had jumped to 2062 (or by some hours) while an updater ran, and is right again. Until then it took
    what happened now for old.
    """
    world.now = time.time_ns() // 1000 - 600_000_000
    far = IN_2062 if ahead is None else time.time_ns() // 1000 + ahead
    d = one()
    world.send(30)
    in_the_log(world, far, world.now, "far")
    updater = world.updater(d, wall_us=lambda: far)
    updater.drain()
    updater.close()
    world.send(30)
    world.land()
    assert world.store.applied(d.generation).clock_us == far  # type: ignore[union-attr]
    assert world.updater(d).beyond and not world.updater(d, beyond_us=1 << 62).beyond
    updates = Updates(of_world(world, tmp_path))
    updates.want(d)
    updates.refresh()
    ends = {p: end.high for p, end in world.log.ends("readings").items() if end.high}
    while (found := world.store.applied(d.generation)) is None or found.clock_us >= far or dict(found.offsets) != ends:
        threading.Event().wait(0.01)
    assert updates.problems() == []
    updates.close()
    assert world.differences(d) == []


@pytest.mark.parametrize("far", [{"arrived": IN_2062}, {"happened": IN_2062}])
def test_the_offline_reader_leaves_out_a_row_of_2062_and_nothing_else(world: World, far: dict[str, int]) -> None:
    d = one()
    for turn in range(3):
        world.send(30)
        if turn == 1:
            in_the_log(world, far.get("arrived", world.now), far.get("happened", world.now), "far")
    world.land()
    kept = [r for r in world.rows() if IN_2062 not in (r.arrived, r.t)]
    assert len(kept) == len(world.rows()) - 1
    moment = world.now + HOUR  # all the others have arrived
    (found,) = offline(world.sql, world.lake, spine([(("a",), moment)]), [(d, ("k",), "p")]).read_all().to_pylist()
    wanted = {n: v for w in d.windows_us for n, v in naive(d, kept, ("a",), moment, w, lambda r: True).items()}
    assert all(same(found[f"p__{n}"], v) for n, v in wanted.items())


class Broken:
    """An online store of which one generation fails: when it is filled, or when it is moved on."""

    def __init__(self, store: Any, generation: str, method: str) -> None:
        self.store, self.generation, self.method, self.broken = store, generation, method, True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def load(self, definition: Any, *rest: Any) -> Any:
        if self.broken and self.method == "load" and definition.generation == self.generation:
            raise ValueError("its tiles cannot be read")
        return self.store.load(definition, *rest)

    def apply(self, applies: Any) -> Any:
        if self.broken and self.method == "apply" and any(a.definition.generation == self.generation for a in applies):
            raise ValueError("its tiles cannot be read")
        return self.store.apply(applies)


@pytest.mark.parametrize("method", ["load", "apply"])
def test_a_definition_that_fails_leaves_the_others_of_its_stream_at_work(
    world: World, tmp_path: Path, method: str
) -> None:
    good, bad = one(), one("bad", where="n is not null")
    for _ in range(3):
        world.send(30)
    world.land()
    store = Broken(world.store, bad.generation, method)
    updates = Updates(of_world(world, tmp_path, online=store))
    for definition in (good, bad):
        updates.want(definition)
    updates.refresh()
    world.send(30)
    ends = {p: end.high for p, end in world.log.ends("readings").items() if end.high}

    def stands(definition: Any) -> bool:
        found = world.store.applied(definition.generation)
        return found is not None and found.active and dict(found.offsets) == ends

    deadline = time.monotonic() + 60
    while not (stands(good) and updates.troubled() == {"readings"}):
        assert time.monotonic() < deadline, updates.problems()
        threading.Event().wait(0.05)
        updates.refresh()
    assert not stands(bad) and any("its tiles cannot be read" in problem for problem in updates.problems())
    store.broken = False
    while not (stands(bad) and not updates.problems()):
        assert time.monotonic() < deadline, updates.problems()
        threading.Event().wait(0.05)
        updates.refresh()
    updates.close()
    world.land()
    assert world.differences(good, bad) == []
