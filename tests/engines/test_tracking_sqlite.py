"""The embedded tracking passes the suite; processes race, die and fill the disk."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_disk import SmallDisk

from millstream.base.errors import ConfigError, Full, NotFound
from millstream.base.registry import engine
from millstream.engines.sqlite.tracking import SqliteTracking
from millstream.train.contract import TrackingContract
from millstream.train.port import Tracking


class TestSqlite(TrackingContract):
    @pytest.fixture(scope="class")
    def shared(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteTracking]:
        folder = tmp_path_factory.mktemp("tracking")
        made = SqliteTracking(f"sqlite:{folder}/tracking.db", folder / "models")
        yield made
        made.close()

    @pytest.fixture
    def tracking(self, shared: SqliteTracking) -> Tracking:
        return shared

    def again(self, tracking: Tracking) -> Tracking:
        assert isinstance(tracking, SqliteTracking)
        return SqliteTracking(f"sqlite:{tracking.path}", tracking.folder)


def opened(folder: Path) -> SqliteTracking:
    return SqliteTracking(f"sqlite:{folder}/t.db", folder / "models")


def test_found_by_url() -> None:
    assert engine("tracking", "sqlite:.millstream/tracking.db") is SqliteTracking


WORK = """
import sys
from pathlib import Path
from millstream.base.points import watch
from millstream.engines.sqlite.tracking import SqliteTracking

folder, name, count, point = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
if point:
    watch(lambda at: at == point and __import__("os").kill(__import__("os").getpid(), 9))
t = SqliteTracking(f"sqlite:{folder}/t.db", folder / "models")
files = folder / f"files-{name}"
files.mkdir(exist_ok=True)
for i in range(count):
    run = t.start("m", {"i": i}, {})
    (files / "model.txt").write_text(run)
    t.log(run, {"loss": 1.0 / (i + 1)}, step=i)
    t.store(run, files)
    t.finish(run)
    t.alias("m", "latest", t.register("m", run, {"by": name}).number)
"""


def spawned(folder: Path, name: str, count: int = 1, point: str = "") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WORK, str(folder), name, str(count), point], env=os.environ)


@pytest.mark.fault
def test_four_processes_register_each_number_once(tmp_path: Path) -> None:
    workers = [spawned(tmp_path, str(n), 25) for n in range(4)]
    assert [worker.wait(120) for worker in workers] == [0] * 4
    t = opened(tmp_path)
    found = t.versions("m")
    assert [v.number for v in found] == list(range(1, 101)) and len({v.run_id for v in found}) == 100
    assert all((t.artifacts("m", v.number) / "model.txt").read_text() == v.run_id for v in found)
    assert {v.tags["by"] for v in found} == {"0", "1", "2", "3"} and sum("latest" in v.aliases for v in found) == 1
    t.close()


@pytest.mark.fault
@pytest.mark.parametrize("point", ["tracking.copied", "tracking.stored", "tracking.registered"])
def test_a_kill_leaves_whole_versions_only(tmp_path: Path, point: str) -> None:
    assert spawned(tmp_path, "dies", point=point).wait(60) == -9
    t = opened(tmp_path)
    (left,) = t.runs("m")
    assert left.status == ("finished" if point == "tracking.registered" else "running")
    assert t.files(left.id) == ([] if point == "tracking.copied" else ["model.txt"])
    assert [v.run_id for v in t.versions("m")] == ([left.id] if point == "tracking.registered" else [])
    assert spawned(tmp_path, "next").wait(60) == 0
    newest = t.version("m", "latest")
    assert (t.artifacts("m", newest.number) / "model.txt").read_text() == newest.run_id
    t.close()


def test_what_a_killed_copy_left_is_removed_after_a_day(tmp_path: Path) -> None:
    t, files = opened(tmp_path), tmp_path / "files"
    files.mkdir()
    run = t.start("m", {}, {})
    old, young = (tmp_path / "models" / "m" / "dead" / f".half-{name}" for name in ("old", "young"))
    for half in (old, young):
        half.mkdir(parents=True)
    os.utime(old, (time.time() - 100_000,) * 2)
    t.store(run, files)
    assert not old.exists() and young.exists()
    t.close()


def test_a_full_disk_is_named_and_nothing_is_half_there(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path / "disk", "24m")
    try:
        t, files = opened(disk.folder), tmp_path / "files"
        run = t.start("m", {}, {})
        files.mkdir()
        (files / "big.bin").write_bytes(bytes(64 << 20))
        with pytest.raises(Full, match="no space left"):
            t.store(run, files)
        assert t.files(run) == [] and not list((disk.folder / "models").rglob(".half-*")), (
            "what could not be kept takes no room"
        )
        (files / "big.bin").write_bytes(b"small")
        t.store(run, files)
        assert t.files(run) == ["big.bin"]
        disk.fill()
        with pytest.raises(Full, match="no space left"):
            for _ in range(1000):
                t.log(run, {f"metric{i}": 1.0 for i in range(100)})
        disk.empty()
        t.finish(run)
        assert t.register("m", run, {}).number == 1
        t.close()
    finally:
        disk.close()


def test_a_moved_project_finds_its_files(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    assert spawned(before, "one").wait(60) == 0
    before.rename(after)
    t = opened(after)
    assert (t.artifacts("m", 1) / "model.txt").read_text() == t.version("m", "1").run_id
    t.close()


def test_a_file_of_mlflow_is_refused_with_what_to_do(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "t.db") as con:
        con.execute("create table alembic_version(version_num text)")
    con.close()
    with pytest.raises(ConfigError, match='is a database of MLflow; write tracking = "mlflow:'):
        opened(tmp_path)


def test_a_version_of_a_run_of_another_model_has_its_files(tmp_path: Path) -> None:
    t = opened(tmp_path)
    run = t.start("m", {}, {})
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "x").write_text("x")
    t.store(run, tmp_path / "f")
    t.finish(run)
    assert (t.artifacts("other", t.register("other", run, {}).number) / "x").read_text() == "x"
    with pytest.raises(NotFound):
        t.artifacts("m", 1)
    t.close()
