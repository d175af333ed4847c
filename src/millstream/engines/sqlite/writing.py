"""How records get into the log's file: packed before the lock is taken, then one transaction for all who wait."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from millstream.base.errors import Busy, Fenced, NotFound, Transient
from millstream.engines.sqlite.records import Layouts, checksum, pack, plain
from millstream.log.port import Append, Range

JOINED_ROWS = 10_000
INSERT = (
    "insert into batch(topic, partition, start, end, schema, layout, appended_us, crc, data) values (?, ?, ?, ?, ?, ?,"
    " ?, ?, ?)"
)


class Write(Protocol):
    """A transaction under the write lock; whoever follows one of the topics is woken after it."""

    def __call__(self, topics: Collection[str] = ()) -> AbstractContextManager[sqlite3.Connection]: ...


@dataclass
class Run:
    """Appends that become one batch: of one partition, schema and layout, neighbours in the order of the calls."""

    topic: str
    partition: int
    schema_id: int
    layout: pa.Schema
    parts: list[tuple[int, pa.RecordBatch]] = field(default_factory=list)
    rows: int = 0
    messages: list[tuple[int, bytes]] = field(default_factory=list)


def prepare(appends: Sequence[Append]) -> list[Run]:
    """Everything that can be done without the lock. Small appends to one partition share a batch: twelve rows alone
    cost twice their bytes.
    """
    runs: list[Run] = []
    last: dict[tuple[str, int], Run] = {}
    for at, append in enumerate(appends):
        if not append.rows.num_rows:
            continue
        rows, key = plain(append.rows), (append.topic, append.partition)
        run = last.get(key)
        if (
            run is None
            or (run.schema_id, run.layout) != (append.schema_id, rows.schema)
            or run.rows + rows.num_rows > JOINED_ROWS
        ):
            run = last[key] = Run(append.topic, append.partition, append.schema_id, rows.schema)
            runs.append(run)
        run.parts.append((at, rows))
        run.rows += rows.num_rows
    for run in runs:
        batches = [rows for _, rows in run.parts]
        run.messages = list(pack(batches[0] if len(batches) == 1 else pa.concat_batches(batches)))
    return runs


def store(con: sqlite3.Connection, runs: Sequence[Run], layouts: Layouts) -> dict[int, Range]:
    """Write the runs; the range of each append by its place among them.

    Raises:
        NotFound: There is no such topic or partition.
    """
    now, ranges = time.time_ns() // 1000, {}
    for run in runs:
        row = con.execute(
            "select t.id, p.high from topic t join part p on p.topic = t.id where t.name = ? and p.partition = ?",
            (run.topic, run.partition),
        ).fetchone()
        if row is None:
            raise NotFound(
                f'the log has no topic "{run.topic}" with a partition {run.partition}; create it first, or open it'
                " again if it was deleted"
            )
        topic, start = row
        layout, at = layouts.number(con, run.layout), start
        for rows, data in run.messages:
            con.execute(INSERT, (topic, run.partition, at, at + rows, run.schema_id, layout, now, checksum(data), data))
            at += rows
        con.execute("update part set high = ? where topic = ? and partition = ?", (at, topic, run.partition))
        for place, batch in run.parts:
            ranges[place] = Range(run.topic, run.partition, start, start + batch.num_rows)
            start += batch.num_rows
    return ranges


class _Ticket:
    """A call of `append` that waits for the group commit."""

    def __init__(self, appends: Sequence[Append]) -> None:
        self.appends, self.done = appends, False
        self.ranges: list[Range] = []
        self.error: BaseException | None = None


class GroupCommit:
    """Threads that append at the same time share one transaction and one fsync; a call that is wrong fails alone."""

    def __init__(self, write: Write, layouts: Layouts, room: Callable[[Collection[str]], None]) -> None:
        self._write, self._layouts, self._room = write, layouts, room
        self._waiting: list[_Ticket] = []
        self._queue, self._turn = threading.Lock(), threading.Lock()

    def append(self, appends: Sequence[Append]) -> list[Range]:
        ticket = _Ticket(appends)
        with self._queue:
            self._waiting.append(ticket)
        with self._turn:  # whoever gets here first commits for all that wait
            if not ticket.done:
                with self._queue:
                    tickets, self._waiting = self._waiting, []
                self._commit(tickets)
        if ticket.error is not None:
            raise ticket.error
        return ticket.ranges

    def _commit(self, tickets: list[_Ticket]) -> None:
        tickets = [ticket for ticket in tickets if self._has_room(ticket)]
        try:
            if tickets:
                self._together(tickets)
        except Exception as error:
            if len(tickets) == 1 or isinstance(error, Transient):
                for ticket in tickets:
                    ticket.error = error
            else:  # one of them is wrong, and only that one may fail
                for ticket in tickets:
                    self._commit([ticket])
        except BaseException:  # this thread is told to stop; the others' calls may be tried again
            for ticket in tickets:
                ticket.error = Busy("the write was interrupted, and whether it is durable is not known; try again")
            raise
        finally:
            for ticket in tickets:
                ticket.done = True

    def _has_room(self, ticket: _Ticket) -> bool:
        """A topic that is refused costs its own calls only."""
        try:
            self._room({append.topic for append in ticket.appends})
        except Exception as error:
            ticket.error, ticket.done = error, True
        return not ticket.done

    def _together(self, tickets: list[_Ticket]) -> None:
        runs = prepare([append for ticket in tickets for append in ticket.appends])
        with self._write({run.topic for run in runs}) as con:
            ranges = store(con, runs, self._layouts)
        at = 0
        for ticket in tickets:
            ticket.ranges = [ranges[place] for place in range(at, at + len(ticket.appends)) if place in ranges]
            at += len(ticket.appends)


class SqliteWriter:
    """A split's fenced writer: epoch and old position are compared in the transaction that writes."""

    def __init__(self, write: Write, layouts: Layouts, room: Callable[[Collection[str]], None], split: str) -> None:
        self._write, self._layouts, self._room, self._split = write, layouts, room, split
        with write() as con:
            con.execute(
                "insert into split values (?, 1, null) on conflict(name) do update set epoch = epoch + 1", (split,)
            )
            self._epoch, self._position = con.execute(
                "select epoch, position from split where name = ?", (split,)
            ).fetchone()

    @property
    def position(self) -> str | None:
        return None if self._position is None else str(self._position)

    def commit(self, appends: Sequence[Append], position: str) -> list[Range]:
        self._room({append.topic for append in appends})
        runs = prepare(appends)
        with self._write({run.topic for run in runs}) as con:
            epoch, before = con.execute("select epoch, position from split where name = ?", (self._split,)).fetchone()
            if epoch != self._epoch or before != self._position:
                raise Fenced(
                    f'split "{self._split}" was taken over (epoch {epoch}, this writer has {self._epoch}); this task'
                    " must stop"
                )
            ranges = store(con, runs, self._layouts)
            con.execute("update split set position = ? where name = ?", (position, self._split))
        self._position = position
        return [ranges[place] for place in sorted(ranges)]

    def close(self) -> None:
        """Nothing is held between commits."""
