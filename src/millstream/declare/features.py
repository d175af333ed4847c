"""`features`: keyed, windowed, mergeable aggregates of a stream or table: one definition, two readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from millstream.base.duration import micros, spell
from millstream.base.event import Kind
from millstream.declare.arguments import checked
from millstream.declare.duration import Span
from millstream.declare.missing import Vocabulary
from millstream.declare.noun import Noun, Term
from millstream.declare.plain import Whole
from millstream.declare.rules import Columns, Doc, Name
from millstream.declare.stream import Stream
from millstream.declare.table import Table

Scale = Annotated[int, Whole(0, 11, code="E115")]
Operation = Literal["count", "sum", "mean", "min", "max", "variance", "first", "last"]


@dataclass(frozen=True, kw_only=True)
class Aggregate(Term):
    """One mergeable aggregate over an expression; None counts events."""

    operation: Operation
    expression: str | None
    default: float | int | None = None
    scale: int | None = None

    @property
    def kind(self) -> Kind:
        """The type of its column, where it is looked up and in a training set."""
        return kind_of(self.operation)


def kind_of(operation: str) -> Kind:
    """The type of what an aggregate gives."""
    return "int64" if operation == "count" else "float64"


class agg(metaclass=Vocabulary):
    """The aggregates. Each takes an expression in SQL over the event's fields; booleans are 0 and 1.

    NULL, NaN and infinity count nowhere. `scale` is the number of decimal places kept of a float (default 6; sums are
    exact integers of value * 10**scale). A sum, mean or variance is NULL where a value is beyond 9e15 / 10**scale
    (integers: 9e15): one that leaves values out would be wrong.
    """

    @staticmethod
    @checked
    def count(expression: str | None = None, *, default: int | None = None) -> Aggregate:
        """Events, or values that are not NULL; nothing seen is 0."""
        return Aggregate(operation="count", expression=expression, default=default)

    @staticmethod
    @checked
    def sum(expression: str, *, default: float | None = None, scale: Scale | None = None) -> Aggregate:
        """The sum; nothing seen is NULL unless `default`."""
        return Aggregate(operation="sum", expression=expression, default=default, scale=scale)

    @staticmethod
    @checked
    def mean(expression: str, *, default: float | None = None, scale: Scale | None = None) -> Aggregate:
        """The mean; nothing seen is NULL unless `default`."""
        return Aggregate(operation="mean", expression=expression, default=default, scale=scale)

    @staticmethod
    @checked
    def min(expression: str, *, default: float | None = None) -> Aggregate:
        """The least value."""
        return Aggregate(operation="min", expression=expression, default=default)

    @staticmethod
    @checked
    def max(expression: str, *, default: float | None = None) -> Aggregate:
        """The greatest value."""
        return Aggregate(operation="max", expression=expression, default=default)

    @staticmethod
    @checked
    def variance(expression: str, *, default: float | None = None, scale: Scale | None = None) -> Aggregate:
        """The sample variance (n - 1); NULL below two values."""
        return Aggregate(operation="variance", expression=expression, default=default, scale=scale)

    @staticmethod
    @checked
    def first(expression: str, *, default: float | None = None) -> Aggregate:
        """The value of the earliest event, by (event time, partition, offset)."""
        return Aggregate(operation="first", expression=expression, default=default)

    @staticmethod
    @checked
    def last(expression: str, *, default: float | None = None) -> Aggregate:
        """The value of the latest event, by (event time, partition, offset)."""
        return Aggregate(operation="last", expression=expression, default=default)


@dataclass(frozen=True, eq=False, kw_only=True)
class Features(Noun):
    """See `features`. A window of None reaches back to the beginning.

    Attributes:
        on_columns: The spine's columns in the key's order, when they have other names; see `on`.
        prefix: What the columns begin with; the name, unless `on(..., name=)` renamed it.
    """

    kind: ClassVar[str] = "features"
    source: Stream[Any] | Table
    key: tuple[str, ...]
    aggregates: Mapping[str, Aggregate]
    windows_us: tuple[int | None, ...]
    where: str | None = None
    timeless: bool = False
    on_columns: tuple[str, ...] | None = None
    prefix: str = ""
    base: Features | None = None

    def upstream(self) -> tuple[Noun, ...]:
        return (self.source,)

    def columns(self) -> dict[str, tuple[str, int | None]]:
        """Column of the training set -> (aggregate's name, window in microseconds)."""
        return {f"{self.prefix or self.name}__{output}": of for output, of in self.outputs().items()}

    def outputs(self) -> dict[str, tuple[str, int | None]]:
        """The same without the prefix: `delay_3h`."""
        return {
            f"{name}_{spell(w)}" if w is not None else name: (name, w)
            for name in self.aggregates
            for w in self.windows_us
        }

    @checked
    def on(self, *columns: str, name: Name | None = None) -> Features:
        """These features, looked up by other columns of the spine.

        Args:
            columns: The spine's columns, in the order of the key.
            name: Another prefix; required when the same features are used twice in one training set.
        """
        base = self.base or self  # a use of features is not a second noun: it is not collected
        return _quietly(base, {"on_columns": columns, "prefix": name or base.name, "base": base})

    __iter__ = None
    """Features have columns, but are not a sequence of them."""

    @checked
    def __getitem__(self, output: str) -> Feature:
        return Feature(features=self, output=output)


@dataclass(frozen=True, kw_only=True)
class Feature(Term):
    """One column of features."""

    features: Features
    output: str

    @property
    def column(self) -> str:
        return f"{self.features.prefix or self.features.name}__{self.output}"


def _quietly(base: Features, changes: Mapping[str, Any]) -> Features:
    from millstream.declare.collect import collecting

    with collecting():
        return replace(base, **changes)


@checked
def features(
    name: Name,
    source: Stream[Any] | Table,
    *,
    key: Columns,
    aggregates: Mapping[Name, Aggregate],
    windows: Sequence[Span] = (),
    where: str | None = None,
    timeless: bool = False,
    doc: Doc = "",
) -> Features:
    """Declare aggregates of a stream or table by key, over sliding windows.

    Columns are `<name>__<aggregate>_<window>`; without windows, since ever and without the suffix. A window of length w
    at moment t holds the events with floor(t - w, hop) <= event time < t: the moment itself never counts.

    Args:
        source: A stream, or a table with `time`.
        key: The columns that identify what the aggregate is of.
        aggregates: Output name -> one of `ms.agg`.
        windows: Lengths: multiples of 5 min below 12 h, of 1 h below 12 d, of 1 d above.
        where: Which events count, in SQL.
        timeless: The source has no event time, and its present values are right for the past too.
    """
    return Features(
        name=name,
        source=source,
        key=(key,) if isinstance(key, str) else tuple(key),
        aggregates=dict(aggregates),
        windows_us=tuple(micros(w) for w in windows) or (None,),
        where=where,
        timeless=timeless,
        doc=doc,
    )
