"""What is made from what, by name: from the nouns' own references and from the names that SQL reads.

Beside the nouns it knows what they make of themselves: `<endpoint>_decisions` and `<endpoint>_outcomes`. An endpoint is
not upstream of its decisions here: they come through the log, and a cycle through the log is not a cycle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from millstream.base.errors import DefinitionError, NotFound
from millstream.declare.endpoint import Endpoint
from millstream.declare.noun import Noun
from millstream.declare.source import Source
from millstream.declare.table import Table
from millstream.lang.cache import Cache
from millstream.lang.facts import query

READABLE = ("stream", "table", "training_set")
"""Kinds of noun that are tables of the lake, and so can be read by SQL."""


class Graph:
    """Edges by name, in order of declaration."""

    def __init__(self, edges: Mapping[str, Iterable[str]]) -> None:
        self._up = {name: tuple(dict.fromkeys(ups)) for name, ups in edges.items()}
        down: dict[str, list[str]] = {name: [] for name in self._up}
        for name, ups in self._up.items():
            for up in ups:
                down.setdefault(up, []).append(name)
        self._down = {name: tuple(names) for name, names in down.items()}
        self._order: list[str] | None = None

    def upstream(self, name: str) -> tuple[str, ...]:
        """What it is made from, directly. Raises NotFound."""
        return self._of(self._up, name)

    def downstream(self, name: str) -> tuple[str, ...]:
        """What is made from it, directly. Raises NotFound."""
        return self._of(self._down, name)

    def order(self) -> list[str]:
        """Every name, upstream first, otherwise in order of declaration; names in a cycle are left out."""
        if self._order is None:
            self._order, _ = self._sort()
        return list(self._order)

    def cycles(self) -> list[tuple[str, ...]]:
        """The circles in which names are made from one another, each as a walk that ends where it begins."""
        _, left = self._sort()
        found, seen = [], set[str]()
        for name in self._up:
            if name not in left or name in seen:
                continue
            walk, step = [name], name
            while True:
                step = next((up for up in self._up[step] if up in left), "")
                if not step or step in seen:
                    break
                if step in walk:
                    found.append((*reversed(walk[walk.index(step) :]), walk[-1]))
                    break
                walk.append(step)
            seen |= set(walk)
        return found

    def _sort(self) -> tuple[list[str], set[str]]:
        """Kahn's way: the order, and the names that are in a cycle or after one."""
        missing = {name: sum(up in self._up for up in ups) for name, ups in self._up.items()}
        ready = [name for name, count in missing.items() if count == 0]
        order: list[str] = []
        for name in ready:  # grows while it is walked
            order.append(name)
            for down in self._down.get(name, ()):
                missing[down] -= 1
                if missing[down] == 0:
                    ready.append(down)
        return order, set(self._up) - set(order)

    def _of(self, edges: Mapping[str, tuple[str, ...]], name: str) -> tuple[str, ...]:
        if name not in edges:
            raise NotFound(f'nothing is called "{name}"')
        return edges[name]


def made(nouns: Iterable[Noun]) -> dict[str, tuple[str, ...]]:
    """What nouns make of themselves in the lake -> what that is made from: decisions, outcomes."""
    found: dict[str, tuple[str, ...]] = {}
    for noun in nouns:
        if isinstance(noun, Endpoint):
            outcomes = [e.reward.outcome.stream.name for e in noun.experiments]
            outcomes += [o.stream.name for ref in noun.refs() for o in ref.model.on.labels.values()]
            found[noun.decisions] = ()
            found[noun.outcomes] = (noun.decisions, *dict.fromkeys(outcomes))
    return found


def build(nouns: Iterable[Noun], cache: Cache | None = None) -> Graph:
    """The graph of a project; SQL that does not parse has no edges (the checks say so)."""
    cache = cache or Cache(None)
    nouns = list(nouns)
    edges: dict[str, list[str]] = {name: list(ups) for name, ups in made(nouns).items()}
    for noun in nouns:
        edges.setdefault(noun.name, []).extend(up.name for up in noun.upstream())
        if isinstance(noun, Table):
            edges[noun.name] += reads(noun, cache)
        if isinstance(noun, Source):
            edges.setdefault(noun.into.name, []).append(noun.name)
    return Graph({name: [up for up in ups if up in edges] for name, ups in edges.items()})


def reads(table: Table, cache: Cache) -> tuple[str, ...]:
    """Names that the table's SQL reads, as written there; dead letters count as their stream."""
    if table.sql is None:
        return ()
    try:
        return tuple(name.removesuffix("__dead") for name in query(table.sql, table.file or "", cache).reads)
    except DefinitionError:
        return ()
