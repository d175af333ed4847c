"""What no version that is kept needs any more: commits behind a checkpoint, and data files.

A version stays readable for `KEPT`, and as long as it is pinned. A pinned version gets a checkpoint of its own, so that
one old pin does not keep every commit since: delta-rs lists the whole folder at each opening, 5 ms with 1,000 commits
in it and 170 ms with 50,000.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from millstream.base.errors import Corrupt
from millstream.base.points import reach
from millstream.lake import checkpoint, deltalog, lineage, parquet, pins
from millstream.lake.lake import Lake
from millstream.lake.positions import topics_of
from millstream.lake.repair import whole
from millstream.lake.table import LakeTable

KEPT = timedelta(days=7)
"""How long a version, and a file that no version names, is kept: longer than any reader or any commit takes."""
AT_MOST = 5_000
"""Commits: older ones go before their time, where commits come so fast."""
SLACK = 500
_SURELY = timedelta(minutes=10)
"""However many commits there are, those of this last stretch stay: a reader or a writer may stand on one."""


def crowded(table: LakeTable) -> bool:
    """Whether the log holds more commits than it should."""
    return len(deltalog.versions(table.files, table.name)) > AT_MOST + SLACK


def log(lake: Lake, table: LakeTable, now: float) -> int:
    """Remove commits and checkpoints that no version kept needs, oldest first.

    Returns:
        How many files were removed.

    Raises:
        Corrupt: The table does not open as it should from the checkpoint that would be its beginning; nothing was
            removed.
    """
    files, name = table.files, table.name
    begin = _beginning(table, now)
    if begin is None:
        return 0
    if topics_of(table.txns()) and not name.endswith("__dead") and lineage.folded(lake, table) < begin:
        return 0  # ranges are folded first
    pinned = [version for version in pins.pinned(files, name) if version < begin]
    for version in pinned:
        if not whole(files, name, version):
            checkpoint.make(table.at(version))
    if not whole(files, name, begin) or not _agrees(table.at(begin)):
        raise Corrupt(f'checkpoint {begin} of table "{name}" is not whole; its log is left as it is')
    doomed = [deltalog.commit_path(name, v) for v in deltalog.versions(files, name) if v < begin]
    doomed += [
        deltalog.checkpoint_path(name, v) for v in deltalog.checkpoints(files, name) if v < begin and v not in pinned
    ]
    for path in sorted(doomed):
        files.remove(path)
    return len(doomed)


def _agrees(table: LakeTable) -> bool:
    """Whether delta-rs and we read the same positions."""
    return all(table.position(app) == at for app, at in table.txns().items())


def _beginning(table: LakeTable, now: float) -> int | None:
    """The checkpoint that the log can begin with; None when nothing before it could go."""
    files, name = table.files, table.name
    kept = [v for v in deltalog.versions(files, name) if v <= table.version]
    if not kept:
        return None
    old = _before(table, kept, (now - KEPT.total_seconds()) * 1e3)
    if len(kept) > AT_MOST:
        old = max(old, min(kept[-AT_MOST], _before(table, kept, (now - _SURELY.total_seconds()) * 1e3)))
    begin = max((v for v in deltalog.checkpoints(files, name) if v <= old), default=None)
    return begin if begin is not None and begin > kept[0] else None


def _before(table: LakeTable, kept: list[int], at_ms: float) -> int:
    """The newest version committed before a moment, -1 for none: by halving, since a log may be long."""
    low, high = 0, len(kept)
    while low < high:
        middle = (low + high) // 2
        if deltalog.read(table.files, table.name, kept[middle]).at_ms < at_ms:
            low = middle + 1
        else:
            high = middle
    return kept[low - 1] if low else -1


def vacuum(table: LakeTable, now: float) -> int:
    """Remove data files that neither this version, nor a pinned one, nor one of the last `KEPT` names, and that are
    older than that themselves.

    So a file that is written and not yet committed stays, and what a killed process left behind goes. Files that others
    named are left.

    Returns:
        How many files were removed.
    """
    needed = {str(path) for path in table.actions()["path"].to_pylist()}
    for version in pins.pinned(table.files, table.name):
        needed.update(str(path) for path in table.at(version).actions()["path"].to_pylist())
    oldest = (now - KEPT.total_seconds()) * 1e3
    taken: dict[str, bool] = {}
    for version in deltalog.versions(table.files, table.name):
        commit = deltalog.read(table.files, table.name, version)
        taken.update(dict.fromkeys(commit.removed, commit.at_ms < oldest))
        needed.update(file.path for file in commit.added if version > table.version)
    reach("vacuum.running")
    removed = 0
    for path in _data_files(table):
        begun = parquet.written_ns(path.rpartition("/")[2])
        if begun is not None and path not in needed and taken.get(path, True) and begun / 1e6 < oldest:
            table.files.remove(f"{table.name}/{path}")
            removed += 1
    return removed


def _data_files(table: LakeTable, folder: str = "") -> Iterator[str]:
    for entry in table.files.list(f"{table.name}/{folder}".rstrip("/")):
        if entry.endswith(".parquet"):
            yield folder + entry
        elif "=" in entry:
            yield from _data_files(table, f"{folder}{entry}/")
