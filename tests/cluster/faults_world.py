"""A small shop on a whole cluster: `millstream up`, posts and requests all the time, and everything that was accepted
remembered.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil

from millstream.base.errors import MillstreamError
from millstream.client import Client, Receipt
from millstream.cluster import Cluster
from millstream.features.define import define
from millstream.lake.positions import app_id
from millstream.run.workspace import Workspace

BATCH, REQUESTS = 100, 5
PATIENCE_S = 240.0
PROJECT = {
    "streams.py": (
        '''
import millstream as ms
from millstream import agg, assign


class Visit(ms.Event):
    """Somebody opens the shop."""
    visit_id: str
    user: str
    n: int
    ts: ms.EventTime


class Sale(ms.Event):
    """A visit became a sale."""
    visit_id: str
    ts: ms.EventTime


class Ask(ms.Event):
    """Which price is to be shown?"""
    visit_id: str
    user: str
    ts: ms.EventTime


visits = ms.stream("visits", Visit, key="user", partitions=3, dedupe="visit_id")
sales = ms.stream("sales", Sale, key="visit_id", dedupe="visit_id")
for s in (visits, sales):
    ms.source(s, ms.read.http())
came = ms.features("came", visits, key="user", windows=["2d"], aggregates={"times": agg.count(), "sum": agg.sum("n")})
sold = ms.outcome(sales, on="visit_id", within="1m", otherwise=False)
prices = ms.experiment("prices", arms={"low": 1.0, "high": 2.0}, unit="user", assign=assign.thompson(floor=0.1),
                       reward=sold)
price = ms.endpoint("price", prices, request=Ask)
'''
    )
}


@dataclass
class Sent:
    """A batch of events: when its first sending began, and when it stood in the lake and in the online store."""

    began: float
    receipt: Receipt
    landed: float | None = None
    applied: float | None = None

    def seconds(self) -> float:
        assert self.landed is not None and self.applied is not None
        return max(self.landed, self.applied) - self.began


@dataclass
class Counts:
    """What is there beside what was accepted."""

    rows: int
    lost: int
    doubled: int
    features_differ: int


@dataclass
class Shop:
    """The project, its `up`, its load, and who watches how far things are.

    `prove` stops the load for as long as it takes to let everything arrive, so that what was accepted can be compared
    with what is there.
    """

    folder: Path
    cluster: Cluster
    batches: list[Sent] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)
    numbers: int = 0
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        profile = {
            key: url
            for key, url in self.cluster.profile().items()
            if key in ("log", "registry", "lake", "online", "state")
        }
        conf = self.cluster.environment("hdfs")["HADOOP_CONF_DIR"]
        profile["lake"] = f"{profile['lake'].partition('?')[0]}?conf={conf}&ec.visits=RS-3-2-1024k"
        port = self.cluster.site.port + 990
        lines = [f'{key} = "{url}"' for key, url in profile.items()]
        PROJECT_FILES = {
            **PROJECT,
            "millstream.toml": "\n".join(
                ['[project]\nname = "shop"\n[profile.cluster]', *lines, f"[serve]\nport = {port}\n"]
            ),
        }
        for name, text in PROJECT_FILES.items():
            (self.folder / name).write_text(text)
        self.log = (self.folder / "up.log").open("wb")
        self.words = [sys.executable, "-m", "millstream", "--project", str(self.folder), "--profile", "cluster"]
        self.up = subprocess.Popen([*self.words, "up", "--no-console"], stdout=self.log, stderr=self.log)
        self.workspace = Workspace.open(str(self.folder), "cluster")
        self.visits = self.workspace.project.streams["visits"]
        self.generation = define(self.workspace.project.features["came"], self.workspace.project.params).generation
        self.url, self.going, self.ended = f"http://127.0.0.1:{port}", threading.Event(), threading.Event()
        self._until("the server answers", lambda: httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200)
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self._load, self._ask, self._watch)]
        self.idle = [threading.Event(), threading.Event()]
        for thread in self.threads:
            thread.start()
        self.going.set()
        self._until("events arrive", lambda: any(sent.applied and sent.landed for sent in self.batches))

    # -- load
    # ------------------------------------------------------------------------------------------------------------

    def _client(self) -> Client:
        return Client(self.url, retry_for=timedelta(seconds=PATIENCE_S))

    def _load(self) -> None:
        client, visit = self._client(), self.visits.event
        while not self.ended.is_set():
            if not self._may(0):
                continue
            first, began = self.numbers, time.monotonic()
            events = [
                visit(visit_id=f"v{n}", user=f"u{n % 97}", n=n, ts=datetime.now(UTC))
                for n in range(first, first + BATCH)
            ]
            try:
                receipt = client.send(self.visits, events)
            except MillstreamError as error:
                self.errors.append(str(error))
                continue
            self.numbers += BATCH
            self.batches.append(Sent(began, receipt))
            self.ended.wait(max(0.0, 0.1 - (time.monotonic() - began)))

    def _ask(self) -> None:
        client, endpoint, n = self._client(), self.workspace.project.endpoints["price"], 0
        request = endpoint.request
        assert request is not None
        while not self.ended.is_set():
            if not self._may(1):
                continue
            for _ in range(REQUESTS):
                n += 1
                try:
                    self.decisions.append(
                        client.predict(
                            endpoint, request(visit_id=f"v{n}", user=f"u{n % 97}", ts=datetime.now(UTC))
                        ).decision_id
                    )
                except MillstreamError as error:
                    self.errors.append(str(error))
            self.ended.wait(0.1)

    def _may(self, which: int) -> bool:
        if self.going.is_set():
            return True
        self.idle[which].set()
        self.ended.wait(0.05)
        return False

    # -- watching
    # --------------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        done = 0
        while not self.ended.is_set():
            landed, applied, now = self._positions("lake"), self._positions("online"), time.monotonic()
            for sent in self.batches[done:]:
                if sent.landed is None and _covers(landed, sent.receipt):
                    sent.landed = now
                if sent.applied is None and _covers(applied, sent.receipt):
                    sent.applied = now
            while done < len(self.batches) and self.batches[done].landed and self.batches[done].applied:
                done += 1
            self.ended.wait(0.1)

    def _positions(self, where: str) -> dict[int, int]:
        ws = self.workspace
        with suppress(MillstreamError, OSError):
            if where == "online":
                found = ws.online.applied(self.generation)
                return dict(found.offsets) if found else {}
            topic = ws.log.topic("visits")
            if topic and ws.lake.exists("visits"):
                table = ws.lake.table("visits")
                return {p: table.position(app_id(topic, p)) or 0 for p in range(topic.partitions)}
        return {}

    def slowest(self, since: float) -> float:
        """Seconds that the slowest batch took whose sending began less than a second before `since` or after it, all of
        which must arrive.
        """
        mine = [sent for sent in list(self.batches) if sent.began >= since - 1]
        assert mine
        self._until("what was accepted arrives", lambda: all(sent.landed and sent.applied for sent in mine))
        return max(sent.seconds() for sent in mine)

    # -- faults
    # ----------------------------------------------------------------------------------------------------------

    def calm(self) -> None:
        """Wait until what arrives does so in a few seconds again."""

        def well() -> bool:
            last = self.batches[-30:-20]
            return bool(last) and all(sent.landed and sent.applied and sent.seconds() < 6 for sent in last)

        self._until("calm", well)

    def part(self, name: str) -> int:
        """The process of a part of `up`."""
        for child in psutil.Process(self.up.pid).children():
            if child.cmdline()[-1:] == [name]:
                return child.pid
        raise AssertionError(f"{name} does not run")

    def prove(self) -> Counts:
        """Let everything arrive, then compare, and let the load continue."""
        for idle in self.idle:
            idle.clear()
        self.going.clear()
        try:
            self._until("the load stands still", lambda: all(idle.is_set() for idle in self.idle))
            self._until(
                "all is there",
                lambda: (
                    all(sent.landed and sent.applied for sent in self.batches) and self._asked() >= len(self.decisions)
                ),
            )
            assert not self.errors, self.errors[:3]
            verified = subprocess.run([*self.words, "verify", "--json"], capture_output=True, text=True, timeout=300)
            assert verified.returncode == 0, verified.stdout + verified.stderr
            assert all(report["ok"] for report in json.loads(verified.stdout))
            return self._counts()
        finally:
            self.going.set()

    def _asked(self) -> int:
        with suppress(MillstreamError, OSError):
            if self.workspace.lake.exists("price_decisions"):
                return self.workspace.lake.table("price_decisions").rows()
        return 0

    def _counts(self) -> Counts:
        there = [str(row["visit_id"]) for row in self._rows("visits", "visit_id")]
        decided = [str(row["decision_id"]) for row in self._rows("price_decisions", "decision_id")]
        sent, asked = {f"v{n}" for n in range(self.numbers)}, set(self.decisions)
        # An answer that never reached us was decided all the same: more decisions than we know of are not a fault, the
        # same one twice is.
        lost = len(sent - set(there)) + len(asked - set(decided))
        doubled = len(there) - len(set(there)) + len(decided) - len(set(decided))
        assert not set(there) - sent
        return Counts(len(there) + len(decided), lost, doubled, self._differing())

    def _differing(self) -> int:
        """Users whose features online are not what the lake says."""
        ws = self.workspace
        wanted = {
            r["user"]: (r["times"], r["sum"])
            for r in self._rows("visits", "user, count(*) as times, sum(n)::bigint as sum", "group by user")
        }
        reader = ws.online.reader([(define(ws.project.features["came"], ws.project.params), ["user"], "came")])
        found = {user: reader({"user": user}, time.time_ns() // 1000).values for user in wanted}
        return sum(
            (found[user]["came__times_2d"], found[user]["came__sum_2d"]) != expected
            for user, expected in wanted.items()
        )

    def _rows(self, table: str, what: str, rest: str = "") -> list[dict[str, Any]]:
        snapshot = self.workspace.lake.table(table).snapshot()
        return self.workspace.sql.query(f"select {what} from {table} {rest}", {table: snapshot}).read_all().to_pylist()

    def _until(self, what: str, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert self.up.poll() is None, (self.folder / "up.log").read_text()[-3000:]
            with suppress(httpx.TransportError):
                if holds():
                    return
            assert time.monotonic() < deadline, (
                f"it never came to pass: {what}\n" + (self.folder / "up.log").read_text()[-3000:]
            )
            time.sleep(0.1)

    def close(self) -> None:
        self.ended.set()
        self.going.set()
        for thread in self.threads:
            thread.join(PATIENCE_S)
        self.up.send_signal(signal.SIGTERM)
        try:
            self.up.wait(60)
        finally:
            self.up.kill()
        self.workspace.close()
        self.log.close()


def _covers(positions: dict[int, int], receipt: Receipt) -> bool:
    return all(positions.get(partition, 0) >= end for partition, end in receipt.offsets.items())


def kill_process(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
