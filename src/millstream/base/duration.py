"""Lengths of time as users write them: `"10m"`, `"3h"`, `"7d"`, or a timedelta."""

from __future__ import annotations

import re
from datetime import timedelta

from millstream.base.errors import DefinitionError

UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}
LONGEST_US = 36_525 * UNITS["d"]
"""A hundred years: what is longer was meant otherwise, and would leave the calendar."""
_FORM = re.compile(r"(-?\d+)\s*(us|ms|s|m|h|d|w)")


def micros(length: str | timedelta) -> int:
    """The length in microseconds, exact.

    >>> micros("3h"), micros("90m")
    (10800000000, 5400000000)
    """
    if isinstance(length, timedelta):
        return length // timedelta(microseconds=1)
    match = _FORM.fullmatch(length.strip())
    if match is None:
        raise DefinitionError(f'"{length}" is not a length of time', found=length, fix='write a number and a unit: "30s" "10m" "3h" "7d" "2w"', code="E110")
    return int(match[1]) * UNITS[match[2]]


def spell(length_us: int) -> str:
    """The shortest exact spelling.

    >>> spell(10_800_000_000), spell(0)
    ('3h', '0s')
    """
    if length_us == 0:
        return "0s"
    for unit in ("d", "h", "m", "s", "ms", "us"):
        if length_us % UNITS[unit] == 0:
            return f"{length_us // UNITS[unit]}{unit}"
    raise AssertionError("every integer is a number of microseconds")
