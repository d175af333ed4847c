"""How a database file is opened: created whole or not at all; and still read where nothing can be written."""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path

from millstream.base.errors import ConfigError
from millstream.engines.sqlite.database import WAIT_S, WriteLock, connect, error_of


def path_of(url: str) -> Path:
    """`sqlite:PATH` or `PATH`, absolute; its folder is created by `WriteLock`.

    >>> path_of("sqlite:log.db").name
    'log.db'
    """
    return Path(url.removeprefix("sqlite:").removeprefix("//")).absolute()


def create(con: sqlite3.Connection, tables: str, version: int | None = None) -> None:
    """The tables, and the format's number with them: all or nothing, whoever is killed on the way. `tables` must be
    repeatable.
    """
    number = "" if version is None else f"pragma user_version={version};"
    try:
        con.executescript(f"begin immediate; {tables}; {number} commit;")
    except BaseException:
        if con.in_transaction:
            con.execute("rollback")
        raise


def opened(path: Path, tables: str, lock: WriteLock, version: int | None = None) -> sqlite3.Connection:
    """The connection that writes, with its tables created; where nothing can be written, one that only reads."""
    if lock.refused is not None:
        return _frozen(path, tables)
    try:
        with lock.held():
            return _created(path, tables, version)
    except BaseException:
        # Its owner is never made, and whoever tries again on a full disk must not leave a descriptor each time.
        lock.close()
        raise


def _created(path: Path, tables: str, version: int | None) -> sqlite3.Connection:
    con = connect(path)
    try:
        check(con, path, version)
        create(con, tables, version)
        return con
    except BaseException as error:
        con.close()
        if isinstance(error, sqlite3.Error):
            raise error_of(error, path) from error
        raise


def reading(path: Path, tables: str = "") -> sqlite3.Connection:
    """A connection that only reads, whether or not anything can be written here."""
    return connect(path, read_only=True) if writable(path) else _frozen(path, tables)


def writable(path: Path) -> bool:
    """Whether this process may write to the database and beside it."""
    return os.access(path if path.exists() else path.parent, os.W_OK) and os.access(path.parent, os.W_OK)


def check(con: sqlite3.Connection, path: Path, version: int | None) -> None:
    """Raises ConfigError when a newer Millstream has written the file."""
    (found,) = con.execute("pragma user_version").fetchone()
    if version is not None and found > version:
        raise ConfigError(
            f"{path} was written by a newer Millstream (format {found}, this one reads {version}); use that version, or"
            " another file"
        )


def _frozen(path: Path, tables: str) -> sqlite3.Connection:
    """A connection to a file that nobody here can write to; without the file, or before it has these tables, to empty
    ones.

    SQLite wants to create a side file even for reading in WAL mode. Where it cannot, and no WAL is left to be read, the
    file is all there is, and is read as immutable.
    """
    try:
        con = _as_it_is(path) if path.exists() else None
        if con is None or not _has(con, tables):
            con = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            con.executescript(tables)
        con.execute("pragma query_only=on")
        return con
    except sqlite3.Error as error:
        raise error_of(error, path) from error


def _has(con: sqlite3.Connection, tables: str) -> bool:
    there = {name for (name,) in con.execute("select name from sqlite_master where type = 'table'")}
    return there.issuperset(re.findall(r"create table if not exists (\w+)", tables))


def _as_it_is(path: Path) -> sqlite3.Connection:
    con = sqlite3.connect(
        f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False, timeout=WAIT_S
    )
    try:
        con.execute("select 1 from sqlite_master")
        return con
    except sqlite3.OperationalError:
        con.close()
        wal = path.with_name(path.name + "-wal")
        if wal.exists() and wal.stat().st_size:
            raise
    return sqlite3.connect(
        f"{path.as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None, check_same_thread=False
    )
