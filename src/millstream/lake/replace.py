"""Put rows in the place of others, in one commit that nobody sees half of."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as is_
from deltalake.transaction import AddAction, RemoveAction

from millstream.base.errors import Conflict, UsageError
from millstream.base.moments import moment_of
from millstream.base.points import reach
from millstream.lake import parquet
from millstream.lake.lost import opened
from millstream.lake.parquet import encoded

if TYPE_CHECKING:
    from millstream.lake.port import Txns
    from millstream.lake.table import LakeTable, Rows


def replace(
    table: LakeTable,
    batches: Rows,
    where: tuple[str, Any, Any] | None,
    txns: Txns,
    metadata: Mapping[str, Any],
    tries: int,
) -> int:
    """See `LakeTable.replace`. The new rows are written once; what they take the place of is looked up again after each
    conflict.
    """
    table.check(txns)
    schema = _schema(table, batches, whole=where is None)
    written = parquet.write(table.files, table.name, schema or table.schema, _rows(batches), table.partition_by)
    reach("replace.files")
    current = table
    for _ in range(tries):
        actions: list[AddAction | RemoveAction] = [file.action() for file in written]
        if where is not None:
            actions += _take_out(current, *_bounds(current, where))
        elif schema is None:
            actions += [gone(current, row) for row in _files(current)]
        try:
            version = current.commit(actions, txns=txns, metadata=metadata, alone=True, schema=schema)
        except Conflict:
            current = table.refresh()
            current.check(txns)
        else:
            table.delta = current.delta
            return version
    raise Conflict(f'table "{table.name}": other commits came in between {tries} times; is someone else writing it?')


def _rows(batches: Rows) -> Iterator[pa.RecordBatch]:
    from millstream.lake.table import rows_of

    return rows_of(batches)


def _schema(table: LakeTable, batches: Rows, *, whole: bool) -> pa.Schema | None:
    """The table's new columns, when a whole replacement brings others."""
    found = getattr(batches, "schema", None)
    if found is None:
        return None
    wanted = parquet.plain_schema(found)
    if whole and [(f.name, f.type) for f in wanted] != [(f.name, f.type) for f in table.schema]:
        return wanted
    return None


def _bounds(table: LakeTable, where: tuple[str, Any, Any]) -> tuple[str, pa.Scalar, pa.Scalar]:
    column, low, high = where
    at = table.schema.get_field_index(column)
    if at < 0:
        raise UsageError(f'table "{table.name}" has no column "{column}"; it has {", ".join(table.schema.names)}')
    kind = table.schema.field(at).type
    return column, _scalar(low, kind), _scalar(high, kind)


def _scalar(value: Any, kind: pa.DataType) -> pa.Scalar:
    if is_.is_timestamp(kind) and isinstance(value, int):
        return pa.scalar(value, pa.int64()).cast(kind)
    if is_.is_date(kind) and isinstance(value, int) and not isinstance(value, bool):
        return pa.scalar(moment_of(value).date(), kind)
    if is_.is_date(kind) and isinstance(value, datetime):
        return pa.scalar(value.date(), kind)
    return pa.scalar(value, kind)


def _take_out(table: LakeTable, column: str, low: pa.Scalar, high: pa.Scalar) -> list[AddAction | RemoveAction]:
    """The removals, and the rows outside the interval of files that straddle it, written again as no news (`dataChange`
    false).
    """
    actions: list[AddAction | RemoveAction] = []
    for row in _files(table):
        least, most = row.get(f"min.{column}"), row.get(f"max.{column}")
        if column in table.partition_by:
            least = most = row[f"partition.{column}"]
            if least is None:
                continue
        if least is not None and most is not None and not (least < high.as_py() and most >= low.as_py()):
            continue
        kept = parquet.write(
            table.files, table.name, table.schema, _outside(table, row, column, low, high), table.partition_by
        )
        if sum(file.rows for file in kept) == row["num_records"]:
            for file in kept:
                table.files.remove(f"{table.name}/{file.path}")
            continue
        # Rows leave with it, so it is news; whoever reads only additions sees just the new rows.
        actions += [gone(table, row), *(file.action(data_change=False) for file in kept)]
    return actions


def _outside(
    table: LakeTable, row: Mapping[str, Any], column: str, low: pa.Scalar, high: pa.Scalar
) -> Iterator[pa.RecordBatch]:
    for batch in batches_of(table, row):
        values = batch.column(batch.schema.get_field_index(column))
        inside = pc.and_(pc.greater_equal(values, low), pc.less(values, high))
        yield batch.filter(pc.invert(pc.fill_null(inside, False)))


def batches_of(table: LakeTable, row: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
    """A file's rows with the table's columns: partition values from the log, null where the file is older than a
    column.
    """
    schema, columns = table.schema, table.partition_by
    with opened(table, row["path"]) as file:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=parquet.GROUP_ROWS):
            for name in columns:
                kind = schema.field(name).type
                batch = batch.append_column(name, pa.array([row[f"partition.{name}"]] * batch.num_rows, kind))
            yield parquet.fit(batch, schema)


def _files(table: LakeTable) -> list[dict[str, Any]]:
    return list(table.actions().to_pylist())


def gone(table: LakeTable, row: Mapping[str, Any], *, data_change: bool = True) -> RemoveAction:
    """The file of this row of `actions` taken away."""
    values = {name: encoded(row[f"partition.{name}"]) for name in table.partition_by}
    return RemoveAction(row["path"], data_change, time.time_ns() // 1_000_000, row["size_bytes"], values)
