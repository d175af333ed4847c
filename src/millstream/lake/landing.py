"""What every sink has in common, whoever reads the log and writes the files: positions, the check before a commit, what follows an error.

A batch is, per partition, a range [start, end) that begins where the stored position stood when it was read. Before every commit the sink
checks `stored == start` for each partition; one that differs is no longer ours: its rows are dropped and it is read again from the stored
position; the rest is committed. After any error or unknown outcome it opens the table again and does the same. It never asks whether its
own commit landed, so it needs no other rule (DESIGN hop 3, PROTOCOL 1).
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
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
from millstream.log.port import Log

GROUP = "sink"
HOLES_AFTER = timedelta(hours=1)
"""How long a position may move over holes only before it is committed without rows."""
_TRIES = 8


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


class Landing(ABC):
    """One worker between a stream's topic and its table. Any number may run at once, of any kind; one a partition is what pays.

    Args:
        accept_loss: Go on where the log has lost records that never landed; the gap is recorded in the commit.

    Raises:
        NotFound: The stream has no topic yet.
        Recreated: The table was filled from another topic of this name.
        UsageError: The table forgets positions (`delta.setTransactionRetentionDuration`).
    """

    def __init__(self, log: Log, lake: Lake, stream: Stream[Any], *, accept_loss: bool = False) -> None:
        topic = log.topic(stream.name)
        if topic is None:
            raise NotFound(f'stream "{stream.name}" has no topic in the log yet; nothing was ever sent')
        self.log, self.lake, self.stream, self.topic, self.accept_loss = log, lake, stream, topic, accept_loss
        self.table = lake.create(stream.name, table_schema(stream)) if not lake.exists(stream.name) else lake.table(stream.name)
        self.table = self._open()
        self.batcher = Batcher(stream, Quarantine(lake, stream.name, topic.uuid), self)
        self.gaps: dict[int, tuple[int, int]] = {}
        self.landed: dict[int, int] = {}

    # -- what a kind of sink says ----------------------------------------------------------------------------------------

    @abstractmethod
    def _held(self) -> Mapping[int, int]:
        """Partition -> where what is held of it begins."""

    @abstractmethod
    def _give_up(self, partition: int) -> int:
        """Drop what is held of a partition, to read it from its stored position; returns how many records."""

    @abstractmethod
    def _commit(self) -> Progress:
        """One try to land all that is held; then nothing is held. Raises Conflict, or whatever the store raises."""

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
        """Commit what is held, whatever it takes; partitions that somebody else has moved are let go."""
        dropped = 0
        failure: Exception | None = None
        for attempt in range(_TRIES):
            dropped += self._let_go()
            if not self._held():
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
        for partition in list(self._held()):
            self._give_up(partition)
        raise failure

    def _let_go(self) -> int:
        """Drop the partitions whose stored position is not where their batch starts."""
        return sum(self._give_up(partition) for partition, start in list(self._held().items()) if self.start(partition) != start)

    def _append(self, batches: Mapping[int, Batch]) -> Progress:
        """The commit itself: rows, files that are written already, and positions."""
        txns: dict[str, tuple[int | None, int]] = {}
        for partition, batch in batches.items():
            app, newest = app_id(self.topic, partition), time_id(self.topic, partition)
            txns[app] = (self.table.position(app), batch.end)
            if batch.newest_us is not None:
                txns[newest] = (self.table.position(newest), batch.newest_us)
        ranges = {str(p): batch.range(self.gaps.get(p)) for p, batch in batches.items()}
        written = [file for batch in batches.values() for file in batch.files]
        written += self.table.write([rows for batch in batches.values() for rows in batch.rows])
        reach("sink.files")
        metadata = {"by": "sink", "topic": self.topic.uuid, "stream": self.stream.name, "ranges": ranges}
        self.table.commit([file.action() for file in written], txns=txns, metadata=metadata)
        reach("sink.committed")
        for partition, batch in batches.items():
            self.batcher.landed(partition)
            self.gaps.pop(partition, None)
            self.landed[partition] = batch.end
        return sum((batch.progress() for batch in batches.values()), Progress(commits=1))

    def _tell(self) -> None:
        """Let retention pass what landed, durably. Not told is told with the next commit."""
        with contextlib.suppress(Transient):
            self.log.retain(self.stream.name, before=dict(self.landed))
            self.landed.clear()
        checkpoint.when_overdue(self.table)
