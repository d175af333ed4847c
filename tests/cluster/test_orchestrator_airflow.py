"""Airflow passes the suite of orchestrators; its DAG files by themselves; workers and supervisors killed in the middle
of a task.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from faults_told import Fault
from orchestrated_project import OrchestratedProject, made
from running_cluster import brought

from millstream.base.errors import ConfigError, NotFound, Unreachable, UsageError, WorkFailed
from millstream.cluster import Cluster
from millstream.cluster.airflow import USER, dags, environment_of_its_own
from millstream.engines.airflow.orchestrator import AirflowOrchestrator
from millstream.lake.verify import verify
from millstream.run.port import Orchestrator, Run
from millstream.run.workspace import Workspace

WAITING = """

@ms.table(rides)
def slow(batch):
    import time

    here = Path(__file__).parent / "here"
    with here.open("a") as out:
        out.write("x")
    while not (Path(__file__).parent / "go").exists():
        time.sleep(0.05)
    return batch.select(["ride"])
"""


@pytest.fixture(scope="session")
def airflow(cluster: Cluster) -> str:
    """airflow://…, with its password and an absolute folder of DAG files."""
    brought(cluster, "airflow")
    return f"airflow://{USER}:{cluster.site.secret('airflow')}@{cluster.site.at(90)}?dags={dags(cluster.site)}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path / "taxi", f"taxi_{uuid.uuid4().hex[:8]}")


@pytest.fixture
def opened(folder: Path, airflow: str) -> Iterator[Workspace]:
    with Workspace.open(str(folder), None, {"orchestrator": airflow}) as ws:
        yield ws


def until(true: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s")


class TestAirflowOrchestrator(OrchestratedProject):
    patience_s = 240.0

    @pytest.fixture
    def ws(self, opened: Workspace) -> Workspace:
        return opened

    @pytest.fixture
    def orchestrator(self, ws: Workspace) -> Orchestrator:
        return ws.orchestrator


def jobs(folder: Path) -> list[psutil.Process]:
    """Processes of `run-step` that make the project's table `slow`."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if {"run-step", "make-slow", str(folder)} <= set(words):
            found.append(process)
    return found


def slow_run(folder: Path, airflow: str) -> tuple[Workspace, str]:
    """A run that waits in its table `slow` until the file `go` is there."""
    (folder / "taxi.py").write_text((folder / "taxi.py").read_text(encoding="utf-8") + WAITING, encoding="utf-8")
    ws = Workspace.open(str(folder), None, {"orchestrator": airflow})
    run_id = ws.orchestrator.start(["sources", "rides", "slow"])
    until((folder / "here").exists)
    return ws, run_id


def proven(ws: Workspace, run_id: str, attempt: int) -> None:
    """It ends well, by this attempt, and nothing is doubled or lost."""
    found: Run = until(lambda: (r := ws.orchestrator.run(run_id)).ended and r, 240)
    assert found.status == "finished"
    doc = ws.state.get("step", f"{run_id}/make-slow")
    assert doc is not None
    assert (doc.value["attempt"], doc.value["status"]) == (attempt, "finished")
    assert verify(ws.lake, ws.log, ws.project.streams["rides"]).ok
    assert ws.lake.table("rides").rows() == 100
    assert ws.lake.table("slow").rows() == 100
    assert len([h for h in ws.lake.table("slow").history() if h["rows"]]) == 1


@pytest.mark.fault
def test_a_worker_that_is_killed_in_a_task(
    folder: Path, airflow: str, cluster: Cluster, fault_told: Callable[[Fault], None]
) -> None:
    ws, run_id = slow_run(folder, airflow)
    with ws:
        (job,) = jobs(folder)
        above = {p.pid for p in job.parents()}
        (worker,) = [s.role for s in cluster.status() if s.role.startswith("airflow-worker") and s.pid in above]
        began = time.monotonic()
        cluster.kill(worker)
        try:
            until(lambda: (folder / "here").read_text(encoding="utf-8") == "xx")
            seconds = time.monotonic() - began
            (folder / "go").touch()
            proven(ws, run_id, 2)
            fault_told(
                Fault(
                    f"{worker}, Celery worker",
                    "a run of Airflow, in a task",
                    seconds,
                    "the task's second attempt at work",
                    100,
                )
            )
        finally:
            cluster.restart(worker)


@pytest.mark.long
@pytest.mark.fault
def test_a_supervisor_that_is_killed_leaves_no_second_commit(
    folder: Path, airflow: str, fault_told: Callable[[Fault], None]
) -> None:
    ws, run_id = slow_run(folder, airflow)
    with ws:
        (job,) = jobs(folder)
        task = job.parent()
        assert task is not None
        supervisor = task.parent()
        assert supervisor is not None
        began = time.monotonic()
        supervisor.send_signal(signal.SIGKILL)
        until(lambda: (folder / "here").read_text(encoding="utf-8") == "xx")
        seconds = time.monotonic() - began
        (folder / "go").touch()
        proven(ws, run_id, 2)
        fault_told(
            Fault(
                "a task's supervisor, not the task",
                "a run of Airflow, in a task",
                seconds,
                "the task's second attempt at work",
                100,
            )
        )
        until(lambda: not jobs(folder))


@pytest.mark.long
@pytest.mark.fault
def test_a_task_that_is_killed_takes_its_step_along(folder: Path, airflow: str) -> None:
    ws, run_id = slow_run(folder, airflow)
    with ws:
        (job,) = jobs(folder)
        task = job.parent()
        assert task is not None
        task.send_signal(signal.SIGKILL)
        until(lambda: not job.is_running() or job.status() == psutil.STATUS_ZOMBIE, 10)
        (folder / "go").touch()
        proven(ws, run_id, 2)


@pytest.mark.long
def test_a_run_that_is_given_up_ends_its_step(folder: Path, airflow: str) -> None:
    ws, run_id = slow_run(folder, airflow)
    with ws:
        (job,) = jobs(folder)
        dag, _, name = run_id.partition("/")
        assert isinstance(ws.orchestrator, AirflowOrchestrator)
        ws.orchestrator._rest.ask("PATCH", f"/dags/{dag}/dagRuns/{name}", {"state": "failed"})
        until(lambda: not job.is_running() or job.status() == psutil.STATUS_ZOMBIE, 30)
        assert ws.orchestrator.run(run_id).status == "failed"
        assert not ws.lake.exists("slow")


@pytest.mark.long
def test_a_project_that_has_changed_is_deployed_anew(folder: Path, airflow: str) -> None:
    for text in ("", "\n# another word", "\nms.table('more', 'select ride from rides')\n"):
        (folder / "taxi.py").write_text((folder / "taxi.py").read_text(encoding="utf-8") + text, encoding="utf-8")
        with Workspace.open(str(folder), None, {"orchestrator": airflow}) as ws:
            run_id = ws.orchestrator.start(["sources", "rides"])
            found: Run = until(lambda: (r := ws.orchestrator.run(run_id)).ended and r, 120)  # noqa: B023
            assert found.status == "finished", text
            steps = ws.state.list("step", prefix=f"{run_id}/")
            # An older DAG file's step would refuse, and be tried no more
            assert [doc.value["attempt"] for doc in steps] == [1], text


@pytest.mark.long
def test_up_leaves_the_timetables_to_airflow(folder: Path, airflow: str) -> None:
    scheduled = "\nms.table('daily', 'select ride from rides', schedule='@daily')\n"
    (folder / "taxi.py").write_text((folder / "taxi.py").read_text(encoding="utf-8") + scheduled, encoding="utf-8")
    words = [
        sys.executable,
        "-m",
        "millstream",
        "--project",
        str(folder),
        "--set",
        f"orchestrator={airflow}",
        "up",
        "--no-console",
    ]
    with subprocess.Popen(words) as up, Workspace.open(str(folder), None, {"orchestrator": airflow}) as ws:
        try:
            found = until(lambda: [r for r in runs(ws) if "__daily/" in r.run_id and r.ended])
            assert found[0].status == "finished"
            assert ws.lake.table("daily").rows() == 100
        finally:
            up.terminate()
            assert up.wait(60) == 0


def runs(ws: Workspace) -> list[Run]:
    """None while Airflow knows no DAG of the project."""
    try:
        return ws.orchestrator.runs(10)
    except NotFound:
        return []


@pytest.mark.long
def test_dag_files_by_themselves(folder: Path, tmp_path: Path, airflow: str) -> None:
    """`dag.test()`, in Airflow's environment, on a database of its own."""
    out = tmp_path / "dags"
    done = subprocess.run(
        [sys.executable, "-m", "millstream", "--project", str(folder), "export", "airflow", str(out), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    name = json.loads(done.stdout)["dags"][0]
    own = environment_of_its_own()
    home = tmp_path / "home"
    environment = {
        **{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(out),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    subprocess.run([own.bin("airflow"), "db", "migrate"], env=environment, capture_output=True, check=True)
    test = (
        f"import sys; sys.path.insert(0, {str(out)!r})\nfrom {name} import dag\nrun = dag.test()\n"
        "print('ended', run.state, sorted(i.task_id for i in run.get_task_instances() if i.state == 'success'))\n"
        "print('assets', sorted(a.uri for t in dag.tasks for a in t.outlets))"
    )
    ran = subprocess.run([own.bin("python"), "-c", test], env=environment, capture_output=True, text=True, check=False)
    assert "ended success ['land', 'make-checked', 'make-days']" in ran.stdout, (ran.stdout + ran.stderr)[-3000:]
    shown = name.replace("__daily", "")
    assert (
        f"assets ['millstream://{shown}/checked', 'millstream://{shown}/days', 'millstream://{shown}/rides']"
        in ran.stdout
    )


def test_errors_are_ours(folder: Path, airflow: str, cluster: Cluster, tmp_path: Path) -> None:
    def opened(url: str) -> Any:
        return Workspace.open(str(folder), None, {"orchestrator": url})

    with (
        opened(airflow.replace(cluster.site.secret("airflow"), "wrong")) as ws,
        pytest.raises(ConfigError, match="does not know user admin"),
    ):
        ws.orchestrator.runs(1)
    with opened(f"airflow://{USER}:x@127.0.0.1:1") as ws, pytest.raises(Unreachable, match="does not answer"):
        ws.orchestrator.runs(1)
    with (
        opened(airflow.partition("?")[0]) as ws,
        pytest.raises(UsageError, match="bring there what `millstream export airflow DIR` writes"),
    ):
        ws.orchestrator.start(["days"])
    with opened(airflow) as ws:
        ws.orchestrator.deploy()
        (dags(cluster.site) / f"{ws.project.name}.py").write_text(
            "from airflow.sdk import DAG, nothing_of_the_kind\n", encoding="utf-8"
        )
    (folder / "taxi.py").write_text(
        (folder / "taxi.py").read_text(encoding="utf-8") + "\n# another\n", encoding="utf-8"
    )
    with opened(airflow.partition("?")[0]) as ws:
        shown = until(lambda: broken(ws))
        assert "nothing_of_the_kind" in shown


def broken(ws: Workspace) -> str:
    try:
        ws.orchestrator.deploy()
    except WorkFailed as error:
        return str(error)
    except UsageError:
        return ""
    raise AssertionError("it was taken")
