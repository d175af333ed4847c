"""What has become of the files since they were read: grown, touched, renamed, replaced, gone.

A file is known by the bytes that were read of it. One whose name is gone, or is another file's now, continues under the
name where its bytes are found; a copy beside it is another file. What is found nowhere while its name has other bytes
stops, and nothing else does.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from millstream.base.errors import Corrupt, MillstreamError, NotFound, Recreated, UsageError
from millstream.engines.files.position import Identity, Position, identity, replaced, settled
from millstream.ingest.port import Standing

HELD = 100_000
"""How many answers to "is this new file that lost one" are remembered."""


class Readable(Protocol):
    """One file, as far as it must be known again."""

    def begins(self, position: Position) -> bool:
        """Whether it may hold what was read: it is large enough, and its first bytes are the same. Cheap."""
        ...

    def holds(self, position: Position) -> None:
        """Raises Recreated when the file does not begin with what was read up to the position."""
        ...


@dataclass
class Verdicts:
    """Which files were found to hold what was read of them: a file is hashed once, however often it is looked at."""

    found: dict[str, tuple[str, Identity, MillstreamError | None]] = dataclasses.field(default_factory=dict)
    held: dict[tuple[str, str, Identity], bool] = dataclasses.field(default_factory=dict)

    def of(
        self, split: str, position: Position, seen: Identity, look: Callable[[Position], None]
    ) -> MillstreamError | None:
        """None when the file holds it."""
        text, last = position.text(), self.found.get(split)
        if last is not None and last[:2] == (text, seen) and settled(seen)[3] >= 0:
            return last[2]
        error: MillstreamError | None = None
        try:
            look(position)
        except (Recreated, Corrupt, UsageError) as found:
            error = found
        except OSError as found:
            error = NotFound(f"the file {split} cannot be read: {found.strerror}; put it right, or rename it")
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

    def __init__(
        self,
        root: Path,
        files: Mapping[str, os.stat_result],
        positions: Mapping[str, str],
        opened: Callable[[str], Readable],
        verdicts: Verdicts,
        waits_s: Callable[[str, os.stat_result], float],
    ) -> None:
        self.positions = positions
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
        self.doubtful: set[str] = set()
        """Those of them that do hold it, and seem to be another file that begins alike."""

    def standings(self) -> list[Standing]:
        self._compare()
        found = self._continued()
        moves = [*_in_order(found, self.known, self.files), *self._left_behind(found)]
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
            elif (rival := self._rival(split, position, stat)) is not None:
                self.other[split] = replaced(
                    split,
                    position,
                    f"it is the file that was read as {rival}, whose bytes have {self.known[rival].print[:16]}",
                )
                self.doubtful.add(split)
        self._once()

    def _once(self) -> None:
        """What was renamed left its position under its old name too: a copy that is put there is another file."""
        holders: dict[str, list[str]] = {}
        for split, at in self.known.items():
            if _read(at) and split in self.files and split not in self.other and split not in self.errors:
                holders.setdefault(name_of(split, at), []).append(split)
        for name, splits in holders.items():
            for split in sorted(splits, key=self._likeness)[:-1]:
                self.other[split] = replaced(
                    split,
                    self.known[split],
                    f"what was read as {name} is at another name, with {self.known[splits[-1]].print[:16]}",
                )

    def _likeness(self, split: str) -> tuple[int, int, bool, str]:
        at, stat = self.known[split], self.files[split]
        return at.byte, at.line, at.seen is not None and at.seen[0] == stat.st_ino, split

    def _rival(self, split: str, position: Position, stat: os.stat_result) -> str | None:
        """Another name whose file this one is by its inode, and of which more was read: two files may begin alike, as a
        copy that grew.
        """
        if position.seen is None or position.seen[0] == stat.st_ino:
            return None
        for other, at in self.known.items():
            alike = at.seen is not None and at.seen[0] == stat.st_ino and name_of(other, at) != name_of(split, position)
            if alike and at.byte > position.byte and self._holds(split, at):
                return other
        return None

    def _continued(self) -> dict[str, tuple[str, Position]]:
        """Split -> the name under which its file was read before, and its position from now on."""
        free = [
            split
            for split in self.files
            if split not in self.errors and (split in self.other or not _read(self.known.get(split)))
        ]
        if not free:
            return {}
        here = {
            name_of(split, at) for split, at in self.known.items() if split in self.files and split not in self.other
        }
        lost = {name: found for name, found in self._lost().items() if name not in here}
        while True:
            homes = self._homes(lost, free)
            moved = here | {name_of(*found) for found in homes.values()}
            # A file that was read to its end, and whose name a renamed one has taken, is as if it had been removed; of
            # any other something is lost.
            taken = [
                s
                for s in homes
                if s in self.other and name_of(s, self.known[s]) not in moved and not _ended(self.known[s])
            ]
            if not taken:
                break
            free = [split for split in free if split not in taken]
        found = {home: (split, self._under(home, split, at)) for home, (split, at) in homes.items()}
        for split in self.other:
            if split not in found and name_of(split, self.known[split]) in moved:
                found[split] = (split, _afresh(split, self.known[split]))
        for split in self.doubtful - set(found):
            del self.other[split]
        return found

    def _left_behind(self, found: Mapping[str, tuple[str, Position]]) -> Iterator[Standing]:
        """Old names without a file, whose file is known under another: their positions are out of date, and must never
        be continued from.
        """
        kept = {at.name for _, at in found.values()} | {
            name_of(split, at) for split, at in self.known.items() if split in self.files and split not in self.other
        }
        for split, at in self.known.items():
            if _read(at) and split not in self.files and split not in self.errors and name_of(split, at) in kept:
                yield Standing(split, _afresh(split, at).text(), moved_from=split)

    def _homes(self, lost: Mapping[str, tuple[str, Position]], free: Sequence[str]) -> dict[str, tuple[str, Position]]:
        """Where what was lost is found: the longest first, so that of two that begin alike each finds its own."""
        homes: dict[str, tuple[str, Position]] = {}
        for split, at in sorted(lost.values(), key=lambda item: (-item[1].byte, item[0], item[1].name)):
            home = next(
                (
                    new
                    for new in self._candidates(at, free)
                    if new not in homes and self.known.get(new) != at and self._holds(new, at)
                ),
                None,
            )
            if home is not None:
                homes[home] = (split, at)
        return homes

    def _lost(self) -> dict[str, tuple[str, Position]]:
        """What was read and is not under its name any more, by the name of its records: where its position is kept, and
        the position.
        """
        found = [(split, self.known[split]) for split in self.other]
        for split, at in self.known.items():
            if _read(at) and split not in self.files and not (self.root / split).is_file():
                found.append((split, at))
            while at.aside:
                at = Position.read(at.aside)
                found.append((split, at))
        lost: dict[str, tuple[str, Position]] = {}
        for split, at in found:  # what moved before has left its position under each of its names: the furthest counts
            last = lost.get(name_of(split, at))
            if last is None or (at.byte, at.line, split in self.other) > (
                last[1].byte,
                last[1].line,
                last[0] in self.other,
            ):
                lost[name_of(split, at)] = (split, at)
        return lost

    def _candidates(self, position: Position, free: Sequence[str]) -> list[str]:
        """The file with the same inode first, then in the order of names."""
        inode = position.seen[0] if position.seen else -1
        return sorted(free, key=lambda split: (self.files[split].st_ino != inode, split))

    def _holds(self, split: str, position: Position) -> bool:
        key, held = (split, position.text(), identity(self.files[split])), self.verdicts.held
        if key in held:
            return held[key]
        try:
            file = self.opened(split)
            found = file.begins(position)
            if found:
                file.holds(dataclasses.replace(position, seen=None))
        except (MillstreamError, OSError):
            found = False
        if settled(key[2])[3] >= 0:
            if len(held) >= HELD:
                held.clear()
            held[key] = found
        return found

    def _under(self, home: str, split: str, position: Position) -> Position:
        """A position as it is kept under a new name."""
        mine = self.known.get(home)
        seen = settled(identity(self.files[home]))
        return dataclasses.replace(
            position, name=name_of(split, position), born=born_of(mine), aside="", seen=None if position.old else seen
        )

    def _standing(self, split: str) -> Standing:
        stat, position = self.files[split], self.known.get(split)
        if split in self.other:
            return Standing(split, None, size=stat.st_size, error=self.other[split])
        return standing(split, position, stat, self.waits_s, self.positions.get(split))

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
            yield Standing(
                split,
                None,
                error=NotFound(
                    f"the file {split} is gone, and {left:,} of its bytes were not read; put it back, under this name"
                    " or another that its source reads"
                ),
            )


def standing(
    split: str,
    position: Position | None,
    stat: os.stat_result,
    waits_s: Callable[[str, os.stat_result], float],
    text: str | None = None,
) -> Standing:
    """Of a file that is what it was. `text`: its position, as it is kept."""
    at = position or Position()
    idle = at.whole == stat.st_size and at.seen == identity(stat)
    whole = at.whole == stat.st_size
    done = stat.st_size if whole else min(at.disk, stat.st_size)
    kept = None if position is None else position.text()
    return Standing(
        split,
        kept,
        done=done,
        size=stat.st_size,
        idle=idle,
        empty=whole and not _read(at),
        waits_s=0.0 if whole else waits_s(split, stat),
    )


def name_of(split: str, position: Position) -> str:
    """By which name the records of a file are known for ever."""
    return position.name or split


def born_of(position: Position | None) -> int:
    """How many files were first read under this path."""
    return 0 if position is None else position.born or (0 if position.name or not _read(position) else 1)


def _read(position: Position | None) -> bool:
    return position is not None and position.byte + position.line > 0


def _ended(position: Position) -> bool:
    """Whether nothing of the file was left. An older version did not know."""
    return (
        position.old
        or not _read(position)
        or position.whole >= 0
        or (position.seen is not None and position.disk >= position.seen[1])
    )


def _afresh(split: str, position: Position) -> Position:
    """Of another file under a name that was read: its records have names of their own."""
    born = born_of(position) + 1
    return Position(name=split if born == 1 else f"{split}~{born}", born=born)


def _in_order(
    found: Mapping[str, tuple[str, Position]], known: Mapping[str, Position], files: Mapping[str, os.stat_result]
) -> Iterator[Standing]:
    """A position is kept under its new name before its old one is overwritten, so that a crash in between loses none;
    in a circle one travels along.
    """
    left = dict(found)
    while left:
        needed = {old for new, (old, _) in left.items() if old != new}
        free = [new for new in left if new not in needed]
        new = (free or sorted(left))[0]
        old, at = left.pop(new)
        if not free:
            at = dataclasses.replace(at, aside=_along(new, known[new], {at.name for _, at in left.values()}))
        size = files[new].st_size
        yield Standing(new, at.text(), moved_from=old, done=size if at.whole == size else min(at.disk, size), size=size)


def _along(split: str, position: Position, unsaved: Collection[str]) -> str:
    """The position that is overwritten, with one that travels along with it in its turn and is still needed."""
    aside = position.aside if position.aside and Position.read(position.aside).name in unsaved else ""
    return dataclasses.replace(position, name=name_of(split, position), aside=aside).text()
