"""A file's bytes, decompressed; and whole records of them, a buffer at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from millstream.base.errors import Corrupt, NotFound
from millstream.engines.files.fingerprint import Running
from millstream.engines.files.records import NEWLINE, QUOTE, RETURN, Cut, cut_csv, cut_lines

SKIP = 1 << 20


class Blocks:
    """Whole records of a stream, a buffer at a time, and whether it ended there. A line far beyond the limit comes
    alone, cut short.

    Attributes:
        run: The fingerprint before the records that come next; the caller keeps it up.
        over: The fingerprint after a line that was cut short.
        left: In the end: something follows the last record, and may still become one.
    """

    def __init__(
        self, stream: Stream, run: Running, quoted: bool, limit: int, take_open: Callable[[], bool], chunk: int
    ) -> None:
        self.stream, self.run, self.quoted, self.limit, self.take_open, self.chunk = (
            stream,
            run,
            quoted,
            limit,
            take_open,
            chunk,
        )
        self.over, self.left = run, False

    def __iter__(self) -> Iterator[tuple[bytes, Cut, bool]]:
        held, ended = b"", False
        while not ended:
            # What holds no whole record is not cut again for each further chunk
            chunk = self.stream.read(max(self.chunk, len(held)))
            held = held + chunk if held else chunk
            # Only so is it known that an archive was read to its end
            ended = not chunk or (self.stream.compressed and not self.stream.peek(bool))
            final = ended and self.take_open()
            cut = cut_csv(held, final, self.limit) if self.quoted else cut_lines(held, final)
            if len(cut.ends):
                yield held, cut, ended
                held = held[int(cut.nexts[-1]) :]
            elif len(held) > self.limit and b"\n" not in held:
                line, cut, held, over = self._endless(held)
                self.left = not line
                if line:
                    yield line, cut, over
        self.left = self.left or bool(held)

    def _endless(self, held: bytes) -> tuple[bytes, Cut, bytes, bool]:
        """A line that is too long: as much of it as a record may have, what follows it, and whether the file ended in
        it.
        """
        size, chunk, self.over = len(held), b"", self.run.copy().update(held)
        while b"\n" not in chunk:
            chunk = self.stream.read(self.chunk)
            if not chunk:
                break
            upto = chunk.index(b"\n") + 1 if b"\n" in chunk else len(chunk)
            size += upto
            self.over.update(chunk[:upto])
        if not chunk and not self.take_open():
            return b"", cut_lines(b"", False), b"", True
        rest = chunk[chunk.index(b"\n") + 1 :] if chunk else b""
        one, none = np.ones(1, np.int64), np.zeros(1, np.int64)
        line = held[: self.limit]
        why = (
            f"the line has {size:,} bytes and {self.limit:,} are allowed, which are kept here; raise the limit, or"
            " split it"
        )
        return line, Cut(none, one * len(line), one * size, none, one, {0: why}), rest, not chunk


class Stream:
    """A file's bytes, decompressed. `disk` is how far it has been read as it lies on disk.

    Args:
        split: What the file is called in errors.
        cr: Lines end with a carriage return alone: it is read as a line feed.
    """

    def __init__(self, path: Path, split: str, compression: str | None, cr: bool = False) -> None:
        self.split, self.cr, self.compressed = split, cr, bool(compression)
        try:
            self._raw = pa.OSFile(str(path))
            self._file = pa.CompressedInputStream(self._raw, compression) if compression else self._raw
        except PermissionError:
            raise Corrupt(f"the file {split} cannot be opened: permission denied; let this user read it") from None
        except FileNotFoundError:
            raise NotFound(f"the file {split} is not there any more; put it back") from None
        self._at, self._ahead = 0, b""

    def stat(self) -> os.stat_result:
        """Of the file that is being read, whatever has its name now."""
        return os.fstat(self._raw.fileno())

    @property
    def disk(self) -> int:
        return int(self._raw.tell())

    def read(self, size: int) -> bytes:
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        if len(data) < size:
            more = self._pull(size - len(data))
            data = data + more if data else more
        self._at += len(data)
        return data.replace(b"\r", b"\n") if self.cr else data

    def _pull(self, size: int) -> bytes:
        try:
            return bytes(self._file.read(size))
        except OSError as error:
            raise Corrupt(
                f"{self.split} cannot be decompressed beyond byte {self._at:,} of its text: {error}; the file is cut"
                " off or damaged, put it there again whole"
            ) from None

    def peek(self, enough: Callable[[bytes], bool]) -> bytes:
        """Bytes ahead, until there are enough, or all; they are read again."""
        found = self._ahead
        while not enough(found):
            chunk = self._pull(SKIP if len(found) >= SKIP else 65_536)
            if not chunk:
                break
            found += chunk
        self._ahead = found
        return found

    def line(self, limit: int) -> bytes:
        """The next line with its end, or as much of one as there is, or as the limit allows."""
        end = b"\r" if self.cr else b"\n"
        found = self.peek(lambda data: end in data or len(data) > limit)
        return self.read(min(found.find(end) + 1 or limit, len(found)))

    def seek(self, byte: int) -> None:
        """Go to a byte; not in an archive."""
        self._raw.seek(byte)
        self._at, self._ahead = byte, b""

    def feed(self, run: Running, upto: int) -> bool:
        """Read on to a byte, into the fingerprint; False when the file ends before it."""
        while run.size < upto:
            data = self.read(min(SKIP, upto - run.size))
            if not data:
                return False
            run.update(data)
        return True

    def close(self) -> None:
        self._file.close()
        self._raw.close()


def ends_with_returns(stream: Stream, quoted: bool, limit: int) -> bool:
    """Whether the first line of a file ends with a carriage return alone, as of a Macintosh. Nothing is taken from the
    stream.
    """
    place = 0

    def found(data: bytes) -> bool:
        nonlocal place
        place = _first_end(data, quoted)
        return place + 1 < len(data) or len(data) > limit

    data = stream.peek(found)
    return place < len(data) and data[place] == RETURN and data[place + 1 : place + 2] != b"\n"


def _first_end(data: bytes, quoted: bool) -> int:
    """Where the first line end lies that no quotes hold; its length when there is none."""
    codes = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero((codes == NEWLINE) | (codes == RETURN))
    if quoted and b'"' in data:
        ends = ends[np.searchsorted(np.flatnonzero(codes == QUOTE), ends) % 2 == 0]
    return int(ends[0]) if len(ends) else len(data)
