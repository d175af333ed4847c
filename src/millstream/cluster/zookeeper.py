"""ZooKeeper: one server, or three with `--ha`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from millstream.cluster import ask
from millstream.cluster.fetch import Jars, Java
from millstream.cluster.jvm import jvm
from millstream.cluster.service import LOOPBACK, Daemon, Fetch, Service, Site, Step

# The last two are not asked for by its own pom, and it does not start without them.
JARS = Jars(
    "zookeeper",
    (
        "org.apache.zookeeper:zookeeper:3.9.5",
        "io.dropwizard.metrics:metrics-core:4.1.12.1",
        "org.xerial.snappy:snappy-java:1.1.10.5",
    ),
)
_CLIENTS, _PEERS, _ELECTION = 0, 10, 20


class ZooKeeper(Service):
    name = "zookeeper"

    def fetches(self, site: Site) -> Sequence[Fetch]:
        return Java(), JARS

    def files(self, site: Site) -> Mapping[str, str]:
        return {f"{n}.cfg": self._config(site, n) for n in _servers(site)}

    def _config(self, site: Site, server: int) -> str:
        settings = {
            "tickTime": 500,
            "initLimit": 20,
            "syncLimit": 10,
            "dataDir": site.data(f"zookeeper{server}"),
            "clientPort": site.port + _CLIENTS + server,
            "clientPortAddress": LOOPBACK,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "srvr",
            "maxClientCnxns": 200,
            "minSessionTimeout": 1000,
            "maxSessionTimeout": 40000,
        }
        if site.ha:
            settings |= {f"server.{n}": f"{site.at(_PEERS + n)}:{site.port + _ELECTION + n}" for n in _servers(site)}
        return "".join(f"{key}={value}\n" for key, value in settings.items())

    def steps(self, site: Site) -> Sequence[Step]:
        return [self._server(site, n) for n in _servers(site)]

    def _server(self, site: Site, n: int) -> Daemon:
        # It reads its own number from its data folder.
        script = 'mkdir -p "$1" && echo "$2" > "$1/myid" && shift 2 && exec "$@"'
        main = jvm(128, f"{JARS.folder}/*", "org.apache.zookeeper.server.quorum.QuorumPeerMain")
        command = [
            "sh",
            "-c",
            script,
            "sh",
            site.data(f"zookeeper{n}"),
            str(n),
            *main,
            site.conf(self.name) / f"{n}.cfg",
        ]
        peers = (site.port + _PEERS + n, site.port + _ELECTION + n) if site.ha else ()
        return Daemon("zookeeper", n, command, [site.port + _CLIENTS + n, *peers])

    def missing(self, site: Site) -> str:
        modes = [_mode(site, n) for n in _servers(site)]
        return "" if all(modes) else f"{modes.count('')} of {len(modes)} servers"

    def leaders(self, site: Site) -> Mapping[str, str]:
        return {f"zookeeper#{n}": mode for n in _servers(site) if (mode := _mode(site, n))}

    def address(self, site: Site) -> str:
        return quorum(site)


def quorum(site: Site) -> str:
    """Its clients' addresses, joined by commas."""
    return ",".join(site.at(_CLIENTS + n) for n in _servers(site))


def _servers(site: Site) -> range:
    return range(1, 4 if site.ha else 2)


def _mode(site: Site, server: int) -> str:
    """leader, follower or standalone; empty while it serves nobody. An open port says nothing: it answers before there
    is a quorum.
    """
    try:
        answer = ask.line(site.port + _CLIENTS + server, b"srvr").decode(errors="replace")
    except OSError:
        return ""
    return next((row.removeprefix("Mode: ") for row in answer.splitlines() if row.startswith("Mode: ")), "")
