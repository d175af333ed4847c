"""What compiled expressions call for one row: the few operations that Python and SQL do not mean alike."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

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
    """To the nearest whole number, halves away from zero."""
    whole = math.trunc(x)
    if abs(x - whole) >= 0.5:
        whole += 1 if x > 0 else -1
    return float(whole)


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


def each(text: str, change: Callable[[str], str]) -> str:
    """Change case one character at a time, as DuckDB does; what would become several letters stays, but sharp s."""
    if text.isascii():
        return change(text)
    if change is str.upper:
        text = text.replace("ß", "ẞ")
    return "".join(made if len(made := change(c)) == 1 else c for c in text)


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
    "_power": power,
    "_exp": exponential,
    "_each": each,
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
