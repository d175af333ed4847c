"""The Hive metastore as `millstream cluster` brings it up."""

from __future__ import annotations

from running_cluster import brought

from millstream.cluster import Cluster
from millstream.cluster.thrift import databases


def test_the_metastore_answers_and_comes_back_with_its_tables(cluster: Cluster) -> None:
    port = int(brought(cluster, "hive").rpartition(":")[2])
    assert databases(port) == ["default"]
    cluster.kill("hive")
    cluster.restart("hive")
    assert databases(port) == ["default"]
