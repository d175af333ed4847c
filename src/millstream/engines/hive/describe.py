"""Tables, columns and partition values in the metastore's words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.types as is_
from pymetastore.hive_metastore import ttypes

from millstream.base.errors import Incompatible

_NAMES = {
    pa.bool_(): "boolean",
    pa.int8(): "tinyint",
    pa.int16(): "smallint",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "string",
    pa.binary(): "binary",
    pa.date32(): "date",
}
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"
"""How the metastore spells NULL in a partition column."""
_INTO = "org.apache.hadoop.hive.ql.io"
ROWS = (
    f"{_INTO}.parquet.MapredParquetInputFormat",
    f"{_INTO}.parquet.MapredParquetOutputFormat",
    f"{_INTO}.parquet.serde.ParquetHiveSerDe",
)
"""Classes by which Hive reads Parquet: input, output, rows."""


def hive_name(name: str) -> str:
    """A table's or column's name as Hive keeps it: lower case, and for a table's dots and dashes an underscore.

    >>> hive_name("Flights.by-day")
    'flights_by_day'
    """
    return re.sub(r"[.\-]", "_", name).lower()


def hive_type(kind: pa.DataType) -> str:
    """A type of a Delta table in Hive's words. A moment in time is `timestamp`, of UTC.

    >>> hive_type(pa.list_(pa.struct([("x", pa.decimal128(10, 2)), ("at", pa.timestamp("us", "UTC"))])))
    'array<struct<x:decimal(10,2),at:timestamp>>'

    Raises:
        Incompatible: Hive has no such type.
    """
    if kind in _NAMES:
        return _NAMES[kind]
    if is_.is_timestamp(kind):
        return "timestamp"
    if is_.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if is_.is_large_string(kind) or is_.is_string_view(kind):
        return "string"
    if is_.is_large_binary(kind) or is_.is_binary_view(kind):
        return "binary"
    if is_.is_map(kind):
        return f"map<{hive_type(kind.key_type)},{hive_type(kind.item_type)}>"
    if is_.is_list(kind) or is_.is_large_list(kind) or is_.is_list_view(kind):
        return f"array<{hive_type(kind.value_type)}>"
    if is_.is_struct(kind):
        return f"struct<{','.join(f'{field.name.lower()}:{hive_type(field.type)}' for field in kind)}>"
    raise Incompatible(f"Hive has no type for {kind}")


def columns(schema: Iterable[pa.Field]) -> list[Any]:
    """Columns, in order. Raises Incompatible: two that differ in case only, or a type that Hive has not."""
    made: dict[str, Any] = {}
    for field in schema:
        name = field.name.lower()
        if name in made:
            raise Incompatible(f'two columns are "{name}" to Hive, which knows no case; rename one')
        try:
            made[name] = ttypes.FieldSchema(name=name, type=hive_type(field.type))
        except Incompatible as error:
            raise Incompatible(f'column "{field.name}": {error}') from None
    return list(made.values())


def value(value: Any) -> str:
    """The value of a partition column as the metastore spells it.

    >>> from datetime import date
    >>> value(None), value(True), value(datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)), value(date(2024, 1, 2)), value(7)
    ('__HIVE_DEFAULT_PARTITION__', 'true', '2024-01-02 03:04:05.000000', '2024-01-02', '7')
    """
    if value is None or value == "":
        return NO_PARTITION
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return f"{(value.astimezone(UTC) if value.tzinfo else value):%Y-%m-%d %H:%M:%S.%f}"
    return str(value)


def storage(
    cols: list[Any],
    location: str | None,
    classes: tuple[str, str, str | None],
    options: Mapping[str, str] | None = None,
) -> Any:
    """Where rows lie, and by which classes they are read."""
    rows = ttypes.SerDeInfo(serializationLib=classes[2], parameters=dict(options or {"serialization.format": "1"}))
    return ttypes.StorageDescriptor(
        cols=cols,
        location=location,
        inputFormat=classes[0],
        outputFormat=classes[1],
        numBuckets=-1,
        serdeInfo=rows,
        bucketCols=[],
        sortCols=[],
        parameters={},
    )
