"""What must be where, said as simply as it can be: the rules over lists, one record after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """One record of the log. `arrived` in microseconds; `good`: what `judge` says."""

    id: str | None
    arrived: int
    good: bool


@dataclass(frozen=True)
class Window:
    """From offset `first` on, ids count by this window."""

    first: int
    within: int


def expected(log: Sequence[Record], windows: Sequence[Window], given_up: set[int], set_aside: set[int]) -> tuple[set[int], set[int], set[int]]:
    """Offsets of rows, dead letters and duplicates of one partition."""
    rows, dead, doubles = set[int](), set[int](), set[int]()
    kept: list[Record] = []
    for offset, record in enumerate(log):
        within = [w.within for w in windows if w.first <= offset][-1]
        if offset in given_up:
            continue
        if not record.good or offset in set_aside:
            dead.add(offset)
        elif record.id and any(record.id == other.id and abs(record.arrived - other.arrived) <= within for other in kept):
            doubles.add(offset)
        else:
            rows.add(offset)
            kept.append(record)
    return rows, dead, doubles
