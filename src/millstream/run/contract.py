"""The suite that every orchestrator passes: subclass `OrchestratorContract` and give it a workspace and an engine.

The workspace is of a project whose assets are `assets()`: a stream from a file, and tables made from it, named in order
of dependency.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from millstream.base.errors import NotFound
from millstream.run.port import Orchestrator, Run

if TYPE_CHECKING:
    from millstream.ports import Engines


class OrchestratorContract:
    """Subclasses give the fixtures `ws` and `orchestrator`, and `assets` and `new_rows`."""

    patience_s = 120.0

    @pytest.fixture
    @abstractmethod
    def ws(self) -> Engines: ...

    @pytest.fixture
    @abstractmethod
    def orchestrator(self, ws: Engines) -> Orchestrator: ...

    @abstractmethod
    def assets(self, ws: Engines) -> list[str]:
        """Names of what there is to make, in order of dependency; at least two."""

    @abstractmethod
    def new_rows(self, ws: Engines) -> None:
        """Give the project's sources something that they have not read."""

    @abstractmethod
    def break_it(self, ws: Engines) -> str:
        """Have the making of an asset fail from now on; its name."""

    def ended(self, orchestrator: Orchestrator, run_id: str) -> Run:
        """The run once it has ended."""
        deadline = time.monotonic() + self.patience_s
        while not (found := orchestrator.run(run_id)).ended:
            assert time.monotonic() < deadline, f"{run_id} is {found.status} after {self.patience_s} s"
            time.sleep(0.2)
        return found

    def test_a_run_makes_what_is_stale_and_then_nothing(self, orchestrator: Orchestrator, ws: Engines) -> None:
        before = datetime.now(UTC) - timedelta(seconds=5)
        names = self.assets(ws)
        run_id = orchestrator.start(names)
        assert orchestrator.run(run_id).run_id == run_id
        found = self.ended(orchestrator, run_id)
        assert found.status == "finished", found
        assert {r["name"]: r["status"] for r in found.results} == dict.fromkeys(names, "made")
        assert found.started_at is not None
        assert found.ended_at is not None
        assert before <= found.started_at <= found.ended_at <= datetime.now(UTC) + timedelta(seconds=5)
        again = self.ended(orchestrator, orchestrator.start(names))
        assert (again.status, {r["status"] for r in again.results}) == ("finished", {"skipped"})

    def test_only_what_was_asked_for(self, orchestrator: Orchestrator, ws: Engines) -> None:
        names = self.assets(ws)
        self.ended(orchestrator, orchestrator.start(names))
        self.new_rows(ws)
        first = self.ended(orchestrator, orchestrator.start(names[:1]))
        assert [(r["name"], r["status"]) for r in first.results] == [(names[0], "made")]

    def test_runs_are_listed_newest_first(self, orchestrator: Orchestrator, ws: Engines) -> None:
        names = self.assets(ws)
        ids = []
        for _ in range(2):
            ids.append(orchestrator.start(names[:1]))
            self.ended(orchestrator, ids[-1])
        assert [r.run_id for r in orchestrator.runs(2)] == ids[::-1]
        assert [r.run_id for r in orchestrator.runs(1)] == ids[1:]

    def test_what_fails_is_reported(self, orchestrator: Orchestrator, ws: Engines) -> None:
        broken = self.break_it(ws)
        found = self.ended(orchestrator, orchestrator.start(self.assets(ws)))
        assert found.status == "failed"
        (row,) = [r for r in found.results if r["name"] == broken]
        assert row["status"] == "failed"
        assert row["error"]

    def test_no_such_run(self, orchestrator: Orchestrator) -> None:
        with pytest.raises(NotFound, match="never"):
            orchestrator.run("never")

    def test_deploying_again_changes_nothing(self, orchestrator: Orchestrator, ws: Engines) -> None:
        orchestrator.deploy()
        orchestrator.deploy()
        assert self.ended(orchestrator, orchestrator.start(self.assets(ws)[:1])).status == "finished"
