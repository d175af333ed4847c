"""Log -> lake, exactly once: rows and the log's positions in one commit, checked on the handle that commits
(`landing.py` has the rule).
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from millstream.base.errors import Conflict, Damaged
from millstream.base.points import reach
from millstream.declare.stream import Stream
from millstream.lake.batch import Progress
from millstream.lake.landing import GROUP, HOLES_AFTER, Landing, SinkLimits
from millstream.lake.port import Tables
from millstream.log.port import Log, Schemas, Slice

_POLL_ROWS = 131_072


class Sink(Landing):
    """Reads, judges and lands in this process. Any number may run at once; one a partition is what pays.

    Args:
        partitions: Read these only; None: all of them in `step` and `drain`, and what the group gives in `run`.
        member: Name in the group; unique in it.
        folder: For ids that do not fit in memory; None: the system's folder of temporary files.
        clock: Seconds that only grow.

    Raises:
        NotFound: The stream has no topic yet.
        Recreated: The table was filled from another topic of this name.
        Truncated: The log no longer holds the stored position.
        Corrupt: The table has rows of a partition whose position is missing.
        UsageError: The table forgets positions (`delta.setTransactionRetentionDuration`).
    """

    def __init__(
        self,
        log: Log,
        schemas: Schemas,
        lake: Tables,
        stream: Stream[Any],
        *,
        limits: SinkLimits | None = None,
        partitions: Sequence[int] | None = None,
        member: str | None = None,
        folder: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(log, lake, stream, folder=folder)
        self.limits, self.clock = limits or SinkLimits(), clock
        self.member = member or uuid.uuid4().hex
        self.fixed = partitions is not None
        self.buffer: dict[int, list[Slice]] = {}
        self.buffered_rows = self.buffered_bytes = 0
        self.since: float | None = None
        self.holes_since: float | None = None
        mine = range(self.topic.partitions) if partitions is None else partitions
        self.reader = log.reader(stream.name, {p: self._begin(p) for p in mine})
        self.mine = set(mine)

    # -- what callers use
    # ------------------------------------------------------------------------------------------------

    def step(self, timeout: timedelta = timedelta(0)) -> Progress:
        """Read once, waiting up to `timeout`, and commit if a limit is met.

        Raises:
            Truncated, Recreated, Corrupt, Incompatible, Fenced: This stream must stop; nothing of the batch was
                committed.
        """
        try:
            self._read(timeout)
        except Damaged:
            self._land()  # what lies before it, and in other partitions
            raise
        return self._land() if self._due() else Progress()

    def drain(self, report: Callable[..., None] | None = None) -> Progress:
        """Land everything up to the log's ends as of this call; returns when it is durable.

        Args:
            report: Called with (records done, records in all).
        """
        ends = {p: end.high for p, end in self.log.ends(self.stream.name).items() if p in self.mine}
        todo = sum(max(0, end - self.reader.position(p)) for p, end in ends.items())
        landed = Progress()
        while any(self.reader.position(p) < end for p, end in ends.items()):
            try:
                self._read(timedelta(milliseconds=200))
            except Damaged:
                self._land()
                raise
            if self._full():
                landed += self._land()
            if report:
                report(todo - sum(max(0, end - self.reader.position(p)) for p, end in ends.items()), todo)
        landed += self._land()
        # A position fell back: a torn tail was cut, or we were overtaken
        if any(self.reader.position(p) < end for p, end in ends.items()):
            landed += self.drain(report)
        return landed

    def run(self, stop: threading.Event) -> None:
        """Land what comes until `stop`, reading the partitions that the group gives this member."""
        share = None if self.fixed else self.log.share(self.stream.name, GROUP, self.member)
        asked = float("-inf")
        try:
            while not stop.is_set():
                if share and self.clock() - asked >= 1.0:
                    self._assign(share.partitions())
                    asked = self.clock()
                self.step(timedelta(milliseconds=250))
            self._land()
        finally:
            if share:
                share.leave()

    def close(self) -> None:
        """Let go. What is buffered and not landed is read again by the next sink."""
        self.reader.close()

    # -- reading
    # ---------------------------------------------------------------------------------------------------------

    def _read(self, timeout: timedelta) -> None:
        if self.since is not None:
            timeout = min(timeout, max(timedelta(0), self.limits.age - timedelta(seconds=self.clock() - self.since)))
        room = max(1, min(self.limits.rows - self.buffered_rows, _POLL_ROWS))
        for piece in self.reader.poll(room, timeout):
            self.buffer.setdefault(piece.partition, []).append(piece)
            if piece.rows.num_rows:
                self.buffered_rows += piece.rows.num_rows
                self.buffered_bytes += piece.rows.nbytes
                self.since = self.clock() if self.since is None else self.since
            elif self.holes_since is None:
                self.holes_since = self.clock()
        reach("sink.read")

    def _full(self) -> bool:
        return self.buffered_rows >= self.limits.rows or self.buffered_bytes >= self.limits.bytes

    def _due(self) -> bool:
        old = self.since is not None and self.clock() - self.since >= self.limits.age.total_seconds()
        holes = self.holes_since is not None and self.clock() - self.holes_since >= HOLES_AFTER.total_seconds()
        return self._full() or old or holes

    def _assign(self, partitions: frozenset[int]) -> None:
        """What is given is read from its stored position on a fresh handle; what is taken loses its buffer."""
        for partition in self.mine - partitions:
            self._forget(partition)
            self.reader.drop(partition)
        if fresh := partitions - self.mine:
            self.table = self._open()
            for partition in fresh:
                self.reader.seek(partition, self._begin(partition))
        self.mine = set(partitions)

    def _forget(self, partition: int) -> int:
        """Drop what is buffered of a partition; returns how many records."""
        pieces = self.buffer.pop(partition, [])
        records = sum(piece.rows.num_rows for piece in pieces)
        self.buffered_rows -= records
        self.buffered_bytes -= sum(piece.rows.nbytes for piece in pieces if piece.rows.num_rows)
        self.batcher.forget(partition)
        if not self.buffer:
            self.since = self.holes_since = None
        return records

    # -- committing
    # ------------------------------------------------------------------------------------------------------

    def _held(self) -> dict[int, int]:
        return {partition: pieces[0].start for partition, pieces in self.buffer.items()}

    def _give_up(self, partition: int) -> int:
        dropped = self._forget(partition)
        self.reader.seek(partition, self._begin(partition))
        return dropped

    def _commit(self) -> Progress:
        extra = self.batcher.extra(self.buffer, self.table)
        if extra:
            self._widen(extra)
        batches = {
            p: self.batcher.batch(p, pieces[0].start, pieces, self.table) for p, pieces in sorted(self.buffer.items())
        }
        self.batcher.quarantine(batches)
        landed = self._append(batches)
        self._clear()
        return landed

    def _widen(self, extra: Sequence[pa.Field]) -> None:
        """Add columns to the table. The handle is a newer one then: what has come in between, a ruling too, must be
        seen before it is committed from.
        """
        self.table = self.table.add_columns(extra)
        reach("sink.schema")
        if self._agree() + self._let_go() or not self.buffer:
            raise Conflict("another sink or a ruling came while a column was added")

    def _clear(self) -> None:
        self.buffer.clear()
        self.buffered_rows = self.buffered_bytes = 0
        self.since = self.holes_since = None


__all__ = ["Progress", "Sink", "SinkLimits"]
