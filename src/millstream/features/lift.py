"""Events as states, column by column: what an updater hands to the store, in the shape the store keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from millstream.features.definition import Definition, Value
from millstream.features.state import LIMIT, PACKED, PARTITION_BITS, Merge, Part, grid_limit, parts, stored
from millstream.features.window import SLOT_US

Array: TypeAlias = np.ndarray[Any, Any]
_RATIOS = (1, 12, 24)
_SIDES: dict[str, Merge] = {"mn": "least", "mx": "greatest", "f": "least", "l": "greatest"}
_MOST = np.iinfo(np.int64).max


def schema(definition: Definition) -> pa.Schema:
    """Columns of events as `OnlineStore.apply` takes them. A value's type is its expression's: int64, or float64."""
    values = [
        pa.field(f"v{i}", pa.int64() if _whole(value) else pa.float64()) for i, value in enumerate(definition.values)
    ]
    return pa.schema([pa.field("key", pa.string()), pa.field("t", pa.int64()), pa.field("tie", pa.int64()), *values])


def tile_schema(definition: Definition) -> pa.Schema:
    """Columns of tiles as `OnlineStore.load` takes them. What merges by adding is never NULL."""
    states = [pa.field(name, kind, nullable=merge != "add") for name, merge, kind in stored(definition)]
    return pa.schema([pa.field("key", pa.string()), pa.field("level", pa.int64()), pa.field("b", pa.int64()), *states])


def too_large(definition: Definition, events: pa.RecordBatch) -> dict[Value, int]:
    """Values without an exact sum -> how many of these events have one."""
    found = {}
    for i, value in enumerate(definition.values):
        if value.scale is not None and events.num_rows:
            _, _, _, large = _counting(value, events.column(f"v{i}"))
            if large is not None and large.any():
                found[value] = int(large.sum())
    return found


def ties(partition: int, offsets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What orders events of one microsecond."""
    return offsets.astype(np.int64) | np.int64(partition << PARTITION_BITS)


@dataclass(frozen=True)
class _State:
    """A stored column of many rows. `there` is None where every row has a value (what merges by adding)."""

    merge: Merge
    values: Array
    there: Array | None = None

    def take(self, at: Array) -> _State:
        return _State(self.merge, self.values[at], None if self.there is None else self.there[at])

    def merged(self, starts: Array) -> _State:
        """Runs of rows, each beginning at one of `starts`, as one row."""
        if self.there is None:
            return _State(self.merge, np.add.reduceat(self.values, starts))
        least = self.merge == "least"
        whole = self.values.dtype.kind == "i"
        neutral = (_MOST if whole else np.inf) if least else (-1 if whole else -np.inf)
        reduce = (np.minimum if least else np.maximum).reduceat
        return _State(
            self.merge,
            reduce(np.where(self.there, self.values, neutral), starts),
            np.logical_or.reduceat(self.there, starts),
        )


class Columns(NamedTuple):
    """Merged states as arrays, sorted by key and b, each pair once.

    Attributes:
        keys: Numbers into `Lifted.names`.
        b: Tiles of a level, or moments (us).
        states: In stored order: the values, and where there is one (None: everywhere). A first or last is PACKED, as 24
            raw bytes.
    """

    keys: Array
    b: Array
    states: list[tuple[Array, Array | None]]


class Lifted:
    """A batch of events as states, one row an event; first and last as the event's rank in the order of (t, tie).

    Plain arrays: a batch of an updater is often small, and a query engine's start for each would be most of its time.
    """

    def __init__(self, definition: Definition, events: pa.RecordBatch | pa.Table) -> None:
        self._stored = stored(definition)
        self._t, self._tie = _int64(events.column("t")), _int64(events.column("tie"))
        self._keys, self.names = _coded(events.column("key"))
        self._states: dict[str, _State] = {"c": _State("add", np.ones(len(self._t), np.int64))}
        self._packed: dict[int, Array] = {}
        needed: dict[int, set[str]] = {}
        for part in parts(definition):
            needed.setdefault(part.value, set()).add(part.kind)
        ranks: Array | None = None
        for i, value in enumerate(definition.values):
            kinds = needed.get(i, set())
            counts, raw, q, large = _counting(value, events.column(f"v{i}"))
            self._states |= {name: _State("add", column) for name, column in _sums(i, kinds, counts, q, large).items()}
            self._states |= {f"{kind}{i}": _State(_SIDES[kind], raw, counts) for kind in ("mn", "mx") if kind in kinds}
            for kind in ("f", "l"):
                if kind in kinds:
                    if ranks is None:
                        self._order = np.lexsort((self._tie, self._t))
                        ranks = np.empty_like(self._order)
                        ranks[self._order] = np.arange(len(ranks))
                    self._packed[i] = _pack(self._t, self._tie, raw)
                    self._states[f"{kind}{i}"] = _State(_SIDES[kind], ranks, counts)

    def __len__(self) -> int:
        return len(self._t)

    def oldest_us(self) -> int:
        """The earliest event time; far in the future when there is none."""
        return int(self._t.min()) if len(self._t) else int(_MOST)

    def tiles(self) -> Iterator[tuple[int, list[tuple[Any, ...]]]]:
        """Level and rows (key, b, states in stored order) of each level."""
        for level, (keys, slots, states) in enumerate(self._levels()):
            yield level, self._tuples([[self.names[key] for key in keys.tolist()], slots.tolist()], states)

    def columns(self) -> Iterator[Columns]:
        """The tiles of each level, as arrays."""
        for keys, slots, states in self._levels():
            yield self._columns(keys, slots, states)

    def moments(self, since_us: int) -> Columns:
        """The events that are not older, those of one key and microsecond merged."""
        at = np.flatnonzero(self._t >= since_us)
        at = at[np.lexsort((self._t[at], self._keys[at]))]
        return self._columns(
            *_grouped(self._keys[at], self._t[at], {name: state.take(at) for name, state in self._states.items()})
        )

    def _levels(self) -> Iterator[tuple[Array, Array, dict[str, _State]]]:
        """Keys, slots and states of each level. Rows in order of key and slot stay so in coarser slots."""
        slots = self._t // SLOT_US
        order = np.lexsort((slots, self._keys))
        keys, slots, states = (
            self._keys[order],
            slots[order],
            {name: state.take(order) for name, state in self._states.items()},
        )
        for ratio in _RATIOS:
            keys, slots, states = _grouped(keys, slots // ratio, states)
            yield keys, slots, states

    def heads(self, since_us: int) -> list[tuple[Any, ...]]:
        """Rows (key, t, tie, states) of the events that are not older."""
        at = np.flatnonzero(self._t >= since_us)
        first = [[self.names[key] for key in self._keys[at].tolist()], self._t[at].tolist(), self._tie[at].tolist()]
        return self._tuples(first, {name: state.take(at) for name, state in self._states.items()})

    def _tuples(self, first: list[list[Any]], states: dict[str, _State]) -> list[tuple[Any, ...]]:
        return list(zip(*first, *(self._as_stored(name, states[name]) for name, _, _ in self._stored), strict=True))

    def _as_stored(self, name: str, state: _State) -> list[Any]:
        """The column as the store takes it."""
        values, there = self._column(name, state)
        told = values.tolist()
        return (
            list(told)
            if there is None or there.all()
            else [value if some else None for some, value in zip(there.tolist(), told, strict=True)]
        )

    def _columns(self, keys: Array, b: Array, states: dict[str, _State]) -> Columns:
        return Columns(keys, b, [self._column(name, states[name]) for name, _, _ in self._stored])

    def _column(self, name: str, state: _State) -> tuple[Array, Array | None]:
        values, there = state.values, state.there
        if there is not None and name[0] in "fl":
            values = (
                self._packed[int(name[1:])][self._order[np.where(there, values, 0)]]
                if len(values)
                else np.empty(0, "V24")
            )
        return values, there


def _grouped(keys: Array, slots: Array, states: dict[str, _State]) -> tuple[Array, Array, dict[str, _State]]:
    """Rows of one key and slot as one; they stand together."""
    if not len(keys):
        return keys, slots, states
    starts = np.flatnonzero(np.concatenate([[True], (keys[1:] != keys[:-1]) | (slots[1:] != slots[:-1])]))
    return keys[starts], slots[starts], {name: state.merged(starts) for name, state in states.items()}


def _sums(i: int, kinds: set[str], counts: Array, q: Array | None, large: Array | None) -> dict[str, Array]:
    """The states of value i that merge by adding."""
    made: dict[str, Array] = {f"n{i}": counts.astype(np.int64)} if "n" in kinds else {}
    if large is not None and "o" in kinds:
        made[f"o{i}"] = large.astype(np.int64)
    if q is not None and "s" in kinds:
        made |= {f"s{i}_0": q & 0xFFFFFFFF, f"s{i}_1": q >> 32}
    if q is not None and "x" in kinds:
        made |= {f"x{i}_{j}": limb for j, limb in enumerate(_square(np.abs(q)))}
    return made


def _coded(keys: pa.Array | pa.ChunkedArray) -> tuple[Array, list[str]]:
    """Keys as numbers, and the key of each number."""
    coded = (keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys).dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    return coded.indices.to_numpy(zero_copy_only=False).astype(np.int64), coded.dictionary.to_pylist()


def pack(
    times: np.ndarray[Any, Any], tied: np.ndarray[Any, Any], values: np.ndarray[Any, Any], missing: np.ndarray[Any, Any]
) -> pa.Array:
    """Pairs of a first or a last, NULL where missing."""
    return pa.array(_pack(times, tied, values).tolist(), PACKED, mask=missing)


def _pack(
    times: np.ndarray[Any, Any], tied: np.ndarray[Any, Any], values: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    made = np.empty(len(times), np.dtype([("t", ">i8"), ("tie", ">i8"), ("v", ">f8")]))
    made["t"], made["tie"], made["v"] = times, tied, values
    return made.view("V24")


def _counting(value: Value, column: pa.Array | pa.ChunkedArray) -> tuple[Array, Array, Array | None, Array | None]:
    """Which values count, as raw doubles (-0.0 is 0.0), and as integers of the grid, both 0 where they do not count;
    and which are too large for it.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    present = column.is_valid().to_numpy(zero_copy_only=False)
    if _whole(value):
        whole = column.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        if value.scale is None:
            return present, whole.astype(np.float64), None, None
        fits = (whole < int(LIMIT)) & (whole > -int(LIMIT))
        q = np.where(fits, whole, 0)
        return present & fits, q.astype(np.float64), q, ~fits
    raw = column.fill_null(0.0).to_numpy(zero_copy_only=False).astype(np.float64) + 0.0
    present &= np.isfinite(raw)
    if value.scale is None:
        return present, np.where(present, raw, 0.0), None, None
    fits = np.abs(raw) < grid_limit(value.scale)
    large = present & ~fits
    present &= fits
    raw = np.where(present, raw, 0.0)
    return present, raw, np.floor(raw * 10.0**value.scale + 0.5).astype(np.int64), large


def _square(q: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], ...]:
    """q * q in limbs of 36 bits, for 0 <= q < 2**53: by halves of 27 bits, so that nothing leaves 63."""
    high, low = q >> 27, q & 0x7FFFFFF
    hh, hl, ll = high * high, high * low, low * low  # q * q = hh * 2**54 + hl * 2**28 + ll
    mask = (1 << 36) - 1
    zero = (ll & mask) + ((hl & 0xFF) << 28)
    one = (ll >> 36) + ((hl >> 8) & mask) + ((hh & 0x3FFFF) << 18)
    return zero, one, (hh >> 18) + (hl >> 44)


def _whole(value: Value) -> bool:
    return value.expression.kind in ("int64", "bool")


def _int64(column: pa.Array | pa.ChunkedArray) -> np.ndarray[Any, Any]:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)


__all__ = ["Columns", "Lifted", "Part", "pack", "schema", "ties", "tile_schema"]
