"""Proof that a stream's table holds each record of the log once: recomputed from rows, quarantine, ranges and positions.

Per partition: the ranges of all commits chain from the beginning to the stored position; each range's rows are those that its commit
counted and checksummed; no offset is twice in the table, in the quarantine, or in both; no id repeats within the dedupe window, by the
same function that the sink used (`log/dedupe.py`), over the table's rows.

One pass over four columns. While a partition's rows lie in the order of its log, as sink and compaction write them, only counters are
held; a partition that is out of order is read again and sorted in memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millstream.declare.errors import NotFound
from millstream.declare.event import ARRIVED_AT, EVENT_ID, OFFSET, PARTITION
from millstream.declare.stream import Stream
from millstream.lake.dead import dead_name
from millstream.lake.lake import Lake
from millstream.lake.lineage import Range, ranges
from millstream.lake.positions import app_id
from millstream.lake.scan import scan
from millstream.lake.table import LakeTable
from millstream.log.dedupe import Deduper
from millstream.log.port import Ends, Log

MOST = 1_000
"""Findings of one kind that a report names."""
Finding = dict[str, Any]
Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Report:
    """What was found; each list names partitions and offsets, at most `MOST` of a kind.

    Attributes:
        version: Of the table, that was looked at; None when there is no table yet.
        records: Read from the log, by the commits' own count: rows + dead + duplicates when all is well.
        gaps: Offsets [start, end) that no commit covers; `recorded` when `--accept-loss` said so, which is reported and no fault.
        overlaps: Offsets that two commits cover.
        doubles: An offset more than once in the table or in the quarantine, or in both places; an id again within the dedupe window.
        torn: Ranges whose rows or dead letters are not those that the commit counted, rows outside every range, a position past the log's end.
    """

    stream: str
    version: int | None = None
    records: int = 0
    rows: int = 0
    dead: int = 0
    duplicates: int = 0
    gaps: list[Finding] = field(default_factory=list)
    overlaps: list[Finding] = field(default_factory=list)
    doubles: list[Finding] = field(default_factory=list)
    torn: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.overlaps or self.doubles or self.torn or any(not gap["recorded"] for gap in self.gaps))


def verify(lake: Lake, log: Log, stream: Stream[Any]) -> Report:
    """Prove the newest version of a stream's table; sinks may run meanwhile.

    Raises:
        NotFound: The stream has no topic.
    """
    topic = log.topic(stream.name)
    if topic is None:
        raise NotFound(f'stream "{stream.name}" has no topic in the log; nothing was ever sent')
    if not lake.exists(stream.name):
        return Report(stream.name)
    table = lake.table(stream.name)
    ends = log.ends(stream.name)  # after the table: what the table has read cannot lie past these
    said = [r for r in ranges(table) if r.topic == topic.uuid]
    parts = {p: _Part(p, [r for r in said if r.partition == p], table.position(app_id(topic, p)) or 0) for p in range(topic.partitions)}
    for partition, letters in _letters(lake, stream, topic.uuid).items():
        if partition in parts:
            parts[partition].bury(letters)
    rows, strange = _count(table, stream, parts)
    found = [part.findings(ends.get(p)) for p, part in parts.items()]
    return Report(
        stream.name, table.version, sum(r.records for r in said), rows, sum(len(part.dead) for part in parts.values()), sum(r.duplicates for r in said),
        *(_most(one.get(kind, []) for one in [*found, {"torn": strange}]) for kind in ("gaps", "overlaps", "doubles", "torn")),
    )  # fmt: skip


def _most(found: Iterator[list[Finding]] | Sequence[list[Finding]]) -> list[Finding]:
    return [one for some in found for one in some][:MOST]


class _Part:
    """One partition: what its commits said, and what is there."""

    def __init__(self, partition: int, said: Sequence[Range], stored: int) -> None:
        self.partition, self.said, self.stored = partition, said, stored
        self.starts, self.ends = np.array([r.start for r in said], np.int64), np.array([r.end for r in said], np.int64)
        self.dead: Ints = np.empty(0, np.int64)
        self.dead_twice: Ints = np.empty(0, np.int64)
        self.tally = _Tally(self, None)

    def bury(self, offsets: Ints) -> None:
        """Its dead letters; verdicts ahead of the table are not in force yet."""
        self.dead, times = np.unique(offsets[offsets < self.stored], return_counts=True)
        self.dead_twice = self.dead[times > 1]

    def which(self, offsets: Ints) -> Ints:
        """The index of the range that each offset lies in, -1 for none. Where ranges overlap it is the last that begins."""
        at = np.searchsorted(self.starts, offsets, side="right") - 1
        at[at >= 0] = np.where(offsets[at >= 0] < self.ends[at[at >= 0]], at[at >= 0], -1)
        return at

    def findings(self, ends: Ends | None) -> Mapping[str, list[Finding]]:
        """All that is wrong with it, by kind."""
        gaps, overlaps = self._chain()
        doubles = [*self.tally.doubles, *({"partition": self.partition, "offset": at, "where": "quarantine"} for at in self.dead_twice.tolist())]
        torn = [*self.tally.torn, *self._torn()]
        if ends is not None and self.stored > ends.high:
            torn.append({"partition": self.partition, "start": ends.high, "end": self.stored, "why": "the table stands past the log's end"})
        return {"gaps": gaps, "overlaps": overlaps, "doubles": doubles, "torn": torn}

    def _chain(self) -> tuple[list[Finding], list[Finding]]:
        """Where ranges do not follow one another from the beginning to the stored position."""
        gaps: list[Finding] = []
        overlaps: list[Finding] = []
        at = 0
        for r in self.said:
            if r.start > at:
                gaps.append({"partition": self.partition, "start": at, "end": r.start, "recorded": False, "version": r.version})
            elif r.start < at:
                overlaps.append({"partition": self.partition, "start": r.start, "end": min(at, r.end), "version": r.version})
            if r.gap is not None:
                gaps.append({"partition": self.partition, "start": r.gap[0], "end": r.gap[1], "recorded": True, "version": r.version})
            at = max(at, r.end)
        if at < self.stored:
            gaps.append({"partition": self.partition, "start": at, "end": self.stored, "recorded": False, "version": None})
        elif at > self.stored:
            overlaps.append({"partition": self.partition, "start": self.stored, "end": at, "version": None})
        return gaps, overlaps

    def _torn(self) -> Iterator[Finding]:
        at = self.which(self.dead)
        letters = np.bincount(at[at >= 0], minlength=len(self.said)).tolist()
        for offset in self.dead[at < 0].tolist():
            yield {"partition": self.partition, "start": offset, "end": offset + 1, "why": "a dead letter that no commit counted"}
        for i, r in enumerate(self.said):
            rows, checksum = self.tally.rows[i], self.tally.checksums[i]
            where = {"partition": self.partition, "start": r.start, "end": r.end, "version": r.version}
            if rows != r.rows:
                yield {**where, "said": r.rows, "found": rows, "why": "rows are missing" if rows < r.rows else "there are more rows"}
            elif r.checksum is not None and checksum != r.checksum:
                yield {**where, "said": r.rows, "found": rows, "why": "the rows are at other offsets"}
            if letters[i] != r.dead:
                yield {**where, "said": r.dead, "found": letters[i], "why": "the dead letters are others"}
            if r.records != r.rows + r.dead + r.duplicates:
                yield {**where, "said": r.records, "found": r.rows + r.dead + r.duplicates, "why": "records read and records accounted for differ"}


class _Tally:
    """What a partition's rows add up to, taken in the order of the log."""

    def __init__(self, part: _Part, deduper: Deduper | None) -> None:
        self.part, self.deduper = part, deduper
        self.rows, self.checksums = [0] * len(part.said), [0] * len(part.said)
        self.doubles: list[Finding] = []
        self.torn: list[Finding] = []
        self.last = -1
        self.in_order = True

    def take(self, offsets: Ints, arrived_us: Ints, ids: pa.Array | None) -> None:
        """Rows that follow those taken before; the same offset again is a double, a lower one ends the tally."""
        steps = np.diff(offsets, prepend=self.last)
        if (steps < 0).any():
            self.in_order = False
            return
        self._double(offsets[steps == 0], "table")
        if len(self.part.dead):
            self._double(offsets[np.isin(offsets, self.part.dead)], "table and quarantine")
        self._range(offsets)
        if self.deduper is not None and ids is not None:
            again = np.flatnonzero(~self.deduper.keep(self.part.partition, ids, arrived_us) & (steps > 0))
            for at in again[:MOST].tolist():
                self.doubles.append({"partition": self.part.partition, "offset": int(offsets[at]), "where": "table", "id": str(ids[at].as_py())})
        self.last = int(offsets[-1])

    def _double(self, offsets: Ints, where: str) -> None:
        self.doubles += [{"partition": self.part.partition, "offset": at, "where": where} for at in offsets[:MOST].tolist()]

    def _range(self, offsets: Ints) -> None:
        which = self.part.which(offsets)
        cuts = (np.flatnonzero(np.diff(which)) + 1).tolist()
        for a, b in zip([0, *cuts], [*cuts, len(which)], strict=True):
            at = int(which[a])
            if at < 0:
                self.torn.append(
                    {"partition": self.part.partition, "start": int(offsets[a]), "end": int(offsets[b - 1]) + 1, "why": f"{b - a} rows that no commit brought"}
                )
            else:
                self.rows[at] += b - a
                self.checksums[at] = zlib.crc32(offsets[a:b].astype("<i8").tobytes(), self.checksums[at])


def _count(table: LakeTable, stream: Stream[Any], parts: Mapping[int, _Part]) -> tuple[int, list[Finding]]:
    """Tally every row; returns how many there are, and those of no partition of the topic."""
    id_column = (EVENT_ID if stream.dedupe == "event_id" else stream.dedupe) if stream.dedupe else None
    columns = list(dict.fromkeys([PARTITION, OFFSET, ARRIVED_AT, *([id_column] if id_column else [])]))

    def begin(part: _Part) -> None:
        part.tally = _Tally(part, Deduper(stream.dedupe_within_us) if id_column else None)

    def take(part: _Part, rows: pa.RecordBatch) -> None:
        part.tally.take(rows.column(OFFSET).to_numpy(), _micros(rows.column(ARRIVED_AT)), rows.column(id_column) if id_column else None)

    for part in parts.values():
        begin(part)
    total, strange = 0, dict[int, int]()
    for batch in scan(table, columns):
        total += batch.num_rows
        for partition, rows in _by_partition(batch):
            if partition not in parts:
                strange[partition] = strange.get(partition, 0) + rows.num_rows
            elif parts[partition].tally.in_order:
                take(parts[partition], rows)
    for part in parts.values():
        if not part.tally.in_order:
            begin(part)
            held = scan(table, columns, {PARTITION: (part.partition, part.partition)}, pc.field(PARTITION) == part.partition)
            for rows in pa.Table.from_batches(held).sort_by(OFFSET).to_batches(max_chunksize=1 << 20):
                take(part, rows)
    return total, [{"partition": p, "start": 0, "end": 0, "why": f"{rows} rows of a partition that the topic does not have"} for p, rows in strange.items()]


def _letters(lake: Lake, stream: Stream[Any], topic: str) -> dict[int, Ints]:
    """Offsets of the topic's dead letters, by partition."""
    try:
        table = lake.table(dead_name(stream.name))
    except NotFound:
        return {}
    found: dict[int, list[Ints]] = {}
    for batch in scan(table, [PARTITION, OFFSET], where=pc.field("topic") == topic):
        for partition, rows in _by_partition(batch):
            found.setdefault(partition, []).append(rows.column(OFFSET).to_numpy())
    return {partition: np.concatenate(pieces) for partition, pieces in found.items()}


def _by_partition(batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Runs of rows of one partition; a sink writes one run a partition a file."""
    values = batch.column(PARTITION).to_numpy()
    cuts = (np.flatnonzero(np.diff(values)) + 1).tolist()
    for a, b in zip([0, *cuts], [*cuts, len(values)], strict=True):
        yield int(values[a]), batch.slice(a, b - a)


def _micros(column: pa.Array) -> Ints:
    values: Ints = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return values
