"""Each daemon of a whole cluster dies under `millstream up` and its load; afterwards everything accepted is
there once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from faults_told import Fault
from faults_world import Counts, Shop, kill_process
from running_cluster import brought

from millstream.cluster import Cluster

pytestmark = [pytest.mark.fault, pytest.mark.timeout(900)]
SERVICES = ("kafka", "registry", "hdfs", "redis", "postgres")
LOAD = "1,000 events/s, 50 requests/s"
HOW = "slowest event, posted to applied and landed"
DOWN_S = 5.0
"""How long what has no second is away."""
WATCHED_S = 20.0


@pytest.fixture(scope="module")
def shop(ha_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    brought(ha_cluster, *SERVICES, ha=True)
    made = Shop(tmp_path_factory.mktemp("shop"), ha_cluster)
    yield made
    made.close()


def partition_leader(shop: Shop) -> list[str]:
    return [f"kafka#{shop.workspace.log._topics.known('visits').partitions[0].leader.id}"]  # type: ignore[attr-defined]


def one(role: str) -> Callable[[Shop], list[str]]:
    return lambda shop: [role]


def leading(role: str) -> Callable[[Shop], list[str]]:
    return lambda shop: [shop.cluster.leader(role)]


# What dies, what it is called in the table, and whether something stands in for it until it is brought back.
DEATHS: dict[str, tuple[Callable[[Shop], list[str]], str, bool]] = {
    "nothing": (lambda shop: [], "nothing, to compare with", True),
    "partition leader": (partition_leader, "Kafka's leader of a partition", True),
    "active namenode": (leading("namenode"), "the active namenode", True),
    "journal node": (one("journalnode#1"), "a journal node", True),
    "two datanodes": (lambda shop: ["datanode#1", "datanode#5"], "two of five datanodes, RS-3-2", True),
    "zookeeper": (leading("zookeeper"), "ZooKeeper's leader", True),
    "registry": (one("registry"), "the schema registry", False),
    "redis": (one("redis"), "Redis", False),
    "postgres": (one("postgres"), "PostgreSQL", False),
}


ALWAYS = ("partition leader", "active namenode")
"""Those of `make test-cluster`; `make test-faults` runs them all."""


def proof(shop: Shop, told: Callable[[Fault], None], killed: str, seconds: float) -> None:
    counts: Counts = shop.prove()
    told(Fault(killed, LOAD, seconds, HOW, counts.rows, counts.lost, counts.doubled))
    assert (counts.lost, counts.doubled, counts.features_differ) == (0, 0, 0)


@pytest.mark.parametrize(
    "death", [pytest.param(name, marks=[] if name in ALWAYS else [pytest.mark.long]) for name in DEATHS]
)
def test_a_daemon_dies(shop: Shop, fault_told: Callable[[Fault], None], death: str) -> None:
    who, called, stood_in_for = DEATHS[death]
    shop.calm()
    victims, began = who(shop), time.monotonic()
    for victim in victims:
        shop.cluster.kill(victim)
    time.sleep(WATCHED_S if stood_in_for else DOWN_S)
    if not stood_in_for:
        shop.cluster.up(SERVICES, ha=True)
        time.sleep(WATCHED_S / 2)
    seconds = shop.slowest(began)
    shop.cluster.up(SERVICES, ha=True)  # what died comes back, and nobody minds
    proof(shop, fault_told, f"{called} ({', '.join(victims)})" if victims else called, seconds)


@pytest.mark.long
@pytest.mark.parametrize("part", ["serve", "sinks", "features"])
def test_a_part_of_millstream_dies(shop: Shop, fault_told: Callable[[Fault], None], part: str) -> None:
    shop.calm()
    began = time.monotonic()
    kill_process(shop.part(part))
    time.sleep(WATCHED_S / 2)
    proof(shop, fault_told, f"`up`'s part {part}", shop.slowest(began))
