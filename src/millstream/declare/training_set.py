"""`training_set`: moments joined with what was known then and what came after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Generic, TypeVar, overload

from millstream.base.duration import micros
from millstream.declare.arguments import checked
from millstream.declare.duration import Duration
from millstream.declare.event import Event
from millstream.declare.features import Feature, Features
from millstream.declare.noun import Noun, Term
from millstream.declare.outcome import Outcome
from millstream.declare.plain import Moment, moment
from millstream.declare.rules import Doc, Name
from millstream.declare.stream import Payload, Stream
from millstream.declare.table import Table

E = TypeVar("E", bound=Event)
E_co = TypeVar("E_co", bound=Event, covariant=True)


Until = Annotated[str | date | datetime, Moment()]


@dataclass(frozen=True, kw_only=True)
class Split(Term):
    """Lengths counted back from `until`: the last `test_us` are test, the `valid_us` before them valid, the
    rest train.
    """

    valid_us: int
    test_us: int


@checked
def by_time(*, valid: Duration = "0s", test: Duration = "0s") -> Split:
    """Split by time, counted back from `until`; rows whose horizon crosses an edge are purged."""
    return Split(valid_us=micros(valid), test_us=micros(test))


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingSet(Noun, Generic[E_co]):
    """See `training_set`."""

    kind: ClassVar[str] = "training_set"
    at: Stream[E_co] | Table
    labels: Mapping[str, Outcome]
    inputs: tuple[Features | Feature | Payload[Any], ...]
    derive: Mapping[str, str] = field(default_factory=dict)
    where: str | None = None
    until: datetime | None = None
    split: Split | None = None

    def upstream(self) -> tuple[Noun, ...]:
        used = [
            i.base or i if isinstance(i, Features) else i.features.base or i.features
            for i in self.inputs
            if not isinstance(i, Payload)
        ]
        return (self.at, *dict.fromkeys(used), *dict.fromkeys(o.stream for o in self.labels.values()))


@overload
def training_set(
    name: Name,
    *,
    at: Stream[E],
    label: Outcome | Mapping[Name, Outcome],
    features: Sequence[Features | Feature | Payload[Any]],
    derive: Mapping[Name, str] | None = None,
    where: str | None = None,
    until: Until | None = None,
    split: Split | None = None,
    doc: Doc = "",
) -> TrainingSet[E]: ...
@overload
def training_set(
    name: Name,
    *,
    at: Table,
    label: Outcome | Mapping[Name, Outcome],
    features: Sequence[Features | Feature | Payload[Any]],
    derive: Mapping[Name, str] | None = None,
    where: str | None = None,
    until: Until | None = None,
    split: Split | None = None,
    doc: Doc = "",
) -> TrainingSet[Any]: ...
@checked
def training_set(
    name: Name,
    *,
    at: Stream[Any] | Table,
    label: Outcome | Mapping[Name, Outcome],
    features: Sequence[Features | Feature | Payload[Any]],
    derive: Mapping[Name, str] | None = None,
    where: str | None = None,
    until: Until | None = None,
    split: Split | None = None,
    doc: Doc = "",
) -> TrainingSet[Any]:
    """Declare a training set: one mature row for each row of `at`.

    Args:
        at: The spine: a stream or table, one row and one moment each; also the body of a request.
        label: What became of it; a mapping gives several labels.
        features: Features by key, and `spine.fields(...)`. Keys match the spine's columns by name, else `.on(...)`.
        derive: Column -> SQL over the request and the features, computed by both readers.
        where: Which rows of the spine count, in SQL.
        until: Rows before this moment only (UTC when it has no zone).
        split: `ms.by_time(valid=, test=)`.
    """
    labels = {"label": label} if isinstance(label, Outcome) else dict(label)
    return TrainingSet(
        name=name,
        at=at,
        labels=labels,
        inputs=tuple(features),
        derive=dict(derive or {}),
        where=where,
        until=None if until is None else moment(until),
        split=split,
        doc=doc,
    )
