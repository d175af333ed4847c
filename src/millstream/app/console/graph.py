"""The project's graph as an SVG: columns by depth, the order inside a column by the mean position of what comes before.

The layout is the layered one of Sugiyama, Tagawa and Toda (1981), with two sweeps of their barycentre heuristic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, GAP_X, GAP_Y, PAD = 168, 46, 58, 14, 10


@dataclass(frozen=True)
class Node:
    """A box: `x`, `y` are its upper left corner."""

    name: str
    kind: str
    link: str
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class Drawing:
    """Boxes, and edges as SVG path data with the names they join."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str, str], ...]
    width: float
    height: float


def layout(nodes: Sequence[Node], edges: Sequence[tuple[str, str]]) -> Drawing:
    """Place the nodes. Edges go from left to right; one that would close a cycle (feedback) is drawn, but moves nothing."""
    before: dict[str, list[str]] = {node.name: [] for node in nodes}
    for source, target in edges:
        if source in before and target in before:
            before[target].append(source)
    depth = _depths(before)
    columns: list[list[str]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for node in nodes:
        columns[depth[node.name]].append(node.name)
    _order(columns, before)
    tallest = max((len(column) for column in columns), default=0)
    height = tallest * (HEIGHT + GAP_Y) - GAP_Y + 2 * PAD
    at: dict[str, tuple[float, float]] = {}
    for i, column in enumerate(columns):
        top = (height - (len(column) * (HEIGHT + GAP_Y) - GAP_Y)) / 2
        for j, name in enumerate(column):
            at[name] = (PAD + i * (WIDTH + GAP_X), top + j * (HEIGHT + GAP_Y))
    placed = tuple(Node(n.name, n.kind, n.link, *at[n.name]) for n in nodes)
    paths = tuple((s, t, _path(at[s], at[t])) for s, t in edges if s in at and t in at)
    return Drawing(placed, paths, len(columns) * (WIDTH + GAP_X) - GAP_X + 2 * PAD, max(height, HEIGHT + 2 * PAD))


def _depths(before: Mapping[str, Sequence[str]]) -> dict[str, int]:
    depth: dict[str, int] = {}

    def visit(name: str, path: frozenset[str]) -> int:
        if name in depth:
            return depth[name]
        found = max((visit(s, path | {name}) + 1 for s in before[name] if s not in path and s != name), default=0)
        depth[name] = found
        return found

    for name in before:
        visit(name, frozenset())
    return depth


def _order(columns: list[list[str]], before: Mapping[str, Sequence[str]]) -> None:
    for _ in range(2):
        position = {name: j for column in columns for j, name in enumerate(column)}
        for column in columns[1:]:
            weights = {n: sum(position[s] for s in before[n]) / len(before[n]) if before[n] else position[n] for n in column}
            column.sort(key=lambda n: (weights[n], n))
            position.update({name: j for j, name in enumerate(column)})


def _path(source: tuple[float, float], target: tuple[float, float]) -> str:
    x1, y1, x2, y2 = source[0] + WIDTH, source[1] + HEIGHT / 2, target[0], target[1] + HEIGHT / 2
    bend = max(24.0, abs(x2 - x1) / 2)
    return f"M{x1:.0f} {y1:.0f} C{x1 + bend:.0f} {y1:.0f} {x2 - bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
