"""Daemons as processes: started in sessions of their own, known by pid and birth, stopped with all that they
started.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from millstream.base.errors import EngineMissing

MARK = "MILLSTREAM_CLUSTER"
"""A variable that every process of a cluster inherits; its value is the cluster's folder."""
_SOMEBODY, _AT_ITS_END_S = "another process", 5.0
_GATE = 'read -r go && exec "$@" </dev/null'
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Identity:
    """A process that is told apart from a later one with its number. `born` is opaque, and as steady as the system can
    say it.
    """

    pid: int
    born: str


def begin(
    command: Sequence[str | Path], *, log: Path, environment: Mapping[str, str]
) -> tuple[Identity, subprocess.Popen[bytes]]:
    """A process that waits to become the command until `release`; should this one die before, it ends by itself.

    So whoever writes the identity down between the two leaves no daemon that nobody knows of.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        words = ["sh", "-c", _GATE, "sh", *(str(word) for word in command)]
        child = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=out, stderr=out, env=environment, start_new_session=True
        )
    _children[child.pid] = child
    born = _born(child.pid)
    assert born is not None, "it waits for us"
    return Identity(child.pid, born), child


def release(child: subprocess.Popen[bytes]) -> None:
    """Let it become the command."""
    assert child.stdin is not None
    child.stdin.write(b"go\n")
    child.stdin.close()


def alive(process: Identity) -> bool:
    """Whether that very process runs; a zombie does not."""
    lives, child = _born(process.pid) == process.born, _children.get(process.pid)
    if lives or child is None:
        return lives
    # A zombie of ours that is not reaped yet: others, PostgreSQL's lock file for one, take it for alive
    if child.poll() is None:
        return True
    del _children[process.pid]
    return False


def _born(pid: int) -> str | None:
    """Linux counts ticks since boot, which no change of the clock moves; elsewhere the moment of the start."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        gone = state in "ZX" and int(fields[16]) <= 1  # of a JVM the first thread may have ended before the others
        return None if gone else f"{fields[18]}@{_boot()}"
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except ProcessLookupError:
        return None
    psutil = _psutil()
    try:
        found = psutil.Process(pid)
        return None if found.status() == psutil.STATUS_ZOMBIE else f"{found.create_time():.2f}"
    except psutil.Error:
        return None


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()


def _psutil() -> ModuleType:
    try:
        import psutil
    except ImportError as error:
        raise EngineMissing('`millstream cluster` needs psutil: pip install "millstream[cluster]"') from error
    return psutil


def stop(processes: Iterable[tuple[Identity, signal.Signals]], *, grace_s: float = 20.0) -> None:
    """End each by its signal, then by force those that stay; returns when none is left."""
    asked = [(process, by) for process, by in processes if alive(process)]
    for process, by in asked:
        _signal(process, by)
    left = [process for process, _ in asked]
    deadline = time.monotonic() + grace_s
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = [process for process in left if alive(process)]
    for process in left:
        kill(process)


def kill(process: Identity) -> None:
    """SIGKILL to it and to those of its session that stayed with it; returns when it is gone."""
    if alive(process):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
    while alive(process):
        time.sleep(0.01)


def _signal(process: Identity, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process.pid, number)


def sweep(folder: Path) -> list[int]:
    """Kill what a dead daemon has left behind: processes that carry the cluster's mark. Returns their numbers."""
    psutil = _psutil()
    found: list[int] = []
    for process in psutil.process_iter(["environ"]):
        if (process.info["environ"] or {}).get(MARK) == str(folder) and process.pid != os.getpid():
            try:
                process.kill()
                process.wait(10)
            except psutil.NoSuchProcess:
                continue
            found.append(process.pid)
    return found


def memory(process: Identity) -> int:
    """Resident bytes of it and of all that it started."""
    psutil = _psutil()
    total = 0
    try:
        root = psutil.Process(process.pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    for one in tree:
        try:
            total += one.memory_info().rss
        except psutil.Error:
            continue
    return total


def holder(port: int) -> str | None:
    """Who listens on a loopback port: "java (process 17)", "another process" when the system does not tell, None when
    nobody does.

    A process at its end is waited for: one that was killed lets go of its ports a moment later.
    """
    deadline = time.monotonic() + _AT_ITS_END_S
    while (found := _holder(port)) == _SOMEBODY and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _holder(port: int) -> str | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return None
        except OSError:
            pass
    psutil = _psutil()
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return _SOMEBODY


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on at this moment."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports
