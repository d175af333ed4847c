"""One partition of a stream's table: what its commits say they brought, and what is there."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from millstream.lake.earlier import earlier
from millstream.lake.lineage import Range
from millstream.lake.port import Table
from millstream.log.dedupe import Deduper
from millstream.log.port import Ends

MOST = 1_000
"""Findings of one kind that a report names."""
Finding = dict[str, Any]
Ints = np.ndarray[Any, np.dtype[np.int64]]


class Part:
    """One partition: what its commits said, and what is there."""

    def __init__(self, partition: int, said: Sequence[Range], stored: int) -> None:
        self.partition, self.said, self.stored = partition, said, stored
        self.starts, self.ends = np.array([r.start for r in said], np.int64), np.array([r.end for r in said], np.int64)
        self.dead: Ints = np.empty(0, np.int64)
        self.dead_twice: Ints = np.empty(0, np.int64)
        self.recorded: Ints = np.empty(0, np.int64)
        self.tally = Tally(self)

    def bury(self, offsets: Ints, recorded: Ints) -> None:
        """Its dead letters, and those whose verdict stands as recorded; verdicts ahead of the table are not in force
        yet.
        """
        at = self.which(offsets)
        # Judged before they were given up
        given_up = np.isin(at, [i for i, r in enumerate(self.said) if r.gap is not None])
        self.dead, times = np.unique(offsets[(offsets < self.stored) & ~given_up], return_counts=True)
        self.dead_twice, self.recorded = self.dead[times > 1], np.unique(recorded)

    def which(self, offsets: Ints) -> Ints:
        """The index of the range that each offset lies in, -1 for none. Where ranges overlap it is the last that
        begins.
        """
        at = np.searchsorted(self.starts, offsets, side="right") - 1
        at[at >= 0] = np.where(offsets[at >= 0] < self.ends[at[at >= 0]], at[at >= 0], -1)
        return at

    def findings(self, ends: Ends | None) -> Mapping[str, list[Finding]]:
        """All that is wrong with it, by kind."""
        gaps, overlaps = self._chain()
        doubles = [
            *self.tally.doubles,
            *({"partition": self.partition, "offset": at, "where": "quarantine"} for at in self.dead_twice.tolist()),
        ]
        torn = [*self.tally.torn, *self._torn()]
        if ends is not None and self.stored > ends.high:
            torn.append(
                {
                    "partition": self.partition,
                    "start": ends.high,
                    "end": self.stored,
                    "why": "the table stands past the log's end",
                }
            )
        if ends is not None and self.stored < ends.low:
            gaps.append(
                {"partition": self.partition, "start": self.stored, "end": ends.low, "recorded": False, "version": None}
            )
        return {"gaps": gaps, "overlaps": overlaps, "doubles": doubles, "torn": torn}

    def _chain(self) -> tuple[list[Finding], list[Finding]]:
        """Where ranges do not follow one another from the beginning to the stored position."""
        gaps: list[Finding] = []
        overlaps: list[Finding] = []
        at = 0
        for r in self.said:
            if r.start > at:
                gaps.append(
                    {"partition": self.partition, "start": at, "end": r.start, "recorded": False, "version": r.version}
                )
            elif r.start < at:
                overlaps.append(
                    {"partition": self.partition, "start": r.start, "end": min(at, r.end), "version": r.version}
                )
            if r.gap is not None:
                gaps.append(
                    {
                        "partition": self.partition,
                        "start": r.gap[0],
                        "end": r.gap[1],
                        "recorded": True,
                        "version": r.version,
                    }
                )
            at = max(at, r.end)
        if at < self.stored:
            gaps.append(
                {"partition": self.partition, "start": at, "end": self.stored, "recorded": False, "version": None}
            )
        elif at > self.stored:
            overlaps.append({"partition": self.partition, "start": self.stored, "end": at, "version": None})
        return gaps, overlaps

    def _torn(self) -> Iterator[Finding]:
        at = self.which(self.dead)
        letters = np.bincount(at[at >= 0], minlength=len(self.said)).tolist()
        for offset in self.dead[at < 0].tolist():
            yield {
                "partition": self.partition,
                "start": offset,
                "end": offset + 1,
                "why": "a dead letter that no commit counted",
            }
        for i, r in enumerate(self.said):
            rows, checksum = self.tally.rows[i], self.tally.checksums[i]
            where = {"partition": self.partition, "start": r.start, "end": r.end, "version": r.version}
            if rows != r.rows:
                yield {
                    **where,
                    "said": r.rows,
                    "found": rows,
                    "why": "rows are missing" if rows < r.rows else "there are more rows",
                }
            elif r.checksum is not None and checksum != r.checksum:
                yield {**where, "said": r.rows, "found": rows, "why": "the rows are at other offsets"}
            if letters[i] != r.dead:
                yield {**where, "said": r.dead, "found": letters[i], "why": "the dead letters are others"}
            if r.duplicates < 0:
                yield {
                    **where,
                    "said": r.records,
                    "found": r.rows + r.dead,
                    "why": "more rows and dead letters than records read",
                }
            if r.records != r.rows + r.dead + r.duplicates:
                yield {
                    **where,
                    "said": r.records,
                    "found": r.rows + r.dead + r.duplicates,
                    "why": "records read and records accounted for differ",
                }


class Tally:
    """What a partition's rows add up to, taken in the order of the log.

    Args:
        table: To look for ids that repeat, each range by the rule that its commit names; None: do not look.
    """

    def __init__(self, part: Part, table: Table | None = None) -> None:
        self.part, self.table = part, table
        self.rows, self.checksums = [0] * len(part.said), [0] * len(part.said)
        self.doubles: list[Finding] = []
        self.torn: list[Finding] = []
        self.last = -1
        self.in_order = True
        self.deduper: Deduper | None = None
        self.rule: tuple[str | None, int | None] | None = None

    def take(self, rows: pa.RecordBatch, offsets: Ints, arrived_us: Ints) -> None:
        """Rows that follow those taken before; the same offset again is a double, a lower one ends the tally."""
        steps = np.diff(offsets, prepend=self.last)
        if (steps < 0).any():
            self.in_order = False
            return
        self._double(offsets[steps == 0], "table")
        if len(self.part.dead):
            self._double(offsets[np.isin(offsets, self.part.dead)], "table and quarantine")
        which = self.part.which(offsets)
        cuts = (np.flatnonzero(np.diff(which)) + 1).tolist()
        for a, b in zip([0, *cuts], [*cuts, len(which)], strict=True):
            at = int(which[a])
            if at < 0:
                self.torn.append(
                    {
                        "partition": self.part.partition,
                        "start": int(offsets[a]),
                        "end": int(offsets[b - 1]) + 1,
                        "why": f"{b - a} rows that no commit brought",
                    }
                )
                continue
            self.rows[at] += b - a
            self.checksums[at] = zlib.crc32(offsets[a:b].astype("<i8").tobytes(), self.checksums[at])
            self._ids(self.part.said[at], rows.slice(a, b - a), offsets[a:b], arrived_us[a:b], steps[a:b])
        self.last = int(offsets[-1])

    def _ids(self, said: Range, rows: pa.RecordBatch, offsets: Ints, arrived_us: Ints, steps: Ints) -> None:
        """No two rows of one id lie within the window of the range that brought the later one."""
        rule = (said.id_column, said.within_us)
        if self.table is not None and rule != self.rule:
            self.rule, self.deduper = rule, None
            if said.id_column is not None and said.id_column in rows.schema.names:
                self.deduper = Deduper(said.within_us or 0)
                kept = earlier(lambda: self.table, said.id_column, self.part.partition, int(offsets[0]))  # type: ignore[arg-type,return-value]
                self.deduper.begin(self.part.partition, kept, at_start=said.start == 0)
        if self.deduper is None:
            return
        ids = rows.column(str(said.id_column))
        again = np.flatnonzero(~self.deduper.keep(self.part.partition, ids, arrived_us) & (steps > 0))
        for at in again[:MOST].tolist():
            self.doubles.append(
                {
                    "partition": self.part.partition,
                    "offset": int(offsets[at]),
                    "where": "table",
                    "id": str(ids[at].as_py()),
                }
            )

    def _double(self, offsets: Ints, where: str) -> None:
        self.doubles += [
            {"partition": self.part.partition, "offset": at, "where": where} for at in offsets[:MOST].tolist()
        ]
