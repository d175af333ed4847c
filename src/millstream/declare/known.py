"""When a row of a table is known: at its time plus a lag, or at the end of the bucket that it sums up plus a lag.

Versions of a table cannot be the memory of what was known: they are kept for days, and history that is loaded today
precedes all of them. So features over a table count a row by this rule, the same offline and online and after any
rebuild (docs/decisions/0028). What a row sums up is read from the query:

- its time is the event time of a stream, or the time of a table, passed on unchanged: the row is of that moment;
- its time is cut to an hour, a day, a month: the row sums up that hour, day or month;
- else, in a table that is built by intervals: the row sums up its interval;
- else nobody can see it, and `lag=` must be declared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millstream.base.duration import UNITS, spell
from millstream.base.errors import DefinitionError
from millstream.declare.cron import longest_us
from millstream.lang.query import dependencies, increment, tree

if TYPE_CHECKING:
    from millstream.declare.noun import Noun
    from millstream.declare.table import Table

_WIDTHS = {
    "MICROSECOND": 1,
    "MILLISECOND": 1_000,
    "SECOND": UNITS["s"],
    "MINUTE": UNITS["m"],
    "HOUR": UNITS["h"],
    "DAY": UNITS["d"],
    "WEEK": UNITS["w"],
    "MONTH": 31 * UNITS["d"],
    "QUARTER": 92 * UNITS["d"],
    "YEAR": 366 * UNITS["d"],
}
"""The longest of each, so that none is known before its end."""


@dataclass(frozen=True)
class Known:
    """A row of time t is known at t + width + lag; with `bucket_us`, at the end of the bucket (aligned to 1970 UTC)
    that t lies in, + lag.

    Attributes:
        width_us: What the row sums up begins at its time and is this long.
        missing: Why the lag is not known; "" where it is.
    """

    bucket_us: int = 0
    width_us: int = 0
    lag_us: int = 0
    missing: str = ""

    @property
    def wait_us(self) -> int:
        """From the row's time, or from the end of its bucket."""
        return self.width_us + self.lag_us

    def __str__(self) -> str:
        """
        >>> str(Known(0, 3_600_000_000, 600_000_000)), str(Known(86_400_000_000)), str(Known(lag_us=60_000_000))
        ('its time + 1h, which it sums up, + 10m', 'the end of its interval of 1d', 'its time + 1m')
        """
        lag = f" + {spell(self.lag_us)}" if self.lag_us else ""
        if self.bucket_us:
            return f"the end of its interval of {spell(self.bucket_us)}{lag}"
        return f"its time + {spell(self.width_us)}, which it sums up,{lag}" if self.width_us else f"its time{lag}"


def settle(nouns: Mapping[str, Noun]) -> None:
    """Complete the tables of a project: when the rows of each are known follows from what it is made of, which only the
    whole project says.
    """
    from millstream.declare.table import Table

    for noun in nouns.values():
        if isinstance(noun, Table):
            object.__setattr__(noun, "known", known(noun, nouns))


def known(table: Table, nouns: Mapping[str, Noun]) -> Known:
    """When the rows of a table are known; `missing` says why that is not known."""
    bucket, width, seen = 0, _width(table, nouns), True
    if width is None:
        try:
            step = increment(table.incremental) if table.incremental else None
        except DefinitionError:
            step = None
        bucket, width, seen = (step.length_us if step and step.length_us else 0), 0, bool(step and step.length_us)
    if table.lag_us is not None:
        return Known(bucket, width, table.lag_us)
    if not seen:
        return Known(
            missing=(
                f'what a row sums up cannot be seen: "{table.time}" is neither passed on from what it reads nor cut to'
                " an hour or a day"
            )
        )
    if table.schedule is None:
        return Known(bucket, width, missing="it has no schedule, so nothing says when a row is there")
    lag = _lag(table, nouns, ())
    if lag is None:
        return Known(bucket, width, missing="what it reads does not say how late it comes")
    return Known(bucket, width, lag)


def _lag(table: Table, nouns: Mapping[str, Noun], through: tuple[str, ...]) -> int | None:
    """As declared, or the largest lateness or lag of what it reads and the interval of its schedule."""
    if table.lag_us is not None:
        return table.lag_us
    every = longest_us(table.schedule) if table.schedule else 0  # without one it is built together with what reads it
    found = [_late(name, nouns, (*through, table.name)) for name in _reads(table)]
    late = [one for one in found if one is not None]
    return None if every is None or len(late) < len(found) else max(late, default=0) + every


def _late(name: str, nouns: Mapping[str, Noun], through: tuple[str, ...]) -> int | None:
    from millstream.declare.stream import Stream
    from millstream.declare.table import Table

    noun = nouns.get(name)
    if isinstance(noun, Stream):
        return noun.lateness_us
    if isinstance(noun, Table) and name not in through:
        return _lag(noun, nouns, through)
    return None


def _reads(table: Table) -> tuple[str, ...]:
    if table.scoring is not None:
        return (table.scoring.spine.name,)
    if table.contents is not None or table.reads is not None:
        return tuple(noun.name for noun in table.upstream())
    try:
        return tuple(name.removesuffix("__dead") for name in dependencies(table.sql or "", table.file or ""))
    except DefinitionError:
        return ()


# -- what a row sums up


def _width(table: Table, nouns: Mapping[str, Noun], through: tuple[str, ...] = ()) -> int | None:
    """How long what a row sums up is, from its time on: 0 for a row of one moment; None where it cannot be seen."""
    if table.time is None or table.name in through:
        return None
    if table.contents is not None:
        return 0 if table.time in (*table.contents.stream.schema.names(), "valid_from") else None
    if table.scoring is not None:
        return _of_source(table.scoring.spine.name, table.time, nouns, (*through, table.name))
    if table.sql is None:
        return None
    try:
        return _Reading(nouns, (*through, table.name)).column(tree(table.sql, table.file or ""), table.time, {})
    except DefinitionError:
        return None


def _of_source(name: str, column: str, nouns: Mapping[str, Noun], through: tuple[str, ...]) -> int | None:
    from millstream.declare.stream import Stream
    from millstream.declare.table import Table

    noun = nouns.get(name)
    if isinstance(noun, Stream):
        times = {f.name.lower() for f in noun.schema.fields if f.role in ("event_time", "arrival_time")} | {
            "_arrived_at"
        }
        return 0 if column.lower() in times else None
    if isinstance(noun, Table) and noun.time is not None and noun.time.lower() == column.lower():
        return _width(noun, nouns, through)
    return None


class _Reading:
    """Follows a column through selects, subqueries and WITH. `None` is the answer to everything that is not plain."""

    def __init__(self, nouns: Mapping[str, Noun], through: tuple[str, ...]) -> None:
        self.nouns, self.through = nouns, through

    def column(self, query: Any, name: str, ctes: Mapping[str, Any]) -> int | None:
        """The width of an output column of a query."""
        from sqlglot import exp

        if isinstance(query, exp.Subquery):
            return self.column(query.this, name, ctes)
        if not isinstance(query, exp.Query):
            return None
        known = {**ctes, **{cte.alias.lower(): (cte.this, dict(ctes)) for cte in query.ctes}}
        if isinstance(query, exp.SetOperation):
            sides = [self.column(side, name, known) for side in (query.left, query.right)]
            return None if None in sides else max(one for one in sides if one is not None)
        if not isinstance(query, exp.Select):
            return None
        for item in query.expressions:
            if not item.is_star and item.alias_or_name.lower() == name.lower():
                return self.expression(item.unalias(), query, known)
        star = next((item for item in query.expressions if item.is_star), None)
        if star is None:
            return None
        return self.expression(
            exp.column(name, table=star.table or None) if isinstance(star, exp.Column) else exp.column(name),
            query,
            known,
        )

    def expression(self, of: Any, query: Any, ctes: Mapping[str, Any]) -> int | None:
        from sqlglot import exp

        if isinstance(of, exp.Paren):
            return self.expression(of.this, query, ctes)
        if isinstance(of, exp.Column):
            return self.source(of, query, ctes)
        if isinstance(of, exp.Cast):
            inner = self.expression(of.this, query, ctes)
            if of.to.this in (exp.DType.DATE, exp.DType.DATE32) and inner is not None:
                return inner if inner >= UNITS["d"] else UNITS["d"]
            return inner
        if isinstance(of, exp.TimestampTrunc | exp.DateTrunc):
            width, inner = _WIDTHS.get(of.text("unit").upper()), self.expression(of.this, query, ctes)
        elif isinstance(of, exp.DateBin):
            width, inner = _interval(of.this), self.expression(of.expression, query, ctes)
        else:
            return None
        # A cut of what was cut already ends with the longer of the two only where one is a part of the other.
        return None if width is None or inner is None or (inner and width % inner) else max(width, inner)

    def source(self, column: Any, query: Any, ctes: Mapping[str, Any]) -> int | None:
        """The width of a column of what a select reads."""
        from sqlglot import exp

        scanned = [
            part.this for part in (query.args.get("from_"), *(query.args.get("joins") or ())) if part is not None
        ]
        if column.table:
            scanned = [one for one in scanned if one.alias_or_name.lower() == column.table.lower()]
        found = []
        for one in scanned:
            if isinstance(one, exp.Table) and one.name.lower() in ctes:
                inner, around = ctes[one.name.lower()]
                found.append(self.column(inner, column.name, around))
            elif isinstance(one, exp.Table):
                found.append(_of_source(one.name.lower(), column.name, self.nouns, self.through))
            else:
                found.append(self.column(one, column.name, ctes))
        seen = [one for one in found if one is not None]
        return seen[0] if len(seen) == 1 else None


def _interval(of: Any) -> int | None:
    """An interval in microseconds: `interval 15 minutes`, `interval '15 minutes'`."""
    from sqlglot import exp

    if not isinstance(of, exp.Interval) or not isinstance(of.this, exp.Literal):
        return None
    unit = of.text("unit").upper().removesuffix("S")
    return (
        int(of.this.name) * _WIDTHS[unit]
        if of.this.name.isdigit() and unit in _WIDTHS and int(of.this.name) > 0
        else None
    )


__all__ = ["Known", "known", "settle"]
