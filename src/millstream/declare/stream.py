"""`stream`: a topic of one typed event, and the lake table of the same name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, TypeVar

from millstream.base.duration import micros
from millstream.base.event import Schema
from millstream.declare.arguments import checked
from millstream.declare.duration import Duration, Span
from millstream.declare.event import Event
from millstream.declare.noun import Noun, Term
from millstream.declare.plain import Whole
from millstream.declare.rules import Columns, Doc, Name

if TYPE_CHECKING:
    from millstream.declare.source import Reader

E = TypeVar("E", bound=Event)
E_co = TypeVar("E_co", bound=Event, covariant=True)
Contract = Literal[
    "none", "backward", "forward", "full", "backward_transitive", "forward_transitive", "full_transitive"
]
Partitions = Annotated[int, Whole(1, 10_000, code="E124")]
AUTO = "auto"
"""`dedupe` when nothing is declared: see `stream`."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Stream(Noun, Generic[E]):
    """See `stream`. Lengths are microseconds. Invariant in its event, so that a client cannot send it another class."""

    kind: ClassVar[str] = "stream"
    event: type[E]
    key: tuple[str, ...]
    identity: str | None
    """`dedupe` as it was declared; `AUTO` when it was not."""
    dedupe_within_us: int
    lateness_us: int
    ahead_us: int
    partitions: int
    retention_us: int | None
    contract: Contract
    fed_by: list[Reader] = field(default_factory=list, repr=False)
    """The readers of its sources; each `source` adds its own."""

    @property
    def dedupe(self) -> str | None:
        """The field that makes two records the same, "event_id" for the envelope's id, or None: none is a duplicate."""
        if self.identity != AUTO:
            return self.identity
        return None if self.fed_by and all(reader.positioned for reader in self.fed_by) else "event_id"

    @property
    def schema(self) -> Schema:
        return self.event.__schema__

    @checked
    def fields(self, *names: str) -> Payload[E]:
        """These payload fields, as features of a training set whose spine is this stream."""
        return Payload(stream=self, names=names)

    @checked
    def latest(self) -> Contents:
        """The last row of each key; a key whose last change is a delete is absent."""
        return Contents(stream=self, form="latest")

    @checked
    def history(self) -> Contents:
        """Every version of each key, with `valid_from` (inclusive) and `valid_to` (exclusive, NULL while it holds)."""
        return Contents(stream=self, form="history")


@dataclass(frozen=True, kw_only=True)
class Payload(Term, Generic[E_co]):
    """Fields of the request itself, used as features."""

    stream: Stream[Any]
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Contents(Term):
    """A table's contents derived from a stream of changes."""

    stream: Stream[Any]
    form: Literal["latest", "history"]


@checked
def stream(
    name: Name,
    event: type[E],
    *,
    key: Columns,
    dedupe: str | None = "auto",
    dedupe_within: Duration = "24h",
    lateness: Duration = "0s",
    ahead: Duration = "1d",
    partitions: Partitions = 4,
    retention: Span | None = None,
    contract: Contract = "backward",
    doc: Doc = "",
) -> Stream[E]:
    """Declare a topic of one typed event and the lake table of the same name.

    Args:
        name: Lower case letters, digits and _, at most 100; unique in the project.
        event: The class of its events.
        key: The field or fields that decide the partition, and so the order.
        dedupe: What makes two records of one partition (records of one key are always in one) the same: a field,
            "event_id" (the envelope's id), or None to keep all. "auto" is None for a stream whose sources all have
            positions, e.g. files: each record is read once already, and ids would cost memory. For every other stream
            it is "event_id", since a client that got no answer sends again.
        dedupe_within: How far the arrival of a record may lie from that of a kept one with the same id, before or after
            it, to be its duplicate.
        lateness: How far the watermark stays behind the newest event time seen.
        ahead: How far the event time and the arrival time of a record may lie ahead of the clock. Each door checks it
            before the log: files turn such a record into a dead letter, HTTP refuses it.
        partitions: Of the topic. Order and duplicates hang on their number, so it stays: another number is a new
            stream.
        retention: How long the log keeps records; None keeps them until the disk's floor is near.
        contract: What a changed event class must stay compatible with.
    """
    keys = (key,) if isinstance(key, str) else tuple(key)
    return Stream(
        name=name,
        event=event,
        key=keys,
        identity=dedupe,
        dedupe_within_us=micros(dedupe_within),
        lateness_us=micros(lateness),
        ahead_us=micros(ahead),
        partitions=partitions,
        retention_us=None if retention is None else micros(retention),
        contract=contract,
        doc=doc or (event.__doc__ or ""),
    )
