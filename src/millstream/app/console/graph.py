"""The project's graph as an SVG: columns from left to right, edges that go around boxes, never through them.

The layout is the layered one of Sugiyama, Tagawa and Toda (1981): depth by the longest way, an edge over several
columns gets a place of its own in each (shared by all edges of its source), the order in a column by barycentres.
Heights come from least squares with the order kept (pool adjacent violators), so that a chain lies on a line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

WIDE, NARROW, HEIGHT, THIN, SPACE, PAD = 184.0, 126.0, 46.0, 8.0, 12.0, 3.0
ROOM = 1146.0
"""What a laptop's page has for the drawing; wider ones scroll inside their card."""
SWEEPS = 8


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
    """Boxes in reading order, and edges as SVG path data with the names they join."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str, str], ...]
    width: float
    height: float
    box: float


@dataclass(frozen=True)
class _Slot:
    """A place in a column: a box of that name, or where the edges of that source pass."""

    name: str
    column: int
    passes: bool = False

    @property
    def tall(self) -> float:
        return THIN if self.passes else HEIGHT


def layout(nodes: Sequence[Node], edges: Sequence[tuple[str, str]]) -> Drawing:
    """Place the nodes.

    Args:
        nodes: What is made from others after them. An edge against this order is feedback: drawn below the boxes, it
            moves nothing.
    """
    known = {node.name for node in nodes}
    pairs = [(s, t) for s, t in dict.fromkeys(edges) if s in known and t in known and s != t]
    order = {node.name: i for i, node in enumerate(nodes)}
    depth = _depths(list(order), pairs)
    forth = [(s, t) for s, t in pairs if order[s] < order[t]]
    columns = [
        [_Slot(node.name, depth[node.name]) for node in nodes if depth[node.name] == k]
        for k in range(max(depth.values(), default=0) + 1)
    ]
    farthest = {s: max(depth[t] for u, t in forth if u == s) for s, _ in forth}
    for source, end in farthest.items():
        for k in range(depth[source] + 1, end):
            columns[k].append(_Slot(source, k, passes=True))
    left, right = _neighbours(columns, forth, depth)
    _order(columns, left, right)
    middle = _heights(columns, left, right)
    gap = 30.0 if len(columns) > 5 else 56.0
    box = max(NARROW, min(WIDE, (ROOM - gap * (len(columns) - 1) - 2 * PAD) / max(len(columns), 1)))
    at = {slot: PAD + slot.column * (box + gap) for column in columns for slot in column}
    top = min((middle[s] - s.tall / 2 for s in middle), default=0.0) - PAD
    middle = {slot: y - top for slot, y in middle.items()}
    bottom = max((middle[s] + s.tall / 2 for s in middle), default=HEIGHT) + PAD
    back = [(s, t) for s, t in pairs if order[s] > order[t]]
    place = {n.name: _Slot(n.name, depth[n.name]) for n in nodes}
    placed = [replace(n, x=at[place[n.name]], y=middle[place[n.name]] - HEIGHT / 2) for n in nodes]
    paths = [
        (
            s,
            t,
            _path([place[s], *(_Slot(s, k, True) for k in range(depth[s] + 1, depth[t])), place[t]], at, middle, box),
        )
        for s, t in forth
    ]
    paths += [
        (s, t, _around(at[place[s]], middle[place[s]], at[place[t]], middle[place[t]], box, bottom + 8))
        for s, t in back
    ]
    return Drawing(
        tuple(sorted(placed, key=lambda n: (n.x, n.y))),
        tuple(paths),
        len(columns) * (box + gap) - gap + 2 * PAD,
        bottom + (12 if back else 0),
        box,
    )


def _depths(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The longest way to each name, along edges that go forth in the order of the names."""
    before: dict[str, list[str]] = {name: [] for name in names}
    for source, target in edges:
        before[target].append(source)
    depth: dict[str, int] = {}
    for name in names:
        depth[name] = max((depth[source] + 1 for source in before[name] if source in depth), default=0)
    return depth


def _neighbours(
    columns: Sequence[Sequence[_Slot]], edges: Sequence[tuple[str, str]], depth: Mapping[str, int]
) -> tuple[dict[_Slot, list[_Slot]], dict[_Slot, list[_Slot]]]:
    """What each slot is joined with in the column before, and in the one after."""
    left: dict[_Slot, list[_Slot]] = {slot: [] for column in columns for slot in column}
    right: dict[_Slot, list[_Slot]] = {slot: [] for column in columns for slot in column}
    for source, target in edges:
        way = [
            _Slot(source, depth[source]),
            *(_Slot(source, k, True) for k in range(depth[source] + 1, depth[target])),
            _Slot(target, depth[target]),
        ]
        for a, b in pairwise(way):
            if a not in left[b]:
                left[b].append(a)
                right[a].append(b)
    return left, right


def _order(
    columns: list[list[_Slot]], left: Mapping[_Slot, Sequence[_Slot]], right: Mapping[_Slot, Sequence[_Slot]]
) -> None:
    """Barycentre sweeps there and back; what nothing is joined with stays where it is."""
    for sweep in range(SWEEPS):
        near, walk = (left, columns[1:]) if sweep % 2 == 0 else (right, columns[-2::-1])
        position = {slot: j / max(len(column) - 1, 1) for column in columns for j, slot in enumerate(column)}
        for column in walk:
            weight = {s: sum(position[n] for n in near[s]) / len(near[s]) if near[s] else position[s] for s in column}
            column.sort(key=lambda s: weight[s])
            position |= {slot: j / max(len(column) - 1, 1) for j, slot in enumerate(column)}


def _heights(
    columns: Sequence[Sequence[_Slot]], left: Mapping[_Slot, Sequence[_Slot]], right: Mapping[_Slot, Sequence[_Slot]]
) -> dict[_Slot, float]:
    """The middle of each slot: near those it is joined with, the order kept, nothing overlapping."""
    middle: dict[_Slot, float] = {}
    for column in columns:
        middle |= _spread(column, dict.fromkeys(column, 0.0))
    for sweep in range(2 * SWEEPS):
        near, walk = (left, columns) if sweep % 2 == 0 else (right, columns[::-1])
        for column in walk:
            middle |= _spread(
                column, {s: sum(middle[n] for n in near[s]) / len(near[s]) if near[s] else middle[s] for s in column}
            )
    return middle


def _spread(column: Sequence[_Slot], wanted: Mapping[_Slot, float]) -> dict[_Slot, float]:
    """The nearest heights to the wanted ones, by least squares, that keep the order and the distances."""
    offsets, below = [], 0.0
    for slot in column:
        offsets.append(below + slot.tall / 2)
        below += slot.tall + SPACE
    blocks: list[tuple[float, int]] = []  # (mean, how many)
    for slot, offset in zip(column, offsets, strict=True):
        mean, count = wanted[slot] - offset, 1
        while blocks and blocks[-1][0] > mean:
            before, many = blocks.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        blocks.append((mean, count))
    shifts = [mean for mean, count in blocks for _ in range(count)]
    return {slot: shift + offset for slot, shift, offset in zip(column, shifts, offsets, strict=True)}


def _path(way: Sequence[_Slot], at: Mapping[_Slot, float], middle: Mapping[_Slot, float], box: float) -> str:
    """From the right of the first to the left of the last; straight through the columns between."""
    text = f"M{at[way[0]] + box:.0f} {middle[way[0]]:.1f}"
    for a, b in pairwise(way):
        x1, x2 = at[a] + box, at[b]
        bend = (x2 - x1) / 2
        text += f" C{x1 + bend:.0f} {middle[a]:.1f} {x2 - bend:.0f} {middle[b]:.1f} {x2:.0f} {middle[b]:.1f}"
        if b.passes:
            text += f" H{x2 + box:.0f}"
    return text


def _around(x1: float, y1: float, x2: float, y2: float, box: float, floor: float) -> str:
    """From the right of one box, below everything, to the left of a box before it."""
    right, left = x1 + box, x2
    return (
        f"M{right:.0f} {y1:.1f} C{right + 20:.0f} {y1:.1f} {right + 20:.0f} {floor:.1f} {right - 10:.0f} {floor:.1f}"
        f" H{left + 10:.0f} C{left - 20:.0f} {floor:.1f} {left - 20:.0f} {y2:.1f} {left:.0f} {y2:.1f}"
    )
