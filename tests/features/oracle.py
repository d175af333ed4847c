"""The oracle: what a feature is, written as plainly as FEATURES.md says it; and the small world its tests live in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from millstream.declare.event import TIMESTAMP, Event, EventTime
from millstream.declare.expression import Expression
from millstream.declare.stream import Stream, stream
from millstream.features.define import assemble
from millstream.features.definition import Definition, Output, Value

MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000
WINDOWS = (30 * MINUTE, 3 * HOUR, 7 * DAY, 14 * DAY)


class Reading(Event):
    """An event of the tests."""

    k: str | None
    v: float | None
    n: int | None
    ts: EventTime


readings: Stream[Reading] = stream("readings", Reading, key="k")
SCHEMA = pa.schema(
    [("k", pa.string()), ("v", pa.float64()), ("n", pa.int64()), ("ts", TIMESTAMP), ("_event_id", pa.string()), ("_arrived_at", TIMESTAMP), ("_partition", pa.int32()), ("_offset", pa.int64()), ("_late", pa.bool_())]
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """An event: key, event time, float, integer, arrival, and where the log keeps it."""

    k: str | None
    t: int
    v: float | None
    n: int | None
    arrived: int
    partition: int = 0
    offset: int = 0


def expression(text: str, kind: Any, evaluate: Callable[[Mapping[str, Any]], Any] | None = None) -> Expression:
    columns = tuple(c for c in ("k", "v", "n") if c in text)
    return Expression(text, text, kind, columns, evaluate or (lambda row: row[text]))


V, N = expression("v", "float64"), expression("n", "int64")


def definition(windows: Sequence[int | None] = WINDOWS, *, where: Expression | None = None, key: tuple[str, ...] = ("k",)) -> Definition:
    """Every aggregate, over a float and an integer."""
    values = [Value(V, 6), Value(V, None), Value(N, 0), Value(N, None)]
    outputs = [Output("c", "count", None), Output("cv", "count", 1), Output("s", "sum", 0), Output("m", "mean", 0), Output("var", "variance", 0)]
    outputs += [Output("mn", "min", 1), Output("mx", "max", 1), Output("f", "first", 1), Output("l", "last", 1)]
    outputs += [Output("ns", "sum", 2), Output("nvar", "variance", 2, 0.5), Output("nmx", "max", 3, -1), Output("nl", "last", 3)]
    return assemble("all", readings, key, values, where, outputs, tuple(windows))


def hop(w: int) -> int:
    return 5 * MINUTE if w < 12 * HOUR else HOUR if w < 12 * DAY else DAY


def grid(v: float | int | None, scale: int) -> int | None:
    if v is None or (isinstance(v, float) and not math.isfinite(v)):
        return None
    if isinstance(v, int):
        return v if abs(v) < 9 * 10**15 else None
    return None if abs(v) >= 9e15 / 10.0**scale else math.floor(v * 10.0**scale + 0.5)


def as_double(x: int) -> float:
    return float(x >> 32) * 2.0**32 + float(x & 0xFFFFFFFF)


def naive(d: Definition, rows: Sequence[Row], k: str | None, t: int, w: int | None, seen: Callable[[Row], bool]) -> dict[str, Any]:
    """The answers of one window, by the definition of the words."""
    start = -1 if w is None else (t - w) // hop(w) * hop(w)
    inside = [r for r in rows if k is not None and r.k == k and start <= r.t < t and r.t >= 0 and seen(r)]
    if d.where is not None:
        inside = [r for r in inside if d.where.evaluate(vars(r)) is True]
    return {o.column(w): answer(d, o, inside) for o in d.outputs}


def answer(d: Definition, o: Output, inside: Sequence[Row]) -> float | int | None:
    if o.value is None:
        return len(inside) or o.default or 0
    value = d.values[o.value]
    found = [(r, value.expression.evaluate(vars(r))) for r in inside]
    found = [(r, v) for r, v in found if v is not None and (isinstance(v, int) or math.isfinite(v))]
    raw = [(r.t, r.partition, r.offset, float(v) + 0.0) for r, v in found]
    if o.operation == "count":
        return len(raw) or o.default or 0
    default = None if o.default is None else float(o.default)
    if value.scale is None:
        if not raw:
            return default
        return {"min": min(x[3] for x in raw), "max": max(x[3] for x in raw), "first": min(raw)[3], "last": max(raw)[3]}[o.operation]
    q = [x for _, v in found if (x := grid(v, value.scale)) is not None]
    unit = 10.0**value.scale
    if o.operation == "variance":
        n = len(q)
        return default if n < 2 else as_double(n * sum(x * x for x in q) - sum(q) ** 2) / float(n * (n - 1)) / (unit * unit)
    if not q:
        return default
    return as_double(sum(q)) / unit if o.operation == "sum" else as_double(sum(q)) / (float(len(q)) * unit)


def table(rows: Sequence[Row]) -> pa.Table:
    """The rows as the sink would store them."""
    return pa.table([[r.k for r in rows], [r.v for r in rows], [r.n for r in rows], [r.t for r in rows], [f"{r.partition}:{r.offset}" for r in rows],
                     [r.arrived for r in rows], [r.partition for r in rows], [r.offset for r in rows], [r.arrived > r.t for r in rows]], schema=SCHEMA)  # fmt: skip


class Stored:
    """A lake whose tables are Arrow tables."""

    def __init__(self, **tables: pa.Table) -> None:
        self.tables = tables

    def table(self, name: str) -> Any:
        return _Held(self.tables[name])


class _Held:
    def __init__(self, table: pa.Table) -> None:
        self.held = table
        self.version = 0

    def snapshot(self, version: int | None = None) -> Any:
        return self.held


def spine(looks: Sequence[tuple[str | None, int]], as_of: Sequence[str | None] | None = None) -> pa.Table:
    columns = {
        "_row": pa.array(range(len(looks)), pa.int64()),
        "_t": pa.array([t for _, t in looks], TIMESTAMP),
        "k": pa.array([k for k, _ in looks], pa.string()),
    }
    if as_of is not None:
        columns["as_of"] = pa.array(as_of, pa.string())
    return pa.table(columns)


def same(a: Any, b: Any) -> bool:
    """Equal in bits, and in type."""
    if a is None or b is None:
        return a is b
    return type(a) is type(b) and a == b and (not isinstance(a, float) or math.copysign(1.0, a) == math.copysign(1.0, b))
