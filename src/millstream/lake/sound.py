"""Which values every writer and reader of a table can hold, column by column.

Arrow holds more than they do: dates beyond the years of Python and Spark, strings that are not UTF-8, nulls as items of
a list whose items Avro requires, and NaN, which is not a value. The doors refuse such a record before the log, and
`judge` makes a dead letter of one that is there already, by this one rule. A sound column costs a minimum, a maximum
and one pass over its text; only an unsound one is looked at row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as is_

Mask = npt.NDArray[np.bool_]

OUTSIDE = "lies outside the years 1 to 9999"
NOT_TEXT = "is not UTF-8"
NULL_ITEM = "holds a null in a list, and the items of a list are required"
NAN_ITEM = "holds a NaN in a list: it is not a value, and the items of a list are required"

UNFIT = (
    pa.ArrowInvalid,
    pa.ArrowTypeError,
    pa.ArrowNotImplementedError,
    pa.ArrowKeyError,
    pa.ArrowIndexError,
    pa.ArrowCapacityError,
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
)
"""What a conversion raises when a value is at fault. MemoryError and OSError are not among them: they are never a
record's fault.
"""

_DAY = 86_400
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def years(kind: pa.DataType) -> tuple[int, int]:
    """The least and the largest stored number of a date or a time that lies in the years 1 to 9999."""
    if is_.is_date32(kind):
        return _FIRST_DAY, _LAST_DAY
    per_second = 1_000 if is_.is_date64(kind) else _PER_SECOND[kind.unit]
    return _FIRST_DAY * _DAY * per_second, (_LAST_DAY + 1) * _DAY * per_second - 1


def unsound(column: pa.Array, *, null_items: bool = False) -> Iterator[tuple[Mask, str]]:
    """The rows whose value not every writer can hold, and what is wrong with them; nothing for a sound column.

    Args:
        null_items: Items of lists may be null, or NaN: so in columns that no class declares.
    """
    kind = column.type
    if is_.is_string(kind) or is_.is_large_string(kind):
        yield from _text(column)
    elif is_.is_date(kind) or is_.is_timestamp(kind):
        yield from _years(column)
    elif is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind):
        yield from _items(
            len(column), column.flatten(), np.asarray(pc.list_parent_indices(column), np.int64), null_items
        )
    elif is_.is_map(kind):
        offsets = np.asarray(column.offsets, np.int64)
        parents = np.repeat(np.arange(len(column)), np.diff(offsets))
        for items in (column.keys, column.items):
            yield from _items(len(column), items.slice(int(offsets[0]), len(parents)), parents, null_items=True)
    elif is_.is_struct(kind):
        for child in column.flatten():
            yield from unsound(child, null_items=null_items)


def _items(rows: int, items: pa.Array, parents: npt.NDArray[np.int64], null_items: bool) -> Iterator[tuple[Mask, str]]:
    """Wrong items as wrong rows."""
    found = list(unsound(items, null_items=null_items))
    if items.null_count and not null_items:
        found.append((np.asarray(items.is_null()), NULL_ITEM))
    if is_.is_floating(items.type) and not null_items and pc.any(pc.is_nan(items)).as_py():
        found.append((np.asarray(pc.fill_null(pc.is_nan(items), False)), NAN_ITEM))
    for mask, why in found:
        wrong = np.zeros(rows, bool)
        wrong[parents[mask]] = True
        yield wrong, why


def _years(column: pa.Array) -> Iterator[tuple[Mask, str]]:
    first, last = years(column.type)
    numbers = column.cast(pa.int32()).cast(pa.int64()) if is_.is_date32(column.type) else column.cast(pa.int64())
    bounds = pc.min_max(numbers)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if low is not None and (low < first or high > last):
        wrong = pc.or_(pc.less(numbers, first), pc.greater(numbers, last))
        yield np.asarray(pc.fill_null(wrong, False)), OUTSIDE


def _text(column: pa.Array) -> Iterator[tuple[Mask, str]]:
    if _ascii(column):
        return
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        raw = column.cast(pa.large_binary() if is_.is_large_string(column.type) else pa.binary())
        yield np.fromiter((not _decodes(value) for value in raw.to_pylist()), bool, len(column)), NOT_TEXT


def _ascii(column: pa.Array) -> bool:
    """Whether all of it is ASCII, which is UTF-8: one look at all bytes at once takes a tenth of the time of Arrow's
    look at each value.
    """
    _, offsets, text = column.buffers()
    if text is None or not len(column):
        return False
    within = memoryview(offsets).cast("q" if is_.is_large_string(column.type) else "i")[
        column.offset : column.offset + len(column) + 1
    ]
    ends = np.asarray(within)
    if ends[0] < 0 or ends[-1] > text.size or (ends[1:] < ends[:-1]).any():
        return False
    return bool(np.frombuffer(text, np.int8)[ends[0] : ends[-1]].min(initial=0) >= 0)


def _decodes(value: bytes | None) -> bool:
    try:
        return value is None or value.decode() is not None
    except UnicodeDecodeError:
        return False


def lenient(column: pa.Array, to: Callable[[pa.Array], pa.Array], kind: pa.DataType) -> tuple[pa.Array, list[int]]:
    """`to(column)`, with null where it fails, and the places where it failed: what fails is halved until its records
    are found.
    """
    try:
        return to(column), []
    except UNFIT:
        if len(column) <= 1:
            return pa.nulls(len(column), kind), list(range(len(column)))
    half = len(column) // 2
    left, bad_left = lenient(_part(column, 0, half), to, kind)
    right, bad_right = lenient(_part(column, half, len(column)), to, kind)
    return pa.concat_arrays([left, right]), bad_left + [half + at for at in bad_right]


def _part(column: pa.Array, start: int, stop: int) -> pa.Array:
    """Some of the rows, with their own items only: Arrow casts all items that lie under a slice of lists, and one bad
    item would fail every slice.
    """
    return (
        column.take(pa.array(np.arange(start, stop)))
        if is_.is_nested(column.type)
        else column.slice(start, stop - start)
    )


def with_items(column: pa.Array, items: pa.Array, kind: pa.DataType | None = None) -> pa.Array:
    """A column of lists with these items in the place of its own (`column.flatten()`); of the type `kind`, or of lists
    of theirs.
    """
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0), np.int64)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, items, type=kind, mask=column.is_null() if column.null_count else None)


def without(column: pa.Array, bad: Mask) -> pa.Array:
    """The column with null in these rows."""
    return pc.if_else(pa.array(bad), pa.scalar(None, column.type), column)
