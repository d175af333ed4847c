"""The ids that were kept, by arrival: sorted runs, the newest in memory, older ones in files, each with its range of
arrivals.

An id is known by 128 bits of hash. Ids are random, so the statistics of a file say nothing about them: inside a window
each new id has to be proven absent from every run. A run in a file has a blocked Bloom filter (Putze, Sanders and
Singler, 2007; here one 64-bit word an id, 10 bits an id), which proves that for 98 of 100 without touching the file. A
look-up is one sorted pass over the runs that its arrivals can meet.

Costs: 24 bytes of memory an id up to a bound, then 1.25 bytes of memory and 24 of disk. Files have no name: they are
unlinked while they are open, so a process that dies leaves none behind, and no later process can take over what an
earlier one believed.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from millstream.log.hashing import U64

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
ID_BYTES = 24
FILTER_BYTES = 1.25
IN_MEMORY = 6
"""Runs in memory before they become one."""
FANOUT = 5
"""Runs in files of about one size before they become one."""
LARGEST_IDS = 40_000_000
"""A file that is larger is not joined with others: it goes as a whole when all its ids are too old."""
_LOOKS = 256
_NEAR = 256
"""How far an id may lie from where the hashes around it say."""
_BITS_AN_ID = 10
_PIECE = 1 << 20


@dataclass(frozen=True)
class Run:
    """Kept ids, sorted by first hash, second hash and arrival.

    Attributes:
        low, high: Least and greatest arrival, microseconds.
        bloom: None for a run in memory.
    """

    first: U64
    second: U64
    arrived: Ints
    low: int
    high: int
    bloom: U64 | None = None
    file: Any = field(default=None, repr=False)
    """Keeps the file of a memory map open."""

    def __len__(self) -> int:
        return len(self.first)

    @property
    def bytes(self) -> int:
        """Of memory."""
        return ID_BYTES * len(self) if self.bloom is None else self.bloom.nbytes


def run_of(first: U64, second: U64, arrived: Ints) -> Run:
    """A run in memory of ids in any order; at least one."""
    order = np.argsort(first, kind="stable")  # a merge of sorted runs is cheap
    if (first[order][1:] == first[order][:-1]).any():
        order = np.lexsort((arrived, second, first))
    return Run(first[order], second[order], arrived[order], int(arrived.min()), int(arrived.max()))


class KeptIds:
    """The kept ids of one partition. `look` finds those that a batch repeats, `add` remembers.

    Args:
        folder: Where runs go that do not fit in memory; None: the system's folder of temporary files.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._memory: list[Run] = []
        self._files: list[Run] = []
        self._looks, self._below = 0, -(1 << 62)

    @property
    def memory_bytes(self) -> int:
        """Of the runs in memory, which `spill` frees."""
        return sum(run.bytes for run in self._memory)

    @property
    def bytes(self) -> int:
        """Of memory in all: runs and filters."""
        return sum(run.bytes for run in (*self._memory, *self._files))

    @property
    def disk_bytes(self) -> int:
        return sum(ID_BYTES * len(run) for run in self._files)

    def __len__(self) -> int:
        return sum(len(run) for run in (*self._memory, *self._files))

    def look(self, first: U64, second: U64, arrived: Ints, within: int) -> Bools:
        """Which of these ids were kept with an arrival no further than `within` from theirs. Sorted by `first`, it is
        one pass a run.
        """
        found = np.zeros(len(first), np.bool_)
        low, high = int(arrived.min()) - within, int(arrived.max()) + within
        wanted = _Wanted(first, second, arrived, within)
        for run in (*self._memory, *self._files):
            if run.low <= high and run.high >= low:
                _look(run, wanted, found)
        self._looks += 1
        if self._looks % _LOOKS == 0:  # pages that were touched stay the system's, and stop counting as ours
            for run in self._files:
                run.file.madvise(mmap.MADV_DONTNEED)
        return found

    def add(self, first: U64, second: U64, arrived: Ints) -> None:
        """Remember ids that were kept; those of one id may be there already."""
        if len(first):
            self._memory.append(run_of(first, second, arrived))
            if len(self._memory) > IN_MEMORY:
                self._memory = self._merged(self._memory)

    def spill(self) -> None:
        """What is in memory goes to a file."""
        runs, self._memory = self._memory, []
        whole = _filed(runs, self._below, self._folder)
        if whole is not None:
            self._files.append(whole)
            self._compact()

    def drop(self, below: int) -> None:
        """Forget ids that arrived before: runs at once, others with the next merge of theirs."""
        self._below = below
        self._memory = [run for run in self._memory if run.high >= below]
        self._files = [run for run in self._files if run.high >= below]

    def reopen(self, low: int) -> None:
        """Ids that arrived from here on are wanted again, and will be added."""
        self._below = min(self._below, low)

    def _compact(self) -> None:
        """Of the newest files, `FANOUT` of about one size become one, as long as it stays below `LARGEST_IDS`."""
        while len(self._files) >= FANOUT:
            last = self._files[-FANOUT:]
            whole = sum(len(run) for run in last)
            if whole > LARGEST_IDS or max(len(run) for run in last) > FANOUT * max(1, min(len(run) for run in last)):
                return
            joined = _filed(last, self._below, self._folder)
            self._files[-FANOUT:] = [] if joined is None else [joined]

    def _joined(self, runs: Sequence[Run]) -> Run | None:
        """The runs as one in memory, without what was forgotten; None when that is all."""
        first, second, arrived = (
            np.concatenate([getattr(run, name) for run in runs] or [np.empty(0)])
            for name in ("first", "second", "arrived")
        )
        held = arrived >= self._below
        if not held.any():
            return None
        if not held.all():
            first, second, arrived = first[held], second[held], arrived[held]
        return run_of(first, second, arrived)

    def _merged(self, runs: list[Run]) -> list[Run]:
        """As one; the largest stays apart while it dwarfs the others."""
        largest = max(runs, key=len)
        apart = len(largest) > 4 * (sum(map(len, runs)) - len(largest))
        joined = self._joined([run for run in runs if run is not largest] if apart else runs)
        return [run for run in ([largest] if apart else []) + [joined] if run is not None]


class _Wanted:
    """What a batch asks each run for; what a filter needs of it is worked out once."""

    def __init__(self, first: U64, second: U64, arrived: Ints, within: int) -> None:
        self.first, self.second, self.arrived, self.within = first, second, arrived, within
        self.high, self.mask = first >> np.uint64(32), _mask(second)

    def may(self, bloom: U64) -> Ints:
        """Places of those that the filter does not exclude."""
        words = (self.high * np.uint64(len(bloom))) >> np.uint64(32)
        return np.flatnonzero((bloom[words] & self.mask) == self.mask)


def _look(run: Run, wanted: _Wanted, found: Bools) -> None:
    """Mark in `found` the ids that this run holds near their arrival."""
    first, second, arrived, within = wanted.first, wanted.second, wanted.arrived, wanted.within
    at = np.flatnonzero(~found) if run.bloom is None else wanted.may(run.bloom)
    at = at if run.bloom is None else at[~found[at]]
    if not len(at):
        return
    left = np.searchsorted(run.first, first[at], side="left") if run.bloom is None else _places(run.first, first[at])
    hit = run.first[np.minimum(left, len(run) - 1)] == first[at]
    at, left = at[hit], left[hit]
    if not len(at):
        return
    # The usual id is in a run once. One that is there often (windows apart, in a history) is found by bisection over
    # its arrivals.
    near = (run.second[left] == second[at]) & (np.abs(run.arrived[left] - arrived[at]) <= within)
    found[at[near]] = True
    at, left = at[~near], left[~near]
    following = np.minimum(left + 1, len(run) - 1)
    more = (run.first[following] == first[at]) & (following > left)
    at, left = at[more], left[more]
    if len(at):
        right = np.searchsorted(run.first, first[at], side="right")
        found[at] = _among(run, left, right, second[at], arrived[at], within)


def _places(column: U64, ids: U64) -> Ints:
    """As `np.searchsorted(column, ids)`, in a file, of whose pages a bisection would touch one a step: hashes lie
    evenly, so where one lies can be estimated from its value, and better from the value found there (interpolation
    search, twice). What lies elsewhere is searched for as usual.
    """
    size = len(column)
    guess = ((ids >> np.uint64(32)) * np.uint64(size) >> np.uint64(32)).astype(np.int64)
    off = (ids.astype(np.float64) - column[guess].astype(np.float64)) * (size / 2.0**64)
    guess += off.astype(np.int64)
    low, high = np.clip(guess - _NEAR, 0, size), np.clip(guess + _NEAR, 0, size)
    elsewhere = ((low > 0) & (column[np.maximum(low - 1, 0)] >= ids)) | (
        (high < size) & (column[np.minimum(high, size - 1)] < ids)
    )
    while (open_ := low < high).any():
        middle = (low + high) // 2
        below = column[np.minimum(middle, size - 1)] < ids
        low, high = np.where(open_ & below, middle + 1, low), np.where(open_ & ~below, middle, high)
    if elsewhere.any():
        low[elsewhere] = np.searchsorted(column, ids[elsewhere])
    return low


def _among(run: Run, left: Ints, right: Ints, second: U64, arrived: Ints, within: int) -> Bools:
    """Whether one of the entries [left, right), which are sorted by (second, arrival), is near: the first that is not
    below `arrived - within`.
    """
    low, high = left.copy(), right.copy()
    least = arrived - within
    while (open_ := low < high).any():
        middle = (low + high) // 2
        probe = np.minimum(middle, len(run) - 1)
        below = (run.second[probe] < second) | ((run.second[probe] == second) & (run.arrived[probe] < least))
        low, high = np.where(open_ & below, middle + 1, low), np.where(open_ & ~below, middle, high)
    probe = np.minimum(low, len(run) - 1)
    near: Bools = (low < right) & (run.second[probe] == second) & (run.arrived[probe] <= arrived + within)
    return near


def _words(first: U64, count: int) -> U64:
    """The word of each id; it grows with the hash, so that a sorted look-up walks through the filter."""
    return ((first >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32)


def _mask(second: U64) -> U64:
    mask = np.zeros(len(second), np.uint64)
    for step in range(4):
        mask |= np.uint64(1) << ((second >> np.uint64(6 * step)) & np.uint64(63))
    return mask


def _bloom(first: U64, second: U64) -> U64:
    count = max(1, len(first) * _BITS_AN_ID // 64)
    bloom = np.zeros(count, np.uint64)
    for at in range(0, len(first), _PIECE):  # words grow with the hash, so each piece fills a stretch
        words, mask = _words(first[at : at + _PIECE], count), _mask(second[at : at + _PIECE])
        begins = np.flatnonzero(np.diff(words, prepend=words[0] + np.uint64(1)))
        bloom[words[begins]] |= np.bitwise_or.reduceat(mask, begins)
    return bloom


def _filed(runs: Sequence[Run], below: int, folder: Path | None) -> Run | None:
    """The runs as one in a file without a name, without ids that arrived before `below`; None when that is all.

    It is made a stretch of hashes at a time, so that it takes little memory.
    """
    room = sum(map(len, runs))
    if not room:
        return None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    size, low, high = 0, 1 << 62, -(1 << 62)
    with tempfile.TemporaryFile(prefix="millstream-ids-", dir=folder) as file:
        file.truncate(ID_BYTES * room)
        for run in _stretches(runs, below, room):
            for place, column in enumerate((run.first, run.second, run.arrived)):
                file.seek((place * room + size) * 8)
                file.write(column.tobytes())
            size, low, high = size + len(run), min(low, run.low), max(high, run.high)
        if not size:
            return None
        file.flush()
        held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # the map keeps the file when it is closed
    first, second = (np.frombuffer(held, np.uint64, size, place * room * 8) for place in (0, 1))
    return Run(first, second, np.frombuffer(held, np.int64, size, 2 * room * 8), low, high, _bloom(first, second), held)


def _stretches(runs: Sequence[Run], below: int, room: int) -> Iterator[Run]:
    """What the runs hold, in order, in pieces of about `_PIECE` ids."""
    pieces = -(-room // _PIECE)
    edges = np.array([(piece << 64) // pieces for piece in range(1, pieces)], np.uint64)
    bounds = [np.concatenate([[0], np.searchsorted(run.first, edges), [len(run)]]) for run in runs]
    for piece in range(pieces):
        parts = [(run, slice(at[piece], at[piece + 1])) for run, at in zip(runs, bounds, strict=True)]
        first, second, arrived = (
            np.concatenate([getattr(run, name)[part] for run, part in parts]) for name in ("first", "second", "arrived")
        )
        held = arrived >= below
        if held.any():
            yield run_of(first[held], second[held], arrived[held])
