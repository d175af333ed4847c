"""HDFS passes the suite of the files port, and keeps what only it promises."""

from __future__ import annotations

import json
import os
import random
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import pyarrow as pa
import pytest

from millstream.base.errors import ConfigError, Full, Unreachable, WorkFailed
from millstream.cluster import Cluster
from millstream.engines.hdfs import streams
from millstream.engines.hdfs.files import HdfsFiles
from millstream.engines.hdfs.place import Place
from millstream.lake import patience
from millstream.lake.contract import ROWS, FilesContract, rows_in
from millstream.lake.lake import Lake
from millstream.lake.port import Files


def told(cluster: Cluster) -> str:
    """The option that leads to the cluster, whatever HADOOP_CONF_DIR says."""
    return f"conf={cluster.environment('hdfs')['HADOOP_CONF_DIR']}"


@pytest.fixture
def url(hdfs: str, cluster: Cluster) -> str:
    """An empty folder of the small cluster."""
    return f"{hdfs}/{uuid.uuid4()}?{told(cluster)}"


@pytest.fixture
def ha_url(ha_hdfs: str, ha_cluster: Cluster) -> str:
    return f"{ha_hdfs}/{uuid.uuid4()}?{told(ha_cluster)}"


class TestHdfsFiles(FilesContract):
    @pytest.fixture
    def files(self, url: str) -> Iterator[Files]:
        self.url = url
        yield HdfsFiles(url)

    def again(self, files: Files) -> Files:
        return HdfsFiles(self.url)

    def test_a_large_file_passes_through_the_disk(self, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streams, "IN_MEMORY", 1 << 20)
        content = random.Random(1).randbytes(21 << 20)  # more than one block
        self.write(files, "large", content)
        with self.again(files).open("large") as file:
            assert file.read() == content

    def test_any_place_of_a_file_is_read(self, files: Files) -> None:
        chance = random.Random(2)
        content = chance.randbytes(3 << 20)
        self.write(files, "t/x", content)
        with files.open("t/x") as file:
            for _ in range(50):
                at, length = chance.randrange(len(content)), chance.randrange(200_000)
                assert file.seek(at) == at and file.read(length) == content[at : at + length]
            assert file.seek(0, os.SEEK_END) == len(content) and file.read(1) == b""

    def test_a_forked_child_is_told_instead_of_waiting_for_ever(self, files: Files) -> None:
        child = os.fork()
        if child == 0:
            try:
                HdfsFiles(self.url)
            except WorkFailed:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7

    def test_a_folder_beyond_its_quota_is_full(self, files: Files) -> None:
        self.write(files, "q/x", b"abc")
        place = Place.read(self.url)
        _web(
            place,
            f"{place.path}/q",
            "PUT",
            op="SETQUOTA",
            namespacequota="9223372036854775807",
            storagespacequota=str(1 << 20),
        )
        with pytest.raises(Full, match="no room"):
            self.write(files, "q/y", b"x" * (2 << 20))


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE", timedelta(milliseconds=300))


@pytest.mark.usefixtures("hasty")
def test_nobody_there() -> None:
    files = HdfsFiles("hdfs://127.0.0.1:1/lake")
    with pytest.raises(Unreachable, match=r"hdfs://127\.0\.0\.1:1/lake does not answer"):
        files.list("")
    with pytest.raises(Unreachable):
        Lake(files).names()


@pytest.mark.usefixtures("hasty")
def test_a_standby_alone_is_nobody(ha_hdfs: str, ha_cluster: Cluster) -> None:
    place = Place.read(f"{ha_hdfs}?{told(ha_cluster)}")
    standby = ha_cluster.leader("namenode", "standby").partition("#")[2]
    address = place.config[f"dfs.namenode.rpc-address.{place.authority}.nn{standby}"]
    with pytest.raises(Unreachable, match="StandbyException"):
        HdfsFiles(f"hdfs://{address}/lake").list("")


def test_a_nameservice_is_found_by_its_namenodes_alone(
    ha_hdfs: str, ha_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place.read(f"{ha_hdfs}?{told(ha_cluster)}")
    hosts = ",".join(value for key, value in place.config.items() if key.startswith("dfs.namenode.rpc-address."))
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    with pytest.raises(ConfigError, match="no namenode"):
        HdfsFiles(ha_hdfs)
    files = HdfsFiles(f"{ha_hdfs}/{uuid.uuid4()}?namenodes={hosts}")
    table = Lake(files).create("t", ROWS)
    table.append([pa.record_batch({"x": [1], "name": ["a"]}, schema=ROWS)])
    assert rows_in(Lake(files).table("t")) == [{"x": 1, "name": "a"}]


def test_a_table_is_erasure_coded_when_the_url_says_so(ha_url: str) -> None:
    files = HdfsFiles(f"{ha_url}&ec.coded=RS-3-2-1024k")
    lake, place = Lake(files), Place.read(ha_url)
    for name in ("coded", "plain", "coded"):
        table = lake.create(name, ROWS)
        table.append([pa.record_batch({"x": [1], "name": ["a"]}, schema=ROWS)])
        assert rows_in(lake.table(name))
        lake.drop(name)
    for name in ("coded", "plain"):
        lake.create(name, ROWS)
    assert _web(place, f"{place.path}/coded", "GET", op="GETECPOLICY")["name"] == "RS-3-2-1024k"
    assert not _web(place, f"{place.path}/plain", "GET", op="GETECPOLICY")


def test_a_policy_that_is_not_enabled_is_told_with_the_way_out(ha_url: str) -> None:
    with pytest.raises(ConfigError, match=r"RS-10-4-1024k.*hdfs ec -setPolicy"):
        Lake(HdfsFiles(f"{ha_url}&ec=RS-10-4-1024k")).create("t", ROWS)


def _web(place: Place, path: str, method: str, **query: str) -> dict[str, object]:
    """A question to the namenode that is active, over HTTP."""
    words = "&".join(f"{key}={value}" for key, value in {**query, "user.name": os.environ.get("USER", "root")}.items())
    for address in place.web():
        request = urllib.request.Request(f"http://{address}/webhdfs/v1{urlsplit(path).path}?{words}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                found = answer.read()
                return dict(json.loads(found) or {}) if found else {}
        except urllib.error.HTTPError:
            continue
    raise AssertionError(f"no namenode of {place} answers")
