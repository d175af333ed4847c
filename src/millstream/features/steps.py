"""Logged positions as steps, so that "had the look-up seen this event" is one comparison of integers.

Positions of one store only grow, so those of all look-ups form a chain: each is at least the one before it in every
partition. A look-up's step is its place in the chain, an event's step is the first place whose position lies above its
offset, and the event was seen if its step is not the greater. Where several stores answered, the positions are dealt
into as many chains as it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import pyarrow as pa


@dataclass(frozen=True)
class Steps:
    """Attributes:
    steps: `as_of` text -> chain and step; texts without an entry for the stream are absent.
    bounds: chain, partition, upto, step: an event of the partition below `upto` is seen from `step` on.
    """

    chains: int
    steps: pa.Table
    bounds: pa.Table


def steps_of(texts: Sequence[str | None], names: Sequence[str]) -> Steps:
    """Order the positions of these texts.

    Args:
        texts: JSON, {stream: {partition: next offset}}.
        names: Entries to look under, the first that is there.
    """
    positions = {text: found for text in texts if text is not None and (found := _entry(text, names)) is not None}
    partitions = sorted({p for found in positions.values() for p in found})
    vectors = {text: tuple(found.get(p, 0) for p in partitions) for text, found in positions.items()}
    chains: list[list[tuple[int, ...]]] = []
    place: dict[tuple[int, ...], tuple[int, int]] = {}
    for vector in sorted(set(vectors.values()), key=lambda v: (sum(v), v)):
        chain = next(
            (i for i, chain in enumerate(chains) if all(a <= b for a, b in zip(chain[-1], vector, strict=True))), None
        )
        if chain is None:
            chain = len(chains)
            chains.append([])
        place[vector] = chain, len(chains[chain]) + 1
        chains[chain].append(vector)
    bounds = [
        (number, partition, vector[i], step)
        for number, chain_ in enumerate(chains)
        for i, partition in enumerate(partitions)
        for step, (before, vector) in enumerate(zip([(0,) * len(partitions), *chain_], chain_, strict=False), 1)
        if vector[i] > before[i]
    ]
    steps = pa.table(
        [
            pa.array(list(vectors), pa.string()),
            pa.array([place[v][0] for v in vectors.values()], pa.int64()),
            pa.array([place[v][1] for v in vectors.values()], pa.int64()),
        ],
        names=["as_of", "chain", "step"],
    )
    columns = list(zip(*bounds, strict=True)) or [(), (), (), ()]
    return Steps(
        len(chains),
        steps,
        pa.table([pa.array(c, pa.int64()) for c in columns], names=["chain", "partition", "upto", "step"]),
    )


def _entry(text: str, names: Sequence[str]) -> dict[int, int] | None:
    found = msgspec.json.decode(text)
    for name in names:
        if name in found:
            return {int(partition): int(offset) for partition, offset in found[name].items()}
    return None
