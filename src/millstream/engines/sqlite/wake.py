"""Followers of a topic are woken by a datagram that a writer sends after its COMMIT.

Not inotify: it fires before the commit is visible. A reader binds its socket first, then reads, then waits; a full
queue is harmless, and a socket nobody listens on any more is removed by the next writer. A lost datagram costs
`FALLBACK_S`.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import uuid
import zlib
from collections.abc import Collection
from pathlib import Path

FALLBACK_S = 0.25
_LONGEST, _NAME = 100, 24  # bytes of a unix socket's path, and of the name in it
_MARK = 8  # of which so many tell the topic


class _Folder:
    """The sockets' folder. A socket's path may have about 100 bytes; a longer one is named by way of an open folder
    where the system can.
    """

    def __init__(self, log: Path) -> None:
        self.path = log.with_name(log.name + ".readers")
        # Read-only or full: nobody can be woken, so readers look again by themselves
        with contextlib.suppress(OSError):
            self.path.mkdir(exist_ok=True)
        self._fd: int | None = None
        self.short = str(self.path)
        if len(self.short) + _NAME > _LONGEST and self.path.is_dir():
            self._fd = os.open(self.path, os.O_RDONLY)
            self.short = f"/proc/self/fd/{self._fd}"

    @property
    def usable(self) -> bool:
        return self._fd is None or os.path.isdir(self.short)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _mark(topic: str) -> str:
    return f"{zlib.crc32(topic.encode()):08x}"


def _bound(path: str) -> socket.socket | None:
    """A socket of that name; None where no name can be written."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        made.bind(path)
    except OSError:
        made.close()
        return None
    made.setblocking(False)
    return made


class Bell:
    """Rings at the readers of a log. One for each writing object."""

    def __init__(self, log: Path) -> None:
        self._folder = _Folder(log)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def ring(self, topics: Collection[str]) -> None:
        """Wake everyone who listens to one of these topics; never blocks, never fails."""
        rung = {_mark(topic) for topic in topics}
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._folder.path):
                if name[:_MARK] not in rung:
                    continue
                target = f"{self._folder.short}/{name}"
                try:
                    self._socket.sendto(b"!", target)
                except (ConnectionRefusedError, FileNotFoundError):
                    with contextlib.suppress(OSError):
                        os.unlink(target)
                except OSError:
                    pass  # its queue is full: it will read anyway

    def close(self) -> None:
        self._socket.close()
        self._folder.close()


class Ear:
    """Waits for the bell of a topic."""

    def __init__(self, log: Path, topic: str) -> None:
        self._folder = _Folder(log)
        self._path = f"{self._folder.short}/{_mark(topic)}-{uuid.uuid4().hex[:12]}"
        self._socket: socket.socket | None = None
        if self._folder.usable:
            self._socket = _bound(self._path)

    def wait(self, seconds: float) -> None:
        """Until the bell rings, or as long as a lost datagram may cost, or `seconds`."""
        seconds = min(seconds, FALLBACK_S)
        if self._socket is None:
            select.select([], [], [], min(seconds, 0.02))
            return
        ready, _, _ = select.select([self._socket], [], [], seconds)
        if ready:
            with contextlib.suppress(OSError):
                while self._socket.recv(16):
                    pass

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        self._folder.close()
