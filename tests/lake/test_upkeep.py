"""Upkeep: when it is due, what it keeps, and that nothing it does is news to a reader."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest
from lake_actors import World, upkeep_after
from small_disk import SmallDisk

from millstream.base import points
from millstream.base.errors import Conflict, Corrupt, Full, NotFound, Truncated
from millstream.lake import checkpoint, clean, compact, deltalog, parquet
from millstream.lake.contract import ROWS, ids, ids_of, proven, put, rows_in
from millstream.lake.lineage import ranges
from millstream.lake.maintain import Done, maintain
from millstream.lake.table import LakeTable

Fill = Callable[..., LakeTable]


@pytest.fixture
def fill(world: World) -> Fill:
    """Commits of one row each to a plain table."""

    def make(commits: int, begin: int = 0, name: str = "t", partition_by: tuple[str, ...] = ()) -> LakeTable:
        table = world.lake.create(name, ROWS, partition_by)
        for n in range(begin, begin + commits):
            table.append([rows(n)])
        return table

    return make


def rows(*numbers: int) -> pa.RecordBatch:
    return pa.record_batch(
        {"x": pa.array(numbers, pa.int64()), "name": pa.array([f"p{n % 2}" for n in numbers])}, schema=ROWS
    )


def keep(world: World, name: str = "t", days: float = 0) -> Done:
    return cast("Done", upkeep_after(world, name, days))


def test_a_checkpoint_each_25_commits(world: World, fill: Fill) -> None:
    assert not keep(world), "there is no such table"
    fill(10)
    assert not keep(world), "the first look at a new table finds nothing to do"
    fill(14, 10)
    assert not keep(world) and deltalog.checkpoints(world.lake.files, "t") == []
    fill(20, 24)
    assert keep(world).checkpoint == 44
    assert not keep(world)


def test_nothing_to_do_costs_next_to_nothing(world: World, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(3)
    keep(world)
    monkeypatch.setattr(LakeTable, "open", None)
    monkeypatch.setattr(world.state, "lease", None)
    begun = time.process_time()
    for _ in range(100):
        assert not keep(world)
    assert time.process_time() - begun < 0.5


def test_the_lease_of_another_is_respected(world: World, fill: Fill) -> None:
    fill(30)
    assert world.state.lease("upkeep/t", "other", timedelta(minutes=1))
    assert not keep(world)
    world.state.release("upkeep/t", "other")
    assert keep(world).checkpoint == 30
    assert world.state.lease("upkeep/t", "other", timedelta(minutes=1)), "given up after the work"


def test_a_table_made_again_is_looked_at_anew(world: World, fill: Fill) -> None:
    fill(30)
    keep(world)
    world.lake.drop("t")
    fill(26)
    assert keep(world).checkpoint == 26


def test_small_files_are_joined_in_their_place(world: World, fill: Fill) -> None:
    table = fill(40)
    before = [row["x"] for row in rows_in(table)]
    assert keep(world).joined == 40
    fill(5, 40)
    after = world.lake.table("t")
    assert [row["x"] for row in rows_in(after)] == [*before, *range(40, 45)], "old rows before new ones"
    assert after.actions().num_rows == 6 and after.rows() == 45
    assert [row["x"] for row in rows_in(table.at(20))] == before[:20], "older versions stay readable"


def test_joining_is_no_news(world: World, fill: Fill) -> None:
    """What was added since is the same files before and after; what was replaced since is left out, joined or not."""
    fill(20)
    fill(20, 20)
    world.lake.table("t").append([rows(99)])
    wanted = world.lake.table("t").added(20)
    assert compact.compact(world.lake.table("t")) == 41
    fill(1, 100)
    table = world.lake.table("t")
    assert table.added(20)[:-1] == wanted and len(table.added(20)) == 22
    table.replace([rows(7)], where=("x", 0, 30))
    assert len(world.lake.table("t").added(20)) == 2, "the joined file's rows are gone, so its origins are not news"


def test_appends_and_joining_do_not_disturb_one_another(world: World, fill: Fill) -> None:
    fill(40)
    stale, old = world.lake.table("t"), world.lake.table("t")
    fill(3, 40)
    assert compact.compact(stale) == 40, "three commits came in between"
    assert old.append([rows(50)], txns={"app": (None, 1)}) == 45, "from a handle that never saw the joining"
    assert sorted(row["x"] for row in rows_in(world.lake.table("t"))) == [*range(43), 50]


def test_partitions_are_not_mixed(world: World) -> None:
    table = world.lake.create("t", ROWS, ("name",))
    for n in range(40):
        table.append([rows(2 * n, 2 * n + 1)])
    assert compact.compact(table) == 80
    files = table.actions().to_pylist()
    assert sorted((row["partition.name"], row["num_records"]) for row in files) == [("p0", 40), ("p1", 40)]
    assert {(row["x"] % 2, row["name"]) for row in rows_in(table)} == {(0, "p0"), (1, "p1")}
    assert [row["x"] for row in rows_in(table) if row["name"] == "p1"] == list(range(1, 80, 2))


def test_large_files_stay(world: World, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(40)
    monkeypatch.setattr(compact, "SIZES", (100, 200, 300))
    assert compact.compact(world.lake.table("t")) == 0
    monkeypatch.setattr(compact, "SIZES", (1 << 20, 2 << 20, 3 << 20))
    monkeypatch.setattr(compact, "AT_ONCE", 10_000)
    files = world.lake.table("t").actions().to_pylist()
    assert compact.compact(world.lake.table("t")) == 0, "no run of 32 fits into one commit"
    assert sum(row["size_bytes"] for row in files) > 10_000


@pytest.mark.parametrize("other", ["compaction", "replace"])
def test_whoever_took_a_file_away_first_wins(world: World, fill: Fill, other: str) -> None:
    """Planted between writing and committing: the other's commit stands, rows are there once."""
    table = fill(40)
    left = [1]

    def meanwhile(point: str) -> None:
        if point == "compact.files" and left:
            left.clear()
            theirs = world.lake.table("t")
            if other == "compaction":
                assert compact.compact(theirs) == 40
            else:
                theirs.replace([rows(1000)], where=("x", 0, 35))

    end = points.watch(meanwhile)
    try:
        assert compact.compact(table) == 0
    finally:
        end()
    found = [row["x"] for row in rows_in(world.lake.table("t"))]
    assert sorted(found) == (list(range(40)) if other == "compaction" else [*range(35, 40), 1000])
    told = {
        f.path for v in deltalog.versions(world.lake.files, "t") for f in deltalog.read(world.lake.files, "t", v).added
    }
    assert {name for name in world.lake.files.list("t") if name.endswith(".parquet")} == told, (
        "what was refused is removed"
    )


def test_a_commit_that_landed_and_was_reported_as_refused_keeps_its_files(
    world: World, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = fill(40)
    real = LakeTable.commit

    def lies(self: LakeTable, *args: Any, **more: Any) -> int:
        real(self.refresh(), *args, **more)
        raise Conflict("refused, says the store")

    monkeypatch.setattr(LakeTable, "commit", lies)
    assert compact.compact(table) == 0
    assert [row["x"] for row in rows_in(world.lake.table("t"))] == list(range(40)) and world.lake.table(
        "t"
    ).actions().num_rows == 1


def test_two_handles_cannot_remove_the_same_file(world: World, fill: Fill) -> None:
    fill(3)
    one, two = world.lake.table("t"), world.lake.table("t")
    gone = [row for row in one.actions().to_pylist() if row["num_records"]][:1]
    for handle in (one, two):
        written = parquet.write(handle.files, "t", handle.schema, [rows(0)])
        actions, _ = compact._joined(handle, gone)
        if handle is one:
            handle.commit(actions)
        else:
            with pytest.raises(Conflict):
                handle.commit(actions)
            handle.append([rows(50)])  # refused handles are of no use for removals, and appends continue
        assert len(written) == 1
    assert sorted(row["x"] for row in rows_in(world.lake.table("t"))) == [0, 1, 2, 50]


def test_files_are_kept_a_week(world: World, fill: Fill) -> None:
    fill(40)
    keep(world)
    there = lambda: len([name for name in world.lake.files.list("t") if name.endswith(".parquet")])  # noqa: E731
    assert there() == 41 and not keep(world, days=2).removed and there() == 41
    assert keep(world, days=8).removed == 40 and there() == 1
    assert [row["x"] for row in rows_in(world.lake.table("t"))] == list(range(40))


def test_a_clock_that_is_weeks_ahead_makes_no_file_old(world: World, fill: Fill) -> None:
    """A sink that is about to commit one would name a file that is gone."""
    table = fill(3)
    waits = table.write([rows(7)])
    for days in (30, 60, -400, 0):
        assert not maintain(
            world.lake, "t", world.state, "me", now=partial(lambda days: time.time() + days * 86400, days)
        ).removed
    table.land(waits, txns={}, metadata={})
    assert [row["x"] for row in rows_in(world.lake.table("t"))] == [0, 1, 2, 7]


def test_a_sweep_that_was_noted_by_a_clock_of_the_future_is_done_again(world: World, fill: Fill) -> None:
    fill(3)
    keep(world, days=400)
    assert keep(world, days=1).checkpoint is None
    assert cast("Any", world.state.get("upkeep", "t")).value["swept"] < time.time() + 2 * 86400


def test_a_pinned_version_stays(world: World, fill: Fill) -> None:
    """Its files, and a checkpoint of its own, when all the commits around it have gone."""
    table = fill(40)
    table.pin(10, "model 3")
    keep(world)
    fill(30, 40)
    done = keep(world, days=8)
    assert done.cleaned > 30 and done.removed == 30
    again = world.lake.table("t")
    assert [row["x"] for row in rows_in(again.at(10))] == list(range(10))
    with pytest.raises(NotFound):
        again.at(11)
    with pytest.raises(Truncated):
        again.added(5)
    again.append([rows(70)], txns={"app": (None, 1)})
    assert world.lake.table("t").rows() == 71
    again.unpin("model 3")
    fill(30, 71)
    done = keep(world, days=16)
    assert done.removed >= 10 and done.cleaned > 0
    with pytest.raises(NotFound):
        world.lake.table("t").at(10)
    assert [row["x"] for row in rows_in(world.lake.table("t"))] == list(range(101))


def test_a_log_that_grows_fast_is_cleaned_before_its_time(
    world: World, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clean, "AT_MOST", 40)
    monkeypatch.setattr(clean, "SLACK", 5)
    fill(30)
    keep(world)
    fill(30, 30)
    assert not keep(world).cleaned, "the last ten minutes stay"
    monkeypatch.setattr(clean, "_SURELY", timedelta(0))
    fill(30, 60)
    keep(world)
    assert 40 <= len(deltalog.versions(world.lake.files, "t")) <= 70
    assert rows_in(world.lake.table("t"))[-1]["x"] == 89


def test_a_torn_checkpoint_is_never_the_beginning(world: World, fill: Fill) -> None:
    fill(26)
    keep(world)
    fill(10, 26)
    path = deltalog.checkpoint_path("t", 26)
    with world.lake.files.open(path) as file:
        half = file.read()[:500]
    table = world.lake.table("t")
    assert table.txns() == {}
    world.lake.files.remove(path)
    with world.lake.files.create(path) as file:
        file.write(half)
    with pytest.raises(Corrupt, match="checkpoint 26"):
        clean.log(world.lake, table, time.time() + 8 * 86400)
    assert deltalog.versions(world.lake.files, "t")[0] == 0


def test_ranges_are_folded_before_their_commits_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(30):
        put(world.log, world.schemas, n % 3, n)
        world.drain()
    before = ranges(world.lake.table("readings"))
    checkpoint.make(world.lake.table("readings"))
    assert clean.log(world.lake, world.lake.table("readings"), time.time() + 8 * 86400) == 0, "nothing is folded yet"
    done = keep(world, "readings", days=8)
    assert done.folded == 30 and done.cleaned > 20
    assert ranges(world.lake.table("readings")) == before
    put(world.log, world.schemas, 0, 30)
    world.drain()
    assert (
        ranges(world.lake.table("readings").at(31))[-1].version == 30
        and len(ranges(world.lake.table("readings"))) == 31
    )
    assert proven(world.lake, world.log).rows == 31 and ids(world.lake) == ids_of(*range(31))


def test_another_table_of_the_name_has_its_own_lineage(world: World) -> None:
    put(world.log, world.schemas, 0, 1, 2)
    world.drain()
    keep(world, "readings")
    assert world.lake.exists("readings__lineage")
    world.lake.drop("readings")
    world.drain()
    found = ranges(world.lake.table("readings"))
    assert [(r.start, r.end, r.rows) for r in found] == [(0, 2, 2)] and proven(world.lake, world.log).rows == 2


def test_an_error_is_not_repeated_every_few_seconds(world: World, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(30)

    def fails(*_: Any) -> int:
        raise Corrupt("something is wrong")

    monkeypatch.setattr(compact, "compact", fails)
    with pytest.raises(Corrupt):
        keep(world)
    assert not keep(world), "it waits until there is more to do"


def test_a_sink_that_nobody_helps_makes_its_own_checkpoint(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "OVERDUE", 50)
    put(world.log, world.schemas, 0, *range(50))
    landing = world.sink(rows=1)
    landing.drain()
    landing.close()
    assert deltalog.checkpoints(world.lake.files, "readings") == [50]


def test_a_checkpoint_on_a_full_disk_says_so_and_comes_later(tmp_path: Path) -> None:
    """delta-rs wraps the system's error; untold, it ended the part that keeps tables up."""
    disk = SmallDisk(tmp_path / "small", "8m")
    world = World(tmp_path, disk.folder / "lake")
    try:
        for n in range(checkpoint.EVERY + 2):
            put(world.log, world.schemas, 0, n)
            world.drain()
        disk.fill()
        with pytest.raises(Full, match=r"small/lake: no space left on its disk while trying to .*free some space"):
            checkpoint.make(world.lake.table("readings"))
        disk.empty()
        checkpoint.make(world.lake.table("readings"))
        assert (
            checkpoint.age(world.lake.table("readings")) == 0
            and world.lake.table("readings").rows() == checkpoint.EVERY + 2
        )
    finally:
        world.close()
        disk.close()
