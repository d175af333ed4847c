"""Which records repeat an earlier one: a pure function of the log.

Per partition, in offset order: a record with an id is a duplicate if and only if a record that was KEPT at a lower
offset of the partition has the same id, and the arrivals of the two lie no further apart than the window, whichever
came first by its clock. Dead letters and duplicates keep nothing. A NULL or empty id is none. By induction over the
offset this is defined for any order of arrivals, for chains, and for clocks that run backwards; batches, restarts and
readers do not appear in it.

Kept arrivals of one id lie more than a window apart. Sink, feature updater, bandit and `verify` all use this one.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as is_

from millstream.log.hashing import U64
from millstream.log.kept import FILTER_BYTES, ID_BYTES, KeptIds

MEMORY_BYTES = 32 << 20
"""Of ids that are held in memory, over all partitions, before they go to files."""
EVER, NEVER = -(1 << 62), 1 << 62
"""Arrivals before and after all others."""
_EPOCHS = 32
_AT_MOST = 8
"""Stretches of arrivals that one batch asks for; those that lie closest become one."""
_MARGIN_US = 3_600_000_000
_SEEDS = secrets.randbits(63), secrets.randbits(63)
"""Of this process: nobody can choose ids that look alike to it."""
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Earlier: TypeAlias = Callable[[int, int], Iterable[tuple[pa.Array, Ints]]]
"""`earlier(low_us, high_us)`: ids and arrivals (microseconds) of the records kept before the reader began, with `low_us
<= arrival < high_us`.
"""


class Cost(NamedTuple):
    """Bytes that a process needs for the ids of a stream."""

    memory: int
    disk: int


def cost(ids: int) -> Cost:
    """What it costs to remember so many ids: at most `MEMORY_BYTES` of them are in memory, the others in files with a
    filter each.
    """
    if ids * ID_BYTES <= MEMORY_BYTES:
        return Cost(ids * ID_BYTES, 0)
    return Cost(MEMORY_BYTES + round(ids * FILTER_BYTES), ids * ID_BYTES)


@dataclass
class _Memory:
    """What is known of one partition.

    Attributes:
        covered: Stretches [low, high) of arrivals, ascending and apart: every id that was kept in one of them is in
            `kept`. So are all that were kept since the reader began; the others are with `earlier`.
        needed: The least arrival that batches asked for, of each of the last epochs; the newest epoch last.
    """

    kept: KeptIds
    earlier: Earlier | None = None
    covered: list[tuple[int, int]] = field(default_factory=list)
    needed: deque[int] = field(default_factory=lambda: deque([NEVER], maxlen=_EPOCHS))


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
            earlier: What was kept so far; asked for as far back as batches need it. None: nothing was, and nothing is
                ever let go.
            at_start: Nothing was kept below the position; `earlier` serves for what is let go later.
        """
        self._memory[partition] = _Memory(
            KeptIds(self._folder), earlier, [(EVER, NEVER)] if earlier is None or at_start else []
        )

    def resume(self, partition: int, earlier: Earlier) -> None:
        """Continue where the last batch ended, with another way of reading what was kept."""
        self._memory[partition].earlier = earlier

    def settled(self, partition: int) -> None:
        """An epoch ends: all that was kept before it can be had from `earlier`. What the last epochs could not repeat
        is let go.
        """
        memory = self._memory.get(partition)
        if memory is None or memory.earlier is None:
            return
        if len(memory.needed) == _EPOCHS and (floor := min(memory.needed)) < NEVER:
            memory.kept.drop(floor)
            memory.covered = [(max(low, floor), high) for low, high in memory.covered if high > floor]
        memory.needed.append(NEVER)

    def keep(self, partition: int, ids: pa.Array, arrived_us: Any) -> Bools:
        """Which of the next records are not duplicates; remembers those.

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
        self._reach(memory, arrived[chosen])
        first, second = hashes(ids)
        # Looked up in order, ids touch each run once, from end to end
        order = chosen[np.argsort(first[chosen], kind="stable")]
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

    def _reach(self, memory: _Memory, arrived: Ints) -> None:
        """Have all that records of these arrivals may repeat. One that is years old asks for its own neighbourhood, not
        for the years between.
        """
        if memory.earlier is None:
            return
        for low, high in _stretches(arrived, self._within):
            memory.needed[-1] = min(memory.needed[-1], low)
            for begin, end in _uncovered(memory.covered, low, high):
                # The batches after this one reach a little further
                end = max(end, min(end + max(_MARGIN_US, _AT_MOST * self._within), _next(memory.covered, end)))
                memory.kept.reopen(begin)
                for ids, at in memory.earlier(begin, end):
                    real = np.flatnonzero(_real(ids))
                    first, second = hashes(ids)
                    memory.kept.add(first[real], second[real], np.asarray(at, np.int64)[real])
                    self._bound()
                memory.covered = _joined([*memory.covered, (begin, end)])

    def _bound(self) -> None:
        held = [memory.kept for memory in self._memory.values()]
        while sum(kept.memory_bytes for kept in held) > self._memory_bytes:
            max(held, key=lambda kept: kept.memory_bytes).spill()


def hashes(ids: pa.Array) -> tuple[U64, U64]:
    """128 bits an id, the same within this process only."""
    import polars as pl

    series: Any = pl.from_arrow(ids.dictionary_decode() if is_.is_dictionary(ids.type) else ids)
    first, second = (series.hash(seed).to_numpy() for seed in _SEEDS)
    return first, second


def _stretches(arrived: Ints, within: int) -> list[tuple[int, int]]:
    """Arrivals that records of these may repeat, as stretches [low, high), ascending and apart."""
    ordered = np.sort(arrived)
    cuts = np.flatnonzero(np.diff(ordered) > 2 * within + 1)
    if len(cuts) >= _AT_MOST:
        widest = np.argsort(ordered[cuts + 1] - ordered[cuts])[-(_AT_MOST - 1) :]
        cuts = np.sort(cuts[widest])
    lows, highs = ordered[np.append(0, cuts + 1)], ordered[np.append(cuts, len(ordered) - 1)]
    return [
        (max(EVER, low - within), min(NEVER, high + within + 1))
        for low, high in zip(lows.tolist(), highs.tolist(), strict=True)
    ]


def _uncovered(covered: list[tuple[int, int]], low: int, high: int) -> list[tuple[int, int]]:
    """The parts of [low, high) in none of the stretches."""
    found = []
    for begin, end in covered:
        if begin >= high:
            break
        if end <= low:
            continue
        if begin > low:
            found.append((low, begin))
        low = max(low, end)
    return [*found, (low, high)] if low < high else found


def _next(covered: list[tuple[int, int]], at: int) -> int:
    """Where the next stretch begins."""
    return min((begin for begin, _ in covered if begin >= at), default=NEVER)


def _joined(stretches: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for low, high in sorted(stretches):
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return found


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
    begins = np.flatnonzero(
        np.concatenate([[True], (first[rows][1:] != first[rows][:-1]) | (second[rows][1:] != second[rows][:-1])])
    )
    sizes = np.diff(np.append(begins, len(rows)))
    spans = np.maximum.reduceat(arrived[rows], begins) - np.minimum.reduceat(arrived[rows], begins)
    short = np.repeat(spans <= within, sizes)
    # Of one id within one window, the first that is kept makes duplicates of all after it; those before it are
    # duplicates already.
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
