"""Kafka and the registry as `millstream cluster` brings them up."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

import psutil
from running_cluster import brought

from millstream.cluster import Cluster, kafka_wire


def ports_of(url: str) -> list[int]:
    return [int(address.rpartition(":")[2]) for address in url.removeprefix("kafka://").split(",")]


def test_kafka_answers_and_is_left_alone_by_a_second_up(cluster: Cluster, kafka: str) -> None:
    assert kafka_wire.brokers(ports_of(kafka)[0]) == {1}
    before = [s.pid for s in cluster.status() if s.service == "kafka"]
    cluster.up(["kafka"])
    assert [s.pid for s in cluster.status() if s.service == "kafka"] == before
    assert cluster.leader("kafka") == "kafka#1"


def test_a_killed_controller_is_replaced_and_comes_back(ha_cluster: Cluster, ha_kafka: str) -> None:
    killed = ha_cluster.leader("kafka")
    ha_cluster.kill(killed)
    began = time.monotonic()
    while True:
        try:
            new = ha_cluster.leader("kafka")
        except OSError:
            new = killed
        if new != killed:
            break
        assert time.monotonic() - began < 30, "no other controller leads"
        time.sleep(0.1)
    ha_cluster.restart(killed)
    for port in ports_of(ha_kafka):
        assert kafka_wire.brokers(port) == {1, 2, 3}


def test_stop_in_order_leaves_no_process(own_cluster: Cluster) -> None:
    brought(own_cluster, "kafka", ha=True)
    pids = [s.pid for s in own_cluster.status()]
    assert all(pids)
    own_cluster.down()
    assert not [pid for pid in pids if pid and psutil.pid_exists(pid)]
    own_cluster.up(["kafka"])
    assert own_cluster.leader("kafka") in {"kafka#1", "kafka#2", "kafka#3"}


def call(url: str, method: str = "GET", body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        url, data, {"Content-Type": "application/vnd.schemaregistry.v1+json"}, method=method
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def test_registry_keeps_schemas_and_refuses_what_breaks_readers(cluster: Cluster, registry: str) -> None:
    def schema(*fields: dict[str, Any]) -> dict[str, str]:
        return {"schema": json.dumps({"type": "record", "name": "Shop", "fields": list(fields)})}

    first, second = {"name": "a", "type": "string"}, {"name": "b", "type": "string"}
    versions = f"{registry}/subjects/shop-value/versions"
    number = call(versions, "POST", schema(first))["id"]
    try:
        call(versions, "POST", schema(first, second))
    except urllib.error.HTTPError as refused:
        assert refused.code == 409  # a field without default: what was written before cannot be read
        refused.close()
    else:
        raise AssertionError("it took a schema that breaks its readers")
    cluster.restart("registry")
    kept = call(f"{registry}/schemas/ids/{number}")["schema"]
    assert json.loads(kept) == json.loads(schema(first)["schema"])
