"""Random events for streams, made of their classes: keys that meet one another, values on both sides of every constant,
times on every edge.

What a project's expressions and SQL say is listened to: columns that are compared or renamed share their values, so
that joins find partners, and the constants that a column is compared with are among its values, so that conditions are
true now and then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from millstream.base.event import Field
from millstream.base.moments import moment_of
from millstream.declare.event import Event
from millstream.declare.features import Aggregate, Feature, Features
from millstream.declare.stream import Payload, Stream
from millstream.declare.table import Table

if TYPE_CHECKING:
    from millstream.declare.project import Project
    from millstream.declare.training_set import TrainingSet

_DAY_ZERO = date(1970, 1, 1)
_KEYS = 3
"""Values of a column that is not an identity: few, so that they meet."""


@dataclass(frozen=True)
class Happening:
    """One event of a world. Times are microseconds; it is known from the later of the two on."""

    number: int
    stream: Stream[Any]
    values: Mapping[str, Any]
    happened: int
    arrived: int

    @property
    def known(self) -> int:
        return max(self.happened, self.arrived)

    def event(self) -> Event:
        made: Event = self.stream.event(**self.values)
        return made

    def __str__(self) -> str:
        fields = ", ".join(
            f"{name}={value.isoformat() if hasattr(value, 'isoformat') else repr(value)}"
            for name, value in self.values.items()
        )
        late = "" if self.arrived <= self.happened else f", arrived {moment_of(self.arrived).isoformat()}"
        return f"{self.stream.name}: {self.stream.event.__name__}({fields}){late}"


@dataclass
class Vocabulary:
    """Which values the columns of a set's streams take.

    Attributes:
        alike: Column -> the first of the columns that share its values.
        said: Column (the first alike) -> the texts it is compared with.
        numbers: The numbers that anything is compared with.
        identities: Columns (the first alike) that tell the events of some stream apart.
    """

    alike: dict[str, str] = field(default_factory=dict)
    said: dict[str, list[str]] = field(default_factory=dict)
    numbers: list[float] = field(default_factory=list)
    identities: set[str] = field(default_factory=set)

    @classmethod
    def of(
        cls, project: Project, on: TrainingSet[Any], streams: Iterable[Stream[Any]], tables: Iterable[Table]
    ) -> Vocabulary:
        made = cls()
        for used in on.inputs:
            if not isinstance(used, Payload):
                whole = used.features if isinstance(used, Feature) else used
                for key, column in zip(whole.key, whole.on_columns or whole.key, strict=True):
                    made.join(key, column)
        trees = [*_trees(_texts(on), scalar=True), *_trees((t.sql for t in tables if t.sql), scalar=False)]
        for tree in trees:
            made._listen(tree)
        for tree in trees:
            made._hear(tree)
        made.numbers += [
            float(v) for v in project.params.values() if isinstance(v, int | float) and not isinstance(v, bool)
        ]
        made.identities = {made.first(s.dedupe) for s in streams if s.dedupe in s.schema.names()}
        return made

    def first(self, column: str | None) -> str:
        name = column or ""
        while self.alike.get(name, name) != name:
            name = self.alike[name]
        return name

    def join(self, one: str, other: str) -> None:
        """These two columns take the same values."""
        self.alike[self.first(one)] = self.first(other)

    def _listen(self, tree: Any) -> None:
        from sqlglot import exp

        for equal in tree.find_all(exp.EQ):
            if isinstance(equal.left, exp.Column) and isinstance(equal.right, exp.Column):
                self.join(equal.left.name, equal.right.name)
        for alias in tree.find_all(exp.Alias):
            if isinstance(alias.this, exp.Column):
                self.join(alias.alias, alias.this.name)

    def _hear(self, tree: Any) -> None:
        from sqlglot import exp

        for literal in tree.find_all(exp.Literal):
            if not literal.is_string:
                self.numbers.append(float(literal.this))
            elif literal.parent is not None:
                for column in literal.parent.find_all(exp.Column):
                    self.said.setdefault(self.first(column.name), []).append(literal.this)

    def value(self, of: Field, rng: Random, moment_us: int) -> Any:
        """A value of a field that neither is the event's time nor tells events apart."""
        if of.nullable and rng.random() < 0.15:
            return None
        if of.item is not None:
            return [self._plain(of.item, of, rng, moment_us) for _ in range(rng.randrange(4))]
        return self._plain(of.kind, of, rng, moment_us)

    def _plain(self, kind: str, of: Field, rng: Random, moment_us: int) -> Any:
        first = self.first(of.name)
        if kind == "enum":
            return rng.choice(of.symbols)
        if kind == "bool":
            return rng.random() < 0.5
        if kind in ("string", "binary"):
            text = rng.choice([*(f"{first}{i}" for i in range(_KEYS)), *self.said.get(first, ())])
            return text.encode() if kind == "binary" else text
        if kind == "timestamp":
            return moment_of(moment_us + rng.choice([-1, 1]) * rng.randrange(10**12))
        if kind == "date":
            return _DAY_ZERO + timedelta(days=moment_us // 86_400_000_000 + rng.randrange(-3, 4))
        edge = rng.choice(self.numbers) if self.numbers and rng.random() < 0.5 else None
        if kind == "int64":
            return rng.randrange(_KEYS) if edge is None else int(edge) + rng.randrange(-1, 2)
        return round(rng.gauss(0, 50), 1) if edge is None else edge + rng.choice([-9.5, -0.5, 0.0, 0.5, 9.5])

    def identity(self, of: Field, number: int) -> Any:
        """The value that tells event `number` apart; the same number gives the same in every stream, so that their
        events meet.
        """
        kinds: dict[str, Any] = {
            "int64": number,
            "float64": float(number),
            "binary": f"id{number}".encode(),
            "timestamp": moment_of(number),
            "date": _DAY_ZERO + timedelta(days=number),
        }
        return kinds.get(of.kind, f"{self.first(of.name)}{number}")


def _texts(on: TrainingSet[Any]) -> Iterable[str]:
    terms: list[Aggregate | str | None] = [on.where, *on.derive.values()]
    for used in on.inputs:
        whole = used.features if isinstance(used, Feature) else used
        if isinstance(whole, Features):
            terms += [whole.where, *whole.aggregates.values()]
    for outcome in on.labels.values():
        terms += [outcome.where, outcome.value]
    texts = [term.expression if isinstance(term, Aggregate) else term for term in terms]
    return [text for text in texts if text]


def _trees(texts: Iterable[str], *, scalar: bool) -> Iterable[Any]:
    import sqlglot

    from millstream.lang.expression import parse

    for text in texts:
        yield parse(text) if scalar else sqlglot.parse_one(text, dialect="duckdb")
