"""`Cluster`: brings services up, says how they are, lets single daemons die and come back, and leaves nothing
behind.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from millstream.base.errors import NotFound, Unreachable, UsageError
from millstream.base.words import nearest
from millstream.cluster import process
from millstream.cluster.bring import Bringing, Say
from millstream.cluster.catalogue import SERVICES
from millstream.cluster.service import Daemon, Service, Site
from millstream.cluster.state import Shape, State, alone

PORT = 20000
"""The first port, when nothing else is said."""


@dataclass(frozen=True)
class Status:
    """A daemon as it is now.

    Attributes:
        part: "leader", "active", "standby" … of those that have a part.
        alive: It runs; one that was never started, or died, does not.
        memory_bytes: Resident, with all that it started.
        uptime_s: None when it does not run.
    """

    role: str
    service: str
    part: str
    alive: bool
    pid: int | None
    memory_bytes: int
    uptime_s: float | None
    ports: tuple[int, ...]
    log: Path


class Cluster:
    """The services of one project folder, on loopback.

    >>> cluster = Cluster("shop")
    >>> cluster.up(["kafka", "registry"])               # doctest: +SKIP
    >>> cluster.address("kafka")                        # doctest: +SKIP
    'kafka://127.0.0.1:20041'
    >>> cluster.kill("kafka#1"); cluster.restart("kafka#1"); cluster.down()  # doctest: +SKIP

    Args:
        folder: The project's folder; all is kept below its `.millstream/cluster`.
        port: The first of 1000 ports; two clusters side by side need two.
        services: Those that it knows, by name; the real ones unless a test brings its own.
    """

    def __init__(self, folder: str | Path, *, port: int = PORT, services: Mapping[str, Service] = SERVICES) -> None:
        self.folder = Path(folder).resolve() / ".millstream" / "cluster"
        self._port, self._services = port, services

    @property
    def site(self) -> Site:
        shape = State(self.folder).shape or Shape(self._port, False)
        return Site(self.folder, shape.port, shape.ha)

    def up(self, names: Iterable[str] = (), *, ha: bool = False, say: Say = lambda service, text: None) -> None:
        """Start services and what they need, and wait until each answers as it should. All of them when none is named.

        What runs is left alone; what an earlier call had not finished is continued.

        Args:
            ha: The full count of daemons. A cluster keeps its size until it is wiped.

        Raises:
            EngineMissing: Java, Maven or a package is not there.
            Busy: A port is taken, or another command is at work here.
            UsageError: The cluster is there with another size or other ports.
            Unreachable: A service did not become ready.
        """
        wanted = [self._service(name).name for name in names] or list(self._services)
        with alone(self.folder):
            state = State(self.folder)
            self._shape(state, ha)
            Bringing(self.site, state, say).up([self._service(name) for name in self._with_needs(wanted)])

    def _shape(self, state: State, ha: bool) -> None:
        if state.shape is None:
            state.choose(Shape(self._port, ha))
        elif ha and not state.shape.ha:
            raise UsageError(
                "this cluster was made without --ha, and its data with it; to begin anew: millstream cluster down"
                " --wipe"
            )
        elif state.shape.port != self._port:
            raise UsageError(
                f"this cluster was made with ports from {state.shape.port}, now they are said to begin at {self._port}"
                " (cluster.port); say as before, or begin anew: millstream cluster down --wipe"
            )

    def down(self, *, wipe: bool = False) -> None:
        """Stop every daemon in order, services before those they need, and kill what does not go; data stays.

        Args:
            wipe: Remove data, configuration and logs too.
        """
        if not self.folder.exists():
            return
        with alone(self.folder):
            state = State(self.folder)
            order = [
                *reversed(self._with_needs(self._services)),
                *{d.service for d in state.daemons.values()}.difference(self._services),
            ]
            for service in order:
                stopping = {name: d for name, d in state.daemons.items() if d.service == service}
                process.stop([(d.process, signal.Signals[d.stop]) for d in stopping.values()])
                for name in stopping:
                    state.stopped(name)
            process.sweep(self.folder)
            if wipe:
                shutil.rmtree(self.folder)

    def kill(self, role: str) -> list[str]:
        """SIGKILL to a daemon ("kafka#2") or to all of a role ("datanode"), as a fault would; nothing starts it again.
        Returns whom.

        Raises:
            NotFound: No such daemon, or it does not run.
        """
        with alone(self.folder):
            state = State(self.folder)
            found = [
                d.name
                for _, d in self._daemons(role)
                if d.name in state.daemons and process.alive(state.daemons[d.name].process)
            ]
            if not found:
                raise NotFound(f"{role} does not run")
            for name in found:
                process.kill(state.daemons[name].process)
                state.stopped(name)
        return found

    def restart(self, role: str, *, say: Say = lambda service, text: None) -> list[str]:
        """Stop what runs of a daemon or a role, start it, and wait until its service is ready. Returns whom.

        Raises:
            NotFound: No such daemon.
            Unreachable: Its service did not become ready.
        """
        with alone(self.folder):
            state, found = State(self.folder), self._daemons(role)
            for _, daemon in found:
                if started := state.daemons.get(daemon.name):
                    process.stop([(started.process, signal.Signals[started.stop])])
                    state.stopped(daemon.name)
            bringing = Bringing(self.site, state, say)
            for _, daemon in found:
                bringing.start(found[0][0], daemon)
            bringing.await_ready(found[0][0])
        return [daemon.name for _, daemon in found]

    def address(self, service: str) -> str:
        """Where clients reach a service, as the URL of a profile.

        Raises:
            NotFound: No such service.
        """
        return self._service(service).address(self.site)

    def environment(self, *names: str) -> dict[str, str]:
        """Variables that clients of these services need (of all that were started, by default), such as
        HADOOP_CONF_DIR.
        """
        site = self.site
        return {
            key: value for name in names or self.used() for key, value in self._service(name).environment(site).items()
        }

    def leader(self, role: str, part: str | None = None) -> str:
        """The daemon of a role that leads now ("namenode" -> "namenode#2").

        Args:
            part: What it is called, when the role has several parts; else any but "standby" and "follower".

        Raises:
            Unreachable: None leads at this moment.
        """
        for name, found in self._daemons(role)[0][0].leaders(self.site).items():
            if name.partition("#")[0] == role and (found == part if part else found not in ("standby", "follower")):
                return name
        raise Unreachable(f"no {role} leads at this moment")

    def status(self) -> list[Status]:
        """Every daemon of the services that were started here, in the order of services."""
        state, site = State(self.folder), self.site
        used = self._used(state)
        with ThreadPoolExecutor() as pool:
            parts = dict(item for found in pool.map(lambda s: _parts(s, site), used) for item in found.items())
        return [
            _status(service, daemon, site, state, parts.get(daemon.name, ""))
            for service in used
            for daemon in service.daemons(site)
        ]

    def profile(self) -> dict[str, str]:
        """Key of a profile -> the URL to say there, of the services that were started here."""
        site = self.site
        return {s.setting: s.address(site) for s in self._used(State(self.folder)) if s.setting}

    def describe(self) -> dict[str, Any]:
        """All that there is to know, for scripts: ports, size, addresses, daemons."""
        site, state, daemons = self.site, State(self.folder), self.status()
        services = {
            s.name: {
                "address": s.address(site),
                "setting": s.setting,
                "environment": s.environment(site),
                "running": all(d.alive for d in daemons if d.service == s.name),
            }
            for s in self._used(state)
        }
        shown = [{k: str(v) if isinstance(v, Path) else v for k, v in asdict(d).items()} for d in daemons]
        return {
            "port": site.port,
            "ha": site.ha,
            "services": services,
            "daemons": shown,
            "memory_bytes": sum(d.memory_bytes for d in daemons),
        }

    def used(self) -> list[str]:
        """Names of the services that were started here."""
        return [s.name for s in self._used(State(self.folder))]

    def _used(self, state: State) -> list[Service]:
        return [
            s
            for s in self._services.values()
            if any(d.service == s.name for d in state.daemons.values()) or self.site.conf(s.name).exists()
        ]

    def log(self, role: str) -> list[Path]:
        """The log files of a daemon or of all of a role.

        Raises:
            NotFound: No such daemon.
        """
        return [self.site.log(daemon.name) for _, daemon in self._daemons(role)]

    def _service(self, name: str) -> Service:
        if name not in self._services:
            raise NotFound(
                f'no service "{name}"; {nearest(name, self._services) or "there are " + ", ".join(self._services)}'
            )
        return self._services[name]

    def _with_needs(self, names: Iterable[str]) -> list[str]:
        """Names in an order in which each comes after what it needs."""
        order, site = list[str](), self.site

        def add(name: str) -> None:
            for need in self._service(name).needs_at(site):
                add(need)
            if name not in order:
                order.append(name)

        for name in names:
            add(name)
        return order

    def _daemons(self, role: str) -> list[tuple[Service, Daemon]]:
        """Those that a name stands for, of the services that were started here: one daemon, or all of a role. What
        others need need not be installed.
        """
        site = self.site
        every = [(service, daemon) for service in self._used(State(self.folder)) for daemon in service.daemons(site)]
        found = [(s, d) for s, d in every if role in (d.name, d.role) or role == f"{d.role}#1" == f"{d.name}#1"]
        if not found:
            known = [daemon.name for _, daemon in every]
            raise NotFound(
                f'no daemon "{role}";'
                f" {nearest(role, known) or ('there are ' + ', '.join(known) if known else 'nothing was started here')}"
            )
        return found


def _parts(service: Service, site: Site) -> Mapping[str, str]:
    try:
        return service.leaders(site)
    except OSError:
        return {}


def _status(service: Service, daemon: Daemon, site: Site, state: State, part: str) -> Status:
    started = state.daemons.get(daemon.name)
    running = started is not None and process.alive(started.process)
    return Status(
        role=daemon.name,
        service=service.name,
        part=part if running else "",
        alive=running,
        pid=started.process.pid if started and running else None,
        memory_bytes=process.memory(started.process) if started and running else 0,
        uptime_s=time.time() - started.at if started and running else None,
        ports=tuple(daemon.ports),
        log=site.log(daemon.name),
    )
