"""The fingerprint of a file's first bytes, kept up while they are read, and taken up again without reading them all."""

from __future__ import annotations

import hashlib
from typing import Any

BLOCK, TAIL = 1 << 16, 4096


class Running:
    """A hash of all bytes so far. It depends on the bytes alone, not on the pieces in which they came.

    Blocks are chained: each is hashed behind the digest of the one before. So a digest at a block's start and the bytes
    since then are enough to continue, at any time and in any process. The start lies at least `TAIL` bytes back, so
    whoever continues has compared that many.

    Args:
        chain: Digest at `start`, in hexadecimal; "" at the beginning of the file.
        start: A multiple of `BLOCK`.
    """

    def __init__(self, chain: str = "", start: int = 0) -> None:
        self.chain, self.start, self.size = chain, start, start
        self._hash = hashlib.sha256(bytes.fromhex(chain))
        self._edge = b""
        self._next: Any = None

    def update(self, data: bytes | memoryview) -> Running:
        view = memoryview(data)
        while view:
            edge = self.start + BLOCK
            part = view[: (edge if self._next is None else edge + TAIL) - self.size]
            view = view[len(part) :]
            self._hash.update(part)
            if self._next is not None:
                self._next.update(part)
            self.size += len(part)
            if self._next is None and self.size == edge:
                self._edge = self._hash.digest()
                self._next = hashlib.sha256(self._edge)
            elif self._next is not None and self.size == edge + TAIL:
                self.chain, self.start, self._hash, self._next = self._edge.hex(), edge, self._next, None
        return self

    def copy(self) -> Running:
        made = Running.__new__(Running)
        made.chain, made.start, made.size, made._edge = self.chain, self.start, self.size, self._edge
        made._hash, made._next = self._hash.copy(), None if self._next is None else self._next.copy()
        return made

    def text(self) -> str:
        """The fingerprint of the bytes so far."""
        return self._hash.hexdigest()[:32]


class Trail:
    """The fingerprint at places of a buffer; asked in order, each byte is hashed once."""

    def __init__(self, before: Running, buffer: bytes) -> None:
        self._before, self._buffer = before, memoryview(buffer)
        self._at, self._run = 0, before.copy()

    def at(self, done: int) -> Running:
        """After so many bytes of the buffer. The caller's until the next call; copy it to keep it."""
        if done < self._at:
            self._at, self._run = 0, self._before.copy()
        self._run.update(self._buffer[self._at : done])
        self._at = done
        return self._run


def start_of(size: int) -> int:
    """Where the fingerprint of so many bytes is taken up again."""
    return max(0, size - TAIL) // BLOCK * BLOCK
