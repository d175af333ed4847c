"""The local disk, as the lake's files."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, TypeVar

from millstream.base.errors import UsageError

if sys.platform == "darwin":
    import fcntl

    def _flush(handle: int) -> None:
        fcntl.fcntl(handle, fcntl.F_FULLFSYNC)  # fsync(2) there stops at the drive's cache

else:

    def _flush(handle: int) -> None:
        os.fsync(handle)


T = TypeVar("T")


class LocalFiles:
    """Files below one folder of this machine.

    Args:
        url: A path, or `file:PATH`, `file:///PATH`. The folder is made when the first file is.
    """

    def __init__(self, url: str) -> None:
        self._root = Path(url.removeprefix("file://").removeprefix("file:")).expanduser().absolute()

    @property
    def root(self) -> str:
        return str(self._root)

    @property
    def options(self) -> Mapping[str, str]:
        return {}

    def call(self, work: Callable[[], T]) -> T:
        return work()

    def create(self, path: str) -> BinaryIO:
        target = self._at(path)
        try:
            return target.open("xb")
        except FileNotFoundError:
            self._folder(target.parent)
            return target.open("xb")

    def open(self, path: str) -> BinaryIO:
        return self._at(path).open("rb")

    def sync(self, *paths: str) -> None:
        folders: dict[Path, None] = {}
        for path in paths:
            target = self._at(path)
            _sync(target, os.O_RDONLY)
            folders[target.parent] = None
        for folder in folders:
            _sync(folder, os.O_RDONLY | os.O_DIRECTORY)

    def size(self, path: str) -> int | None:
        try:
            return self._at(path).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def list(self, folder: str) -> list[str]:
        try:
            return sorted(os.listdir(self._at(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def remove(self, path: str) -> None:
        self._at(path).unlink(missing_ok=True)

    def remove_tree(self, folder: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._at(folder))

    def free_bytes(self) -> int | None:
        place = self._root
        while not place.exists():
            place = place.parent
        return shutil.disk_usage(place).free

    def _at(self, path: str) -> Path:
        """Where it is; a path that would leave the root is a mistake of the caller."""
        if path.startswith("/") or ".." in path.split("/"):
            raise UsageError(f'"{path}" leaves the lake {self._root}: paths are relative, without ".."')
        return self._root / path

    def _folder(self, folder: Path) -> None:
        """Make the folder so that its name survives a power cut too: a synced file in a forgotten folder is lost."""
        if folder.exists():
            return
        self._folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        _flush(handle)
    finally:
        os.close(handle)
