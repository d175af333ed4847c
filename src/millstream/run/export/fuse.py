"""Assets into groups, each of them one job of an orchestrator: a job costs seconds to start, so as few as lose nothing.

What a job of its own would buy is a place to fail, to be tried again and to wait alone. So the landing is one group;
tables and training sets that are made from one another are one; a model is one, since it takes long; features that wait
for the same are one, since nothing waits for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from millstream.run.step import Step

PHASES = {
    "source": "land",
    "stream": "land",
    "table": "make",
    "training_set": "make",
    "features": "fill",
    "model": "train",
}
"""Kind of asset -> what its group does."""


@dataclass(frozen=True)
class Part:
    """Assets of one group, in order of dependency. `waits`: indexes of the groups before it."""

    phase: str
    assets: tuple[str, ...]
    waits: tuple[int, ...]


def fuse(steps: Sequence[Step], wanted: Mapping[str, frozenset[str]]) -> list[Part]:
    """Groups in order of dependency; each asset is in one, and no two groups wait for one another.

    Args:
        steps: In order of dependency.
        wanted: Asset -> the timetables that it runs by. Assets of different ones are never in one group, or one would
            run at the other's time.
    """
    names = [step.name for step in steps]
    kind = {step.name: (PHASES[step.kind], wanted[step.name]) for step in steps}
    ups = {step.name: [up for up in step.upstream if up in kind] for step in steps}
    level: dict[str, int] = {}
    for name in names:  # edges between groups lead to a higher level, so there is no circle
        level[name] = max((level[up] + (kind[up] != kind[name]) for up in ups[name]), default=0)
    of = {name: name for name in names}  # asset -> its group, known by one of its assets
    for name in names:
        if kind[name][0] == "make":
            _join(of, [name, *(up for up in ups[name] if (kind[up], level[up]) == (kind[name], level[name]))])
    _join_equal(of, {name: (kind[name], level[name]) for name in names if kind[name][0] == "land"})
    _join_equal(
        of, {name: (kind[name], frozenset(of[up] for up in ups[name])) for name in names if kind[name][0] == "fill"}
    )
    groups = list(dict.fromkeys(of[name] for name in sorted(names, key=lambda n: (level[n], names.index(n)))))
    index = {group: i for i, group in enumerate(groups)}
    return [
        Part(
            kind[group][0],
            members,
            tuple(sorted({index[of[up]] for name in members for up in ups[name]} - {index[group]})),
        )
        for group, members in ((group, tuple(name for name in names if of[name] == group)) for group in groups)
    ]


def _join(of: dict[str, str], names: Sequence[str]) -> None:
    """The groups of these become one."""
    joined = {of[name] for name in names}
    target = of[names[-1]]
    of.update({name: target for name, group in of.items() if group in joined})


def _join_equal(of: dict[str, str], keys: Mapping[str, object]) -> None:
    """Those with equal keys become one group."""
    alike: dict[object, list[str]] = {}
    for name, key in keys.items():
        alike.setdefault(key, []).append(name)
    for names in alike.values():
        for pair in pairwise(names):
            _join(of, pair)
