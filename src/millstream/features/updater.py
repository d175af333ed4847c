"""Log -> online store, exactly once: events and the position that they move in one transaction of the store.

The same rules as the sink's decide which records count: the same judgement (lake/judge.py) and the same duplicates
(log/dedupe.py), so what a look-up has seen is what the stream's table holds below the same offsets.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from millstream.base.duration import UNITS
from millstream.base.errors import Conflict, Truncated
from millstream.base.event import ARRIVED_AT, OFFSET
from millstream.declare.stream import Stream
from millstream.features.definition import Definition, Value
from millstream.features.events import events_of
from millstream.features.lift import too_large
from millstream.features.port import Apply, OnlineStore
from millstream.features.state import grid_limit
from millstream.lake import ruling
from millstream.lake.aside import asides, without
from millstream.lake.dead import Quarantine
from millstream.lake.earlier import earlier
from millstream.lake.judge import judge
from millstream.lake.port import Tables
from millstream.lake.positions import app_id
from millstream.lake.ruling import Rule
from millstream.log.dedupe import Deduper
from millstream.log.envelope import topic_of
from millstream.log.port import Log, Schemas, Slice
from millstream.log.slices import joined

log = logging.getLogger("millstream.features")
_POLL_ROWS = 65_536
_EXPIRE_S = 60.0
_LOOK_S = 5.0
"""Between two looks at the stream's table: whether another ruling holds, and how far it is written."""
_WARM_WAIT = timedelta(milliseconds=200)
BEYOND_US = UNITS["h"]
"""A store's clock that is further ahead of the wall clock than this came of a clock that was wrong. Half of what a
store keeps apart (`online.HEAD_US`): further ahead, it takes what happens now for old."""


@dataclass(frozen=True)
class Applied:
    """What a step has done.

    Attributes:
        records: Read from the log.
        events: Counted in at least one definition's state, once for each definition.
        dead: Dead letters, which count nowhere.
        conflicts: Batches that another updater had applied already.
    """

    records: int = 0
    events: int = 0
    duplicates: int = 0
    dead: int = 0
    conflicts: int = 0

    def __add__(self, other: Applied) -> Applied:
        return Applied(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class Updater:
    """Moves the definitions of one stream on. Two on one partition do no harm: the loser writes nothing and continues
    from the winner.

    A definition that the store does not know begins at the log's beginning, when the log still has it; one that is
    being filled is left alone until it is active.

    Args:
        partitions: To read; None: all.
        lake: Where the stream's table is. From it come the ids of earlier records, on take-over, and the ruling that
            records are counted under; without it (or before the stream has a table) ids are read again from the log's
            beginning.
        folder: For ids that do not fit in memory; None: the system's folder of temporary files.
        clock: Seconds that only grow.
        wall_us: The wall clock, in microseconds since 1970 UTC; the store's clock never passes it.
        beyond_us: How far the store's clock may be ahead of it, because that was set back.

    Attributes:
        forgotten: A definition must be filled again: the store no longer knows it, or another ruling holds than the one
            it was counted under.
        beyond: The store's clock of a definition lies far ahead of the wall clock: it must be filled again.
    """

    def __init__(
        self,
        log: Log,
        schemas: Schemas,
        store: OnlineStore,
        definitions: Sequence[Definition],
        stream: Stream[Any],
        partitions: Sequence[int] | None = None,
        *,
        lake: Tables | None = None,
        folder: Path | None = None,
        max_rows: int = _POLL_ROWS,
        clock: Callable[[], float] = time.monotonic,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        beyond_us: int = BEYOND_US,
    ) -> None:
        self.log, self.store, self.stream, self.lake = log, store, stream, lake
        self.definitions, self.max_rows, self.clock = list(definitions), max_rows, clock
        self.wall_us, self.beyond_us = wall_us, beyond_us
        self.topic = topic_of(log, schemas, stream).topic
        self.partitions = list(range(self.topic.partitions) if partitions is None else partitions)
        self._stands: dict[str, dict[int, int]] = {}
        self._rulings: dict[str, str] = {}
        self._known: set[str] = set()
        self._warned: set[tuple[str, Value]] = set()
        self._expired, self.forgotten = clock(), False
        self._rule = Rule.of(stream)
        self._table = ruling.ensure(lake, stream, self.topic) if lake is not None and lake.exists(stream.name) else None
        self._dead = Quarantine(lake, stream.name, self.topic.uuid) if lake is not None else None
        self._begin()
        self._reader = log.reader(stream.name, self.positions())
        self._deduper = Deduper(stream.dedupe_within_us, folder=folder) if stream.dedupe else None
        self._warm: set[int] = set()
        self._written: dict[int, int] = {}  # partition -> ids of records below it are the table's to tell
        self._awaited: dict[int, int] = {}  # partition -> where the reader stood at the last look that moved `_written`

    # -- what callers use

    def step(self, timeout: timedelta = timedelta(0)) -> Applied:
        """Read once, waiting up to `timeout`, and apply it; nothing while no definition is active. When it raises, the
        next step reads the same again.

        Raises:
            Truncated: The log no longer holds a definition's position; it must be filled again.
            Recreated, Incompatible: The stream must stop.
        """
        self._adopt()
        done = Applied()
        if self._active():
            try:
                done = self._step(timeout)
            except BaseException:
                self._again()
                raise
        if self.clock() - self._expired >= _EXPIRE_S:
            self._expired = self.clock()
            for definition in self._active():
                self.store.expire(definition)
        if self.clock() - self._checked >= _LOOK_S:
            self._look()
            self._settle()
        return done

    def _step(self, timeout: timedelta) -> Applied:
        found: dict[int, list[Slice]] = {}
        for piece in self._reader.poll(self.max_rows, timeout):
            found.setdefault(piece.partition, []).append(piece)
        done, applies = Applied(), list[Apply]()
        for partition, pieces in found.items():
            part, read = self._read(partition, pieces)
            done += read
            applies += part
        return done + self._apply(applies) if applies else done

    def drain(self) -> Applied:
        """Apply everything up to the log's ends as of this call."""
        self._adopt(wait_s=0.0)
        ends = {p: end.high for p, end in self.log.ends(self.topic.name).items() if p in self.partitions}
        done = Applied()
        while self._active() and any(self._reader.position(p) < end for p, end in ends.items()):
            done += self.step(timedelta(milliseconds=100))
        return done

    def run(self, stop: threading.Event) -> None:
        """Apply what comes until `stop`, or until a definition must be filled again: it was dropped, the store has lost
        all it had, or its clock is wrong.
        """
        while not stop.is_set() and not self.forgotten and not self.beyond:
            if self._active():
                self.step(timedelta(milliseconds=250))
            else:
                stop.wait(0.25)
                self._adopt()

    def positions(self) -> dict[int, int]:
        """Next offset of each partition below which every active definition has everything."""
        stands = [self._stands[d.generation] for d in self._active()]
        return {p: min((at.get(p, 0) for at in stands), default=0) for p in self.partitions}

    def close(self) -> None:
        self._reader.close()

    # -- where the definitions stand

    def _active(self) -> list[Definition]:
        return [d for d in self.definitions if d.generation in self._stands]

    def _begin(self) -> None:
        """A definition that nobody knows is counted from the log's beginning, where the log has it and one ruling holds
        from there on.
        """
        whole = all(end.low == 0 for end in self.log.ends(self.topic.name).values())
        if self._table is not None and any(
            self._table.position(app_id(self.topic, p)) for p in range(self.topic.partitions)
        ):
            found = ruling.current(self._table, self.topic.uuid)
            whole = whole and (found.number, found.rule, found.amended) == (1, self._rule.fingerprint, 0)
        for definition in self.definitions:
            if whole and self.store.applied(definition.generation) is None:
                self.store.create(definition)
                with contextlib.suppress(Conflict):  # another updater was faster
                    self.store.activate(definition.generation, {}, 0, self._stamp())
        self._reload()

    def _reload(self) -> None:
        self._stands |= self._look()

    def _look(self) -> dict[str, dict[int, int]]:
        """Positions of the definitions that are active in the store; one that was counted under another ruling is none
        of them.
        """
        self._checked = self.clock()
        if self.lake is not None and self.lake.exists(self.stream.name):
            self._table = self.lake.table(self.stream.name)
            if (found := ruling.current(self._table, self.topic.uuid)).number and found.rule != self._rule.fingerprint:
                raise ruling.replaced(self.stream.name, found)
            if self._dead is not None:
                self._dead.refresh()
        known, stamp = {d.generation: self.store.applied(d.generation) for d in self.definitions}, self._stamp()
        for generation, applied in known.items():
            if self.lake is not None and applied is not None and applied.active and applied.ruling != stamp:
                self._known.add(generation)  # it answers until it is filled again
                known[generation] = None
        self.forgotten = any(known[generation] is None for generation in self._known)
        self.beyond = any(
            applied is not None and applied.clock_us > self.wall_us() + self.beyond_us for applied in known.values()
        )
        self._rulings = {generation: applied.ruling for generation, applied in known.items() if applied is not None}
        active = {
            generation: dict(applied.offsets)
            for generation, applied in known.items()
            if applied is not None and applied.active
        }
        self._known |= active.keys()
        return active

    def _stamp(self) -> str:
        return ruling.stamp(self._rule, self._table, self.topic.uuid)

    def _settle(self) -> None:
        """Ids of records that the table has by now need not be held."""
        if self._deduper is None or self._table is None:
            return
        for partition in self._warm:
            written = self._table.position(app_id(self.topic, partition)) or 0
            if written >= self._awaited.get(partition, 0):
                self._written[partition] = max(self._written.get(partition, 0), self._awaited.get(partition, 0))
                self._deduper.settled(partition)
                self._awaited[partition] = self._reader.position(partition)

    def _adopt(self, wait_s: float = 1.0) -> None:
        """Look now and then whether a filling has become whole; then read from where it stands."""
        if len(self._stands) < len(self.definitions) and self.clock() - self._checked >= wait_s:
            before = len(self._stands)
            self._reload()
            if len(self._stands) > before:
                self._seek()

    def _seek(self) -> None:
        """Read on from where the definitions stand."""
        for partition, position in self.positions().items():
            if self._reader.position(partition) != position:
                self._move(partition, position)

    def _again(self) -> None:
        """What was read may not have been applied: read it again, and learn ids again."""
        for partition, position in self.positions().items():
            self._move(partition, position)

    def _move(self, partition: int, position: int) -> None:
        self._reader.seek(partition, position)
        self._warm.discard(partition)
        if self._deduper:
            self._deduper.forget(partition)

    # -- from records to events

    def _read(self, partition: int, pieces: Sequence[Slice]) -> tuple[list[Apply], Applied]:
        if self._deduper and partition not in self._warm:
            self._remember(self._deduper, partition, pieces[0].start)
            self._warm.add(partition)
        done, good, clock = Applied(), list[pa.RecordBatch](), 0
        for piece in joined(pieces):
            rows, seen = self._good(piece)
            done += seen
            if rows.num_rows:
                # What is dead has no time of its own: a bad line of a history that is replayed came now, and now is
                # years too late.
                clock = max(clock, _latest(rows))
                good.append(rows)
        clock = min(clock, self.wall_us())  # one arrival of 2062 would expire every event until then
        start, end = pieces[0].start, pieces[-1].end
        together = pa.Table.from_batches(good).combine_chunks().to_batches()[0] if good else None
        applies = []
        for definition in self._active():
            at = self._stands[definition.generation].get(partition, 0)
            if at >= end or at < start:
                continue
            rows = (
                together
                if together is None or at == start
                else together.filter(pa.compute.greater_equal(together.column(OFFSET), at))
            )
            events = _none(definition) if rows is None else events_of(definition, rows, partition)
            self._warn(definition, events)
            applies.append(Apply(definition, partition, at, end, clock, events, self._rulings[definition.generation]))
        return applies, done

    def _warn(self, definition: Definition, events: pa.RecordBatch) -> None:
        """Say once of a value that it has no exact sum."""
        for value, many in too_large(definition, events).items():
            if (definition.generation, value) not in self._warned:
                self._warned.add((definition.generation, value))
                limit = grid_limit(value.scale or 0)
                log.warning(
                    'features "%s": %s of an event of "%s" is beyond %g (%d in this batch); sums, means and variances'
                    " over such an event are NULL (too_large). Give the aggregate a smaller scale=, or leave such"
                    " events out with where=",
                    definition.name,
                    value.expression.text,
                    definition.stream,
                    limit,
                    many,
                )

    def _good(self, piece: Slice) -> tuple[pa.RecordBatch, Applied]:
        """The records that count: well-formed, and seen for the first time."""
        records = piece.rows.num_rows
        if self._table is not None and len(set_aside := asides(self._table, self.topic, piece.partition)):
            piece, _ = without(piece, set_aside)
        judged = judge(self.stream, piece.rows, piece.schema_id)
        fine = judged.good
        if self._dead is not None and self._dead.exists:  # verdicts that the sink has recorded stand
            recorded = self._dead.recorded(app_id(self.topic, piece.partition), piece.partition, piece.start, piece.end)
            fine = fine & ~np.isin(judged.rows.column(OFFSET).to_numpy(), recorded)
        rows = judged.rows if fine.all() else judged.rows.filter(pa.array(fine))
        good, doubles = rows.num_rows, 0
        if self._deduper and good:
            keep = self._deduper.keep(
                piece.partition, rows.column(str(self._rule.id_column)), _micros(rows.column(ARRIVED_AT))
            )
            if not keep.all():
                rows = rows.filter(pa.array(keep))
                doubles = good - rows.num_rows
        return rows, Applied(records, 0, doubles, records - good)

    def _remember(self, deduper: Deduper, partition: int, start: int) -> None:
        """Learn the ids of the records before `start`: those that are written from the stream's table, the rest from
        the log.

        Raises:
            Truncated: Some are neither in the table nor in the log any more; the sink stands at that gap too.
        """
        low, written = self.log.ends(self.topic.name)[partition].low, 0
        if self._table is not None:
            written = min(self._table.position(app_id(self.topic, partition)) or 0, start)
        self._written[partition] = self._awaited[partition] = written
        if self._table is not None:
            deduper.begin(
                partition, lambda low_us, high_us: self._kept(partition, low_us, high_us), at_start=written == 0
            )
        else:
            deduper.begin(partition)
        if written >= start:
            return
        if written < low:
            raise Truncated(
                f'"{self.stream.name}" partition {partition}: records [{written}, {low}) left the log before they were'
                " written to the lake"
            )
        reader = self.log.reader(self.topic.name, {partition: written})
        try:
            while reader.position(partition) < start:
                for piece in reader.poll(min(self.max_rows, start - reader.position(partition)), _WARM_WAIT):
                    rows = piece.rows.filter(pa.compute.less(piece.rows.column(OFFSET), start))
                    if rows.num_rows:
                        self._good(
                            Slice(piece.topic, partition, piece.start, min(piece.end, start), piece.schema_id, rows)
                        )
        finally:
            reader.close()

    def _kept(self, partition: int, low_us: int, high_us: int) -> Iterable[tuple[pa.Array, Any]]:
        """Ids that the table has of records below `_written`."""
        assert self._table is not None
        table = self._table
        return earlier(lambda: table, str(self._rule.id_column), partition, self._written[partition])(low_us, high_us)

    # -- from events to the store

    def _apply(self, applies: list[Apply]) -> Applied:
        try:
            self.store.apply(applies)
        except Conflict:  # somebody else's transaction came first, or a generation was dropped
            self._stands.clear()
            self._reload()
            self._seek()
            return Applied(conflicts=1)
        for one in applies:
            self._stands[one.definition.generation][one.partition] = one.end
        return Applied(events=sum(one.events.num_rows for one in applies))


def _none(definition: Definition) -> pa.RecordBatch:
    from millstream.features.lift import schema

    return pa.RecordBatch.from_pylist([], schema=schema(definition))


def _latest(rows: pa.RecordBatch) -> int:
    found = pa.compute.max(rows.column(ARRIVED_AT).cast(pa.int64())).as_py()
    return max(0, found or 0)


def _micros(column: pa.Array) -> Any:
    return column.cast(pa.int64()).to_numpy(zero_copy_only=False)
