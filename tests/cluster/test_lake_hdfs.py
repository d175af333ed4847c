"""A lake on HDFS: the sink's suite, upkeep, queries; and namenodes and datanodes that die under a sink's commits."""

from __future__ import annotations

import re
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from faults_told import Fault
from sqlite_sink import SqliteSinkContract

from millstream.base import points
from millstream.cluster import Cluster
from millstream.engines.duckdb.sql import DuckDbSql
from millstream.engines.hdfs.files import HdfsFiles
from millstream.engines.hdfs.place import Place
from millstream.engines.sqlite.log import SqliteLog
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.engines.sqlite.state import SqliteState
from millstream.lake import clean, compact
from millstream.lake.contract import READINGS, ids, ids_of, proven, put, rows_in
from millstream.lake.lake import Lake
from millstream.lake.maintain import maintain
from millstream.lake.port import Files
from millstream.lake.sink import Sink, SinkLimits

SINK = "a sink's commits, one after the other"


def told(cluster: Cluster) -> str:
    return f"conf={cluster.environment('hdfs')['HADOOP_CONF_DIR']}"


class TestSinkOfSqliteAndHdfs(SqliteSinkContract):
    @pytest.fixture
    def files(self, hdfs: str, cluster: Cluster) -> Files:
        return HdfsFiles(f"{hdfs}/{uuid.uuid4()}?{told(cluster)}")


class World:
    """A log on this machine, a lake on HDFS, a sink that commits whatever there is."""

    def __init__(self, folder: Path, url: str) -> None:
        self.schemas = SqliteSchemas(f"sqlite:{folder}/log.db")
        self.log = SqliteLog(f"sqlite:{folder}/log.db", self.schemas)
        self.state = SqliteState(f"sqlite:{folder}/state.db")
        self.sql = DuckDbSql("duckdb", folder / "scratch")
        self.lake = Lake(HdfsFiles(url))
        self.sent = 0
        self.send(1)
        self.sink = Sink(self.log, self.schemas, self.lake, READINGS, limits=SinkLimits(age=timedelta(milliseconds=1)))

    def send(self, rows: int) -> None:
        put(self.log, self.schemas, self.sent % 3, *range(self.sent, self.sent + rows))
        self.sent += rows

    def commits(self, number: int, rows: int = 10) -> list[float]:
        """Send and land, so many times; the seconds that each took."""
        took = []
        for _ in range(number):
            self.send(rows)
            began = time.monotonic()
            self.sink.drain()
            took.append(time.monotonic() - began)
        return took

    def proof(self) -> None:
        """0 lost, 0 doubled, by `verify` and by the ids."""
        assert proven(self.lake, self.log).rows == self.sent
        assert ids(self.lake) == ids_of(*range(self.sent))

    def query(self, sql: str) -> list[dict[str, Any]]:
        return self.sql.query(sql, {"readings": self.lake.table("readings").snapshot()}).read_all().to_pylist()

    def close(self) -> None:
        self.sink.close()
        self.sql.close()
        self.log.close()
        self.state.close()


@pytest.fixture
def world(tmp_path: Path, hdfs: str, cluster: Cluster) -> Iterator[World]:
    made = World(tmp_path, f"{hdfs}/{uuid.uuid4()}?{told(cluster)}")
    yield made
    made.close()


@pytest.fixture
def ha(tmp_path: Path, ha_hdfs: str, ha_cluster: Cluster) -> Iterator[World]:
    """On two namenodes and five datanodes, with `plain` folders replicated, and the option given for others."""
    made = World(tmp_path, f"{ha_hdfs}/{uuid.uuid4()}?{told(ha_cluster)}")
    yield made
    made.close()


def whole(cluster: Cluster, url: str) -> float:
    """Wait until every block below has all its shards or copies; returns the seconds. A namenode places fewer when a
    datanode is busy, and adds them later.
    """
    began, place = time.monotonic(), Place.read(url)
    address = place.web()[int(cluster.leader("namenode").partition("#")[2]) - 1]
    while time.monotonic() - began < 120:
        with urllib.request.urlopen(f"http://{address}/fsck?ugi=root&path={place.path}") as answer:
            lacking = re.findall(
                r"(?:Under-erasure-coded|Under-replicated|Missing) block[ a-z]*:\s*(\d+)", answer.read().decode()
            )
        assert lacking
        if set(lacking) == {"0"}:
            return time.monotonic() - began
        time.sleep(0.5)
    raise AssertionError(f"blocks below {place.path} stay without some of their copies")


@contextmanager
def doing(at: str, what: Callable[[], object], times: int) -> Iterator[None]:
    """Do something when a commit comes to a point for the `times`th time."""
    left = [times]

    def handler(point: str) -> None:
        if point == at:
            left[0] -= 1
            if left[0] == 0:
                what()

    end = points.watch(handler)
    try:
        yield
    finally:
        end()
    assert left[0] <= 0, f"never came to {at}"


def test_upkeep_and_queries(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "AT_LEAST", (4, 4, 4))
    monkeypatch.setattr(clean, "AT_MOST", 20)
    monkeypatch.setattr(clean, "SLACK", 0)
    monkeypatch.setattr(clean, "_SURELY", timedelta(0))
    world.commits(40)
    table = world.lake.table("readings")
    old = table.version - 5
    table.pin(old, "a test")
    done = maintain(world.lake, "readings", world.state, "me")
    assert done.checkpoint == 40 and done.joined == 40 and done.folded > 0
    world.commits(25)
    assert maintain(world.lake, "readings", world.state, "me").cleaned > 30
    later = time.time() + 8 * 86400
    removed = clean.vacuum(world.lake.table("readings"), later)
    assert removed > 0
    world.proof()
    assert world.query("select count(*) as n, min(n) as least, max(n) as most from readings") == [
        {"n": world.sent, "least": 0, "most": world.sent - 1}
    ]
    assert len(rows_in(table.at(old))) == table.at(old).rows()
    pinned = (
        world.sql.query("select count(*) as n from readings", {"readings": table.at(old).snapshot()})
        .read_all()
        .to_pylist()
    )
    assert pinned == [{"n": table.at(old).rows()}]


@pytest.mark.fault
@pytest.mark.parametrize("point", ["sink.read", "sink.files", "commit.linked"])
def test_the_active_namenode_dies_in_a_commit(
    ha: World, ha_cluster: Cluster, point: str, fault_told: Callable[[Fault], None]
) -> None:
    killed: list[str] = []
    before = ha.commits(5)
    with doing(point, lambda: killed.extend(ha_cluster.kill(ha_cluster.leader("namenode"))), times=3):
        took = ha.commits(12)
    ha.proof()
    assert ha.query("select count(*) as n from readings") == [{"n": ha.sent}]
    ha_cluster.restart(killed[0])
    fault_told(
        Fault(
            f"the active namenode ({killed[0]}), at {point}",
            SINK,
            max(took),
            f"slowest commit; before {sorted(before)[2]:.2f} s",
            ha.sent,
        )
    )


@pytest.mark.fault
@pytest.mark.parametrize("option", ["", "&ec=RS-3-2-1024k"])
def test_a_datanode_dies_under_a_sink(
    tmp_path: Path, ha_hdfs: str, ha_cluster: Cluster, option: str, fault_told: Callable[[Fault], None]
) -> None:
    ha = World(tmp_path, f"{ha_hdfs}/{uuid.uuid4()}?{told(ha_cluster)}{option}")
    before = ha.commits(5)
    victim = f"datanode#{2 if option else 4}"
    with doing("sink.files", lambda: ha_cluster.kill(victim), times=2):
        took, end = ha.commits(2), time.monotonic() + 16  # past the moment at which the namenode gives it up
        while time.monotonic() < end:
            took += ha.commits(1)
    ha.proof()
    ha_cluster.restart(victim)
    ha.close()
    of = "erasure-coded" if option else "replicated"
    fault_told(
        Fault(
            f"a datanode ({victim}) of {of} tables",
            SINK,
            max(took),
            f"slowest commit; before {sorted(before)[2]:.2f} s",
            ha.sent,
        )
    )


@pytest.mark.fault
def test_two_datanodes_of_a_group_die_and_all_is_read_back(
    tmp_path: Path, ha_hdfs: str, ha_cluster: Cluster, fault_told: Callable[[Fault], None]
) -> None:
    url = f"{ha_hdfs}/{uuid.uuid4()}?{told(ha_cluster)}&ec=RS-3-2-1024k"
    ha = World(tmp_path, url)
    ha.commits(3, rows=100)  # shorter than a cell
    ha.commits(2, rows=500_000)  # several cells
    whole(ha_cluster, url)
    for victim in ("datanode#1", "datanode#5"):
        ha_cluster.kill(victim)
    began = time.monotonic()
    ha.proof()
    read = time.monotonic() - began
    assert ha.query("select count(*) as n from readings") == [{"n": ha.sent}]
    ha_cluster.up(["hdfs"], ha=True)
    repaired = whole(ha_cluster, url)
    ha.close()
    fault_told(Fault("two datanodes of an RS-3-2 group", "reading all back", read, "rows read and proven", ha.sent))
    fault_told(
        Fault("two datanodes of an RS-3-2 group", "nothing", repaired, "both back, every shard whole again", ha.sent)
    )
