"""MLflow's SQLite file, created whole or not at all.

MLflow creates its tables by a hundred migrations that commit one by one, and never resumes them: a process killed on
the way used to leave a file that nobody could open again. So they run in a draft beside it, which is renamed into place
when it is complete.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from millstream.base.errors import Busy, ConfigError, Corrupt, Full, MillstreamError
from millstream.base.points import reach
from millstream.base.storage import refused
from millstream.engines.mlflow.tables import REVISION

WAIT_S = 60.0
_SIDES = ("-journal", "-wal", "-shm")
_NO_SPACE = 4 << 20
# What a person would miss; of experiments, MLflow adds number 0 on its own.
_KEPT = {"runs": "1", "registered_models": "1", "experiments": "experiment_id <> 0"}


def ensure(path: Path, create: Callable[[str], None]) -> None:
    """See that the database is there, with all its tables.

    A file that a killed creation of an older version has left, and that holds no run and no model, is replaced.

    Args:
        create: Lets MLflow create a database at a SQLAlchemy URL, and let go of it.

    Raises:
        Busy: Another process is creating it for longer than `WAIT_S`.
        ConfigError: The folder cannot be written, or the tables are another revision's.
        Corrupt: The file cannot be read.
        Full: No space left.
    """
    if _revision(path) == REVISION:
        return
    with _errors(path), _alone(path):
        for left in path.parent.glob(f".{path.name}.new-*"):
            left.unlink()
        if path.exists() and not _unfinished(path):
            return
        draft = path.with_name(f".{path.name}.new-{os.getpid()}-{uuid.uuid4().hex[:8]}")
        create(f"sqlite:///{draft}")
        _settle(draft)
        reach("tracking.draft")
        path.unlink(missing_ok=True)  # only what is unfinished, see above
        for side in _SIDES:  # a journal left behind would be rolled back into the new file
            path.with_name(path.name + side).unlink(missing_ok=True)
        draft.rename(path)
        _sync(path.parent)
        reach("tracking.created")


def _unfinished(path: Path) -> bool:
    """Whether a killed creation has left this file. Raises ConfigError when it needs a person: its tables are not
    current, and hold something.
    """
    from mlflow.store.db.utils import _get_alembic_config, _get_latest_schema_revision

    head, found = _get_latest_schema_revision(), _revision(path)
    if found == head:
        return False
    if not _holds(path):
        from alembic.script import ScriptDirectory

        earlier = {script.revision for script in ScriptDirectory.from_config(_get_alembic_config("")).walk_revisions()}
        if found is None or found in earlier:
            return True
    raise ConfigError(
        f"{path}: its tables are of MLflow revision {found or 'none'}, and the installed MLflow needs {head}; back the"
        f" file up and run `mlflow db upgrade sqlite:///{path}`, or move it away to start with an empty tracking"
        " database"
    )


def _revision(path: Path) -> str | None:
    """Of its tables; None when there is no file, or none is recorded."""
    if not path.exists():
        return None
    with contextlib.closing(sqlite3.connect(path, timeout=20)) as con:
        try:
            found = con.execute("select version_num from alembic_version").fetchone()
        except sqlite3.DatabaseError:
            return None
    return str(found[0]) if found else None


def _holds(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path, timeout=20)) as con:
        tables = {name for (name,) in con.execute("select name from sqlite_master where type = 'table'")}
        return any(
            con.execute(f"select 1 from {table} where {rows} limit 1").fetchone()
            for table, rows in _KEPT.items()
            if table in tables
        )


def _settle(draft: Path) -> None:
    """All of it in the one file, and that on the disk."""
    with contextlib.closing(sqlite3.connect(draft)) as con:
        con.execute("pragma wal_checkpoint(truncate)").fetchall()
        con.execute("pragma journal_mode=delete").fetchall()
    _sync(draft)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One creator at a time; the lock goes with its process, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + WAIT_S
    with path.with_name(path.name + ".lock").open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Busy(
                        f"{path} has been under creation by another process for {WAIT_S:g} s; try again, or stop that"
                        " process"
                    ) from None
                time.sleep(0.05)
        yield


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except MillstreamError:
        raise
    except Exception as error:
        found = disk_error(error, path, "create the tracking database")
        if found is not None:
            raise found from error
        if isinstance(error, sqlite3.DatabaseError):
            raise Corrupt(
                f"{path} cannot be read as a SQLite database ({error}); restore it, or move it away to start with an"
                " empty one"
            ) from error
        raise


def disk_error(error: BaseException, path: Path, what: str) -> MillstreamError | None:
    """What the disk refused. SQLite says of a full or read-only one that it "cannot open", or "I/O error"."""
    found = refused(error, path, what)
    if found is None and ("unable to open database file" in str(error) or "disk I/O error" in str(error)):
        with contextlib.suppress(OSError):
            if shutil.disk_usage(path.parent).free < _NO_SPACE:
                return Full(
                    f"{path}: no space left on its disk while trying to {what}; free some space (df -h shows how much"
                    " there is), then try again"
                )
        if not os.access(path.parent, os.W_OK):
            return ConfigError(
                f"{path} cannot be written, so millstream cannot {what}; make its folder writable, or work on a copy of"
                " the project"
            )
    return found
