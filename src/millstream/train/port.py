"""The tracking port: runs and registered versions of models. Engine: `Engine(url: str, folder: pathlib.Path)`; folder
holds artifacts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Run:
    """One training run. `status`: "running", "finished", "failed", "killed"."""

    id: str
    model: str
    status: str
    started_at: datetime
    ended_at: datetime | None
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Version:
    """A registered version; numbers begin at 1."""

    model: str
    number: int
    run_id: str
    created_at: datetime
    aliases: tuple[str, ...]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Point:
    """One value of a metric as it was logged."""

    step: int
    at: datetime
    value: float


class Tracking(Protocol):
    """Runs and a registry of versions with aliases."""

    def start(self, model: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Begin a run; its id."""
        ...

    def log(self, run_id: str, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Add values of metrics; a run's `metrics` are those of the last step. None is step 0. Raises NotFound."""
        ...

    def store(self, run_id: str, folder: Path) -> None:
        """Keep the files of a folder as the run's artifacts."""
        ...

    def finish(self, run_id: str, status: str = "finished") -> None: ...

    def run(self, run_id: str) -> Run:
        """Raises NotFound."""
        ...

    def runs(self, model: str | None = None, *, limit: int = 100, before: Run | None = None) -> list[Run]:
        """Latest first; `before` is the last run of the page before."""
        ...

    def history(self, run_id: str, key: str) -> list[Point]:
        """All values of a metric by step, then in the order in which they were logged; empty when there is none. Raises
        NotFound.
        """
        ...

    def files(self, run_id: str) -> list[str]:
        """The run's files: paths below its folder, sorted. Raises NotFound."""
        ...

    def register(self, model: str, run_id: str, tags: Mapping[str, str]) -> Version:
        """A new version made of a finished run."""
        ...

    def versions(self, model: str) -> list[Version]:
        """Oldest first; empty for an unknown model."""
        ...

    def version(self, model: str, name: str) -> Version:
        """By number or alias ("champion"). Raises NotFound."""
        ...

    def alias(self, model: str, alias: str, number: int) -> None:
        """Point an alias at a version; it leaves the one it pointed at."""
        ...

    def artifacts(self, model: str, number: int) -> Path:
        """A local folder with the version's files."""
        ...

    def close(self) -> None: ...
