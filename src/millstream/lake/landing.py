"""What every sink has in common, whoever reads the log and writes the files: positions, the check before a commit, what
follows an error.

A batch is, per partition, a range [start, end) that begins where the stored position stood when it was read. Before
every commit the sink checks `stored == start` for each partition; one that differs is no longer ours: its rows are
dropped and it is read again from the stored position; the rest is committed. After any error or unknown outcome it
opens the table again and does the same. It never asks whether its own commit landed, so it needs no other rule.

A sink also tells the log up to where it has written each partition: retention goes no further. It says so when it opens
and whenever a position fell back, so that a table that was repaired gets its records again. And it writes under one
ruling (`ruling.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from millstream.base.errors import Conflict, NotFound, Recreated, Transient, Truncated, UsageError
from millstream.base.points import reach
from millstream.declare.stream import Stream
from millstream.lake.batch import Batch, Batcher, Progress
from millstream.lake.culprit import named
from millstream.lake.dead import Quarantine
from millstream.lake.judge import lacking, table_schema
from millstream.lake.parquet import Written, encoded_rows
from millstream.lake.port import Table, Tables
from millstream.lake.positions import app_id, stored, time_id, topics_of
from millstream.lake.ruling import IDENTITY, Rule, Ruling, current, ensure, moves, record_of, replaced
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
    """One worker between a stream's topic and its table. Any number may run at once, of any kind; one a partition is
    what pays.

    Args:
        folder: For files of its own, which do not outlive it; None: the system's folder of temporary files.

    Raises:
        NotFound: The stream has no topic yet.
        Recreated: The table was filled from another topic of this name.
        UsageError: The table forgets positions (`delta.setTransactionRetentionDuration`).
    """

    def __init__(self, log: Log, lake: Tables, stream: Stream[Any], *, folder: Path | None = None) -> None:
        topic = log.topic(stream.name)
        if topic is None:
            raise NotFound(f'stream "{stream.name}" has no topic in the log yet; nothing was ever sent')
        self.log, self.lake, self.stream, self.topic = log, lake, stream, topic
        self.table: Table = (
            lake.create(stream.name, table_schema(stream)) if not lake.exists(stream.name) else lake.table(stream.name)
        )
        # Readers may ask for them before the first record that has them
        if added := lacking(self.table.schema, stream):
            self.table = self.table.add_columns(added)
            reach("sink.schema")
        self.table = self._open()
        self.rule, self.ruling = Rule.of(stream), current(self.table, topic.uuid)
        self.batcher = Batcher(stream, Quarantine(lake, stream.name, topic.uuid, self.rule.fingerprint), self, folder)
        self.claimed = False
        self.marks: dict[int, int] = {}
        self._mark({p: self.table.position(app_id(topic, p)) or 0 for p in range(topic.partitions)})

    # -- what a kind of sink says
    # ----------------------------------------------------------------------------------------

    @abstractmethod
    def _held(self) -> Mapping[int, int]:
        """Partition -> where what is held of it begins."""

    @abstractmethod
    def _give_up(self, partition: int) -> int:
        """Drop what is held of a partition, to read it from its stored position; returns how many records."""

    @abstractmethod
    def _commit(self) -> Progress:
        """One try to land all that is held; then nothing is held. Raises Conflict, or whatever the store raises."""

    def _start_over(self) -> int:
        """Drop what is held, and all that is remembered of earlier batches; returns how many records."""
        dropped = sum(self._give_up(partition) for partition in list(self._held()))
        self.batcher.start_over()
        return dropped

    # -- positions
    # -------------------------------------------------------------------------------------------------------

    def _open(self) -> Table:
        """A fresh handle on the table, if it is one that positions can be trusted to."""
        table = self.table.refresh()
        table.settle()  # positions that others have committed are told to the log, which may delete what lies below
        if "delta.setTransactionRetentionDuration" in table.configuration:
            raise UsageError(
                f'table "{table.name}" has delta.setTransactionRetentionDuration, which forgets positions and would'
                " write everything again; unset it"
            )
        others = topics_of(table.txns()) - {self.topic.uuid}
        if others:
            raise Recreated(
                f'topic "{self.topic.name}" ({self.topic.uuid}) is not the one table "{table.name}" was filled from'
                f" ({', '.join(sorted(others))}); drop the table, or give the stream another name"
            )
        return table

    def start(self, partition: int) -> int:
        """Where the partition's next batch must begin: the stored position, or the log's beginning for one that never
        landed.
        """
        return stored(self.table, self.topic, partition)

    def _begin(self, partition: int) -> int:
        """Where to read from, after the log agreed that nothing is missing there."""
        at, ends = self.start(partition), self.log.ends(self.stream.name)[partition]
        self.batcher.forget(partition)
        if at > ends.high:
            raise Truncated(
                f'"{self.stream.name}" partition {partition}: the table stands at {at}, the log ends at {ends.high};'
                " was the log restored from an older copy?"
            )
        if at < ends.low:
            raise Truncated(
                f'"{self.stream.name}" partition {partition}: records [{at}, {ends.low}) left the log before they were'
                f" written to the lake; to continue without them:  millstream ingest --accept-loss {self.stream.name}"
            )
        if at < self.marks.get(partition, 0):
            self._mark({partition: at})
        return at

    def _mark(self, before: Mapping[int, int]) -> None:
        """Tell the log up to where the table has each partition."""
        self.log.retain(self.stream.name, before=before, uuid=self.topic.uuid)
        self.marks |= before

    # -- committing
    # ------------------------------------------------------------------------------------------------------

    def _land(self) -> Progress:
        """Commit what is held, whatever it takes; partitions that somebody else has moved are let go."""
        dropped = 0
        failure: Exception | None = None
        for attempt in range(_TRIES):
            dropped += self._agree() + self._let_go()
            if not self._held():
                return Progress(dropped=dropped)
            try:
                dropped += self._claim()
                landed = self._commit() if self._held() else Progress()
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
        return sum(
            self._give_up(partition)
            for partition, start in list(self._held().items())
            if self.start(partition) != start
        )

    def _agree(self) -> int:
        """Write under the ruling on the handle that is committed from; returns how many records are dropped, to be
        judged again.

        Raises:
            Fenced: Another process writes this stream by another definition, and came later.
        """
        found, before = current(self.table, self.topic.uuid), self.ruling
        if found == before:
            return 0
        if found.rule != self.rule.fingerprint and before.rule == self.rule.fingerprint:
            raise replaced(self.stream.name, found)
        self.ruling = found
        return self._start_over() if found.amended != before.amended else 0

    def _claim(self) -> int:
        """Before anything lands by a definition that has changed, say so, in the table and to whoever may still write
        letters by another; returns how many records are dropped, to be judged again. The first ruling of a table comes
        with the first commit."""
        rule, number = self.rule.fingerprint, self.ruling.number
        if self.claimed or not number:
            return 0
        changed = self.ruling.rule != rule
        if changed:
            number = current(ensure(self.lake, self.stream, self.topic), self.topic.uuid).number
        if number > 1 and self.batcher.dead.rule != rule:
            self.batcher.dead.claim(self.topic)
            changed = True
        self.claimed = True
        if not changed:
            return 0
        self.table = self._open()
        self.ruling = current(self.table, self.topic.uuid)
        return self._start_over()

    def _append(self, batches: Mapping[int, Batch]) -> Progress:
        """The commit itself: rows, files that are written already, and positions."""
        txns: dict[str, tuple[int | None, int]] = {}
        number, identity, ruled = self.ruling.number, self.ruling.identity, self.ruling.rule == self.rule.fingerprint
        metadata: dict[str, Any] = {}
        if not ruled:
            number += 1
            txns |= moves(self.table, self.topic, self.rule.fingerprint, self.ruling.amended)
            identity = txns[f"{IDENTITY}{self.topic.uuid}"][1]
            metadata["ruling"] = record_of(number, self.rule, self.table, self.topic, "the stream's definition")
        for partition, batch in batches.items():
            app, newest = app_id(self.topic, partition), time_id(self.topic, partition)
            txns[app] = (self.table.position(app), batch.end)
            if batch.newest_us is not None:
                txns[newest] = (self.table.position(newest), batch.newest_us)
        by = {
            "ruling": number,
            "rule": self.rule.fingerprint,
            "id": self.rule.id_column,
            "within_us": self.rule.within_us,
        }
        ranges = {str(p): {**batch.range(), **by} for p, batch in batches.items()}
        written = [file for batch in batches.values() for file in batch.files]
        written += self._write(batches)
        reach("sink.files")
        metadata |= {"by": "sink", "topic": self.topic.uuid, "stream": self.stream.name, "ranges": ranges}
        self.table.land(written, txns=txns, metadata=metadata)
        reach("sink.committed")
        # What we wrote under, not what the handle shows: it may have passed a ruling of somebody else's, which `_agree`
        # must still find.
        self.ruling = Ruling(number, self.rule.fingerprint, self.ruling.amended, identity)
        for partition in batches:
            self.batcher.landed(partition)
        return sum((batch.progress() for batch in batches.values()), Progress(commits=1))

    def _write(self, batches: Mapping[int, Batch]) -> list[Written]:
        with ExitStack() as stack:
            for partition, batch in batches.items():
                stack.enter_context(named(self.stream.name, partition, batch.rows, encoded_rows))
            return self.table.write([rows for batch in batches.values() for rows in batch.rows])

    def _tell(self) -> None:
        """Let retention pass what landed, durably. What was not passed on is passed on with the next commit."""
        stands = {
            p: at
            for p in range(self.topic.partitions)
            if (at := self.table.position(app_id(self.topic, p))) is not None and at != self.marks.get(p)
        }
        if stands:
            with suppress(Transient):
                self._mark(stands)
        self.table.tend()
