"""What a profile is: columns with their counts, quantiles, histogram and top values; kept as JSON, and added up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np

from millstream.base.errors import Incompatible

VERSION = 1
STEPS = 256
"""Quantiles are kept at 0, 1/256 .. 1; so a distance of two profiles is within 2/256 of the exact one."""
TOP = 256
"""Categories kept; a column with no more is known completely."""
BINS = 40
Kind = Literal["number", "time", "category", "other"]


@dataclass(frozen=True)
class Histogram:
    """Counts in bins of equal width between `low` and `high`; what lies outside is in `under` and `over`. Microseconds
    for a time.
    """

    low: float
    high: float
    counts: tuple[int, ...]
    under: int = 0
    over: int = 0


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        type: Of the lake, as Arrow spells it.
        kind: "number", "time" (its numbers are microseconds since 1970 UTC), "category" (text, booleans) or "other"
            (only counted).
        nulls: Rows without a value.
        odd: Rows that hold NaN or an infinity; they are in no figure below.
        distinct: About how many values differ.
        quantiles: At even steps from 0 to 1; empty for categories and for a column without a value.
        top: The most frequent values as text, with their counts, most frequent first.
        complete: Whether `top` lists every value there is.
    """

    name: str
    type: str
    kind: Kind
    rows: int
    nulls: int
    odd: int = 0
    distinct: int = 0
    low: float | str | None = None
    high: float | str | None = None
    mean: float | None = None
    std: float | None = None
    quantiles: tuple[float, ...] = ()
    histogram: Histogram | None = None
    top: tuple[tuple[str, int], ...] = ()
    complete: bool = False

    @property
    def known(self) -> int:
        """Rows that the figures are of."""
        return self.rows - self.nulls - self.odd

    @property
    def shares(self) -> dict[str, float]:
        """Of each listed category, its share of the known rows."""
        return {value: count / self.known for value, count in self.top} if self.known else {}

    def quantile(self, p: float) -> float | None:
        """The value that a share `p` of the rows does not exceed; None without values."""
        return self.quantiles[round(p * (len(self.quantiles) - 1))] if self.quantiles else None


@dataclass(frozen=True)
class Profile:
    """Columns of one version of a table.

    Attributes:
        rows: That were looked at; `of` is how many there are.
    """

    table: str
    table_version: int | None
    rows: int
    of: int
    columns: tuple[Column, ...] = field(default=())

    def __getitem__(self, name: str) -> Column:
        """The column of that name. Raises KeyError."""
        try:
            return next(column for column in self.columns if column.name == name)
        except StopIteration:
            raise KeyError(name) from None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, with the version of its form."""
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Profile:
        """Raises Incompatible when it was written by a newer Millstream."""
        if stored.get("version") != VERSION:
            raise Incompatible(
                f"the stored profile has version {stored.get('version')}; this Millstream reads {VERSION}: make it"
                " again"
            )
        columns = tuple(_column(column) for column in stored["columns"])
        return cls(stored["table"], stored["table_version"], stored["rows"], stored["of"], columns)


def merge(one: Profile, other: Profile) -> Profile:
    """The profile of both tables' rows together, of the columns that both have.

    Counts, extremes, means and deviations are exact; quantiles to two steps of their grid; `distinct` is the larger of
    the two, which is too few when the values differ.
    """
    names = {column.name: column for column in other.columns}
    columns = tuple(
        _merged(column, names[column.name])
        for column in one.columns
        if column.name in names and names[column.name].kind == column.kind
    )
    return Profile(one.table, None, one.rows + other.rows, one.of + other.of, columns)


def _merged(a: Column, b: Column) -> Column:
    base = replace(a if a.known else b, rows=a.rows + b.rows, nulls=a.nulls + b.nulls, odd=a.odd + b.odd)
    if not a.known or not b.known:
        return base
    top: dict[str, int] = dict(a.top)
    for value, count in b.top:
        top[value] = top.get(value, 0) + count
    ordered = tuple(sorted(top.items(), key=lambda pair: (-pair[1], pair[0]))[:TOP])
    complete = a.complete and b.complete and len(top) <= TOP
    low, high = min(a.low, b.low), max(a.high, b.high)  # type: ignore[type-var]
    made = replace(
        base,
        distinct=len(top) if complete else max(a.distinct, b.distinct),
        low=low,
        high=high,
        top=ordered,
        complete=complete,
    )
    if not a.quantiles or not b.quantiles or a.mean is None or b.mean is None:
        return made
    n, m = a.known, b.known
    mean = (a.mean * n + b.mean * m) / (n + m)
    squares = (
        (n - 1) * (a.std or 0.0) ** 2
        + (m - 1) * (b.std or 0.0) ** 2
        + n * (a.mean - mean) ** 2
        + m * (b.mean - mean) ** 2
    )
    points = np.concatenate([a.quantiles, b.quantiles])
    weights = np.concatenate(
        [np.full(len(a.quantiles), n / len(a.quantiles)), np.full(len(b.quantiles), m / len(b.quantiles))]
    )
    order = np.argsort(points, kind="stable")
    upto = np.cumsum(weights[order])
    at = np.minimum(np.searchsorted(upto, np.linspace(0, 1, STEPS + 1) * upto[-1] * (1 - 1e-12)), len(points) - 1)
    drawn, edges = np.histogram(points, bins=BINS, weights=weights)
    histogram = Histogram(float(edges[0]), float(edges[-1]), tuple(round(float(count)) for count in drawn))
    return replace(
        made,
        mean=mean,
        std=math.sqrt(squares / max(n + m - 1, 1)),
        quantiles=tuple(map(float, points[order][at])),
        histogram=histogram,
    )


def spelled(at_us: float) -> str:
    """A moment as people read it, as short as it is exact: a date, or a date and a time in UTC."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=round(at_us))
    except OverflowError:
        return f"{at_us:.6g} us"
    if moment.time() == datetime.min.time():
        return f"{moment:%Y-%m-%d}"
    return f"{moment:%Y-%m-%d %H:%M:%S}" + (f".{moment.microsecond:06d}" if moment.microsecond else "")


def _column(stored: Mapping[str, Any]) -> Column:
    drawn = stored["histogram"]
    histogram = (
        Histogram(drawn["low"], drawn["high"], tuple(drawn["counts"]), drawn["under"], drawn["over"]) if drawn else None
    )
    top = tuple((value, count) for value, count in stored["top"])
    return Column(**{**stored, "quantiles": tuple(stored["quantiles"]), "histogram": histogram, "top": top})
