"""`monitor`: expectations on a stream, table, features, model or endpoint (`ms.expect`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from millstream.base.duration import micros
from millstream.declare.arguments import checked
from millstream.declare.duration import Span
from millstream.declare.endpoint import Endpoint
from millstream.declare.features import Features
from millstream.declare.missing import Vocabulary
from millstream.declare.model import Model
from millstream.declare.noun import Noun, Term
from millstream.declare.outcome import Outcome
from millstream.declare.plain import Number, Whole
from millstream.declare.rules import Name
from millstream.declare.stream import Stream
from millstream.declare.table import Table
from millstream.declare.training_set import TrainingSet

Tolerance = Annotated[float, Number(0, 1, code="E182")]
Count = Annotated[int, Whole(0)]
Severity = Literal["info", "warn", "page"]
Target = Stream[Any] | Table | Features | Model[Any] | Endpoint[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Check(Term):
    """One expectation; `watches` names the kinds of noun it makes sense for."""

    check: ClassVar[str]
    watches: ClassVar[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Fresh(Check):
    check: ClassVar[str] = "fresh"
    watches: ClassVar[tuple[str, ...]] = ("features", "stream", "table")
    within_us: int


@dataclass(frozen=True, kw_only=True)
class Volume(Check):
    check: ClassVar[str] = "volume"
    watches: ClassVar[tuple[str, ...]] = ("stream", "table")
    at_least: int
    at_most: int | None
    every_us: int


@dataclass(frozen=True, kw_only=True)
class ContractKept(Check):
    check: ClassVar[str] = "contract"
    watches: ClassVar[tuple[str, ...]] = ("stream",)
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class NotNull(Check):
    check: ClassVar[str] = "not_null"
    watches: ClassVar[tuple[str, ...]] = ("stream", "table")
    columns: tuple[str, ...]
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class Rows(Check):
    check: ClassVar[str] = "rows"
    watches: ClassVar[tuple[str, ...]] = ("stream", "table")
    expression: str
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class Drift(Check):
    check: ClassVar[str] = "drift"
    watches: ClassVar[tuple[str, ...]] = ("endpoint", "stream", "table")
    against: TrainingSet[Any]
    tolerance: float
    window_us: int


@dataclass(frozen=True, kw_only=True)
class Performance(Check):
    check: ClassVar[str] = "performance"
    watches: ClassVar[tuple[str, ...]] = ("endpoint", "model")
    outcome: Outcome
    expression: str
    window_us: int


@dataclass(frozen=True, kw_only=True)
class Skew(Check):
    check: ClassVar[str] = "skew"
    watches: ClassVar[tuple[str, ...]] = ("endpoint", "features")
    window_us: int | None


class expect(metaclass=Vocabulary):
    """The expectations. Windows end at the newest event time of what is watched. `tolerance` is a share of rows, 0 to
    1.
    """

    @staticmethod
    @checked
    def fresh(within: Span) -> Fresh:
        """The newest event is at most this old.

        By the wall clock where more is expected: in a project with a live stream, of a stream whose files are watched,
        and of one whose newest event was no older than this when it was written. Else the project holds history, and
        its clock is the newest event of all streams.
        """
        return Fresh(within_us=micros(within))

    @staticmethod
    @checked
    def volume(at_least: Count, at_most: Count | None = None, *, every: Span = "1d") -> Volume:
        """Every whole interval of event time holds this many rows, empty intervals too.

        Intervals end at the wall clock where more is expected (see `fresh`), else at the newest event; less the
        stream's lateness. Each look judges the intervals that ended since the last one.
        """
        return Volume(at_least=at_least, at_most=at_most, every_us=micros(every))

    @staticmethod
    @checked
    def contract(tolerance: Tolerance = 0.0) -> ContractKept:
        """No more than this share of the records is dead-lettered: dead letters, of these and the rows of the stream.
        Duplicates are neither, and do not count.
        """
        return ContractKept(tolerance=tolerance)

    @staticmethod
    @checked
    def not_null(*columns: str, tolerance: Tolerance = 0.0) -> NotNull:
        """No more than this share of the rows is NULL, in each of the columns."""
        return NotNull(columns=columns, tolerance=tolerance)

    @staticmethod
    @checked
    def rows(expression: str, tolerance: Tolerance = 0.0) -> Rows:
        """No more than this share of the rows fails the expression (NULL passes)."""
        return Rows(expression=expression, tolerance=tolerance)

    @staticmethod
    @checked
    def drift(against: TrainingSet[Any], *, tolerance: Tolerance = 0.1, window: Span = "7d") -> Drift:
        """No column's distribution is further than `tolerance` from the training set's (0 to 1; Kolmogorov-Smirnov or
        total variation).

        Of an endpoint, the rows that a version answered are compared with the set that this version was trained on;
        with `against` where no model answers, or where it is the set of none of them. A column of NaN or infinities, or
        of another type, has drifted.
        """
        return Drift(against=against, tolerance=tolerance, window_us=micros(window))

    @staticmethod
    @checked
    def performance(outcome: Outcome, expression: str, *, window: Span = "7d") -> Performance:
        """A metric of mature decisions, e.g. "auc >= 0.6"."""
        return Performance(outcome=outcome, expression=expression, window_us=micros(window))

    @staticmethod
    @checked
    def skew(window: Span | None = None) -> Skew:
        """Every logged look-up equals the offline reader's answer, in bits: at the positions that it logged, and of
        tables by when their rows are known.

        The details count rows of tables that came later than the table's lag, name the lag to declare, and count rows
        that were restated.
        """
        return Skew(window_us=None if window is None else micros(window))


@dataclass(frozen=True, eq=False, kw_only=True)
class Monitor(Noun):
    """See `monitor`."""

    kind: ClassVar[str] = "monitor"
    target: Noun
    checks: tuple[Check, ...]
    every_us: int
    severity: Severity

    def upstream(self) -> tuple[Noun, ...]:
        return (self.target,)


@checked
def monitor(
    target: Target, *checks: Check, every: Span = "5m", severity: Severity = "warn", name: Name | None = None
) -> Monitor:
    """Declare what must stay true of a target.

    Args:
        checks: Of `ms.expect`.
        every: How often `up` looks.
        severity: What an alert is marked with.
        name: Defaults to `<target>_<checks>`.
    """
    return Monitor(
        name=name or "_".join([target.name, *dict.fromkeys(c.check for c in checks)]),
        target=target,
        checks=checks,
        every_us=micros(every),
        severity=severity,
        doc="",
    )
