"""What the fixture `lab` is: a fresh world for one test of a user's project, with a clock that only the test moves.

An event that is sent arrives at its own time, or, when that has passed already, just now. What lies ahead of the clock
is on its way and arrives when the clock gets there. So a test may send a whole day first and then walk through it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from millstream.base.errors import UsageError
from millstream.base.event import ENVELOPE, rows_to_arrow
from millstream.base.moments import moment_of, moment_us
from millstream.client import Decision
from millstream.declare.endpoint import Decisions, Endpoint
from millstream.declare.event import Event
from millstream.declare.features import Features
from millstream.declare.model import Model
from millstream.declare.noun import Noun
from millstream.declare.stream import Stream
from millstream.declare.table import Table
from millstream.declare.training_set import TrainingSet
from millstream.features.define import define
from millstream.ingest.form import EventForm
from millstream.ingest.objects import Objects, same_class
from millstream.lab.world import Says, World, stamped
from millstream.log.envelope import publish, topic_of
from millstream.run import intake
from millstream.serve.decisions import all_streams

if TYPE_CHECKING:
    from millstream.declare.project import Project
    from millstream.features.definition import Definition
    from millstream.features.updater import Updater
    from millstream.lab.leaks import Proof
    from millstream.serve.live import Live
    from millstream.serve.record import Recorder
    from millstream.train.pinned import Use

E = TypeVar("E", bound=Event)
V = TypeVar("V")
N = TypeVar("N", bound=Noun)

_projects: dict[Path, Project] = {}


class Lab:
    """A world for the project of one test file. Use it as a context manager; the fixture `lab` does.

    Nouns are taken by name, so those that the test imported are the same as those the lab has loaded.
    """

    def __init__(self, project: Project, folder: Path) -> None:
        self.project, self.world, self._folder = project, World(project, folder), folder
        self._coming: list[tuple[int, str, Event]] = []
        self._newest: int | None = None
        self._told: int | None = None
        self._fresh: set[str] = set()
        self._updaters: dict[str, Updater] = {}
        self._filled: dict[str, int] = {}
        self._live: Live | None = None
        self._recorders: dict[str, Recorder] = {}

    @classmethod
    def of(cls, test: Path, folder: Path) -> Lab:
        """The lab for the project at or above a test file, with all it keeps in a folder.

        Raises:
            NotFound: The file belongs to no project.
            DefinitionErrors: Every mistake of the project, together.
        """
        from millstream.declare.load import find, load

        root = find(test.parent)
        if root not in _projects:
            _projects[root] = load(root)
        return cls(_projects[root], folder / "lab")

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the engines go; the folder stays, for a look after a failed test."""
        for updater in self._updaters.values():
            updater.close()
        if self._live is not None:
            self._live.close()
        self.world.close()

    # -- the world moves

    def at(self, moment: str | datetime) -> None:
        """Put the clock forward: what was sent and has arrived before this moment is known from now on.

        Args:
            moment: An ISO time such as "2013-11-01T12:00Z"; UTC when it has no zone.

        Raises:
            UsageError: It is not a time, or lies before the clock.
        """
        to = _moment(moment)
        if self._told is not None and to < self._told:
            raise UsageError(
                f"the lab's clock stands at {_said(self._told)} and only goes forward; {_said(to)} has passed"
            )
        self._told = to

    def send(self, stream: Stream[E], *events: E) -> None:
        """Events on their way into a stream: each arrives at its event time (or its field of `ms.ArrivalTime`), or just
        now if that has passed.

        Raises:
            UsageError: An event is of another class than the stream's, or holds a value of another type.
        """
        noun = self._of(stream, Stream)
        schema = noun.schema
        for event in _sent(noun, events):
            arrives = getattr(event, schema.arrival_time) if schema.arrival_time else None
            if arrives is None:
                happened = moment_us(getattr(event, schema.event_time))
                at = happened if self._told is None else max(happened, self._told - 1)
            else:
                at = moment_us(arrives)
            self._coming.append((at, noun.name, event))
            self._newest = at if self._newest is None else max(self._newest, at)

    def stub(self, model: Model[Any], says: Says) -> None:
        """A version of this model that says the same always, or what a function makes of the row; its features are
        looked up all the same.
        """
        from millstream.lab.world import Stub

        noun = self._of(model, Model)
        made, known = Stub.of(noun.on, says, self.project.params), self.world.stubs.made.get(noun.name)
        if known is not None:
            known.says = says
            return
        self.world.stubs.made[noun.name] = made
        if self._live is not None:
            self._live.refresh()

    # -- what is asked of it

    def features(self, of: Features, **key: Any) -> dict[str, Any]:
        """The features of one key as of the clock, by output: `{"late_3h": 0.5}`. Both readers are asked.

        Args:
            key: A value for each column of the key (of `.on(...)`, when it is a use under other names); None is an
                unknown key.

        Raises:
            AssertionError: The online and the offline reader differ, in any bit.
        """
        noun = self._of(of.base or of, Features)
        values = _key(of, noun, key)
        now = self._arrive()
        definition = define(noun, self.world.project.params)
        online = self._online(noun, definition, values, now)
        offline = self._offline(noun, definition, values, now)
        differ = [name for name in definition.columns if bits(online[name]) != bits(offline[name])]
        assert not differ, f'features "{noun.name}" of {key} at {_said(now)}: the two readers differ\n' + "\n".join(
            f"  {name}: online {online[name]!r}, offline {offline[name]!r}" for name in differ
        )
        return online

    def rows(self, table: Table | Stream[Any] | Decisions | Endpoint[Any, Any]) -> list[dict[str, Any]]:
        """The rows of a table, made of what is known at the clock, and all that it reads; of a stream, its events in
        the lake.

        Of an endpoint, its decisions whose outcome is mature at the clock, with outcomes and rewards. They come in the
        order of their columns' values, so that a test can compare them.
        """
        from millstream.transform.port import Relation

        self._arrive()
        name = self._of(table, Endpoint).outcomes if isinstance(table, Endpoint) else table.name
        self._make([name])
        if isinstance(table, Endpoint) and not self.world.lake.exists(name):
            return []
        snapshot = self.world.lake.table(name).snapshot()
        stream = name in all_streams(self.world.project)
        columns = ", ".join(f'"{c}"' for c in snapshot.schema.names if not (stream and c in ENVELOPE))
        tables: dict[str, Relation] = {name: snapshot}
        return self.world.sql.query(f'select {columns} from "{name}" order by all', tables).read_all().to_pylist()

    def training_rows(self, of: TrainingSet[Any]) -> list[dict[str, Any]]:
        """The set's rows that are mature at the clock, in the order of the spine: `_t`, its columns, features, derived
        columns, labels, `_split`.

        Every stream has caught up with the clock, so a quiet one does not hold its labels back.
        """
        return self.training_rows_of(self._of(of, TrainingSet))

    def predict(self, endpoint: Endpoint[E, V], request: E) -> Decision[V]:
        """A decision of the endpoint, as a server would make it: routed, looked up, predicted and recorded in its
        stream of decisions.

        A request ahead of the clock puts it forward: it is asked at its own event time. Its models are stubs (see
        `stub`).

        Raises:
            UsageError: The request is of another class, or a model it may use has no stub.
            WorkFailed: A stub or a derived column raised.
        """
        import msgspec

        from millstream.serve.decide import answer

        noun = self._of(endpoint, Endpoint)
        missing = [ref.model.name for ref in noun.refs() if ref.model.name not in self.world.stubs.made]
        if missing:
            raise UsageError(
                f'endpoint "{noun.name}" may use the model "{missing[0]}", which has no version in this lab; say'
                f" lab.stub({missing[0]}, 0.5) first"
            )
        if noun.event is not None:
            same_class(noun.event.__schema__, request, f'endpoint "{noun.name}"')
            asked = moment_us(getattr(request, noun.event.__schema__.event_time))
            self._told = asked if self._told is None else max(asked, self._told)
        live = self._served()
        decider = live.decider(noun.name)
        requests, _ = decider.form.decode(Objects(type(request).__schema__).json(request))
        (row,) = decider.decide(requests)
        self._recorder(noun.name).write([row])
        self._fresh.add(noun.decisions)
        told = msgspec.json.decode(msgspec.json.encode(answer(row, live.features(noun.name))))
        told["prediction"] = told["value"] if told["prediction"] is None and told["model"] else told["prediction"]
        told["value"] = told["prediction"] if told["value"] is None else told["value"]
        return Decision(**told)

    def assert_no_leak(self, of: TrainingSet[Any], *, tries: int = 200, seed: int = 1) -> Proof:
        """No feature of a training row depends on what was not known before the row's moment.

        Worlds of random events are made for the streams that the set reads, close around moments of the spine. Then all
        that was not known at a moment is changed, moved, removed or added to, and the rows up to that moment are made
        again: they must be the same. Rows of tables are among what is changed: they count from when they are known by
        the table's rule. Where a table is made of the spine, the rows are also made without their own events, which no
        request finds in a table: they must be the same too.

        Args:
            tries: Rows that are looked at.
            seed: Of the random worlds; the same seed gives the same worlds.

        Returns:
            What was looked at, and which features no world has filled.

        Raises:
            AssertionError: One depends on it; the feature, the row and the event are named.
        """
        from millstream.lab.leaks import prove

        return prove(self.project, self._of(of, TrainingSet), self._folder / "leaks", tries=tries, seed=seed)

    # -- how

    def _of(self, noun: Noun, kind: type[N]) -> N:
        found = self.project.by_name.get(noun.name)
        if not isinstance(found, kind):
            raise UsageError(
                f'the project "{self.project.name}" has no {noun.kind} "{noun.name}"; is it declared in a module of its'
                " folder?"
            )
        return found

    def _arrive(self) -> int:
        """Let in what has arrived before the clock; the clock, just after the newest event while the test has not put
        it anywhere.
        """
        now = self._told if self._told is not None else (self._newest or 0) + 1
        self.world.now_us = now
        arrived = [item for item in self._coming if item[0] < now]
        self._coming = [item for item in self._coming if item[0] >= now]
        streams: dict[str, list[tuple[int, Event]]] = {}
        for at, name, event in sorted(arrived, key=lambda item: item[0]):
            streams.setdefault(name, []).append((at, event))
        for name, items in streams.items():
            self.deliver(self.project.streams[name], items)
        return now

    def deliver(self, stream: Stream[Any], items: list[tuple[int, Event]]) -> None:
        """Events into the log now, in this order, as if each had arrived when it is said (microseconds)."""
        if not items:
            return
        rows = stamped(rows_to_arrow([event for _, event in items], stream.schema), [at for at, _ in items])
        publish(self.world.log, topic_of(self.world.log, self.world.schemas, stream), rows)
        self._fresh.add(stream.name)

    def _make(self, names: list[str]) -> None:
        """Bring tables up to date, with all that they are made from."""
        from millstream.experiment.outcomes import refresh
        from millstream.transform.build import build

        graph, streams = self.project.graph, all_streams(self.world.project)
        outcomes = {endpoint.outcomes: endpoint for endpoint in self.project.endpoints.values()}
        needed, ahead = set[str](), list(names)
        while ahead:
            name = ahead.pop()
            if name not in needed:
                needed.add(name)
                ahead += graph.upstream(name) if name in self.project.by_name or name in outcomes else ()
        for name in [n for n in (*streams, *(n for n in graph.order() if n not in streams)) if n in needed]:
            noun = self.project.by_name.get(name)
            if name in streams:
                self._land(streams[name])
            elif name in outcomes:
                refresh(outcomes[name], self.world.lake, self.world.sql, self.project.params)
            elif isinstance(noun, Table):
                build(noun, self.world.lake, self.world.sql, self.project.params, now_us=self.world.now_us)

    def _land(self, stream: Stream[Any]) -> None:
        if stream.name in self._fresh or not self.world.lake.exists(stream.name):
            sink = intake.sink(self.world, stream)
            try:
                sink.drain()
            finally:
                sink.close()
            self._fresh.discard(stream.name)

    def training_rows_of(self, noun: TrainingSet[Any]) -> list[dict[str, Any]]:
        """`training_rows` of a set that the project need not have."""
        from millstream.train.build import NoRows
        from millstream.train.dataset import build
        from millstream.train.spine import ROW

        self._arrive()
        self._make([up.name for up in noun.upstream()])
        try:
            made = build(noun, self.world.lake, self.world.sql, self.project.params)
        except NoRows:
            return []
        snapshot = self.world.lake.table(noun.name).snapshot(made.version)
        rows = (
            self.world.sql.query(f'select * from "{noun.name}" order by {ROW}', {noun.name: snapshot})
            .read_all()
            .to_pylist()
        )
        return [{name: value for name, value in row.items() if name != ROW} for row in rows]

    def offline_of(self, uses: Sequence[Use], spine: pa.Table) -> list[dict[str, Any]]:
        """Features of moments that no stream need hold: `_row`, `_t` and the key columns."""
        from millstream.features.offline import offline

        self._arrive()
        self._make([use.definition.stream for use in uses])
        return (
            offline(self.world.sql, self.world.lake, spine, [(use.definition, use.columns, use.prefix) for use in uses])
            .read_all()
            .to_pylist()
        )

    def _online(self, noun: Features, definition: Definition, values: list[Any], now: int) -> dict[str, Any]:
        from millstream.features.keys import encode

        self._update()
        if isinstance(noun.source, Table):
            self._fill(definition, noun.source)
        (found,) = self.world.online.lookup(definition, [encode(values)], [now])
        return dict(found.values)

    def _offline(self, noun: Features, definition: Definition, values: list[Any], now: int) -> dict[str, Any]:
        from millstream.features.offline import offline

        self._make([noun.source.name])
        schema = self.world.lake.table(noun.source.name).schema
        spine = pa.table(
            {"_row": pa.array([0], pa.int64()), "_t": pa.array([moment_of(now)], pa.timestamp("us", tz="UTC"))}
            | {c: pa.array([v], schema.field(c).type) for c, v in zip(definition.key, values, strict=True)}
        )
        (row,) = (
            offline(self.world.sql, self.world.lake, spine, [(definition, definition.key, "f")]).read_all().to_pylist()
        )
        return {name: row[f"f__{name}"] for name in definition.columns}

    def _fill(self, definition: Definition, source: Table) -> None:
        """Features over a table are as of its version: filled anew when there is a new one."""
        from millstream.features.fill import fill

        self._make([source.name])
        version = self.world.lake.table(source.name).version
        if self._filled.get(definition.generation) != version:
            fill(self.world.sql, self.world.lake, self.world.online, definition, source, wall_us=self.world.wall_us)
            self._filled[definition.generation] = version

    def _update(self) -> None:
        """The project's features of streams, moved on to the end of the log."""
        from millstream.features.updater import Updater

        if not self._updaters:
            by_stream: dict[str, dict[str, Definition]] = {}
            for noun in self.project.features.values():
                if isinstance(noun.source, Stream):
                    definition = define(noun, self.world.project.params)
                    by_stream.setdefault(noun.source.name, {})[definition.generation] = definition
            streams = all_streams(self.world.project)
            for name, definitions in by_stream.items():
                self._updaters[name] = Updater(
                    self.world.log,
                    self.world.schemas,
                    self.world.online,
                    list(definitions.values()),
                    streams[name],
                    wall_us=self.world.wall_us,
                )
        for updater in self._updaters.values():
            updater.drain()

    def _served(self) -> Live:
        """What stands behind the endpoints, with its features up to date."""
        from millstream.run.serving import live

        self._arrive()
        self._update()
        for noun in self.project.features.values():
            if isinstance(noun.source, Table):
                self._fill(define(noun, self.world.project.params), noun.source)
        if self._live is None:
            self._live = live(self.world, update=False, refresh_s=3600.0, predictor=self.world.stubs.load)
            self._live.start()
        return self._live

    def _recorder(self, endpoint: str) -> Recorder:
        from millstream.serve.record import Recorder

        if endpoint not in self._recorders:
            self._recorders[endpoint] = Recorder(self.world.clocked, self._served().binding(endpoint))
        return self._recorders[endpoint]


def _moment(given: str | datetime) -> int:
    try:
        moment = datetime.fromisoformat(given) if isinstance(given, str) else given
    except ValueError:
        raise UsageError(f'"{given}" is not a time; write e.g. 2013-11-01T12:00Z') from None
    return moment_us(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)


def _said(us: int) -> str:
    return moment_of(us).isoformat(" ").replace("+00:00", " UTC")


def _sent(stream: Stream[Any], events: tuple[Any, ...]) -> list[Any]:
    """The events as a server would have them, had a client sent them."""
    form, objects = EventForm(stream.schema, zoned=True, ids=False, closed=True), Objects(stream.schema)
    made = []
    for event in events:
        same_class(stream.schema, event, f'stream "{stream.name}"')
        one = form.one(objects.json(event))
        wrong = form.unsound(form.columns([one]))
        if wrong:
            raise UsageError(f"{wrong[0]}; send a value that the field's type can hold")
        made.append(one)
    return made


def _key(of: Features, noun: Features, given: Mapping[str, Any]) -> list[Any]:
    columns = of.on_columns or noun.key
    if set(given) != set(columns):
        raise UsageError(
            f'features "{noun.name}" have the key {", ".join(columns)}; found {", ".join(given) or "nothing"}'
        )
    return [given[column] for column in columns]


def bits(value: Any) -> Any:
    """What tells two answers apart: 1 and 1.0, and 0.0 and -0.0, are different."""
    return struct.pack("<d", value) if isinstance(value, float) else (type(value), value)


__all__ = ["Lab"]
