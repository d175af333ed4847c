"""Windows, hops and covers. Times are microseconds since 1970 UTC; a slot is 5 minutes, numbered from 1970.

A window of length w at moment t holds the events with floor(t - w, hop) <= e < t. Tiles have three levels: a slot, an
hour, a day, each a multiple of the one before, so every stretch of slots has an exact cover of few tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

SLOT_US = 300_000_000
HOUR, DAY = 12, 288
"""Slots of a tile of level 1 and of level 2."""
LEVELS = (1, HOUR, DAY)
_HOUR_US, _DAY_US = HOUR * SLOT_US, DAY * SLOT_US


def hop_us(window_us: int) -> int:
    """How far apart the starts of a window lie.

    >>> [hop_us(h * 3_600_000_000) // SLOT_US for h in (3, 12, 24 * 7, 24 * 12)]
    [1, 12, 12, 288]
    """
    return SLOT_US if window_us < 12 * _HOUR_US else _HOUR_US if window_us < 12 * _DAY_US else _DAY_US


def start_slot(slot: int, window_us: int | None) -> int:
    """The first slot of the window of a moment in this slot; nothing lies before 1970."""
    if window_us is None:
        return 0
    hop = hop_us(window_us) // SLOT_US
    return max(0, slot // hop * hop - window_us // SLOT_US)


class Stretch(NamedTuple):
    """Tiles [low, high) of a level, in units of that level."""

    level: int
    low: int
    high: int


def cover(low: int, high: int) -> list[Stretch]:
    """The fewest tiles that are exactly the slots [low, high).

    >>> [tuple(stretch) for stretch in cover(11, 600)]  # level, low, high
    [(0, 11, 12), (1, 1, 24), (1, 48, 50), (2, 1, 2)]
    """
    return list(_cover(low, high))


def _cover(low: int, high: int) -> Iterator[Stretch]:
    hours_from, hours_to = -(-low // 12), high // 12
    if hours_from >= hours_to:
        if low < high:
            yield Stretch(0, low, high)
        return
    if low < hours_from * 12:
        yield Stretch(0, low, hours_from * 12)
    if hours_to * 12 < high:
        yield Stretch(0, hours_to * 12, high)
    days_from, days_to = -(-hours_from // 24), hours_to // 24
    if days_from >= days_to:
        yield Stretch(1, hours_from, hours_to)
        return
    if hours_from < days_from * 24:
        yield Stretch(1, hours_from, days_from * 24)
    if days_to * 24 < hours_to:
        yield Stretch(1, days_to * 24, hours_to)
    yield Stretch(2, days_from, days_to)


def nested(slot: int, windows_us: Sequence[int | None], until: int | None = None) -> list[list[Stretch]]:
    """Covers of what each window adds to the one before it, shortest window first.

    Windows of one moment end together, so the longer one is the shorter one and a stretch before it: no tile is read
    twice. `windows_us` must be in the order of `by_length`.

    Args:
        until: The slot before which they end; None: that of the moment.
    """
    covers, high = [], slot if until is None else until
    for window in windows_us:
        low = min(high, start_slot(slot, window))
        covers.append(cover(low, high))
        high = low
    return covers


def by_length(windows_us: Sequence[int | None]) -> list[int | None]:
    """The windows, shortest first; None, which has no start, last."""
    return sorted(windows_us, key=lambda w: (w is None, w or 0))


def horizon_us(clock_us: int, head_us: int) -> int:
    """Before this moment a look-up is not exact: its slot is no longer kept event by event."""
    return max(0, (clock_us - head_us) // SLOT_US * SLOT_US)


def reach(horizon: int, windows_us: Sequence[int | None], until: int | None = None) -> tuple[int, int, int | None]:
    """The first tile of each level that a look-up at or after the horizon (us) can ask for; None: every one.

    A level is asked for up to one tile of the next level before the start of a window whose hop it is, and before its
    end; and a start lies up to one hop further back than the window is long.

    Args:
        until: Where the windows of a moment at the horizon end (us); None: there.
    """
    end = horizon if until is None else min(horizon, until)
    finite = [w for w in windows_us if w is not None]
    slots = max((w for w in finite if hop_us(w) == SLOT_US), default=0)
    hours = max((w for w in finite if hop_us(w) <= _HOUR_US), default=0)
    first = (
        max(0, (min(horizon - slots, end) - _HOUR_US) // SLOT_US),
        max(0, (min(horizon - hours, end) - _HOUR_US - _DAY_US) // _HOUR_US),
    )
    return *first, None if len(finite) < len(windows_us) else max(0, (horizon - max(finite) - _DAY_US) // _DAY_US)
