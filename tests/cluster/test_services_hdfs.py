"""HDFS as `millstream cluster` brings it up: files outlive its stop, a dead namenode, and two dead datanodes of an
erasure-coded folder.
"""

from __future__ import annotations

import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from running_cluster import brought

from millstream.cluster import Cluster

DATA = random.Random(17).randbytes(6 << 20)
"""Several cells of an erasure-coded stripe."""


class WebHdfs:
    """The active namenode's files over HTTP, as any client may reach them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def call(self, method: str, path: str, operation: str, **more: str) -> Any:
        port = next(s.ports[1] for s in self._cluster.status() if s.part == "active")
        words = "&".join([f"op={operation}", "user.name=root", *(f"{k}={v}" for k, v in more.items())])
        request = urllib.request.Request(f"http://127.0.0.1:{port}/webhdfs/v1{path}?{words}", method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"{}")

    def write(self, path: str, data: bytes) -> None:
        place = self.call("PUT", path, "CREATE", noredirect="true", overwrite="true")["Location"]
        with urllib.request.urlopen(
            urllib.request.Request(place, data, {"Content-Type": "application/octet-stream"}, method="PUT"), timeout=60
        ) as answer:
            assert answer.status == 201

    def read(self, path: str) -> bytes:
        place = self.call("GET", path, "OPEN", noredirect="true")["Location"]
        with urllib.request.urlopen(place, timeout=60) as answer:
            return bytes(answer.read())


def until(what: str, holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
        except (OSError, StopIteration, urllib.error.URLError):
            pass
        assert time.monotonic() < deadline, f"it never came to pass: {what}"
        time.sleep(0.2)


@pytest.fixture
def files(ha_cluster: Cluster, ha_hdfs: str) -> Iterator[WebHdfs]:
    yield WebHdfs(ha_cluster)
    ha_cluster.up(["hdfs"])  # whoever was killed comes back


def test_files_outlive_down_and_up(own_cluster: Cluster) -> None:
    url = brought(own_cluster, "hdfs")
    files = WebHdfs(own_cluster)
    files.write("/lake/kept", DATA)
    own_cluster.down()
    own_cluster.up(["hdfs"])
    assert files.read("/lake/kept") == DATA
    assert files.call("GET", "/lake/kept", "GETFILESTATUS")["FileStatus"]["replication"] == 3
    assert url.startswith("hdfs://127.0.0.1:") and url.endswith("/lake")


def test_the_standby_takes_over_and_the_killed_comes_back_as_standby(ha_cluster: Cluster, files: WebHdfs) -> None:
    files.write("/lake/before", DATA)
    killed = ha_cluster.leader("namenode")
    ha_cluster.kill(killed)
    until("the other one is active", lambda: ha_cluster.leader("namenode") != killed)
    assert files.read("/lake/before") == DATA
    files.write("/lake/after", b"written by the new one")
    ha_cluster.restart(killed)
    parts = {s.role: s.part for s in ha_cluster.status() if s.role.startswith("namenode")}
    assert parts[killed] == "standby" and sorted(parts.values()) == ["active", "standby"]


def test_an_erasure_coded_folder_is_read_without_two_of_its_datanodes(ha_cluster: Cluster, files: WebHdfs) -> None:
    files.call("PUT", "/lake/coded", "MKDIRS")
    files.call("PUT", "/lake/coded", "SETECPOLICY", ecpolicy="RS-3-2-1024k")
    files.write("/lake/coded/file", DATA)
    for datanode in ("datanode#1", "datanode#2"):
        ha_cluster.kill(datanode)
    until("it is read whole", lambda: files.read("/lake/coded/file") == DATA)
    ha_cluster.up(["hdfs"])
    for status in [s for s in ha_cluster.status() if s.role in ("datanode#1", "datanode#2")]:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{status.ports[1]}/jmx?qry=Hadoop:service=DataNode,name=DataNodeInfo", timeout=10
        ) as answer:
            # Registered with both namenodes when `up` says that it is ready
            assert answer.read().count(b"RUNNING") == 2


def test_clients_find_it_by_its_environment(ha_cluster: Cluster, ha_hdfs: str) -> None:
    assert ha_cluster.address("hdfs") == f"{ha_hdfs}?conf=.millstream/cluster/conf/hdfs"
    folder = ha_cluster.environment("hdfs")["HADOOP_CONF_DIR"]
    with open(f"{folder}/hdfs-site.xml", encoding="utf-8") as text:
        assert "dfs.ha.namenodes.mycluster" in text.read()
