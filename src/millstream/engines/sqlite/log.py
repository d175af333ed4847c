"""SQLite, as the log: one file of columnar batches, positions, epochs, groups and marks.

One transaction writes batches of any topics together with a source's position. Offsets are dense. See `database` for the lock
that orders writers and `wake` for how readers follow.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from millstream.declare.errors import Conflict, Fenced, Full, NotFound, Recreated, Truncated
from millstream.engines.sqlite.database import WriteLock, connect, path_of, told, transaction
from millstream.engines.sqlite.records import Layouts, pack, unpack
from millstream.engines.sqlite.upkeep import join_small, retire
from millstream.engines.sqlite.wake import Bell, Ear
from millstream.log.port import Append, Ends, Range, Schemas, Slice, Topic

FLOOR_BYTES = 64 << 20
RESERVE_BYTES = 64 << 20
SESSION_S = 6.0
TABLES = """
create table if not exists topic(id integer primary key, name text not null unique, uuid text not null, partitions integer not null, retention_us integer);
create table if not exists part(topic integer, partition integer, low integer not null, high integer not null, primary key(topic, partition)) without rowid;
create table if not exists batch(id integer primary key, topic integer not null, partition integer not null, start integer not null, end integer not null,
  schema integer not null, layout integer not null, appended_us integer not null, data blob not null);
create unique index if not exists batch_at on batch(topic, partition, end, start);
create table if not exists layout(id integer primary key, body blob not null unique);
create table if not exists split(name text primary key, epoch integer not null, position text) without rowid;
create table if not exists member(topic text, grp text, member text, seen_us integer not null, primary key(topic, grp, member)) without rowid;
create table if not exists mark(topic integer, partition integer, before integer not null, primary key(topic, partition)) without rowid;
"""


class _Ticket:
    """An append waiting for the group commit."""

    def __init__(self, appends: Sequence[Append]) -> None:
        self.appends, self.done = appends, False
        self.ranges: list[Range] = []
        self.error: BaseException | None = None


class SqliteLog:
    """The log in the file of a URL."""

    def __init__(self, url: str, schemas: Schemas) -> None:
        self.path = path_of(url)
        self._lock = WriteLock(self.path)
        with self._lock.held():
            self._con = connect(self.path)
            self._con.executescript(TABLES)
        self._look, self._looking = connect(self.path, read_only=True), threading.Lock()
        self._layouts, self._bell = Layouts(), Bell(self.path)
        self._waiting: list[_Ticket] = []
        self._queue, self._commit = threading.Lock(), threading.Lock()
        self._checked = 0.0
        self._reserve = self.path.with_name(self.path.name + ".reserve")

    # topics

    def create(self, name: str, *, partitions: int, retention: timedelta | None = None) -> Topic:
        known = self.topic(name)
        if known is None:
            with self._write() as con:
                kept = None if retention is None else retention // timedelta(microseconds=1)
                made = con.execute(
                    "insert or ignore into topic(name, uuid, partitions, retention_us) values (?, ?, ?, ?)", (name, str(uuid.uuid4()), partitions, kept)
                )
                if made.rowcount:
                    con.executemany("insert into part values (?, ?, 0, 0)", [(made.lastrowid, p) for p in range(partitions)])
            known = self.topic(name)
            assert known is not None
        if known.partitions != partitions:
            raise Conflict(
                f'topic "{name}" has {known.partitions} partitions, not {partitions}; its order and dedupe hang on them: make a new topic, or say partitions={known.partitions}'
            )
        return known

    def topic(self, name: str) -> Topic | None:
        return next((t for t in self.topics() if t.name == name), None)

    def topics(self) -> list[Topic]:
        rows = self._rows("select name, uuid, partitions, retention_us from topic order by name")
        return [Topic(n, u, p, None if r is None else timedelta(microseconds=r)) for n, u, p, r in rows]

    def delete(self, name: str) -> None:
        with self._write() as con:
            row = con.execute("select id from topic where name = ?", (name,)).fetchone()
            if row:
                for table in ("batch", "part", "mark"):
                    con.execute(f"delete from {table} where topic = ?", row)
                con.execute("delete from topic where id = ?", row)

    # writing

    def append(self, appends: Sequence[Append]) -> list[Range]:
        ticket = _Ticket(appends)
        with self._queue:
            self._waiting.append(ticket)
        with self._commit:  # whoever gets here first commits for all that wait
            if not ticket.done:
                self._commit_waiting()
        if ticket.error is not None:
            raise ticket.error
        return ticket.ranges

    def _commit_waiting(self) -> None:
        with self._queue:
            tickets, self._waiting = self._waiting, []
        try:
            self._room()
            written = [(a, pack(a.rows)) for t in tickets for a in t.appends if a.rows.num_rows]
            with self._write() as con:
                ranges = iter(self._store(con, written))
            for ticket in tickets:
                ticket.ranges = [next(ranges) for a in ticket.appends if a.rows.num_rows]
        except BaseException as error:
            for ticket in tickets:
                ticket.error = error
        for ticket in tickets:
            ticket.done = True

    def _store(self, con: sqlite3.Connection, written: Iterable[tuple[Append, bytes]]) -> list[Range]:
        now, ranges = time.time_ns() // 1000, []
        for append, data in written:
            row = con.execute(
                "select t.id, p.high from topic t join part p on p.topic = t.id where t.name = ? and p.partition = ?", (append.topic, append.partition)
            ).fetchone()
            if row is None:
                raise NotFound(f'no topic "{append.topic}" with a partition {append.partition} in {self.path}')
            topic, start = row
            end = start + append.rows.num_rows
            layout = self._layouts.number(con, append.rows.schema)
            con.execute("insert into batch(topic, partition, start, end, schema, layout, appended_us, data) values (?, ?, ?, ?, ?, ?, ?, ?)",
                        (topic, append.partition, start, end, append.schema_id, layout, now, data))  # fmt: skip
            con.execute("update part set high = ? where topic = ? and partition = ?", (end, topic, append.partition))
            ranges.append(Range(append.topic, append.partition, start, end))
        return ranges

    def writer(self, split: str) -> SqliteWriter:
        with self._write() as con:
            con.execute("insert into split values (?, 1, null) on conflict(name) do update set epoch = epoch + 1", (split,))
            epoch, position = con.execute("select epoch, position from split where name = ?", (split,)).fetchone()
        return SqliteWriter(self, split, epoch, position)

    def position(self, split: str) -> str | None:
        rows = self._rows("select position from split where name = ?", (split,))
        return rows[0][0] if rows else None

    def positions(self, prefix: str = "") -> Mapping[str, str]:
        rows = self._rows("select name, position from split where substr(name, 1, ?) = ? and position is not null", (len(prefix), prefix))
        return dict(rows)

    # reading

    def reader(self, topic: str, positions: Mapping[int, int]) -> SqliteReader:
        known = self.topic(topic)
        if known is None:
            raise NotFound(f'no topic "{topic}" in {self.path}')
        return SqliteReader(self.path, self._layouts, known, positions)

    def ends(self, topic: str) -> dict[int, Ends]:
        rows = self._rows("select p.partition, p.low, p.high from topic t join part p on p.topic = t.id where t.name = ?", (topic,))
        return {p: Ends(low, high) for p, low, high in rows}

    def share(self, topic: str, group: str, member: str) -> SqliteShare:
        known = self.topic(topic)
        if known is None:
            raise NotFound(f'no topic "{topic}" in {self.path}')
        return SqliteShare(self, known, group, member)

    def retain(self, topic: str, *, before: Mapping[int, int]) -> None:
        with self._write() as con:
            con.executemany("insert into mark select id, ?, ? from topic where name = ? on conflict do update set before = max(before, excluded.before)",
                            [(p, offset, topic) for p, offset in before.items()])  # fmt: skip

    def maintain(self) -> None:
        if shutil.disk_usage(self.path.parent).free < FLOOR_BYTES:
            self._reserve.unlink(missing_ok=True)  # retention needs space to free space
        retire(self._write, time.time_ns() // 1000)
        join_small(self._write, self._layouts)
        if not self._reserve.exists() and shutil.disk_usage(self.path.parent).free > 4 * (FLOOR_BYTES + RESERVE_BYTES):
            with self._reserve.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)

    def close(self) -> None:
        for con in (self._con, self._look):
            con.close()
        self._bell.close()
        self._lock.close()

    # inside

    def _room(self) -> None:
        now = time.monotonic()
        if now - self._checked > 0.5:
            free = shutil.disk_usage(self.path.parent).free
            if free < FLOOR_BYTES:
                raise Full(
                    f"{free / 1e6:.0f} MB are free beside {self.path}, and appends stop below {FLOOR_BYTES / 1e6:.0f} MB; free some space, or shorten a retention"
                )
            self._checked = now

    def _write(self) -> _Transaction:
        return _Transaction(self)

    def _rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._looking:
                return self._look.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise told(error, self.path) from error


class _Transaction:
    """The write lock, a transaction, and the bell after it."""

    def __init__(self, log: SqliteLog) -> None:
        self._log = log

    def __enter__(self) -> sqlite3.Connection:
        self._held = self._log._lock.held()
        self._held.__enter__()
        self._inside = transaction(self._log._con, self._log.path)
        try:
            return self._inside.__enter__()
        except BaseException:
            self._held.__exit__(None, None, None)
            raise

    def __exit__(self, *error: object) -> None:
        try:
            self._inside.__exit__(*error)  # type: ignore[arg-type]
        except BaseException:
            self._log._layouts.forget()
            raise
        finally:
            self._held.__exit__(None, None, None)
        self._log._bell.ring()


class SqliteWriter:
    """A split's fenced writer: epoch and old position are compared in the transaction that writes."""

    def __init__(self, log: SqliteLog, split: str, epoch: int, position: str | None) -> None:
        self._log, self._split, self._epoch, self._position = log, split, epoch, position

    @property
    def position(self) -> str | None:
        return self._position

    def commit(self, appends: Sequence[Append], position: str) -> list[Range]:
        self._log._room()
        written = [(a, pack(a.rows)) for a in appends if a.rows.num_rows]
        with self._log._write() as con:
            epoch, before = con.execute("select epoch, position from split where name = ?", (self._split,)).fetchone()
            if epoch != self._epoch or before != self._position:
                raise Fenced(f'split "{self._split}" was taken over (epoch {epoch}, this writer has {self._epoch}); this task must stop')
            ranges = self._log._store(con, written)
            con.execute("update split set position = ? where name = ?", (position, self._split))
        self._position = position
        return ranges

    def close(self) -> None:
        """Nothing is held between commits."""


class SqliteReader:
    """Reads on a connection of its own, in short transactions."""

    def __init__(self, path: Path, layouts: Layouts, topic: Topic, positions: Mapping[int, int]) -> None:
        self._path, self._layouts, self._topic = path, layouts, topic
        self._at = dict(positions)
        self._turn = 0
        self._ear = Ear(path)  # before the first read, so that no commit falls between
        self._con = connect(path, read_only=True)

    def poll(self, max_rows: int, timeout: timedelta) -> list[Slice]:
        deadline = time.monotonic() + timeout.total_seconds()
        while True:
            found = self._fetch(max_rows)
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            self._ear.wait(left)

    def _fetch(self, max_rows: int) -> list[Slice]:
        try:
            self._con.execute("begin")
            try:
                stored = self._stored(max_rows)
            finally:
                self._con.execute("rollback")
        except sqlite3.Error as error:
            raise told(error, self._path) from error
        slices = []
        for partition, start, end, schema_id, layout, appended_us, data in stored:
            at = self._at[partition]
            rows = unpack(data, layout, start, appended_us, at - start, end - at)
            slices.append(Slice(self._topic.name, partition, at, end, schema_id, rows))
            self._at[partition] = end
        return slices

    def _stored(self, max_rows: int) -> list[tuple[int, int, int, int, pa.Schema, int, bytes]]:
        topic = self._known()
        found: list[tuple[int, int, int, int, pa.Schema, int, bytes]] = []
        partitions, left = sorted(self._at), max_rows
        self._turn = (self._turn + 1) % max(1, len(partitions))
        for partition in partitions[self._turn :] + partitions[: self._turn]:
            low, high = self._con.execute("select low, high from part where topic = ? and partition = ?", (topic, partition)).fetchone()
            at = self._at[partition]
            if not low <= at <= high:
                raise Truncated(
                    f'topic "{self._topic.name}", partition {partition}: offset {at} is asked for, and the log holds [{low}, {high}); records are gone, going on needs to be said (--accept-loss)'
                )
            if at == high or left <= 0:
                continue
            rows = self._con.execute(
                "select start, end, schema, layout, appended_us, data from batch where topic = ? and partition = ? and end > ? order by end",
                (topic, partition, at),
            )
            for start, end, schema_id, layout, appended_us, data in rows:
                upto = min(end, max(start, at) + max(left, 1))
                found.append((partition, start, upto, schema_id, self._layouts.schema(self._con, layout), appended_us, data))
                left -= upto - max(start, at)
                if left <= 0:
                    break
        return found

    def _known(self) -> int:
        row = self._con.execute("select id, uuid from topic where name = ?", (self._topic.name,)).fetchone()
        if row is None or row[1] != self._topic.uuid:
            raise Recreated(f'topic "{self._topic.name}" was deleted{"" if row is None else " and created again"}; its positions mean nothing any more')
        return int(row[0])

    def seek(self, partition: int, offset: int) -> None:
        self._at[partition] = offset

    def drop(self, partition: int) -> None:
        self._at.pop(partition, None)

    def position(self, partition: int) -> int:
        return self._at[partition]

    def close(self) -> None:
        self._ear.close()
        self._con.close()


class SqliteShare:
    """A member of a group: partitions by rank among the members seen lately."""

    def __init__(self, log: SqliteLog, topic: Topic, group: str, member: str) -> None:
        self._log, self._topic, self._group, self._member = log, topic, group, member
        self._beat = 0.0

    def partitions(self) -> frozenset[int]:
        now = time.time_ns() // 1000
        if time.monotonic() - self._beat > SESSION_S / 4:
            with self._log._write() as con:
                con.execute("insert or replace into member values (?, ?, ?, ?)", (self._topic.uuid, self._group, self._member, now))
            self._beat = time.monotonic()
        alive = [str(m) for (m,) in self._log._rows("select member from member where topic = ? and grp = ? and seen_us > ? order by member",
                                                    (self._topic.uuid, self._group, now - int(SESSION_S * 1e6)))]  # fmt: skip
        rank = alive.index(self._member) if self._member in alive else 0
        return frozenset(p for p in range(self._topic.partitions) if p % max(1, len(alive)) == rank)

    def leave(self) -> None:
        with self._log._write() as con:
            con.execute("delete from member where topic = ? and grp = ? and member = ?", (self._topic.uuid, self._group, self._member))
