"""`run-step` as an orchestrator's task: fenced by its attempt, no orphans, nothing but what was exported. Processes are
real, and really killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_project import command, process
from export_project import files, project

from millstream.base import points
from millstream.base.errors import Fenced
from millstream.run.claim import Claim
from millstream.run.export import make, write
from millstream.run.workspace import Workspace

pytestmark = pytest.mark.timeout(300)  # many processes, one after the other

ACTOR = """
import sys, time
from pathlib import Path

from millstream.app.cli.main import main
from millstream.lake import commit
from millstream.base import points

place, here, go = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])


def pause():
    here.touch()
    while not go.exists():
        time.sleep(0.02)


if place == "after the look":
    land = commit.Commit._try
    commit.Commit._try = lambda self, moves: (pause(), land(self, moves))[1]
else:
    points.watch(lambda point: pause() if point == place and not here.exists() else None)
main(sys.argv[4:])
"""
"""`millstream ...` that stops at a point until a file appears. It looks after its claim later than that, unless the
point is after that look.
"""
SUPERVISOR = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True).wait()"


@pytest.fixture
def rides(tmp_path: Path) -> Path:
    return project(tmp_path / "rides", 300)


def exported(rides: Path) -> str:
    with Workspace.open(str(rides)) as ws:
        return str(write(make(ws), rides / "out"))


def step(rides: Path, manifest: str, name: str, attempt: int = 1, run: str = "r1") -> list[str]:
    return [
        "--project",
        str(rides),
        "run-step",
        "--manifest",
        manifest,
        "--step",
        name,
        "--run-id",
        run,
        "--try",
        str(attempt),
    ]


def until(true: Callable[[], Any], seconds: float = 40) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def rows(rides: Path, sql: str) -> Any:
    return process(rides, "sql", "--json", sql).json


def test_all_steps_in_order_give_what_a_run_gives(rides: Path, tmp_path: Path) -> None:
    manifest = exported(rides)
    with Workspace.open(str(rides)) as ws:
        names = make(ws).timetables[0].groups
    for name in names:
        done = process(rides, *step(rides, manifest, name)[2:], "--json")
        assert done.code == 0, done.err
        assert {r["status"] for r in done.json} <= {"made", "skipped"}
    assert process(rides, "plan", "--json").json["assets"][0]["stale"] is False
    assert all(not a["stale"] for a in process(rides, "plan", "--json").json["assets"])
    other = project(tmp_path / "beside", 300)
    assert process(other, "run").code == 0
    for table, columns in {"days": "n", "weeks": "n", "long": "ride, km", "tip_set": "_row, km"}.items():
        query = f"select count(*) as n, sum(hash({columns}))::varchar as h from {table}"
        assert rows(rides, query) == rows(other, query)


@pytest.mark.fault
@pytest.mark.parametrize("place", ["commit.ready", "after the look"])
def test_an_attempt_that_outlives_its_supervisor_commits_nothing_beside_the_next(
    rides: Path, tmp_path: Path, place: str
) -> None:
    manifest = exported(rides)
    assert process(rides, *step(rides, manifest, "land")[2:]).code == 0
    here, go, told = tmp_path / "here", tmp_path / "go", tmp_path / "told"
    shell = f'echo $$ > {told}.pid; "$@" 2>{told}.err; echo $? > {told}.code'
    actor = [
        "sh",
        "-c",
        shell,
        "sh",
        sys.executable,
        "-c",
        ACTOR,
        place,
        str(here),
        str(go),
        *step(rides, manifest, "make-days"),
    ]
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISOR, *actor], stdin=subprocess.DEVNULL)
    until(here.exists)
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait()
    second = process(rides, *step(rides, manifest, "make-days", attempt=2)[2:], "--json")
    assert (second.code, second.json[0]["status"]) == (0, "made"), second.err
    before = rows(rides, "select * from days")
    version = process(rides, "show", "tables", "--json").json
    assert alive(int(Path(f"{told}.pid").read_text(encoding="utf-8")))
    go.touch()
    until(Path(f"{told}.code").exists)
    assert until(lambda: Path(f"{told}.code").read_text(encoding="utf-8").strip()) == "5"
    assert "attempt 2 has taken over" in Path(f"{told}.err").read_text(encoding="utf-8")
    assert rows(rides, "select * from days") == before
    assert process(rides, "show", "tables", "--json").json == version
    third = process(rides, *step(rides, manifest, "make-days", attempt=1)[2:])
    assert third.code == 5  # a stale attempt that only now begins


@pytest.mark.fault
def test_a_stale_attempt_registers_no_model(rides: Path, tmp_path: Path) -> None:
    manifest = exported(rides)
    for name in ("land", "make-tip_set"):
        assert process(rides, *step(rides, manifest, name)[2:]).code == 0
    here, go = tmp_path / "here", tmp_path / "go"
    stale = subprocess.Popen(
        [sys.executable, "-c", ACTOR, "model.ready", str(here), str(go), *step(rides, manifest, "train-tips_model")]
    )
    until(here.exists)
    assert process(rides, *step(rides, manifest, "train-tips_model", attempt=2)[2:]).code == 0
    go.touch()
    assert stale.wait(60) == 5
    assert [m["model"] for m in process(rides, "show", "models", "--json").json] == ["tips_model@1"]


@pytest.mark.fault
def test_no_orphan_is_left_when_the_parent_is_killed(rides: Path, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    sleeping = (
        f"import subprocess\n    open({str(pid)!r}, 'w').write(str(subprocess.Popen(['sleep', '1000']).pid))\n   "
        " import time; time.sleep(1000)\n"
    )
    text = (rides / "taxi.py").read_text(encoding="utf-8")
    (rides / "taxi.py").write_text(
        text.replace("    return Mean(", f"    {sleeping}    return Mean("), encoding="utf-8"
    )
    manifest = exported(rides)
    for name in ("land", "make-tip_set"):
        assert process(rides, *step(rides, manifest, name)[2:]).code == 0
    words = command(*step(rides, manifest, "train-tips_model"), "--watched")
    holding = (
        "import subprocess, sys; subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, start_new_session=True).wait()"
    )
    parent = subprocess.Popen([sys.executable, "-c", holding, *words])
    until(lambda: pid.exists() and pid.read_text(encoding="utf-8"))
    grandchild = int(pid.read_text(encoding="utf-8"))
    child = int(Path(f"/proc/{grandchild}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    assert alive(child)
    assert alive(grandchild)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: not alive(child) and not alive(grandchild), 10)


def test_what_is_not_what_was_exported_is_refused(rides: Path) -> None:
    manifest = exported(rides)
    assert process(rides, *step(rides, manifest, "bake")[2:]).err.startswith(
        'no step "bake" in the manifest; there are land, fill-riders'
    )
    (rides / "taxi.py").write_text(
        (rides / "taxi.py").read_text(encoding="utf-8").replace("km > 5", "km > 6"), encoding="utf-8"
    )
    done = process(rides, *step(rides, manifest, "land")[2:])
    assert done.code == 2
    assert "is not the one that was exported; changed since: taxi.py. Export it again" in done.err
    told = json.loads(Path(manifest).read_bytes())
    told["manifest"]["groups"] = []
    Path(manifest).write_text(json.dumps(told), encoding="utf-8")
    done = process(rides, *step(rides, manifest, "land")[2:])
    assert (done.code, "was changed after it was exported" in done.err) == (3, True)


def test_a_run_and_a_step_exclude_one_another_and_steps_do_not(rides: Path, tmp_path: Path) -> None:
    manifest = exported(rides)
    here, go = tmp_path / "here", tmp_path / "go"
    first = subprocess.Popen(
        [sys.executable, "-c", ACTOR, "asset.begins", str(here), str(go), *step(rides, manifest, "land")]
    )
    until(here.exists)
    assert "another run of this project is under way" in process(rides, "run").err
    assert process(rides, *step(rides, manifest, "fill-riders")[2:]).code == 0
    go.touch()
    assert first.wait(60) == 0


def test_two_runs_take_turns_at_a_group_and_attempts_of_one_do_not(rides: Path, tmp_path: Path) -> None:
    manifest = exported(rides)
    here, go = tmp_path / "here", tmp_path / "go"
    first = subprocess.Popen(
        [sys.executable, "-c", ACTOR, "asset.begins", str(here), str(go), *step(rides, manifest, "land")]
    )
    until(here.exists)
    other = subprocess.Popen(command(*step(rides, manifest, "land", run="r2")), stderr=subprocess.PIPE, text=True)
    second = subprocess.Popen(command(*step(rides, manifest, "land", attempt=2)))
    assert second.wait(60) == 0
    go.touch()
    assert first.wait(60) == 5
    assert other.wait(60) == 0
    assert other.stderr is not None
    assert "done: 0 made, 3 up to date" in other.stderr.read()


def test_claims(rides: Path) -> None:
    with Workspace.open(str(rides)) as ws:
        first, second, again, other = (
            Claim(ws.state, run, "s", n) for run, n in (("r", 1), ("r", 2), ("r", 2), ("q", 1))
        )
        first.take()
        second.take()
        with pytest.raises(Fenced, match="attempt 1 at r/s may commit nothing any more: attempt 2 has taken over"):
            first.check()
        with pytest.raises(Fenced):
            first.take()
        again.take()  # the same attempt, delivered twice: the last one has it
        with pytest.raises(Fenced):
            second.finish("finished", [])
        other.take()
        again.check()
        with again.guarding():
            points.reach("commit.ready")
            Claim(ws.state, "r", "s", 3).take()
            points.reach("sink.read")
            with pytest.raises(Fenced):
                points.reach("commit.ready")
        points.reach("commit.ready")
        assert (first.lost, again.lost, other.lost) == (True, True, False)
        assert os.getpid() == ws.state.get("step", "r/s").value["pid"]  # type: ignore[union-attr]


def test_new_rows_are_made_by_the_next_run(rides: Path) -> None:
    manifest = exported(rides)
    for name in ("land", "make-days"):
        assert process(rides, *step(rides, manifest, name)[2:]).code == 0
    files(rides / "data", 300, 100)
    for name in ("land", "make-days"):
        assert process(rides, *step(rides, manifest, name, run="r2")[2:]).code == 0
    assert rows(rides, "select sum(n)::int as n from days") == [{"n": 400}]
