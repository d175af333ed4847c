"""A file's bytes, decompressed; and whole records of them, a buffer at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from millstream.declare.errors import Corrupt
from millstream.engines.files.position import TAIL, replaced
from millstream.engines.files.records import Cut, cut_csv, cut_lines

SKIP = 8 << 20


class Blocks:
    """Whole records of a stream, a buffer at a time, and whether it ended there. A line far beyond the limit comes alone, cut short."""

    def __init__(self, stream: Stream, quoted: bool, limit: int, take_open: bool, chunk: int) -> None:
        self.stream, self.quoted, self.limit, self.take_open, self.chunk = stream, quoted, limit, take_open, chunk

    def __iter__(self) -> Iterator[tuple[bytes, Cut, bool]]:
        held, ended = b"", False
        while not ended:
            chunk = self.stream.read(self.chunk)
            held = held + chunk if held else chunk
            ended = not chunk
            final = ended and self.take_open
            cut = cut_csv(held, final, self.limit) if self.quoted else cut_lines(held, final)
            if len(cut.ends):
                yield held, cut, ended
                held = held[int(cut.nexts[-1]) :]
            elif len(held) > self.limit and b"\n" not in held:
                line, cut, held, over = self._endless(held)
                if line:
                    yield line, cut, over

    def _endless(self, held: bytes) -> tuple[bytes, Cut, bytes, bool]:
        """A line that is too long: as much of it as a record may have, what follows it, and whether the file ended in it."""
        size, chunk, tail = len(held), b"", held[-TAIL:]
        while b"\n" not in chunk:
            chunk = self.stream.read(self.chunk)
            if not chunk:
                break
            upto = chunk.index(b"\n") + 1 if b"\n" in chunk else len(chunk)
            size, tail = size + upto, (tail + chunk[:upto])[-TAIL:]
        if not chunk and not self.take_open:
            return b"", cut_lines(b"", False), b"", True
        rest = chunk[chunk.index(b"\n") + 1 :] if chunk else b""
        one, none = np.ones(1, np.int64), np.zeros(1, np.int64)
        line = held[: self.limit]
        self.stream.last = tail
        why = f"the line has {size:,} bytes and {self.limit:,} are allowed, which are kept here; raise the limit, or split it"
        return line, Cut(none, one * len(line), one * size, none, one, {0: why}), rest, not chunk


class Stream:
    """A file's bytes, decompressed. `disk` is how far it has been read as it lies on disk."""

    def __init__(self, path: Path, compression: str | None) -> None:
        self.path = path
        self._raw = pa.OSFile(str(path))
        self._file = pa.CompressedInputStream(self._raw, compression) if compression else self._raw
        self._compressed = bool(compression)
        self._at, self._ahead = 0, b""
        self.last = b""

    @property
    def disk(self) -> int:
        return int(self._raw.tell())

    def read(self, size: int) -> bytes:
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            data = self._pull(size)
        self._at += len(data)
        return data

    def _pull(self, size: int) -> bytes:
        try:
            return bytes(self._file.read(size))
        except OSError as error:
            raise Corrupt(f"{self.path.name} cannot be decompressed beyond byte {self._at:,} of its text: {error}; the file is cut off or damaged, put it there again whole") from None  # fmt: skip

    def line(self, limit: int) -> bytes:
        """The next line with its end, or as much of one as there is, or as the limit allows."""
        found = b""
        while b"\n" not in found and len(found) <= limit:
            chunk = self.read(65536)
            if not chunk:
                return found
            found += chunk
        end = found.find(b"\n") + 1 or limit
        self._ahead, self._at = found[end:] + self._ahead, self._at - len(found[end:])
        return found[:end]

    def seek(self, byte: int) -> bytes:
        """Go to a byte of the text; the bytes just before it, as far as known."""
        if not self._compressed:
            self._ahead = b""
            self._raw.seek(max(0, byte - TAIL))
            before = bytes(self._raw.read(min(TAIL, byte)))
            self._at = byte
            return before
        if byte < self._at:
            raise AssertionError("an archive is read forwards")
        while self._at < byte:
            if not self.read(min(SKIP, byte - self._at)):
                raise replaced(self.path, f"its text has {self._at:,} bytes, fewer than were read")
        return b""

    def close(self) -> None:
        self._file.close()
        self._raw.close()


def ending(before: bytes, buffer: bytes, done: int, last: bytes) -> bytes:
    """The last bytes before `done` of a buffer; of a line cut short they are `last`."""
    if done > len(buffer):
        return last
    return buffer[done - TAIL : done] if done >= TAIL else (before + buffer[:done])[-TAIL:]
