"""What must be where, said as simply as it can be: the rules over lists, one record after the other. Times are
microseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SLOT = 300_000_000
"""Windows begin at whole slots."""


@dataclass(frozen=True)
class Record:
    """One record of the log. `good`: what `judge` says."""

    id: str | None
    arrived: int
    good: bool
    happened: int = 0
    number: int = 0
    who: str = ""


@dataclass(frozen=True)
class Window:
    """From offset `first` on, ids count by this window."""

    first: int
    within: int


def expected(
    log: Sequence[Record], windows: Sequence[Window], given_up: set[int], set_aside: set[int]
) -> tuple[set[int], set[int], set[int]]:
    """Offsets of rows, dead letters and duplicates of one partition."""
    rows, dead, doubles = set[int](), set[int](), set[int]()
    kept: list[Record] = []
    for offset, record in enumerate(log):
        within = [w.within for w in windows if w.first <= offset][-1]
        if offset in given_up:
            continue
        if not record.good or offset in set_aside:
            dead.add(offset)
        elif record.id and any(
            record.id == other.id and abs(record.arrived - other.arrived) <= within for other in kept
        ):
            doubles.add(offset)
        else:
            rows.add(offset)
            kept.append(record)
    return rows, dead, doubles


def lates(rows: Sequence[Record], lateness: int) -> tuple[list[bool], int | None]:
    """Which rows of a partition are late, and its newest time: no wall clock, no time that is later than its arrival,
    and none late that arrived in time.
    """
    late: list[bool] = []
    newest: int | None = None
    for row in rows:
        late.append(newest is not None and row.happened < newest - lateness and row.arrived > row.happened + lateness)
        seen = min(row.happened, row.arrived)
        newest = seen if newest is None else max(newest, seen)
    return late, newest


def watermark(newest: Iterable[int | None], now: int, lateness: int) -> int | None:
    there = [at for at in newest if at is not None]
    return min(max(there), now) - lateness if there else None


def may_judge(wall: int, stepped: int, newest: int | None, slack: int) -> bool:
    """Whether a door's clock can be trusted: it has not been moved far, nor is it far behind the newest append."""
    return abs(stepped) <= slack and (newest is None or newest - wall <= slack)


def too_far(times: Iterable[int | None], wall: int, ahead: int) -> bool:
    """Whether one of a record's times lies too far ahead of the door's clock."""
    return any(time is not None and time > wall + ahead for time in times)


def counted(rows: Iterable[Record], who: str, at: int, window: int | None) -> tuple[int, int | None, int | None]:
    """Of the events of a key before a moment: how many, the sum of their numbers, and the last one's."""
    start = 0 if window is None else at // SLOT * SLOT - window
    mine = sorted(
        (row.happened, place, row.number)
        for place, row in enumerate(rows)
        if row.who == who and max(0, start) <= row.happened < at
    )
    return len(mine), sum(number for _, _, number in mine) if mine else None, mine[-1][2] if mine else None
