"""SQLite files where nothing can be written, and what a disk's refusal becomes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_disk import SmallDisk

from millstream.base.errors import ConfigError, Full, MillstreamError
from millstream.engines.sqlite.database import WriteLock
from millstream.engines.sqlite.log import SqliteLog
from millstream.engines.sqlite.online import SqliteOnline
from millstream.engines.sqlite.opening import reading
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.engines.sqlite.state import SqliteState


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    made = SmallDisk(tmp_path / "disk")
    yield made
    made.close()


def test_what_was_written_is_read_where_nothing_can_be(disk: SmallDisk) -> None:
    made = SqliteState(f"sqlite:{disk.folder}/state.db")
    made.put("kind", "key", {"a": 1})
    made.close()
    disk.read_only()
    frozen = SqliteState(f"sqlite:{disk.folder}/state.db")
    found = frozen.get("kind", "key")
    assert found is not None and found.value == {"a": 1}
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"state\.db.* read-only file system.*remount"):
            frozen.put("kind", "key", {"a": 2})
    frozen.close()


def test_a_wal_that_a_killed_process_left_is_never_passed_over(disk: SmallDisk) -> None:
    """It holds the newest commits: they are read, or the file is refused."""
    code = (
        "import os, signal, sys; from millstream.engines.sqlite.state import SqliteState as S\ns ="
        f" S('sqlite:{disk.folder}/state.db'); s.put('kind', 'key', {{'a': 1}}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert (disk.folder / "state.db-wal").stat().st_size
    disk.read_only()
    try:
        found = SqliteState(f"sqlite:{disk.folder}/state.db").get("kind", "key")
        assert found is not None and found.value == {"a": 1}
    except ConfigError as error:
        assert str(disk.folder / "state.db") in str(error)


def test_what_was_never_written_is_empty(disk: SmallDisk) -> None:
    (disk.folder / "empty.db").touch()
    disk.read_only()
    for name in ("none.db", "empty.db", "no/folder/none.db"):
        url = f"sqlite:{disk.folder}/{name}"
        schemas = SqliteSchemas(url)
        log, state, online = SqliteLog(url, schemas), SqliteState(url), SqliteOnline(url)
        assert (log.topics(), state.list("run"), online.generations(), schemas.versions("s")) == ([], [], [], [])
        assert log.refused is not None and online.refused is not None
        with pytest.raises(ConfigError, match="remount"):
            log.create("t", partitions=1)
        for engine in (log, schemas, state, online):
            engine.close()


def test_a_full_disk_is_full_and_leaves_no_descriptor(disk: SmallDisk) -> None:
    disk.fill()
    for make in (SqliteState, SqliteSchemas, SqliteOnline):
        for _ in range(3):
            with pytest.raises(Full, match="free some space"):
                make(f"sqlite:{disk.folder}/{make.__name__}.db")
    disk.read_only()  # refused by the system while a file there is open for writing


def test_the_limit_on_a_files_size_is_named(tmp_path: Path) -> None:
    """Not called a damaged file: nothing is wrong with it. No root and no mount needed for this one."""
    code = (
        "import resource, sys; from millstream.engines.sqlite.state import SqliteState as S\n"
        f"s = S('sqlite:{tmp_path}/state.db'); resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    for n in range(100): s.put('kind', str(n), {'a': 'x' * 9000})\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert said.stdout.startswith("MillstreamError") and "state.db" in said.stdout and "ulimit -f" in said.stdout, said


def test_a_lock_that_cannot_be_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for another user, without being one."""

    def refuse(path: object, *_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.open", refuse)
    lock = WriteLock(tmp_path / "a.db")
    assert isinstance(lock.refused, ConfigError) and "a.db.lock: permission denied" in str(lock.refused)
    with pytest.raises(MillstreamError, match="chown"), lock.held():
        pass


def test_reading_never_creates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    con = reading(tmp_path / "a.db", "create table if not exists t(x);")
    assert con.execute("select * from t").fetchall() == [] and not list(tmp_path.iterdir())
    con.close()
