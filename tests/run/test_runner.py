"""The runner: order, skipping, retries, what a failure blocks, history, and one run at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from millstream.base.errors import Busy, Transient
from millstream.run import runner
from millstream.run.plan import plan
from millstream.run.step import Cost, Made, Report
from millstream.state.port import Doc


class Memory:
    """The state port in a dictionary: enough for one process."""

    def __init__(self) -> None:
        self.docs: dict[tuple[str, str], Doc] = {}

    def put(self, kind: str, key: str, value: Mapping[str, Any], *, expect: int | None = None) -> Doc:
        before = self.docs.get((kind, key))
        self.docs[kind, key] = Doc(kind, key, before.revision + 1 if before else 1, datetime.now(UTC), dict(value))
        return self.docs[kind, key]

    def get(self, kind: str, key: str) -> Doc | None:
        return self.docs.get((kind, key))

    def delete(self, kind: str, key: str) -> None:
        self.docs.pop((kind, key), None)

    def list(self, kind: str, *, prefix: str = "", limit: int | None = None, newest: bool = False) -> list[Doc]:
        found = [d for (k, key), d in self.docs.items() if k == kind and key.startswith(prefix)]
        return sorted(found, key=lambda d: d.written_at, reverse=newest)[:limit]


def memory() -> Any:
    """As `State`: runner and plan take no leases."""
    return Memory()


class Fake:
    """A step that counts its makings and can be told to fail."""

    recorded = True

    def __init__(self, name: str, *upstream: str, world: dict[str, int], errors: list[Exception] | None = None) -> None:
        self.name, self.kind, self.upstream, self.world = name, "table", upstream, world
        self.definition, self.errors, self.made = "d1", errors or [], 0

    def inputs(self) -> dict[str, str]:
        return {u: str(self.world.get(u, 0)) for u in self.upstream}

    def pending(self) -> str:
        return ""

    def cost(self) -> Cost:
        return Cost(10, 100)

    def make(self, report: Report) -> Made:
        if self.errors:
            raise self.errors.pop(0)
        self.made += 1
        self.world[self.name] = self.world.get(self.name, 0) + 1
        return Made(str(self.world[self.name]), rows=5)


def chain(world: dict[str, int]) -> list[Fake]:
    return [Fake("a", world=world), Fake("b", "a", world=world), Fake("c", "b", world=world)]


def test_made_once_then_skipped() -> None:
    world: dict[str, int] = {}
    steps, state = chain(world), memory()
    assert [d.status for d in runner.run(steps, state)] == ["made"] * 3
    assert [d.status for d in runner.run(steps, state)] == ["skipped"] * 3
    assert [s.made for s in steps] == [1, 1, 1]


def test_a_changed_definition_makes_what_is_downstream_and_nothing_else() -> None:
    world: dict[str, int] = {}
    steps, state = [*chain(world), Fake("d", world=world)], memory()
    runner.run(steps, state)
    steps[1].definition = "d2"
    planned = plan(steps, [s.name for s in steps], state, {"late": ["c"], "other": ["d"]})
    assert [(a.name, a.reasons) for a in planned.stale] == [
        ("b", ("its definition changed",)),
        ("c", ("b will be made again",)),
    ]
    assert planned.endpoints == ("late",)
    assert [d.status for d in runner.run(steps, state)] == ["skipped", "made", "made", "skipped"]


def test_transient_errors_are_tried_again_and_failures_block_only_what_needs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    world: dict[str, int] = {}
    steps = [
        Fake("a", world=world, errors=[Transient("busy")]),
        Fake("b", "a", world=world, errors=[ZeroDivisionError("user's")]),
        Fake("c", "b", world=world),
        Fake("d", "a", world=world),
    ]
    state = memory()
    assert {d.name: d.status for d in runner.run(steps, state)} == {
        "a": "made",
        "b": "failed",
        "c": "blocked",
        "d": "made",
    }
    history = state.list("run")[0].value
    assert history["status"] == "failed"
    assert "ZeroDivisionError" in next(r["error"] for r in history["results"] if r["name"] == "b")
    assert {d.name: d.status for d in runner.run(steps, state)} == {
        "a": "skipped",
        "b": "made",
        "c": "made",
        "d": "skipped",
    }


def test_a_run_that_was_killed_is_named_so() -> None:
    state = memory()
    state.put("run", "old", {"status": "running", "started_at": "2026-01-01T00:00:00+00:00"})
    runner.run([], state)
    killed = state.get("run", "old")
    assert killed is not None and killed.value["status"] == "killed"


@pytest.mark.fault
def test_two_processes_cannot_run_one_project_and_the_lock_dies_with_its_holder(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from millstream.run.runner import alone\nwith"
        " alone(Path(sys.argv[1])): print('in', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "in\n"
    with pytest.raises(Busy, match=f"process {child.pid}"), runner.alone(tmp_path):
        pass
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    deadline = time.monotonic() + 5
    while True:
        try:
            with runner.alone(tmp_path):
                return
        except Busy:
            assert time.monotonic() < deadline


def test_a_second_up_names_the_first_and_what_to_do(tmp_path: Path) -> None:
    """It said that "another run" was under way."""
    with runner.alone(tmp_path, up=True), pytest.raises(Busy) as caught, runner.alone(tmp_path, up=True):
        pass
    told = str(caught.value)
    assert told.startswith(f"another `millstream up` (process {os.getpid()} since 20") and told.endswith(
        f"stop it first: Ctrl-C in its terminal, or  kill {os.getpid()}"
    )


def test_a_step_that_raises_in_the_users_code_names_their_line() -> None:
    """A reader of a user's own, say: any step in which a line of theirs was at work."""
    step = Fake("a", world={}, errors=[ZeroDivisionError("theirs")])
    (done,) = runner.run([step], memory())
    line = Fake.make.__code__.co_firstlineno + 2
    assert done.status == "failed" and f"table a: ZeroDivisionError: theirs (test_runner.py:{line})" in done.error
    assert "raise self.errors.pop(0)" in done.error and "runner.py:" not in done.error.replace("test_runner.py:", "")
