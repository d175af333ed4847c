"""Connections in WAL mode, and a write lock that is fair between processes.

SQLite's own busy back-off starves writers (20 k against 302 k events/s with three of them); a blocking `flock` on a
side file queues them. It is taken around BEGIN IMMEDIATE .. COMMIT, in a helper thread, so that a deadline can end the
wait.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from millstream.base.errors import Busy, ConfigError, Corrupt, Full, MillstreamError, UsageError
from millstream.base.storage import REFUSED, refused

WAIT_S = 30.0
_NO_SPACE = 4 << 20
_DAMAGED = ("SQLITE_IOERR_SHORT_READ", "SQLITE_IOERR_DATA", "SQLITE_IOERR_CORRUPTFS")


def connect(path: Path, *, durable: bool = True, read_only: bool = False) -> sqlite3.Connection:
    """A connection without implicit transactions. `durable`: a commit is fsynced (synchronous=FULL), else only ordered
    (NORMAL).
    """
    con: sqlite3.Connection | None = None
    try:
        con = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=WAIT_S, cached_statements=256
        )
        con.execute("pragma journal_mode=wal")
        con.execute(f"pragma synchronous={'full' if durable else 'normal'}")
        con.execute("pragma temp_store=memory")
        con.execute("pragma journal_size_limit=67108864")
        if read_only:
            con.execute("pragma query_only=on")
        return con
    except sqlite3.Error as error:
        if con is not None:
            con.close()
        raise error_of(error, path) from error


def error_of(error: sqlite3.Error, path: Path) -> MillstreamError:
    """The one place where SQLite's errors become ours."""
    name, text = getattr(error, "sqlite_errorname", None) or "", str(error)
    if name == "SQLITE_FULL" or (name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")) and _full(path)):
        return Full(
            f"{path}: no space left on its disk ({text}); free some space (df -h shows how much there is), then try"
            " again"
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Busy(f"{path} is locked by another process: {text}")
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
        return ConfigError(
            f"{path} cannot be opened for writing: {text}; make it and its folder writable for this user, or work on a"
            " copy of the project"
        )
    if name.startswith("SQLITE_IOERR") and name not in _DAMAGED:
        return MillstreamError(
            f"{path}: {text}; check the disk (dmesg) and the limit on a file's size (ulimit -f), then try again"
        )
    if isinstance(error, sqlite3.ProgrammingError):
        return UsageError(f"{path} is closed: {text}")
    return Corrupt(f"{path}: {text}; restore the file, or move it away to begin anew")


def _full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _NO_SPACE
    except OSError:
        return False


class WriteLock:
    """Exclusive among threads and processes; released when the process dies, however it dies.

    Creates the database's folder. Where that or the lock's file is refused, readers may still read: only `held` raises.

    Attributes:
        refused: Why nothing can be written here; None when it can.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._thread = threading.Lock()
        self._fd = -1
        self.refused: MillstreamError | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            if path.exists() and not os.access(path, os.W_OK):
                # Its folder is writable, it is not
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        except OSError as error:
            self.close()
            found = refused(error, path, f"write to {path.name}")
            if found is None:
                raise
            if error.errno not in REFUSED:
                raise found from error
            self.refused = found

    @contextmanager
    def held(self, wait_s: float = WAIT_S) -> Iterator[None]:
        """Hold it for the block.

        Raises:
            Busy: It did not come free in time.
            ConfigError: Nothing can be written here.
        """
        if self.refused is not None:
            raise self.refused.with_traceback(None)  # which would else grow with each time
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
        fd, done, given_up, handover = (
            os.open(self._path, os.O_RDWR),
            threading.Event(),
            threading.Event(),
            threading.Lock(),
        )

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
        return Busy(
            f"{self._path} was held by another writer for {wait_s:g} s; is a process stopped in the middle of a write?"
            f" (lsof {self._path} names it)"
        )

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


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
        raise error_of(error, path) from error
