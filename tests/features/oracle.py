"""The oracle: what a feature is, written as plainly as docs/feature-semantics.md defines it, with Python's integers;
and the small world its tests live in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

import millstream as ms
from millstream.base.event import TIMESTAMP
from millstream.declare.collect import collecting
from millstream.features.define import define
from millstream.features.definition import Definition, Output

MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000


class Reading(ms.Event):
    """An event of the tests."""

    k: str | None
    i: int | None
    v: float | None
    n: int | None
    ts: ms.EventTime


with collecting():
    readings = ms.stream("readings", Reading, key="k", partitions=3)
    settled = ms.table("settled", "select * from readings", time="ts")
    ageless = ms.table("ageless", "select * from readings")
PAYLOAD = pa.schema([("k", pa.string()), ("i", pa.int64()), ("v", pa.float64()), ("n", pa.int64()), ("ts", TIMESTAMP)])
SCHEMA = pa.schema(
    [
        *PAYLOAD,
        ("_event_id", pa.string()),
        ("_arrived_at", TIMESTAMP),
        ("_partition", pa.int32()),
        ("_offset", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Row:
    """An event: two keys, a float, an integer, event time, arrival, and where the log keeps it."""

    k: str | None
    i: int | None
    v: float | None
    n: int | None
    t: int
    arrived: int
    partition: int = 0
    offset: int = 0


ALL = {
    "c": ms.agg.count(),
    "cv": ms.agg.count("v"),
    "s": ms.agg.sum("v"),
    "m": ms.agg.mean("v"),
    "var": ms.agg.variance("v"),
    "mn": ms.agg.min("v"),
    "mx": ms.agg.max("v"),
    "f": ms.agg.first("v"),
    "l": ms.agg.last("v"),
    "ns": ms.agg.sum("n"),
    "nvar": ms.agg.variance("n", default=0.5),
    "nmx": ms.agg.max("n", default=-1),
    "nl": ms.agg.last("n"),
    "ck": ms.agg.count("k", default=0),
    "pos": ms.agg.mean("v > 0"),
    "coarse": ms.agg.sum("v", scale=1),
}


def definition(
    windows: Sequence[str] = ("30m", "3h", "7d", "14d"),
    key: Sequence[str] = ("k",),
    where: str | None = None,
    source: Any = readings,
    aggregates: Mapping[str, Any] | None = None,
) -> Definition:
    """Every aggregate, over a float, an integer, a string and a condition."""
    with collecting():
        noun = ms.features(
            "all",
            source,
            key=list(key),
            windows=list(windows),
            where=where,
            aggregates=aggregates or ALL,
            timeless=source is ageless,
        )
        return define(noun, {})


def hop(w: int) -> int:
    return 5 * MINUTE if w < 12 * HOUR else HOUR if w < 12 * DAY else DAY


def start(t: int, w: int | None) -> int:
    return 0 if w is None else (t - w) // hop(w) * hop(w)


def grid(v: float | int, scale: int) -> int | None:
    if isinstance(v, int):
        return v if abs(v) < 9 * 10**15 else None
    return None if abs(v) >= 9e15 / 10.0**scale else math.floor(v * 10.0**scale + 0.5)


def as_double(x: int) -> float:
    """docs/feature-semantics.md, section 4; beyond 2**117 the upper word itself is rounded, in every engine alike."""
    return (float(x >> 64) * 2.0**32 + float((x >> 32) & 0xFFFFFFFF)) * 2.0**32 + float(x & 0xFFFFFFFF)


def naive(
    d: Definition, rows: Sequence[Row], key: tuple[Any, ...], t: int, w: int | None, seen: Callable[[Row], bool]
) -> dict[str, Any]:
    """The answers of one window, by the definition of the words."""
    inside = [
        r
        for r in rows
        if tuple(getattr(r, c) for c in d.key) == key
        and None not in key
        and start(t, w) <= r.t < t
        and r.t >= 0
        and seen(r)
    ]
    if d.where is not None:
        inside = [r for r in inside if d.where.evaluate(vars(r)) is True]
    return {o.column(w): answer(d, o, inside) for o in d.outputs}


def answer(d: Definition, o: Output, inside: Sequence[Row]) -> float | int | None:
    if o.value is None:
        return len(inside) or int(o.default or 0)
    value = d.values[o.value]
    found = [(r, value.expression.evaluate(vars(r))) for r in inside]
    found = [(r, v) for r, v in found if v is not None and (not isinstance(v, float) or math.isfinite(v))]
    if o.operation == "count":
        return len(found) or int(o.default or 0)
    default = None if o.default is None else float(o.default)
    if value.scale is None:
        # The order of (event time, partition, offset); a table's rows have no position, so their value decides.
        raw = [(r.t, *((r.partition, r.offset) if d.live else ()), float(v) + 0.0) for r, v in found]
        if not raw:
            return default
        return {
            "min": min(x[-1] for x in raw),
            "max": max(x[-1] for x in raw),
            "first": min(raw)[-1],
            "last": max(raw)[-1],
        }[o.operation]
    q = [x for _, v in found if (x := grid(v, value.scale)) is not None]
    unit = 10.0**value.scale
    if len(q) < len(found):
        return None
    if o.operation == "variance":
        n = len(q)
        if float(n) * as_double(sum(x * x for x in q)) >= 9e37:
            return None
        return (
            default
            if n < 2
            else as_double(n * sum(x * x for x in q) - sum(q) ** 2) / float(n * (n - 1)) / (unit * unit)
        )
    if not q:
        return default
    return as_double(sum(q)) / unit if o.operation == "sum" else as_double(sum(q)) / (float(len(q)) * unit)


def table(rows: Sequence[Row]) -> pa.Table:
    """The rows as the sink would store them."""
    columns = {
        "k": [r.k for r in rows],
        "i": [r.i for r in rows],
        "v": [r.v for r in rows],
        "n": [r.n for r in rows],
        "ts": [r.t for r in rows],
        "_event_id": [f"{r.partition}:{r.offset}" for r in rows],
        "_arrived_at": [r.arrived for r in rows],
        "_partition": [r.partition for r in rows],
        "_offset": [r.offset for r in rows],
    }
    return pa.table(
        {name: pa.array(values, SCHEMA.field(name).type) for name, values in columns.items()}, schema=SCHEMA
    )


class Stored:
    """A lake whose tables are Arrow tables, with the positions at which they stand."""

    def __init__(self, txns: Mapping[str, int] | None = None, **tables: pa.Table) -> None:
        self.tables, self.txns = tables, dict(txns or {})

    def exists(self, name: str) -> bool:
        return name in self.tables

    def table(self, name: str) -> Any:
        return Held(name, self.tables[name], self.txns)


class Held:
    def __init__(self, name: str, table: pa.Table, txns: Mapping[str, int]) -> None:
        self.name, self.held, self.schema, self.version, self._txns = name, table, table.schema, 7, txns
        self.uuid = "0" * 32

    def snapshot(self, version: int | None = None) -> Any:
        return self.held

    def rows(self) -> int:
        return int(self.held.num_rows)

    def txns(self) -> dict[str, int]:
        return dict(self._txns)

    def position(self, app: str) -> int | None:
        return self._txns.get(app)


def spine(
    looks: Sequence[tuple[tuple[Any, ...], int]], key: Sequence[str] = ("k",), as_of: Sequence[str | None] | None = None
) -> pa.Table:
    columns = {"_row": pa.array(range(len(looks)), pa.int64()), "_t": pa.array([t for _, t in looks], TIMESTAMP)}
    for at, name in enumerate(key):
        columns[name] = pa.array([k[at] for k, _ in looks], SCHEMA.field(name).type)
    if as_of is not None:
        columns["as_of"] = pa.array(as_of, pa.string())
    return pa.table(columns)


def same(a: Any, b: Any) -> bool:
    """Equal in bits, and in type."""
    if a is None or b is None:
        return a is b
    return (
        type(a) is type(b) and a == b and (not isinstance(a, float) or math.copysign(1.0, a) == math.copysign(1.0, b))
    )
