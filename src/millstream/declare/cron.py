"""Cron lines: the next time that one names, and the longest time between two."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, pairwise

from millstream.base.words import SCHEDULES

_TICKS = 4096
"""As many are looked at: a year of every two hours, two weeks of every five minutes."""
_BEGIN = datetime(2023, 12, 31, tzinfo=UTC)


def next_after(line: str, moment: datetime) -> datetime:
    """The first time a cron line names after a moment (UTC).

    >>> next_after("@daily", datetime(2026, 1, 1, 12, tzinfo=UTC)).isoformat()
    '2026-01-02T00:00:00+00:00'
    """
    from cronsim import CronSim

    return next(CronSim(SCHEDULES.get(line, line), moment))


@lru_cache(maxsize=256)
def longest_us(line: str) -> int | None:
    """The longest time between two ticks of a cron line, in microseconds; None where the line cannot be read or names
    one time only.

    >>> longest_us("@daily") == 86_400_000_000, longest_us("0 9 * * 1-5") == 3 * 86_400_000_000
    (True, True)
    >>> longest_us("now and then")
    """
    from cronsim import CronSim, CronSimError

    try:
        ticks = islice(CronSim(SCHEDULES.get(line, line), _BEGIN), _TICKS)
    except CronSimError:
        return None
    longest, until = timedelta(0), _BEGIN + timedelta(days=3 * 366)
    with suppress(OverflowError):  # after the year 9999
        for earlier, later in pairwise(ticks):
            longest = max(longest, later - earlier)
            if later > until:
                break
    return longest // timedelta(microseconds=1) or None
