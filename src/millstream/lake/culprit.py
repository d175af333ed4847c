"""Which one record a conversion fails on. That it fails at all is a fault of ours (`judge` should have said so); the
operator may set the record aside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa

from millstream.base.errors import MillstreamError, Unwritable
from millstream.base.event import OFFSET

_NOBODYS = (MillstreamError, OSError, MemoryError)
"""A full disk, a lost store or too little memory is not a record's fault."""


@contextmanager
def named(
    stream: str, partition: int, batches: Iterable[pa.RecordBatch], convert: Callable[[pa.RecordBatch], object]
) -> Iterator[None]:
    """Have an error of the block name the record that it comes from.

    Args:
        batches: What the block converts, with `_offset`.
        convert: The same for some of the rows, in memory alone.

    Raises:
        Unwritable: One record fails by itself. Any other error comes through as it is.
    """
    try:
        yield
    except _NOBODYS:
        raise
    except Exception as error:
        for rows in batches:
            found = _first(rows, convert)
            if found is not None:
                record = f"{partition}:{rows.column(OFFSET)[found].as_py()}"
                raise Unwritable(
                    f'record {record} of "{stream}" is well-formed and cannot be written ({type(error).__name__}:'
                    f" {error}); please report it. To continue without it:  millstream dead set {stream} {record}"
                ) from error
        raise


def _first(rows: pa.RecordBatch, convert: Callable[[pa.RecordBatch], object]) -> int | None:
    """The index of a row that fails by itself; None when none does."""
    low, high = 0, rows.num_rows
    if not high or not _fails(rows, convert):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if _fails(rows.slice(low, middle - low), convert):
            high = middle
        else:
            low = middle
    return low if _fails(rows.slice(low, 1), convert) else None


def _fails(rows: pa.RecordBatch, convert: Callable[[pa.RecordBatch], object]) -> bool:
    try:
        convert(rows)
    except _NOBODYS:
        return False
    except Exception:
        return True
    return False
