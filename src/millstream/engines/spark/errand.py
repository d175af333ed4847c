"""What an executor does for a stream's sink: one partition's range of Kafka's records, decoded, judged and written;
what came of it goes to the driver.

Nothing here commits. A task that is tried again writes files of its own, and those that no commit names are vacuumed.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millstream.base import errors
from millstream.base.errors import Corrupt, MillstreamError, NotFound
from millstream.base.event import ARRIVED_AT, EVENT_ID, Schema
from millstream.declare.stream import Stream
from millstream.lake import parquet
from millstream.lake.batch import Batch, Batcher
from millstream.lake.dead import DEAD, Quarantine, dead_name
from millstream.lake.lake import Lake
from millstream.lake.port import CanPrepare, Files
from millstream.lake.table import LakeTable
from millstream.log.dedupe import Deduper
from millstream.log.framing import RAW_AVRO, Records, slices
from millstream.log.port import RAW_SCHEMA_ID, Slice, Topic

HEADERS = (EVENT_ID, ARRIVED_AT)
ANSWER = "partition int, answer binary"
"""The answers, as Spark carries them: one row a partition that has records, pickled `Done`, `Needs` or `Failed`."""


@dataclass(frozen=True)
class Shape:
    """What judging asks of a stream; its class, which is the project's, stays with the driver."""

    name: str
    schema: Schema
    dedupe: str | None
    dedupe_within_us: int
    lateness_us: int

    @classmethod
    def of(cls, stream: Stream[Any]) -> Shape:
        return cls(stream.name, stream.schema, stream.dedupe, stream.dedupe_within_us, stream.lateness_us)


@dataclass(frozen=True)
class Part:
    """Offsets [start, end) of a partition.

    Attributes:
        after: The errand whose batch landed last, so that a worker that ran it knows the ids still; "" when that is not
            known.
        place: Where the files stand in the table's order (`parquet.write`).
    """

    start: int
    end: int
    after: str
    place: str


@dataclass(frozen=True)
class Errand:
    """One micro-batch.

    Attributes:
        version: Of the table, that positions were read at.
        texts: Schemas by id; `unknown` are those that the registry does not know.
    """

    token: str
    files: Files
    shape: Shape
    topic: Topic
    version: int
    texts: Mapping[int, str]
    unknown: frozenset[int]
    parts: Mapping[int, Part]

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The task, as `mapInArrow` calls it: all records of one partition's range, in order."""
        rows = _Rows(batches)
        if rows.partition is None:
            return
        try:
            answer: Any = self._make(rows.partition, rows)
        except MillstreamError as error:
            answer = Failed(type(error).__name__, str(error))
        yield pa.record_batch(
            {
                "partition": pa.array([rows.partition], pa.int32()),
                "answer": pa.array([pickle.dumps(answer)], pa.binary()),
            }
        )

    def _make(self, partition: int, rows: _Rows) -> Any:
        part, needs = self.parts[partition], Needs()
        lake = Lake(self.files)
        table = LakeTable.open(self.files, self.shape.name, self.version)
        batcher = Batcher(
            cast("Stream[Any]", self.shape),
            Quarantine(lake, self.shape.name, self.topic.uuid),
            _Positions(self.topic, table),
        )
        if batcher.deduper:
            held = _remembered.pop((table.uuid, partition), None)
            if held is not None and held[0] == part.after:
                batcher.resume(partition, held[1])
        pieces = rows.slices(self.topic.name, part, _Texts(self.texts, self.unknown, needs))
        batch = batcher.make(partition, part.start, part.end, needs.sound(pieces, batcher, table), table)
        if needs:
            return needs
        self._write(batch, table, part.place)
        if batcher.deduper:
            _remembered[table.uuid, partition] = (self.token, batcher.deduper)
        return Done(batch)

    def _write(self, batch: Batch, table: LakeTable, place: str) -> None:
        """Rows and letters become files; the quarantine is the driver's to make, so theirs may lie in a folder that is
        not a table yet.
        """
        batch.files = parquet.write(self.files, table.name, table.schema, batch.rows, table.partition_by, place)
        if batch.letters:
            if isinstance(self.files, CanPrepare):
                self.files.prepare(dead_name(table.name))
            batch.letter_files = parquet.write(self.files, dead_name(table.name), DEAD, batch.letters, (), place)
        batch.rows, batch.letters = [], []


@dataclass(frozen=True)
class Done:
    """The batch, with its files written."""

    batch: Batch


@dataclass
class Needs:
    """What the driver must bring about first: texts of schemas, columns of the table. Nothing was written."""

    ids: set[int] = field(default_factory=set)
    columns: dict[str, pa.Field] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.ids or self.columns)

    def sound(self, pieces: Iterable[Slice], batcher: Batcher, table: LakeTable) -> Iterator[Slice]:
        """The slices, as long as nothing is wanting; after that they are only looked through for what else is."""
        for piece in pieces:
            self.columns.update((f.name, f) for f in batcher.extra({piece.partition: [piece]}, table))
            if not self:
                yield piece


@dataclass(frozen=True)
class Failed:
    """One of our errors, by its name."""

    kind: str
    said: str

    def error(self) -> MillstreamError:
        return cast("MillstreamError", getattr(errors, self.kind)(self.said))


_remembered: dict[tuple[str, int], tuple[str, Deduper]] = {}
"""Of this worker process: (table, partition) -> the errand that ran last, and the ids it knew at its end."""


@dataclass
class _Positions:
    topic: Topic
    table: LakeTable


class _Texts:
    """The schemas that came with the errand; others are noted, and their records taken for unreadable until the driver
    has looked.
    """

    def __init__(self, texts: Mapping[int, str], unknown: frozenset[int], needs: Needs) -> None:
        self._texts, self._unknown, self._needs = {RAW_SCHEMA_ID: RAW_AVRO, **texts}, unknown, needs

    def __getitem__(self, schema_id: int) -> str:
        if schema_id in self._texts:
            return self._texts[schema_id]
        if schema_id not in self._unknown:
            self._needs.ids.add(schema_id)
        raise NotFound(f"no schema {schema_id} in the registry")


class _Rows:
    """Spark's rows of Kafka's records, looked into as far as their partition."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = (batch for batch in batches if batch.num_rows)
        self._first = next(self._batches, None)
        self.partition = None if self._first is None else int(self._first["partition"][0].as_py())

    def slices(self, topic: str, part: Part, texts: _Texts) -> Iterator[Slice]:
        """In order; the first begins at the part's start, and none ends after its end.

        Raises:
            Corrupt: Spark gave a task other records than those of one range in order, which all that follows rests on.
        """
        assert self._first is not None and self.partition is not None
        batch: pa.RecordBatch | None = self._first
        at = part.start
        while batch is not None:
            found = records(batch)
            steps = np.diff(found.offsets, prepend=at - 1)
            if (
                pc.any(pc.not_equal(batch["partition"], self.partition)).as_py()
                or (steps < 1).any()
                or found.offsets[-1] >= part.end
            ):
                raise Corrupt(
                    f'topic "{topic}", partition {self.partition}: Spark gave records outside [{at}, {part.end}) of it,'
                    " or out of order"
                )
            pieces = slices(texts, topic, self.partition, at, found)
            yield from pieces
            at = pieces[-1].end
            batch = next(self._batches, None)


def records(batch: pa.RecordBatch) -> Records:
    """Columns `value`, `offset`, `timestamp` of Spark's Kafka source, and those of `HEADERS`, as a consumer would give
    them.
    """
    stamps = batch["timestamp"].cast(pa.int64()).to_numpy() // 1000
    if all(batch[name].null_count == batch.num_rows for name in HEADERS):
        return Records(batch["value"].to_pylist(), batch["offset"].to_numpy(), stamps)
    ids, arrivals = (batch[name].to_pylist() for name in HEADERS)
    return Records(batch["value"].to_pylist(), batch["offset"].to_numpy(), stamps, ids, arrivals)
