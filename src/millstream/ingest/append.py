"""Events of many requests become one append: while one is under way, the next gather (group commit)."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from millstream.base.errors import Full, MillstreamError, Transient
from millstream.base.event import EVENT_ID
from millstream.ingest.cast import with_arrival
from millstream.ingest.form import EventForm
from millstream.lake.sound import UNFIT
from millstream.log.envelope import Binding, split_appends
from millstream.log.port import Append, Log, Range

log = logging.getLogger("millstream.collector")
Offsets = Mapping[int, int]


@dataclass
class Ticket:
    """One request's events, waiting to be durable.

    Attributes:
        replay: Each event arrived at its own time.
        wrong: Place in `events` -> why that one fits no column; filled in on the way.
    """

    binding: Binding
    form: EventForm
    events: Sequence[Any]
    bytes: int
    replay: bool
    done: asyncio.Future[Offsets]
    loop: asyncio.AbstractEventLoop
    wrong: dict[int, str] = field(default_factory=dict)


class Appender:
    """One thread that appends what waits, all of it at once.

    Args:
        retry_s: How long an append that the log refuses for the moment is tried again.
    """

    def __init__(self, log: Log, *, retry_s: float) -> None:
        self._log, self._retry_s = log, retry_s
        self._waiting: list[Ticket] = []
        self._wake, self._stopping = threading.Condition(), False
        self.rows = self.bytes = 0
        self._thread = threading.Thread(target=self._run, daemon=True, name="collector")

    def start(self) -> None:
        self._thread.start()

    def put(self, ticket: Ticket) -> None:
        with self._wake:
            self._waiting.append(ticket)
            self.rows += len(ticket.events)
            self.bytes += ticket.bytes
            self._wake.notify()

    def close(self) -> None:
        """Append what waits, then end."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._stopping:
                    self._wake.wait()
                if not self._waiting:
                    return
                group, self._waiting = self._waiting, []
            try:
                found: Mapping[str, Offsets | BaseException] | BaseException = self._append(group)
            except BaseException as error:
                found = error
            with self._wake:
                self.rows -= sum(len(ticket.events) for ticket in group)
                self.bytes -= sum(ticket.bytes for ticket in group)
            self._answer(group, found)

    def _append(self, group: Sequence[Ticket]) -> Mapping[str, Offsets | BaseException]:
        """Topic -> where its events went, or why they could not be appended; a topic that is refused costs the others
        nothing.
        """
        by_kind: dict[tuple[str, bool], list[Ticket]] = {}
        for ticket in group:
            by_kind.setdefault((ticket.binding.topic.name, ticket.replay), []).append(ticket)
        appends = [append for tickets in by_kind.values() for append in _appends(tickets)]
        try:
            return _ends(self._written(appends)) if appends else {}
        except Full:
            topics = dict.fromkeys(append.topic for append in appends)
            if len(topics) == 1:
                raise
        found: dict[str, Offsets | BaseException] = {}
        for topic in topics:
            try:
                found |= _ends(self._log.append([append for append in appends if append.topic == topic]))
            except MillstreamError as error:
                found[topic] = error
        return found

    def _written(self, appends: list[Append]) -> Any:
        deadline = time.monotonic() + self._retry_s
        while True:
            try:
                return self._log.append(appends)
            except Transient:
                if time.monotonic() > deadline or self._stopping:
                    raise
                time.sleep(0.05)

    def _answer(self, group: Sequence[Ticket], found: Any) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[Ticket]] = {}
        for ticket in group:
            by_loop.setdefault(ticket.loop, []).append(ticket)
        for loop, tickets in by_loop.items():
            try:
                loop.call_soon_threadsafe(_settle, tickets, found)
            except RuntimeError:  # the loop is closed: nobody waits any more, and what was appended stays
                log.warning("%d requests were appended after their server had stopped", len(tickets))


def _settle(tickets: Sequence[Ticket], found: Any) -> None:
    for ticket in tickets:
        if ticket.done.done():
            continue
        mine = found if isinstance(found, BaseException) else found.get(ticket.binding.topic.name, {})
        if isinstance(mine, BaseException):
            ticket.done.set_exception(mine)
        else:
            ticket.done.set_result(mine)


def _ends(ranges: Sequence[Range]) -> dict[str, Offsets | BaseException]:
    ends: dict[str, dict[int, int]] = {}
    for written in ranges:
        topic = ends.setdefault(written.topic, {})
        topic[written.partition] = max(topic.get(written.partition, 0), written.end)
    return dict(ends)


def _appends(tickets: Sequence[Ticket]) -> list[Append]:
    first = tickets[0]
    rows = _columns(first.form, [event for ticket in tickets for event in ticket.events])
    if rows is None:
        parts = [part for ticket in tickets if (part := _fitting(ticket)).num_rows]
        if not parts:
            return []
        rows = pa.concat_batches(parts)
    rows = _with_ids(rows)
    if first.replay:
        rows = with_arrival(rows, first.form.schema)
    return split_appends(first.binding, rows)


def _columns(form: EventForm, events: Sequence[Any]) -> pa.RecordBatch | None:
    """The events as columns; None when one of them has a value that no table holds."""
    try:
        rows = form.columns(events)
    except UNFIT:
        return None
    return None if form.unsound(rows) else rows


def _fitting(ticket: Ticket) -> pa.RecordBatch:
    """The events that columns can hold; the others get the reason why not."""
    _note_unfit(ticket, 0, len(ticket.events))
    return ticket.form.columns([event for at, event in enumerate(ticket.events) if at not in ticket.wrong])


def _note_unfit(ticket: Ticket, start: int, stop: int) -> None:
    """Halve the events until those that fail are found."""
    try:
        wrong = ticket.form.unsound(ticket.form.columns(ticket.events[start:stop]))
        ticket.wrong |= {start + at: why for at, why in wrong.items()}
    except UNFIT as error:
        if stop - start == 1:
            ticket.wrong[start] = f"a value fits no column: {error}"
            return
        half = (start + stop) // 2
        _note_unfit(ticket, start, half)
        _note_unfit(ticket, half, stop)


def _with_ids(rows: pa.RecordBatch) -> pa.RecordBatch:
    """An id for each event that came without one, or with an empty one; ids sort by time, as UUID version 7 does."""
    at = rows.schema.get_field_index(EVENT_ID)
    column = rows.column(at)
    column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    if not column.null_count:
        return rows
    head = f"{time.time_ns() // 1_000_000:012x}7{os.urandom(6).hex()}"
    made = pa.array([f"{head}{number:07x}" for number in range(rows.num_rows)], pa.string())
    return rows.set_column(at, EVENT_ID, pc.coalesce(column, made))
