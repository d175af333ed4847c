"""The command line as processes: one run at a time, a run that is killed, and the projects' own tests as a user starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_project import command, millstream, process

from millstream.templates import create

STREAMS = """
import time
from pathlib import Path

import millstream as ms


class Order(ms.Event):
    order_id: str
    customer: str
    amount: float
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="customer", dedupe="order_id")
ms.source(orders, ms.read.files("data/orders.csv"))
totals = ms.table("totals", "select customer, count(*) as n, sum(amount) as amount from orders group by customer",
                  key="customer")


@ms.table(orders)
def slow(batch):
    Path("in").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    return batch.select(["order_id"])


last = ms.table("last", "select count(*) as n from slow")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "millstream.toml").write_text('[project]\nname = "slow"\n')
    (tmp_path / "streams.py").write_text(STREAMS)
    lines = [f"o{n},c{n % 50},1.5,2026-01-{n % 28 + 1:02d}T10:00:00Z\n" for n in range(2_000)]
    (tmp_path / "data" / "orders.csv").write_text("order_id,customer,amount,ts\n" + "".join(lines))
    return tmp_path


@pytest.fixture
def running(project: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that stands in the middle of the table `slow`."""
    child = subprocess.Popen(command("run"), cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: (project / "in").exists() or child.poll() is not None)
        assert child.poll() is None, child.communicate()
        yield child
    finally:
        child.kill()
        child.communicate()


def until(done: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.fault
def test_a_second_run_is_refused_while_looking_is_not(project: Path, running: subprocess.Popen[str]) -> None:
    for verb in ("run", "ingest"):
        said = process(project, verb)
        assert said.code == 3 and f"process {running.pid}" in said.err and said.err.startswith("Busy: "), said
    assert millstream(project, "sql", "select count(*)::int as n from orders", "--json").json == [{"n": 2_000}]
    assert millstream(project, "show", "runs", "--json").json[0]["status"] == "running"
    (project / "go").touch()
    _, err = running.communicate(timeout=60)
    assert running.returncode == 0 and "done: " in err
    again = process(project, "run")
    assert again.code == 0 and "0 made" in again.err


@pytest.mark.fault
def test_a_run_that_is_killed_is_resumed_by_running_again(project: Path, running: subprocess.Popen[str]) -> None:
    until(lambda: millstream(project, "sql", "from totals", "--json").code == 0)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    (project / "go").touch()
    said = {row["name"]: row["status"] for row in millstream(project, "run", "--json").json}
    assert said["slow"] == said["last"] == "made" and said["sources"] == said["orders"] == "skipped"
    assert [r["status"] for r in millstream(project, "show", "runs", "--json").json] == ["finished", "killed"]
    assert millstream(project, "sql", "from last", "--json").json == [{"n": 2_000}]
    assert millstream(project, "verify", "--json").json[0]["ok"]


@pytest.mark.fault
def test_ctrl_c_ends_with_a_word_and_leaves_nothing_half_done(project: Path, running: subprocess.Popen[str]) -> None:
    running.send_signal(signal.SIGINT)
    (project / "go").touch()  # a step under way is not torn out of the engine
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130 and "Traceback" not in err and "stopped" in err
    assert millstream(project, "show", "runs", "--json").json[0]["status"] == "failed"
    assert millstream(project, "run").code == 0
    assert millstream(project, "sql", "from last", "--json").json == [{"n": 2_000}]


@pytest.mark.fault
def test_killed_again_and_again_nothing_is_lost_or_doubled(project: Path) -> None:
    (project / "go").touch()
    for wait_s in (0.5, 0.7, 0.9, 1.2):
        child = subprocess.Popen(command("run"), cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with_lock = project / ".millstream" / "run.lock"
        until(lambda child=child, lock=with_lock: child.poll() is not None or (lock.exists() and str(child.pid) in lock.read_text()))
        try:
            child.wait(timeout=wait_s - 0.4)
        except subprocess.TimeoutExpired:
            child.kill()
        child.wait()
    assert millstream(project, "doctor", "--fix").code == 0
    assert millstream(project, "run").code == 0
    (proven,) = millstream(project, "verify", "--json").json
    assert proven["ok"] and proven["rows"] == 2_000 and proven["dead"] == proven["duplicates"] == 0
    assert millstream(project, "sql", "select sum(n)::int as n from totals", "--json").json == [{"n": 2_000}]


def test_the_quickstart_passes_its_own_tests(tmp_path: Path) -> None:
    create("quickstart", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests", "-q"], cwd=tmp_path, env=_as_a_user(), capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout
    assert not (tmp_path / ".millstream").exists(), "the project's own data is not touched"


@pytest.mark.timeout(300)
def test_the_flights_pass_their_own_tests(tmp_path: Path) -> None:
    create("flights", tmp_path)
    done = subprocess.run([sys.executable, "-m", "pytest"], cwd=tmp_path, env=_as_a_user(), capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0 and "3 passed" in done.stdout and "nothing is proven" not in done.stdout, done.stdout
    assert not (tmp_path / ".millstream").exists()


def test_mistakes_of_a_project_fail_its_tests_in_a_sentence(tmp_path: Path) -> None:
    create("quickstart", tmp_path)
    file = tmp_path / "features.py"
    file.write_text(file.read_text().replace('agg.sum("amount")', 'agg.sum("amonut")'))
    done = subprocess.run([sys.executable, "-m", "pytest"], cwd=tmp_path, env=_as_a_user(), capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 1 and 'did you mean "amount"?' in done.stdout and "validate.py" not in done.stdout, done.stdout


def _as_a_user() -> dict[str, str]:
    """This process's environment without what its own pytest has put there."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
