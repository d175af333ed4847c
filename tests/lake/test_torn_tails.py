"""Power cuts, planted: what they can leave is cut off, the log fills it again, and nothing that was whole goes with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from lake_actors import World

from millstream.base import points
from millstream.base.errors import Corrupt, Full
from millstream.lake import checkpoint, clean, compact, deltalog
from millstream.lake import cut as cutting
from millstream.lake.contract import READINGS, ids, ids_of, proven, put
from millstream.lake.lineage import fold
from millstream.lake.positions import app_id
from millstream.lake.repair import Damage, examine, repair
from millstream.lake.ruling import Rule, stamp

LOG = "readings/_delta_log"
Tear = Callable[[World], None]


@pytest.fixture
def landed(world: World) -> World:
    """Eight commits, a checkpoint at the fourth; dead letters in some."""
    for n in range(8):
        put(world.log, world.schemas, n % 3, 10 * n, 10 * n + 1, bad=[10 * n] if n in (2, 6) else [])
        world.drain()
        if n == 3:
            checkpoint.make(world.lake.table("readings"))
    assert examine(world.lake.files, "readings") is None and repair(world.lake.files, "readings") is None
    return world


def path(world: World, name: str) -> Path:
    return Path(world.lake.files.root) / name


def cut(world: World, name: str, to: int = 0) -> None:
    """The file as a power cut may leave it: its first bytes."""
    os.truncate(path(world, name), to)


def data_file(world: World, version: int) -> str:
    return f"readings/{deltalog.read(world.lake.files, 'readings', version).added[0].path}"


def zeros(world: World, name: str) -> None:
    path(world, name).write_bytes(bytes(path(world, name).stat().st_size))


TEARS: dict[str, tuple[Tear, int | None, str]] = {
    "empty commit": (lambda w: cut(w, deltalog.commit_path("readings", 8)), 8, "commit 8 is empty"),
    "cut commit": (lambda w: cut(w, deltalog.commit_path("readings", 8), 99), 8, "commit 8 is cut"),
    "commit of zeros": (lambda w: zeros(w, deltalog.commit_path("readings", 8)), 8, "commit 8 is cut"),
    "empty commit under whole ones": (lambda w: cut(w, deltalog.commit_path("readings", 6)), 6, "versions 6 to 8 go"),
    "commit that is not there": (lambda w: path(w, deltalog.commit_path("readings", 7)).unlink(), 7, "commit 7 is missing"),
    "empty data file": (lambda w: cut(w, data_file(w, 8)), 8, "0 bytes long"),
    "cut data file": (lambda w: cut(w, data_file(w, 7), 300), 7, "300 bytes long"),
    "data file of zeros": (lambda w: zeros(w, data_file(w, 8)), 8, "has no end"),
    "data file that is not there": (lambda w: path(w, data_file(w, 5)).unlink(), 5, "is missing"),
    "cut checkpoint": (lambda w: cut(w, deltalog.checkpoint_path("readings", 4), 500), None, "checkpoint.parquet is torn"),
    "cut pointer": (lambda w: cut(w, f"{LOG}/_last_checkpoint", 9), None, "_last_checkpoint is torn"),
    "pointer to a checkpoint that is not there": (lambda w: path(w, deltalog.checkpoint_path("readings", 4)).unlink(), None, "_last_checkpoint is torn"),
}


@pytest.mark.parametrize("tear", TEARS)
def test_a_torn_tail_is_cut_and_filled_again(landed: World, tear: str) -> None:
    plant, first, why = TEARS[tear]
    plant(landed)
    damage = examine(landed.lake.files, "readings")
    assert damage is not None and damage.cut == first and why in str(damage), str(damage)
    assert repair(landed.lake.files, "readings") == damage
    assert examine(landed.lake.files, "readings") is None
    table = landed.lake.table("readings")
    assert table.version == (8 if first is None else first - 1)
    landed.drain()
    assert ids(landed.lake) == ids_of(*(10 * n + i for n in range(8) for i in (0, 1) if not (n in (2, 6) and i == 0)))
    report = proven(landed.lake, landed.log)
    assert (report.rows, report.dead) == (14, 2)


def test_a_torn_table_does_not_open(landed: World) -> None:
    """Nobody builds on a commit that is empty, though delta-rs would."""
    cut(landed, deltalog.commit_path("readings", 8))
    with pytest.raises(Corrupt, match=r"commit 8 .* is empty.*doctor"):
        landed.drain()
    assert landed.lake.table("readings__dead").version == 2


def test_torn_before_the_checkpoint_is_no_matter(landed: World) -> None:
    """The checkpoint has what it said; it was synced after it."""
    cut(landed, deltalog.commit_path("readings", 3))
    assert examine(landed.lake.files, "readings") is None
    assert landed.lake.table("readings").rows() == 14


def test_a_table_torn_at_birth_begins_anew(world: World) -> None:
    put(world.log, world.schemas, 0, 1, 2)
    world.drain()
    cut(world, deltalog.commit_path("readings", 0))
    assert "the table begins anew" in str(examine(world.lake.files, "readings"))
    repair(world.lake.files, "readings")
    assert not world.lake.exists("readings")
    world.drain()
    assert proven(world.lake, world.log).rows == 2 and ids(world.lake) == ids_of(1, 2)


def test_joined_files_are_seen_through(landed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torn file that was joined into a whole one is not damage; when the joining itself is torn, the old files are looked at."""

    monkeypatch.setattr(compact, "AT_LEAST", (4, 4, 4))
    compact.compact(landed.lake.table("readings"))
    old = data_file(landed, 8)
    path(landed, old).unlink()
    assert examine(landed.lake.files, "readings") is None
    cut(landed, deltalog.commit_path("readings", 9))
    assert repair(landed.lake.files, "readings") is not None
    assert landed.lake.table("readings").version == 7
    landed.drain()
    assert proven(landed.lake, landed.log).rows == 14


def test_what_is_folded_is_never_cut(landed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits are synced before their ranges are folded and before a checkpoint holds them: seen by what is asked of the files."""
    synced: list[str] = []
    monkeypatch.setattr(landed.lake.files, "sync", lambda *paths: synced.extend(paths))
    table = landed.lake.table("readings")
    fold(landed.lake, table)
    folded = next(i for i, one in enumerate(synced) if one.startswith("readings__lineage/") and one.endswith(".parquet"))
    assert {deltalog.commit_path("readings", v) for v in range(9)} <= set(synced[:folded])
    synced.clear()
    checkpoint.make(table)
    assert synced[:4] == [deltalog.commit_path("readings", v) for v in range(5, 9)]
    assert synced[4:] == [deltalog.checkpoint_path("readings", 8), f"{LOG}/_last_checkpoint"]


def test_files_are_synced_before_they_are_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data file, then the commit, then the commit's own sync; retention hears of it last."""
    told: list[str] = []
    sync, retain = world.lake.files.sync, world.log.retain
    put(world.log, world.schemas, 0, 1)
    sink = world.sink()

    def synced(*paths: str) -> None:
        told.extend(Path(p).suffix for p in paths)
        sync(*paths)

    def retained(*given: Any, **named: Any) -> None:
        told.append("retain")
        retain(*given, **named)

    monkeypatch.setattr(world.lake.files, "sync", synced)
    monkeypatch.setattr(world.log, "retain", retained)
    sink.drain()
    sink.close()
    assert told == [".parquet", ".json", "retain"]


def test_nothing_fixes_a_lone_torn_checkpoint(landed: World) -> None:
    """Commits behind it are cleaned away: cutting would lose what landed, so it is said and left."""
    table = landed.lake.table("readings")
    fold(landed.lake, table)
    assert clean.log(landed.lake, table, 4e9) == 4
    cut(landed, deltalog.checkpoint_path("readings", 4), 100)
    before = landed.lake.files.list(LOG)
    for _ in range(2):
        with pytest.raises(Corrupt, match="no checkpoint after it is whole"):
            repair(landed.lake.files, "readings")
    assert landed.lake.files.list(LOG) == before


def test_an_old_pins_checkpoint_is_no_base_for_a_cut(landed: World) -> None:
    """A pinned version's own checkpoint lies far behind; the torn one after it may not be cut down to it."""
    table = landed.lake.table("readings")
    table.pin(1, "model")
    fold(landed.lake, table)
    clean.log(landed.lake, table, 4e9)
    assert deltalog.checkpoints(landed.lake.files, "readings") == [1, 4]
    cut(landed, deltalog.checkpoint_path("readings", 4), 100)
    with pytest.raises(Corrupt):
        examine(landed.lake.files, "readings")


def test_up_fixes_before_it_lands(landed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from millstream.app import parts

    cut(landed, deltalog.commit_path("readings", 8))
    parts.fix(SimpleNamespace(lake=landed.lake, files=landed.lake.files, state=landed.state, log=landed.log), threading.Event())  # type: ignore[arg-type]
    assert examine(landed.lake.files, "readings") is None and landed.lake.table("readings").version == 8, "version 8 says that the table was cut"
    assert landed.state.lease("mend/readings", "another", clean.KEPT), "the lease is given back"
    marks = dict(landed.log._rows("select partition, before from mark where reader = 'lake'"))
    topic, table = landed.log.topic("readings"), landed.lake.table("readings")
    assert topic is not None and marks == {p: table.position(app_id(topic, p)) or 0 for p in range(topic.partitions)}, "the log keeps what the table has lost"


def test_a_cut_that_died_before_all_were_told_is_completed(landed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was counted since would else be taken for counted under a ruling that went with the tail."""
    topic = landed.log.topic("readings")
    assert topic is not None
    before = stamp(Rule.of(READINGS), landed.lake.table("readings"), topic.uuid)
    cut(landed, deltalog.commit_path("readings", 8))
    with monkeypatch.context() as patch:
        patch.setattr(cutting, "amend", lambda *args: (_ for _ in ()).throw(Full("no room")))
        with pytest.raises(Full):
            cutting.cut(landed.lake, landed.log, "readings")
    assert examine(landed.lake.files, "readings") is None and "not all were told" in str(cutting.needed(landed.lake.files, "readings"))
    cutting.cut(landed.lake, landed.log, "readings")
    assert cutting.needed(landed.lake.files, "readings") is None
    assert stamp(Rule.of(READINGS), landed.lake.table("readings"), topic.uuid) != before
    landed.drain()
    proven(landed.lake, landed.log)


def test_damage_can_be_told_as_json(landed: World) -> None:
    cut(landed, deltalog.commit_path("readings", 8))
    damage = examine(landed.lake.files, "readings")
    assert damage and json.loads(json.dumps(damage.__dict__))["cut"] == 8


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB of its own."""
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True, text=True) if shutil.which("mount") else None
    if made is None or made.returncode:
        pytest.skip(f"no small file system can be mounted here: {made.stderr.strip() if made else 'no mount'}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.fault
def test_a_full_disk(world: World, small_disk: Path) -> None:
    """The lake's disk fills up: the sink says so, what landed stands, no half file is left; with room it continues."""
    full = World(world.folder, small_disk / "lake")
    try:
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(4_050_000))
        for n in range(0, 40_000, 10_000):
            put(full.log, full.schemas, 0, *range(n, n + 10_000))
        with pytest.raises(Full):
            full.drain(rows=10_000)
        table = full.lake.table("readings")
        assert table.rows() < 40_000 and examine(full.lake.files, "readings") is None
        named = set(table.actions()["path"].to_pylist())
        assert {name for name in full.lake.files.list("readings") if name.endswith(".parquet")} == named
        ballast.unlink()
        full.drain(rows=10_000)
        assert full.lake.table("readings").rows() == 40_000 and proven(full.lake, full.log).rows == 40_000
    finally:
        full.close()


@pytest.mark.parametrize(("cut", "words"), [
    (None, ""), (3, "; version 3 goes, and version 2 stands"), (2, "; versions 2 to 3 go, and version 1 stands"),
    (0, "; versions 0 to 3 go, and the table begins anew"),
])  # fmt: skip
def test_damage_says_what_goes_and_what_stands(cut: int | None, words: str) -> None:
    assert str(Damage("t", cut, 3, (), "commit 3 is torn")) == f'table "t": commit 3 is torn{words}'


def test_the_log_is_told_of_no_commit_that_a_power_cut_can_take(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink dies between its commit and the sync. The next one tells the log where the table stands, so it syncs that commit first."""
    put(world.log, world.schemas, 0, *range(5))

    def die(point: str) -> None:
        if point == "commit.linked":
            raise KeyboardInterrupt

    stop, synced, told = points.watch(die), set[str](), list[tuple[int, bool]]()
    sync, retain = world.lake.files.sync, world.log.retain

    def syncs(*paths: str) -> None:
        sync(*paths)
        synced.update(paths)

    def tells(topic: str, *, before: Mapping[int, int], **more: Any) -> None:
        told.append((before.get(0, 0), deltalog.commit_path("readings", 1) in synced))
        retain(topic, before=before, **more)

    monkeypatch.setattr(world.lake.files, "sync", syncs)
    monkeypatch.setattr(world.log, "retain", tells)
    with pytest.raises(KeyboardInterrupt):
        world.drain()
    stop()
    assert told == [(0, False)] and world.lake.table("readings").version == 1
    world.sink().close()
    assert told[1:] == [(5, True)]


def test_letters_are_durable_before_a_table_is_committed_over_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink dies between the commit of its letters and the sync. The log never brings a letter again once the table has passed it."""
    put(world.log, world.schemas, 0, *range(5), bad=[2])
    linked, synced = list[str](), list[str]()

    def die(point: str) -> None:
        if point == "commit.linked":
            raise KeyboardInterrupt

    stop, sync = points.watch(die), world.lake.files.sync
    with pytest.raises(KeyboardInterrupt):
        world.drain()
    stop()
    letters, rows = deltalog.commit_path("readings__dead", 1), deltalog.commit_path("readings", 1)
    assert world.lake.files.size(letters) is not None and world.lake.files.size(rows) is None

    def syncs(*paths: str) -> None:
        sync(*paths)
        synced.extend(paths)
        linked.extend([letters] if world.lake.files.size(rows) is not None and letters not in synced else [])

    monkeypatch.setattr(world.lake.files, "sync", syncs)
    assert world.drain().dead == 1
    assert letters in synced and linked == [] and synced.index(letters) < synced.index(rows)


def test_what_is_synced_is_not_synced_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handle knows up to where; one that is opened anew from it continues from there, and another one begins at the checkpoint."""
    for n in range(3):
        put(world.log, world.schemas, 0, 10 * n)
        world.drain()
    table, synced = world.lake.table("readings"), list[str]()
    monkeypatch.setattr(world.lake.files, "sync", lambda *paths: synced.extend(paths))
    table.settle()
    assert synced == [deltalog.commit_path("readings", v) for v in range(4)]
    synced.clear()
    checkpoint.make(table)
    world.drain()
    newest = table.refresh()
    synced.clear()
    newest.settle()
    assert synced == [] and newest.version == 3
    world.lake.table("readings").settle()
    assert synced == []
