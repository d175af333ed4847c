"""Query results as columns that a plain Delta table holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.types as is_

from millstream.base.errors import WorkFailed
from millstream.base.event import TIMESTAMP

_HUGE = pa.decimal128(38, 0)


def fit(schema: pa.Schema, table: str) -> pa.Schema:
    """The schema as it is stored.

    DuckDB's HUGEINT (what `sum` of integers is) becomes int64, checked row by row; a time without a zone is UTC, as
    everywhere here; an enum becomes a string; finer than microseconds is cut.

    Raises:
        WorkFailed: A column has a type that no table can hold, or two columns have one name.
    """
    names = [name.lower() for name in schema.names]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise WorkFailed(
            f'table "{table}": the query gives two columns named "{twice}"; name one of them otherwise with  as'
        )
    return pa.schema(
        [pa.field(field.name, _fit(field.type, f'table "{table}": column "{field.name}"')) for field in schema]
    )


def _fit(kind: pa.DataType, what: str) -> pa.DataType:
    if kind == _HUGE:
        return pa.int64()
    if is_.is_timestamp(kind):
        return TIMESTAMP
    if is_.is_dictionary(kind):
        return _fit(kind.value_type, what)
    if is_.is_unsigned_integer(kind):
        return {8: pa.int16(), 16: pa.int32(), 32: pa.int64(), 64: pa.int64()}[kind.bit_width]
    if is_.is_large_string(kind) or is_.is_string(kind) or str(kind) == "string_view":
        return pa.string()
    if is_.is_float16(kind):
        return pa.float32()
    if is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind):
        return pa.list_(pa.field("element", _fit(kind.value_type, what)))
    if is_.is_struct(kind):
        return pa.struct([pa.field(field.name, _fit(field.type, what)) for field in kind])
    if is_.is_null(kind):
        raise WorkFailed(f"{what} is NULL in every row and has no type; say one, e.g. null::double")
    if is_.is_interval(kind) or is_.is_duration(kind):
        raise WorkFailed(f"{what} is an interval, which no table holds; use a number, e.g. date_diff('minute', a, b)")
    if is_.is_time(kind):
        raise WorkFailed(f"{what} is a time of day, which no table holds; use a timestamp, or a string by strftime")
    return kind


def fitted(batches: Iterable[pa.RecordBatch], schema: pa.Schema, table: str) -> Iterator[pa.RecordBatch]:
    """The batches with their columns cast to `schema`, by position; nothing is copied where nothing changes.

    Raises:
        WorkFailed: A value does not fit, e.g. an integer beyond 64 bits.
    """
    for batch in batches:
        if batch.schema.equals(schema):
            yield batch
            continue
        columns = []
        for column, field in zip(batch.columns, schema, strict=True):
            try:
                columns.append(column if column.type == field.type else _cast(column, field.type))
            except pa.ArrowInvalid as error:
                raise WorkFailed(
                    f'table "{table}": column "{field.name}" does not fit {field.type}: {error}; cast it in the query'
                ) from error
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if is_.is_timestamp(kind):
        return column.cast(kind, safe=False)  # cuts nanoseconds
    return column.cast(kind)
