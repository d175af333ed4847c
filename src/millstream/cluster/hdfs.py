"""HDFS: one namenode and three datanodes; with `--ha` two namenodes that watch over each other, three journal nodes,
five datanodes.

Times are those of a test bench: a dead namenode is noticed in 4 s, a dead datanode is avoided after 3 s and given up
after 14 s (630 s by default).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from millstream.cluster import ask
from millstream.cluster.hadoop import JARS, JAVA, LOGGING, PAGES, core_site, hadoop, variables, xml
from millstream.cluster.service import Daemon, Fetch, Once, Service, Site, Step, Until

NAMESERVICE = "mycluster"
_HDFS = "org.apache.hadoop.hdfs"
_NAMENODE, _JOURNAL, _DATANODE = 100, 120, 200
"""Offsets: a namenode has ten ports, a journal node two, a datanode ten."""


class Hdfs(Service):
    name = "hdfs"
    setting = "lake"
    ha_needs = ("zookeeper",)
    patience_s = 240.0

    def fetches(self, site: Site) -> Sequence[Fetch]:
        return JAVA, JARS, PAGES

    def files(self, site: Site) -> Mapping[str, str]:
        return {
            "core-site.xml": xml(core_site(site, root(site))),
            "hdfs-site.xml": xml(hdfs_site(site)),
            "log4j.properties": LOGGING,
        }

    def steps(self, site: Site) -> Sequence[Step]:
        datanodes = [self._datanode(site, n) for n in range(1, _count(site) + 1)]
        namenode = self._namenode(site, 1)
        if not site.ha:
            return self._format(site, []), namenode, *datanodes
        journals = [self._journal(site, n) for n in (1, 2, 3)]
        return (
            *journals,
            Until("journal nodes", [site.port + _JOURNAL + 2 * (n - 1) for n in (1, 2, 3)]),
            self._format(
                site,
                [
                    self._run(
                        site,
                        f"{_HDFS}.tools.DFSZKFailoverController",
                        *_own(site, 1),
                        "-formatZK",
                        "-nonInteractive",
                        "-force",
                    )
                ],
            ),
            namenode,
            Until("the first namenode", namenode.ports[:1]),
            self._bootstrap(site),
            self._namenode(site, 2),
            *(self._failover(site, n) for n in (1, 2)),
            *datanodes,
        )

    def _run(self, site: Site, main: str, *arguments: str) -> list[Any]:
        return [*hadoop(site.conf(self.name), 256, main), *arguments]

    def _daemon(
        self, site: Site, role: str, number: int, heap_mb: int, main: str, settings: Sequence[str], ports: Sequence[int]
    ) -> Daemon:
        conf = site.conf(self.name)
        return Daemon(role, number, hadoop(conf, heap_mb, f"{_HDFS}.{main}", *settings), ports, variables(conf))

    def _format(self, site: Site, more: Sequence[Sequence[Any]]) -> Once:
        main = f"{_HDFS}.server.namenode.NameNode"
        made = self._run(site, main, *_own(site, 1), "-format", "-nonInteractive", "-force", "-clusterId", NAMESERVICE)
        return Once("hdfs-format", [made, *more], [site.data("namenode1")], variables(site.conf(self.name)))

    def _bootstrap(self, site: Site) -> Once:
        made = self._run(
            site, f"{_HDFS}.server.namenode.NameNode", *_own(site, 2), "-bootstrapStandby", "-nonInteractive", "-force"
        )
        return Once("hdfs-standby", [made], [site.data("namenode2")], variables(site.conf(self.name)))

    def _namenode(self, site: Site, n: int) -> Daemon:
        first = site.port + _NAMENODE + 10 * (n - 1)
        return self._daemon(site, "namenode", n, 256, "server.namenode.NameNode", _own(site, n), [first, first + 1])

    def _failover(self, site: Site, n: int) -> Daemon:
        return self._daemon(
            site,
            "zkfc",
            n,
            128,
            "tools.DFSZKFailoverController",
            _own(site, n),
            [site.port + _NAMENODE + 10 * (n - 1) + 2],
        )

    def _journal(self, site: Site, n: int) -> Daemon:
        first = _JOURNAL + 2 * (n - 1)
        settings = {
            "rpc-address": site.at(first),
            "http-address": site.at(first + 1),
            "edits.dir": site.data(f"journalnode{n}"),
        }
        words = [f"-Ddfs.journalnode.{key}={value}" for key, value in settings.items()]
        return self._daemon(
            site,
            "journalnode",
            n,
            128,
            "qjournal.server.JournalNode",
            words,
            [site.port + first, site.port + first + 1],
        )

    def _datanode(self, site: Site, n: int) -> Daemon:
        first = _DATANODE + 10 * (n - 1)
        settings = {
            "address": site.at(first),
            "http.address": site.at(first + 1),
            "ipc.address": site.at(first + 2),
            "data.dir": f"file://{site.data(f'datanode{n}')}",
            "hostname": "127.0.0.1",
        }
        words = [f"-Ddfs.datanode.{key}={value}" for key, value in settings.items()]
        return self._daemon(
            site, "datanode", n, 192, "server.datanode.DataNode", words, [site.port + first + k for k in range(3)]
        )

    def missing(self, site: Site) -> str:
        states = {n: _state(site, n) for n in _namenodes(site)}
        active = next((n for n, state in states.items() if state == "active"), None)
        if active is None or any(state not in ("active", "standby") for state in states.values()):
            return "an active namenode" if active is None else "its standby namenode"
        if jmx(_http(site, active), "NameNode", "NameNodeInfo", "Safemode"):
            return "the end of safe mode"
        live = sum(_serves(site, n) for n in range(1, _count(site) + 1))
        if live != _count(site):
            return f"{_count(site) - live} of {_count(site)} datanodes"
        ask.http(_http(site, active), "/webhdfs/v1/?op=LISTSTATUS")
        return ""

    def finish(self, site: Site) -> Sequence[Once]:
        enabled = self._run(site, f"{_HDFS}.tools.ECAdmin", "-enablePolicy", "-policy", erasure_policy(site))
        folders = self._run(site, "org.apache.hadoop.fs.FsShell", "-mkdir", "-p", "/lake", "/tmp", "/warehouse")
        return (Once("hdfs-folders", [enabled, folders], environment=variables(site.conf(self.name))),)

    def leaders(self, site: Site) -> Mapping[str, str]:
        found = {}
        for n in _namenodes(site):
            try:
                found[f"namenode#{n}"] = _state(site, n)
            except OSError:
                continue
        return found

    def address(self, site: Site) -> str:
        found = f"{root(site)}/lake"
        # A nameservice is not a host: clients must be told whose it is
        return f"{found}?conf={site.from_project(site.conf(self.name))}" if site.ha else found

    def environment(self, site: Site) -> Mapping[str, str]:
        return {"HADOOP_CONF_DIR": str(site.conf(self.name))}


def hdfs_site(site: Site) -> dict[str, object]:
    """Settings of HDFS, for its daemons and its clients."""
    common = {
        "dfs.replication": 3,
        "dfs.blocksize": 16 << 20,
        "dfs.permissions.enabled": "false",
        "dfs.namenode.ec.system.default.policy": erasure_policy(site),
        "dfs.namenode.safemode.extension": 0,
        # A datanode is dead after 2 * recheck + 10 * heartbeat. Until then writers of delta-rs fail on it, unless it
        # counts as stale before.
        "dfs.heartbeat.interval": 1,
        "dfs.namenode.heartbeat.recheck-interval": 2000,
        "dfs.namenode.stale.datanode.interval": 3000,
        "dfs.namenode.avoid.write.stale.datanode": "true",
        "dfs.namenode.avoid.read.stale.datanode": "true",
        "dfs.namenode.write.stale.datanode.ratio": "1.0f",
        # A shard or copy whose maker died is given to another after this
        "dfs.namenode.reconstruction.pending.timeout-sec": (10),
        "dfs.namenode.handler.count": 6,
        "dfs.datanode.handler.count": 4,
        "dfs.namenode.datanode.registration.ip-hostname-check": "false",
    }
    return common | (_two_namenodes(site) if site.ha else _addresses(site, 1, ""))


def _addresses(site: Site, n: int, suffix: str) -> dict[str, object]:
    first = _NAMENODE + 10 * (n - 1)
    return {
        f"dfs.namenode.rpc-address{suffix}": site.at(first),
        f"dfs.namenode.http-address{suffix}": site.at(first + 1),
    }


def _two_namenodes(site: Site) -> dict[str, object]:
    journals = ";".join(site.at(_JOURNAL + 2 * n) for n in range(3))
    settings: dict[str, object] = {"dfs.nameservices": NAMESERVICE, f"dfs.ha.namenodes.{NAMESERVICE}": "nn1,nn2"}
    for n in (1, 2):
        settings |= _addresses(site, n, f".{NAMESERVICE}.nn{n}")
        settings[f"dfs.ha.zkfc.port.{NAMESERVICE}.nn{n}"] = site.port + _NAMENODE + 10 * (n - 1) + 2
    return settings | {
        "dfs.namenode.shared.edits.dir": f"qjournal://{journals}/{NAMESERVICE}",
        f"dfs.client.failover.proxy.provider.{NAMESERVICE}": (
            f"{_HDFS}.server.namenode.ha.ConfiguredFailoverProxyProvider"
        ),
        "dfs.ha.automatic-failover.enabled": "true",
        "dfs.ha.fencing.methods": "shell(/bin/true)",  # the journal nodes let one write at a time
        "dfs.ha.tail-edits.period": "2s",
        "dfs.ha.log-roll.period": "10s",
        "dfs.client.failover.max.attempts": 30,
        "dfs.client.failover.sleep.base.millis": 200,
        "dfs.client.failover.sleep.max.millis": 2000,
    }


def erasure_policy(site: Site) -> str:
    """The policy that its datanodes are enough for: RS-3-2 wants five, XOR-2-1 three."""
    return "RS-3-2-1024k" if site.ha else "XOR-2-1-1024k"


def root(site: Site) -> str:
    """The URL of the file system."""
    return f"hdfs://{NAMESERVICE if site.ha else site.at(_NAMENODE)}"


def _namenodes(site: Site) -> tuple[int, ...]:
    return (1, 2) if site.ha else (1,)


def _count(site: Site) -> int:
    return 5 if site.ha else 3


def _own(site: Site, n: int) -> list[str]:
    """Settings of one namenode, and of the controller beside it."""
    data = site.data(f"namenode{n}")
    words = [f"-Ddfs.namenode.name.dir=file://{data}", f"-Ddfs.namenode.checkpoint.dir=file://{data}-checkpoint"]
    return [f"-Ddfs.ha.namenode.id=nn{n}", *words] if site.ha else words


def _http(site: Site, n: int) -> int:
    return site.port + _NAMENODE + 10 * (n - 1) + 1


def jmx(port: int, service: str, bean: str, key: str) -> Any:
    """What a daemon of Hadoop tells about itself.

    Raises:
        OSError: It does not answer, or does not know that yet.
    """
    found = ask.http_json(port, f"/jmx?qry=Hadoop:service={service},name={bean}")["beans"]
    if not found or key not in found[0]:
        raise OSError(f"{service} does not tell its {bean} yet")
    return found[0][key]


def _serves(site: Site, n: int) -> bool:
    """Whether a datanode has registered with every namenode, by its own word: a namenode counts one that died as live
    for a while.
    """
    told = jmx(site.port + _DATANODE + 10 * (n - 1) + 1, "DataNode", "DataNodeInfo", "BPServiceActorInfo")
    actors = json.loads(told) if isinstance(told, str) else told
    return len(actors) == len(_namenodes(site)) and all(actor["ActorState"] == "RUNNING" for actor in actors)


def _state(site: Site, n: int) -> str:
    return str(jmx(_http(site, n), "NameNode", "NameNodeStatus", "State"))
