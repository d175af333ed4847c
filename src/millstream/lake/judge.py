"""Which records are good, and in what form they land: one pure function of the record and the stream's class.

Sink and feature updater must agree on it: what is a dead letter here may not count in a feature there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as is_

from millstream.declare.errors import Incompatible
from millstream.declare.event import ARRIVED_AT, ENVELOPE, EVENT_ID, OFFSET, REQUIRED, Field
from millstream.declare.stream import Stream
from millstream.log.port import RAW_SCHEMA_ID

VERSION = 2
"""Raise it when a record may get another verdict than before; see `ruling.py`."""
# Event times that Python, DuckDB, Spark and a Delta statistic can all hold: years 1 to 9999.
_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999


@dataclass(frozen=True)
class Judged:
    """A slice of records, judged.

    Attributes:
        rows: All of its records in the stream's own columns, then `_event_id`, `_arrived_at`, `_offset`; only those in `good` have meaning.
        good: One boolean a record.
        errors: Index of a bad record -> why.
        raw: Gives a bad record's bytes by its index, and where it was found.
    """

    rows: pa.RecordBatch
    good: np.ndarray[Any, np.dtype[np.bool_]]
    errors: dict[int, str]
    raw: Callable[[int], tuple[bytes, str | None]]


def payload_schema(stream: Stream[Any]) -> pa.Schema:
    """The stream's columns as a table holds them: all may be null, so that a field may become optional later."""
    return pa.schema([pa.field(field.name, field.arrow) for field in stream.schema.fields])


def table_schema(stream: Stream[Any]) -> pa.Schema:
    """Columns of the stream's lake table: payload, then envelope."""
    return pa.schema([*payload_schema(stream), *(pa.field(name, kind) for name, kind in ENVELOPE.items())])


def extra_fields(stream: Stream[Any], rows: pa.RecordBatch, schema_id: int) -> list[pa.Field]:
    """Columns that a newer writer sends and the stream's class does not have; they land too."""
    if schema_id == RAW_SCHEMA_ID:
        return []
    known = {*stream.schema.names(), *ENVELOPE}
    return [pa.field(field.name, field.type) for field in rows.schema if field.name not in known]


def judge(stream: Stream[Any], rows: pa.RecordBatch, schema_id: int, extra: list[pa.Field] | None = None) -> Judged:
    """Judge the records of one slice.

    Args:
        rows: As a log's reader gives them: the writer's columns, `_event_id`, `_arrived_at`, `_offset`.
        extra: Columns beyond the class that the table has; null where the writer has none.

    Raises:
        Incompatible: The writer's column is of a type that does not become the class's: the stream must stop.
    """
    if schema_id == RAW_SCHEMA_ID:
        return _undecoded(stream, rows, extra or [])
    columns: list[pa.Array] = []
    errors: dict[int, str] = {}
    for field in stream.schema.fields:
        column = _column(stream, rows, field)
        column = _flag(field, column, errors)
        columns.append(column)
    names = [*stream.schema.names(), *(f.name for f in extra or []), EVENT_ID, ARRIVED_AT, OFFSET]
    columns += [_taken(rows, f.name, f.type) for f in extra or []]
    columns += [_taken(rows, name, ENVELOPE[name]) for name in (EVENT_ID, ARRIVED_AT, OFFSET)]
    good = np.ones(rows.num_rows, bool)
    if errors:
        good[list(errors)] = False
    return Judged(pa.RecordBatch.from_arrays(columns, names=names), good, errors, lambda at: (_as_json(rows, at), None))


def _undecoded(stream: Stream[Any], rows: pa.RecordBatch, extra: list[pa.Field]) -> Judged:
    """Records that their source could not read: none is good."""
    said, origin, raw = rows.column("error").to_pylist(), rows.column("origin").to_pylist(), rows.column("raw")
    empty = pa.RecordBatch.from_arrays(
        [*(pa.nulls(rows.num_rows, f.type) for f in [*payload_schema(stream), *extra]), pa.nulls(rows.num_rows, pa.string()),
         _taken(rows, ARRIVED_AT, ENVELOPE[ARRIVED_AT]), _taken(rows, OFFSET, ENVELOPE[OFFSET])],
        names=[*stream.schema.names(), *(f.name for f in extra), EVENT_ID, ARRIVED_AT, OFFSET],
    )  # fmt: skip
    errors = {at: why or "unreadable" for at, why in enumerate(said)}
    return Judged(empty, np.zeros(rows.num_rows, bool), errors, lambda at: (raw[at].as_py() or b"", origin[at]))


def _taken(rows: pa.RecordBatch, name: str, kind: pa.DataType) -> pa.Array:
    at = rows.schema.get_field_index(name)
    if at < 0:
        return pa.nulls(rows.num_rows, kind)
    column = rows.column(at)
    return column if column.type.equals(kind) else column.cast(kind)


def _column(stream: Stream[Any], rows: pa.RecordBatch, field: Field) -> pa.Array:
    at = rows.schema.get_field_index(field.name)
    if at < 0:
        value = None if field.default is REQUIRED else field.default
        return pa.nulls(rows.num_rows, field.arrow) if value is None else pa.repeat(pa.scalar(value, field.arrow), rows.num_rows)
    column = rows.column(at)
    if column.type.equals(field.arrow):
        return column
    if _widens(column.type, field.arrow):
        return column.cast(field.arrow)
    raise Incompatible(f'stream "{stream.name}": field "{field.name}" is {field.arrow} in {stream.schema.name} and {column.type} in the log; '
                       "only wider numbers and new fields go on, any other change is a new stream")  # fmt: skip


def _widens(old: pa.DataType, new: pa.DataType) -> bool:
    """Whether every old value is a new one, as Avro promotes."""
    numbers = (is_.is_integer(old) and (is_.is_integer(new) or is_.is_floating(new))) or (is_.is_floating(old) and is_.is_floating(new))
    texts = (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view())
    times = is_.is_timestamp(old) and is_.is_timestamp(new)
    lists = is_.is_nested(old) and is_.is_nested(new) and old.num_fields == 1 and _widens(old.field(0).type, new.field(0).type)
    return old.equals(new) or numbers or (old in texts and new in texts) or times or lists or (is_.is_dictionary(old) and _widens(old.value_type, new))


def _flag(field: Field, column: pa.Array, errors: dict[int, str]) -> pa.Array:
    """Note the records whose value this field may not have; NaN is no number, so it is no value."""
    if is_.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py():
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if not field.nullable and column.null_count:
        _note(errors, pc.is_null(column), f'required field "{field.name}" is missing or null')
    if field.role == "event_time":
        _note(errors, _outside(column), f'event time "{field.name}" lies outside the years 1 to 9999')
    if field.symbols:
        wrong = pc.and_(pc.is_valid(column), pc.invert(pc.is_in(column, pa.array(field.symbols, column.type))))
        _note(errors, wrong, f'field "{field.name}" is none of {", ".join(field.symbols)}')
    return column


def _outside(column: pa.Array) -> pa.Array | None:
    bounds = pc.min_max(column.cast(pa.int64()))
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if low is None or (low >= _FIRST_US and high <= _LAST_US):
        return None
    moments = column.cast(pa.int64())
    return pc.fill_null(pc.or_(pc.less(moments, _FIRST_US), pc.greater(moments, _LAST_US)), False)


def _note(errors: dict[int, str], wrong: pa.Array | None, why: str) -> None:
    if wrong is not None and pc.any(wrong).as_py():
        for at in np.flatnonzero(wrong.to_numpy(zero_copy_only=False)).tolist():
            errors[at] = f"{errors[at]}; {why}" if at in errors else why


def _as_json(rows: pa.RecordBatch, at: int) -> bytes:
    payload = {name: rows.column(name)[at] for name in rows.schema.names if name not in (ARRIVED_AT, OFFSET)}
    return json.dumps({name: _value(scalar) for name, scalar in payload.items()}, ensure_ascii=False).encode()


def _value(scalar: pa.Scalar) -> Any:
    if is_.is_timestamp(scalar.type):  # not every moment is a datetime of Python
        return None if not scalar.is_valid else scalar.cast(pa.string()).as_py() if _FIRST_US <= scalar.value <= _LAST_US else scalar.value
    value = scalar.as_py()
    return value if value is None or isinstance(value, str | int | float | bool | list | dict) else str(value)
