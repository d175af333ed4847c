"""One split of a source while it is read: its batches, judged, up to a moment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from millstream.declare.source import Source
from millstream.ingest.ahead import without_ahead
from millstream.ingest.doors import DoorClock
from millstream.ingest.port import Batch, SourceEngine
from millstream.log.envelope import Binding
from millstream.log.port import Log, Writer


def split_name(source: Source, split: str) -> str:
    """The name under which the log keeps a split's position."""
    return f"{source.name}/{split}"


class Reading:
    """One split being read: the batch in hand, and how many of its rows are committed."""

    def __init__(
        self, name: str, split: str, source: Source, engine: SourceEngine, binding: Binding, door: DoorClock
    ) -> None:
        self.name, self.split, self.source, self.engine, self.binding = name, split, source, engine, binding
        self.door = door
        self.writer: Writer | None = None
        self.batches: Iterator[Batch] = iter(())
        self.batch: Batch | None = None
        self.times = np.empty(0, np.int64)
        self.taken = self.bad_taken = 0
        self.first_us = 0
        self.done_bytes = 0
        self.good = self.dead = 0
        self.new = self.read = False
        self.why = ""

    def peek(self, position: str | None) -> bool:
        """Whether there is anything to read, and the time of the first event."""
        for batch in map(self._judged, self.engine.read(self.split, position, 1)):
            self.first_us = int(self._times(batch)[0]) if batch.rows.num_rows else -(2**62)  # no time: at once
            return True
        return False

    def open(self, log: Log, max_rows: int) -> None:
        """Take the split over: fences an earlier writer, then reads its position, then the data."""
        self.writer = log.writer(self.name)
        done, size = self.engine.size(self.split, self.writer.position) or (1, 1)
        self.new = self.writer.position is None or (done == 0 and size > 0)
        self.batches = map(self._judged, self.engine.read(self.split, self.writer.position, max_rows))

    def fill(self) -> bool:
        """Have a batch in hand; False at the split's end."""
        while self.batch is None:
            batch = next(self.batches, None)
            if batch is None:
                return False
            self.batch, self.times, self.taken, self.bad_taken, self.read = batch, self._times(batch), 0, 0, True
        return True

    @property
    def last_us(self) -> int:
        """The latest event time of the batch in hand; one without rows goes at once."""
        return int(self.times.max()) if len(self.times) else -(2**62)

    def upto(self, horizon_us: int) -> int:
        """Rows of the batch before the first that lies after the horizon."""
        later = np.flatnonzero(self.times[self.taken :] > horizon_us)
        return self.taken + int(later[0]) if len(later) else len(self.times)

    def take(self, rows: int) -> tuple[pa.RecordBatch, pa.RecordBatch, str]:
        """Rows and bad records up to `rows` that were not taken yet, and the position after them."""
        assert self.batch is not None
        bad, position = self.batch.after(rows)
        part = (
            self.batch.rows.slice(self.taken, rows - self.taken),
            self.batch.bad.slice(self.bad_taken, bad - self.bad_taken),
            position,
        )
        self.taken, self.bad_taken = rows, bad
        if rows == len(self.times):
            self.batch = None
        return part

    def _judged(self, batch: Batch) -> Batch:
        """Records too far ahead of the clock are bad ones; decided here once, and committed with the position."""
        self.door.refresh()
        return without_ahead(
            batch,
            self.source.into,
            self.door.now_us(),
            lambda event_id: self.engine.locate(self.split, event_id) or f"{self.split} {event_id}",
        )

    def _times(self, batch: Batch) -> Any:
        return batch.rows.column(self.source.into.schema.event_time).cast(pa.int64()).to_numpy()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
