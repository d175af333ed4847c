"""The export for luigi, run by luigi in an environment of its own: each step once a run, continued where it stopped,
tried again under a new number.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_project import millstream
from export_project import project

from millstream.cluster.fetch import Venv

LUIGI = Venv("luigi", ["luigi==3.8.1"])


@pytest.fixture
def rides(tmp_path: Path) -> Path:
    LUIGI.fetch(lambda text: None)
    made = project(tmp_path / "rides", 200)
    assert millstream(made, "export", "luigi", str(tmp_path / "modules"), "--python", sys.executable).code == 0
    return made


def luigi(rides: Path, *words: str, module: str = "rides") -> subprocess.CompletedProcess[str]:
    called: list[Any] = [LUIGI.bin("luigi"), "--local-scheduler", "--module", module, *words]
    environment = {**os.environ, "PYTHONPATH": str(rides.parent / "modules")}
    return subprocess.run(
        called, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=300
    )


def known(rides: Path, run: str) -> dict[str, dict[str, Any]]:
    return {step["step"]: step for step in millstream(rides, "show", "steps", run, "--json").json}


def manifest(rides: Path) -> dict[str, Any]:
    (file,) = (rides.parent / "modules").glob("*.json")
    return dict(json.loads(file.read_text())["manifest"])


def test_a_run_is_gone_on_with_and_not_done_twice(rides: Path) -> None:
    first = luigi(rides, "rides.Step", "--step", "land", "--run-id", "monday")
    assert first.returncode == 0, first.stdout
    assert set(known(rides, "rides/monday")) == {"land"}
    whole = luigi(rides, "rides.Run", "--run-id", "monday")
    assert "This progress looks :)" in whole.stdout, whole.stdout
    steps = known(rides, "rides/monday")
    assert set(steps) == {group["name"] for group in manifest(rides)["groups"]}
    assert {(step["status"], step["attempt"]) for step in steps.values()} == {("finished", 1)}
    again = luigi(rides, "rides.Run", "--run-id", "monday")
    assert "This progress looks :)" in again.stdout and "run-step" not in again.stdout
    assert known(rides, "rides/monday") == steps
    assert millstream(rides, "verify").code == 0


@pytest.mark.long
def test_what_failed_is_tried_under_the_next_number(rides: Path) -> None:
    model = rides / "taxi.py"
    whole = model.read_text()
    model.write_text(whole.replace("return Mean(", "raise RuntimeError('no mean today')\n    return Mean("))
    millstream(rides, "export", "luigi", str(rides.parent / "modules"), "--python", sys.executable)
    bad = luigi(rides, "rides.Run", "--run-id", "monday")
    assert "no mean today" in bad.stdout and "This progress looks :(" in bad.stdout
    before = known(rides, "rides/monday")
    assert {name for name, step in before.items() if step["status"] != "finished"} == {"train-tips_model"}
    model.write_text(whole)
    refused = luigi(rides, "rides.Run", "--run-id", "monday")
    assert "is not the one that was exported" in refused.stdout and known(rides, "rides/monday") == before
    for file in (rides.parent / "modules").glob("*.json"):
        file.unlink()
    millstream(rides, "export", "luigi", str(rides.parent / "modules"), "--python", sys.executable)
    assert "This progress looks :)" in luigi(rides, "rides.Run", "--run-id", "monday").stdout
    after = known(rides, "rides/monday")
    assert (after["train-tips_model"]["status"], after["train-tips_model"]["attempt"]) == (
        "finished",
        before["train-tips_model"]["attempt"] + 1,
    )
    assert all(after[name] == before[name] for name in before if name != "train-tips_model")


def test_a_timetable_runs_what_it_names(rides: Path) -> None:
    done = luigi(rides, "rides__daily.Run", "--run-id", "1", module="rides__daily")
    assert "This progress looks :)" in done.stdout, done.stdout
    wanted = next(t for t in manifest(rides)["timetables"] if t["name"] == "rides__daily")["groups"]
    assert set(known(rides, "rides__daily/1")) == set(wanted)
