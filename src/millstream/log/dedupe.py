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

from millstream.log.hashing import hashes

_RUNS = 6


@dataclass
class _Run:
    """Ids kept, sorted by their first hash; the second tells apart what the first does not."""

    first: npt.NDArray[np.uint64]
    second: npt.NDArray[np.uint64]
    clock: npt.NDArray[np.int64]


@dataclass
class _Memory:
    clock: int = -(1 << 62)
    runs: list[_Run] = field(default_factory=list)


class Deduper:
    """Remembers ids by partition, as long as the window asks: 24 bytes an id."""

    def __init__(self, within_us: int) -> None:
        self._within = within_us
        self._memory: dict[int, _Memory] = {}

    def keep(self, partition: int, ids: pa.Array, arrived_us: Any, offsets: Any = None) -> npt.NDArray[np.bool_]:
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
        kept_at = _latest(memory.runs, first, second)
        fresh = clock - self._within > kept_at
        keep = fresh | ~real
        self._within_batch(first, second, clock, real, kept_at, keep)
        memory.clock = int(clock[-1])
        chosen = np.flatnonzero(keep & real)
        order = chosen[np.argsort(first[chosen], kind="stable")]
        memory.runs.append(_Run(first[order], second[order], clock[order]))
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

    def _within_batch(self, first: Any, second: Any, clock: Any, real: Any, kept_at: Any, keep: Any) -> None:
        """Rows of one batch that repeat one another; few, so each group is walked in order."""
        order = np.argsort(first, kind="stable")
        same = (first[order][1:] == first[order][:-1]) & real[order][1:] & real[order][:-1]
        if not same.any():
            return
        edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            last: dict[int, int] = {}
            for row in order[begin : end + 1]:
                id_ = int(second[row])
                before = max(last.get(id_, -(1 << 62)), int(kept_at[row]))
                keep[row] = clock[row] - self._within > before
                if keep[row]:
                    last[id_] = int(clock[row])


def _latest(runs: list[_Run], first: npt.NDArray[np.uint64], second: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The clock at which each id was last kept; long ago for one never seen."""
    found = np.full(len(first), -(1 << 62), np.int64)
    for run in runs:
        if not len(run.first):
            continue
        left = np.searchsorted(run.first, first, side="left")
        hit = np.flatnonzero(run.first[np.minimum(left, len(run.first) - 1)] == first)
        for step in range(4):  # a stretch of equal first hashes is one id kept again, or (hardly ever) another id
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
    """The runs as one, without what no later record can repeat; the largest is kept apart while it dwarfs the others."""
    runs = sorted(runs, key=lambda r: len(r.first))
    big = [runs.pop()] if len(runs[-1].first) > 4 * sum(len(r.first) for r in runs[:-1]) and runs[-1].clock.min(initial=oldest) >= oldest else []
    first, second, clock = (np.concatenate([getattr(r, name) for r in runs]) for name in ("first", "second", "clock"))
    alive = np.flatnonzero(clock >= oldest)
    # Of one id kept several times only the latest matters; sorted so that it comes first.
    order = alive[np.lexsort((-clock[alive], second[alive], first[alive]))]
    one = np.concatenate([[True], (first[order][1:] != first[order][:-1]) | (second[order][1:] != second[order][:-1])]) if len(order) else np.zeros(0, np.bool_)
    order = order[one]
    return [*big, _Run(first[order], second[order], clock[order])]
