"""The ids that a stream's table holds, for a reader that takes over in the middle of the log: what was kept is what was
written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millstream.base.event import ARRIVED_AT, OFFSET, PARTITION
from millstream.base.moments import moment_of
from millstream.lake.port import Table
from millstream.log.dedupe import Earlier

Ints = np.ndarray[Any, np.dtype[np.int64]]


def earlier(table: Callable[[], Table], column: str, partition: int, below: int | None = None) -> Earlier:
    """What `Deduper` asks for: ids and arrivals of the partition's rows, by arrival.

    Args:
        table: Gives the newest handle there is; asked at each call.
        column: Where the ids are.
        below: Rows from this offset on are left out; None: none are.
    """

    def kept(low_us: int, high_us: int) -> Iterable[tuple[pa.Array, Ints]]:
        found = table()
        if column not in found.schema.names:
            return
        low, high = _moment(low_us), _moment(high_us)
        where = pc.field(PARTITION) == partition
        bounds: dict[str, tuple[Any, Any]] = {PARTITION: (partition, partition), ARRIVED_AT: (low, high)}
        if low is not None:
            where &= pc.field(ARRIVED_AT) >= low
        if high is not None:
            where &= pc.field(ARRIVED_AT) < high
        if below is not None:
            where &= pc.field(OFFSET) < below
            bounds[OFFSET] = (None, below - 1)
        for batch in found.scan(list(dict.fromkeys([column, ARRIVED_AT])), bounds, where):
            yield batch.column(column), batch.column(ARRIVED_AT).cast(pa.int64()).to_numpy(zero_copy_only=False)

    return kept


def _moment(us: int) -> datetime | None:
    """As a moment; None where no row can lie beyond it."""
    try:
        return moment_of(us)
    except OverflowError:
        return None
