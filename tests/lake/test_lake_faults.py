"""Real processes killed and stopped at the protocol's points: each record in exactly one place, once."""

from __future__ import annotations

import random
import signal
import time
from typing import Any

import pytest
from lake_actors import LENIENT, Actor, Stage, World, upkeep_after

from millstream.lake import checkpoint, clean, deltalog, parquet
from millstream.lake.contract import READINGS, ids, ids_of, proven, put, rows_in
from millstream.lake.lineage import fold, ranges
from millstream.lake.verify import verify

pytestmark = pytest.mark.fault


def sow(world: World, count: int, *, begin: int = 0, bad: bool = False, each: int = 10) -> None:
    """Readings in every partition in turn; every tenth lacks its number when `bad`."""
    for n in range(begin, begin + count, each):
        numbers = range(n, n + each)
        put(world.log, world.schemas, n // each % 3, *numbers, bad=[i for i in numbers if bad and i % 10 == 3])


def places(world: World) -> dict[tuple[int, int], int]:
    """Partition and offset -> in how many places it is, table and quarantine."""
    found: dict[tuple[int, int], int] = {}
    for name in ("readings", "readings__dead"):
        for row in rows_in(world.lake.table(name)) if world.lake.exists(name) else []:
            at = (row["_partition"], row["_offset"])
            found[at] = found.get(at, 0) + 1
    return found


@pytest.mark.parametrize("point", ["sink.read", "sink.quarantined", "sink.files", "commit.linked", "sink.committed"])
def test_killed_at(world: World, stage: Stage, point: str) -> None:
    """At the first and at the third commit; the successor has other batch bounds."""
    sow(world, 240, bad=True)
    for times in (1, 3):
        assert stage.spawn("drain", rows=40, point=(point, times, "kill")).wait() == -signal.SIGKILL
    assert world.drain(rows=33).rows > 0
    assert ids(world.lake) == ids_of(*(n for n in range(240) if n % 10 != 3))
    assert proven(world.lake, world.log).dead == 24


def test_answer_lost(world: World, stage: Stage) -> None:
    """The commit landed and its answer did not come: the same process looks again, and doubles nothing."""
    sow(world, 120)
    assert stage.spawn("drain", rows=40, point=("commit.linked", 2, "raise")).wait() == 0, stage.told()
    assert ids(world.lake) == ids_of(*range(120)) and proven(world.lake, world.log).rows == 120


def test_quarantined_and_other_code(world: World, stage: Stage) -> None:
    """Killed between quarantine and table; then code that calls the dead good, and the other way round: recorded
    verdicts stand.
    """
    sow(world, 90, bad=True)
    assert stage.spawn("drain", rows=60, point=("sink.quarantined", 1, "kill")).wait() == -signal.SIGKILL
    recorded = {(row["_partition"], row["_offset"]) for row in rows_in(world.lake.table("readings__dead"))}
    assert recorded
    assert stage.spawn("drain", rows=25, lenient=True, point=("sink.files", 1, "kill")).wait() == -signal.SIGKILL
    assert stage.spawn("drain", rows=35, lenient=True).wait() == 0, stage.told()
    sow(world, 30, begin=90, bad=True)
    assert stage.spawn("drain", rows=35).wait() == 0, stage.told()
    assert set(places(world).values()) == {1} and len(places(world)) == 120
    assert recorded <= {(row["_partition"], row["_offset"]) for row in rows_in(world.lake.table("readings__dead"))}
    proven(world.lake, world.log, LENIENT)


def test_files_without_a_commit(world: World, stage: Stage) -> None:
    """Orphans are not seen, and gone after the sweep of a week later."""
    sow(world, 60)
    for _ in range(2):
        stage.spawn("drain", point=("sink.files", 1, "kill")).wait()
    world.drain()
    orphans = {name for name in world.lake.files.list("readings") if name.endswith(".parquet")} - set(
        world.lake.table("readings").actions()["path"].to_pylist()
    )
    assert len(orphans) == 2 and proven(world.lake, world.log).rows == 60
    assert upkeep_after(world, "readings", 6).removed == 0
    assert upkeep_after(world, "readings", 8).removed == 2
    assert proven(world.lake, world.log).rows == 60


def test_partial(world: World, stage: Stage) -> None:
    """Racing commits of {0,1}, {1,2}, {0,2}: per partition the ranges chain."""
    sow(world, 3000)
    actors = [stage.spawn("drain", rows=90, partitions=list(pair)) for pair in ((0, 1), (1, 2), (0, 2))]
    assert [actor.wait() for actor in actors] == [0, 0, 0], stage.told()
    assert proven(world.lake, world.log).rows == 3000 and ids(world.lake) == ids_of(*range(3000))
    assert len({r.version for r in ranges(world.lake.table("readings"))}) >= 12


@pytest.mark.parametrize("point", ["sink.read", "sink.files"])
def test_zombie(world: World, stage: Stage, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped with a batch in hand; another worker continues, and the log behind it is cleaned; the zombie's commit is
    refused.
    """
    sow(world, 90)
    world.drain()
    sow(world, 60, begin=90)
    zombie = stage.spawn("drain", point=(point, 1, "stop"))
    zombie.arrive_stopped()
    for n in range(150, 240, 30):
        sow(world, 30, begin=n)
        world.drain()
    table = world.lake.table("readings")
    checkpoint.make(table)
    fold(world.lake, table)
    monkeypatch.setattr(clean, "AT_MOST", 1)
    assert clean.log(world.lake, table, time.time() + 3600) > 0
    assert deltalog.versions(world.lake.files, "readings") == [table.version]
    zombie.signal(signal.SIGCONT)
    assert zombie.wait() == 0, stage.told()
    assert ids(world.lake) == ids_of(*range(240)) and proven(world.lake, world.log).rows == 240


def test_first(world: World, stage: Stage) -> None:
    """Two sinks make the table at once: one table, rows once."""
    sow(world, 90, bad=True)
    actors = [stage.spawn("drain") for _ in range(3)]
    assert [actor.wait() for actor in actors] == [0, 0, 0], stage.told()
    assert proven(world.lake, world.log).rows == 81


def test_schema(world: World, stage: Stage) -> None:
    """Killed, and then stopped, after the column was added and before the data; a worker of the old class races: no row
    lost, old rows null.
    """
    sow(world, 60)
    world.drain()
    sow(world, 60, begin=60)
    assert stage.spawn("drain", lenient=True, point=("sink.schema", 1, "kill")).wait() == -signal.SIGKILL
    assert "unit" in world.lake.table("readings").schema.names
    old, new = stage.spawn("drain", rows=20), stage.spawn("drain", rows=20, lenient=True)
    for actor in (old, new):
        assert actor.wait() == 0 or "Fenced" in stage.told(), (
            "it may have written all of its part before the other definition came; after that it stops"
        )
    assert stage.spawn("drain", lenient=True).wait() == 0, stage.told()
    assert ids(world.lake) == ids_of(*range(120)) and proven(world.lake, world.log, LENIENT).rows == 120
    assert {row["unit"] for row in rows_in(world.lake.table("readings")) if row["n"] < 60} == {None}


@pytest.mark.parametrize("point", ["compact.files", "compact.committed"])
def test_compaction_killed(world: World, stage: Stage, point: str) -> None:
    """Before and after its commit, sinks running: the same offsets, the same positions, in the same order."""
    for n in range(0, 60, 10):
        sow(world, 10, begin=n)
        world.drain()
    before, txns = places(world), world.lake.table("readings").txns()
    joiner = stage.spawn("upkeep", point=(point, 1, "kill"))
    assert joiner.wait() == -signal.SIGKILL
    assert places(world) == before and world.lake.table("readings").txns() == txns
    sow(world, 60, begin=60)
    sinks = [stage.spawn("drain", rows=7), stage.spawn("drain", rows=11)]
    while not all(actor.pid in stage.gone for actor in sinks):
        assert stage.spawn("upkeep").wait() == 0, stage.told()
    assert [actor.wait() for actor in sinks] == [0, 0], stage.told()
    assert ids(world.lake) == ids_of(*range(120)) and proven(world.lake, world.log).rows == 120
    assert any(entry["metadata"].get("by") == "compaction" for entry in world.lake.table("readings").history())


def test_lease_lost(world: World, stage: Stage) -> None:
    """Stopped in compaction, with its files written; another does the work meanwhile: what the first then commits is
    refused.
    """
    for n in range(0, 60, 10):
        sow(world, 10, begin=n)
        world.drain()
    before = places(world)
    holder = stage.spawn("upkeep", point=("compact.files", 1, "stop"))
    holder.arrive_stopped()
    assert stage.spawn("upkeep").wait() == 0
    files = world.lake.table("readings").actions()["path"].to_pylist()
    sow(world, 10, begin=60)
    world.drain()
    holder.signal(signal.SIGCONT)
    assert holder.wait() == 0, stage.told()
    assert set(files) < set(world.lake.table("readings").actions()["path"].to_pylist())
    assert len(before) == 60 and places(world) == {**before, **dict.fromkeys(places(world).keys() - before.keys(), 1)}
    assert proven(world.lake, world.log).rows == 70
    told = {
        f.path
        for v in deltalog.versions(world.lake.files, "readings")
        for f in deltalog.read(world.lake.files, "readings", v).added
    }
    assert {name for name in world.lake.files.list("readings") if name.endswith(".parquet")} == told, (
        "the refused file was removed"
    )


def test_checkpoint_half(world: World, stage: Stage) -> None:
    """Dead between a checkpoint and the file that points to it; the table opens with the same positions, and is
    checkpointed again.
    """
    for n in range(0, 270, 10):
        sow(world, 10, begin=n)
        world.drain()
    txns = world.lake.table("readings").txns()
    keeper = stage.spawn("upkeep", often=True, point=("checkpoint.half", 1, "kill"))
    assert keeper.wait() == -signal.SIGKILL
    pointer = "readings/_delta_log/_last_checkpoint"
    world.lake.files.remove(pointer)
    assert world.lake.table("readings").txns() == txns and all(
        world.lake.table("readings").position(app) == at for app, at in txns.items()
    )
    world.state.release("upkeep/readings", str(keeper.pid))
    sow(world, 250, begin=270)
    for _ in range(25):
        world.drain(rows=10, partitions=[0])
    world.drain()
    assert proven(world.lake, world.log).rows == 520


def test_fold_appended(world: World, stage: Stage) -> None:
    """Dead with ranges folded and the log not cleaned: verify says the same before and after, no range is twice."""
    for n in range(0, 300, 10):
        sow(world, 10, begin=n)
        world.drain()
    before, report = ranges(world.lake.table("readings")), verify(world.lake, world.log, READINGS)
    keeper = stage.spawn("upkeep", often=True, point=("fold.appended", 1, "kill"))
    assert keeper.wait() == -signal.SIGKILL
    assert world.lake.exists("readings__lineage")
    assert ranges(world.lake.table("readings")) == before
    assert fold(world.lake, world.lake.table("readings")) == 0
    after = verify(world.lake, world.log, READINGS)
    assert report.ok and after.ok and (after.rows, after.records) == (report.rows, report.records) == (300, 300)


def test_vacuum_running(world: World, stage: Stage) -> None:
    """A file that is written and not yet committed stays, and so does a pinned version, while all else that is old
    goes.
    """
    for n in range(0, 60, 10):
        sow(world, 10, begin=n)
        world.drain()
    table = world.lake.table("readings")
    table.pin(3, "model 1")
    assert stage.spawn("upkeep").wait() == 0
    sow(world, 10, begin=60)
    writer = stage.spawn("drain", point=("sink.files", 1, "stop"))
    writer.arrive_stopped()
    young = max(name for name in world.lake.files.list("readings") if name.endswith(".parquet"))
    begun = parquet.written_ns(young)
    assert begun is not None
    week_later = begun / 1e9 + clean.KEPT.total_seconds() - 0.001  # all but the youngest file are older than that
    assert clean.vacuum(world.lake.table("readings"), week_later) == 3, (
        "files of versions 4 to 6, joined since; those of version 3 are pinned"
    )
    assert sorted(row["n"] for row in rows_in(table.at(3))) == list(range(30))
    writer.signal(signal.SIGCONT)
    assert writer.wait() == 0, stage.told()
    assert ids(world.lake) == ids_of(*range(70)) and proven(world.lake, world.log).rows == 70


def test_a_file_vacuumed_before_its_commit(world: World, stage: Stage) -> None:
    """A machine sleeps for more than a week between file and commit: the commit is refused, the batch is
    written again.
    """
    sow(world, 10)
    writer = stage.spawn("drain", point=("sink.files", 1, "stop"))
    writer.arrive_stopped()
    assert clean.vacuum(world.lake.table("readings"), time.time() + 8 * 86400) == 1
    writer.signal(signal.SIGCONT)
    assert writer.wait() == 0, stage.told()
    assert len(rows_in(world.lake.table("readings"))) == 10 and proven(world.lake, world.log).rows == 10


@pytest.mark.timeout(400)
def test_random_kills(world: World, stage: Stage) -> None:
    """200 SIGKILLs, at random moments and at random points: two workers a partition race, one keeps the tables, events
    are doubled and broken.
    """
    dice, sent = random.Random(11), 0
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("follow", {"rows": 30, "partitions": list(pair)}) for pair in ((0, 1), (1, 2), (0, 2))
    ]
    kinds.append(("upkeep", {"often": True}))

    def start(kind: int) -> tuple[Actor, bool]:
        """An actor, and whether it will die by itself, at the so-manieth point that it comes to."""
        doomed = dice.random() < 0.5
        role, arguments = kinds[kind]
        return (
            stage.spawn(
                role, **arguments, point=("any", dice.randint(1, 16 if kind < 3 else 3), "kill") if doomed else None
            ),
            doomed,
        )

    def ready() -> list[int]:
        """Who is dead, or may be killed."""
        return [
            i
            for i, (actor, doomed) in enumerate(actors)
            if actor.pid in stage.gone or (actor.pid in stage.arrived and not doomed)
        ]

    sow(world, 30, bad=True)  # turn 0 sends it again
    actors = [start(kind) for kind in range(4)]
    for turn in range(200):
        for _ in range(2 if dice.random() < 0.3 else 1):  # now and then a client that got no answer sends it all again
            sow(world, 30, begin=sent, bad=turn % 4 == 0)
        sent += 30
        stage.until(lambda: bool(ready()))
        at = dice.choice(ready())
        actor, doomed = actors[at]
        if not doomed:
            time.sleep(dice.random() * 0.03)
            actor.kill()
        assert actor.wait() == -signal.SIGKILL, stage.told()
        actors[at] = start(at)
    for actor, _ in actors:
        actor.kill()
    world.drain()
    assert ids(world.lake) == ids_of(*(n for n in range(sent) if n % 120 not in (3, 13, 23)))
    report = proven(world.lake, world.log)
    assert report.duplicates > 0 and report.dead >= sent // 40
    assert len({r.version for r in ranges(world.lake.table("readings"))}) > 50, "workers landed between the kills"
    assert set(places(world).values()) == {1}
