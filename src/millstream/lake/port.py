"""The files port: where the lake's tables live. Engine: `Engine(url: str)`, the `lake` of the profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import pyarrow as pa


@dataclass(frozen=True)
class Snapshot:
    """A lake table at one version: the files of it, by absolute path or URL.

    Attributes:
        schema: The table's Arrow schema, partition columns included.
        partitions: For each file, the values of the partition columns as the Delta log has them (empty: none).
    """

    table: str
    version: int
    schema: pa.Schema
    files: tuple[str, ...]
    partitions: tuple[Mapping[str, Any], ...] = ()


class Files(Protocol):
    """A tree of files below one root. Paths are relative, with forward slashes."""

    @property
    def root(self) -> str:
        """The root as delta-rs and the compute engine are given it: an absolute path, or a URL."""
        ...

    @property
    def options(self) -> Mapping[str, str]:
        """delta-rs storage options."""
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
