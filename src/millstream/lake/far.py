"""Rows whose event time or arrival time lies too far ahead: found by a bound that somebody has decided.

No door lets such a record in (`ingest/ahead.py`); rows from before that rule, or from a time when a clock was wrong,
are in tables. `move.py` moves them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.base.duration import spell
from millstream.base.event import ARRIVED_AT, OFFSET, PARTITION
from millstream.base.moments import moment_of, spelled
from millstream.declare.stream import Stream
from millstream.lake.port import Table
from millstream.lake.positions import NEVER

BEYOND = "millstream-beyond/"
"""`millstream-beyond/<topic uuid>` -> the bound, microseconds, while rows beyond it are being moved; 0 when all are."""
SHOWN = 3
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Far:
    """Rows of a stream's table that lie beyond a bound.

    Attributes:
        bound_us: The latest time that is not beyond.
        rows: How many rows.
        of: How many rows the table has.
        first: The first few, in words.
    """

    stream: str
    bound_us: int
    rows: int
    of: int
    first: tuple[str, ...]

    def __str__(self) -> str:
        more = ", ..." if self.rows > len(self.first) else ""
        lie = "lies" if self.rows == 1 else "lie"
        return (
            f"{self.rows:,} of {self.of:,} rows {lie} too far ahead (later than {spelled(self.bound_us)}):"
            f" {'; '.join(self.first)}{more}"
        )


def look(table: Table, stream: Stream[Any], bound_us: int) -> Far | None:
    """The rows beyond the bound; None when there are none. Files whose statistics lie below it are not opened."""
    found, first = 0, list[tuple[int, int, str]]()
    for rows in beyond(table, stream, bound_us, [PARTITION, OFFSET]):
        found += rows.num_rows
        least = np.lexsort((rows.column(OFFSET).to_numpy(), rows.column(PARTITION).to_numpy()))[:SHOWN]
        first = sorted([*first, *_words(stream, rows.take(pa.array(least)), bound_us)])[:SHOWN]
    return (
        Far(stream.name, bound_us, found, sum(r.rows for r in table.ranges()), tuple(words for _, _, words in first))
        if found
        else None
    )


def beyond(
    table: Table, stream: Stream[Any], bound_us: int, columns: list[str], partition: int | None = None
) -> Iterator[pa.RecordBatch]:
    """These columns, and both times, of the rows beyond the bound; each row once, in no order."""
    time, least = stream.schema.event_time, after(bound_us)
    if least is None:
        return
    wanted = there(table, [*columns, PARTITION, time, ARRIVED_AT])
    mine: dict[str, tuple[Any, Any]] = {} if partition is None else {PARTITION: (partition, partition)}
    for column in there(table, [time, ARRIVED_AT]):
        for rows in table.scan(wanted, {**mine, column: (least, None)}):
            happened, arrived = micros(rows, time), micros(rows, ARRIVED_AT)
            far = happened > bound_us if column == time else (arrived > bound_us) & (happened <= bound_us)
            if partition is not None:
                far &= rows.column(PARTITION).to_numpy() == partition
            if far.any():
                yield rows.filter(pa.array(far))


def there(table: Table, columns: list[str]) -> list[str]:
    """Those that the table has, each once: the class may have one that no sink has added yet."""
    return [name for name in dict.fromkeys(columns) if name in table.schema.names]


def micros(rows: pa.RecordBatch, name: str) -> Ints:
    """A time in microseconds; `NEVER` where there is none."""
    if name not in rows.schema.names:
        return np.full(rows.num_rows, NEVER, np.int64)
    values: Ints = rows.column(name).cast(pa.int64()).fill_null(NEVER).to_numpy(zero_copy_only=False)
    return values


def after(bound_us: int) -> datetime | None:
    """The first moment beyond; None where no row can lie beyond."""
    try:
        return moment_of(bound_us + 1)
    except OverflowError:
        return None


def why(stream: Stream[Any], happened_us: int, arrived_us: int, bound_us: int) -> str:
    """What is wrong with a row beyond the bound."""
    by_event = happened_us > bound_us
    field = stream.schema.event_time if by_event else stream.schema.arrival_time or ARRIVED_AT
    return (
        f'{"event" if by_event else "arrival"} time "{field}" is {spelled(happened_us if by_event else arrived_us)},'
        f" more than {spell(stream.ahead_us)} ahead"
    )


def _words(stream: Stream[Any], rows: pa.RecordBatch, bound_us: int) -> Iterator[tuple[int, int, str]]:
    """Partition, offset and what is wrong, of some rows."""
    places = zip(rows.column(PARTITION).to_pylist(), rows.column(OFFSET).to_pylist(), strict=True)
    times = zip(micros(rows, stream.schema.event_time).tolist(), micros(rows, ARRIVED_AT).tolist(), strict=True)
    for (partition, offset), (happened, arrived) in zip(places, times, strict=True):
        yield partition, offset, f"{partition}:{offset} {why(stream, happened, arrived, bound_us)}"
