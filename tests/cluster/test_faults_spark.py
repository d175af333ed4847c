"""What carries Spark's work dies in the middle of it: the table is made once all the same, and is what DuckDB says it
is.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import spark_world  # noqa: F401 - skips where Spark cannot be had
from faults_told import Fault
from running_cluster import brought

from millstream.cluster import Cluster

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1200)]
ROWS = 9_000
UNDER = f"a table of {ROWS * ROWS / 1e6:.0f} M pairs, made on YARN"
FILES = {
    "streams.py": (
        '''
import millstream as ms


class Number(ms.Event):
    """A number."""
    n: int
    ts: ms.EventTime


numbers = ms.stream("numbers", Number, key="n", partitions=1)
ms.source(numbers, ms.read.files("numbers/*.csv"))
'''
    ),
    # Every pair, and arithmetic that no optimiser sees through.
    "tables/pairs.sql": (
        "select a.n % 97 as k, count(*) as pairs, sum(((a.n + 1) * (b.n + 7)) % 1009)::bigint as s from numbers a cross"
        " join numbers b group by all\n"
    ),
}


class Work:
    """The project, and `millstream run` of its table on YARN."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder, self.cluster = folder, cluster
        conf = cluster.environment("hdfs")["HADOOP_CONF_DIR"]
        profile = (
            f'lake = "{cluster.address("hdfs").partition("?")[0]}?conf={conf}"\ncompute ='
            ' "spark://yarn?spark.executor.instances=2&spark.executor.cores=1"\n'
        )
        for name, text in {
            **FILES,
            "millstream.toml": f'[project]\nname = "pairs"\n[profile.cluster]\n{profile}',
        }.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        self.environment = {**os.environ, **cluster.environment()}
        self.words = [sys.executable, "-m", "millstream", "--project", str(folder), "--profile", "cluster"]
        (folder / "numbers").mkdir()
        for half in range(2):  # two commits, so two files, so a task for each executor
            lines = [
                f"{n},2026-01-01T{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}Z\n"
                for n in range(half * ROWS // 2, (half + 1) * ROWS // 2)
            ]
            (folder / "numbers" / f"{half}.csv").write_text("".join(["n,ts\n", *lines]))
            self.verb("run", "numbers", "sources")
        query = FILES["tables/pairs.sql"]
        self.expected = json.loads(
            self.verb("--set", "compute=duckdb", "sql", "--json", "--limit", "0", f"select * from ({query}) order by k")
        )

    def verb(self, *words: str) -> str:
        done = subprocess.run([*self.words, *words], env=self.environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout

    def start(self) -> subprocess.Popen[bytes]:
        self.said = (self.folder / "run.log").open("ab")
        return subprocess.Popen(
            [*self.words, "run", "pairs", "--force"], env=self.environment, stdout=self.said, stderr=self.said
        )

    def version(self) -> int:
        """How often the table was made, less one."""
        return int(
            {t["table"]: t["version"] for t in json.loads(self.verb("show", "tables", "--json"))}.get("pairs", -1)
        )

    def working(self, run: subprocess.Popen[bytes]) -> list[psutil.Process]:
        """Waits until executors work, and a while more; returns them."""
        busy = 0.0
        while busy < 4:
            assert run.poll() is None, (self.folder / "run.log").read_text()[-3000:]
            found = executors(self.cluster)
            busy = busy + 0.5 if len(found) >= 2 and sum(p.cpu_percent() for p in found) > 30 else 0.0
            time.sleep(0.5)
        return found

    def proof(self, before: int) -> int:
        """The table is right, and was made once more than before. Rows that were read for it."""
        assert (
            json.loads(
                self.verb("--set", "compute=duckdb", "sql", "--json", "--limit", "0", "select * from pairs order by k")
            )
            == self.expected
        )
        assert self.version() == before + 1
        self.verb("verify")
        return ROWS


_known: dict[int, psutil.Process] = {}


def executors(cluster: Cluster, node: str = "") -> list[psutil.Process]:
    """Of Spark, on the nodes of this cluster, or on one. The same objects again, since a process's load is measured
    between two looks.
    """
    found, below = [], f"{cluster.folder}/data/{node}"
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if (
                process.cwd().startswith(below)
                and process.name() == "java"
                and any("CoarseGrainedExecutorBackend" in word for word in process.cmdline())
            ):
                found.append(_known.setdefault(process.pid, process))
    return found


@pytest.fixture(scope="module")
def work(ha_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    brought(ha_cluster, "spark", "yarn", "hdfs", ha=True)
    made = Work(tmp_path_factory.mktemp("pairs"), ha_cluster)
    began = time.monotonic()
    run = made.start()
    assert run.wait(900) == 0, (made.folder / "run.log").read_text()[-3000:]
    made.seconds = time.monotonic() - began  # type: ignore[attr-defined]
    made.proof(made.version() - 1)
    yield made
    ha_cluster.up(["yarn", "hdfs"], ha=True)


def goes_on(work: Work, told: Callable[[Fault], None], killed: str, die: Callable[[], Any]) -> None:
    """The run is not even told."""
    before, began = work.version(), time.monotonic()
    run = work.start()
    work.working(run)
    die()
    assert run.wait(900) == 0, (work.folder / "run.log").read_text()[-3000:]
    took = time.monotonic() - began
    work.cluster.up(["yarn", "hdfs"], ha=True)
    usual: float = work.seconds  # type: ignore[attr-defined]
    told(
        Fault(
            killed, UNDER, max(0.0, took - usual), f"the run took so much longer than {usual:.0f} s", work.proof(before)
        )
    )


@pytest.mark.long
def test_the_active_resource_manager_dies(work: Work, fault_told: Callable[[Fault], None]) -> None:
    leader = work.cluster.leader("resourcemanager")
    goes_on(work, fault_told, f"the active resource manager ({leader})", lambda: work.cluster.kill(leader))


@pytest.mark.long
def test_a_node_manager_dies_with_its_executors(work: Work, fault_told: Callable[[Fault], None]) -> None:
    """As a machine does: the daemon, and the executors that ran on it."""

    def die() -> None:
        on_it = executors(work.cluster, "nodemanager1/")
        work.cluster.kill("nodemanager#1")
        for process in on_it:
            process.kill()

    goes_on(work, fault_told, "a node manager (nodemanager#1) and its executors", die)


@pytest.mark.long
def test_the_driver_dies(work: Work, fault_told: Callable[[Fault], None]) -> None:
    """Nothing was committed, nothing is left on YARN, and the next run makes it."""
    before = work.version()
    run = work.start()
    work.working(run)
    children = psutil.Process(run.pid).children(recursive=True)
    began = time.monotonic()
    for process in [psutil.Process(run.pid), *children]:
        process.send_signal(signal.SIGKILL)
    run.wait(60)
    assert work.version() == before
    again = work.start()
    assert again.wait(900) == 0, (work.folder / "run.log").read_text()[-3000:]
    seconds = time.monotonic() - began
    while running(work.cluster):
        assert time.monotonic() - began < 300, "the dead driver's application holds its executors"
        time.sleep(1)
    fault_told(Fault("Spark's driver, with its process", UNDER, seconds, "made by the next run", work.proof(before)))


def running(cluster: Cluster) -> list[str]:
    """Applications that YARN still runs."""
    address = next(s for s in cluster.status() if s.role == cluster.leader("resourcemanager")).ports
    for port in address:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}/ws/v1/cluster/apps?states=RUNNING,ACCEPTED", timeout=5
            ) as answer:
                apps = json.loads(answer.read()).get("apps") or {}
                return [app["id"] for app in apps.get("app", [])]
        except (OSError, ValueError):
            continue
    raise AssertionError("no resource manager answers over HTTP")
