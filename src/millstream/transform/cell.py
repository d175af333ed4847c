"""A value of a table as people read it: all of it, and nothing in it that would steer a terminal.

Values come from outside. A name may hold `[red]`, an escape sequence or a line end; a date may lie outside the years
that Python has; a double has up to seventeen digits. What is printed is what is stored.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as is_

NULL = "NULL"
_MINUTE, _HOUR = 60 * 10**9, 3600 * 10**9
_UNSEEN = re.compile(r"[^\x20-\x7e]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str, keep: str = "") -> str:
    """The text with what steers a terminal, or turns its direction, spelled as in Python; `keep` stays as it is.

    >>> visible("a[b]c"), visible("\\x1b[31mred"), visible("one\\ntwo", keep="\\n")
    ('a[b]c', '\\\\x1b[31mred', 'one\\ntwo')
    """
    return _UNSEEN.sub(
        lambda found: found[0] if found[0] in keep or found[0].isprintable() else _spelled(found[0]), text
    )


def _spelled(char: str) -> str:
    return _SHORT.get(char) or char.encode("unicode_escape", "surrogatepass").decode()


def read(value: Any) -> str:
    """A Python value as people read it: a float with as many digits as tell it from every other, a moment with its
    fraction of a second.

    >>> read(0.1 + 0.2), read(None), read([1.5, float("nan"), "[red]"])
    ('0.30000000000000004', 'NULL', '[1.5, nan, [red]]')
    """
    if value is None:
        return NULL
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(" ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{read(k)}: {read(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(read(v) for v in value)}]"
    return visible(str(value))


def cells(column: pa.ChunkedArray) -> list[str]:
    """A column as `read` spells it; what Python has no value for is spelled too."""
    try:
        return (
            [read(value) for value in column.to_pylist()]
            if _is_plain(column.type)
            else [cell(value) for value in column]
        )
    except (OverflowError, ValueError, UnicodeDecodeError):
        return [cell(value) for value in column]


def cell(scalar: pa.Scalar) -> str:
    """One value, whatever its type."""
    kind = scalar.type
    if not scalar.is_valid:
        return NULL
    if is_.is_dictionary(kind):
        return cell(scalar.value)
    if is_.is_timestamp(kind):
        return _moment(scalar.cast(pa.int64()).as_py(), kind.unit)
    if is_.is_date(kind):
        days = scalar.cast(pa.int32()).as_py() if is_.is_date32(kind) else scalar.cast(pa.int64()).as_py() // 86_400_000
        return _stood(days, "D")
    if is_.is_string(kind) or is_.is_large_string(kind):
        return visible(scalar.as_buffer().to_pybytes().decode(errors="backslashreplace"))
    if is_.is_float32(kind) or is_.is_float16(kind):
        return str(np.float32(scalar.as_py()))
    if is_.is_map(kind):
        entries = scalar.values
        keys, held = entries.field(0), entries.field(1)
        return "{" + ", ".join(f"{cell(keys[at])}: {cell(held[at])}" for at in range(len(entries))) + "}"
    if is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind):
        return f"[{', '.join(cell(item) for item in scalar.values)}]"
    if is_.is_struct(kind):
        return (
            "{"
            + ", ".join(f"{visible(kind.field(at).name)}: {cell(scalar[at])}" for at in range(kind.num_fields))
            + "}"
        )
    if is_.is_interval(kind):
        return span(*scalar.as_py())
    try:
        return read(scalar.as_py())
    except (OverflowError, ValueError):  # a span or a time of day beyond Python's
        return str(scalar.cast(pa.int64()).as_py())


def _moment(number: int, unit: str) -> str:
    """Without a fraction when it is none."""
    whole, _, fraction = _stood(number, unit).replace("T", " ").partition(".")
    return f"{whole}.{fraction}" if fraction.strip("0") else whole


def _stood(number: int, unit: str) -> str:
    """ISO 8601 for any year; years are counted as astronomers do (0 is the year before 1)."""
    said = str(np.array([number], np.int64).astype(f"datetime64[{unit}]")[0])
    return f"-{said[1:].partition('-')[0].zfill(4)}-{said[1:].partition('-')[2]}" if said.startswith("-") else said


def _is_plain(kind: pa.DataType) -> bool:
    """Whether a Python value of the type says all of it, in the way `cell` does."""
    return is_.is_integer(kind) or is_.is_float64(kind) or is_.is_boolean(kind) or is_.is_decimal(kind)


def span(months: int, days: int, nanoseconds: int) -> str:
    """A duration of ISO 8601, each part with its own sign: months, days and hours are not multiples of one another.

    >>> span(14, -1, 2_500_000_000), span(0, 0, -5_400_000_000_000), span(0, 0, 0)
    ('P1Y2M-1DT2.5S', 'PT-1H-30M', 'PT0S')
    """
    years, months = _whole(months, 12)
    hours, rest = _whole(nanoseconds, _HOUR)
    minutes, rest = _whole(rest, _MINUTE)
    seconds = (
        f"{'-' if rest < 0 else ''}{abs(rest) // 10**9}.{abs(rest) % 10**9:09}".rstrip("0").rstrip(".") if rest else ""
    )
    day = "".join(f"{n}{unit}" for n, unit in ((years, "Y"), (months, "M"), (days, "D")) if n)
    time = "".join(f"{n}{unit}" for n, unit in ((hours, "H"), (minutes, "M")) if n) + (f"{seconds}S" if seconds else "")
    return f"P{day}T{time}" if time else f"P{day}" if day else "PT0S"


def _whole(n: int, per: int) -> tuple[int, int]:
    """Toward zero, with the rest of the same sign."""
    whole = abs(n) // per if n >= 0 else -(abs(n) // per)
    return whole, n - whole * per
