"""MLflow passes the tracking suite, quietly."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_disk import SmallDisk

from millstream.base.errors import ConfigError, Corrupt, Full
from millstream.base.registry import engine
from millstream.engines.mlflow.tables import REVISION
from millstream.engines.mlflow.tracking import MlflowTracking
from millstream.train.contract import TrackingContract
from millstream.train.port import Tracking


class TestMlflowOnSqlite(TrackingContract):
    @pytest.fixture(scope="class")
    def shared(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowTracking]:
        folder = tmp_path_factory.mktemp("tracking")
        made = MlflowTracking(f"mlflow:{folder}/tracking.db", folder / "artifacts")
        yield made
        made.close()

    @pytest.fixture
    def tracking(self, shared: MlflowTracking) -> Tracking:
        return shared

    def again(self, tracking: Tracking) -> Tracking:
        assert isinstance(tracking, MlflowTracking)
        return MlflowTracking(tracking.url, tracking.folder)


def test_found_by_url() -> None:
    assert engine("tracking", "mlflow:.millstream/tracking.db") is MlflowTracking
    assert engine("tracking", "http://mlflow:5000") is MlflowTracking


def test_a_url_that_names_no_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names no place"):
        MlflowTracking("mlflow:", tmp_path)


def test_reading_goes_without_mlflow(tmp_path: Path) -> None:
    """Which holds for the revision of its tables that is installed here: another MLflow needs `tables.py` looked at
    again.
    """
    made = MlflowTracking("mlflow:" + str(tmp_path / "t.db"), tmp_path / "models")
    run = made.start("m", {"c": 0.1}, {})
    (tmp_path / "files").mkdir()
    made.store(run, tmp_path / "files")
    made.finish(run)
    made.alias("m", "champion", made.register("m", run, {"k": "v"}).number)
    made.close()
    code = (
        "import sys, pathlib; from millstream.engines.mlflow.tracking import MlflowTracking as M\nt ="
        f" M('mlflow:{tmp_path / 't.db'}', pathlib.Path({str(tmp_path / 'models')!r}))\nv = t.version('m', 'champion');"
        " assert (v.number, v.tags) == (1, {'k': 'v'}) and t.versions('m') == [v] and t.run(v.run_id).params =="
        " {'c': '0.1'}\nassert [r.id for r in t.runs('m')] == [v.run_id] and t.runs('other') == [] and"
        " t.artifacts('m', 1)\nassert 'mlflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_other_tables_than_the_known_ones_are_read_by_mlflow(tmp_path: Path) -> None:
    made = MlflowTracking("mlflow:" + str(tmp_path / "t.db"), tmp_path / "models")
    run = made.start("m", {}, {})
    made.close()
    with sqlite3.connect(tmp_path / "t.db") as tables:
        assert tables.execute("update alembic_version set version_num = 'another'").rowcount == 1
    assert MlflowTracking(made.url, made.folder)._fast is None
    with sqlite3.connect(tmp_path / "t.db") as tables:
        tables.execute("update alembic_version set version_num = ?", (REVISION,))
    again = MlflowTracking(made.url, made.folder)
    assert again._fast is not None and again.run(run).model == "m"


def test_the_files_of_a_moved_project_are_found_and_new_ones_are_beside_them(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    made = MlflowTracking(f"mlflow:{old}/t.db", old / "models")
    run = made.start("m", {}, {})
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("a")
    made.store(run, tmp_path / "files")
    made.finish(run)
    made.register("m", run, {})
    made.close()
    old.rename(new)
    moved = MlflowTracking(f"mlflow:{new}/t.db", new / "models")
    assert (moved.artifacts("m", 1) / "a.txt").read_text() == "a"
    run = moved.start("m", {}, {})
    (tmp_path / "files" / "a.txt").write_text("b")
    moved.store(run, tmp_path / "files")
    moved.finish(run)
    moved.register("m", run, {})
    moved.close()
    assert [(moved.artifacts("m", number) / "a.txt").read_text() for number in (1, 2)] == ["a", "b"]
    assert moved.artifacts("m", 2).is_relative_to(new) and not old.exists(), (
        "what comes after the move is stored where the project is now"
    )


def test_first_use_is_quiet_and_sends_nothing(tmp_path: Path) -> None:
    """No line on stdout or stderr, no file in the working folder, no thread left (telemetry would be one)."""
    code = (
        "import sys, threading, pathlib; from millstream.engines.mlflow.tracking import MlflowTracking as M\n"
        "assert 'mlflow' not in sys.modules\n"
        "t = M('mlflow:state/t.db', pathlib.Path('art')); r = t.start('m', {}, {}); t.finish(r); t.close()\n"
        "from mlflow.telemetry.client import get_telemetry_client\n"
        "assert get_telemetry_client() is None\n"
        "assert threading.active_count() == 1\n"
    )
    # No PYTEST_CURRENT_TEST or CI here: either would switch telemetry off by itself.
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code],
        cwd=tmp_path,
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith(".")) == ["state"]


def test_nothing_is_created_by_reading(tmp_path: Path) -> None:
    """Nor is MLflow imported, whose start costs seconds."""
    code = (
        "import sys, pathlib; from millstream.engines.mlflow.tracking import MlflowTracking as M\n"
        f"t = M('mlflow:{tmp_path}/state/t.db', pathlib.Path({str(tmp_path)!r}))\n"
        "assert t.runs() == [] and t.versions('m') == []\n"
        "assert 'mlflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr, list(tmp_path.iterdir())) == (0, "", [])


def test_a_half_migrated_file_that_holds_something_needs_a_person(tmp_path: Path) -> None:
    made = MlflowTracking(f"mlflow:{tmp_path}/t.db", tmp_path / "models")
    run = made.start("m", {}, {})
    made.close()
    with sqlite3.connect(tmp_path / "t.db") as tables:
        tables.execute("delete from alembic_version")
    with pytest.raises(ConfigError, match=r"t\.db: its tables are of MLflow revision none.*move it away"):
        MlflowTracking(made.url, made.folder).start("m", {}, {})
    with sqlite3.connect(tmp_path / "t.db") as tables:
        assert tables.execute("select run_uuid from runs").fetchall() == [(run,)]


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.db").write_bytes(b"no database" * 1000)
    with pytest.raises(Corrupt, match=r"t\.db cannot be read.*move it away"):
        MlflowTracking(f"mlflow:{tmp_path}/t.db", tmp_path / "models").start("m", {}, {})


@pytest.mark.parametrize(("filled", "kind", "fix"), [(True, Full, "free some space"), (False, ConfigError, "remount")])
def test_a_disk_that_refuses(filled: bool, kind: type[Exception], fix: str, tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path / "disk", "1m")
    try:
        disk.fill() if filled else disk.read_only()
        made = MlflowTracking(f"mlflow:{disk.folder}/t.db", tmp_path / "models")
        assert made.runs() == []
        with pytest.raises(kind, match=rf"t\.db.*{fix}"):
            made.start("m", {}, {})
    finally:
        disk.close()
