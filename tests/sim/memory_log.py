"""A log in memory: the log port without files, threads of its own or a clock that nobody moves. It passes
`LogContract`.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millstream.base.errors import Conflict, Damaged, Fenced, NotFound, Recreated, Truncated, UsageError
from millstream.base.event import ARRIVED_AT, EVENT_ID, OFFSET, TIMESTAMP
from millstream.log.port import Append, Ends, Range, Slice, Topic
from millstream.log.retention import LAKE, Stretch, removable, same


class Slow(Exception):
    """A read that brings nothing yet."""


@dataclass
class Stored:
    """One append: rows of one schema at [start, end)."""

    start: int
    end: int
    schema_id: int
    at_us: int
    rows: pa.RecordBatch
    damaged: bool = False

    @cached_property
    def finished(self) -> pa.RecordBatch:
        """As a reader sees them: `_event_id`, `_arrived_at` and `_offset` last."""
        return _finished(self.rows, self, self.start)


@dataclass
class Part:
    low: int = 0
    high: int = 0
    batches: list[Stored] = field(default_factory=list)
    marks: dict[str, int] = field(default_factory=lambda: {LAKE: 0})


@dataclass
class Held:
    """What outlives a process."""

    topics: dict[str, Topic] = field(default_factory=dict)
    parts: dict[str, list[Part]] = field(default_factory=dict)
    splits: dict[str, list[object]] = field(default_factory=dict)
    members: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)


class MemoryLog:
    """One process's hold on a log.

    Args:
        clock: This process's, microseconds since 1970, of its appends and of its retention.
        fault: Called with "append", "appended", "poll" or "retain" where a log may fail; raises what it raises. Past
            "appended" the records are there.
    """

    def __init__(
        self,
        held: Held | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        fault: Callable[[str], None] = lambda point: None,
    ) -> None:
        self.held, self.clock, self.fault = held or Held(), clock, fault

    # topics

    def create(self, name: str, *, partitions: int, retention: timedelta | None = None) -> Topic:
        if partitions < 1:
            raise UsageError(f'topic "{name}" cannot have {partitions} partitions; at least 1')
        with self.held.changed:
            known = self.held.topics.get(name)
            if known is None:
                known = Topic(name, str(uuid.uuid4()), partitions, retention)
                self.held.parts[name] = [Part() for _ in range(partitions)]
            if known.partitions != partitions:
                raise Conflict(f'topic "{name}" has {known.partitions} partitions, not {partitions}')
            self.held.topics[name] = replace(known, retention=retention)
            return self.held.topics[name]

    def topic(self, name: str) -> Topic | None:
        return self.held.topics.get(name)

    def topics(self) -> list[Topic]:
        return sorted(self.held.topics.values(), key=lambda topic: topic.name)

    def delete(self, name: str) -> None:
        with self.held.changed:
            self.held.topics.pop(name, None)
            self.held.parts.pop(name, None)

    # records

    def append(self, appends: Sequence[Append]) -> list[Range]:
        self.fault("append")
        with self.held.changed:
            ranges = self._append(appends)
        self.fault("appended")
        return ranges

    def _append(self, appends: Sequence[Append]) -> list[Range]:
        for append in appends:
            parts = self.held.parts.get(append.topic)
            if parts is None or append.partition >= len(parts):
                raise NotFound(f'the log has no topic "{append.topic}" with a partition {append.partition}')
        ranges = []
        for append in (a for a in appends if a.rows.num_rows):
            part = self.held.parts[append.topic][append.partition]
            batch = Stored(part.high, part.high + append.rows.num_rows, append.schema_id, self.clock(), append.rows)
            part.batches.append(batch)
            part.high = batch.end
            ranges.append(Range(append.topic, append.partition, batch.start, batch.end))
        self.held.changed.notify_all()
        return ranges

    def writer(self, split: str) -> MemoryWriter:
        with self.held.changed:
            row = self.held.splits.setdefault(split, [0, None])
            row[0] = int(row[0]) + 1  # type: ignore[call-overload]
            return MemoryWriter(self, split, int(row[0]), row[1])  # type: ignore[arg-type,call-overload]

    def position(self, split: str) -> str | None:
        return self.held.splits.get(split, [0, None])[1]  # type: ignore[return-value]

    def positions(self, prefix: str = "") -> Mapping[str, str]:
        return {
            name: str(at) for name, (_, at) in self.held.splits.items() if name.startswith(prefix) and at is not None
        }

    def reader(self, topic: str, positions: Mapping[int, int]) -> MemoryReader:
        return MemoryReader(self, self._known(topic), positions)

    def _known(self, name: str) -> Topic:
        known = self.topic(name)
        if known is None:
            raise NotFound(f'no topic "{name}"')
        return known

    def ends(self, topic: str) -> dict[int, Ends]:
        self._known(topic)
        return {p: Ends(part.low, part.high) for p, part in enumerate(self.held.parts[topic])}

    def newest(self, topic: str) -> int | None:
        self._known(topic)
        return max((batch.at_us for part in self.held.parts[topic] for batch in part.batches), default=None)

    def share(self, topic: str, group: str, member: str) -> MemoryShare:
        return MemoryShare(self, self._known(topic), group, member)

    # upkeep

    def retain(self, topic: str, *, before: Mapping[int, int], reader: str = LAKE, uuid: str | None = None) -> None:
        same(topic, self._known(topic).uuid, uuid)
        self.fault("retain")
        with self.held.changed:
            for partition, part in enumerate(self.held.parts[topic]):
                if not before:
                    part.marks.pop(reader, None)
                elif partition in before:
                    part.marks[reader] = before[partition]

    def maintain(self) -> None:
        with self.held.changed:
            for name, topic in self.held.topics.items():
                for part in self.held.parts[name]:
                    kept = None if topic.retention is None else topic.retention // timedelta(microseconds=1)
                    upto = removable((Stretch(b.end, b.at_us) for b in part.batches), part.marks, self.clock(), kept)
                    if upto is not None:
                        part.batches = [b for b in part.batches if b.end > upto]
                        part.low = max(part.low, upto)

    def close(self) -> None: ...


class MemoryWriter:
    def __init__(self, log: MemoryLog, split: str, epoch: int, position: str | None) -> None:
        self._log, self._split, self._epoch, self.position = log, split, epoch, position

    def commit(self, appends: Sequence[Append], position: str) -> list[Range]:
        self._log.fault("append")
        with self._log.held.changed:
            row = self._log.held.splits[self._split]
            if row[0] != self._epoch or row[1] != self.position:
                raise Fenced(f'split "{self._split}" was taken over')
            ranges = self._log._append(appends)
            row[1] = self.position = position
        self._log.fault("appended")
        return ranges

    def close(self) -> None: ...


class MemoryReader:
    def __init__(self, log: MemoryLog, topic: Topic, positions: Mapping[int, int]) -> None:
        self._log, self._topic, self._at, self._turn = log, topic, dict(positions), 0

    def poll(self, max_rows: int, timeout: timedelta) -> list[Slice]:
        try:
            self._log.fault("poll")
        except Slow:
            return []
        deadline = time.monotonic() + timeout.total_seconds()
        with self._log.held.changed:
            while not (found := self._fetch(max(1, max_rows))) and (left := deadline - time.monotonic()) > 0:
                self._log.held.changed.wait(left)
            return found

    def _fetch(self, left: int) -> list[Slice]:
        known = self._log.topic(self._topic.name)
        if known is None or known.uuid != self._topic.uuid:
            raise Recreated(f'topic "{self._topic.name}" was deleted')
        order, found, damage = sorted(self._at), list[Slice](), list[Damaged]()
        for partition, at in self._at.items():
            part = self._log.held.parts[known.name][partition]
            if not part.low <= at <= part.high:
                raise Truncated(
                    f'topic "{known.name}", partition {partition}: offset {at} is asked for, and the log holds'
                    f" [{part.low}, {part.high})"
                )
        self._turn += 1
        for partition in order[self._turn % len(order) :] + order[: self._turn % len(order)] if order else []:
            for batch in self._log.held.parts[known.name][partition].batches:
                at = self._at[partition]
                if batch.end <= at or left <= 0:
                    continue
                if batch.damaged:
                    damage.append(Damaged("a damaged batch", partition=partition, start=at, end=batch.end))
                    break
                rows = batch.finished.slice(at - batch.start, min(left, batch.end - at))
                found.append(Slice(known.name, partition, at, at + rows.num_rows, batch.schema_id, rows))
                self._at[partition], left = at + rows.num_rows, left - rows.num_rows
        if damage and not found:
            raise damage[0]
        return found

    def seek(self, partition: int, offset: int) -> None:
        self._at[partition] = offset

    def drop(self, partition: int) -> None:
        self._at.pop(partition, None)

    def position(self, partition: int) -> int:
        return self._at[partition]

    def close(self) -> None: ...


class MemoryShare:
    def __init__(self, log: MemoryLog, topic: Topic, group: str, member: str) -> None:
        self._members, self._member, self._topic = log.held.members.setdefault((topic.uuid, group), []), member, topic
        if member not in self._members:
            self._members.append(member)

    def partitions(self) -> frozenset[int]:
        mine = self._members.index(self._member)
        return frozenset(p for p in range(self._topic.partitions) if p % len(self._members) == mine)

    def leave(self) -> None:
        self._members.remove(self._member)


def _finished(rows: pa.RecordBatch, batch: Stored, at: int) -> pa.RecordBatch:
    names = [n for n in rows.schema.names if n not in (EVENT_ID, ARRIVED_AT, OFFSET)]
    columns = [rows.column(n) for n in names]
    stamp = pa.array(np.full(rows.num_rows, batch.at_us)).cast(TIMESTAMP)
    if batch.schema_id:
        names.append(EVENT_ID)
        columns.append(rows.column(EVENT_ID) if EVENT_ID in rows.schema.names else pa.nulls(rows.num_rows, pa.string()))
    arrived = pc.coalesce(rows.column(ARRIVED_AT).cast(TIMESTAMP), stamp) if ARRIVED_AT in rows.schema.names else stamp
    return pa.RecordBatch.from_arrays(
        [*columns, arrived, pa.array(np.arange(at, at + rows.num_rows))], names=[*names, ARRIVED_AT, OFFSET]
    )
