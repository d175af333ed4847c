"""Lengths of time as users write them: `"10m"`, `"3h"`, `"7d"`, or a timedelta."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from millstream.declare.errors import DefinitionError
from millstream.declare.rules import Rule, Wrong

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
        raise DefinitionError(f'"{length}" is not a length of time', found=length, mend='write a number and a unit: "30s" "10m" "3h" "7d" "2w"', code="E110")
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


@dataclass(frozen=True)
class Length(Rule):
    """A length of time, from nothing or from above nothing."""

    wants: str = 'a length of time: "30s" "10m" "3h" "7d" "2w", or a timedelta'
    code: str = "E110"
    above: bool = False

    def fits(self, value: Any) -> bool:
        return isinstance(value, str | timedelta)

    def wrong(self, value: Any) -> Wrong | None:
        if not self.fits(value):
            return self.other(value)
        try:
            length = micros(value)
        except DefinitionError:
            return Wrong("is no length of time", value, f"give {self.wants}", self.code)
        if length < 0 or (self.above and length == 0):
            return Wrong("is no length of time" if length else "has no length", value, f"give one {'above' if self.above else 'of at least'} 0s", self.code)
        return Wrong("is longer than a hundred years", value, "at most 36525d", self.code) if length > LONGEST_US else None


Duration = Annotated[str | timedelta, Length()]
Span = Annotated[str | timedelta, Length(above=True)]
"""A length above nothing."""
