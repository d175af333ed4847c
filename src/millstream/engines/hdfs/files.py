"""HDFS, as the lake's files, through hdfs-native; delta-rs has a client of the same kind inside."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import BinaryIO, TypeVar, cast

# Read at the import: a failover would else be thousands of lines on stderr, of what is waited out anyway
os.environ.setdefault("RUST_LOG", "off")
from hdfs_native import Client, WriteOptions

from millstream.base.errors import Unreachable, UsageError, WorkFailed
from millstream.engines.hdfs import webhdfs
from millstream.engines.hdfs.errors import mapped, mapped_delta
from millstream.engines.hdfs.place import Place
from millstream.engines.hdfs.streams import Download, Sent, Upload
from millstream.lake.patience import Patience, Unanswered, answered, patiently

T = TypeVar("T")
_OURS = {
    "dfs.client.failover.max.attempts": "3",
    "dfs.client.failover.sleep.base.millis": "50",
    "dfs.client.failover.sleep.max.millis": "200",
}
"""The driver asks each namenode (0 attempts: one of them only), and soon gives up; how long to ask again is for
`lake/patience.py` to say.
"""
_SLOWEST = 1e6
"""Bytes a second; a transfer has so much longer."""
_MINE = "is already the current lease holder"  # in the namenode's words


class HdfsFiles:
    """Files below one folder of HDFS.

    Durable is what every datanode of the pipeline has acknowledged and the namenode has journaled: close returns then,
    so `sync` has nothing left to do. (A power cut of all of a block's datanodes at once is survived with
    `dfs.datanode.synconclose` only.)

    Args:
        url: See `place.py`. The folder is made when the first file is.

    Raises:
        ConfigError: An option is unknown, or no namenode.
    """

    _process = 0
    """Where the driver's threads are, once it was used."""

    def __init__(self, url: str) -> None:
        self._open(Place.read(url))

    @classmethod
    def at(cls, place: Place) -> HdfsFiles:
        """The same without a URL."""
        made = cls.__new__(cls)
        made._open(place)
        return made

    def _open(self, place: Place) -> None:
        self._place = place
        self._unforked()
        self._connect()

    def _connect(self) -> None:
        with mapped(self.root):
            self._driver = Client(f"hdfs://{self._place.authority}", {**self._place.config, **_OURS})

    def __reduce__(self) -> tuple[Callable[[Place], HdfsFiles], tuple[Place]]:
        return HdfsFiles.at, (self._place,)

    @property
    def _client(self) -> Client:
        self._unforked()
        return self._driver

    def _unforked(self) -> None:
        """The driver has one set of threads for all clients, which a fork does not copy: a child would wait for them
        for ever.
        """
        HdfsFiles._process = HdfsFiles._process or os.getpid()
        if HdfsFiles._process != os.getpid():
            raise WorkFailed(
                "HDFS was opened before this process was forked; start the child by spawn, or open HDFS in children"
                " only"
            )

    @property
    def root(self) -> str:
        return self._place.root

    @property
    def options(self) -> Mapping[str, str]:
        return {**self._place.config, **_OURS}

    def call(self, work: Callable[[], T]) -> T:
        return self._answered(work, mapped_delta)

    def create(self, path: str) -> BinaryIO:
        target = self._at(path)
        first: list[Sent] = [self._new(target)]

        def send(copy: Callable[[Sent], None], size: int) -> None:
            self._ask(
                lambda: copy(first.pop() if first else self._client.create(target, WriteOptions(overwrite=True))), size
            )

        return cast(BinaryIO, Upload(send))

    def _new(self, target: str) -> Sent:
        """The file, made by us and nobody else, open."""
        patience, asked = Patience(), False
        while True:
            try:
                return self._answered(
                    lambda: self._client.create(target, WriteOptions(overwrite=False, create_parent=True)), mapped
                )
            except FileExistsError as error:
                if not (asked and _MINE in str(error)):
                    raise FileExistsError(f"{self._place.root}: {str(error).partition(chr(10))[0]}") from None
                # An earlier try landed, its answer was lost
                return self._ask(lambda: self._client.create(target, WriteOptions(overwrite=True)))
            except Unreachable as error:
                asked = True
                if isinstance(error, Unanswered):
                    self._connect()
                if not patience.wait():
                    raise

    def open(self, path: str) -> BinaryIO:
        target = self._at(path)
        reader = self._ask(lambda: self._client.read(target))
        held = [reader]

        def fetch(offset: int, length: int) -> bytes:
            def once() -> bytes:
                # Where its blocks are by now; one that fails or is stuck is not used again
                mine = held.pop() if held else self._client.read(target)
                found = mine.read_range(offset, length)
                held[:] = [mine]
                return found

            return self._ask(once, length)

        return cast(BinaryIO, Download(fetch, len(reader)))

    def sync(self, *paths: str) -> None:
        """See the class."""

    def size(self, path: str) -> int | None:
        try:
            return self._ask(lambda: self._client.get_file_info(self._at(path)).length)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def list(self, folder: str) -> list[str]:
        target = self._at(folder)
        try:
            found = self._ask(lambda: [status.path for status in self._client.list_status(target)])
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [] if found == [target] else sorted(path.rpartition("/")[2] for path in found)  # a file lists itself

    def remove(self, path: str) -> None:
        self._ask(lambda: self._client.delete(self._at(path), recursive=False))

    def remove_tree(self, folder: str) -> None:
        self._ask(lambda: self._client.delete(self._at(folder), recursive=True))

    def free_bytes(self) -> int | None:
        """None: the client cannot ask for the cluster's capacity, and a folder beyond its quota says Full."""
        return None

    def prepare(self, folder: str) -> None:
        """Give a table's folder its erasure coding policy, log and all."""
        policy, target = self._place.policy(folder), self._at(folder)
        if policy is not None:
            self._ask(lambda: self._client.mkdirs(target, create_parent=True))
            patiently(lambda: webhdfs.set_policy(self._place.web(), target, policy))

    def _ask(self, work: Callable[[], T], size: int = 0) -> T:
        """What HDFS answers, waiting for one that does not. `size`: bytes that go with it."""
        return patiently(lambda: self._answered(work, mapped, size), self._connect)

    def _answered(
        self, work: Callable[[], T], errors: Callable[[str], AbstractContextManager[None]], size: int = 0
    ) -> T:
        def ask() -> T:
            with errors(self.root):
                return work()

        return answered(ask, self._place.timeout_s + size / _SLOWEST, f"HDFS {self.root}")

    def _at(self, path: str) -> str:
        """Where it is; a path that would leave the root is a mistake of the caller."""
        if path.startswith("/") or ".." in path.split("/"):
            raise UsageError(f'"{path}" leaves the lake {self.root}: paths are relative, without ".."')
        return f"{self._place.path}/{path}".rstrip("/") or "/"
