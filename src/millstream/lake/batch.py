"""From buffered slices of a partition to rows that land: judged, without doubles, marked when late."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from millstream.base.errors import Conflict
from millstream.base.event import ARRIVED_AT, ENVELOPE, EVENT_ID, LATE, OFFSET, PARTITION
from millstream.declare.stream import Stream
from millstream.lake.aside import asides, letters, without
from millstream.lake.culprit import named
from millstream.lake.dead import DEAD, Quarantine
from millstream.lake.earlier import earlier
from millstream.lake.judge import Judged, add_extra, extra_fields, judge, table_schema
from millstream.lake.late import late
from millstream.lake.parquet import Written
from millstream.lake.port import Table
from millstream.lake.positions import NEVER, app_id, letters_id, time_id
from millstream.lake.ruling import Rule
from millstream.log.dedupe import Deduper, Earlier
from millstream.log.port import Slice, Topic
from millstream.log.slices import joined

Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Progress:
    """What has landed. rows + dead + duplicates = records.

    Attributes:
        late: Rows among `rows` that came behind their partition's watermark.
        dropped: Records that were read and turned out to be somebody else's by now.
    """

    records: int = 0
    rows: int = 0
    dead: int = 0
    duplicates: int = 0
    late: int = 0
    dropped: int = 0
    commits: int = 0

    def __add__(self, other: Progress) -> Progress:
        return Progress(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class Positions(Protocol):
    """What a batcher asks its sink."""

    topic: Topic

    @property
    def table(self) -> Table:
        """The newest handle."""
        ...


@dataclass
class Batch:
    """One partition's part of a commit: offsets [start, end).

    Attributes:
        newest_us: Newest event time of the partition so far, none taken for later than its arrival; None when nothing
            ever landed.
        judged_to: How many commits had brought letters of the partition when its verdicts were read.
        files, letter_files: Rows and dead letters that are written already, somewhere else.
    """

    partition: int
    start: int
    end: int
    rows: list[pa.RecordBatch] = field(default_factory=list)
    letters: list[pa.RecordBatch] = field(default_factory=list)
    files: list[Written] = field(default_factory=list)
    letter_files: list[Written] = field(default_factory=list)
    schema_ids: set[int] = field(default_factory=set)
    judged_to: int | None = None
    records: int = 0
    dead: int = 0
    duplicates: int = 0
    late: int = 0
    least_us: int | None = None
    most_us: int | None = None
    newest_us: int | None = None
    checksum: int = 0

    @property
    def landed(self) -> int:
        return sum(rows.num_rows for rows in self.rows) + sum(file.rows for file in self.files)

    @property
    def buried(self) -> int:
        """Dead letters that are not in the quarantine yet."""
        return sum(letters.num_rows for letters in self.letters) + sum(file.rows for file in self.letter_files)

    def progress(self) -> Progress:
        return Progress(self.records, self.landed, self.dead, self.duplicates, self.late)

    def range(self) -> dict[str, Any]:
        """What the commit says about it; `checksum` is CRC-32 over the landed offsets, ascending, as little-endian
        64-bit integers.
        """
        return {
            "start": self.start,
            "end": self.end,
            "records": self.records,
            "rows": self.landed,
            "dead": self.dead,
            "duplicates": self.duplicates,
            "late": self.late,
            "min_us": self.least_us,
            "max_us": self.most_us,
            "schema_ids": sorted(self.schema_ids),
            "checksum": self.checksum,
        }


class Batcher:
    """Makes batches for one sink and remembers, per partition, what it needs of earlier ones.

    Args:
        folder: For ids that do not fit in memory; None: the system's folder of temporary files.
    """

    def __init__(self, stream: Stream[Any], dead: Quarantine, positions: Positions, folder: Path | None = None) -> None:
        self.stream, self.dead, self.positions = stream, dead, positions
        self.rule = Rule.of(stream)
        self.deduper = Deduper(stream.dedupe_within_us, folder=folder) if stream.dedupe else None
        self.ready: dict[int, Batch] = {}
        self.warm: set[int] = set()

    def forget(self, partition: int) -> None:
        """The next batch of this partition begins elsewhere: what is remembered of it is void."""
        self.ready.pop(partition, None)
        self.warm.discard(partition)
        if self.deduper:
            self.deduper.forget(partition)

    def start_over(self) -> None:
        """What was kept, or is dead, is not what it was: all that is remembered is void."""
        for partition in {*self.ready, *self.warm}:
            self.forget(partition)
        self.dead.refresh()

    def landed(self, partition: int) -> None:
        """The batch made last is in the table."""
        self.ready.pop(partition, None)
        if self.deduper:
            self.deduper.settled(partition)

    def resume(self, partition: int, deduper: Deduper) -> None:
        """Continue with the ids that another batcher knew where the partition's next batch begins."""
        deduper.resume(partition, self._earlier(partition))
        self.deduper = deduper
        self.warm.add(partition)

    def extra(self, buffer: Mapping[int, Sequence[Slice]], table: Table) -> list[pa.Field]:
        """Columns that the table still lacks: of the class, or of a newer writer."""
        have = {f.name: f.type for f in table.schema}
        seen: dict[int, pa.RecordBatch] = {
            piece.schema_id: piece.rows for pieces in buffer.values() for piece in pieces if piece.rows.num_rows
        }
        wanted = {**{f.name: f for f in table.schema}, **{f.name: f for f in table_schema(self.stream)}}
        for schema_id, rows in seen.items():
            add_extra(wanted, extra_fields(self.stream, rows, schema_id))
        return [f for f in wanted.values() if have.get(f.name) != f.type]

    def batch(self, partition: int, start: int, pieces: Sequence[Slice], table: Table) -> Batch:
        """The partition's batch; the one made before when nothing came in between (a commit is tried again)."""
        made = self.ready.get(partition)
        if (
            made is None
            or made.end != pieces[-1].end
            or any(rows.schema.names != table.schema.names for rows in made.rows[:1])
        ):
            if made is not None:
                self.forget(partition)
            try:
                made = self.ready[partition] = self.make(partition, start, pieces[-1].end, pieces, table)
            except BaseException:
                self.forget(partition)  # ids of half a batch would make duplicates of their own records
                raise
        return made

    def quarantine(self, batches: Mapping[int, Batch]) -> None:
        """Land what is dead and not yet recorded.

        Raises:
            Conflict: Someone else quarantined since verdicts were read; the batches concerned are made anew.
        """
        topic = self.positions.topic
        if self.dead.exists:
            self.dead.refresh()
            stale = [p for p, b in batches.items() if self.dead.position(letters_id(topic, p)) != b.judged_to]
            if stale:
                self._void(stale)
                raise Conflict(
                    f'dead letters of "{self.stream.name}", partitions {stale}: another worker recorded verdicts'
                )
        moved = {p: b for p, b in batches.items() if b.letters or b.letter_files}
        if not moved:
            return
        letters = [letter for batch in moved.values() for letter in batch.letters]
        files = [file for batch in moved.values() for file in batch.letter_files]
        stands = {p: self.dead.position(app_id(topic, p)) for p in moved}
        moves = {app_id(topic, p): (stands[p], max(stands[p] or 0, b.end)) for p, b in moved.items()}
        moves |= {letters_id(topic, p): (b.judged_to, (b.judged_to or 0) + 1) for p, b in moved.items()}
        said = {str(p): {"start": b.start, "end": b.end, "dead": b.buried} for p, b in moved.items()}
        try:
            self.dead.land(letters, moves, {"by": "sink", "topic": topic.uuid, "ranges": said}, files)
        except BaseException:
            self._void(moved)  # landed or not: verdicts are read again
            raise
        for partition, batch in moved.items():
            batch.letters, batch.letter_files, batch.judged_to = (
                [],
                [],
                self.dead.position(letters_id(topic, partition)),
            )

    def _void(self, partitions: Iterable[int]) -> None:
        self.dead.refresh()
        for partition in list(partitions):
            self.forget(partition)

    def make(self, partition: int, start: int, end: int, pieces: Iterable[Slice], table: Table) -> Batch:
        """The batch [start, end) out of its slices, which are taken one after the other."""
        topic = self.positions.topic
        app = app_id(topic, partition)
        batch = Batch(
            partition,
            start,
            end,
            judged_to=self.dead.position(letters_id(topic, partition)),
            newest_us=table.position(time_id(topic, partition)),
        )
        if self.deduper and partition not in self.warm:
            self.deduper.begin(partition, self._earlier(partition), at_start=start == 0)
            self.warm.add(partition)
        recorded = self.dead.recorded(app, partition, start, end)
        known = {*table_schema(self.stream).names}
        extra = [f for f in table.schema if f.name not in known]
        schema, set_aside = table.schema, asides(table, topic, partition)
        for piece in joined(pieces):
            batch.schema_ids.add(piece.schema_id)
            if len(set_aside):
                piece, buried = without(piece, set_aside)
                self._bury(batch, buried, recorded)
            if piece.rows.num_rows:
                self._judge(batch, piece, extra, recorded, schema)
        return batch

    def _judge(self, batch: Batch, piece: Slice, extra: list[pa.Field], recorded: Ints, schema: pa.Schema) -> None:
        with named(
            self.stream.name,
            batch.partition,
            [piece.rows],
            lambda rows: judge(self.stream, rows, piece.schema_id, extra),
        ):
            judged = judge(self.stream, piece.rows, piece.schema_id, extra)
        self._take(batch, judged, recorded, schema)

    def _bury(self, batch: Batch, rows: pa.RecordBatch, recorded: Ints) -> None:
        """Records that an operator set aside."""
        batch.records, batch.dead = batch.records + rows.num_rows, batch.dead + rows.num_rows
        rows = rows.filter(pa.array(~np.isin(rows.column(OFFSET).to_numpy(), recorded)))
        if rows.num_rows:
            batch.letters.append(letters(self.positions.topic.uuid, batch.partition, rows, self.rule.fingerprint))

    def _take(self, batch: Batch, judged: Judged, recorded: Ints, schema: pa.Schema) -> None:
        offsets = judged.rows.column(OFFSET).to_numpy()
        known = np.isin(offsets, recorded, assume_unique=True) if len(recorded) else np.zeros(len(offsets), bool)
        fresh = [at for at in sorted(judged.errors) if not known[at]]
        if fresh:
            batch.letters.append(self._letters(batch.partition, judged, fresh))
        good = judged.good & ~known
        batch.records += len(offsets)
        batch.dead += len(offsets) - int(good.sum())
        rows = judged.rows if good.all() else judged.rows.filter(pa.array(good))
        if self.deduper and rows.num_rows:
            keep = self.deduper.keep(batch.partition, self._ids(rows), _micros(rows.column(ARRIVED_AT)))
            if not keep.all():
                batch.duplicates += len(keep) - int(keep.sum())
                rows = rows.filter(pa.array(keep))
        if rows.num_rows:
            batch.rows.append(self._finish(batch, rows, schema))

    def _finish(self, batch: Batch, rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        """Mark what is late, against the partition's watermark in the order of the log, and put columns in the table's
        order.
        """
        times = _micros(rows.column(self.stream.schema.event_time))
        marked, batch.newest_us = late(
            times,
            _micros(rows.column(ARRIVED_AT)),
            NEVER if batch.newest_us is None else batch.newest_us,
            self.stream.lateness_us,
        )
        batch.late += int(marked.sum())
        low, high = int(times.min()), int(times.max())
        batch.least_us = low if batch.least_us is None else min(low, batch.least_us)
        batch.most_us = high if batch.most_us is None else max(high, batch.most_us)
        batch.checksum = zlib.crc32(rows.column(OFFSET).to_numpy().astype("<i8").tobytes(), batch.checksum)
        made = {
            **dict(zip(rows.schema.names, rows.columns, strict=True)),
            LATE: pa.array(marked),
            PARTITION: pa.repeat(pa.scalar(batch.partition, ENVELOPE[PARTITION]), rows.num_rows),
        }
        return pa.RecordBatch.from_arrays([_as(made[field.name], field.type) for field in schema], schema=schema)

    def _letters(self, partition: int, judged: Judged, at: list[int]) -> pa.RecordBatch:
        found = [judged.raw(i) for i in at]
        rows = judged.rows.take(pa.array(at))
        columns = {
            "error": pa.array([judged.errors[i] for i in at], pa.string()),
            "raw": pa.array([raw for raw, _ in found], pa.binary()),
            "origin": pa.array([origin for _, origin in found], pa.string()),
            "topic": pa.array([self.positions.topic.uuid] * len(at), pa.string()),
            EVENT_ID: rows.column(EVENT_ID),
            ARRIVED_AT: rows.column(ARRIVED_AT),
            PARTITION: pa.array([partition] * len(at), ENVELOPE[PARTITION]),
            OFFSET: rows.column(OFFSET),
            "rule": pa.array([self.rule.fingerprint] * len(at), pa.int64()),
        }
        return pa.RecordBatch.from_arrays([columns[name] for name in DEAD.names], schema=DEAD)

    def _ids(self, rows: pa.RecordBatch) -> pa.Array:
        return rows.column(str(self.rule.id_column))

    def _earlier(self, partition: int) -> Earlier:
        """What was kept before: the partition's rows, by the sink's newest handle."""
        return earlier(lambda: self.positions.table, str(self.rule.id_column), partition)


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    return column if column.type.equals(kind) else column.cast(kind)


def _micros(column: pa.Array) -> Ints:
    values: Ints = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return values
