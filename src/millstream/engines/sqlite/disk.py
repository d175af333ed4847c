"""Room on the log's disk: a floor below which appends stop, and a reserve that lets retention run when there is none.

A full disk wedges SQLite for ever: even a delete needs space in the WAL first.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from millstream.base import storage
from millstream.base.errors import Full
from millstream.log.retention import refused

FLOOR_BYTES = 64 << 20
RESERVE_BYTES = 64 << 20
PROBE_BYTES = 1 << 20
"""More than the pages that a WAL that was grown before may still hold."""
_COUNTED_S = 1.0
"""How long a count of what is not in the lake serves."""


class Room:
    """Free space as the log counts it: on the disk, and in pages of its file that retention has freed.

    Args:
        unwritten: Gives, for each topic, the bytes of its records that the lake does not have.
    """

    def __init__(
        self,
        path: Path,
        freed: Callable[[], int],
        unwritten: Callable[[], Mapping[str, int]] = dict,
        floor_bytes: int = FLOOR_BYTES,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        self._path, self._freed, self._unwritten = path, freed, unwritten
        self._counted: tuple[float, Mapping[str, int]] = (float("-inf"), {})
        self.floor_bytes, self.reserve_bytes = floor_bytes, reserve_bytes
        self._reserve = path.with_name(path.name + ".reserve")

    @property
    def _least(self) -> int:
        # A reserve that was given up must not be eaten by appends: it is still what retention lives on.
        return self.floor_bytes + (0 if self._reserve.exists() else self.reserve_bytes)

    def _free(self) -> int:
        return shutil.disk_usage(self._path.parent).free

    def tight(self) -> bool:
        """Appends are refused, or soon will be."""
        least = self._least
        return self._free() < 2 * least and self._available() < 2 * least

    def check(self, topics: Collection[str]) -> None:
        """Raises Full when an append to these topics would take room that is not theirs."""
        least = self._least
        if self._free() >= 2 * (self.floor_bytes + self.reserve_bytes) or (free := self._available()) >= 2 * least:
            return
        waiting = self._waiting()
        over = refused(free, least, waiting)
        if over is None:
            raise Full(
                f"{free / 1e6:.0f} MB are free beside {self._path}, and appends stop below {least / 1e6:.0f} MB; free"
                " some space on that disk, or shorten a retention"
            )
        for topic in over.intersection(topics):
            raise Full(
                f'{free / 1e6:.0f} MB are free beside {self._path}, and "{topic}" holds {waiting[topic] / 1e6:.0f} MB'
                " that are not in the lake yet, more than its share; start its sink, see why it stands still"
                " (millstream show streams), or free some space on that disk"
            )

    def probe(self) -> None:
        """Take some room and give it back: what a disk that is full, over its quota or read-only refuses.

        Raises:
            Full, ConfigError: It does.
        """
        file = self._path.with_name(self._path.name + ".probe")
        try:
            try:
                with file.open("wb") as out:
                    out.write(bytes(PROBE_BYTES))
                    out.flush()
                    os.fsync(out.fileno())
            finally:
                file.unlink(missing_ok=True)
        except OSError as error:
            raise storage.refused(error, file, "write to the log") or error from error

    def _available(self) -> int:
        """Free space, and freed pages, which are used again: but the WAL needs real space."""
        free = self._free()
        return free if free < self.floor_bytes // 4 else free + self._freed()

    def _waiting(self) -> Mapping[str, int]:
        if time.monotonic() - self._counted[0] > _COUNTED_S:
            self._counted = (time.monotonic(), self._unwritten())
        return self._counted[1]

    def release(self, *, needed: bool = False) -> None:
        """Give the reserve up when there is less than the floor, or `needed` anyway."""
        if needed or self._free() < self.floor_bytes:
            self._reserve.unlink(missing_ok=True)

    def restore(self) -> None:
        """Make the reserve again once there is plenty."""
        if self._reserve.exists() or self._free() < 2 * (self.floor_bytes + self.reserve_bytes):
            return
        with self._reserve.open("wb") as file:
            try:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, self.reserve_bytes)
                else:
                    file.write(bytes(self.reserve_bytes))
            except OSError:
                self._reserve.unlink(missing_ok=True)


def freed_bytes(con: sqlite3.Connection) -> int:
    """Bytes of pages in the file that hold nothing."""
    pages, size = con.execute(
        "select freelist_count, page_size from pragma_freelist_count, pragma_page_size"
    ).fetchone()
    return int(pages) * int(size)
