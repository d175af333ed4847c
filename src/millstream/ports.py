"""The engines that a project runs on: one attribute a port. `Workspace` builds them; every room that needs several of
them is handed this.

A port is a Protocol in the `port.py` of its room, next to the suite that each engine of it passes (`contract.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from millstream.base.settings import Settings
    from millstream.declare.project import Project
    from millstream.features.port import OnlineStore
    from millstream.ingest.doors import Doors
    from millstream.lake.lake import Lake
    from millstream.lake.port import Catalog, Files, Sinks
    from millstream.log.port import Log, Schemas
    from millstream.state.port import State
    from millstream.train.port import Tracking
    from millstream.transform.port import Sql


class Engines(Protocol):
    """A project, its settings and its engines, each built when it is first asked for."""

    @property
    def project(self) -> Project: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def folder(self) -> Path:
        """Where the project keeps what is not declared."""

    @property
    def schemas(self) -> Schemas: ...

    @property
    def log(self) -> Log: ...

    @property
    def doors(self) -> Doors:
        """The clocks that incoming events are checked against."""

    @property
    def files(self) -> Files: ...

    @property
    def lake(self) -> Lake: ...

    @property
    def catalog(self) -> Catalog | None:
        """Where the lake's tables are published; None when nowhere."""

    @property
    def sinks(self) -> Sinks: ...

    @property
    def compute(self) -> Sql:
        """Builds assets: as much work as there are rows."""

    @property
    def sql(self) -> Sql:
        """Answers questions about them, in each process that asks."""

    @property
    def online(self) -> OnlineStore: ...

    @property
    def state(self) -> State: ...

    @property
    def tracking(self) -> Tracking: ...
