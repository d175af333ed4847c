"""Columns into 64-bit hashes, the same on every machine and in every version.

Strings by a polynomial over their UTF-8 bytes modulo 2**64 (prefix sums make it one pass over all bytes, whatever their
lengths), then the finaliser of SplitMix64 (Steele, Lea and Flood, 2014). No defence against an adversary who chooses
keys; ids are told apart by another hash (`dedupe.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

U64 = npt.NDArray[np.uint64]
_BASE = 0x9E3779B97F4A7C15  # odd, so that its powers can be undone
_NULL = np.uint64(0x6E756C6C)
_CHUNK = 1 << 18
_powers: list[tuple[U64, U64]] = []
"""The powers known so far and their inverses: none, or one pair."""


def hashes(columns: Sequence[pa.Array]) -> U64:
    """One hash a row of all columns together."""
    whole: U64 | None = None
    for column in columns:
        one = _column(column)
        whole = one if whole is None else _mix(whole * np.uint64(31) + one)
    assert whole is not None, "at least one column"
    return whole


def _column(column: Any) -> U64:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_binary(column.type) or pa.types.is_large_string(column.type):
        found = _text(column.cast(pa.large_binary()))
    else:
        found = _mix(_number(column))
    if column.null_count:
        found = np.where(np.asarray(column.is_null()), _mix(np.asarray([_NULL]))[0], found)
    return found


def _number(column: Any) -> U64:
    kind = column.type
    if pa.types.is_floating(kind):
        column = pc.fill_null(column.cast(pa.float64()), 0.0)
        return np.asarray(pc.add(column, 0.0)).view(np.uint64)
    if pa.types.is_date(kind):
        column = column.cast(pa.int32())
    return np.asarray(pc.fill_null(column.cast(pa.int64()), 0)).view(np.uint64)


def _text(column: Any) -> U64:
    offsets = np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column) + 1]
    data = column.buffers()[2]
    found = np.empty(len(column), np.uint64)
    body = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    start = 0
    while start < len(column):  # in pieces that fit the processor's cache better than all bytes at once
        stop = int(np.searchsorted(offsets, offsets[start] + _CHUNK, side="right")) - 1
        stop = min(stop, len(column))
        if stop > start:
            found[start:stop] = _piece(body, offsets[start : stop + 1])
        else:
            stop = start + 1
            found[start] = _long(body[offsets[start] : offsets[stop]])
        start = stop
    return found


def _piece(body: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> U64:
    first, last = int(offsets[0]), int(offsets[-1])
    power, inverse = _power(last - first + 1)
    sums = np.zeros(last - first + 1, np.uint64)
    np.cumsum((body[first:last].astype(np.uint64) + np.uint64(1)) * power[: last - first], out=sums[1:])
    at = offsets - first
    raw = (sums[at[1:]] - sums[at[:-1]]) * inverse[at[:-1]]
    return _mix(raw + np.diff(at).astype(np.uint64))


def _long(body: npt.NDArray[np.uint8]) -> np.uint64:
    """A value longer than a piece; powers of its whole length would be kept for ever."""
    power, _ = _power(_CHUNK + 1)
    step, factor, raw = pow(_BASE, _CHUNK, 1 << 64), 1, 0
    for begin in range(0, len(body), _CHUNK):
        part = body[begin : begin + _CHUNK]
        raw += factor * int(np.sum((part.astype(np.uint64) + np.uint64(1)) * power[: len(part)], dtype=np.uint64))
        factor = factor * step % (1 << 64)
    return _mix(np.asarray([(raw + len(body)) % (1 << 64)], np.uint64))[0]


def _power(count: int) -> tuple[U64, U64]:
    if not _powers or len(_powers[0][0]) < count:
        size = max(count, 1 << 16)
        steps, backs = np.full(size, _BASE, np.uint64), np.full(size, pow(_BASE, -1, 1 << 64), np.uint64)
        steps[0] = backs[0] = 1
        _powers[:] = [(np.cumprod(steps), np.cumprod(backs))]
    return _powers[0]


def _mix(x: U64) -> U64:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
