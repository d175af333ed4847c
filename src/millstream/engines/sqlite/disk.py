"""Room on the log's disk: a floor below which appends stop, and a reserve that lets retention run when there is none.

A full disk wedges SQLite for ever: even a delete needs space in the WAL first.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from millstream.declare.errors import Full

FLOOR_BYTES = 64 << 20
RESERVE_BYTES = 64 << 20


class Room:
    """Free space as the log counts it: on the disk, and in pages of its file that retention has freed."""

    def __init__(self, path: Path, freed: Callable[[], int], floor_bytes: int = FLOOR_BYTES, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._path, self._freed = path, freed
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
        free = self._free()
        return free < 2 * self._least and not self._enough(free, 2 * self._least)

    def check(self) -> None:
        """Raises Full when an append would go below the floor."""
        free = self._free()
        if free >= self.floor_bytes + self.reserve_bytes or self._enough(free, self._least):
            return
        raise Full(f"{free / 1e6:.0f} MB are free beside {self._path}, and appends stop below {self._least / 1e6:.0f} MB; free some space on that disk, or shorten a retention")  # fmt: skip

    def _enough(self, free: int, least: int) -> bool:
        if free >= least:
            return True
        return free >= self.floor_bytes // 4 and free + self._freed() >= least  # pages freed are used again, but the WAL needs real space

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
    pages, size = con.execute("select freelist_count, page_size from pragma_freelist_count, pragma_page_size").fetchone()
    return int(pages) * int(size)
