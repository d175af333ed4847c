"""How services are brought up: each in a thread of its own, after those that it needs; every step can be taken
again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from millstream.base.errors import Busy, MillstreamError, Unreachable
from millstream.cluster import ask, process
from millstream.cluster.service import Daemon, Once, Service, Site, Until
from millstream.cluster.state import Started, State

_PAUSE_S = 0.1


class Say(Protocol):
    """Takes what a service is at: ("kafka", "waiting: 2 of 3 brokers"); "ready" is its last word."""

    def __call__(self, service: str, text: str) -> None: ...


class Bringing:
    """One command's work on a cluster whose lock it holds."""

    def __init__(self, site: Site, state: State, say: Say) -> None:
        self._site, self._state, self._say = site, state, say
        self._ended = threading.Event()
        self._ready: dict[str, threading.Event] = {}

    def up(self, services: Sequence[Service]) -> None:
        """All of them ready, or the first error of the way; what has been started then stays, and a second call
        continues.
        """
        self._ready = {service.name: threading.Event() for service in services}
        with ThreadPoolExecutor(max_workers=max(1, len(services))) as pool:
            try:
                for work in [pool.submit(self._one, service) for service in services]:
                    work.result()
            finally:
                self._ended.set()

    def _one(self, service: Service) -> None:
        try:
            for need in service.needs_at(self._site):
                self._say(service.name, f"after {need}")
                while not self._ready[need].wait(_PAUSE_S):
                    self._unless_stopped()
            for item in service.fetches(self._site):
                item.fetch(lambda text: self._say(service.name, text))
                self._unless_stopped()
            self._render(service)
            steps = service.steps(self._site)
            first = any(isinstance(step, Once) and not self._done(step).exists() for step in steps)
            for step in steps:
                if first or not isinstance(step, Until):  # later starts need no order
                    self._take(service, step)
            self.await_ready(service)
            for once in service.finish(self._site):
                self._once(service, once)
        except _Stopped:
            return
        except BaseException:
            self._ended.set()
            raise
        self._ready[service.name].set()
        self._say(service.name, "ready")

    def _render(self, service: Service) -> None:
        for name, text in service.files(self._site).items():
            file = self._site.conf(service.name) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")

    def _take(self, service: Service, step: Daemon | Once | Until) -> None:
        self._unless_stopped()
        match step:
            case Daemon():
                self.start(service, step)
            case Once():
                self._once(service, step)
            case Until():
                self._await(service, lambda: "" if all(ask.listens(port) for port in step.ports) else step.what)

    def start(self, service: Service, daemon: Daemon) -> None:
        """Start it, unless it runs.

        Raises:
            Busy: A port of it is taken.
        """
        known = self._state.daemons.get(daemon.name)
        if known and process.alive(known.process):
            return
        for port in daemon.ports:
            if taken := process.holder(port):
                raise Busy(
                    f"{daemon.name} needs port {port}, and {taken} listens there; stop that, or choose other ports:"
                    " --set cluster.port=N"
                )
        self._say(service.name, f"starting {daemon.name}")
        (self._site.folder / "data").mkdir(parents=True, exist_ok=True)
        environment = self._environment(daemon.environment)
        identity, child = process.begin(daemon.command, log=self._site.log(daemon.name), environment=environment)
        self._state.started(daemon.name, Started(identity, time.time(), service.name, daemon.stop))
        process.release(child)

    def _environment(self, more: Mapping[str, str | None]) -> dict[str, str]:
        merged: dict[str, str | None] = {**os.environ, process.MARK: str(self._site.folder), **more}
        return {key: value for key, value in merged.items() if value is not None}

    def _done(self, once: Once) -> Path:
        """The file that says that it was done."""
        return self._site.folder / "once" / once.name

    def _once(self, service: Service, once: Once) -> None:
        done = self._done(once)
        if done.exists():
            return
        self._say(service.name, f"first start: {once.name}")
        for folder in once.clear:
            shutil.rmtree(folder, ignore_errors=True)
        log, environment = self._site.log(once.name), self._environment(once.environment)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            running = [
                subprocess.Popen(
                    [str(w) for w in words], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment
                )
                for words in once.commands
            ]
            codes = [child.wait() for child in running]
        if any(codes):
            raise Unreachable(f"{service.name}: {once.name} ended with exit code {max(codes, key=abs)}; {_tail(log)}")
        done.parent.mkdir(parents=True, exist_ok=True)
        done.touch()

    def await_ready(self, service: Service) -> None:
        """Wait until it answers as it should.

        Raises:
            Unreachable: One of its daemons died, or its patience is over; with the end of the log.
        """
        self._await(service, lambda: service.missing(self._site))

    def _await(self, service: Service, missing: Callable[[], str]) -> None:
        deadline, said = time.monotonic() + service.patience_s, ""
        mine = [name for name, started in self._state.daemons.items() if started.service == service.name]
        while True:
            self._unless_stopped()
            dead = next((name for name in mine if not process.alive(self._state.daemons[name].process)), None)
            try:
                lacks = missing()
            except OSError:
                lacks = "its first answer"
            if not lacks:
                return
            if dead:
                raise Unreachable(f"{dead} has died while {service.name} was waited for; {_tail(self._site.log(dead))}")
            if time.monotonic() > deadline:
                logs = "; ".join(_tail(self._site.log(name), 5) for name in mine)
                raise Unreachable(
                    f"{service.name} is not ready after {service.patience_s:.0f} s, it lacks {lacks}; {logs}"
                )
            if lacks != said:
                self._say(service.name, f"waiting for {lacks}")
                said = lacks
            time.sleep(_PAUSE_S)

    def _unless_stopped(self) -> None:
        if self._ended.is_set():
            raise _Stopped


class _Stopped(MillstreamError):
    """Another service failed, or the user has had enough; not an error of its own."""


def _tail(log: Path, lines: int = 15) -> str:
    try:
        found = log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        found = []
    return f"the end of {log}:\n" + "\n".join(f"    {line}" for line in found)
