"""A query's own folder: what is written for it, seen by every executor, gone with it."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SHARED = "/tmp/millstream"
"""Of the default file system."""
_NUMBERS = itertools.count()


class Scratch:
    """`folder` on this machine; where executors run elsewhere, `place` is a folder of their file system.

    Args:
        local: Executors run on this machine.
        place: Of the shared file system, "" for `SHARED`. Below it each application has a folder: drivers of several
            machines meet there.
    """

    def __init__(self, session: SparkSession, folder: Path, *, local: bool, place: str = "") -> None:
        name = f"query-{os.getpid()}-{next(_NUMBERS)}"
        self._session, self._local = session, local
        self.folder = folder / name
        self.place = (
            f"file://{self.folder}"
            if local and not place
            else f"{place.rstrip('/') or SHARED}/{session.sparkContext.applicationId}/{name}"
        )
        self._made = itertools.count()
        self._shared = False

    def name(self, ending: str = "") -> str:
        """A name nobody has, below the folder, which is made."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return f"{next(self._made)}{ending}"

    def path(self, name: str) -> str:
        """Where executors write it."""
        self._shared = True
        return f"{self.place}/{name}"

    def shared(self, name: str) -> str:
        """Where executors find what was written to `folder`."""
        if self.place == f"file://{self.folder}":
            return f"{self.place}/{name}"
        there = self.path(name)
        self._files(there).copyFromLocalFile(True, True, self._path(f"file://{self.folder}/{name}"), self._path(there))
        return there

    def drop(self, paths: list[str]) -> None:
        """Clear away some of what executors wrote."""
        for path in paths:
            self._files(path).delete(self._path(path), True)

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._shared and self.place != f"file://{self.folder}":
            self.drop([self.place])

    def _path(self, text: str) -> Any:
        return self._session._jvm.org.apache.hadoop.fs.Path(text)

    def _files(self, text: str) -> Any:
        return self._path(text).getFileSystem(self._session._jsc.hadoopConfiguration())
