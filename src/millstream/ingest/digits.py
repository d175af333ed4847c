"""Numbers as they are written: which texts a whole number or a float can take without losing or guessing anything."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

EXACT = 2**53
"""Up to here every whole number is a float."""
MOST = 320
"""No finite float has more digits before its point, and no integer of 64 bits."""
_DIGITS = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
ZERO = re.compile(r"[+-]?(?:0+\.?0*|\.0+)(?:[eE][+-]?\d+)?", re.ASCII)
"""Zero, whatever its exponent: 0e400 is 0, though 1e400 is not a number of a field."""
NUMBER = rf"^{_NUMBER.pattern}$"
"""A decimal number, for Arrow's regular expressions."""


def survives(text: str) -> bool:
    """Whether a number in a float keeps the digits it was written with.

    Only a whole number written out (no point, no exponent) claims that each digit counts: 2**53 + 1 does not survive.
    One that is the shortest or the exact spelling of a float does, as 9223372036854776000, which is how JavaScript
    writes 2.0**63.
    """
    if not _DIGITS.fullmatch(text) or len(text) > MOST:
        return True
    value = float(text)
    return Decimal(text) in (Decimal(value), Decimal(repr(value)))


def whole(text: str) -> int | None:
    """The whole number that a text such as "1.0" or "1e3" is; None when it is none, or beyond 64 bits."""
    if len(text) > MOST or not _NUMBER.fullmatch(text):
        return None
    if ZERO.fullmatch(text):  # whatever its exponent, which may be beyond a Decimal's
        return 0
    try:
        value = Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits
        return None
    if value.adjusted() > 18 or value != value.to_integral_value():
        return None
    made = int(value)
    return made if -(2**63) <= made < 2**63 else None
