"""Connections in WAL mode, and a write lock that is fair between processes.

SQLite's own busy back-off starves writers (20 k against 302 k events/s with three of them); a blocking `flock` on a side file
queues them. It is taken around BEGIN IMMEDIATE .. COMMIT, in a helper thread, so that a deadline can end the wait.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from millstream.declare.errors import Busy, ConfigError, Corrupt, Full, MillstreamError, UsageError

WAIT_S = 30.0
_NO_SPACE = 4 << 20


def path_of(url: str) -> Path:
    """`sqlite:PATH` or `PATH`, with its folder made.

    >>> path_of("sqlite:log.db").name
    'log.db'
    """
    path = Path(url.removeprefix("sqlite:").removeprefix("//")).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def connect(path: Path, *, durable: bool = True, read_only: bool = False) -> sqlite3.Connection:
    """A connection without implicit transactions. `durable`: a commit is fsynced (synchronous=FULL), else only ordered (NORMAL)."""
    try:
        con = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=WAIT_S, cached_statements=256)
        con.execute("pragma journal_mode=wal")
        con.execute(f"pragma synchronous={'full' if durable else 'normal'}")
        con.execute("pragma temp_store=memory")
        con.execute("pragma journal_size_limit=67108864")
        if read_only:
            con.execute("pragma query_only=on")
        return con
    except sqlite3.Error as error:
        raise told(error, path) from error


def told(error: sqlite3.Error, path: Path) -> MillstreamError:
    """The one place where SQLite's errors become ours."""
    name, text = getattr(error, "sqlite_errorname", None) or "", str(error)
    if name == "SQLITE_FULL" or (name.startswith("SQLITE_IOERR") and shutil.disk_usage(path.parent).free < _NO_SPACE):
        return Full(f"{path}: {text}; free some space on its disk")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Busy(f"{path} is locked by another process: {text}")
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
        return ConfigError(f"{path} cannot be opened for writing: {text}; does its folder exist, and is it yours?")
    if isinstance(error, sqlite3.ProgrammingError):
        return UsageError(f"{path} is closed: {text}")
    return Corrupt(f"{path}: {text}; restore the file, or move it away to begin anew")


class WriteLock:
    """Exclusive among threads and processes; released when the process dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._thread = threading.Lock()
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)

    @contextmanager
    def held(self, wait_s: float = WAIT_S) -> Iterator[None]:
        """Hold it for the block.

        Raises:
            Busy: It did not come free in time.
        """
        if not self._thread.acquire(timeout=wait_s):
            raise self._busy(wait_s)
        try:
            fd = self._take(wait_s)
            try:
                yield
            finally:
                fcntl.flock(fd, fcntl.LOCK_UN)
                if fd != self._fd:
                    os.close(fd)
        finally:
            self._thread.release()

    def _take(self, wait_s: float) -> int:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return self._fd
        except BlockingIOError:
            pass
        # A descriptor of its own, so that a wait given up does not leave this one locked later.
        fd, done, given_up, handover = os.open(self._path, os.O_RDWR), threading.Event(), threading.Event(), threading.Lock()

        def wait() -> None:
            fcntl.flock(fd, fcntl.LOCK_EX)
            with handover:
                done.set()
                if given_up.is_set():
                    os.close(fd)

        threading.Thread(target=wait, daemon=True, name="flock").start()
        done.wait(wait_s)
        with handover:
            if done.is_set():
                return fd
            given_up.set()  # the helper lets go of the lock as soon as it gets it
        raise self._busy(wait_s)

    def _busy(self, wait_s: float) -> Busy:
        return Busy(f"{self._path} was held by another writer for {wait_s:g} s; is a process stopped in the middle of a write? (lsof {self._path} names it)")

    def close(self) -> None:
        os.close(self._fd)


@contextmanager
def transaction(con: sqlite3.Connection, path: Path) -> Iterator[sqlite3.Connection]:
    """BEGIN IMMEDIATE .. COMMIT; any error rolls back. The caller holds the write lock."""
    try:
        con.execute("begin immediate")
        try:
            yield con
            con.execute("commit")
        except BaseException:
            if con.in_transaction:
                con.execute("rollback")
            raise
    except sqlite3.Error as error:
        raise told(error, path) from error
