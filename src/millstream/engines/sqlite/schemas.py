"""SQLite, as the schema store: beside the embedded log, in its file."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Sequence
from typing import Any

from millstream.base.errors import NotFound
from millstream.engines.sqlite.database import WriteLock, error_of, transaction
from millstream.engines.sqlite.opening import opened, path_of, reading
from millstream.log.schemas import canonical, check

TABLE = """
create table if not exists schema(id integer primary key autoincrement, fingerprint text not null unique,
  body text not null);
create table if not exists version(subject text, number integer, schema integer not null,
  primary key(subject, number)) without rowid;
"""


class SqliteSchemas:
    """The schema store in the file of a URL."""

    def __init__(self, url: str) -> None:
        self.path = path_of(url)
        self._lock, self._thread = WriteLock(self.path), threading.Lock()
        self._con = opened(self.path, TABLE, self._lock)
        self._look = reading(self.path, TABLE)  # never sees a registration that may yet be rolled back
        self._known: dict[int, str] = {}

    def register(self, subject: str, schema: str, compatibility: str = "backward") -> int:
        fingerprint = hashlib.sha256(canonical(schema).encode()).hexdigest()
        known = self._look_up(subject, fingerprint)
        if known is not None:  # the common case needs no lock
            return known
        with self._lock.held(), transaction(self._con, self.path) as con:
            rows = con.execute(
                "select s.id, s.body, s.fingerprint from version v join schema s on s.id = v.schema where v.subject = ?"
                " order by v.number",
                (subject,),
            ).fetchall()
            for number, _, known in rows:
                if known == fingerprint:
                    return int(number)
            check(compatibility, schema, [body for _, body, _ in rows], subject=subject)
            con.execute("insert or ignore into schema(fingerprint, body) values (?, ?)", (fingerprint, schema))
            (number,) = con.execute("select id from schema where fingerprint = ?", (fingerprint,)).fetchone()
            con.execute("insert into version values (?, ?, ?)", (subject, len(rows) + 1, number))
            return int(number)

    def _look_up(self, subject: str, fingerprint: str) -> int | None:
        rows = self._rows(
            "select s.id from version v join schema s on s.id = v.schema where v.subject = ? and s.fingerprint = ?",
            (subject, fingerprint),
        )
        return int(rows[0][0]) if rows else None

    def schema(self, schema_id: int) -> str:
        known = self._known.get(schema_id)
        if known is None:
            rows = self._rows("select body from schema where id = ?", (schema_id,))
            if not rows:
                raise NotFound(f"no schema {schema_id} in {self.path}")
            known = self._known[schema_id] = str(rows[0][0])
        return known

    def versions(self, subject: str) -> list[int]:
        return [
            int(n) for (n,) in self._rows("select schema from version where subject = ? order by number", (subject,))
        ]

    def _rows(self, sql: str, values: Sequence[object]) -> list[Any]:
        try:
            with self._thread:
                return self._look.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise error_of(error, self.path) from error

    def close(self) -> None:
        self._con.close()
        self._look.close()
        self._lock.close()
