"""Kafka in KRaft mode: each node is a broker and a controller; one node, or three with `--ha`.

Times in which a dead node is noticed are set to 3 s (9 s and more by default), so that faults can be tested in minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from millstream.cluster import kafka_wire
from millstream.cluster.fetch import Jars, Java
from millstream.cluster.jvm import jvm
from millstream.cluster.kafka_archive import Archive, cluster_id
from millstream.cluster.service import LOOPBACK, Daemon, Fetch, Once, Service, Site, Step

JARS = Jars("kafka", ("org.apache.kafka:kafka_2.13:4.4.0", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5"))
_CLIENTS, _CONTROLLERS = 40, 50
_LOGGING = """\
status=warn
appender.out.type=Console
appender.out.name=OUT
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{1} - %m%n
rootLogger.level=warn
rootLogger.appenderRef.out.ref=OUT
logger.ks.name=kafka.server.KafkaRaftServer
logger.ks.level=info
"""


def properties(node: int, ports: Mapping[int, tuple[int, int]], folder: Path) -> str:
    """The server properties of a node.

    Args:
        ports: Node -> its ports for clients and for controllers, of all nodes.
        folder: Where its log segments lie.
    """
    copies = len(ports)
    clients, controllers = ports[node]
    settings = {
        "process.roles": "broker,controller",
        "node.id": node,
        "controller.quorum.voters": ",".join(f"{n}@{LOOPBACK}:{c}" for n, (_, c) in ports.items()),
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{clients},CONTROLLER://{LOOPBACK}:{controllers}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": folder,
        "num.partitions": 4,
        "auto.create.topics.enable": "false",
        "default.replication.factor": copies,
        "min.insync.replicas": max(1, copies - 1),
        "unclean.leader.election.enable": "false",
        "offsets.topic.replication.factor": copies,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": max(1, copies - 1),
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": max(1, copies - 1),
        "group.initial.rebalance.delay.ms": 0,
        "broker.session.timeout.ms": 3000,
        "broker.heartbeat.interval.ms": 500,
        "controller.quorum.election.timeout.ms": 1000,
        "controller.quorum.fetch.timeout.ms": 1000,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


ARCHIVE = Archive(JARS, lambda clients, controllers, folder: properties(1, {1: (clients, controllers)}, folder))


class Kafka(Service):
    name = "kafka"
    setting = "log"

    def fetches(self, site: Site) -> Sequence[Fetch]:
        return Java(), JARS, ARCHIVE

    def files(self, site: Site) -> Mapping[str, str]:
        ports = _ports(site)
        return {"log4j2.properties": _LOGGING} | {
            f"{node}.properties": properties(node, ports, site.data(f"kafka{node}")) for node in ports
        }

    def steps(self, site: Site) -> Sequence[Step]:
        conf, ports = site.conf(self.name), _ports(site)
        path = f"{JARS.folder}/*"
        options = (f"-Dlog4j2.configurationFile={conf}/log4j2.properties", f"-XX:SharedArchiveFile={ARCHIVE.file}")
        cluster = cluster_id(bytes.fromhex(site.secret("kafka-cluster")))
        formatted = [
            [
                *jvm(128, path, "kafka.tools.StorageTool", *options),
                "format",
                "-t",
                cluster,
                "-c",
                conf / f"{n}.properties",
            ]
            for n in ports
        ]
        daemon = jvm(256, path, "kafka.Kafka", *options)
        nodes = [Daemon("kafka", n, [*daemon, conf / f"{n}.properties"], ports[n]) for n in ports]
        return Once("kafka-format", formatted, clear=[site.data(f"kafka{n}") for n in ports]), *nodes

    def missing(self, site: Site) -> str:
        wanted = _ports(site)
        up = min((kafka_wire.brokers(client) for client, _ in wanted.values()), key=len)
        return "" if len(up) == len(wanted) else f"{len(up)} of {len(wanted)} brokers"

    def leaders(self, site: Site) -> Mapping[str, str]:
        for client, _ in _ports(site).values():
            try:
                return {f"kafka#{kafka_wire.quorum_leader(client)}": "controller"}
            except OSError:
                continue
        return {}

    def address(self, site: Site) -> str:
        return "kafka://" + ",".join(f"{LOOPBACK}:{client}" for client, _ in _ports(site).values())


def _ports(site: Site) -> dict[int, tuple[int, int]]:
    return {n: (site.port + _CLIENTS + n, site.port + _CONTROLLERS + n) for n in range(1, 4 if site.ha else 2)}
