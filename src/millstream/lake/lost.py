"""Data files that a table names and that are not there: deleted, never copied, or cleaned away with an old version that
somebody still reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from millstream.base.errors import Corrupt
from millstream.lake.port import Snapshot

if TYPE_CHECKING:
    from millstream.lake.table import LakeTable


def lost(table: str, file: str, version: int | None = None) -> Corrupt:
    """What every reader says of one."""
    at = "" if version is None else f" (version {version})"
    return Corrupt(f'table "{table}"{at}: its data file {file} is lost; millstream doctor says how to repair the table')


def first_lost(snapshots: Iterable[Snapshot]) -> Corrupt | None:
    """Of snapshots on this machine's disk, the first file that is not there; None when all are."""
    for snapshot in snapshots:
        for file in snapshot.files:
            if "://" not in file and not os.path.exists(file):
                _, folder, below = file.rpartition(f"/{snapshot.table}/")
                return lost(snapshot.table, f"{folder[1:]}{below}", snapshot.version)
    return None


def opened(table: LakeTable, path: str) -> BinaryIO:
    """A data file of the table, open for reading. Raises Corrupt where it is lost."""
    place = f"{table.name}/{path}"
    try:
        return table.files.open(place)
    except FileNotFoundError as error:
        raise lost(table.name, place, table.version) from error


def missing(table: LakeTable) -> Iterator[str]:
    """Files of this version that are not there, by path below the lake's folder."""
    for path in table.actions()["path"].to_pylist():
        place = f"{table.name}/{path}"
        if table.files.size(place) is None:
            yield place
