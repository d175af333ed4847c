"""Parameters as Spark's markers: each value becomes whole numbers and strings that are bound, and the text that makes
its type of them.
"""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

from millstream.base.errors import WorkFailed
from millstream.base.moments import EPOCH, moment_us

Args: TypeAlias = dict[str, int | str | bool]
_LISTED = ((int, "bigint"), (float, "double"), (str, "string"))


def marked(name: str, value: Any, args: Args) -> str:
    """The text that stands for the parameter; what it binds is put into `args`, under a name of its own.

    >>> args = {}
    >>> marked("limit", 15, args), marked("span", timedelta(hours=1), args), args
    ('cast(:p0 as bigint)', 'make_dt_interval(0, 0, 0, cast(:p1 as decimal(18,6)))', {'p0': 15, 'p1': '3600.000000'})

    Raises:
        WorkFailed: A time has no zone, or the value has no type in Spark.
    """
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        kind = next(
            (
                spark
                for python, spark in _LISTED
                if value and all(isinstance(item, python) and not isinstance(item, bool) for item in value)
            ),
            None,
        )
        if kind is None:
            return f"array({', '.join(marked(name, item, args) for item in value)})"
        # One marker however long it is: a thousand of them cost Spark's parser its memory.
        told = json.dumps([repr(float(item)) if isinstance(item, float) else str(item) for item in value])
        return f"cast(from_json({marked(name, told, args)}, 'array<string>') as array<{kind}>)"
    text, bound = _literal(name, value)
    marker = f"p{len(args)}"
    args[marker] = bound
    return text.format(f":{marker}")


def _literal(name: str, value: Any) -> tuple[str, int | str | bool]:
    if isinstance(value, bool):
        return "{}", value
    if isinstance(value, int):
        return ("cast({} as bigint)", value) if -(2**63) <= value < 2**63 else ("cast({} as decimal(38,0))", str(value))
    if isinstance(value, float):
        return "cast({} as double)", repr(float(value))
    if isinstance(value, str):
        return "{}", value
    if isinstance(value, bytes):
        return "unhex({})", value.hex()
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise WorkFailed(
                f"${name} is {value!r}, a time without a zone; give it one, e.g. {value.isoformat()}+00:00"
            )
        return "timestamp_micros(cast({} as bigint))", moment_us(value)
    if isinstance(value, date):
        return "date_from_unix_date(cast({} as int))", (value - EPOCH.date()).days
    if isinstance(value, timedelta):
        return (
            "make_dt_interval(0, 0, 0, cast({} as decimal(18,6)))",
            f"{Decimal(value // timedelta(microseconds=1)) / 10**6:.6f}",
        )
    if isinstance(value, Decimal):
        scale = max(0, -int(value.as_tuple().exponent))
        return f"cast({{}} as decimal({max(len(value.as_tuple().digits), scale)},{scale}))", format(value, "f")
    raise WorkFailed(f"${name} is {value!r}; a parameter is a number, a text, a boolean, a time or a list of them")
