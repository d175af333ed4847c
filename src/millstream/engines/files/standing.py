"""What has become of the files since they were read: grown, touched, renamed, replaced, gone.

A file is known by the bytes that were read of it. One whose name is gone, or is another file's now, continues under the name where its bytes are found;
a copy beside it is another file. What is found nowhere while its name has other bytes stops, and nothing else does.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from millstream.declare.errors import Corrupt, MillstreamError, NotFound, Recreated, UsageError
from millstream.engines.files.position import Identity, Position, identity, settled
from millstream.ingest.port import Standing


class Readable(Protocol):
    """One file, as far as it must be known again."""

    def holds(self, position: Position) -> None:
        """Raises Recreated when the file does not begin with what was read up to the position."""
        ...


@dataclass
class Verdicts:
    """Which files were found to hold what was read of them: a file is hashed once, however often it is looked at."""

    found: dict[str, tuple[str, Identity, MillstreamError | None]] = dataclasses.field(default_factory=dict)

    def of(self, split: str, position: Position, seen: Identity, look: Callable[[Position], None]) -> MillstreamError | None:
        """None when the file holds it."""
        text, last = position.text(), self.found.get(split)
        if last is not None and last[:2] == (text, seen) and settled(seen)[3] >= 0:
            return last[2]
        error: MillstreamError | None = None
        try:
            look(position)
        except (Recreated, Corrupt, UsageError) as found:
            error = found
        self.found[split] = (text, settled(seen), error)
        return error

    def verified(self, split: str, position: Position, seen: Identity) -> bool:
        last = self.found.get(split)
        return last is not None and last[0] == position.text() and last[1][:3] == seen[:3] and last[2] is None


class Look:
    """One look at all files of a source.

    Args:
        files: Split -> its file.
        positions: Split -> its position.
        opened: Split -> the file to be read.
        waits_s: In how many seconds the end of a file, which is not read to its end, will be clear.
    """

    def __init__(self, root: Path, files: Mapping[str, os.stat_result], positions: Mapping[str, str], opened: Callable[[str], Readable], verdicts: Verdicts,
                 waits_s: Callable[[str, os.stat_result], float]) -> None:  # fmt: skip
        self.root, self.files, self.opened, self.verdicts, self.waits_s = root, files, opened, verdicts, waits_s
        self.errors: dict[str, MillstreamError] = {}
        self.known: dict[str, Position] = {}
        for split, text in positions.items():
            try:
                self.known[split] = Position.read(text)
            except Corrupt as error:
                self.errors[split] = Corrupt(f"{split}: {error}")
        self.other: dict[str, MillstreamError] = {}
        """Files that do not hold what was read under their names -> how that was found."""

    def standings(self) -> list[Standing]:
        self._compare()
        found = self._continued()
        moves = list(_in_order(found, self.known))
        rest = [split for split in self.files if split not in found]
        return [*moves, *(self._standing(split) for split in rest if split not in self.errors), *self._stopped(found)]

    def _compare(self) -> None:
        """Each file with what is known of its name."""
        for split, stat in self.files.items():
            position, seen = self.known.get(split), identity(stat)
            if position is None or not _read(position) or position.seen == seen or split in self.errors:
                continue
            error = self.verdicts.of(split, position, seen, lambda at, split=split: self.opened(split).holds(at))  # type: ignore[misc]
            if isinstance(error, Recreated):
                self.other[split] = error
            elif error is not None:
                self.errors[split] = error

    def _continued(self) -> dict[str, tuple[str, Position]]:
        """Split -> the name under which its file was read before, and its position from now on."""
        free = [split for split in self.files if split not in self.errors and (split in self.other or not _read(self.known.get(split)))]
        if not free:
            return {}
        here = {name_of(split, at) for split, at in self.known.items() if split in self.files and split not in self.other}
        lost = {split: at for split, at in self._lost().items() if name_of(split, at) not in here}
        homes: dict[str, tuple[str, Position]] = {}
        for split, at in sorted(lost.items(), key=lambda item: (-item[1].byte, item[0])):
            home = next((new for new in self._candidates(at, free) if new not in homes and self._may_take(new, at)), None)
            if home is not None:
                homes[home] = (split, at)
        moved = {split for split, _ in homes.values()}
        found = {home: (split, self._under(home, split, at)) for home, (split, at) in homes.items()}
        for split in self.other:
            gone_on = split in moved or name_of(split, self.known[split]) in here
            if split not in found and gone_on and split not in self.errors:
                found[split] = (split, _afresh(split, self.known[split]))
        # A file that was read to its end, and whose name a renamed one has taken, is as if it had been removed; of any other something is lost.
        for split in [s for s in found if s in self.other and s not in moved and name_of(s, self.known[s]) not in here and not _ended(self.known[s])]:
            del found[split]
        return found

    def _lost(self) -> dict[str, Position]:
        """What was read and is not under its name any more."""
        lost = {split: self.known[split] for split in self.other}
        for split, at in self.known.items():
            if _read(at) and split not in self.files and not (self.root / split).is_file():
                lost[split] = at
            if at.aside:
                aside = Position.read(at.aside)
                lost.setdefault(aside.name, aside)
        return lost

    def _candidates(self, position: Position, free: Sequence[str]) -> Iterator[str]:
        """The file with the same inode first, then in the order of names; those that are large enough."""
        inode = position.seen[0] if position.seen else -1
        yield from sorted(free, key=lambda split: (self.files[split].st_ino != inode, split))

    def _may_take(self, split: str, position: Position) -> bool:
        """Whether the file begins with what was read up to the position."""
        if split == name_of(split, position) and split in self.other and self.known[split] == position:
            return False
        try:
            self.opened(split).holds(dataclasses.replace(position, seen=None))
        except (MillstreamError, OSError):
            return False
        return True

    def _under(self, home: str, split: str, position: Position) -> Position:
        """A position as it is kept under a new name."""
        mine = self.known.get(home)
        return dataclasses.replace(position, name=name_of(split, position), born=born_of(mine), aside="")

    def _standing(self, split: str) -> Standing:
        stat, position = self.files[split], self.known.get(split)
        if split in self.other:
            return Standing(split, None, size=stat.st_size, error=self.other[split])
        return standing(split, position, stat, self.waits_s)

    def _stopped(self, found: Mapping[str, tuple[str, Position]]) -> Iterator[Standing]:
        """What cannot be looked at, and what is gone before all of it was read."""
        for split, error in self.errors.items():
            yield Standing(split, None, error=error)
        if not any(not _ended(at) and split not in self.files for split, at in self.known.items()):
            return
        kept = {name_of(split, at) for split, at in self.known.items() if split in self.files}
        kept |= {at.name for _, at in found.values()}
        for split, at in self.known.items():
            if split in self.files or _ended(at) or name_of(split, at) in kept or (self.root / split).is_file():
                continue
            left = max(0, (at.seen or (0, 0))[1] - at.disk)
            yield Standing(split, None, error=NotFound(
                f"the file {split} is gone, and {left:,} of its bytes were not read; put it back, under this name or another that its source reads"))  # fmt: skip


def standing(split: str, position: Position | None, stat: os.stat_result, waits_s: Callable[[str, os.stat_result], float]) -> Standing:
    """Of a file that is what it was."""
    at = position or Position()
    idle = at.whole == stat.st_size and at.seen == identity(stat)
    whole = at.whole == stat.st_size
    done = stat.st_size if whole else min(at.disk, stat.st_size)
    return Standing(
        split, None if position is None else position.text(), done=done, size=stat.st_size, idle=idle, waits_s=0.0 if whole else waits_s(split, stat)
    )


def name_of(split: str, position: Position) -> str:
    """By which name the records of a file are known for ever."""
    return position.name or split


def born_of(position: Position | None) -> int:
    """How many files were first read under this path."""
    return 0 if position is None else position.born or (0 if position.name else 1)


def _read(position: Position | None) -> bool:
    return position is not None and position.byte + position.line > 0


def _ended(position: Position) -> bool:
    """Whether nothing of the file was left. An older version did not know."""
    return position.old or not _read(position) or position.whole >= 0 or (position.seen is not None and position.disk >= position.seen[1])


def _afresh(split: str, position: Position) -> Position:
    """Of another file under a name that was read: its records have names of their own."""
    born = born_of(position) + 1
    return Position(name=split if born == 1 else f"{split}~{born}", born=born)


def _in_order(found: Mapping[str, tuple[str, Position]], known: Mapping[str, Position]) -> Iterator[Standing]:
    """A position is kept under its new name before its old one is overwritten, so that a crash in between loses none; in a circle one travels along."""
    targets = {old: new for new, (old, _) in found.items() if old != new}
    left = dict(found)
    while left:
        free = [new for new in left if targets.get(new) not in left]
        new = (free or sorted(left))[0]
        at = left.pop(new)[1]
        if not free:
            at = dataclasses.replace(at, aside=dataclasses.replace(known[new], name=name_of(new, known[new]), aside="").text())
        yield Standing(new, at.text(), moved=True, done=at.disk)
