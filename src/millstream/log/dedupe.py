"""Which records repeat an earlier one: a pure function of the log.

Per partition, in offset order: a record with an id is a duplicate if and only if a record that was KEPT at a lower offset of the partition
has the same id, and the arrivals of the two lie no further apart than the window, whichever came first by its clock. Dead letters and
duplicates keep nothing. A NULL or empty id is none. By induction over the offset this is defined for any order of arrivals, for chains, and
for clocks that run backwards; batches, restarts and readers do not appear in it.

Kept arrivals of one id lie more than a window apart. Sink, feature updater, bandit and `verify` all use this one.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as is_

from millstream.log.hashing import U64, hashes
from millstream.log.kept import KeptIds

MEMORY_BYTES = 64 << 20
"""Of ids that are held in memory, over all partitions, before they go to files."""
EVER, NEVER = -(1 << 62), 1 << 62
"""Arrivals before and after all others."""
_IDLE_BATCHES = 256
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Earlier: TypeAlias = Callable[[int, int], Iterable[tuple[pa.Array, Ints]]]
"""`earlier(low_us, high_us)`: ids and arrivals (microseconds) of the records kept before the reader began, with `low_us <= arrival < high_us`."""


@dataclass
class _Memory:
    """What is known of one partition.

    Attributes:
        since: Every kept id with an arrival from here on is in `kept`; those before are with `earlier`.
        needed: The least arrival that each of the last batches asked for.
    """

    kept: KeptIds
    earlier: Earlier | None = None
    since: int = EVER
    needed: deque[int] = field(default_factory=lambda: deque(maxlen=_IDLE_BATCHES))


class Deduper:
    """Decides, partition by partition, in the log's order.

    Args:
        within_us: The window, microseconds.
        folder: For ids that do not fit in memory; None: the system's folder of temporary files.
        memory_bytes: Bound of the ids held in memory; their filters, 1.25 bytes an id, come on top.
    """

    def __init__(self, within_us: int, *, folder: Path | None = None, memory_bytes: int = MEMORY_BYTES) -> None:
        self._within, self._folder, self._memory_bytes = within_us, folder, memory_bytes
        self._memory: dict[int, _Memory] = {}

    def begin(self, partition: int, earlier: Earlier | None = None, *, at_start: bool = False) -> None:
        """Read this partition from a new position.

        Args:
            earlier: What was kept so far; asked for as far back as batches need it. None: nothing was, and nothing is ever let go.
            at_start: Nothing was kept below the position; `earlier` serves for what is let go later.
        """
        self._memory[partition] = _Memory(KeptIds(self._folder), earlier, EVER if earlier is None or at_start else NEVER)

    def resume(self, partition: int, earlier: Earlier) -> None:
        """Go on where the last batch ended, with another way of reading what was kept."""
        self._memory[partition].earlier = earlier

    def settled(self, partition: int) -> None:
        """All that was kept so far can be had from `earlier`: what no recent batch could repeat is let go."""
        memory = self._memory.get(partition)
        if memory is not None and memory.earlier is not None and len(memory.needed) == _IDLE_BATCHES:
            floor = min(memory.needed)
            memory.kept.drop(floor)
            memory.since = max(memory.since, floor)

    def keep(self, partition: int, ids: pa.Array, arrived_us: Any) -> Bools:
        """Which of the next records are no duplicates; remembers those.

        Args:
            ids: One a record; NULL and "" are never duplicates.
            arrived_us: Arrivals, microseconds, in any order.
        """
        if partition not in self._memory:
            self.begin(partition, None)
        if len(ids) == 0:
            return np.zeros(0, np.bool_)
        memory, arrived = self._memory[partition], np.asarray(arrived_us, np.int64)
        real = _real(ids)
        keep = np.ones(len(ids), np.bool_)
        chosen = np.flatnonzero(real)
        if not len(chosen):
            return keep
        self._reach(memory, int(arrived[chosen].min()))
        first, second = hashes([ids], 0), hashes([ids], 1)
        order = chosen[np.argsort(first[chosen], kind="stable")]  # looked up in order, ids touch each run once, from end to end
        keep[order] = ~memory.kept.look(first[order], second[order], arrived[order], self._within)
        _among_themselves(order, first, second, arrived, self._within, keep)
        new = order[keep[order]]
        memory.kept.add(first[new], second[new], arrived[new])
        self._bound()
        return keep

    def forget(self, partition: int) -> None:
        """Another reader has this partition now."""
        self._memory.pop(partition, None)

    @property
    def bytes(self) -> int:
        """Memory of all ids and their filters."""
        return sum(memory.kept.bytes for memory in self._memory.values())

    @property
    def disk_bytes(self) -> int:
        return sum(memory.kept.disk_bytes for memory in self._memory.values())

    def _reach(self, memory: _Memory, least: int) -> None:
        """Have all that a record of this arrival may repeat."""
        low = max(EVER, least - self._within)
        if low < memory.since and memory.earlier is not None:
            for ids, arrived in memory.earlier(low, memory.since):
                real = np.flatnonzero(_real(ids))
                memory.kept.add(hashes([ids], 0)[real], hashes([ids], 1)[real], np.asarray(arrived, np.int64)[real])
                self._bound()
            memory.since = low
        memory.needed.append(low)

    def _bound(self) -> None:
        held = [memory.kept for memory in self._memory.values()]
        while sum(kept.memory_bytes for kept in held) > self._memory_bytes:
            max(held, key=lambda kept: kept.memory_bytes).spill()


def _real(ids: pa.Array) -> Bools:
    """Which ids are ids."""
    real: Bools = ~np.asarray(ids.is_null()) if ids.null_count else np.ones(len(ids), np.bool_)
    kind = ids.type.value_type if is_.is_dictionary(ids.type) else ids.type
    if is_.is_string(kind) or is_.is_large_string(kind) or is_.is_binary(kind) or is_.is_large_binary(kind):
        texts = ids.dictionary_decode() if is_.is_dictionary(ids.type) else ids
        real &= np.asarray(pc.fill_null(pc.greater(pc.binary_length(texts), 0), False))
    return real


def _among_themselves(order: Ints, first: U64, second: U64, arrived: Ints, within: int, keep: Bools) -> None:
    """Records of one batch that repeat one another. `order` sorts them by first hash, equal ones as they came."""
    same = first[order][1:] == first[order][:-1]
    if not same.any():
        return
    member = np.concatenate([[False], same]) | np.concatenate([same, [False]])
    rows = order[member]
    rows = rows[np.lexsort((rows, second[rows], first[rows]))]
    begins = np.flatnonzero(np.concatenate([[True], (first[rows][1:] != first[rows][:-1]) | (second[rows][1:] != second[rows][:-1])]))
    sizes = np.diff(np.append(begins, len(rows)))
    spans = np.maximum.reduceat(arrived[rows], begins) - np.minimum.reduceat(arrived[rows], begins)
    short = np.repeat(spans <= within, sizes)
    # Of one id within one window, the first that is kept makes duplicates of all after it; those before it are duplicates already.
    near = rows[short]
    near = near[keep[near]]
    again = (first[near][1:] == first[near][:-1]) & (second[near][1:] == second[near][:-1])
    keep[near[1:][again]] = False
    for begin, size in zip(begins[spans > within].tolist(), sizes[spans > within].tolist(), strict=True):
        _in_turn(rows[begin : begin + size].tolist(), arrived, within, keep)


def _in_turn(rows: list[int], arrived: Ints, within: int, keep: Bools) -> None:
    """Records of one id over more than a window, each in its turn."""
    kept: list[int] = []
    for row in rows:
        if not keep[row]:
            continue
        at = int(arrived[row])
        place = bisect_left(kept, at - within)
        if place < len(kept) and kept[place] <= at + within:
            keep[row] = False
        else:
            insort(kept, at)


__all__ = ["EVER", "NEVER", "Deduper", "Earlier"]
