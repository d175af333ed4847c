"""What is kept of a key, as blobs: tiles of one level and one stretch of time, one record after the other, in order.

A record is 64-bit words, little-endian: where the tile stands (b), then each stored column. What adds is an integer;
least and greatest are doubles, infinite when there is none; a first or last is the 24 bytes of its pair, whose time is
one more than it is, so that nothing but zeros is "no last", as nothing but ones is "no first", and the order of bytes
remains the order of pairs. A fourth level has the recent events, those of one key and microsecond as one: b is their
time.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from millstream.base.errors import Corrupt
from millstream.features.definition import Definition
from millstream.features.lift import Columns
from millstream.features.online import Row
from millstream.features.state import stored
from millstream.features.window import SLOT_US

Array: TypeAlias = np.ndarray[Any, Any]
MOMENTS = 3
"""The level of events."""
GROUPS = (12, 12, 32, SLOT_US)
"""How many b of each level share a blob: an hour, half a day, 32 days; and the events of a slot."""
_REL_BITS = 29
_NOTHING: Row = (0,)
_READ: dict[str, tuple[str, Callable[[Any], Any], Any]] = {
    "add": ("q", sum, None),
    "least": ("d", min, float("inf")),
    "greatest": ("d", max, float("-inf")),
    "least pair": ("24s", min, b"\xff" * 24),
    "greatest pair": ("24s", max, b"\0" * 24),
}
"""Of each kind of column: how it is unpacked, how it merges, and what stands there when there is none."""


class Layout:
    """Where each column of a definition lies in a record."""

    def __init__(self, definition: Definition) -> None:
        self.columns: list[tuple[str, int]] = []  # how it merges, and its first word
        at = 1
        for _, merge, kind in stored(definition):
            packed = kind not in (pa.int64(), pa.float64())
            self.columns.append((f"{merge} pair" if packed else merge, at))
            at += 3 if packed else 1
        self.words = at
        kinds = [kind for kind, _ in self.columns]
        self._adds = np.array([at for kind, at in self.columns if kind == "add"])
        self._record = struct.Struct("<8x" + "".join(_READ[kind][0] for kind in kinds))
        self._merges = [_READ[kind][1] for kind in kinds]
        self._nothing = [_READ[kind][2] for kind in kinds]
        self._partial = any(kind != "add" for kind in kinds)

    # -- arrays of records

    def records(self, b: Array, states: Sequence[tuple[Array, Array | None]]) -> Array:
        """Records (n, words) of states as `Columns` has them."""
        made = np.empty((len(b), self.words), np.int64)
        made[:, 0] = b
        for (kind, at), (values, there) in zip(self.columns, states, strict=True):
            if kind == "add":
                made[:, at] = values
            elif kind in ("least", "greatest"):
                missing = np.inf if kind == "least" else -np.inf
                made[:, at] = (values if there is None else np.where(there, values, missing)).view(np.int64)
            else:
                words = np.frombuffer(values.tobytes(), np.int64).reshape(-1, 3).copy()
                words[:, 0] = (words[:, 0].byteswap() + 1).byteswap()
                if there is not None:
                    words[~there] = -1 if kind == "least pair" else 0
                made[:, at : at + 3] = words
        return made

    def fold(self, into: Array, rows: Array) -> None:
        """Merge `rows` into the records `into`, one each."""
        into[:, self._adds] += rows[:, self._adds]
        for kind, at in self.columns:
            if kind in ("least", "greatest"):
                mine = into[:, at].view(np.float64)
                (np.minimum if kind == "least" else np.maximum)(mine, rows[:, at].view(np.float64), out=mine)
            elif kind != "add":
                (t, tie), (t_new, tie_new) = (_order(of, at) for of in (into, rows))
                better = (
                    (t_new < t) | ((t_new == t) & (tie_new < tie))
                    if kind == "least pair"
                    else (t_new > t) | ((t_new == t) & (tie_new > tie))
                )
                into[better, at : at + 3] = rows[better, at : at + 3]

    # -- one row of an answer

    def merged(self, pieces: Iterable[tuple[bytes, int, int]]) -> Row:
        """The states of the tiles low <= b < high of some blobs, merged; a row that begins with 0 when there
        is none.
        """
        rows, size = list[Row](), self._record.size
        for blob, low, high in pieces:
            at = memoryview(blob).cast("q")[:: self.words]
            begin = bisect_left(at, low)
            end = bisect_left(at, high, begin)
            if begin < end:
                rows += self._record.iter_unpack(blob[begin * size : end * size])
        if not rows:
            return _NOTHING
        row = (
            rows[0]
            if len(rows) == 1
            else tuple([merge(column) for merge, column in zip(self._merges, zip(*rows, strict=True), strict=True)])
        )
        return (
            tuple([None if value == nothing else value for value, nothing in zip(row, self._nothing, strict=True)])
            if self._partial
            else row
        )


def _order(records: Array, at: int) -> tuple[Array, Array]:
    """Time and tie of a pair, as numbers."""
    return records[:, at].byteswap().view(np.uint64), records[:, at + 1].byteswap().view(np.uint64)


class Touched(NamedTuple):
    """Records by the blobs they belong to.

    Attributes:
        blobs: (level, group, key) of each blob, in the order of `owner`.
        first: The b at which each blob begins.
        owner: For each record the number of its blob, never falling.
        records: In order of b within a blob.
    """

    blobs: list[tuple[int, int, str]]
    first: Array
    owner: Array
    records: Array


def touched(layout: Layout, level: int, names: Sequence[str], found: Columns, since: int = 0) -> Touched:
    """What one level changes, from its tile `since` on."""
    size = GROUPS[level]
    groups, records = found.b // size, layout.records(found.b, found.states)
    order = np.lexsort((found.b, found.keys, groups))
    order = order[found.b[order] >= since] if since else order
    groups, keys, records = groups[order], found.keys[order], records[order]
    begins = (
        np.concatenate([[True], (groups[1:] != groups[:-1]) | (keys[1:] != keys[:-1])])
        if len(order)
        else np.empty(0, bool)
    )
    heads = np.flatnonzero(begins)
    blobs = [
        (level, group, names[key]) for group, key in zip(groups[heads].tolist(), keys[heads].tolist(), strict=True)
    ]
    return Touched(blobs, groups[heads] * size, np.cumsum(begins) - 1, records)


def together(parts: Sequence[Touched]) -> Touched:
    """Those of several levels."""
    before = np.cumsum([0, *(len(part.blobs) for part in parts)])
    return Touched(
        [blob for part in parts for blob in part.blobs],
        np.concatenate([part.first for part in parts]),
        np.concatenate([part.owner + at for part, at in zip(parts, before[:-1], strict=True)]),
        np.concatenate([part.records for part in parts]),
    )


def rewritten(layout: Layout, changed: Touched, old: Sequence[bytes | None]) -> tuple[list[bytes], list[int]]:
    """Each blob with its new records merged in, and how many records it has gained.

    Raises:
        Corrupt: A blob is not a row of records.
    """
    sizes = np.fromiter((len(blob) if blob else 0 for blob in old), np.int64, len(old))
    if (sizes % (8 * layout.words)).any():
        raise Corrupt("a blob of the online store is not what was written; drop the generation, and it is filled again")
    counts = sizes // (8 * layout.words)
    stands = np.frombuffer(b"".join(blob for blob in old if blob), np.int64).reshape(-1, layout.words).copy()
    here, there = (
        _place(changed, owner, records)
        for owner, records in ((changed.owner, changed.records), (np.repeat(np.arange(len(old)), counts), stands))
    )
    at = np.searchsorted(there, here)
    known = np.zeros(len(here), bool) if not len(there) else there[np.minimum(at, len(there) - 1)] == here
    merged = stands[at[known]]
    layout.fold(merged, changed.records[known])
    stands[at[known]] = merged
    gained = np.bincount(changed.owner[~known], minlength=len(old))
    raw = np.insert(stands, at[~known], changed.records[~known], axis=0).tobytes()
    ends = (8 * layout.words * np.cumsum(counts + gained)).tolist()
    return [raw[begin:end] for begin, end in pairwise([0, *ends])], gained.tolist()


def _place(changed: Touched, owner: Array, records: Array) -> Array:
    """One number for a blob and a b of it, in order."""
    return (owner << _REL_BITS) | (records[:, 0] - changed.first[owner])


__all__ = ["GROUPS", "MOMENTS", "Array", "Layout", "Touched", "rewritten", "together", "touched"]
