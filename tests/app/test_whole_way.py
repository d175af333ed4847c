"""One event's whole way, as a user goes it: files, run, up, the client, kills in the middle, labels, experiment,
monitors, trace, verify.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from whole_way_project import END, LIVE, history, write

from millstream.client import Client, Receipt
from millstream.declare.load import load

pytestmark = [pytest.mark.fault, pytest.mark.timeout(400)]


class World:
    """The project, its server, and what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder, history()
        write(folder, self.said)
        self.answers: dict[str, Any] = {}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "millstream", "--project", str(self.folder), *words]

    def verb(self, *words: str, code: int = 0) -> Any:
        done = subprocess.run(self.command(*words, "--json"), capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def live(self, kills: int) -> None:
        """A day of events and requests against `up`, whose parts are killed meanwhile."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with (self.folder / "up.log").open("wb") as log:
            up = subprocess.Popen(
                self.command("--set", f"serve.port={port}", "up", "--no-console"), stdout=log, stderr=log
            )
        try:
            ready(f"http://127.0.0.1:{port}/readyz", up)
            self._day(f"http://127.0.0.1:{port}", up.pid, kills)
            self._settle()
        finally:
            up.send_signal(signal.SIGINT)
            assert up.wait(30) == 0, (self.folder / "up.log").read_text()[-3000:]

    def _day(self, url: str, up: int, kills: int) -> None:
        project = load(str(self.folder))
        dice = random.Random(3)
        steps = [LIVE + timedelta(minutes=10 * i) for i in range(int((END - LIVE) / timedelta(minutes=10)))]
        deadly = set(dice.sample(range(5, len(steps) - 5), kills))
        with Client(url, history=True, retry_for=timedelta(seconds=60)) as client:
            for number, start in enumerate(steps):
                receipts: list[Receipt] = []
                due = {
                    name: [row for row in rows if start <= row["ts"] < start + timedelta(minutes=10)]
                    for name, rows in self.said.items()
                }
                for name, rows in due.items():
                    stream = project.streams[name]
                    if rows:
                        ids = [f"{name}-{row['visit_id']}" for row in rows]
                        receipts.append(client.send(stream, [stream.event(**row) for row in rows], ids=ids))
                for row in due["visits"]:
                    decision = client.predict(
                        project.endpoints["buy"], project.streams["visits"].event(**row), after=receipts
                    )
                    self.answers[row["visit_id"]] = decision
                if number in deadly:
                    parts = [p for p in psutil.Process(up).children() if "part" in p.cmdline()]
                    dice.choice(parts).send_signal(signal.SIGKILL)

    def _settle(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            state = self.verb("show", "endpoint", "buy")
            if state["decisions"] >= len(self.answers) and state["unjudged"] == 0 and state["outcomes"]:
                return
            time.sleep(0.3)
        raise AssertionError((self.folder / "up.log").read_text()[-3000:])


def ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise AssertionError("the server never was ready")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    pytest.importorskip("sklearn")
    made = World(tmp_path_factory.mktemp("whole") / "shop")
    done = made.verb("run")
    assert {row["status"] for row in done} == {"made"}, done
    made.live(kills=4)
    yield made


def test_every_event_counts_once_whatever_was_killed(world: World) -> None:
    reports = {r["stream"]: r for r in world.verb("verify")}
    assert all(r["ok"] for r in reports.values())
    for name, rows in world.said.items():
        found = world.verb("sql", "--limit", "0", f"select visit_id as id from {name} order by id")
        wanted = sorted(row["visit_id"] for row in rows if row["ts"] < END)
        assert [row["id"] for row in found] == wanted, name
    told = world.verb("sql", "--limit", "0", "select decision_id from buy_decisions")
    landed = {row["decision_id"] for row in told}
    # A request that was tried again after a kill may have made a decision that nobody saw; none that was answered is
    # lost.
    assert {d.decision_id for d in world.answers.values()} <= landed and len(told) == len(landed) <= len(
        world.answers
    ) + 8


def test_what_online_said_is_what_offline_says(world: World) -> None:
    checks = {(r["monitor"], r["check"]): r for r in world.verb("monitor")}
    skew = next(r for (_, check), r in checks.items() if check == "skew")
    assert skew["status"] == "ok" and skew["details"]["values"] == 9 * len(world.answers), (
        skew
    )  # with the derived column
    performance = next(r for (_, check), r in checks.items() if check == "performance")
    assert performance["status"] == "ok" and performance["value"] > 0.55, performance
    assert {r["status"] for (_, check), r in checks.items() if check in ("rows", "contract")} == {"ok"}


def test_the_experiments_know_their_units_and_rewards(world: World) -> None:
    found = {e["name"]: e for e in world.verb("experiment", "show")}
    users = {row["visit_id"]: row["user"] for row in world.said["visits"]}
    for name, experiment in found.items():
        for arm in experiment["arms"]:
            seen = {users[visit] for visit, d in world.answers.items() if d.experiment == name and d.arm == arm["arm"]}
            assert arm["units"] == len(seen), (name, arm)
    taken = {visit for visit, d in world.answers.items() if d.experiment}
    outside = [d for visit, d in world.answers.items() if visit not in taken]
    assert outside and {d.model for d in outside} == {"keen"} and found["buy_ab"]["srm"]["ok"]
    # The reward of each mature decision, worked out by hand.
    sold = {row["visit_id"] for row in world.said["purchases"] if row["ts"] < END}
    rewards = world.verb(
        "sql",
        "--limit",
        "0",
        "select visit_id, prediction, outcome, reward from buy_outcomes where experiment is not null",
    )
    assert len(rewards) > 200
    for row in rewards:
        assert row["outcome"] == float(row["visit_id"] in sold)
        assert row["reward"] == pytest.approx(1 - (row["prediction"] - row["outcome"]) ** 2, abs=1e-12)


def test_a_prediction_is_traced_to_its_events_and_their_lines(world: World) -> None:
    visit, decision = next(
        (v, d)
        for v, d in world.answers.items()
        if any(p["user"] == user_of(world, v) and p["ts"] < LIVE for p in world.said["purchases"])
    )
    moment = next(row["ts"] for row in world.said["visits"] if row["visit_id"] == visit)
    found = world.verb("trace", decision.decision_id)
    feature = next(f for f in found["features"] if f["column"] == "bought__spend_2d")
    start = datetime.fromisoformat(feature["start"])
    naive = [p for p in world.said["purchases"] if p["user"] == user_of(world, visit) and start <= p["ts"] < moment]
    assert feature["count"] == len(naive) and feature["value"] == pytest.approx(sum(p["price"] for p in naive))
    lines = (world.folder / "data" / "purchases.csv").read_text().splitlines()
    checked = 0
    for row in feature["rows"]:
        when = datetime.fromisoformat(row["time"])
        if when < LIVE:
            place, _, line = row["source"].rpartition(":")
            assert place.endswith("data/purchases.csv") and when.isoformat() in lines[int(line) - 1]
            checked += 1
        held = pq.read_table(
            world.folder / ".millstream" / "lake" / row["file"], columns=["_partition", "_offset"]
        ).to_pylist()
        assert {"_partition": row["partition"], "_offset": row["offset"]} in held
    assert checked and found["model"]["model"] == decision.model


def user_of(world: World, visit: str) -> str:
    return str(next(row["user"] for row in world.said["visits"] if row["visit_id"] == visit))


def test_everything_is_brought_up_to_date_and_a_change_makes_only_what_it_must(world: World) -> None:
    world.verb("run")
    assert {row["status"] for row in world.verb("run")} == {"skipped"}
    path = world.folder / "tables" / "user_days.sql"
    path.write_text(
        path.read_text().replace("count(*) as visits", "count(*) as visits, count(distinct device) as devices")
    )
    stale = [a for a in world.verb("plan")["assets"] if a["stale"]]
    assert [a["name"] for a in stale] == ["user_days"] and stale[0]["rows"] > 1000 and stale[0]["bytes"] > 1000
    assert {row["name"] for row in world.verb("run") if row["status"] == "made"} == {"user_days"}
    os.utime(path)
    assert {row["status"] for row in world.verb("run")} == {"skipped"}
