"""SQLite, as the schema store: beside the embedded log, in its file."""

from __future__ import annotations

import hashlib
import threading

from millstream.declare.errors import NotFound
from millstream.engines.sqlite.database import WriteLock, connect, path_of, transaction
from millstream.log.schemas import canonical, check

TABLE = """
create table if not exists schema(id integer primary key autoincrement, fingerprint text not null unique, body text not null);
create table if not exists version(subject text, number integer, schema integer not null, primary key(subject, number)) without rowid;
"""


class SqliteSchemas:
    """The schema store in the file of a URL."""

    def __init__(self, url: str) -> None:
        self.path = path_of(url)
        self._lock, self._thread = WriteLock(self.path), threading.Lock()
        with self._lock.held():
            self._con = connect(self.path)
            self._con.executescript(TABLE)
        self._look = connect(self.path, read_only=True)  # never sees a registration that may yet be rolled back
        self._known: dict[int, str] = {}

    def register(self, subject: str, schema: str, compatibility: str = "backward") -> int:
        fingerprint = hashlib.sha256(canonical(schema).encode()).hexdigest()
        known = self._look_up(subject, fingerprint)
        if known is not None:  # the common case needs no lock
            return known
        with self._lock.held(), transaction(self._con, self.path) as con:
            rows = con.execute(
                "select s.id, s.body, s.fingerprint from version v join schema s on s.id = v.schema where v.subject = ? order by v.number", (subject,)
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
        with self._thread:
            row = self._look.execute("select s.id from version v join schema s on s.id = v.schema where v.subject = ? and s.fingerprint = ?",
                                     (subject, fingerprint)).fetchone()  # fmt: skip
        return None if row is None else int(row[0])

    def schema(self, schema_id: int) -> str:
        with self._thread:
            if schema_id not in self._known:
                row = self._look.execute("select body from schema where id = ?", (schema_id,)).fetchone()
                if row is None:
                    raise NotFound(f"no schema {schema_id} in {self.path}")
                self._known[schema_id] = row[0]
            return self._known[schema_id]

    def versions(self, subject: str) -> list[int]:
        with self._thread:
            return [int(n) for (n,) in self._look.execute("select schema from version where subject = ? order by number", (subject,))]

    def close(self) -> None:
        self._con.close()
        self._look.close()
        self._lock.close()
