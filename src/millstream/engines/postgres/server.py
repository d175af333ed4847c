"""PostgreSQL as seen from here: one connection that is made again when the server was away, and errors as ours."""

from __future__ import annotations

import threading
import time
import urllib.parse
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from millstream.base.errors import Busy, ConfigError, Corrupt, Full, MillstreamError, Unreachable, UsageError

T = TypeVar("T")
Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
STATEMENT_S, PAUSE_S = 30, 0.1
_DEFAULTS: dict[str, Any] = {
    "application_name": "millstream",
    "connect_timeout": 5,
    "tcp_user_timeout": 1000 * STATEMENT_S,
}
_CONFIG = (
    pg.InsufficientPrivilege,
    pg.InvalidCatalogName,
    pg.InvalidAuthorizationSpecification,
    pg.InvalidPassword,
    pg.UndefinedTable,
    pg.UndefinedColumn,
    pg.InvalidSchemaName,
)
_BUSY = (
    pg.LockNotAvailable,
    pg.QueryCanceled,
    pg.TooManyConnections,
    pg.CannotConnectNow,
    pg.SerializationFailure,
    pg.DeadlockDetected,
    pg.ReadOnlySqlTransaction,
)
_FULL = (pg.DiskFull, pg.OutOfMemory, pg.InsufficientResources)
_SAID_CONFIG = (
    "password authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "could not translate host name",
    "SSL",
)
_SAID_BUSY = ("starting up", "shutting down", "recovery mode", "too many clients", "remaining connection slots")
"""What a server says that lets nobody in; psycopg has no class for what comes before a session."""


class Server:
    """One connection for all threads, in autocommit.

    Args:
        url: As libpq takes it.
        setting: Whose URL it is, for messages.
        wait_s: For how long a server that is away or starting is asked again.
    """

    def __init__(self, url: str, *, setting: str, wait_s: float) -> None:
        try:
            told = conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            shown = urllib.parse.urlsplit(url)
            raise ConfigError(
                f"{setting} = {shown.scheme}://...@{shown.netloc.rpartition('@')[2]}{shown.path}: {str(error).strip()}"
            ) from None
        self.name = f"PostgreSQL at {told.get('host', 'localhost')}:{told.get('port', 5432)}/{told.get('dbname', '')}"
        self._info = make_conninfo(url, **{key: value for key, value in _DEFAULTS.items() if key not in told})
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def run(self, work: Callable[[Connection], T]) -> T:
        """What `work` gives, which must be so that doing it twice is doing it once: it is done again when the
        connection breaks in the middle.

        Raises:
            Unreachable, Busy: The server was away, or would not, for as long as is waited.
        """
        if not self._lock.acquire(timeout=STATEMENT_S):
            raise Busy(f"{self.name}: another thread's statement takes more than {STATEMENT_S} s")
        try:
            until = time.monotonic() + self._wait_s
            while True:
                try:
                    return work(self._connected())
                except psycopg.Error as error:
                    wrong = error_of(error, self.name)
                    away = self._connection is None or self._connection.broken or self._connection.closed
                    if away:
                        self.drop()
                    if not away or not isinstance(wrong, Unreachable | Busy):
                        raise wrong from error
                    if time.monotonic() > until:
                        raise type(wrong)(
                            f"{self.name} could not be reached within {self._wait_s:g} s: {_once(error)}"
                        ) from error
                time.sleep(PAUSE_S)
        finally:
            self._lock.release()

    def _connected(self) -> Connection:
        if self._connection is None:
            made = psycopg.connect(self._info, autocommit=True)
            made.execute(f"set statement_timeout = {1000 * STATEMENT_S}")
            self._connection = made
        return self._connection

    def drop(self) -> None:
        """Close the connection; the next call makes one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _once(error: psycopg.Error) -> str:
    """What it says, in one line."""
    return " ".join(str(error).split())


def error_of(error: psycopg.Error, where: str) -> MillstreamError:
    """The one place where PostgreSQL's errors become ours."""
    said = str(error).strip()
    early = isinstance(error, psycopg.OperationalError) and error.sqlstate is None
    if isinstance(error, _CONFIG) or (early and any(words in said for words in _SAID_CONFIG)):
        return ConfigError(
            f"{where} does not let us: {said}; look at its user, its password, its database and what the user may do"
            " there"
        )
    if isinstance(error, _BUSY) or (early and any(words in said for words in _SAID_BUSY)):
        return Busy(f"{where} is busy: {said}")
    if isinstance(error, _FULL):
        return Full(f"{where} takes no writes: {said}")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return Unreachable(f"{where} does not answer: {said}")
    if isinstance(error, psycopg.DataError):
        return UsageError(f"{where} cannot keep this: {said}")
    return Corrupt(f"{where}: {said}")


__all__ = ["Connection", "Server", "error_of"]
