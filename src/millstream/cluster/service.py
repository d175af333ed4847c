"""What a service is made of: pieces to fetch, files to render, steps to take, and one question that tells whether it is ready."""

from __future__ import annotations

import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Site:
    """One project's cluster: where its files lie, where its ports begin, and its size.

    Attributes:
        folder: `.millstream/cluster` of the project.
        port: The first of the 1000 ports that the cluster may use.
        ha: The full count of daemons, so that each may die; else as few as do the job.
    """

    folder: Path
    port: int
    ha: bool

    def conf(self, service: str) -> Path:
        return self.folder / "conf" / service

    def data(self, name: str) -> Path:
        return self.folder / "data" / name

    def log(self, daemon: str) -> Path:
        return self.folder / "logs" / f"{daemon.replace('#', '-')}.log"

    def from_project(self, path: Path) -> str:
        """As a profile says it: `.millstream/cluster/...`."""
        return str(path.relative_to(self.folder.parent.parent))

    def at(self, offset: int) -> str:
        """`host:port` of the port that is this far from the first."""
        return f"{LOOPBACK}:{self.port + offset}"

    def secret(self, name: str) -> str:
        """32 hexadecimal digits, drawn on first use, the same until the cluster is wiped."""
        file = self.folder / "secrets" / name
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            new = file.with_name(f"{name}.{os.getpid()}")
            new.touch(mode=0o600)
            new.write_text(secrets.token_hex(16), encoding="utf-8")
            new.replace(file)
        return file.read_text(encoding="utf-8")


class Fetch(Protocol):
    """Something a service is run from. Fetched once a user and shared by all projects, or only looked for."""

    def fetch(self, say: Note) -> None:
        """Have it, or say how to get it. What was fetched half is fetched again.

        Raises:
            EngineMissing: It cannot be had; the message is the fix.
        """
        ...


class Note(Protocol):
    """Takes what is being waited for, in a few words."""

    def __call__(self, text: str) -> None: ...


@dataclass(frozen=True)
class Daemon:
    """A process that runs until it is stopped.

    Attributes:
        number: 1 and up among daemons of its role; 0 when the role can only have one.
        ports: All that it listens on.
        environment: Beside that of `millstream cluster`; None takes a variable away.
        stop: The signal that ends it in order.
    """

    role: str
    number: int
    command: Sequence[str | Path]
    ports: Sequence[int] = ()
    environment: Mapping[str, str | None] = field(default_factory=dict)
    stop: str = "SIGTERM"

    @property
    def name(self) -> str:
        return f"{self.role}#{self.number}" if self.number else self.role


@dataclass(frozen=True)
class Once:
    """Commands that are run side by side, to their end, the first time only; when one fails or is cut short, all are run again.

    Attributes:
        clear: Folders that are removed before, so that a second attempt finds nothing half done.
    """

    name: str
    commands: Sequence[Sequence[str | Path]]
    clear: Sequence[Path] = ()
    environment: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Until:
    """On a first start, waits for ports of daemons started before, on which a later `Once` depends."""

    what: str
    ports: Sequence[int]


Step = Daemon | Once | Until


class Service(ABC):
    """Configuration of one technology; `Cluster` does what it says.

    Attributes:
        name: What the user calls it.
        setting: The key of a profile that takes its address; empty when none does.
        needs: Services that must be ready before it is started; `ha_needs` those that its full size needs beside.
        patience_s: How long it may take to become ready on a busy machine.
    """

    name: str
    setting: str = ""
    needs: tuple[str, ...] = ()
    ha_needs: tuple[str, ...] = ()
    patience_s: float = 120.0

    def needs_at(self, site: Site) -> tuple[str, ...]:
        return self.needs + (self.ha_needs if site.ha else ())

    def fetches(self, site: Site) -> Sequence[Fetch]:
        return ()

    def files(self, site: Site) -> Mapping[str, str]:
        """Name below `site.conf(self.name)` -> text."""
        return {}

    @abstractmethod
    def steps(self, site: Site) -> Sequence[Step]:
        """What starts it, in order. Steps of daemons that run and of `Once` that are done are passed over."""

    @abstractmethod
    def missing(self, site: Site) -> str:
        """What it lacks to be ready, asked as a client would ask; empty when it is ready.

        Raises:
            OSError: It does not answer.
        """

    def finish(self, site: Site) -> Sequence[Once]:
        """What is done once it is ready for the first time."""
        return ()

    def leaders(self, site: Site) -> Mapping[str, str]:
        """Daemon -> its part at this moment ("leader", "standby"), of those that have one."""
        return {}

    @abstractmethod
    def address(self, site: Site) -> str:
        """Where clients reach it, as a profile's URL."""

    def environment(self, site: Site) -> Mapping[str, str]:
        """Variables that its clients need."""
        return {}

    def daemons(self, site: Site) -> list[Daemon]:
        return [step for step in self.steps(site) if isinstance(step, Daemon)]
