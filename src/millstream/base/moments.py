"""Moments as microseconds since 1970 UTC, as datetimes, and as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_US = 253_402_300_799_999_999
"""The last moment that a datetime can be."""


def moment_us(moment: datetime) -> int:
    """Microseconds since 1970 UTC, exact.

    >>> moment_us(datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC))
    -1
    """
    passed = moment - EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds


def moment_of(us: int) -> datetime:
    """The datetime, in UTC.

    Raises:
        OverflowError: It lies outside the years 1 to 9999.
    """
    return EPOCH + timedelta(microseconds=us)


def spelled(us: int) -> str:
    """A moment for people, to the second; one outside the years 1 to 9999 as its number.

    >>> spelled(0), spelled(1 << 62)
    ('1970-01-01 00:00:00 UTC', '4611686018427387904 us')
    """
    try:
        return moment_of(us).strftime("%Y-%m-%d %H:%M:%S UTC")
    except OverflowError:
        return f"{us} us"
