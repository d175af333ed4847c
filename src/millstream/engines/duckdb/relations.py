"""What a query may see: versions of lake tables and Arrow data, each as a view of one instance."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.types as is_

from millstream.base.errors import WorkFailed
from millstream.base.sql import quoted
from millstream.lake.port import Snapshot

_NAMES = {
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float16(): "FLOAT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.large_string(): "VARCHAR",
    pa.string_view(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.large_binary(): "BLOB",
    pa.binary_view(): "BLOB",
    pa.date32(): "DATE",
    pa.date64(): "DATE",
    pa.null(): "INTEGER",
}
FEW = 128
"""Up to so many files are looked into while a query is planned."""
_NAIVE = {"s": "TIMESTAMP_S", "ms": "TIMESTAMP_MS", "us": "TIMESTAMP", "ns": "TIMESTAMP_NS"}


def type_name(kind: pa.DataType) -> str:
    """How DuckDB spells an Arrow type. A time with a zone is TIMESTAMPTZ: the instant, in microseconds."""
    if kind in _NAMES:
        return _NAMES[kind]
    if is_.is_timestamp(kind):
        return "TIMESTAMPTZ" if kind.tz else _NAIVE[kind.unit]
    if is_.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if is_.is_time(kind):
        return "TIME"
    if is_.is_fixed_size_binary(kind):
        return "BLOB"
    if is_.is_dictionary(kind):
        return type_name(kind.value_type)
    if is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind) or is_.is_list_view(kind):
        return f"{type_name(kind.value_type)}[]"
    if is_.is_struct(kind):
        return "STRUCT(" + ", ".join(f"{quoted(field.name)} {type_name(field.type)}" for field in kind) + ")"
    if is_.is_map(kind):
        return f"MAP({type_name(kind.key_type)}, {type_name(kind.item_type)})"
    raise WorkFailed(f"DuckDB has no type for a column of {kind}; cast it before it is written to the lake")


def text(value: str) -> str:
    """A string literal, quoted."""
    return "'" + value.replace("'", "''") + "'"


def paths(relations: Mapping[str, Any]) -> list[str]:
    """Every file that these relations read."""
    return [file for relation in relations.values() if isinstance(relation, Snapshot) for file in relation.files]


def attach(connection: duckdb.DuckDBPyConnection, table: str, relation: Any) -> None:
    """Let `table` name the relation on this connection."""
    if not isinstance(relation, Snapshot):
        if isinstance(relation, pa.RecordBatch):
            relation = pa.Table.from_batches([relation])
        connection.register(table, relation)
    elif relation.files:
        connection.execute(f"create temp view {quoted(table)} as {scan(connection, relation)}")
    else:
        connection.register(table, relation.schema.empty_table())


def scan(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> str:
    """A select over the snapshot's files, in the schema's columns and order.

    A file that is older than a column gives NULL for it. Partition values are constants from the Delta log, one branch
    for each combination of them: a filter on such a column then drops whole branches before a file is opened.
    """
    groups: dict[tuple[tuple[str, Any], ...], list[str]] = {}
    values = snapshot.partitions or ({},) * len(snapshot.files)
    for file, constants in zip(snapshot.files, values, strict=True):
        groups.setdefault(tuple(sorted(constants.items())), []).append(file)
    few = len(snapshot.files) <= FEW
    return " union all ".join(
        _select(connection, snapshot.schema, files, dict(constants), few) for constants, files in groups.items()
    )


def _select(
    connection: duckdb.DuckDBPyConnection, schema: pa.Schema, files: list[str], constants: Mapping[str, Any], few: bool
) -> str:
    stored = {field.name: type_name(field.type) for field in schema if field.name not in constants}
    known = {field.name: _constant(constants[field.name], field.type) for field in schema if field.name in constants}
    listed = f"[{', '.join(map(text, files))}]"
    there = _written(connection, listed, stored) if few and stored else None
    if there is not None:
        known |= {column: f"cast(null as {kind})" for column, kind in stored.items() if column not in there}
        source = f"read_parquet({listed}, union_by_name = true, hive_partitioning = false)"
    else:
        shapes = ", ".join(
            f"{text(column)}: {{'name': {text(column)}, 'type': {text(kind)}, 'default_value': NULL}}"
            for column, kind in stored.items()
        )
        # Without stored columns the files still say how many rows.
        source = f"read_parquet({listed}, schema = MAP {{{shapes}}})" if stored else f"read_parquet({listed})"
    columns = [f"{known[column]} as {quoted(column)}" if column in known else quoted(column) for column in schema.names]
    return f"select {', '.join(columns)} from {source}"


def _written(connection: duckdb.DuckDBPyConnection, listed: str, stored: Mapping[str, str]) -> set[str] | None:
    """Which of these columns the files have; None where they cannot be read by their own schemas, because a type is
    another or a file is lost.

    Read by their own schemas, DuckDB has the statistics of all files while it plans: how many rows a filter leaves,
    which side of a join is small, how wide a key must be. Read by a given schema it has none: a sort then costs three
    times as much.
    """
    try:
        rows = connection.execute(
            f"describe select * from read_parquet({listed}, union_by_name = true, hive_partitioning = false)"
        ).fetchall()
        nulls = ", ".join(f"cast(null as {kind}) as {quoted(column)}" for column, kind in stored.items())
        wanted = {column: kind for column, kind, *_ in connection.execute(f"describe select {nulls}").fetchall()}
    except duckdb.Error:  # the query will say what is wrong
        return None
    found = {column: kind for column, kind, *_ in rows}
    spelled = {column.lower() for column in found} - {column.lower() for column in found.keys() & stored.keys()}
    if spelled & {column.lower() for column in stored} or any(
        found.get(column, kind) != kind for column, kind in wanted.items()
    ):
        return None
    return found.keys() & stored.keys()


def _constant(value: Any, kind: pa.DataType) -> str:
    if value is None:
        return f"cast(null as {type_name(kind)})"
    written = value.isoformat(" ") if isinstance(value, datetime) else str(value)
    return f"cast({text(written)} as {type_name(kind)})"
