"""RabbitMQ and Airflow as `millstream cluster` brings them up: ready is ready, and nothing is left."""

from __future__ import annotations

import psutil
from running_cluster import brought

from millstream.cluster import Cluster
from millstream.cluster.airflow import Airflow
from millstream.cluster.process import MARK


def marked(cluster: Cluster) -> list[str]:
    """Programs of the cluster's processes, found by the mark that they inherit."""
    found = []
    for process in psutil.process_iter(["environ", "name"]):
        if (process.info["environ"] or {}).get(MARK) == str(cluster.site.folder):
            found.append(process.info["name"])
    return found


def test_rabbitmq_outlives_a_kill_and_leaves_nothing(own_cluster: Cluster) -> None:
    brought(own_cluster, "rabbitmq")
    assert {"epmd", "beam.smp"} <= set(marked(own_cluster))
    own_cluster.kill("rabbitmq")
    own_cluster.restart("rabbitmq")
    own_cluster.down()
    assert marked(own_cluster) == []


def test_airflow_is_ready_when_every_part_and_both_workers_answer(cluster: Cluster) -> None:
    assert brought(cluster, "airflow").startswith("airflow://admin:file:.millstream/cluster/secrets/airflow@127.0.0.1:")
    service, site = Airflow(), cluster.site
    assert service.missing(site) == ""
    cluster.kill("airflow-worker#1")
    assert service.missing(site) == "1 of 2 workers"
    cluster.restart("airflow-worker#1")
    assert service.missing(site) == ""
