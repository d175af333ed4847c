"""Reading columns of a table in Python: files pruned by the log's statistics, one file in memory at a time.

For verify, take-over and repair; queries belong to the compute engine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from millstream.base.event import OFFSET, PARTITION
from millstream.lake import parquet
from millstream.lake.lost import opened
from millstream.lake.table import LakeTable


def scan(
    table: LakeTable,
    columns: Sequence[str],
    bounds: Mapping[str, tuple[Any, Any]] | None = None,
    where: Any = None,
    skip: Collection[str] = (),
) -> Iterator[pa.RecordBatch]:
    """Batches of these columns, file after file in order of writing.

    Args:
        bounds: Column -> (least, most), inclusive: a file whose statistics lie outside is not opened. None is open.
        where: A pyarrow expression that rows must meet; it may use other columns than those returned.
        skip: Files, as `TABLE/PATH`, to leave out.
    """
    for row in candidates(table, bounds or {}):
        if f"{table.name}/{row['path']}" not in skip:
            yield from _file(table, row, columns, where)


def holds(table: LakeTable, column: str, value: Any) -> bool:
    """Whether any row has this value: statistics only say where it may be, since a file's range has gaps."""
    return any(batch.num_rows for batch in scan(table, [column], {column: (value, value)}, pc.field(column) == value))


def holder(table: LakeTable, partition: int, offset: int) -> str | None:
    """The file that holds a record of the log, below the lake's folder, or as a URL where the lake is far; None when
    none does.
    """
    found = candidates(table, {PARTITION: (partition, partition), OFFSET: (offset, offset)})
    same = (pc.field(PARTITION) == partition) & (pc.field(OFFSET) == offset)
    held = (
        found
        if len(found) == 1
        else [row for row in found if any(batch.num_rows for batch in _file(table, row, [OFFSET], same))]
    )
    root = f"{table.files.root}/" if "://" in table.files.root else ""
    return f"{root}{table.name}/{held[0]['path']}" if held else None


def candidates(table: LakeTable, bounds: Mapping[str, tuple[Any, Any]]) -> list[dict[str, Any]]:
    """Files that may hold rows within the bounds, as `LakeTable.actions` has them."""
    return [
        row
        for row in table.actions().to_pylist()
        if all(_may(row, name, low, high) for name, (low, high) in bounds.items())
    ]


def _may(row: Mapping[str, Any], name: str, low: Any, high: Any) -> bool:
    least, most = row.get(f"min.{name}"), row.get(f"max.{name}")
    return not (
        (low is not None and most is not None and most < low)
        or (high is not None and least is not None and least > high)
    )


def _file(table: LakeTable, row: Mapping[str, Any], columns: Sequence[str], where: Any) -> Iterator[pa.RecordBatch]:
    wanted = pa.schema([table.schema.field(name) for name in columns])
    with opened(table, row["path"]) as file:
        parquet_file = pq.ParquetFile(file)
        held = set(parquet_file.schema_arrow.names)
        if where is not None:
            batches: Iterator[pa.RecordBatch] = iter(
                pq.read_table(file, columns=[c for c in columns if c in held], filters=where).to_batches()
            )
        else:
            batches = parquet_file.iter_batches(
                batch_size=parquet.GROUP_ROWS, columns=[c for c in columns if c in held]
            )
        for batch in batches:
            for name in set(columns) & set(table.partition_by):
                batch = batch.append_column(
                    name, pa.array([row[f"partition.{name}"]] * batch.num_rows, wanted.field(name).type)
                )
            if batch.num_rows:
                yield parquet.fit(batch, wanted)
