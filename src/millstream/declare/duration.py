"""Lengths of time as arguments of a declaration."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from millstream.base.duration import LONGEST_US, micros
from millstream.base.errors import DefinitionError
from millstream.declare.plain import Rule, Wrong


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
            return Wrong("is not a length of time", value, f"give {self.wants}", self.code)
        if length < 0 or (self.above and length == 0):
            return Wrong(
                "is not a length of time" if length else "has no length",
                value,
                f"give one {'above' if self.above else 'of at least'} 0s",
                self.code,
            )
        return (
            Wrong("is longer than a hundred years", value, "at most 36525d", self.code) if length > LONGEST_US else None
        )


Duration = Annotated[str | timedelta, Length()]
Span = Annotated[str | timedelta, Length(above=True)]
"""A length above nothing."""
