"""Log -> lake, exactly once: rows and the log's positions in one commit, checked on the handle that commits.

A batch is, per partition, a range [start, end) that begins where the stored position stood when it was read. Before every commit the sink
checks `stored == start` for each partition; one that differs is no longer ours: its rows are dropped and its reader goes to the stored
position; the rest is committed. After any error or unknown outcome it opens the table again and does the same. It never asks whether its
own commit landed, so it needs no other rule (DESIGN hop 3, PROTOCOL 1).
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from millstream.declare.errors import Conflict, Corrupt, NotFound, Recreated, Transient, Truncated, UsageError
from millstream.declare.event import PARTITION
from millstream.declare.stream import Stream
from millstream.lake import checkpoint
from millstream.lake.batch import Batch, Batcher, Progress
from millstream.lake.dead import Quarantine
from millstream.lake.judge import table_schema
from millstream.lake.lake import Lake
from millstream.lake.points import reach
from millstream.lake.positions import app_id, time_id, topics_of
from millstream.lake.scan import holds
from millstream.lake.table import LakeTable
from millstream.log.port import Log, Schemas, Slice

GROUP = "sink"
HOLES_AFTER = timedelta(hours=1)
"""How long a position may move over holes only before it is committed without rows."""
_TRIES = 8
_POLL_ROWS = 131_072


@dataclass(frozen=True)
class SinkLimits:
    """A commit is made when the first of these is met.

    Attributes:
        rows: Buffered records.
        bytes: Buffered, as Arrow columns.
        age: Of the oldest buffered record in this process.
    """

    rows: int = 500_000
    bytes: int = 128 << 20
    age: timedelta = timedelta(seconds=1)


class Sink:
    """One worker between a stream's topic and its table. Any number may run at once; one a partition is what pays.

    Args:
        partitions: Read these only; None: all of them in `step` and `drain`, and what the group gives in `run`.
        member: Name in the group; unique in it.
        accept_loss: Go on where the log has lost records that never landed; the gap is recorded in the commit.
        clock: Seconds that only grow.

    Raises:
        NotFound: The stream has no topic yet.
        Recreated: The table was filled from another topic of this name.
        Truncated: The log no longer holds the stored position.
        Corrupt: The table has rows of a partition whose position is missing.
        UsageError: The table forgets positions (`delta.setTransactionRetentionDuration`).
    """

    def __init__(
        self, log: Log, schemas: Schemas, lake: Lake, stream: Stream[Any], *, limits: SinkLimits | None = None, partitions: Sequence[int] | None = None,
        member: str | None = None, accept_loss: bool = False, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        topic = log.topic(stream.name)
        if topic is None:
            raise NotFound(f'stream "{stream.name}" has no topic in the log yet; nothing was ever sent')
        self.log, self.schemas, self.lake, self.stream, self.topic = log, schemas, lake, stream, topic
        self.limits, self.clock, self.accept_loss = limits or SinkLimits(), clock, accept_loss
        self.member = member or uuid.uuid4().hex
        self.fixed = partitions is not None
        self.table = lake.create(stream.name, table_schema(stream)) if not lake.exists(stream.name) else lake.table(stream.name)
        self.table = self._open()
        self.batcher = Batcher(stream, Quarantine(lake, stream.name, topic.uuid), self)
        self.buffer: dict[int, list[Slice]] = {}
        self.gaps: dict[int, tuple[int, int]] = {}
        self.landed: dict[int, int] = {}
        self.buffered_rows = self.buffered_bytes = 0
        self.since: float | None = None
        self.holes_since: float | None = None
        mine = range(topic.partitions) if partitions is None else partitions
        self.reader = log.reader(stream.name, {p: self._begin(p) for p in mine})
        self.mine = set(mine)

    # -- what callers use ------------------------------------------------------------------------------------------------

    def step(self, timeout: timedelta = timedelta(0)) -> Progress:
        """Read once, waiting up to `timeout`, and commit if a limit is met.

        Raises:
            Truncated, Recreated, Corrupt, Incompatible: This stream must stop; nothing of the batch was committed.
        """
        self._read(timeout)
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
            self._read(timedelta(milliseconds=200))
            if self._full():
                landed += self._land()
            if report:
                report(todo - sum(max(0, end - self.reader.position(p)) for p, end in ends.items()), todo)
        landed += self._land()
        if any(self.reader.position(p) < end for p, end in ends.items()):  # a position fell back: a torn tail was cut, or we were overtaken
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

    # -- reading ---------------------------------------------------------------------------------------------------------

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

    # -- positions -------------------------------------------------------------------------------------------------------

    def _open(self) -> LakeTable:
        """A fresh handle on the table, if it is one that positions can be trusted to."""
        table = self.table.refresh()
        if "delta.setTransactionRetentionDuration" in table.configuration:
            raise UsageError(
                f'table "{table.name}" has delta.setTransactionRetentionDuration, which forgets positions and would land everything again; unset it'
            )
        others = topics_of(table.txns()) - {self.topic.uuid}
        if others:
            raise Recreated(f'topic "{self.topic.name}" ({self.topic.uuid}) is not the one table "{table.name}" was filled from ({", ".join(sorted(others))}); '
                            "drop the table, or name the stream anew")  # fmt: skip
        return table

    def start(self, partition: int) -> int:
        """Where the partition's next batch must begin: the stored position, or the log's beginning for one that never landed."""
        stored = self.table.position(app_id(self.topic, partition))
        if stored is None:
            if holds(self.table, PARTITION, partition):
                raise Corrupt(f'table "{self.table.name}" has rows of partition {partition} and no position for it; landing from the start would double them')
            return 0
        return stored

    def _begin(self, partition: int) -> int:
        """Where to read from, after the log agreed that nothing is missing there."""
        stored, ends = self.start(partition), self.log.ends(self.stream.name)[partition]
        self.batcher.forget(partition)
        self.gaps.pop(partition, None)
        if stored > ends.high:
            raise Truncated(
                f'"{self.stream.name}" partition {partition}: the table stands at {stored}, the log ends at {ends.high}; was the log restored from an older copy?'
            )
        if stored < ends.low:
            if not self.accept_loss:
                raise Truncated(f'"{self.stream.name}" partition {partition}: records [{stored}, {ends.low}) left the log before they landed; '
                                "--accept-loss goes on and records the gap")  # fmt: skip
            self.gaps[partition] = (stored, ends.low)
        return max(stored, ends.low)

    # -- committing ------------------------------------------------------------------------------------------------------

    def _land(self) -> Progress:
        """Commit what is buffered, whatever it takes; partitions that somebody else has moved are let go."""
        dropped = 0
        failure: Exception | None = None
        for attempt in range(_TRIES):
            dropped += self._let_go()
            if not self.buffer:
                return Progress(dropped=dropped)
            try:
                landed = self._commit()
            except Conflict as error:
                failure = error
            except (Transient, OSError) as error:
                failure = error  # the outcome is unknown: look again
                if attempt >= 2:
                    break
            else:
                self._tell()
                return landed + Progress(dropped=dropped)
            self.table = self._open()
        assert failure is not None
        for partition in list(self.buffer):
            self._forget(partition)
            self.reader.seek(partition, self._begin(partition))
        raise failure

    def _let_go(self) -> int:
        """Drop the partitions whose stored position is not where their batch starts, and read them from there."""
        dropped = 0
        for partition in list(self.buffer):
            if self.start(partition) != self._starts(partition):
                dropped += self._forget(partition)
                self.reader.seek(partition, self._begin(partition))
        return dropped

    def _starts(self, partition: int) -> int:
        return self.gaps[partition][0] if partition in self.gaps else self.buffer[partition][0].start

    def _commit(self) -> Progress:
        extra = self.batcher.extra(self.buffer, self.table)
        if extra:
            self.table = self.table.add_columns(extra)
            reach("sink.schema")
            if self._let_go() or not self.buffer:
                raise Conflict("another sink landed while a column was added")
        batches = {p: self.batcher.batch(p, self._starts(p), pieces, self.table) for p, pieces in sorted(self.buffer.items())}
        self.batcher.quarantine(batches)
        self._append(batches)
        reach("sink.committed")
        for partition in batches:
            self.batcher.landed(partition)
        self._clear()
        self.landed.update((p, batch.end) for p, batch in batches.items())
        return sum((batch.progress() for batch in batches.values()), Progress(commits=1))

    def _tell(self) -> None:
        """Let retention pass what landed, durably. Not told is told with the next commit."""
        with contextlib.suppress(Transient):
            self.log.retain(self.stream.name, before=dict(self.landed))
            self.landed.clear()
        checkpoint.when_overdue(self.table)

    def _append(self, batches: Mapping[int, Batch]) -> None:
        txns: dict[str, tuple[int | None, int]] = {}
        for partition, batch in batches.items():
            app, newest = app_id(self.topic, partition), time_id(self.topic, partition)
            txns[app] = (self.table.position(app), batch.end)
            if batch.newest_us is not None:
                txns[newest] = (self.table.position(newest), batch.newest_us)
        ranges = {str(p): batch.range(self.gaps.get(p)) for p, batch in batches.items()}
        written = self.table.write([rows for batch in batches.values() for rows in batch.rows])
        reach("sink.files")
        metadata = {"by": "sink", "topic": self.topic.uuid, "stream": self.stream.name, "ranges": ranges}
        self.table.commit([file.action() for file in written], txns=txns, metadata=metadata)

    def _clear(self) -> None:
        self.buffer.clear()
        self.gaps.clear()
        self.buffered_rows = self.buffered_bytes = 0
        self.since = self.holes_since = None


__all__ = ["Progress", "Sink", "SinkLimits"]
