"""SQLite, as the store of documents and leases: one small file, safe for several processes."""

from __future__ import annotations

import builtins
import json
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from millstream.base.errors import Conflict, UsageError
from millstream.base.moments import moment_of
from millstream.engines.sqlite.database import WriteLock, error_of, transaction
from millstream.engines.sqlite.opening import opened, path_of, reading
from millstream.state.port import Doc

# `seq` orders writes across documents: two of the same microsecond have an order too.
TABLES = """
create table if not exists doc(kind text, key text, revision integer not null, seq integer not null,
  written_us integer not null, value text not null, primary key(kind, key)) without rowid;
create unique index if not exists doc_by_seq on doc(seq);
create index if not exists doc_newest on doc(kind, seq);
create table if not exists lease(name text primary key, owner text not null, until_us integer not null) without rowid;
"""
COLUMNS = "kind, key, revision, written_us, value"
_SLACK_US = 60_000_000
"""Between the clocks of two holders of a lease."""


class SqliteState:
    """The state in the file of a URL. Readers never wait for writers."""

    def __init__(self, url: str) -> None:
        self.path = path_of(url)
        self._lock, self._looking = WriteLock(self.path), threading.Lock()
        self._con = opened(self.path, TABLES, self._lock)
        self._look = reading(self.path, TABLES)

    def put(self, kind: str, key: str, value: Mapping[str, Any], *, expect: int | None = None) -> Doc:
        text = _text(kind, key, value)
        now_us = time.time_ns() // 1000
        with self._lock.held(), transaction(self._con, self.path) as con:
            row = con.execute("select revision from doc where kind = ? and key = ?", (kind, key)).fetchone()
            revision = row[0] if row else 0
            if expect is not None and expect != revision:
                raise Conflict(
                    f'{kind} "{key}" is at revision {revision}, not {expect}: someone else wrote it; read it again and'
                    " decide anew"
                )
            con.execute(
                "insert or replace into doc select ?, ?, ?, coalesce(max(seq), 0) + 1, ?, ? from doc",
                (kind, key, revision + 1, now_us, text),
            )
        return Doc(kind, key, revision + 1, moment_of(now_us), json.loads(text))

    def get(self, kind: str, key: str) -> Doc | None:
        rows = self._rows(f"select {COLUMNS} from doc where kind = ? and key = ?", (kind, key))
        return _doc(rows[0]) if rows else None

    def list(
        self, kind: str, *, prefix: str = "", limit: int | None = None, newest: bool = False
    ) -> builtins.list[Doc]:
        order = "seq desc" if newest else "key"
        sql = f"select {COLUMNS} from doc where kind = ? and substr(key, 1, ?) = ? order by {order} limit ?"
        return [_doc(row) for row in self._rows(sql, (kind, len(prefix), prefix, -1 if limit is None else limit))]

    def delete(self, kind: str, key: str) -> None:
        with self._lock.held(), transaction(self._con, self.path) as con:
            con.execute("delete from doc where kind = ? and key = ?", (kind, key))

    def lease(self, name: str, owner: str, length: timedelta) -> bool:
        now_us, length_us = time.time_ns() // 1000, length // timedelta(microseconds=1)
        # One that ends later than anybody would ask for was written by a clock that was wrong: its holder may have died
        # with it.
        with self._lock.held(), transaction(self._con, self.path) as con:
            con.execute(
                "insert into lease values (?, ?, ?) on conflict(name) do update set owner = excluded.owner, until_us ="
                " excluded.until_us where lease.owner = excluded.owner or lease.until_us not between ? and ?",
                (name, owner, now_us + length_us, now_us + 1, now_us + 2 * length_us + _SLACK_US),
            )
            (holder,) = con.execute("select owner from lease where name = ?", (name,)).fetchone()
        return bool(holder == owner)

    def release(self, name: str, owner: str) -> None:
        with self._lock.held(), transaction(self._con, self.path) as con:
            con.execute("delete from lease where name = ? and owner = ?", (name, owner))

    def close(self) -> None:
        self._look.close()
        self._con.close()
        self._lock.close()

    def _rows(self, sql: str, values: Sequence[object]) -> builtins.list[Any]:
        try:
            with self._looking:
                return self._look.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise error_of(error, self.path) from error


def _text(kind: str, key: str, value: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f'{kind} "{key}" cannot be kept as JSON: {error}; give numbers, texts, booleans, None, lists and mappings'
            " of these"
        ) from None


def _doc(row: tuple[str, str, int, int, str]) -> Doc:
    kind, key, revision, written_us, text = row
    return Doc(kind, key, revision, moment_of(written_us), json.loads(text))
