"""Where a file stands, as text that is kept: how far it was read, and by what it is known again."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millstream.base.errors import Corrupt, Recreated
from millstream.engines.files.fingerprint import Running

HEAD, OLD_TAIL = 4096, 256
SETTLED_NS = 2_000_000_000
"""A file may change twice within one tick of its file system's clock. What was looked at so soon after a change is
looked at once more.
"""
Identity = tuple[int, int, int, int]


@dataclass(frozen=True)
class Position:
    """What has been read of a file, and by what it is known.

    Attributes:
        line: Lines (CSV, JSON Lines) or rows (Parquet, Avro) read.
        byte: Bytes that `print` is of: those read, of the decompressed text; of Parquet and Avro all.
        disk: Bytes read as they lie on disk; approximate when compressed.
        open: The last record had no line end: the file ended there.
        whole: The file's size on disk when it was read to its end, else -1.
        print: Fingerprint of the first `byte` bytes; `chain` is where it can be taken up again.
        head, head_n: Fingerprint of the first `head_n` bytes, by which candidates are sorted out.
        seen: Inode, size, and times of change in nanoseconds; the last is -1 when the file had changed a moment before.
        name: What its records are named by: the path under which it was first read, with `~2` when that had been
            another file's.
        born: How many files were first read under the path whose position this is.
        cr: Lines end with a carriage return alone.
        aside: The position of a file that was renamed in a circle, until it is kept under its new name.
        old: Written by a version that knew a file by its first bytes and those before `byte` (`head`, `tail`: of the
            bytes on disk).
    """

    line: int = 0
    byte: int = 0
    disk: int = 0
    open: bool = False
    whole: int = -1
    print: str = ""
    chain: str = ""
    head: str = ""
    head_n: int = 0
    seen: Identity | None = None
    name: str = ""
    born: int = 0
    cr: bool = False
    aside: str = ""
    tail: str = ""
    old: bool = False

    def text(self) -> str:
        """Versioned, so that a later form can read it. What is as in a new position is left out."""
        said = {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default and field.name != "old"
        }
        return json.dumps({"v": 1 if self.old else 2, **said}, separators=(",", ":"))

    @staticmethod
    def read(text: str | None) -> Position:
        """Raises Corrupt when it was not written by `text` of this version or an older one."""
        return Position() if text is None else _read(text)

    def by(self, run: Running) -> Position:
        """With the fingerprint so far."""
        return dataclasses.replace(self, byte=run.size, print=run.text(), chain=run.chain, old=False, tail="")


@functools.lru_cache(maxsize=1 << 16)
def _read(text: str) -> Position:
    try:
        found: dict[str, Any] = json.loads(text)
        version = found.pop("v")
        if version not in (1, 2):
            raise ValueError("unknown version")
        if found.get("seen") is not None:
            found["seen"] = tuple(found["seen"])
        return Position(**found, old=version == 1)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Corrupt(f"the position {text[:80]!r} of a file source was not written by this version: {error}") from None


def identity(stat: os.stat_result) -> Identity:
    """By what a file is taken for unchanged without reading it."""
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def settled(seen: Identity) -> Identity:
    """As it is kept: a change a moment ago may be followed by one that no time shows."""
    return seen if time.time_ns() - max(seen[2:]) > SETTLED_NS else (*seen[:3], -1)


def bare(position: Position, seen: Identity) -> Position | None:
    """Of a file that holds no record: nothing was read of it, so it may become anything. None: that is known
    already.
    """
    now = dataclasses.replace(position, whole=seen[1], seen=settled(seen))
    known = now.whole == position.whole and (settled(seen)[3] < 0 or now.seen == position.seen)
    return None if known else now


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def old_marks_agree(path: Path, position: Position) -> bool:
    """Whether a file is the one that an older version read, as far as that version marked it."""
    with path.open("rb") as file:
        if digest(file.read(position.head_n)) != position.head:
            return False
        if position.tail:
            file.seek(max(0, position.byte - OLD_TAIL))
            return digest(file.read(min(OLD_TAIL, position.byte))) == position.tail
    return True


def replaced(split: str, position: Position, now: str) -> Recreated:
    """What is there now is not what was read. Raised for this file alone."""
    was = (
        f"its first {position.byte:,} bytes had the fingerprint {position.print[:16]}"
        if position.print
        else f"it began with {position.head_n:,} bytes of the fingerprint {position.head}"
    )
    return Recreated(
        f"the file {split} was replaced after it had been read up to line {position.line:,}: {was}, and {now}; "
        "give the new contents another file name, so that each line keeps its id, or put the old file back"
    )
