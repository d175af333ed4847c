"""What is remembered of a cluster between commands: its ports, its size, its daemons. One file, replaced whole."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from millstream.base.errors import Busy, Corrupt
from millstream.cluster.process import Identity

_VERSION = 1


@dataclass(frozen=True)
class Shape:
    """What data and configuration were made for; it stays until the cluster is wiped."""

    port: int
    ha: bool


@dataclass(frozen=True)
class Started:
    """A daemon that was started and not stopped. `at` is seconds since 1970, `stop` the signal that ends it in
    order.
    """

    process: Identity
    at: float
    service: str
    stop: str


class State:
    """Shape and daemons, in `state.json` of the cluster's folder. Safe for threads; processes hold `alone`.

    Raises:
        Corrupt: The file is not what was written.
    """

    def __init__(self, folder: Path) -> None:
        self._file, self._lock = folder / "state.json", threading.Lock()
        self.shape: Shape | None = None
        self.daemons: dict[str, Started] = {}
        self._read()

    def _read(self) -> None:
        try:
            text = self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        try:
            told = json.loads(text)
            if told["version"] != _VERSION:
                raise Corrupt(
                    f"{self._file} is of version {told['version']}, this Millstream knows {_VERSION}; stop its daemons"
                    " with the one that wrote it"
                )
            self.shape = Shape(**told["shape"]) if told["shape"] else None
            self.daemons = {
                name: Started(Identity(d["pid"], d["born"]), d["at"], d["service"], d["stop"])
                for name, d in told["daemons"].items()
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Corrupt(f"{self._file} cannot be read ({error}); stop what it started, then remove it") from error

    def choose(self, shape: Shape) -> None:
        with self._lock:
            self.shape = shape
            self._write()

    def started(self, name: str, daemon: Started) -> None:
        with self._lock:
            self.daemons[name] = daemon
            self._write()

    def stopped(self, name: str) -> None:
        with self._lock:
            self.daemons.pop(name, None)
            self._write()

    def _write(self) -> None:
        daemons = {
            name: asdict(d.process) | {"at": d.at, "service": d.service, "stop": d.stop}
            for name, d in self.daemons.items()
        }
        told = {"version": _VERSION, "shape": asdict(self.shape) if self.shape else None, "daemons": daemons}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".new")
        with new.open("w", encoding="utf-8") as out:
            json.dump(told, out, indent=1)
            out.flush()
            os.fsync(out.fileno())
        new.replace(self._file)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One command at a time changes a cluster; the lock goes with the process, however it ends.

    Raises:
        Busy: Another one is at it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise Busy(
                f"another `millstream cluster` is at work here (process {lock.read().strip() or 'unknown'}); wait for"
                " it, or stop it"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
