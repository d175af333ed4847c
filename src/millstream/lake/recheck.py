"""Verdicts made again: what the log still holds is judged by the recorded rules, and compared with what became of it.

A record that was dropped as a duplicate of nothing, or that is a row and should not be, shows nowhere else: counts and
checksums agree with the commit that was wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millstream.base.errors import Damaged, Incompatible
from millstream.base.event import ARRIVED_AT, OFFSET, PARTITION
from millstream.declare.stream import Stream
from millstream.lake.earlier import earlier
from millstream.lake.judge import judge
from millstream.lake.port import Table
from millstream.lake.ruling import Rule
from millstream.lake.tally import MOST, Finding, Ints, Part
from millstream.log.dedupe import Deduper
from millstream.log.port import Log, Slice
from millstream.log.slices import joined

ROW, DEAD, DUPLICATE = 0, 1, 2
WORDS = ("row", "dead letter", "duplicate")
_POLL_ROWS = 131_072
_WAIT = timedelta(milliseconds=200)


@dataclass(frozen=True)
class Rechecked:
    """What came of a partition.

    Attributes:
        records: Judged again.
        skipped: Offsets that are in the log, and were judged by a rule or a class that is not the stream's any more, or
            cannot be read.
        wrong: Records whose verdict is another.
    """

    records: int
    skipped: int
    wrong: list[Finding]


def recheck(
    log: Log,
    table: Table,
    stream: Stream[Any],
    part: Part,
    low: int,
    high: int,
    report: Callable[[int], None] = lambda records: None,
) -> Rechecked:
    """Judge again what the log holds of a partition from `low` on and below the table's position.

    Args:
        high: Where the log ends; before the table's position when it was restored from an older copy.
        report: Called with the number of records judged, piece by piece.

    Raises:
        Truncated: Retention has passed `low` meanwhile: ask for the log's ends again.
    """
    rule, made, skipped = Rule.of(stream).fingerprint, _Rechecking(log, table, stream, part, report), 0
    for same, ranges in groupby(part.said, lambda r: r.rule == rule):
        held = list(ranges)
        at, end = max(held[0].start, low), min(held[-1].end, part.stored, high)
        if not same:
            skipped += max(0, end - at)
            continue
        while at < end:
            try:
                made.stretch(at, end)
                break
            except Damaged as error:
                skipped, at = skipped + min(error.end, end) - error.start, error.end
            except Incompatible:  # the class takes no such records any more
                skipped, at = skipped + end - made.at, end
    return Rechecked(made.records, skipped, made.wrong[:MOST])


class _Rechecking:
    def __init__(self, log: Log, table: Table, stream: Stream[Any], part: Part, report: Callable[[int], None]) -> None:
        self.log, self.table, self.stream, self.part, self.report = log, table, stream, part, report
        self.rule = Rule.of(stream)
        self.records = self.at = 0
        self.wrong: list[Finding] = []

    def stretch(self, start: int, end: int) -> None:
        """Offsets [start, end), all written under the stream's own rule."""
        deduper, partition, column = Deduper(self.rule.within_us), self.part.partition, self.rule.id_column
        if column is not None:
            deduper.begin(partition, earlier(lambda: self.table, column, partition, start), at_start=start == 0)
        self.at = start
        reader = self.log.reader(self.stream.name, {partition: start})
        try:
            while self.at < end:
                for piece in joined(reader.poll(min(_POLL_ROWS, end - self.at), _WAIT)):
                    rows = piece.rows.filter(pc.less(piece.rows.column(OFFSET), end))
                    if rows.num_rows:
                        self._piece(
                            Slice(piece.topic, partition, piece.start, min(piece.end, end), piece.schema_id, rows),
                            deduper if column else None,
                        )
                self.at = reader.position(partition)
        finally:
            reader.close()

    def _piece(self, piece: Slice, deduper: Deduper | None) -> None:
        judged = judge(self.stream, piece.rows, piece.schema_id)
        offsets: Ints = judged.rows.column(OFFSET).to_numpy()
        good = judged.good & ~np.isin(offsets, self.part.recorded)
        right = np.where(good, ROW, DEAD)
        if deduper is not None and good.any():
            rows = judged.rows.filter(pa.array(good))
            keep = deduper.keep(
                self.part.partition,
                rows.column(str(self.rule.id_column)),
                rows.column(ARRIVED_AT).cast(pa.int64()).to_numpy(),
            )
            right[np.flatnonzero(good)[~keep]] = DUPLICATE
        found = self._found(offsets)
        for at in np.flatnonzero(found != right)[:MOST].tolist():
            why = judged.errors.get(at, "") or f"it is a {WORDS[found[at]]}, and should be a {WORDS[right[at]]}"
            self.wrong.append(
                {
                    "partition": self.part.partition,
                    "offset": int(offsets[at]),
                    "found": WORDS[found[at]],
                    "right": WORDS[right[at]],
                    "why": why,
                }
            )
        self.records += len(offsets)
        self.report(len(offsets))

    def _found(self, offsets: Ints) -> Ints:
        """What became of these records: what is neither a row nor a dead letter was dropped as a duplicate."""
        low, high, partition = int(offsets[0]), int(offsets[-1]), self.part.partition
        where = (pc.field(PARTITION) == partition) & (pc.field(OFFSET) >= low) & (pc.field(OFFSET) <= high)
        batches = self.table.scan([OFFSET], {PARTITION: (partition, partition), OFFSET: (low, high)}, where)
        rows = np.concatenate([np.empty(0, np.int64), *(batch.column(0).to_numpy() for batch in batches)])
        found = np.full(len(offsets), DUPLICATE)
        found[np.isin(offsets, self.part.dead)] = DEAD
        found[np.isin(offsets, rows)] = ROW
        return found
