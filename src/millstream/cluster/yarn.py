"""YARN: a resource manager and a node manager; with `--ha` two of each, the managers' state in ZooKeeper.

Times are those of a test bench: a lost node is noticed in 10 s, a lost application master in 20 s (600 s by default).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from millstream.cluster import ask
from millstream.cluster.hadoop import JARS, JAVA, LOGGING, PAGES, core_site, hadoop, variables, xml
from millstream.cluster.hdfs import hdfs_site, root
from millstream.cluster.process import MARK
from millstream.cluster.service import LOOPBACK, Daemon, Fetch, Service, Site, Step
from millstream.cluster.zookeeper import quorum

_YARN = "org.apache.hadoop.yarn"
_RM, _NM = 300, 400
"""Offsets: a resource manager has ten ports, a node manager twenty."""
_RM_PORTS = {
    "address": 0,
    "scheduler.address": 1,
    "resource-tracker.address": 2,
    "admin.address": 3,
    "webapp.address": 4,
}
NODE_MB, NODE_CORES = 3072, 8
"""What a node manager offers; a core of it is not a core of the machine."""


class Yarn(Service):
    name = "yarn"
    needs = ("hdfs",)
    ha_needs = ("zookeeper",)

    def fetches(self, site: Site) -> Sequence[Fetch]:
        return JAVA, JARS, PAGES

    def files(self, site: Site) -> Mapping[str, str]:
        return {
            "core-site.xml": xml(core_site(site, root(site))),
            "hdfs-site.xml": xml(hdfs_site(site)),
            "yarn-site.xml": xml(yarn_site(site)),
            "capacity-scheduler.xml": xml(_CAPACITY),
            "log4j.properties": LOGGING,
        }

    def steps(self, site: Site) -> Sequence[Step]:
        return *(self._manager(site, n) for n in _managers(site)), *(self._node(site, n) for n in _nodes(site))

    def _manager(self, site: Site, n: int) -> Daemon:
        conf = site.conf(self.name)
        words = [f"-Dyarn.resourcemanager.ha.id=rm{n}"] if site.ha else []
        command = hadoop(conf, 320, f"{_YARN}.server.resourcemanager.ResourceManager", *words)
        return Daemon(
            "resourcemanager",
            n,
            command,
            [site.port + _RM + 10 * (n - 1) + k for k in _RM_PORTS.values()],
            variables(conf),
        )

    def _node(self, site: Site, n: int) -> Daemon:
        conf, first, data = site.conf(self.name), _NM + 20 * (n - 1), site.data(f"nodemanager{n}")
        settings = {
            "address": site.at(first),
            "localizer.address": site.at(first + 1),
            "webapp.address": site.at(first + 2),
            "local-dirs": data / "local",
            "log-dirs": data / "log",
            "recovery.enabled": "true",
            "recovery.dir": data / "recovery",
            "recovery.supervised": "true",
        }
        command = hadoop(
            conf,
            256,
            f"{_YARN}.server.nodemanager.NodeManager",
            *(f"-Dyarn.nodemanager.{k}={v}" for k, v in settings.items()),
        )
        return Daemon("nodemanager", n, command, [site.port + first + k for k in range(3)], variables(conf))

    def missing(self, site: Site) -> str:
        states = {n: _state(site, n) for n in _managers(site)}
        active = next((n for n, state in states.items() if state == "active"), None)
        if active is None or len([s for s in states.values() if s in ("active", "standby")]) != len(states):
            return "an active resource manager" if active is None else "its standby resource manager"
        known = ask.http_json(_web(site, active), "/ws/v1/cluster/nodes")["nodes"] or {}
        live = sum(_serves(site, n, known.get("node", [])) for n in _nodes(site))
        return "" if live == len(_nodes(site)) else f"{len(_nodes(site)) - live} of {len(_nodes(site))} node managers"

    def leaders(self, site: Site) -> Mapping[str, str]:
        found = {}
        for n in _managers(site):
            try:
                found[f"resourcemanager#{n}"] = _state(site, n)
            except OSError:
                continue
        return found

    def address(self, site: Site) -> str:
        return f"http://{site.at(_RM + _RM_PORTS['webapp.address'])}"

    def environment(self, site: Site) -> Mapping[str, str]:
        return {"HADOOP_CONF_DIR": str(site.conf(self.name))}


_CAPACITY: dict[str, object] = {
    "yarn.scheduler.capacity.root.queues": "default",
    "yarn.scheduler.capacity.root.default.capacity": 100,
    "yarn.scheduler.capacity.root.default.maximum-capacity": 100,
    "yarn.scheduler.capacity.root.default.state": "RUNNING",
    "yarn.scheduler.capacity.root.default.acl_submit_applications": "*",
    "yarn.scheduler.capacity.maximum-am-resource-percent": 0.6,
}


def yarn_site(site: Site) -> dict[str, object]:
    """Settings of YARN, for its daemons and its clients."""
    scheduler = f"{_YARN}.server.resourcemanager.scheduler.capacity.CapacityScheduler"
    common = {
        "yarn.resourcemanager.scheduler.class": scheduler,
        "yarn.resourcemanager.am.max-attempts": 4,
        "yarn.resourcemanager.connect.retry-interval.ms": 500,
        "yarn.nm.liveness-monitor.expiry-interval-ms": 10000,
        "yarn.resourcemanager.nm.liveness-monitor.interval-ms": 2000,
        # Also how long its first word may take, on a machine that has no core to spare
        "yarn.am.liveness-monitor.expiry-interval-ms": (120000),
        "yarn.scheduler.minimum-allocation-mb": 128,
        "yarn.scheduler.maximum-allocation-mb": NODE_MB,
        "yarn.nodemanager.resource.memory-mb": NODE_MB,
        "yarn.nodemanager.resource.cpu-vcores": NODE_CORES,
        "yarn.nodemanager.vmem-check-enabled": "false",
        "yarn.nodemanager.pmem-check-enabled": "false",
        "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": 99.0,
        "yarn.nodemanager.env-whitelist": f"JAVA_HOME,HADOOP_CONF_DIR,PATH,LANG,TZ,{MARK}",
        "yarn.nodemanager.container-executor.class": f"{_YARN}.server.nodemanager.DefaultContainerExecutor",
        "yarn.log-aggregation-enable": "true",
        "yarn.timeline-service.enabled": "false",
    }
    return common | (_two_managers(site) if site.ha else _addresses(site, 1, ""))


def _addresses(site: Site, n: int, suffix: str) -> dict[str, object]:
    first = _RM + 10 * (n - 1)
    found: dict[str, object] = {
        f"yarn.resourcemanager.{key}{suffix}": site.at(first + k) for key, k in _RM_PORTS.items()
    }
    return found | {f"yarn.resourcemanager.hostname{suffix}": LOOPBACK}


def _two_managers(site: Site) -> dict[str, object]:
    return {
        "yarn.resourcemanager.ha.enabled": "true",
        "yarn.resourcemanager.cluster-id": "millstream",
        "yarn.resourcemanager.ha.rm-ids": "rm1,rm2",
        **_addresses(site, 1, ".rm1"),
        **_addresses(site, 2, ".rm2"),
        "yarn.resourcemanager.zk-address": quorum(site),  # the embedded elector knows it by this older name only
        "hadoop.zk.address": quorum(site),
        "hadoop.zk.timeout-ms": 4000,
        "yarn.resourcemanager.recovery.enabled": "true",
        "yarn.resourcemanager.work-preserving-recovery.enabled": "true",
        "yarn.resourcemanager.work-preserving-recovery.scheduling-wait-ms": 2000,
        "yarn.resourcemanager.store.class": f"{_YARN}.server.resourcemanager.recovery.ZKRMStateStore",
        "yarn.client.failover-sleep-base-ms": 200,
        "yarn.client.failover-sleep-max-ms": 1000,
        "yarn.client.failover-max-attempts": 120,
    }


def _managers(site: Site) -> tuple[int, ...]:
    return (1, 2) if site.ha else (1,)


_nodes = _managers


def _web(site: Site, n: int) -> int:
    return site.port + _RM + 10 * (n - 1) + _RM_PORTS["webapp.address"]


def _state(site: Site, n: int) -> str:
    return str(ask.http_json(_web(site, n), "/ws/v1/cluster/info")["clusterInfo"]["haState"]).lower()


def _serves(site: Site, n: int, known: Sequence[Mapping[str, object]]) -> bool:
    """Whether the active manager has heard from this node since it started: one that died counts as running for a
    while.
    """
    told = ask.http_json(site.port + _NM + 20 * (n - 1) + 2, "/ws/v1/node/info")["nodeInfo"]
    return any(
        node["id"] == told["id"]
        and node["state"] == "RUNNING"
        and int(str(node["lastHealthUpdate"])) >= told["nmStartupTime"]
        for node in known
    )
