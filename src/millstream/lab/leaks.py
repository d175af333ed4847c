"""The proof that a training set does not look into the future: random worlds, the same up to a moment and different
after it.

For each world one moment is chosen, and its rows are made twice: once of all its events, and once with every event that
was not known before the moment changed, moved, taken out, and others added. A row up to the moment that is not the
same, bit for bit, has seen something that its endpoint could not have seen; the events are then halved until the one is
found.

Where a table is made of the spine, the rows are made a third time, as a request would be answered: without the events
that ask. What a table says of an event that is not there yet when its own prediction is made is not a feature of it.

Labels come after the moment by nature: what is made here has an answer for every row, and labels are not compared.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from millstream.base.event import TIMESTAMP, Field
from millstream.base.moments import moment_of, moment_us
from millstream.declare.collect import collecting
from millstream.declare.features import Features
from millstream.declare.stream import Payload, Stream
from millstream.declare.table import Table
from millstream.features.outcome import outcome_sql
from millstream.lab.chance import Happening, Vocabulary
from millstream.lab.lab import Lab, bits
from millstream.serve.decisions import all_streams
from millstream.train.dataset import columns_of, uses_of
from millstream.train.spine import MOMENT, ROW

if TYPE_CHECKING:
    from millstream.declare.project import Project
    from millstream.declare.training_set import TrainingSet

ROWS = 40
"""Rows of the moment in one world."""
_EVENTS = 48
_DAY = 86_400_000_000
_ANSWERS: dict[str, Any] = {"bool": False, "string": "", "enum": ""}
Key = tuple[Any, ...]
Rows = dict[Key, dict[str, Any]]


class Proof(NamedTuple):
    """What `assert_no_leak` has looked at.

    Attributes:
        rows: Compared.
        changes: Events changed, taken out or added in the worlds beside.
        unfilled: Features that were NULL or zero in every row, so that nothing is proven of them.
    """

    rows: int
    changes: int
    unfilled: tuple[str, ...]


class Change(NamedTuple):
    """One event of a world and what becomes of it; None before is one added, None after one taken out."""

    before: Happening | None
    after: Happening | None


def prove(project: Project, on: TrainingSet[Any], folder: Path, *, tries: int, seed: int) -> Proof:
    """See `Lab.assert_no_leak`."""
    worlds = [
        _World(project, on, Random(f"{seed}/{n}"), min(ROWS, tries - n * ROWS), folder / str(n))
        for n in range(-(-tries // ROWS))
    ]
    rows = changes = 0
    empty = set(worlds[0].columns)
    for world in worlds:
        altered = world.alter()
        before, after = world.rows([]), world.rows(altered)
        shared = [key for key in before if key in after and key[0] <= world.moment]
        rows, changes = rows + len(shared), changes + len(altered)
        for key in shared:
            for column in world.columns:
                if bits(before[key][column]) != bits(after[key][column]):
                    raise AssertionError(world.blame(key, column, altered, before[key][column]))
        world.alone(before)
        empty -= {column for column in empty if any(before[key][column] for key in shared)}
        shutil.rmtree(world.folder, ignore_errors=True)
    if rows < tries // 2:
        raise AssertionError(
            f'training_set "{on.name}": of {tries} random moments only {rows} gave rows, so nothing is proven; does its'
            " where= leave any?"
        )
    unfilled = tuple(column for column in worlds[0].columns if column in empty)
    if unfilled:
        warnings.warn(
            f'training_set "{on.name}": nothing is proven of {", ".join(unfilled)}: no random world has filled them',
            stacklevel=3,
        )
    return Proof(rows, changes, unfilled)


@dataclass
class _World:
    """One world, with its moment and its events."""

    project: Project
    on: TrainingSet[Any]
    rng: Random
    tries: int
    folder: Path

    def __post_init__(self) -> None:
        names = _ancestors(self.project, [up.name for up in self.on.upstream()])
        self.tables = [noun for name in names if isinstance(noun := self.project.by_name.get(name), Table)]
        self.streams = [stream for name, stream in all_streams(self.project).items() if name in names]
        self.words = Vocabulary.of(self.project, self.on, self.streams, self.tables)
        self.uses = uses_of(self.on, self.project.params)
        payload = {name for used in self.on.inputs if isinstance(used, Payload) for name in used.names}
        self.columns = [column for column in columns_of(self.on) if column not in payload]
        self.within = max(outcome.within_us for outcome in self.on.labels.values())
        self.reach = max((w for use in self.uses for w in use.definition.windows_us if w is not None), default=_DAY)
        self.moment = _moment(self.rng, self.on)
        self.spine = self.on.at.name if isinstance(self.on.at, Stream) else ""
        self.waits = [use.definition.known_us(0) for use in self.uses if use.definition.ruled]
        self.probe = _probe(self.on, self.project.params)
        self.number = 0
        self.events = [e for stream in self.streams for e in self._begin(stream)]
        self.built = 0

    # -- events

    def _begin(self, stream: Stream[Any]) -> Iterable[Happening]:
        numbers = self.rng.sample(range(_EVENTS + _EVENTS // 2), _EVENTS)
        if stream.name == self.spine:
            yield from (self._event(stream, n, self.moment, self.moment) for n in range(self.tries))
            numbers = [n + self.tries for n in range(_EVENTS // 2)]
        for n in numbers:
            yield self._any(stream, n)

    def _any(self, stream: Stream[Any], identity: int) -> Happening:
        happened = self.moment + self._offset()
        return self._event(stream, identity, happened, happened + self._delay(stream, happened))

    def _offset(self) -> int:
        """From the moment: its neighbours, both edges of every window, anywhere near or far."""
        rng, edges = self.rng, [w for use in self.uses for w in use.definition.windows_us if w is not None] or [_DAY]
        if self.waits and rng.random() < 0.3:  # rows of tables that become known about now
            wait = rng.choice(self.waits)
            return rng.choice(
                [-wait + rng.choice([-1, 0, 1]), -rng.randrange(2 * wait + 1), -wait - rng.randrange(rng.choice(edges))]
            )
        kind = rng.random()
        if kind < 0.25:
            return rng.choice([-1, 0, 1, -1_000_000, 1_000_000])
        if kind < 0.35:
            return -rng.choice(edges) + rng.choice([-1, 0, 1])
        near = rng.choice([300_000_000, 3_600_000_000, *edges])
        return rng.randrange(-near, 0) if kind < 0.75 else rng.randrange(0, max(near, min(self.within, self.reach)))

    def _delay(self, stream: Stream[Any], happened: int) -> int:
        """How late it arrives, within what the stream allows: often just before or after the moment."""
        most = stream.lateness_us
        gap = self.moment - happened
        return min(most, max(0, self.rng.choice([0, 0, 0, 1, most // 2, most, gap - 1, gap, gap + 1])))

    def _event(self, stream: Stream[Any], identity: int, happened: int, arrived: int) -> Happening:
        values = {f.name: self._value(stream, f, identity, happened, arrived) for f in stream.schema.fields}
        self.number += 1
        return Happening(self.number, stream, values, happened, arrived)

    def _value(self, stream: Stream[Any], of: Field, identity: int, happened: int, arrived: int) -> Any:
        if of.role:
            return moment_of(happened if of.role == "event_time" else arrived)
        if of.name == stream.dedupe:
            return self.words.identity(of, identity)
        if self.words.first(of.name) in self.words.identities:
            return self.words.identity(of, self.rng.randrange(_EVENTS))
        return self.words.value(of, self.rng, self.moment)

    # -- the world beside

    def alter(self) -> list[Change]:
        """Every event that was not known before the moment, changed; the rows' own moments stay."""
        free = [
            e
            for e in self.events
            if e.known >= self.moment and not (e.stream.name == self.spine and e.happened == e.arrived == self.moment)
        ]
        changes = [Change(e, self._other(e)) for e in free]
        for n in range(len(free) // 3):
            stream = self.rng.choice(self.streams)
            added = self._any(stream, 10 * _EVENTS + n)
            changes += [Change(None, added)] if added.known >= self.moment else []
        return changes

    def _other(self, e: Happening) -> Happening | None:
        kind = self.rng.random()
        if kind < 0.3:
            return None
        happened, arrived = e.happened, e.arrived
        if kind < 0.5:  # to another time, not known before the moment either
            moved = self._any(e.stream, 0)
            if moved.known >= self.moment:
                happened, arrived = moved.happened, moved.arrived
        values = {
            f.name: (
                self._value(e.stream, f, 0, happened, arrived)
                if f.role or (kind > 0.4 and self.rng.random() < 0.7)
                else e.values[f.name]
            )
            for f in e.stream.schema.fields
        }
        values |= {name: e.values[name] for name in values if name == e.stream.dedupe}
        return Happening(e.number, e.stream, values, happened, arrived)

    # -- rows

    def rows(self, changes: Sequence[Change]) -> Rows:
        """The features of the rows of this world with these changes, by moment and columns of the spine."""
        gone = {c.before.number for c in changes if c.before is not None}
        events = [e for e in self.events if e.number not in gone] + [c.after for c in changes if c.after is not None]
        with self._lab(events) as lab:
            made = lab.training_rows_of(self.probe)
        left = {*self.columns, *self.probe.labels, "_split", MOMENT}
        found: Rows = {}
        for row in made:
            key = (moment_us(row[MOMENT]), *((name, str(value)) for name, value in row.items() if name not in left))
            found[key] = {column: row[column] for column in self.columns}
        return found

    def alone(self, before: Rows) -> None:
        """The rows as requests would see them, their own events not there yet. Raises AssertionError where that makes a
        difference.
        """
        made_of_it = [t.name for t in self.tables if self.spine in _ancestors(self.project, [t.name])]
        fields = {f.name: f.arrow for f in self.on.at.schema.fields} if isinstance(self.on.at, Stream) else {}
        uses = [use for use in self.uses if _ancestors(self.project, [use.definition.stream]).intersection(made_of_it)]
        own = [e for e in self.events if e.stream.name == self.spine and e.happened == e.arrived == self.moment]
        if not uses or not own:
            return
        asked = pa.table(
            {
                ROW: pa.array(range(len(own)), pa.int64()),
                MOMENT: pa.array([moment_of(self.moment)] * len(own), TIMESTAMP),
            }
            | {
                name: pa.array([e.values[name] for e in own], fields[name])
                for name in dict.fromkeys(c for use in uses for c in use.columns)
            }
        )
        with self._lab([e for e in self.events if e not in own]) as lab:
            found = lab.offline_of(uses, asked)
        rows = {row[ROW]: row for row in found}
        for number, event in enumerate(own):
            key = next((key for key in before if key[0] == self.moment and self._is(event, key)), None)
            if key is None:
                continue
            for use in uses:
                for column in use.taken():
                    if column in before[key] and bits(before[key][column]) != bits(rows[number][column]):
                        raise AssertionError(self._blame_own(event, column, before[key][column], rows[number][column]))

    def _is(self, event: Happening, key: Key) -> bool:
        """Whether a row is that event's."""
        said = dict(key[1:])
        return all(said[name] == str(value) for name, value in event.values.items() if name in said)

    def _blame_own(self, event: Happening, column: str, was: Any, now: Any) -> str:
        use = next(use for use in self.uses if column in use.taken())
        noun = self.project.by_name.get(use.name)
        table = noun.source.name if isinstance(noun, Features) else use.name
        return "\n  ".join(
            [
                (
                    f'training_set "{self.on.name}" sees what no request can see: "{column}" depends on the event of'
                    " the row itself"
                ),
                f"row      {moment_of(self.moment).isoformat()}  {event}",
                (
                    f"value    {was!r} in training, and {now!r} for a request: its own event is in no table when it is"
                    " answered"
                ),
                (
                    f'fix      "{table}" is made of "{self.spine}", the stream that is predicted for: leave it out, and'
                    " look up by columns that the request has"
                ),
            ]
        )

    def _lab(self, events: Sequence[Happening]) -> Lab:
        """A lab in which all of these have arrived, long ago."""
        self.built += 1
        lab = Lab(self.project, self.folder / str(self.built))
        lateness = max(stream.lateness_us for stream in self.streams)
        lab.at(moment_of(self.moment + 2 * self.within + self.reach + lateness + _DAY))
        for stream in self.streams:
            mine = sorted((e for e in events if e.stream is stream), key=lambda e: (e.arrived, e.number))
            lab.deliver(stream, [(e.arrived, e.event()) for e in mine])
        return lab

    # -- blame

    def blame(self, key: Key, column: str, changes: Sequence[Change], was: Any) -> str:
        """Which one event changes this feature of this row, in words."""

        def value(of: Sequence[Change]) -> Any:
            return self.rows(of).get(key, {}).get(column, was)

        left = list(changes)
        while len(left) > 1:
            half = len(left) // 2
            left = left[:half] if bits(value(left[:half])) != bits(was) else left[half:]
        now, (before, after) = value(left), left[0]
        told = [f"event    {before or after}"]
        told += ["it was added" if before is None else "it was taken out" if after is None else f"it became  {after}"]
        if bits(now) == bits(was):  # no event does it alone
            now, told[1] = value(changes), f"{told[1]}, together with other events that were not known yet"
        row = ", ".join(f"{name}={text}" for name, text in key[1:])
        return "\n  ".join(
            [
                (
                    f'training_set "{self.on.name}" looks into the future: "{column}" depends on an event that was not'
                    " known yet"
                ),
                f"row      {moment_of(key[0]).isoformat()}  {row}",
                f"value    {was!r}, and {now!r} after the event was changed",
                *told,
                f"fix      {self._fix(column)}",
            ]
        )

    def _fix(self, column: str) -> str:
        use = next((use for use in self.uses if column in use.taken()), None)
        noun = None if use is None else self.project.by_name.get(use.name)
        if use is None or not isinstance(noun, Features) or isinstance(noun.source, Stream):
            return "a derived column or a stream cannot do this by itself: please report it, with the seed"
        if noun.timeless:
            return f'"{noun.source.name}" is taken for timeless, and is not: give it a time and take timeless=True away'
        rule = noun.source.known
        return (
            f'a row of "{noun.source.name}" counts from {rule or "its time"} on (its time is "{noun.source.time}"), and'
            " says what became known later: declare a longer lag of the table, or make its time the moment at which"
            " all of it is known"
        )


def _ancestors(project: Project, names: Sequence[str]) -> set[str]:
    found, ahead = set[str](), list(names)
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += project.graph.upstream(name) if name in project.by_name else ()
    return found


def _probe(on: TrainingSet[Any], params: Mapping[str, Any]) -> TrainingSet[Any]:
    """The set without a split or an end, and with an answer for every moment."""
    labels = {name: replace(o, otherwise=_ANSWERS.get(outcome_sql(o, params).kind, 0)) for name, o in on.labels.items()}
    with collecting():
        return replace(on, labels=labels, split=None, until=None)


def _moment(rng: Random, on: TrainingSet[Any]) -> int:
    """A moment of the year of the set: anywhere, on a midnight, an hour, a slot, or where clocks change."""
    year = on.until.year if on.until else 2024
    start = datetime(year, 1, 1, tzinfo=UTC)
    anywhere = moment_us(start) + rng.randrange(365 * _DAY)
    # New York, then Europe
    changes = [_sunday(year, 3, 8, 7), _sunday(year, 11, 1, 6), _sunday(year, 3, 25, 1), _sunday(year, 10, 25, 1)]
    kind = rng.random()
    if kind < 0.3:
        return moment_us(rng.choice(changes)) + rng.choice([-1, 0, 1, 1_800_000_000])
    unit = rng.choice([1, 300_000_000, 3_600_000_000, _DAY])
    return anywhere // unit * unit


def _sunday(year: int, month: int, day: int, hour: int) -> datetime:
    """The first Sunday on or after a day."""
    first = datetime(year, month, day, hour, tzinfo=UTC)
    return first + timedelta(days=(6 - first.weekday()) % 7)


__all__ = ["Change", "Proof", "prove"]
