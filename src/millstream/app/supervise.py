"""`up`: every continuous part as a process of its own, watched and started again.

A part that dies is started again after a pause that doubles up to 30 s and falls back once it has lived for a minute.
SIGTERM and Ctrl-C are passed on; parts get 20 s to finish what they hold. Should the supervisor be killed, its parts
see the end of their standard input and stop by themselves: nothing is left behind that nobody watches.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from types import FrameType

from millstream.app.alarms import Alarms, Say
from millstream.base.errors import Busy
from millstream.run.runner import alone
from millstream.run.schedule import left_alone
from millstream.run.workspace import Workspace

GRACE_S = 20.0


@dataclass
class Part:
    """A child process and how often it had to be started."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = 0.5
    due: float = 0.0
    starts: int = field(default=0)

    def start(self) -> None:
        # A Ctrl-C reaches the supervisor alone
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, start_new_session=True)
        self.started, self.starts = time.monotonic(), self.starts + 1


def parts_of(ws: Workspace, console: bool) -> list[str]:
    """The parts this project needs."""
    from millstream.declare.source import FileReader

    project = ws.project
    names = ["sinks", "schedule"]
    if any(isinstance(s.reader, FileReader) and s.reader.watch for s in project.sources.values()):
        names.insert(0, "sources")
    if project.endpoints or any(s.reader.kind == "http" for s in project.sources.values()):
        names[:0] = ["serve", "features"] if project.endpoints or project.features else ["serve"]
    return [*names, "console"] if console else names


def supervise(ws: Workspace, *, console: bool, say: Say) -> None:
    """Run until told to stop.

    Raises:
        WorkFailed, UsageError: The orchestrator does not take the project.
        ConfigError: A server would listen beyond loopback without a token; better said now than by a part, again and
            again.
        Busy: Another `up` of this project is under way, or another process listens at one of its addresses.
    """
    _guard(ws, console)
    ws.orchestrator.deploy()
    base = [sys.executable, "-m", "millstream", "--project", str(ws.project.root), "--profile", ws.settings.profile]
    base += [word for key, value in ws.settings.flags.items() for word in ("--set", f"{key}={value}")]
    parts = [Part(name, [*base, "part", "--watched", name]) for name in parts_of(ws, console)]
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    with alone(ws.folder / "up", up=True):
        _free(ws, console, say)  # behind the lock: another `up` of this project is said as such
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        try:
            for line in left_alone(ws.project):
                say("yellow", "warning", line)
            for part in parts:
                part.start()
                say("green", "started", f"{part.name} (process {part.process.pid if part.process else '?'})")
            alarms = Alarms(
                lambda: [v for name in ws.project.monitors for v in ws.monitors.verdicts(name, latest=True)], say
            )
            while not stopping:
                _watch(parts, say)
                alarms.look()
                time.sleep(0.1)
        finally:
            _stop(parts)
            say("", "stopped", "")


def _guard(ws: Workspace, console: bool) -> None:
    from millstream.http.access import guard

    guard(ws.settings.serve_host, ws.settings.serve_token, "serve")
    if console:
        guard(ws.settings.console_host, ws.settings.console_token, "console")


def _free(ws: Workspace, console: bool, say: Say) -> None:
    """Wait for the ports of the parts that listen: those of an `up` that was killed have as long to end.

    Raises:
        Busy: Another process listens there.
    """
    from millstream.http.address import free

    until, told = time.monotonic() + GRACE_S, False
    while True:
        try:
            if "serve" in parts_of(ws, console):
                free(ws.settings.serve_host, ws.settings.serve_port, "serve")
            if console:
                free(ws.settings.console_host, ws.settings.console_port, "console")
            return
        except Busy as error:
            if time.monotonic() >= until:
                raise
            if not told:
                say(
                    "yellow",
                    "waits",
                    f"up to {GRACE_S:.0f} s, in case it is a part of an `up` that was killed: {error}",
                )
            told = True
            time.sleep(0.2)


def _watch(parts: list[Part], say: Say) -> None:
    now = time.monotonic()
    for part in parts:
        if part.process is not None and part.process.poll() is not None:
            code = part.process.returncode
            part.pause = 0.5 if now - part.started > 60 else min(30.0, part.pause * 2)
            _close(part.process)
            part.process, part.due = None, now + part.pause
            say("red", f"{part.name} ended with {code};", f"starting it again in {part.pause:.1f} s")
        elif part.process is None and now >= part.due:
            part.start()


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()


def _stop(parts: list[Part]) -> None:
    alive = [p.process for p in parts if p.process is not None and p.process.poll() is None]
    for process in alive:
        process.terminate()
    deadline = time.monotonic() + GRACE_S
    for process in alive:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for process in alive:
        _close(process)


def stop_with_supervisor() -> None:
    """SIGTERM to this process when its standard input ends, which is when the supervisor is gone, however it ended."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        while True:  # until this process has ended: a library that reads may have taken the first one for itself
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1.0)

    threading.Thread(target=wait, name="supervisor", daemon=True).start()
