"""Two results that should be one: compared row by row, without their order, up to the last places of a double."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as is_

__all__ = ["Difference", "Row", "compare"]

TOLERANCE = 1e-9
"""Of a double, relative: sums and averages of doubles depend on the order of rows, and no engine promises one."""
_SHOWN = 5


@dataclass(frozen=True)
class Row:
    """A row that differs: where it is, and the columns that do. A side that lacks the row has None for all of them.

    Attributes:
        at: The key, or the whole row where there is none.
        columns: Column -> (the left side's value, the right side's).
        only: "left" or "right" when the other side has no such row, else "".
    """

    at: dict[str, Any]
    columns: dict[str, tuple[Any, Any]]
    only: str = ""


@dataclass(frozen=True)
class Difference:
    """Attributes:
    rows: Of the left side and of the right.
    schema: Columns whose types differ: name -> (left, right); "" where a side lacks it.
    differ: How many rows differ.
    shown: The first of them.
    """

    rows: tuple[int, int]
    schema: dict[str, tuple[str, str]]
    differ: int
    shown: tuple[Row, ...] = ()

    @property
    def same(self) -> bool:
        return not self.schema and not self.differ and self.rows[0] == self.rows[1]


def compare(left: pa.Table, right: pa.Table, key: Sequence[str] = (), tolerance: float = TOLERANCE) -> Difference:
    """Compare two results.

    Args:
        key: Columns that tell rows apart, when known: a row that differs is then shown column by column.
        tolerance: Relative, of doubles; everything else is equal or not.
    """
    types = _types(left, right)
    counts = (left.num_rows, right.num_rows)
    if types:
        return Difference(counts, types, max(counts))
    keyed = bool(key) and all(_unique(side, key) for side in (left, right))
    order = (
        list(key)
        if keyed
        else sorted(left.column_names, key=lambda name: is_.is_floating(left.schema.field(name).type))
    )
    a, b = (_sorted(side, order) for side in (left, right))
    if not keyed and counts[0] == counts[1]:
        return _beside(a, b, range(counts[0]), range(counts[0]), counts, (), tolerance)
    pairs, lone = _matched(a, b, order if keyed else left.column_names)
    found = _beside(a, b, [i for i, _ in pairs], [j for _, j in pairs], counts, order if keyed else (), tolerance)
    alone = [
        Row(_picked(side, at, key if keyed else side.column_names), {}, only)
        for only, side, places in (("left", a, lone[0]), ("right", b, lone[1]))
        for at in places[:_SHOWN]
    ]
    return Difference(counts, {}, found.differ + len(lone[0]) + len(lone[1]), (*alone, *found.shown)[:_SHOWN])


def _types(left: pa.Table, right: pa.Table) -> dict[str, tuple[str, str]]:
    here, there = ({field.name: str(field.type) for field in side.schema} for side in (left, right))
    return {
        name: (here.get(name, ""), there.get(name, ""))
        for name in {**here, **there}
        if here.get(name) != there.get(name)
    }


def _unique(table: pa.Table, key: Sequence[str]) -> bool:
    return table.select(list(key)).group_by(list(key)).aggregate([]).num_rows == table.num_rows


def _sorted(table: pa.Table, order: Sequence[str]) -> pa.Table:
    plain = [name for name in order if not is_.is_nested(table.schema.field(name).type)]
    if plain:
        table = table.take(pc.sort_indices(table, sort_keys=[(name, "ascending") for name in plain]))
    return table.combine_chunks()


def _matched(a: pa.Table, b: pa.Table, by: Sequence[str]) -> tuple[list[tuple[int, int]], tuple[list[int], list[int]]]:
    """Places of rows that have the same values there, and those of the others on each side."""
    left, right = (
        list(zip(*(map(_plain, side.column(name).to_pylist()) for name in by), strict=True)) for side in (a, b)
    )
    waiting: dict[Any, list[int]] = {}
    for at, row in enumerate(right):
        waiting.setdefault(row, []).append(at)
    pairs, alone = [], []
    for at, row in enumerate(left):
        others = waiting.get(row)
        if others:
            pairs.append((at, others.pop(0)))
        else:
            alone.append(at)
    return pairs, (alone, sorted(at for others in waiting.values() for at in others))


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else float(f"{value:.9g}")
    return repr(value) if isinstance(value, list | dict) else value


def _beside(
    a: pa.Table,
    b: pa.Table,
    left: Sequence[int],
    right: Sequence[int],
    counts: tuple[int, int],
    key: Sequence[str],
    tolerance: float,
) -> Difference:
    """Row against row, column by column; columns that are equal as a whole cost one comparison."""
    wrong: dict[int, dict[str, tuple[Any, Any]]] = {}
    x, y = a.take(pa.array(left, pa.int64())), b.take(pa.array(right, pa.int64()))
    for name in a.column_names:
        here, there = x.column(name), y.column(name)
        if here.equals(there):
            continue
        for at, (one, other) in enumerate(zip(here.to_pylist(), there.to_pylist(), strict=True)):
            if not alike(one, other, tolerance):
                wrong.setdefault(at, {})[name] = (one, other)
    shown = tuple(Row(_picked(x, at, key or x.column_names), wrong[at]) for at in sorted(wrong)[:_SHOWN])
    return Difference(counts, {}, len(wrong), shown)


def _picked(table: pa.Table, at: int, names: Sequence[str]) -> dict[str, Any]:
    return {name: table.column(name)[at].as_py() for name in names}


def alike(a: Any, b: Any, tolerance: float = TOLERANCE) -> bool:
    """Equal; a double up to the tolerance, NaN like NaN, inside lists and structs too.

    >>> alike(0.1 + 0.2, 0.3), alike([1.0, None], [1.0, None]), alike(1, 2), alike(float("nan"), None)
    (True, True, False, False)
    """
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=tolerance)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(alike(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(alike(a[name], b[name], tolerance) for name in a)
    return bool(a == b)
