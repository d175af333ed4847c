"""A project with its settings and its engines, each built on first use."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millstream.base.errors import ConfigError, DefinitionError, MillstreamError
from millstream.base.registry import engine

if TYPE_CHECKING:
    from millstream.declare.project import Project
    from millstream.features.port import OnlineStore
    from millstream.ingest.doors import Doors
    from millstream.lake.lake import Lake
    from millstream.lake.port import Catalog, Files, Sinks
    from millstream.log.port import Log, Schemas
    from millstream.run.port import Orchestrator
    from millstream.run.settings import Settings
    from millstream.state.port import State
    from millstream.train.port import Tracking
    from millstream.transform.port import Sql
    from millstream.watch.monitors import Monitors


class Workspace:
    """Where verbs get what they work with. Close it, or use it as a context manager."""

    def __init__(self, project: Project, settings: Settings) -> None:
        self.project, self.settings = project, settings
        self._close: list[Callable[[], None]] = []
        self._lock = threading.RLock()

    @classmethod
    def open(
        cls, folder: str | None, profile: str | None = None, overrides: Mapping[str, str] | None = None
    ) -> Workspace:
        """The project at or above a folder.

        Raises:
            DefinitionErrors: Every mistake of the project, together.
            ConfigError: A setting is wrong.
        """
        from millstream.declare.load import find, load
        from millstream.run.settings import read

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
                raise ConfigError(
                    f"{error}. Such a log keeps no schemas beside its events: set registry to a schema registry,"
                    " http://HOST:PORT"
                ) from error
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
        from millstream.lake.watermark import watermark_us

        return Lake(self.files, lambda table: watermark_us(table, self.project.streams.get(table.name), self.log))

    @cached_property
    def doors(self) -> Doors:
        """The clocks that what comes in is held against."""
        from millstream.ingest.doors import Doors, released_us

        return Doors(self.log, released=partial(released_us, self.state))

    @cached_property
    def catalog(self) -> Catalog | None:
        """Where the lake's tables are published; None when nowhere."""
        return self._engine("catalog", self.settings.catalog) if self.settings.catalog else None

    @cached_property
    def compute(self) -> Sql:
        """Makes assets: as much work as there are rows."""
        return self._engine("sql", self.settings.compute, self.folder / "scratch")

    @cached_property
    def sql(self) -> Sql:
        """Answers questions about them, in each process that asks: a cluster's seconds to start would be most of an
        answer.
        """
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

    @cached_property
    def sinks(self) -> Sinks:
        return self._engine("sink", self.settings.sink, self.folder / "scratch")

    @cached_property
    def monitors(self) -> Monitors:
        from millstream.watch.monitors import Monitors

        return Monitors(self)

    def close(self) -> None:
        """Close every engine that was built, last first."""
        while self._close:
            self._close.pop()()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
