"""Which partition a record belongs to: a hash of its key, the same for ever."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from millstream.log.hashing import hashes


def partition(rows: pa.RecordBatch, key: Sequence[str], partitions: int) -> list[pa.RecordBatch | None]:
    """The rows of each partition, in their order; None where a partition gets none.

    Args:
        key: Columns whose values decide; equal values always land together.
    """
    if partitions == 1 or rows.num_rows == 0:
        return [rows if rows.num_rows else None, *[None] * (partitions - 1)]
    places = (hashes([rows.column(name) for name in key]) % np.uint64(partitions)).astype(np.int64)
    counts = np.bincount(places, minlength=partitions)
    if counts.max() == rows.num_rows:
        return [rows if count else None for count in counts]
    ordered = rows.take(pa.array(np.argsort(places, kind="stable")))
    ends = np.cumsum(counts)
    return [
        ordered.slice(int(end - count), int(count)) if count else None for count, end in zip(counts, ends, strict=True)
    ]
