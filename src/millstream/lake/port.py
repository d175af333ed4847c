"""The files port: where the lake's tables live. Engine: `Engine(url: str)`, the `lake` of the profile."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol, runtime_checkable

import pyarrow as pa


@dataclass(frozen=True)
class Snapshot:
    """A lake table at one version: the files of it, by absolute path or URL.

    Attributes:
        schema: The table's Arrow schema, partition columns included.
        partitions: For each file, the values of the partition columns as the Delta log has them (empty: none).
        store: Where the files are opened, when they are no paths of this machine.
    """

    table: str
    version: int
    schema: pa.Schema
    files: tuple[str, ...]
    partitions: tuple[Mapping[str, Any], ...] = ()
    store: Files | None = field(default=None, repr=False, compare=False)


class Files(Protocol):
    """A tree of files below one root. Paths are relative, with forward slashes. Safe for several threads.

    A store that is somewhere else waits out what passes (`lake/patience.py`) before it raises Unreachable.
    """

    @property
    def root(self) -> str:
        """The root as delta-rs and the compute engine are given it: an absolute path, or a URL."""
        ...

    @property
    def options(self) -> Mapping[str, str]:
        """delta-rs storage options."""
        ...

    def errors(self) -> AbstractContextManager[None]:
        """delta-rs' errors about this store, as ours: Unreachable when another try may go well, Full, ConfigError. Any other comes through as it is."""
        ...

    def create(self, path: str) -> BinaryIO:
        """Open a new file for writing, with its folders. It is durable only after `sync(path)`.

        Raises:
            FileExistsError: Someone made it first.
        """
        ...

    def open(self, path: str) -> BinaryIO:
        """Open for reading; seekable. Raises FileNotFoundError."""
        ...

    def sync(self, *paths: str) -> None:
        """These closed files, and the folders that name them, survive a power cut on return."""
        ...

    def size(self, path: str) -> int | None:
        """Bytes, or None when it does not exist."""
        ...

    def list(self, folder: str) -> list[str]:
        """Names of the files and folders in it, sorted; empty when it does not exist."""
        ...

    def remove(self, path: str) -> None:
        """Delete the file; absent is fine."""
        ...

    def remove_tree(self, folder: str) -> None:
        """Delete the folder and all in it; absent is fine."""
        ...

    def free_bytes(self) -> int | None:
        """Space left, None when the store has no such bound."""
        ...


@runtime_checkable
class CanPrepare(Protocol):
    """Files whose folders have properties that must be there before the first file is."""

    def prepare(self, folder: str) -> None:
        """Make the folder as the settings want it; again is fine."""
        ...
