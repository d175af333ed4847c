"""The orchestrator port: who runs the assets when nobody waits for them. `contract.py` is the suite every engine
passes.

`millstream run` without `--detach` needs none: it makes what is stale in its own process.
Helpers for engines: `run/runner.py`, `run/claim.py`, `run/export/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from millstream.ports import Engines


@dataclass(frozen=True)
class Run:
    """A run as it stands.

    Attributes:
        run_id: As `start` returned it.
        status: "queued", "running", "finished", "failed" or "killed".
        started_at: With a zone; None while it is queued.
        results: A mapping an asset that has ended: name, kind, status ("made", "skipped", "failed", "blocked"),
            seconds, rows, note, error.
    """

    run_id: str
    status: str
    started_at: datetime | None = None
    ended_at: datetime | None = None
    results: tuple[dict[str, Any], ...] = ()

    @property
    def ended(self) -> bool:
        return self.status in ("finished", "failed", "killed")


class Orchestrator(Protocol):
    """Runs of one project. Engine: `Engine(url: str, ws: Engines)`.

    Every method may raise Unreachable.

    Attributes:
        keeps_time: Whether it runs assets at the times of their `schedule` itself, once they are deployed; else
            `millstream up` does.
    """

    keeps_time: bool

    def __init__(self, url: str, ws: Engines) -> None: ...

    def deploy(self) -> None:
        """From its return on, runs are of the project as it is now, and its timetables are on. Doing it again is cheap
        and harmless.

        Raises:
            UsageError: It cannot be done from here; the message says what to do.
            WorkFailed: The orchestrator does not take the project.
        """
        ...

    def start(self, assets: Sequence[str]) -> str:
        """Deploy, and begin a run of these assets, which the caller need not outlive; those that are up to date are
        skipped.

        Args:
            assets: In order of dependency; what they are made from is not made unless it is among them.

        Returns:
            The name of the run, which `run` knows from now on.

        Raises:
            Busy: The engine runs one at a time, and one is under way.
        """
        ...

    def runs(self, limit: int) -> list[Run]:
        """The latest runs, newest first."""
        ...

    def run(self, run_id: str) -> Run:
        """Raises NotFound."""
        ...
