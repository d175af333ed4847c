"""Events as states, column by column: what an updater hands to the store, in the shape the store keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from millstream.features.definition import Definition, Value
from millstream.features.state import LIMIT, PACKED, PARTITION_BITS, Part, grid_limit, parts, stored
from millstream.features.window import SLOT_US

if TYPE_CHECKING:
    import polars as pl

_RATIOS = (1, 12, 24)


def schema(definition: Definition) -> pa.Schema:
    """Columns of events as `OnlineStore.apply` takes them. A value's type is its expression's: int64, or float64."""
    values = [pa.field(f"v{i}", pa.int64() if _whole(value) else pa.float64()) for i, value in enumerate(definition.values)]
    return pa.schema([pa.field("key", pa.string()), pa.field("t", pa.int64()), pa.field("tie", pa.int64()), *values])


def tile_schema(definition: Definition) -> pa.Schema:
    """Columns of tiles as `OnlineStore.load` takes them. What merges by adding is never NULL."""
    states = [pa.field(name, kind, nullable=merge != "add") for name, merge, kind in stored(definition)]
    return pa.schema([pa.field("key", pa.string()), pa.field("level", pa.int64()), pa.field("b", pa.int64()), *states])


def ties(partition: int, offsets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What orders events of one microsecond."""
    return offsets.astype(np.int64) | np.int64(partition << PARTITION_BITS)


class Lifted:
    """A batch of events as states.

    Attributes:
        rows: One row an event: key, t, tie, b (slot) and the states; first and last as the event's rank in the order of (t, tie).
    """

    def __init__(self, definition: Definition, events: pa.RecordBatch | pa.Table) -> None:
        import polars as pl

        self._stored = stored(definition)
        self._t, self._tie = _int64(events.column("t")), _int64(events.column("tie"))
        columns: dict[str, Any] = {"key": pl.Series("key", pl.from_arrow(events.column("key"))), "t": self._t, "tie": self._tie, "b": self._t // SLOT_US}
        columns["c"] = np.ones(len(self._t), np.int64)
        self._packed: dict[int, np.ndarray[Any, Any]] = {}
        needed: dict[int, set[str]] = {}
        for part in parts(definition):
            needed.setdefault(part.value, set()).add(part.kind)
        ranks: np.ndarray[Any, Any] | None = None
        for i, value in enumerate(definition.values):
            counts, raw, q = _counting(value, events.column(f"v{i}"))
            if "n" in needed.get(i, ()):
                columns[f"n{i}"] = counts.astype(np.int64)
            if q is not None and "s" in needed[i]:
                columns |= {f"s{i}_0": q & 0xFFFFFFFF, f"s{i}_1": q >> 32}
            if q is not None and "x" in needed[i]:
                columns |= {f"x{i}_{j}": limb for j, limb in enumerate(_square(np.abs(q)))}
            for kind in ("mn", "mx"):
                if kind in needed.get(i, ()):
                    columns[f"{kind}{i}"] = pl.Series(raw).set(pl.Series(~counts), None)
            for kind in ("f", "l"):
                if kind in needed.get(i, ()):
                    if ranks is None:
                        self._order = np.lexsort((self._tie, self._t))
                        ranks = np.empty_like(self._order)
                        ranks[self._order] = np.arange(len(ranks))
                    self._packed[i] = _pack(self._t, self._tie, raw)
                    columns[f"{kind}{i}"] = pl.Series(ranks).set(pl.Series(~counts), None)
        self.rows: pl.DataFrame = pl.DataFrame(columns)

    def tiles(self) -> Iterator[tuple[int, list[tuple[Any, ...]]]]:
        """Level and rows (key, b, states in stored order) of each level."""
        import polars as pl

        merges = [getattr(pl.col(name), {"add": "sum", "least": "min", "greatest": "max"}[merge])() for name, merge, _ in self._stored]
        frame = self.rows
        for level, ratio in enumerate(_RATIOS):
            frame = frame.group_by("key", pl.col("b") // ratio).agg(merges)
            yield level, self._tuples(frame, ["key", "b"])

    def heads(self, since_us: int) -> list[tuple[Any, ...]]:
        """Rows (key, t, tie, states) of the events that are not older."""
        import polars as pl

        return self._tuples(self.rows.filter(pl.col("t") >= since_us), ["key", "t", "tie"])

    def _tuples(self, frame: pl.DataFrame, first: Sequence[str]) -> list[tuple[Any, ...]]:
        columns = [frame[name].to_list() for name in first]
        for name, _, kind in self._stored:
            columns.append(self._bytes(name, frame[name]) if kind == PACKED else frame[name].to_list())
        return list(zip(*columns, strict=True))

    def _bytes(self, name: str, ranks: pl.Series) -> list[bytes | None]:
        if ranks.null_count() == len(ranks):
            return [None] * len(ranks)
        packed = self._packed[int(name[1:])][self._order[ranks.fill_null(0).to_numpy()]].tolist()
        return packed if not ranks.null_count() else [None if none else pair for none, pair in zip(ranks.is_null().to_list(), packed, strict=True)]


def pack(times: np.ndarray[Any, Any], tied: np.ndarray[Any, Any], values: np.ndarray[Any, Any], missing: np.ndarray[Any, Any]) -> pa.Array:
    """Pairs of a first or a last, NULL where missing."""
    return pa.array(_pack(times, tied, values).tolist(), PACKED, mask=missing)


def _pack(times: np.ndarray[Any, Any], tied: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    made = np.empty(len(times), np.dtype([("t", ">i8"), ("tie", ">i8"), ("v", ">f8")]))
    made["t"], made["tie"], made["v"] = times, tied, values
    return made.view("V24")


def _counting(value: Value, column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
    """Which values count, as raw doubles (-0.0 is 0.0), and as integers of the grid; both 0 where they do not count."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    present = column.is_valid().to_numpy(zero_copy_only=False)
    if _whole(value):
        whole = column.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        if value.scale is None:
            return present, whole.astype(np.float64), None
        present &= (whole < int(LIMIT)) & (whole > -int(LIMIT))
        q = np.where(present, whole, 0)
        return present, q.astype(np.float64), q
    raw = column.fill_null(0.0).to_numpy(zero_copy_only=False).astype(np.float64) + 0.0
    present &= np.isfinite(raw)
    if value.scale is not None:
        present &= np.abs(raw) < grid_limit(value.scale)
    raw = np.where(present, raw, 0.0)
    if value.scale is None:
        return present, raw, None
    return present, raw, np.floor(raw * 10.0**value.scale + 0.5).astype(np.int64)


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


__all__ = ["Lifted", "Part", "pack", "schema", "ties", "tile_schema"]
