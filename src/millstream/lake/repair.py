"""Torn tails cut off: what a power cut can leave of a table on a local disk (docs/exactly-once.md, section 17).

A commit is named before it is synced, so the newest ones may come back empty or cut, or their data files short; none of them was
acknowledged. An empty commit file is the worst: it opens as a good commit that says nothing, and later ones stand on it. Such a tail is
cut off with all after it; positions fall with it, and the log fills it again. A checkpoint is synced after all that it covers, so only
the commits since the last whole one need be looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from millstream.base.errors import Corrupt
from millstream.lake import deltalog
from millstream.lake.port import Files

_LAST = "_last_checkpoint"
_VERSIONED = re.compile(r"(\d{20})\..*")


@dataclass(frozen=True)
class Damage:
    """What is torn.

    Attributes:
        cut: The first version that must go, with all after it; None when only checkpoints are torn.
        last: The newest version there is now.
        checkpoints: Files of the log that are not a whole checkpoint; without them the table is read from commits.
        why: What is wrong with the first torn one.
    """

    table: str
    cut: int | None
    last: int
    checkpoints: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        said = f'table "{self.table}": {self.why}'
        if self.cut is None:
            return said
        gone = f"version {self.cut} goes" if self.cut == self.last else f"versions {self.cut} to {self.last} go"
        return f"{said}; {gone}, and {f'version {self.cut - 1} stands' if self.cut else 'the table begins anew'}"


def examine(files: Files, name: str) -> Damage | None:
    """The damage of a table's tail, None when it is whole. Writers may be at work: they show only whole commits.

    Raises:
        Corrupt: A torn checkpoint is all that is left of the commits before it: nothing here can fix that.
    """
    kept = deltalog.versions(files, name)
    base, torn = _base(files, name)
    if not kept and base < 0 and not torn:
        return None
    last = max(kept[-1] if kept else -1, base)
    there = set(kept)
    missing = next((v for v in range(base + 1, last + 1) if v not in there), None)
    stands_on = max((int(match[1]) for entry in torn if (match := _VERSIONED.fullmatch(entry))), default=0)
    if missing is not None and missing <= stands_on:
        raise Corrupt(
            f'table "{name}": commit {missing} is cleaned away and no checkpoint after it is whole; restore the table from a copy, or drop it and land it anew'
        )
    found = next(_tail(files, name, base, kept), None) if missing is None else (missing, f"commit {missing} is missing")
    if found is None and not torn:
        return None
    why = found[1] if found else f"{torn[0]} is torn"
    return Damage(name, found[0] if found else None, last, tuple(torn), why)


def repair(files: Files, name: str, before_cut: Callable[[Mapping[str, int]], None] = lambda positions: None) -> Damage | None:
    """Cut off what is torn, newest first, so that a repair that dies half-way is only a shorter one.

    Nobody may write the table meanwhile.

    Args:
        before_cut: Called with the positions that the table falls back to, by app id, before anything is cut: whoever lets go of records that the table
            has must hear of it first (`marks.lower`).

    Returns:
        What was cut off; None when the table was whole.
    """
    first: Damage | None = None
    while damage := examine(files, name):
        first = first or damage
        log = f"{name}/{deltalog.LOG}"
        for entry in damage.checkpoints:
            files.remove(f"{log}/{entry}")
        if damage.cut is not None:
            before_cut(deltalog.txns(files, name, damage.cut - 1) if damage.cut else {})
            doomed = {entry: int(match[1]) for entry in files.list(log) if (match := _VERSIONED.fullmatch(entry)) and int(match[1]) >= damage.cut}
            if any(entry.endswith(".parquet") for entry in doomed):
                files.remove(f"{log}/{_LAST}")
            for entry in sorted(doomed, key=lambda e: doomed[e], reverse=True):
                files.remove(f"{log}/{entry}")
        left = [entry for entry in files.list(log) if _VERSIONED.fullmatch(entry)]
        files.sync(*(f"{log}/{entry}" for entry in left[-1:]))
    return first


def _base(files: Files, name: str) -> tuple[int, list[str]]:
    """The newest whole checkpoint, -1 for none; and what is torn after it: checkpoints, and the file that points at the last."""
    torn: list[str] = []
    base = -1
    for version in reversed(deltalog.checkpoints(files, name)):
        if whole(files, name, version):
            base = version
            break
        torn.append(deltalog.checkpoint_path(name, version).rpartition("/")[2])
    pointer = f"{name}/{deltalog.LOG}/{_LAST}"
    if files.size(pointer) is not None and not _points(files, name, pointer):
        torn.append(_LAST)
    return base, torn


def _points(files: Files, name: str, pointer: str) -> bool:
    """Whether `_last_checkpoint` names a whole one: with any other, the table does not open."""
    try:
        with files.open(pointer) as file:
            version = int(json.loads(file.read())["version"])
    except (ValueError, KeyError, TypeError):
        return False
    return whole(files, name, version)


def whole(files: Files, name: str, version: int) -> bool:
    """Whether the version has a checkpoint that can be read."""
    try:
        deltalog.checkpointed(files, name, version)
    except Corrupt:
        return False
    return True


def _tail(files: Files, name: str, base: int, kept: list[int]) -> Iterator[tuple[int, str]]:
    """Versions after the checkpoint that are not whole, with what is wrong."""
    later = [v for v in kept if v > base]
    commits: list[deltalog.Commit] = []
    for version in later:
        try:
            commits.append(deltalog.read(files, name, version))
        except FileNotFoundError:
            return  # cleaned away by another one's upkeep, so there is a newer checkpoint
        except Corrupt:
            size = files.size(deltalog.commit_path(name, version))
            yield from _short(files, name, commits)
            yield version, f"commit {version} is {'cut' if size else 'empty'}"
            return
    yield from _short(files, name, commits)


def _short(files: Files, name: str, commits: list[deltalog.Commit]) -> Iterator[tuple[int, str]]:
    """Commits that name a data file which is not whole, and which no later one has taken away."""
    gone = {path for commit in commits for path in commit.removed}
    for commit in commits:
        for file in commit.added:
            if file.path in gone:
                continue
            size = files.size(f"{name}/{file.path}")
            if size != file.size:
                yield (
                    commit.version,
                    f"data file {file.path} of commit {commit.version} is {'missing' if size is None else f'{size} bytes long, not {file.size}'}",
                )
            elif not _ends_well(files, f"{name}/{file.path}", file.size):
                yield commit.version, f"data file {file.path} of commit {commit.version} has no end"


def _ends_well(files: Files, path: str, size: int) -> bool:
    """Whether its last bytes are Parquet's own: a file of the right length may still be full of zeros."""
    with files.open(path) as file:
        file.seek(max(0, size - 4))
        return file.read() == b"PAR1"
