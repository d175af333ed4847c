"""One node of an expression as code: its type, DuckDB's text and Python's text; and constants."""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlglot import exp

from millstream.base.event import Kind


class Refused(ValueError):
    """The text is outside the subset: what was found, and the fix."""

    def __init__(self, found: str, fix: str = "", *, missing: str = "", code: str = "E117") -> None:
        super().__init__(found)
        self.found, self.fix, self.missing, self.code = found, fix, missing, "E111" if missing else code


@dataclass(frozen=True)
class Code:
    """One node: `python` is an expression over the row `r`; None is NULL. `kind` None is the literal NULL.

    `loose` is SQL that may still be NaN or infinite where `sql` is NULL. Sums, differences and products carry both
    through to the end, so they take their operands loose: engines evaluate what a guard tests and what it gives apart,
    and guards inside guards double that. `take` is a bare UNTYPED column's place in `Compiler.takes`; the code takes it
    for a number.
    """

    sql: str
    python: str
    kind: Kind | None
    loose: str = ""
    take: int | None = None


NUMBERS = ("int64", "float64")


MOST = 1.7976931348623157e308


MOST_DIGITS = 22


NO_MOMENT = (
    "a date is not a moment: write the moment with its time, 2026-01-05T00:00:00Z in [params] or '2026-01-05T00:00:00Z'"
    " here"
)


def literal(value: Any) -> Code:
    """A typed constant; text is quoted by its own rules, never pasted."""
    if isinstance(value, bool):
        return Code(str(value).upper(), str(value), "bool")
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise Refused(f"{value} does not fit into 64 bits")
        return Code(f"({value})::bigint", f"({value})", "int64")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Refused(f"{value} is not a finite number")
        text = repr(value)
        return Code(exponent(text), f"({text})", "float64")
    if isinstance(value, str):
        return Code("'" + value.replace("'", "''") + "'", repr(value), "string")
    if isinstance(value, datetime):
        try:
            moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        except OverflowError:
            raise Refused(
                f"{value} lies outside the years 1 to 9999 of UTC", "write a moment that UTC has: '2013-11-01T12:00Z'"
            ) from None
        us = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        return Code(f"make_timestamptz({us})", f"datetime.fromisoformat({moment.isoformat()!r})", "timestamp")
    if isinstance(value, date):
        return Code(f"DATE '{value.isoformat()}'", f"date.fromisoformat({value.isoformat()!r})", "date")
    raise Refused(f"{value!r} is not a number, string, boolean or time")


def finite_sql(sql: str) -> str:
    """NaN and infinities as NULL. NaN is greater than every number, in DuckDB as in Spark."""
    return f"case when abs({sql}) <= {MOST!r} then {sql} end"


def digits(node: exp.Expression, decimals: exp.Expression) -> int:
    """The literal number of decimals; powers of ten are exact doubles so far."""
    value = decimals.this if (below := isinstance(decimals, exp.Neg)) else decimals
    if (
        not isinstance(value, exp.Literal)
        or value.is_string
        or not value.name.isdigit()
        or int(value.name) > MOST_DIGITS
    ):
        raise Refused(
            f"{node.sql('duckdb')}  rounds to an unknown number of decimals",
            f"write a number from -{MOST_DIGITS} to {MOST_DIGITS}: round(x, 2)",
        )
    return -int(value.name) if below else int(value.name)


def finite(sql: str, python: str) -> Code:
    return Code(f"({finite_sql(sql)})", python, "float64", sql)


def double(of: Code) -> str:
    return of.sql if of.kind == "float64" else f"({of.sql})::double"


def exponent(number: str) -> str:
    """A double for DuckDB, which reads 1.5 as a decimal."""
    return number if "e" in number else f"{number}e0"


def as_kind(of: Code, kind: Kind | None) -> Code:
    if kind == "float64" and of.kind in ("int64", "bool"):
        whole = re.fullmatch(r"\((-?\d+)\)", of.python)
        return Code(f"({of.sql})::double", repr(float(whole[1])) if whole else f"_float({of.python})", kind)
    if kind == "int64" and of.kind == "bool":
        return Code(f"({of.sql})::bigint", f"_whole({of.python})", kind)
    return of


def moment(of: Code, node: exp.Expression, day: bool) -> Code:
    """A text beside a time, as a time: it must be a literal, so that it is checked now."""
    if of.kind != "string":
        return of
    try:
        text = ast.literal_eval(of.python)
        moment = date.fromisoformat(text) if day else datetime.fromisoformat(text)
    except (ValueError, SyntaxError, TypeError):
        example = "2013-11-01" if day else "2013-11-01T12:00Z"
        raise Refused(
            f"{node.sql('duckdb')}  compares a time with a string", f"write the time as '{example}'"
        ) from None
    return literal(moment)
