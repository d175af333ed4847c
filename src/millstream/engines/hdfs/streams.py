"""A file of HDFS as Python's I/O has it: written whole when it is closed, read wherever it is asked."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable
from typing import Any, Protocol

IN_MEMORY = 64 << 20
"""Bytes of a file in writing that are held in memory; beyond, in a file of the local disk."""
_CHUNK = 4 << 20


class Sent(Protocol):
    """An HDFS file open for writing."""

    def write(self, buf: bytes) -> int: ...
    def close(self) -> None: ...


class Upload(tempfile.SpooledTemporaryFile[bytes]):
    """Gathers what is written, and sends it on `close`.

    A pipeline of datanodes of which one has died cannot always be fixed from outside; but since all is still here, the file can be
    sent again. `close` returns when every datanode of the last block has acknowledged and the namenode has closed the file.

    Args:
        send: Called with a function that copies everything into an open file, and the bytes that it will be; may call it more than once.
    """

    def __init__(self, send: Callable[[Callable[[Sent], None], int], None]) -> None:
        super().__init__(IN_MEMORY)
        self._send: Callable[[Callable[[Sent], None], int], None] | None = send

    def __exit__(self, *error: object) -> None:
        self.close()  # the base class closes what is inside only

    def close(self) -> None:
        send, self._send = self._send, None
        try:
            if send is not None:
                send(self._copy, self.seek(0, os.SEEK_END))
        finally:
            super().close()

    def _copy(self, sent: Sent) -> None:
        self.seek(0)
        while chunk := self.read(_CHUNK):
            sent.write(chunk)
        sent.close()


class Download(io.RawIOBase):
    """Reads ranges.

    Args:
        fetch: (offset, length) -> exactly these bytes.
        size: Of the file, in bytes.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch, self._size, self._at = fetch, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """All that was asked for, unless the file ends."""
        if self.closed:
            raise ValueError("read of a closed file")
        left = max(0, self._size - self._at)
        length = left if size is None or size < 0 else min(size, left)
        found = self._fetch(self._at, length) if length else b""
        self._at += len(found)
        return found

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)
