"""What one partition of a stream's table is without the rows that are moved: which rows go, whose flag is otherwise,
its time, its ranges.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millstream.base.errors import Corrupt
from millstream.base.event import ARRIVED_AT, ENVELOPE, LATE, OFFSET, PARTITION
from millstream.declare.stream import Stream
from millstream.lake.far import Ints, micros, there
from millstream.lake.late import late
from millstream.lake.lineage import Range
from millstream.lake.port import Table
from millstream.lake.positions import NEVER
from millstream.lake.unkept import Again, Part

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Plan:
    """One partition.

    Attributes:
        away: Offsets of rows that go, ascending: those moved, and those that repeat a record which is a row now.
        flip: Offsets of rows that are late and would not be, or the other way round, ascending.
        found: Records that are rows now, in the table's columns, ascending; None when there are none.
        before: For each of them, the offset of the row that it stands before; -1: after all.
        newest_us: The newest event time, none taken for later than its arrival.
        restated: Ranges whose numbers are others.
    """

    partition: int
    away: Ints
    flip: Ints
    found: pa.RecordBatch | None
    before: Ints
    newest_us: int
    restated: tuple[Range, ...]

    @property
    def first(self) -> int:
        """The least offset at which anything changes."""
        return int(self.away[0])

    def last_rows(self) -> list[pa.RecordBatch]:
        """Of `found`, what stands after all rows."""
        return [] if self.found is None else [self.found.filter(pa.array(self.before < 0))]


@dataclass(frozen=True)
class _Rows:
    """Rows from the first range on that changes, ascending by offset."""

    offsets: Ints
    times: Ints
    arrived: Ints
    late: Bools

    def only(self, mask: Bools) -> _Rows:
        return _Rows(self.offsets[mask], self.times[mask], self.arrived[mask], self.late[mask])


def plan(table: Table, stream: Stream[Any], part: Part, again: Again, buried: Ints) -> Plan:
    """What the partition is after its rows were moved.

    Args:
        again: What of the rest is otherwise.
        buried: Offsets of letters that come with it, and of all of earlier moves: those of one that was killed are not
            counted yet.

    Raises:
        Corrupt: The table is not what its commits say it is.
    """
    begin = max((r.start for r in part.said if r.start <= part.moved[0]), default=0)
    rows, newest = _read(table, stream, part.partition, begin)
    away = np.union1d(part.moved, np.array(again.doubled, np.int64))
    found = _together(again.found)
    kept = rows.only(~np.isin(rows.offsets, away))
    after = _merged(kept, _columns(stream, found)) if found is not None else kept
    marked, last = late(after.times, after.arrived, newest, stream.lateness_us)
    old = np.isin(after.offsets, kept.offsets)
    flip = after.offsets[old & (marked != after.late) & (after.times > NEVER)]
    after = replace(after, late=marked)
    fresh: Ints = np.empty(0, np.int64) if found is None else found.column(OFFSET).to_numpy()
    touched, dead = (
        np.unique(np.concatenate([away, buried[buried > away[0]], fresh])),
        np.unique(np.concatenate([part.letters, part.moved, buried])),
    )
    restated = tuple(_counted(r, rows, after, dead) for r in part.said if _many(r, touched))
    fitted = None if found is None else _fitted(found, table.schema, part.partition, after.late[~old])
    place = np.searchsorted(rows.offsets, fresh)
    ahead = np.append(rows.offsets, -1)[place]
    return Plan(part.partition, away, flip, fitted, ahead, last, restated)


def _read(table: Table, stream: Stream[Any], partition: int, begin: int) -> tuple[_Rows, int]:
    """The partition's rows from `begin` on, and the newest time before."""
    time = stream.schema.event_time
    columns = there(table, [PARTITION, OFFSET, time, ARRIVED_AT, LATE])
    newest, held = NEVER, list[_Rows]()
    for batch in table.scan(columns, {PARTITION: (partition, partition)}, pc.field(PARTITION) == partition):
        rows = _columns(stream, batch)
        early = rows.offsets < begin
        if early.any():
            newest = max(newest, int(np.minimum(rows.times, rows.arrived)[early].max()))
        held.append(rows.only(~early))
    whole = _Rows(
        *(np.concatenate([getattr(rows, name) for rows in held]) for name in ("offsets", "times", "arrived", "late"))
    )
    order = np.argsort(whole.offsets, kind="stable")
    return _Rows(whole.offsets[order], whole.times[order], whole.arrived[order], whole.late[order]), newest


def _columns(stream: Stream[Any], batch: pa.RecordBatch) -> _Rows:
    times, arrived = micros(batch, stream.schema.event_time), micros(batch, ARRIVED_AT)
    flags = (
        batch.column(LATE).fill_null(False).to_numpy(zero_copy_only=False)
        if LATE in batch.schema.names
        else np.zeros(batch.num_rows, bool)
    )
    return _Rows(batch.column(OFFSET).to_numpy(), times, arrived, np.asarray(flags, bool))


def _together(found: Sequence[pa.RecordBatch]) -> pa.RecordBatch | None:
    return pa.Table.from_batches(found).combine_chunks().to_batches()[0] if found else None


def _merged(rows: _Rows, more: _Rows) -> _Rows:
    at = np.searchsorted(rows.offsets, more.offsets)
    return _Rows(
        *(np.insert(getattr(rows, name), at, getattr(more, name)) for name in ("offsets", "times", "arrived", "late"))
    )


def _counted(r: Range, rows: _Rows, after: _Rows, dead: Ints) -> Range:
    """The range with its numbers counted again."""
    if (there := _many(r, rows.offsets)) != r.rows:
        raise Corrupt(
            f"partition {r.partition}, offsets [{r.start}, {r.end}): the commit says {r.rows} rows, and the table has"
            f" {there}; nothing is moved while millstream verify finds the stream broken"
        )
    (a, b), letters = _within(r, after.offsets), _many(r, dead)
    times = after.times[a:b]
    least, most = (int(times.min()), int(times.max())) if b > a else (None, None)
    checksum = zlib.crc32(after.offsets[a:b].astype("<i8").tobytes())
    return replace(
        r,
        rows=b - a,
        dead=letters,
        duplicates=r.records - letters - (b - a),
        late=int(after.late[a:b].sum()),
        min_us=least,
        max_us=most,
        checksum=checksum,
    )


def _within(r: Range, offsets: Ints) -> tuple[int, int]:
    a, b = np.searchsorted(offsets, [r.start, r.end])
    return int(a), int(b)


def _many(r: Range, offsets: Ints) -> int:
    a, b = _within(r, offsets)
    return b - a


def _fitted(found: pa.RecordBatch, schema: pa.Schema, partition: int, late: Bools) -> pa.RecordBatch:
    made = {
        **dict(zip(found.schema.names, found.columns, strict=True)),
        LATE: pa.array(late),
        PARTITION: pa.repeat(pa.scalar(partition, ENVELOPE[PARTITION]), found.num_rows),
    }
    return pa.RecordBatch.from_arrays([made[field.name].cast(field.type) for field in schema], schema=schema)


def changed(rows: pa.RecordBatch, plans: Mapping[int, Plan]) -> pa.RecordBatch:
    """Rows of the table as they are after the plans; the very batch where nothing is otherwise."""
    partitions, offsets = rows.column(PARTITION).to_numpy(), rows.column(OFFSET).to_numpy()
    away, flip, begins = np.zeros(len(offsets), bool), np.zeros(len(offsets), bool), list[tuple[int, pa.RecordBatch]]()
    for partition, plan in plans.items():
        mine = partitions == partition
        away |= mine & np.isin(offsets, plan.away)
        flip |= mine & np.isin(offsets, plan.flip)
        if plan.found is not None:
            for at in np.flatnonzero(mine & np.isin(offsets, plan.before)).tolist():
                begins.append((at, plan.found.filter(pa.array(plan.before == offsets[at]))))
    if not (away.any() or flip.any() or begins):
        return rows
    if flip.any():
        at = rows.schema.get_field_index(LATE)
        late = pc.xor(pc.fill_null(rows.column(at), False), pa.array(flip))
        rows = rows.set_column(at, rows.schema.field(at), late)
    pieces, last = list[pa.RecordBatch](), 0
    for at, found in sorted(begins, key=lambda one: one[0]):
        pieces += [_without(rows, away, last, at), found]
        last = at
    return pa.concat_batches([*pieces, _without(rows, away, last, len(offsets))])


def _without(rows: pa.RecordBatch, away: Bools, start: int, end: int) -> pa.RecordBatch:
    return rows.slice(start, end - start).filter(pa.array(~away[start:end]))
