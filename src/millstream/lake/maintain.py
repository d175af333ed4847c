"""A table's upkeep, under a lease: checkpoints, lineage folded, small files joined, the log cleaned, dead files
removed.

The lease saves work; safety never rests on it: two at once, or one that wakes up hours later, lose and double nothing,
because each step is a commit that delta-rs refuses when its files are gone, or removes only what nothing names. Order:
what makes the table cheaper first; ranges are folded before the commits that say them are removed
(docs/exactly-once.md, section 16).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from millstream.base.errors import NotFound
from millstream.lake import checkpoint, clean, compact, deltalog, lineage
from millstream.lake.lake import Lake
from millstream.lake.table import LakeTable
from millstream.state.port import State

LEASE = timedelta(minutes=1)
SWEEP = timedelta(days=1)
"""Between two looks for files that nothing names."""
FOLD_EVERY = 200
"""Commits: a reader of the lineage reads at most so many one by one."""
KIND = "upkeep"


@dataclass(frozen=True)
class Done:
    """What one call did; false when there was nothing to do.

    Attributes:
        checkpoint: The version of which one was made.
        folded: Ranges copied into the lineage table.
        joined: Small files that became fewer.
        cleaned: Commits and checkpoints removed from the log.
        removed: Data files that no version kept names.
    """

    checkpoint: int | None = None
    folded: int = 0
    joined: int = 0
    cleaned: int = 0
    removed: int = 0

    def __bool__(self) -> bool:
        return self.checkpoint is not None or bool(self.folded or self.joined or self.cleaned or self.removed)


def maintain(lake: Lake, name: str, state: State, owner: str, *, now: Callable[[], float] = time.time) -> Done:
    """Do what is due for a table; returns at once when nothing is, or when another holds the lease.

    Args:
        owner: Who asks, for the lease.
        now: Seconds since 1970.
    """
    newest = deltalog.newest(lake.files, name)
    told = state.get(KIND, name)
    seen = int(told.value["version"]) if told else -1
    swept = float(told.value["swept"]) if told else None
    # In the future: written by a clock that was wrong
    sweeping = swept is None or not 0 <= now() - swept < SWEEP.total_seconds()
    # A lower version than seen is another table, or a tail was cut
    if newest < 0 or (0 <= newest - seen < checkpoint.EVERY and not sweeping):
        return Done()
    if not state.lease(f"{KIND}/{name}", owner, LEASE):
        return Done()
    try:
        try:
            table = lake.table(name)
        except NotFound:  # dropped a moment ago
            return Done()
        try:
            return _work(lake, table, min(now(), _written(table)), sweeping)
        finally:  # what failed is not tried again every few seconds
            state.put(KIND, name, {"version": table.version, "swept": now() if sweeping else swept})
    finally:
        state.release(f"{KIND}/{name}", owner)


def _written(table: LakeTable) -> float:
    """When the newest commit was made, in seconds since 1970. Ages are counted from there: a clock that has jumped
    ahead makes no file old, so that one which a sink is about to commit stays. A table in which nothing happens keeps
    what is unnamed until something does.
    """
    return deltalog.read(table.files, table.name, table.version).at_ms / 1e3


def _work(lake: Lake, table: LakeTable, now: float, sweeping: bool) -> Done:
    made = None
    if checkpoint.age(table) >= checkpoint.EVERY:
        checkpoint.make(table)
        made = table.version
    joined = compact.compact(table)
    folded = 0
    crowded = clean.crowded(table)
    if crowded or sweeping or table.version - lineage.folded(lake, table) >= FOLD_EVERY:
        folded = lineage.fold(lake, table)
    removed = clean.vacuum(table, now) if sweeping else 0
    cleaned = clean.log(lake, table, now) if crowded or sweeping else 0
    return Done(made, folded, joined, cleaned, removed)
