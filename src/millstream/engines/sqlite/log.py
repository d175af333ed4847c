"""SQLite, as the log: one file of columnar batches, positions, epochs, groups and marks.

One transaction writes batches of any topics together with a source's position. Offsets are dense. See `database` for
the lock that orders writers and `wake` for how readers follow.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from millstream.base.errors import Busy, ConfigError, Conflict, Full, MillstreamError, NotFound, UsageError
from millstream.engines.sqlite.database import WAIT_S, WriteLock, error_of, transaction
from millstream.engines.sqlite.disk import Room, freed_bytes
from millstream.engines.sqlite.opening import opened, path_of, reading
from millstream.engines.sqlite.reading import SqliteReader
from millstream.engines.sqlite.records import Layouts
from millstream.engines.sqlite.sharing import SqliteShare
from millstream.engines.sqlite.upkeep import join_small, retire, unwritten
from millstream.engines.sqlite.wake import Bell
from millstream.engines.sqlite.writing import GroupCommit, SqliteWriter
from millstream.log.port import Append, Ends, Range, Schemas, Topic
from millstream.log.retention import LAKE, same

FORMAT = 1
TABLES = """
create table if not exists topic(id integer primary key, name text not null unique, uuid text not null,
  partitions integer not null, retention_us integer);
create table if not exists part(topic integer, partition integer, low integer not null, high integer not null,
  primary key(topic, partition)) without rowid;
create table if not exists batch(id integer primary key, topic integer not null, partition integer not null,
  start integer not null, end integer not null, schema integer not null, layout integer not null,
  appended_us integer not null, crc integer not null, data blob not null);
create unique index if not exists batch_at on batch(topic, partition, end);
create table if not exists layout(id integer primary key, body blob not null unique);
create table if not exists split(name text primary key, epoch integer not null, position text) without rowid;
create table if not exists member(topic text, grp text, member text, seen_us integer not null,
  primary key(topic, grp, member)) without rowid;
create table if not exists mark(topic integer, partition integer, reader text, before integer not null,
  primary key(topic, partition, reader)) without rowid;
"""


class SqliteLog:
    """The log in the file of a URL.

    Attributes:
        wait_s: How long a write waits for other processes' writes before it is `Busy`.
        room: The free-space floor and the reserve.
    """

    def __init__(self, url: str, schemas: Schemas) -> None:
        self.path, self.wait_s = path_of(url), WAIT_S
        self._lock = WriteLock(self.path)
        self._con = opened(self.path, TABLES, self._lock, FORMAT)
        self._con.execute("pragma wal_autocheckpoint=4000")  # 16 MB: a batch is often half a megabyte
        self._look, self._looking = reading(self.path, TABLES), threading.Lock()
        self._layouts, self._bell = Layouts(), Bell(self.path)
        self.room = Room(self.path, self._freed, self._unwritten)
        self._failed: MillstreamError | None = None
        self._group = GroupCommit(self._write, self._layouts, self.room.check)

    @property
    def refused(self) -> MillstreamError | None:
        """Why nothing can be written to the log; None when it can."""
        return self._lock.refused

    def refuses(self) -> MillstreamError | None:
        """Why it takes no append now; None when it does.

        After a write that the disk has refused, one of its own is tried: whoever sends nothing because of that would
        never see it work again.
        """
        try:
            self.room.check(())
            if self._failed is not None:
                self.room.probe()
                with self._write() as con:
                    con.execute(f"pragma user_version = {FORMAT}")
        except Busy:  # another process writes, so it can be written to
            return self._failed
        except MillstreamError as error:
            return error
        return self.refused

    # topics

    def create(self, name: str, *, partitions: int, retention: timedelta | None = None) -> Topic:
        if partitions < 1:
            raise UsageError(f'topic "{name}" cannot have {partitions} partitions; at least 1')
        known, kept = self.topic(name), None if retention is None else retention // timedelta(microseconds=1)
        if known is None or (known.partitions == partitions and known.retention != retention):
            with self._write() as con:
                made = con.execute(
                    "insert or ignore into topic(name, uuid, partitions, retention_us) values (?, ?, ?, ?)",
                    (name, str(uuid.uuid4()), partitions, kept),
                )
                if made.rowcount:
                    con.executemany(
                        "insert into part values (?, ?, 0, 0)", [(made.lastrowid, p) for p in range(partitions)]
                    )
                    con.executemany(
                        "insert into mark values (?, ?, ?, 0)", [(made.lastrowid, p, LAKE) for p in range(partitions)]
                    )
                con.execute(
                    "update topic set retention_us = ? where name = ? and partitions = ?", (kept, name, partitions)
                )
            known = self._topic(name)
        if known.partitions != partitions:
            raise Conflict(
                f'topic "{name}" has {known.partitions} partitions, not {partitions}; its order and dedupe hang on'
                f" them: make a new topic, or say partitions={known.partitions}"
            )
        return known

    def topic(self, name: str) -> Topic | None:
        return next((t for t in self.topics() if t.name == name), None)

    def _topic(self, name: str) -> Topic:
        known = self.topic(name)
        if known is None:
            raise NotFound(f'no topic "{name}" in {self.path}')
        return known

    def topics(self) -> list[Topic]:
        rows = self._rows("select name, uuid, partitions, retention_us from topic order by name")
        return [Topic(n, u, p, None if r is None else timedelta(microseconds=r)) for n, u, p, r in rows]

    def delete(self, name: str) -> None:
        with self._write([name]) as con:
            row = con.execute("select id, uuid from topic where name = ?", (name,)).fetchone()
            if row:
                for table in ("batch", "part", "mark"):
                    con.execute(f"delete from {table} where topic = ?", row[:1])
                con.execute("delete from member where topic = ?", row[1:])
                con.execute("delete from topic where id = ?", row[:1])

    # records

    def append(self, appends: Sequence[Append]) -> list[Range]:
        return self._group.append(appends)

    def writer(self, split: str) -> SqliteWriter:
        return SqliteWriter(self._write, self._layouts, self.room.check, split)

    def position(self, split: str) -> str | None:
        rows = self._rows("select position from split where name = ?", (split,))
        return rows[0][0] if rows else None

    def positions(self, prefix: str = "") -> Mapping[str, str]:
        return dict(
            self._rows(
                "select name, position from split where substr(name, 1, ?) = ? and position is not null",
                (len(prefix), prefix),
            )
        )

    def reader(self, topic: str, positions: Mapping[int, int]) -> SqliteReader:
        return SqliteReader(self.path, self._layouts, self._topic(topic), positions)

    def ends(self, topic: str) -> dict[int, Ends]:
        rows = self._rows(
            "select p.partition, p.low, p.high from topic t join part p on p.topic = t.id where t.name = ? order by 1",
            (topic,),
        )
        if not rows:
            raise NotFound(f'no topic "{topic}" in {self.path}')
        return {p: Ends(low, high) for p, low, high in rows}

    def newest(self, topic: str) -> int | None:
        last = (
            "(select appended_us from batch b where b.topic = p.topic and b.partition = p.partition order by end desc"
            " limit 1)"
        )
        rows = self._rows(
            f"select max({last}) from part p where p.topic = (select id from topic where name = ?)",
            (self._topic(topic).name,),
        )
        return None if rows[0][0] is None else int(rows[0][0])

    def share(self, topic: str, group: str, member: str) -> SqliteShare:
        return SqliteShare(self._write, self._rows, self._topic(topic), group, member)

    # upkeep

    def retain(self, topic: str, *, before: Mapping[int, int], reader: str = "lake", uuid: str | None = None) -> None:
        try:
            self._mark(topic, before, reader, uuid)
        except Full:  # retention waits for this very mark
            self.room.release(needed=True)
            self._mark(topic, before, reader, uuid)

    def _mark(self, topic: str, before: Mapping[int, int], reader: str, uuid: str | None) -> None:
        with self._write() as con:
            number, stands = con.execute("select id, uuid from topic where name = ?", (topic,)).fetchone() or (None, "")
            if number is None:
                raise NotFound(f'no topic "{topic}" in {self.path}')
            same(topic, stands, uuid)
            if not before:
                con.execute("delete from mark where topic = ? and reader = ?", (number, reader))
            con.executemany(
                "insert into mark values (?, ?, ?, ?) on conflict do update set before = excluded.before where before"
                " != excluded.before",
                [(number, p, reader, offset) for p, offset in before.items()],
            )

    def maintain(self) -> None:
        self.room.release()
        retire(self._write, time.time_ns() // 1000, self.room.tight)
        if not self.room.tight():
            join_small(self._write, self._layouts)
        with self._lock.held(self.wait_s), contextlib.suppress(sqlite3.Error):
            self._con.execute(
                "pragma wal_checkpoint(truncate)"
            ).fetchall()  # gives its space back; a reader in between only puts it off
        self.room.restore()

    def close(self) -> None:
        for con in (self._con, self._look):
            con.close()
        self._bell.close()
        self._lock.close()

    # inside

    @contextmanager
    def _write(self, topics: Collection[str] = ()) -> Iterator[sqlite3.Connection]:
        """The write lock, a transaction, and the bell of these topics after it."""
        try:
            with self._lock.held(self.wait_s), transaction(self._con, self.path) as con:
                yield con
        except BaseException as error:
            self._layouts.forget()  # numbers given in a transaction that was rolled back
            # Of the disk; the last one: that it reports an error
            if isinstance(error, Full | ConfigError) or type(error) is MillstreamError:
                self._failed = error
            raise
        self._failed = None
        if topics:
            self._bell.ring(topics)

    def _rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._looking:
                return self._look.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise error_of(error, self.path) from error

    def _unwritten(self) -> dict[str, int]:
        with self._looking:
            return unwritten(self._look)

    def _freed(self) -> int:
        with self._looking:
            return freed_bytes(self._look)
