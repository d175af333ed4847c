"""Which records repeat an earlier one: a pure function of the log's order.

A record is a duplicate when its id was kept at a lower offset of the same partition no longer than the window ago, by the
partition's clock: the largest arrival time seen so far. Batch bounds and restarts change nothing. Sink, feature updater and
`verify` all use it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.log.hashing import U64, hashes

_RUNS = 6
NEVER = -(1 << 62)
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass
class _Run:
    """Ids kept, sorted by their first hash; the second tells apart what the first does not."""

    first: U64
    second: U64
    clock: Ints


@dataclass
class _Memory:
    clock: int = NEVER
    runs: list[_Run] = field(default_factory=list)


class Deduper:
    """Remembers ids by partition, as long as the window asks: 24 bytes an id."""

    def __init__(self, within_us: int) -> None:
        self._within = within_us
        self._memory: dict[int, _Memory] = {}

    def keep(self, partition: int, ids: pa.Array, arrived_us: Any, offsets: Any = None) -> Bools:
        """Which rows are no duplicates, in log order; remembers those kept.

        Args:
            ids: One a row; NULL is never a duplicate and never remembered.
            arrived_us: Arrival times, microseconds.
            offsets: Not needed: the order of the rows is the log's.
        """
        memory = self._memory.setdefault(partition, _Memory())
        if len(ids) == 0:
            return np.zeros(0, np.bool_)
        clock = np.maximum.accumulate(np.maximum(np.asarray(arrived_us, np.int64), memory.clock))
        first, second = hashes([ids], 0), hashes([ids], 1)
        real = ~np.asarray(ids.is_null()) if ids.null_count else np.ones(len(ids), np.bool_)
        order = np.argsort(first)  # looked up in order, ids touch each run once from end to end: half the time of a look-up here and there
        kept_at = np.empty(len(ids), np.int64)
        kept_at[order] = _latest(memory.runs, first[order], second[order])
        fresh = clock - self._within > kept_at
        keep = fresh | ~real
        self._within_batch(order, first, second, clock, real, kept_at, keep)
        memory.clock = int(clock[-1])
        chosen = order[(keep & real)[order]]
        if len(chosen):
            memory.runs.append(_run(first[chosen], second[chosen], clock[chosen]))
        if len(memory.runs) > _RUNS:
            memory.runs = _merged(memory.runs, memory.clock - self._within)
        return keep

    def preload(self, partition: int, ids: pa.Array, arrived_us: Any, offsets: Any = None) -> None:
        """Remember what lies before the position taken over, read again from (position - window) in log order."""
        self.keep(partition, ids, arrived_us)

    def forget(self, partition: int) -> None:
        """Another reader has this partition now."""
        self._memory.pop(partition, None)

    @property
    def bytes(self) -> int:
        """Memory of all ids remembered."""
        return sum(24 * len(run.first) for memory in self._memory.values() for run in memory.runs)

    def _within_batch(self, order: Ints, first: U64, second: U64, clock: Ints, real: Bools, kept_at: Ints, keep: Bools) -> None:
        """Rows of one batch that repeat one another; `order` sorts them by their first hash."""
        same = (first[order][1:] == first[order][:-1]) & real[order][1:] & real[order][:-1]
        if not same.any():
            return
        member = np.concatenate([[False], same]) | np.concatenate([same, [False]])
        if clock[-1] - clock[0] <= self._within:
            # Within one window the first fresh row of an id makes doubles of all after it; those before it are doubles already.
            rows = order[member]
            rows = rows[keep[rows]]
            rows = rows[np.lexsort((rows, second[rows], first[rows]))]
            again = (first[rows][1:] == first[rows][:-1]) & (second[rows][1:] == second[rows][:-1])
            keep[rows[1:][again]] = False
            return
        last: dict[tuple[int, int], int] = {}
        for row in np.sort(order[member]):  # a batch longer than the window: each row in its turn
            id_ = (int(first[row]), int(second[row]))
            before = max(last.get(id_, NEVER), int(kept_at[row]))
            keep[row] = clock[row] - self._within > before
            if keep[row]:
                last[id_] = int(clock[row])


def _run(first: U64, second: U64, clock: Ints) -> _Run:
    """Ids, sorted by their first hash, as a run, each once: of one kept several times only the latest matters."""
    if not (first[1:] == first[:-1]).any():
        return _Run(first, second, clock)
    order = np.lexsort((-clock, second, first))
    one = np.concatenate([[True], (first[order][1:] != first[order][:-1]) | (second[order][1:] != second[order][:-1])])
    order = order[one]
    return _Run(first[order], second[order], clock[order])


def _latest(runs: list[_Run], first: U64, second: U64) -> Ints:
    """The clock at which each id was last kept; long ago for one never seen."""
    found = np.full(len(first), NEVER, np.int64)
    for run in runs:
        if not len(run.first):
            continue
        left = np.searchsorted(run.first, first, side="left")
        hit = np.flatnonzero(run.first[np.minimum(left, len(run.first) - 1)] == first)
        for step in range(4):  # an id is in a run once; several of one first hash are different ids, which hardly ever happens
            at = left[hit] + step
            ok = at < len(run.first)
            hit, at = hit[ok], at[ok]
            ok = run.first[at] == first[hit]
            hit, at = hit[ok], at[ok]
            if not len(hit):
                break
            right = run.second[at] == second[hit]
            found[hit[right]] = np.maximum(found[hit[right]], run.clock[at[right]])
    return found


def _merged(runs: list[_Run], oldest: int) -> list[_Run]:
    """The runs as one, without what no later record can repeat. The largest is kept apart while it dwarfs the others and most of it counts."""
    runs = sorted(runs, key=lambda r: len(r.first))
    largest, rest = runs[-1], sum(len(r.first) for r in runs[:-1])
    apart = len(largest.first) > 4 * rest and np.count_nonzero(largest.clock < oldest) < len(largest.clock) / 4
    big = [runs.pop()] if apart else []
    first, second, clock = (np.concatenate([getattr(r, name) for r in runs]) for name in ("first", "second", "clock"))
    order = np.argsort(first, kind="stable")  # runs are sorted already, which this one makes use of
    order = order[clock[order] >= oldest]
    return [*big, _run(first[order], second[order], clock[order])]
