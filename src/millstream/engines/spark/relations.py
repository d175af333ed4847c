"""What a query may see, as views of one session: the Parquet files of a snapshot with its schema, and Arrow data by way
of a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as is_

from millstream.base.errors import WorkFailed
from millstream.engines.spark.kinds import quoted
from millstream.engines.spark.rules import literal
from millstream.engines.spark.scratch import Scratch
from millstream.lake.port import Snapshot

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_PLAIN = {
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INT",
    pa.int64(): "BIGINT",
    pa.uint8(): "SMALLINT",
    pa.uint16(): "INT",
    pa.uint32(): "BIGINT",
    pa.uint64(): "DECIMAL(20,0)",
    pa.float16(): "FLOAT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "STRING",
    pa.large_string(): "STRING",
    pa.string_view(): "STRING",
    pa.binary(): "BINARY",
    pa.large_binary(): "BINARY",
    pa.binary_view(): "BINARY",
    pa.date32(): "DATE",
    pa.date64(): "DATE",
    pa.null(): "INT",
}
_STORED = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
    pa.null(): pa.int32(),
    pa.date64(): pa.date32(),
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
}


def type_name(kind: pa.DataType) -> str:
    """How Spark spells an Arrow type.

    Raises:
        WorkFailed: It has none.
    """
    if kind in _PLAIN:
        return _PLAIN[kind]
    if is_.is_timestamp(kind):
        return "TIMESTAMP" if kind.tz else "TIMESTAMP_NTZ"
    if is_.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if is_.is_fixed_size_binary(kind):
        return "BINARY"
    if is_.is_dictionary(kind):
        return type_name(kind.value_type)
    if is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind) or is_.is_list_view(kind):
        return f"ARRAY<{type_name(kind.value_type)}>"
    if is_.is_struct(kind):
        return "STRUCT<" + ", ".join(f"{quoted(part.name)}: {type_name(part.type)}" for part in kind) + ">"
    if is_.is_map(kind):
        return f"MAP<{type_name(kind.key_type)}, {type_name(kind.item_type)}>"
    raise WorkFailed(f"Spark has no type for a column of {kind}; cast it before it is written to the lake")


def ddl(schema: pa.Schema) -> str:
    return ", ".join(f"{quoted(field.name)} {type_name(field.type)}" for field in schema)


def attach(session: SparkSession, table: str, relation: Any, scratch: Scratch) -> None:
    """Let `table` name the relation in this session."""
    frame = (
        _snapshot(session, relation) if isinstance(relation, Snapshot) else _arrow(session, table, relation, scratch)
    )
    frame.createOrReplaceTempView(quoted(table))


def read(session: SparkSession, schema: pa.Schema, files: list[str]) -> DataFrame:
    """Exactly these files, or nothing; a column that a file lacks is NULL."""
    if not files:
        return session.createDataFrame([], ddl(schema))
    return session.read.schema(ddl(schema)).option("__globPaths__", "false").parquet(*files)


def _snapshot(session: SparkSession, snapshot: Snapshot) -> DataFrame:
    """Partition values are constants from the Delta log: one branch for each combination of them."""
    if not snapshot.files or not snapshot.partitions:
        return read(session, snapshot.schema, [_path(file) for file in snapshot.files])
    groups: dict[tuple[tuple[str, Any], ...], list[str]] = {}
    for file, values in zip(snapshot.files, snapshot.partitions, strict=True):
        groups.setdefault(tuple(sorted(values.items())), []).append(_path(file))
    whole: DataFrame | None = None
    for constants, files in groups.items():
        fixed = dict(constants)
        stored = pa.schema([field for field in snapshot.schema if field.name not in fixed])
        columns = [
            _constant(fixed[f.name], f.type) + f" as {quoted(f.name)}" if f.name in fixed else quoted(f.name)
            for f in snapshot.schema
        ]
        branch = read(session, stored, files).selectExpr(*columns)
        whole = branch if whole is None else whole.unionAll(branch)
    assert whole is not None
    return whole


def _path(file: str) -> str:
    return f"file://{file}" if file.startswith("/") else file


def _constant(value: Any, kind: pa.DataType) -> str:
    if value is None:
        return f"cast(null as {type_name(kind)})"
    return f"cast({literal(value.isoformat(' ') if isinstance(value, datetime) else str(value))} as {type_name(kind)})"


def _arrow(session: SparkSession, table: str, relation: Any, scratch: Scratch) -> DataFrame:
    if isinstance(relation, pa.RecordBatch):
        relation = pa.Table.from_batches([relation])
    schema = stored(relation.schema)
    if isinstance(relation, pa.Table) and relation.num_rows == 0:
        return read(session, schema, [])
    name = scratch.name(".parquet")
    with pq.ParquetWriter(
        scratch.folder / name, schema, coerce_timestamps="us", allow_truncated_timestamps=True, store_schema=False
    ) as out:
        for batch in _batches(relation):
            out.write_table(pa.Table.from_batches([batch]).cast(schema))
    return read(session, schema, [scratch.shared(name)])


def _batches(relation: Any) -> Iterator[pa.RecordBatch]:
    try:
        yield from relation.to_batches() if isinstance(relation, pa.Table) else relation
    except WorkFailed:
        raise
    except Exception as error:  # of a stream's far side, whatever it is
        raise WorkFailed(f"{type(error).__name__}: {error}") from error


def stored(schema: pa.Schema) -> pa.Schema:
    """As Spark takes it, in Parquet or in batches: no unsigned numbers, no dictionaries, microseconds."""
    return pa.schema([pa.field(field.name, _kept(field.type)) for field in schema])


def _kept(kind: pa.DataType) -> pa.DataType:
    if is_.is_dictionary(kind):
        return _kept(kind.value_type)
    if is_.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if is_.is_fixed_size_binary(kind):
        return pa.binary()
    if is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind):
        return pa.list_(_kept(kind.value_type))
    if is_.is_struct(kind):
        return pa.struct([pa.field(part.name, _kept(part.type)) for part in kind])
    return _STORED.get(kind, kind)
