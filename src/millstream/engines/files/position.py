"""Where a file stands, as text that is kept; and whether it is still the file it was."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from millstream.declare.errors import Corrupt, Recreated

HEAD, TAIL = 4096, 256


@dataclass(frozen=True)
class Position:
    """What has been read of a file.

    Attributes:
        line: Lines (CSV, JSON Lines) or rows (Parquet, Avro) read.
        byte: Bytes read, of the decompressed text.
        disk: Bytes read as they lie on disk; approximate when compressed.
        head, head_n: Fingerprint of the file's first `head_n` bytes on disk.
        tail: Fingerprint of the last bytes before `byte`, "" when compressed or columnar.
        open: The last record had no line end: the file ended there.
        whole: The file's size on disk when it was read to its end, else -1.
    """

    line: int = 0
    byte: int = 0
    disk: int = 0
    head: str = ""
    head_n: int = 0
    tail: str = ""
    open: bool = False
    whole: int = -1

    def text(self) -> str:
        """Versioned, so that a later form can read it."""
        return json.dumps({"v": 1, **dataclasses.asdict(self)}, separators=(",", ":"))

    @staticmethod
    def read(text: str | None) -> Position:
        """Raises Corrupt when it was not written by `text`."""
        if text is None:
            return Position()
        try:
            found = json.loads(text)
            if found.pop("v") != 1:
                raise ValueError("unknown version")
            return Position(**found)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Corrupt(f"the position {text[:80]!r} of a file source was not written by this version: {error}") from None


def begin(path: Path, position: Position) -> Position:
    """The position with its file's fingerprint, checked when it has one.

    Raises:
        Recreated: The file is not the one that was read before.
    """
    with path.open("rb") as file:
        if not position.head:
            head = file.read(HEAD)
            return dataclasses.replace(position, head=_digest(head), head_n=len(head))
        if _digest(file.read(position.head_n)) != position.head:
            raise replaced(path, "its beginning is another")
        if position.tail:
            file.seek(max(0, position.byte - TAIL))
            if _digest(file.read(min(TAIL, position.byte))) != position.tail:
                raise replaced(path, f"the bytes before {position.byte:,}, where reading stopped, are others")
    return position


def replaced(path: Path, how: str) -> Recreated:
    return Recreated(
        f"the file {path.parent.name}/{path.name} was replaced after it had been read: {how}; give the new contents another file name, so that each line keeps its id"
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def tail_of(data: bytes) -> str:
    """The fingerprint of what precedes a position; `data` ends there."""
    return _digest(data[-TAIL:])
