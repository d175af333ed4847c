"""Small files joined: the same rows in the same order in fewer files, in a commit that says it is not news
(`dataChange` false).

Files are joined with neighbours of their own size only, so a row is written again a few times at most, however small
the commits are. Appends never conflict with it; whoever took one of its files away in the meantime wins, and the joined
file is dropped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pyarrow as pa
from deltalake.transaction import AddAction, RemoveAction

from millstream.base.errors import Conflict
from millstream.base.points import reach
from millstream.lake import deltalog, parquet
from millstream.lake.replace import batches_of
from millstream.lake.table import LakeTable

SIZES = (512 << 10, 4 << 20, 32 << 20)
"""Files up to each of these bytes are joined with one another; larger ones stay."""
AT_LEAST = (32, 8, 8)
"""How many neighbours of a size make joining them worth a commit."""
AT_ONCE = 96 << 20
"""Bytes of one commit, so that one file comes of it, and what a stopped process wastes."""


def compact(table: LakeTable) -> int:
    """Join what is worth it, on this handle.

    Returns:
        How many files were joined; 0 as well when somebody took one of them away meanwhile.
    """
    joined = 0
    for run in runs(table):
        actions, told = _joined(table, run)
        reach("compact.files")
        try:
            table.commit(actions, metadata={"by": "compaction", "compacted": [told]})
        except Conflict:
            _drop(table, told["into"])
            return joined
        reach("compact.committed")
        joined += len(run)
    return joined


def _drop(table: LakeTable, paths: list[str]) -> None:
    """Remove refused files, unless a commit names them after all: a store may have landed what it reported as
    refused.
    """
    later = [v for v in deltalog.versions(table.files, table.name) if v > table.version]
    named = {file.path for version in later for file in deltalog.read(table.files, table.name, version).added}
    for path in paths:
        if path not in named:
            table.files.remove(f"{table.name}/{path}")


def runs(table: LakeTable) -> list[list[dict[str, Any]]]:
    """Neighbouring files of one size and one partition that are many enough."""
    rows: list[dict[str, Any]] = table.actions().to_pylist()
    rows.sort(key=lambda row: [parquet.encoded(row[f"partition.{name}"]) or "" for name in table.partition_by])
    found: list[list[dict[str, Any]]] = []
    for (_, size), group in groupby(
        rows, key=lambda row: ([row[f"partition.{name}"] for name in table.partition_by], _size(row["size_bytes"]))
    ):
        if size is not None:
            found += (run for run in _cut(list(group)) if len(run) >= AT_LEAST[size])
    return found


def _size(size_bytes: int) -> int | None:
    return next((i for i, bound in enumerate(SIZES) if size_bytes < bound), None)


def _cut(run: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    held: list[dict[str, Any]] = []
    for row in run:
        if held and sum(r["size_bytes"] for r in held) + row["size_bytes"] > AT_ONCE:
            yield held
            held = []
        held.append(row)
    yield held


def _joined(table: LakeTable, run: list[dict[str, Any]]) -> tuple[list[AddAction | RemoveAction], dict[str, list[str]]]:
    """The new files, written and synced, and the old ones taken away."""
    written = parquet.write(
        table.files, table.name, table.schema, _rows(table, run), table.partition_by, place=run[0]["path"]
    )
    values = {name: parquet.encoded(run[0][f"partition.{name}"]) for name in table.partition_by}
    now = time.time_ns() // 1_000_000
    actions: list[AddAction | RemoveAction] = [file.action(data_change=False) for file in written]
    actions += [RemoveAction(row["path"], False, now, row["size_bytes"], values) for row in run]
    return actions, {"from": [row["path"] for row in run], "into": [file.path for file in written]}


def _rows(table: LakeTable, run: list[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    for row in run:
        yield from batches_of(table, row)
