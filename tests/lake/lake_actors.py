"""Processes that land, join and clean, and are killed or stopped at named points: forked from one server, so that one
costs milliseconds.

`python lake_actors.py` is the server: a JSON line on stdin names a role and its arguments; it answers with the pid, and
later with the code that the process ended with. An actor says on the same stdout where it has come to.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa

from millstream.base import points
from millstream.declare.stream import stream
from millstream.engines.local.files import LocalFiles
from millstream.engines.sqlite.log import SqliteLog
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.engines.sqlite.state import SqliteState
from millstream.lake import clean, compact
from millstream.lake.contract import READINGS, Reading
from millstream.lake.lake import Lake
from millstream.lake.maintain import maintain
from millstream.lake.move import move
from millstream.lake.sink import Sink, SinkLimits

LATEST_US = 1_893_456_000_000_000
"""2030: rows later than this lie too far ahead."""


class World:
    """A log, a lake and a state store in one folder; `lake` may be elsewhere."""

    def __init__(self, folder: Path | str, lake: Path | str | None = None) -> None:
        self.folder = Path(folder)
        self.schemas = SqliteSchemas(f"sqlite:{folder}/log.db")
        self.log = SqliteLog(f"sqlite:{folder}/log.db", self.schemas)
        self.lake = Lake(LocalFiles(str(lake or self.folder / "lake")))
        self.state = SqliteState(f"sqlite:{folder}/state.db")

    def sink(self, rows: int = 500_000, partitions: list[int] | None = None, of: Any = READINGS, **more: Any) -> Sink:
        return Sink(
            self.log,
            self.schemas,
            self.lake,
            of,
            limits=SinkLimits(rows=rows, age=timedelta(milliseconds=5)),
            partitions=partitions,
            **more,
        )

    def drain(self, rows: int = 500_000, partitions: list[int] | None = None, of: Any = READINGS) -> Any:
        sink = self.sink(rows, partitions, of)
        try:
            return sink.drain()
        finally:
            sink.close()

    def close(self) -> None:
        self.log.close()
        self.state.close()


def upkeep_after(world: World, name: str, days: float) -> Any:
    """Upkeep, days from now, of a table that others have just written to: ages are counted from the newest commit."""
    with mock.patch("millstream.lake.maintain._written", return_value=float("inf")):
        return maintain(world.lake, name, world.state, "me", now=lambda: time.time() + days * 86400)


class Lenient(Reading):
    """The class of tomorrow: a number may be missing; one more field has a default."""

    n: int | None  # type: ignore[assignment]
    unit: str = "C"


LENIENT = stream("readings", Lenient, key="who", partitions=3, lateness="60s")


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def at_point(point: str, times: int, do: str) -> None:
    """Die, stop or fail when this process comes to a point for the `times`th time."""
    left = [times]

    def handler(reached: str) -> None:
        if point not in (reached, "any"):
            return
        left[0] -= 1
        if left[0] == 0:
            say("at", os.getpid(), point)
            if do == "raise":
                raise OSError("the answer was lost")
            os.kill(os.getpid(), signal.SIGKILL if do == "kill" else signal.SIGSTOP)

    points.watch(handler)


def drain(world: World, rows: int = 500_000, partitions: list[int] | None = None, lenient: bool = False) -> None:
    """Land what there is, and end."""
    world.drain(rows, partitions, LENIENT if lenient else READINGS)


def follow(world: World, rows: int = 500_000, partitions: list[int] | None = None) -> None:
    """Land for ever."""
    sink = world.sink(rows, partitions)
    say("at", os.getpid(), "work")
    while True:
        sink.step(timedelta(milliseconds=20))


def upkeep(world: World, often: bool = False) -> None:
    """Join whatever can be joined, make a checkpoint; once, or for ever with everything else that a table needs."""
    compact.AT_LEAST = (4, 4, 4)
    if not often:
        compact.compact(world.lake.table("readings"))
        return
    clean.AT_MOST, clean.SLACK, clean._SURELY = 30, 0, timedelta(seconds=0)
    say("at", os.getpid(), "work")
    while True:
        for name in world.lake.names():
            maintain(world.lake, name, world.state, str(os.getpid()))
        time.sleep(0.05)


def move_rows(world: World) -> None:
    """Move what lies too far ahead to the dead letters, and end."""
    move(world.log, world.lake, READINGS, LATEST_US)


ROLES: dict[str, Callable[..., None]] = {"drain": drain, "follow": follow, "upkeep": upkeep, "move": move_rows}


def become(role: str, folder: str, lake: str | None, point: list[Any] | None, arguments: dict[str, Any]) -> None:
    """The child: never returns."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        if point:
            at_point(*point)
        ROLES[role](World(folder, lake), **arguments)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def serve() -> None:
    """Fork actors as asked. What an actor would import at its first batch is imported here, once (Arrow looks for
    pandas at its first NumPy array).
    """
    import pyarrow.dataset  # noqa: F401

    pa.array(np.zeros(1))
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    rest = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            say("gone", pid, os.waitstatus_to_exitcode(status))
        if 0 in ready:
            found = os.read(0, 65536)
            if not found:
                return
            *lines, rest = (rest + found).split(b"\n")
            for line in lines:
                asked = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    become(**asked)
                say("born", pid)


class Actor:
    """A process of the server's."""

    def __init__(self, stage: Stage, pid: int) -> None:
        self.stage, self.pid = stage, pid

    def signal(self, number: int) -> None:
        if self.pid not in self.stage.gone:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and continued return."""
        self.signal(signal.SIGKILL)
        self.wait()

    def arrive(self) -> None:
        """Wait until it is at its point."""
        self.stage.until(lambda: self.pid in self.stage.arrived or self.pid in self.stage.gone)
        assert self.pid in self.stage.arrived, f"ended with {self.stage.gone[self.pid]} before it came to its point"

    def arrive_stopped(self) -> None:
        """Wait until it has stopped itself at its point."""
        self.arrive()
        while not subprocess.run(
            ["ps", "-o", "stat=", "-p", str(self.pid)], capture_output=True, text=True
        ).stdout.startswith("T"):
            time.sleep(0.001)

    def wait(self) -> int:
        """Its exit code: 0 for well, negative for a signal."""
        self.stage.until(lambda: self.pid in self.stage.gone)
        return self.stage.gone[self.pid]


class Stage:
    """The server, as tests see it; `folder` is the world of the actors that come next."""

    def __init__(self, folder: Path) -> None:
        self.home = self.folder = folder
        self.lake: Path | None = None
        self.gone: dict[int, int] = {}
        self.arrived: dict[int, str] = {}
        self.born: list[int] = []
        self.errors = (folder / "actors.txt").open("w+")
        self.server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors
        )

    def spawn(self, role: str, *, point: tuple[str, int, str] | None = None, **arguments: Any) -> Actor:
        """Start an actor; `point`: where to do what ("kill", "stop", "raise") at which time of coming there."""
        assert self.server.stdin is not None
        asked = {
            "role": role,
            "folder": str(self.folder),
            "lake": str(self.lake) if self.lake else None,
            "point": point,
            "arguments": arguments,
        }
        self.server.stdin.write(json.dumps(asked).encode() + b"\n")
        self.server.stdin.flush()
        before = len(self.born)
        self.until(lambda: len(self.born) > before)
        return Actor(self, self.born[-1])

    def until(self, done: Callable[[], bool]) -> None:
        assert self.server.stdout is not None
        while not done():
            line = self.server.stdout.readline().decode().split()
            assert line, f"the server ended: {self.told()}"
            if line[0] == "born":
                self.born.append(int(line[1]))
            elif line[0] == "gone":
                self.gone[int(line[1])] = int(line[2])
            else:
                self.arrived[int(line[1])] = line[2]

    def told(self) -> str:
        """What actors wrote about their errors."""
        self.errors.flush()
        return (self.home / "actors.txt").read_text()

    def clear(self) -> None:
        """Kill whoever is left."""
        for pid in self.born:
            if pid not in self.gone:
                os.kill(pid, signal.SIGKILL)
        self.until(lambda: all(pid in self.gone for pid in self.born))
        for told in (self.gone, self.arrived, self.born):
            told.clear()

    def close(self) -> None:
        assert self.server.stdin is not None and self.server.stdout is not None
        self.server.stdin.close()
        self.server.wait()
        self.server.stdout.close()
        self.errors.close()


if __name__ == "__main__":
    serve()
