"""This machine passes the suite of orchestrators; `run --detach` and `show runs` as a user calls them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_project import process
from export_project import project
from orchestrated_project import OrchestratedProject, made, rides

from millstream.base.errors import Busy
from millstream.base.registry import engine
from millstream.run.port import Orchestrator
from millstream.run.runner import alone
from millstream.run.schedule import Schedule
from millstream.run.workspace import Workspace

pytestmark = pytest.mark.timeout(300)  # many processes, one after the other


class TestLocalOrchestrator(OrchestratedProject):
    @pytest.fixture
    def ws(self, tmp_path: Path) -> Iterator[Workspace]:
        with Workspace.open(str(made(tmp_path / "taxi"))) as ws:
            yield ws

    @pytest.fixture
    def orchestrator(self, ws: Workspace) -> Orchestrator:
        return ws.orchestrator

    def test_one_at_a_time(self, ws: Workspace, orchestrator: Orchestrator) -> None:
        with alone(ws.folder), pytest.raises(Busy, match="another run of this project"):
            orchestrator.start(["sources"])

    def test_a_run_that_was_killed_says_so(self, ws: Workspace, orchestrator: Orchestrator) -> None:
        run_id = orchestrator.start(self.assets(ws))
        while (doc := ws.state.get("run", run_id)) is None or doc.value["status"] != "running":
            time.sleep(0.01)
        os.kill(doc.value["pid"], signal.SIGKILL)
        assert self.ended(orchestrator, run_id).status == "killed"
        assert self.ended(orchestrator, orchestrator.start(self.assets(ws))).status == "finished"


def test_found_by_its_word() -> None:
    assert engine("orchestrator", "local").__name__ == "LocalOrchestrator"
    assert engine("orchestrator", "airflow://admin:x@127.0.0.1:1").__name__ == "AirflowOrchestrator"


def test_detached_and_shown(tmp_path: Path) -> None:
    folder = made(tmp_path / "taxi")
    started = process(folder, "run", "--detach", "+days")
    assert started.code == 0, started.err
    name = started.out.strip()
    deadline = time.monotonic() + 60
    while (shown := process(folder, "show", "run", name, "--json").json)["status"] in ("queued", "running"):
        assert time.monotonic() < deadline
    assert {r["name"]: r["status"] for r in shown["results"]} == {"sources": "made", "rides": "made", "days": "made"}
    (row,) = process(folder, "show", "runs", "--json").json
    assert (row["run"], row["status"], row["made"]) == (name, "finished", 3)
    refused = process(folder, "run", "--detach", "--force")
    assert (refused.code, "leave --force" in refused.err) == (2, True)


def test_followed_to_its_end(tmp_path: Path) -> None:
    folder = made(tmp_path / "taxi")
    name = process(folder, "run", "--detach").out.strip()
    followed = process(folder, "show", "run", name, "--follow")
    assert (followed.code, followed.out) == (0, ""), followed.err
    lines = followed.err.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["✓", "sources"], ["✓", "rides"]]
    assert sorted(line.split()[1] for line in lines[2:4]) == ["checked", "days"]
    assert lines[4] == f"finished: {name}"
    (folder / "broken").touch()
    rides(folder, 100)
    name = process(folder, "run", "--detach").out.strip()
    followed = process(folder, "show", "run", name, "--follow", "--json")
    assert (followed.code, followed.json["status"]) == (1, "failed")
    assert {r["name"]: r["status"] for r in followed.json["results"]}["checked"] == "failed"
    assert process(folder, "show", "streams", "--follow").code == 2


def test_a_followed_run_that_is_killed_ends(tmp_path: Path) -> None:
    folder = made(tmp_path / "taxi")
    with Workspace.open(str(folder)) as ws:
        ws.state.put("run", "dead", {"status": "running", "started_at": "2026-01-01T00:00:00+00:00", "results": []})
    followed = process(folder, "show", "run", "dead", "--follow")
    assert (followed.code, followed.err) == (1, "killed: dead\n")


def test_cron_lines_are_left_to_an_orchestrator_that_keeps_time(tmp_path: Path) -> None:
    folder = project(tmp_path / "rides", 50)
    assert process(folder, "ingest").code == 0
    with Workspace.open(str(folder)) as ws:
        before, now, stop = len(ws.state.list("run")), datetime.now(UTC), threading.Event()
        for schedule in (Schedule(ws, assets=False), Schedule(ws)):
            schedule.tick(now, stop)  # seen for the first time: due from now on
            schedule.tick(now + timedelta(days=8), stop)
            made = ws.lake.exists("days") and ws.lake.exists("weeks")
            assert made == schedule._assets
        assert len(ws.state.list("run")) > before
