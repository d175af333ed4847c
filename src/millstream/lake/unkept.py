"""What becomes of the records that share an id with rows that are moved to the dead letters: dead letters keep no id.

A record that was dropped as a duplicate of a moved row counts now, and a row after it may repeat it in its turn. So, in
the order of the log, each record with such an id is held against what is kept now, by the window of the range that it
lies in (`log/dedupe.py` has the rule). Rows are read from the table, what was dropped from the log. Where the log has
lost it, rows stay as they are, and what was dropped there stays lost.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millstream.base.errors import Damaged, Incompatible, Truncated
from millstream.base.event import ARRIVED_AT, OFFSET, PARTITION
from millstream.declare.stream import Stream
from millstream.lake.far import Ints, micros
from millstream.lake.judge import Judged, judge, table_schema
from millstream.lake.lineage import Range
from millstream.lake.port import Table
from millstream.log.port import Log, Slice
from millstream.log.slices import joined

_POLL_ROWS = 131_072
_WAIT = timedelta(milliseconds=200)


@dataclass(frozen=True)
class Unread:
    """Offsets [start, end) whose dropped records cannot be judged again; at most so many were dropped there."""

    partition: int
    start: int
    end: int
    dropped: int
    why: str

    def __str__(self) -> str:
        records = "record was" if self.dropped == 1 else "records were"
        return (
            f"partition {self.partition}, offsets [{self.start}, {self.end}): {self.why}; at most {self.dropped:,}"
            f" {records} dropped as duplicates there"
        )


@dataclass
class Again:
    """What is otherwise now, of one partition.

    Attributes:
        found: Records that were dropped and are rows now, ascending: the stream's columns as `judge` gives them.
        doubled: Offsets of rows that repeat one of those.
        buried: Records that were dropped, are not duplicates now, and lie beyond the bound themselves.
        unread: Where dropped records cannot be judged again.
    """

    found: list[pa.RecordBatch] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)
    buried: list[tuple[Judged, int]] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """One partition of a stream's table.

    Attributes:
        said: Its ranges, ascending.
        low, high: Where the log begins and ends.
        letters: Offsets of its dead letters.
        moved: Offsets of the rows that are moved, ascending.
    """

    partition: int
    said: Sequence[Range]
    low: int
    high: int
    letters: Ints
    moved: Ints


def again(
    log: Log, table: Table, stream: Stream[Any], part: Part, moved: Sequence[pa.RecordBatch], bound_us: int
) -> Again:
    """Judge again what has the ids of the moved rows.

    Args:
        moved: The moved rows, with all id columns.

    Raises:
        Truncated: Retention has passed the log's beginning meanwhile.
    """
    judging = _Judging(log, table, stream, part, bound_us)
    judging.change(moved)
    later = [r for r in part.said if r.end > part.moved[0] and r.gap is None]
    for column, run in groupby(later, lambda r: r.id_column):
        ranges = list(run)
        if column is None or column not in table.schema.names:
            judging.give_up([r for r in ranges if r.duplicates], "the commits do not say by which ids")
            continue
        # Nothing was dropped, and nothing is kept that was not
        while ranges and not ranges[0].duplicates and not judging.result.found:
            del ranges[0]
        if ranges and judging.ids(column):
            judging.run(column, ranges)
    return judging.result


class _Judging:
    def __init__(self, log: Log, table: Table, stream: Stream[Any], part: Part, bound_us: int) -> None:
        self.log, self.table, self.stream, self.part, self.bound_us = log, table, stream, part, bound_us
        known = {*table_schema(stream).names}
        self.extra = [f for f in table.schema if f.name not in known]
        self.columns = sorted(
            {r.id_column for r in part.said if r.id_column is not None and r.id_column in table.schema.names}
        )
        self.changed: dict[str, set[Any]] = {column: set() for column in self.columns}
        self.result = Again()

    def ids(self, column: str) -> set[Any]:
        return self.changed[column]

    def change(self, rows: Sequence[pa.RecordBatch]) -> None:
        """These rows are kept no more, or only now: whatever has one of their ids is concerned."""
        for batch in rows:
            for column in self.columns:
                self.changed[column].update(id for id in batch.column(column).to_pylist() if _real(id))

    def give_up(self, ranges: Sequence[Range], why: str) -> None:
        for r in ranges:
            self.result.unread.append(Unread(self.part.partition, r.start, r.end, r.duplicates, why))

    def run(self, column: str, ranges: Sequence[Range]) -> None:
        """Ranges that follow one another, by ids in one column."""
        turn = _Turn(self, column, ranges)
        start, end = max(ranges[0].start, int(self.part.moved[0]) + 1), ranges[-1].end
        self._lost(ranges, max(start, self.part.high), end, "the log ends before them")
        end = min(end, self.part.high)
        at = max(start, self.part.low)
        self._lost(ranges, start, min(at, end), "the log has removed them")
        turn.pass_by(min(at, end))
        while at < end:
            try:
                for piece in self._pieces(at, end):
                    turn.take(judge(self.stream, piece.rows, piece.schema_id, self.extra), piece.end)
                    at = piece.end
                at = end
            except Damaged as error:
                self._lost(ranges, error.start, min(error.end, end), "they are damaged in the log")
                at = min(error.end, end)
            except Incompatible:
                beyond = next(r.end for r in ranges if r.end > at)
                self._lost(ranges, at, beyond, "the stream's class takes no such records any more")
                at = beyond
            turn.pass_by(at)

    def _pieces(self, start: int, end: int) -> Iterator[Slice]:
        partition = self.part.partition
        reader = self.log.reader(self.stream.name, {partition: start})
        try:
            while reader.position(partition) < end:
                for piece in joined(reader.poll(min(_POLL_ROWS, end - reader.position(partition)), _WAIT)):
                    rows = piece.rows.filter(pc.less(piece.rows.column(OFFSET), end))
                    if rows.num_rows:
                        yield Slice(piece.topic, partition, piece.start, min(piece.end, end), piece.schema_id, rows)
        finally:
            reader.close()

    def _lost(self, ranges: Sequence[Range], start: int, end: int, why: str) -> None:
        """Name a stretch that cannot be read, if anything may have been dropped in it."""
        dropped = sum(r.duplicates for r in ranges if r.start < end and r.end > start)
        if (dropped := min(dropped, end - start)) > 0:
            self.result.unread.append(Unread(self.part.partition, start, end, dropped, why))


class _Turn:
    """Records of some ids of one column, taken in the order of the log."""

    def __init__(self, judging: _Judging, column: str, ranges: Sequence[Range]) -> None:
        self.judging, self.column, self.ranges = judging, column, ranges
        self.starts = np.array([r.start for r in ranges], np.int64)
        self.wanted = pa.array(list(judging.ids(column)), judging.table.schema.field(column).type)
        self.kept: dict[Any, list[int]] = {}
        self.offsets, self.arrived, self.names = self._rows()
        self.next = 0
        self.dead = np.concatenate([judging.part.letters, judging.part.moved])
        self.given_up = [r.gap for r in judging.part.said if r.gap is not None]
        for rows in judging.result.found:  # by an earlier column
            for id, arrived in zip(rows.column(column).to_pylist(), micros(rows, ARRIVED_AT).tolist(), strict=True):
                if _real(id):
                    self._keep(id, arrived)

    def _rows(self) -> tuple[Ints, list[int], list[Any]]:
        """The partition's rows with these ids that are kept as things stand, ascending."""
        part, table = self.judging.part, self.judging.table
        columns = list(dict.fromkeys([PARTITION, OFFSET, ARRIVED_AT, self.column]))
        away = np.concatenate([part.moved, np.array(self.judging.result.doubled, np.int64)])
        found = []
        for batch in table.scan(
            columns, {PARTITION: (part.partition, part.partition)}, pc.field(PARTITION) == part.partition
        ):
            mine = np.asarray(pc.is_in(batch.column(self.column), value_set=self.wanted)) & ~np.isin(
                batch.column(OFFSET).to_numpy(), away
            )
            found.append(batch.filter(pa.array(mine)))
        if not any(batch.num_rows for batch in found):
            return np.empty(0, np.int64), [], []
        rows = pa.Table.from_batches(found).sort_by(OFFSET).combine_chunks().to_batches()[0]
        return rows.column(OFFSET).to_numpy(), micros(rows, ARRIVED_AT).tolist(), rows.column(self.column).to_pylist()

    def pass_by(self, end: int) -> None:
        """Rows below `end` stand as they are: what lies between them cannot be judged."""
        while self.next < len(self.offsets) and self.offsets[self.next] < end:
            self._keep(self.names[self.next], self.arrived[self.next])
            self.next += 1

    def take(self, judged: Judged, end: int) -> None:
        """The log's records up to `end`, and the rows among them."""
        rows = judged.rows
        offsets = rows.column(OFFSET).to_numpy()
        mine = np.asarray(pc.is_in(rows.column(self.column), value_set=self.wanted))
        mine &= ~np.isin(offsets, self.dead)
        for start, end_ in self.given_up:  # they may be readable again, and stay given up
            mine &= (offsets < start) | (offsets >= end_)
        dropped = np.flatnonzero(mine & ~np.isin(offsets, self.offsets[self.next :]))
        ids, arrived = rows.column(self.column).take(pa.array(dropped)).to_pylist(), micros(rows, ARRIVED_AT)
        happened, recovered = micros(rows, self.judging.stream.schema.event_time), []
        for at, id in zip(dropped.tolist(), ids, strict=True):
            offset = int(offsets[at])
            self._rows_to(offset)
            if self._repeats(id, int(arrived[at]), offset):
                continue
            if not judged.good[at]:
                self.judging.result.unread.append(
                    Unread(
                        self.judging.part.partition,
                        offset,
                        offset + 1,
                        1,
                        f"the stream's class takes it no more: {judged.errors[at]}",
                    )
                )
            elif max(happened[at], arrived[at]) > self.judging.bound_us:
                self.judging.result.buried.append((judged, at))
            else:
                self._keep(id, int(arrived[at]))
                recovered.append(at)
        self._rows_to(end)
        if recovered:
            found = rows.take(pa.array(recovered))
            self.judging.result.found.append(found)
            self.judging.change([found])

    def _rows_to(self, end: int) -> None:
        """Rows below `end`, each in its turn."""
        while self.next < len(self.offsets) and self.offsets[self.next] < end:
            offset, arrived, id = self.offsets[self.next], self.arrived[self.next], self.names[self.next]
            if self._repeats(id, arrived, int(offset)):
                self.judging.result.doubled.append(int(offset))
            else:
                self._keep(id, arrived)
            self.next += 1

    def _repeats(self, id: Any, arrived: int, offset: int) -> bool:
        """Whether a record that is kept so far has the id, within the window of the range of this offset."""
        within = self.ranges[int(np.searchsorted(self.starts, offset, side="right")) - 1].within_us or 0
        kept = self.kept.get(id, [])
        at = bisect_left(kept, arrived - within)
        return at < len(kept) and kept[at] <= arrived + within

    def _keep(self, id: Any, arrived: int) -> None:
        insort(self.kept.setdefault(id, []), arrived)


def _real(id: Any) -> bool:
    return id is not None and id not in ("", b"")


__all__ = ["Again", "Part", "Truncated", "Unread", "again"]
