"""A project with its settings and its engines, each built on first use."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millstream.base.errors import ConfigError, DefinitionError, MillstreamError
from millstream.base.registry import engine
from millstream.declare.features import Features
from millstream.declare.source import FileReader, Source
from millstream.declare.stream import Stream

if TYPE_CHECKING:
    from millstream.app.settings import Settings
    from millstream.declare.monitor import Monitor
    from millstream.declare.project import Project
    from millstream.features.definition import Definition
    from millstream.features.port import OnlineStore
    from millstream.ingest.doors import Doors
    from millstream.ingest.port import SourceEngine
    from millstream.lake.lake import Lake
    from millstream.lake.port import Catalog, Files, LandsStream, Sinks
    from millstream.lake.sink import SinkLimits
    from millstream.lake.table import LakeTable
    from millstream.log.port import Log, Schemas
    from millstream.run.port import Orchestrator
    from millstream.state.port import State
    from millstream.train.port import Tracking
    from millstream.transform.port import Sql
    from millstream.watch.alert import Webhook
    from millstream.watch.scene import Scene
    from millstream.watch.verdict import Verdict

RELEASED = "door"
"""Kind of the state documents that say up to which append the doors of a stream were released."""


class Workspace:
    """Where verbs get what they work with. Close it, or use it as a context manager."""

    def __init__(self, project: Project, settings: Settings) -> None:
        self.project, self.settings = project, settings
        self._close: list[Callable[[], None]] = []
        self._lock = threading.RLock()

    @classmethod
    def open(cls, folder: str | None, profile: str | None = None, overrides: Mapping[str, str] | None = None) -> Workspace:
        """The project at or above a folder.

        Raises:
            DefinitionErrors: Every mistake of the project, together.
            ConfigError: A setting is wrong.
        """
        from millstream.app.settings import read
        from millstream.declare.load import find, load

        root = find(folder or ".")

        def settings() -> Settings:
            return read(root, profile=profile, flags=overrides or {}, environment=os.environ)

        def bind(project: Project, skip: Collection[str]) -> Mapping[str, Sequence[DefinitionError]]:
            from millstream.run.binding import unbound

            try:
                with cls(project, settings()) as ws:
                    return unbound(ws, skip)
            except MillstreamError:  # an engine that cannot be had is another matter
                return {}

        return cls(load(root, cache=root / ".millstream", bind=bind), settings())

    @property
    def folder(self) -> Path:
        """Where the project keeps what is not declared."""
        return self.project.root / ".millstream"

    def _engine(self, port: str, url: str, *more: Any) -> Any:
        with self._lock:
            made = engine(port, url)(url, *more)
            if hasattr(made, "close"):
                self._close.append(made.close)
            return made

    @cached_property
    def schemas(self) -> Schemas:
        if not self.settings.registry:
            try:
                engine("schemas", self.settings.log)
            except ConfigError as error:
                raise ConfigError(f"{error}. Such a log keeps no schemas beside its events: set registry to a schema registry, http://HOST:PORT") from error
        return self._engine("schemas", self.settings.registry or self.settings.log)

    @cached_property
    def log(self) -> Log:
        return self._engine("log", self.settings.log, self.schemas)

    @cached_property
    def files(self) -> Files:
        return self._engine("files", self.settings.lake)

    @cached_property
    def lake(self) -> Lake:
        from millstream.lake.lake import Lake

        return Lake(self.files, self._complete)

    @cached_property
    def doors(self) -> Doors:
        """The clocks that what comes in is held against."""
        from millstream.ingest.doors import Doors

        return Doors(self.log, released=self.released_us)

    def released_us(self, stream: str) -> int | None:
        """The append up to which `doctor --release` has released the stream's doors: the clock that stamped it was wrong."""
        doc = self.state.get(RELEASED, stream)
        return None if doc is None else int(doc.value["append_us"])

    @cached_property
    def catalog(self) -> Catalog | None:
        """Where the lake's tables are told; None when nowhere."""
        return self._engine("catalog", self.settings.catalog) if self.settings.catalog else None

    def _complete(self, table: LakeTable) -> int | None:
        """Now, when all that is in the log has landed and the stream is live. History has no clock."""
        import pyarrow.compute as pc

        from millstream.base.event import ARRIVED_AT
        from millstream.lake.live import live
        from millstream.lake.positions import app_id

        now_us = time.time_ns() // 1000
        noun, topic = self.project.streams.get(table.name), self.log.topic(table.name)
        if noun is None or topic is None:
            return None
        if any(end.high > (table.position(app_id(topic, p)) or 0) for p, end in self.log.ends(table.name).items()):
            return None
        bounds = table.actions()
        arrived, happened = (pc.max(bounds[f"max.{column}"]).as_py() for column in (ARRIVED_AT, noun.schema.event_time))
        return now_us if arrived is not None and happened is not None and live(table, noun, arrived_later=arrived > happened) else None

    @cached_property
    def compute(self) -> Sql:
        """Makes assets: as much work as there are rows."""
        return self._engine("sql", self.settings.compute, self.folder / "scratch")

    @cached_property
    def sql(self) -> Sql:
        """Answers questions about them, in each process that asks: a cluster's seconds to start would be most of an answer."""
        made = self.settings.compute
        url = self.settings.query or (made if made.startswith("duckdb") else "duckdb")
        return self.compute if url == made else self._engine("sql", url, self.folder / "scratch")

    @cached_property
    def online(self) -> OnlineStore:
        return self._engine("online", self.settings.online)

    @cached_property
    def state(self) -> State:
        return self._engine("state", self.settings.state)

    @cached_property
    def orchestrator(self) -> Orchestrator:
        return self._engine("orchestrator", self.settings.orchestrator, self)

    @cached_property
    def tracking(self) -> Tracking:
        return self._engine("tracking", self.settings.tracking, self.folder / "models")

    def source_engines(self, sources: Iterable[Source] | None = None) -> list[tuple[Source, SourceEngine]]:
        """The project's pulled sources, each with the engine that reads it."""
        chosen = self.project.sources.values() if sources is None else sources
        return [(s, engine("source", f"{s.reader.kind}:")(s, self.project.root)) for s in chosen if isinstance(s.reader, FileReader)]

    def all_streams(self, skip: Collection[str] = ()) -> dict[str, Stream[Any]]:
        """Declared streams, then the decisions of each endpoint; without those of nouns that are to be skipped, since they are wrong."""
        from millstream.serve.record import decisions_stream

        made = {name: stream for name, stream in self.project.streams.items() if name not in skip}
        return made | {e.decisions: decisions_stream(e, self.project.params) for e in self.project.endpoints.values() if e.name not in skip}

    @cached_property
    def sinks(self) -> Sinks:
        return self._engine("sink", self.settings.sink, self.folder / "scratch")

    def sink(self, stream: Stream[Any], limits: SinkLimits | None = None) -> LandsStream:
        """A worker that lands the stream; the caller's to close."""
        from millstream.log.envelope import topic_of

        topic_of(self.log, self.schemas, stream)
        return self.sinks.worker(self.log, self.schemas, self.lake, stream, limits)

    def definition(self, features: Features) -> Definition:
        from millstream.features.define import define

        return define(features.base or features, self.project.params)

    def version_of(self, name: str) -> str:
        """What identifies an asset's contents now; "" when it was never made."""
        from millstream.run.intake import stream_version

        if name in self.all_streams():
            return stream_version(self, name)
        doc = self.state.get("asset", name)
        return str(doc.value["version"]) if doc else ""

    @cached_property
    def scene(self) -> Scene:
        """What monitors look at."""
        from millstream.watch.scene import Scene

        project = self.project
        return Scene(lake=self.lake, sql=self.sql, state=self.state, streams=project.streams, endpoints=project.endpoints, params=project.params,
                     store=self.online, tracking=self.tracking, define=self.definition)  # fmt: skip

    @cached_property
    def webhook(self) -> Webhook:
        """Where alerts go; it remembers what it did not take."""
        from millstream.watch.alert import Webhook

        return Webhook(self.settings.webhook)

    def watch(self, monitor: Monitor) -> list[dict[str, Any]]:
        """Run a monitor now: a verdict a check, kept, and told when it turns bad or well again."""
        from millstream.watch.monitor import labelled, run

        verdicts = run(monitor, self.scene, webhook=self.webhook, project=self.project.name)
        return [_told(monitor, label, v) for (label, _), v in zip(labelled(monitor), verdicts, strict=True)]

    def verdicts(self, name: str, *, latest: bool = False) -> list[dict[str, Any]]:
        """What a monitor found before, newest first; only the last of each check when `latest`."""
        from millstream.watch.monitor import history, labelled

        monitor = self.project.monitors[name]
        found = [_told(monitor, label, v) for label, _ in labelled(monitor) for v in history(monitor, self.scene, label, 1 if latest else 100)]
        return found if latest else sorted(found, key=lambda v: v["at"], reverse=True)

    def close(self) -> None:
        """Close every engine that was built, last first."""
        while self._close:
            self._close.pop()()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _told(monitor: Monitor, label: str, verdict: Verdict) -> dict[str, Any]:
    at = datetime.fromtimestamp(verdict.at_us / 1e6, UTC).isoformat(" ", "seconds")
    return {"monitor": monitor.name, "target": monitor.target.name, "severity": monitor.severity, **verdict.json(), "check": label, "at": at}
