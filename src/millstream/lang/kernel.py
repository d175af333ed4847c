"""What compiled expressions call for one row: the few operations that Python and SQL do not mean alike."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any

from millstream.base.letters import lower, upper

_LEAST, _MOST = -(2**63), 2**63 - 1


def finite(x: float) -> float | None:
    """NaN and infinities are NULL."""
    return x if x - x == 0.0 else None


def int64(x: int) -> int | None:
    """What does not fit into 64 bits is NULL."""
    return x if _LEAST <= x <= _MOST else None


def divide(a: float, b: float) -> float | None:
    """The quotient; NULL when there is no finite one."""
    return finite(a / b) if b else None


def truncate(a: int, b: int) -> int:
    """Whole division toward zero, as SQL does it."""
    q = abs(a) // abs(b)
    return q if (a < 0) == (b < 0) else -q


def remainder(a: int, b: int) -> int:
    """The remainder with the sign of the dividend, as SQL does it."""
    r = abs(a) % abs(b)
    return -r if a < 0 else r


def rounded(x: float) -> float:
    """To the nearest whole number, halves away from zero. Zero keeps its sign, as in DuckDB."""
    whole = math.trunc(x)
    if abs(x - whole) >= 0.5:
        whole += 1 if x > 0 else -1
    return math.copysign(whole, x)


def rounded_to(x: float, digits: int) -> float:
    """To so many decimals; a negative number of them is tens, hundreds and so on.

    As DuckDB 2 rounds a double: scaled by a power of ten, to the nearest whole number, and back. Where the scaled
    double stands at a half, the part that scaling has lost decides: 0.15 is below 0.15 by a little, so that it becomes
    0.1. A true half goes away from zero.
    """
    scale = 10.0 ** abs(digits)
    if digits < 0:
        tens = rounded(x / scale) * scale
        return tens if math.isfinite(tens) else x
    scaled = x * scale
    if not math.isfinite(scaled):
        return x
    whole = math.trunc(scaled)
    if abs(scaled - whole) == 0.5 and abs(Fraction(x) * 10**digits) < abs(Fraction(scaled)):
        return math.copysign(whole, x) / scale
    return rounded(scaled) / scale


def rounded_whole(x: int, digits: int) -> int | None:
    """A whole number to tens (1), hundreds (2) and so on, halves away from zero."""
    scale = 10**digits
    tens = (abs(x) + scale // 2) // scale * scale
    return int64(tens if x >= 0 else -tens)


def floor(x: float) -> float:
    """The whole number below; zero keeps its sign."""
    return math.copysign(math.floor(x), x)


def ceil(x: float) -> float:
    """The whole number above; zero has the sign of x."""
    return math.copysign(math.ceil(x), x)


def power(a: float, b: float) -> float | None:
    """a to the b; NULL when there is no finite real one."""
    try:
        return finite(math.pow(a, b))
    except (ValueError, OverflowError):
        return None


def exponential(x: float) -> float | None:
    """e to the x; NULL beyond the doubles."""
    try:
        return math.exp(x)
    except OverflowError:
        return None


def to_float(x: int | float | None) -> float | None:
    return None if x is None else float(x)


def to_int(x: int | bool | None) -> int | None:
    return None if x is None else int(x)


def greatest(*values: Any) -> Any:
    """The greatest that is not NULL."""
    return max((v for v in values if v is not None), default=None)


def least(*values: Any) -> Any:
    """The least that is not NULL."""
    return min((v for v in values if v is not None), default=None)


def utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is UTC or moment.tzinfo is None else moment.astimezone(UTC)


def day_of_year(moment: date) -> int:
    return moment.toordinal() - date(moment.year, 1, 1).toordinal() + 1


NAMES: dict[str, Any] = {
    "_finite": finite,
    "_int64": int64,
    "_divide": divide,
    "_truncate": truncate,
    "_remainder": remainder,
    "_round": rounded,
    "_round_to": rounded_to,
    "_tens": rounded_whole,
    "_floor": floor,
    "_ceil": ceil,
    "_power": power,
    "_exp": exponential,
    "_lower": lower,
    "_upper": upper,
    "_float": to_float,
    "_whole": to_int,
    "_greatest": greatest,
    "_least": least,
    "_utc": utc,
    "_day": day_of_year,
    "math": math,
    "re": re,
    "datetime": datetime,
    "date": date,
    "str": str,
    "int": int,
    "float": float,
    "abs": abs,
    "len": len,
    "round": round,
    "__builtins__": {},
}
"""All that generated code can see."""
