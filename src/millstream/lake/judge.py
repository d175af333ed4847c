"""Which records are good, and in what form they land: one pure function of the record and the stream's class.

Sink and feature updater must agree on it: what is a dead letter here may not count in a feature there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as is_

from millstream.base.errors import Incompatible
from millstream.base.event import ARRIVED_AT, ENVELOPE, EVENT_ID, OFFSET, REQUIRED, Field
from millstream.declare.stream import Stream
from millstream.lake.micros import micros
from millstream.lake.parquet import plain
from millstream.lake.shown import as_json, shown
from millstream.lake.sound import Mask, lenient, unsound, with_items, without
from millstream.log.port import RAW_SCHEMA_ID

VERSION = 3
"""Raise it when a record may get another verdict than before; see `ruling.py`."""


@dataclass(frozen=True)
class Judged:
    """A slice of records, judged.

    Attributes:
        rows: All of its records in the stream's own columns, then `_event_id`, `_arrived_at`, `_offset`; only those in
            `good` have meaning.
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


def lacking(table: pa.Schema, stream: Stream[Any]) -> list[pa.Field]:
    """Columns of the stream's class that its table does not have yet."""
    return [field for field in table_schema(stream) if field.name not in table.names]


def extra_fields(stream: Stream[Any], rows: pa.RecordBatch, schema_id: int) -> list[pa.Field]:
    """Columns that a newer writer sends and the stream's class does not have; they land too. `_doubled` ones are left
    out: no table can have them.
    """
    if schema_id == RAW_SCHEMA_ID:
        return []
    known = {*stream.schema.names(), *ENVELOPE, *_doubled(stream, rows)}
    return [pa.field(field.name, field.type) for field in rows.schema if field.name not in known]


def add_extra(fields: dict[str, pa.Field], more: Iterable[pa.Field]) -> None:
    """Add columns of one more writer, those left out that differ from one there by letter case only: a table has one of
    them, which takes both.
    """
    taken = {name.lower() for name in fields}
    fields.update({field.name: field for field in more if field.name in fields or field.name.lower() not in taken})


def _doubled(stream: Stream[Any], rows: pa.RecordBatch) -> dict[str, str]:
    """Columns of a writer that differ by letter case only from one of the class, of the envelope or of its own -> that
    one.
    """
    first = {name.lower(): name for name in (*ENVELOPE, *stream.schema.names())}
    return {name: other for name in rows.schema.names if (other := first.setdefault(name.lower(), name)) != name}


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
    errors: dict[int, str] = {}
    columns = [_flag(field, _column(stream, rows, field, errors), errors) for field in stream.schema.fields]
    for name, other in _doubled(stream, rows).items():
        _note(
            errors,
            pa.repeat(True, rows.num_rows),
            f'field "{name}" differs from "{other}" by letter case only, and a table has one of them',
        )
    columns += _extras(extra_fields(stream, rows, schema_id), rows, extra or [], errors)
    columns += _envelope(rows, errors)
    names = [*stream.schema.names(), *(f.name for f in extra or []), EVENT_ID, ARRIVED_AT, OFFSET]
    good = np.ones(rows.num_rows, bool)
    if errors:
        good[list(errors)] = False
    return Judged(
        pa.RecordBatch.from_arrays(columns, names=names),
        good,
        errors,
        lambda at: (as_json(rows, at, (ARRIVED_AT, OFFSET)), None),
    )


def _undecoded(stream: Stream[Any], rows: pa.RecordBatch, extra: list[pa.Field]) -> Judged:
    """Records that their source could not read: none is good."""
    said, origin, raw = rows.column("error").to_pylist(), rows.column("origin").to_pylist(), rows.column("raw")
    _, arrived, offset = _envelope(rows, {})
    empty = pa.RecordBatch.from_arrays(
        [
            *(pa.nulls(rows.num_rows, f.type) for f in [*payload_schema(stream), *extra]),
            pa.nulls(rows.num_rows, pa.string()),
            arrived,
            offset,
        ],
        names=[*stream.schema.names(), *(f.name for f in extra), EVENT_ID, ARRIVED_AT, OFFSET],
    )
    errors = {at: why or "unreadable" for at, why in enumerate(said)}
    return Judged(empty, np.zeros(rows.num_rows, bool), errors, lambda at: (raw[at].as_py() or b"", origin[at]))


def _extras(
    sent: list[pa.Field], rows: pa.RecordBatch, extra: list[pa.Field], errors: dict[int, str]
) -> list[pa.Array]:
    """What a newer writer has beyond the class: all of it is judged, whether the caller's table has the column by now
    or not.
    """
    found: dict[str, pa.Array] = {}
    for field in sent:
        kind = plain(field.type)
        column = _as(rows.column(field.name), kind, field.name, errors)
        for mask, why in unsound(column, null_items=True):
            _note(errors, mask, f'field "{field.name}" {why}')
        found[field.name.lower()] = column
    nothing = pa.nulls(rows.num_rows)
    return [_as(found.get(field.name.lower(), nothing), field.type, field.name, errors) for field in extra]


def _envelope(rows: pa.RecordBatch, errors: dict[int, str]) -> list[pa.Array]:
    """`_event_id`, `_arrived_at`, `_offset`. One that cannot be stored is null in the dead letter too."""
    columns = []
    for name in (EVENT_ID, ARRIVED_AT, OFFSET):
        at = rows.schema.get_field_index(name)
        column = (
            pa.nulls(rows.num_rows, ENVELOPE[name]) if at < 0 else _as(rows.column(at), ENVELOPE[name], name, errors)
        )
        if name == ARRIVED_AT and at >= 0 and rows.column(at).null_count:
            _note(errors, pc.is_null(rows.column(at)), f"{name} is missing")
        for mask, why in unsound(column):
            _note(errors, mask, f"{name} {why}")
            column = without(column, mask)
        columns.append(column)
    return columns


def _as(column: pa.Array, kind: pa.DataType, name: str, errors: dict[int, str]) -> pa.Array:
    """The column as the table has it; null where the value does not become one, which is noted."""
    if column.type.equals(kind):
        return column
    made, failed = lenient(column, lambda part: micros(part).cast(kind), kind)
    for at in failed:
        _add(errors, at, f'field "{name}" is {shown(column[at])}, which does not become {kind}')
    return made


def _column(stream: Stream[Any], rows: pa.RecordBatch, field: Field, errors: dict[int, str]) -> pa.Array:
    at = rows.schema.get_field_index(field.name)
    if at < 0:
        value = None if field.default is REQUIRED else field.default
        return (
            pa.nulls(rows.num_rows, field.arrow)
            if value is None
            else pa.repeat(pa.scalar(value, field.arrow), rows.num_rows)
        )
    column = rows.column(at)
    if column.type.equals(field.arrow) or _widens(column.type, field.arrow):
        return _as(column, field.arrow, field.name, errors)
    raise Incompatible(
        f'stream "{stream.name}": field "{field.name}" is {field.arrow} in {stream.schema.name} and {column.type} in'
        " the log; only wider numbers and new fields can continue, any other change is a new stream"
    )


def _widens(old: pa.DataType, new: pa.DataType) -> bool:
    """Whether every old value is a new one, as Avro promotes."""
    numbers = (is_.is_integer(old) and (is_.is_integer(new) or is_.is_floating(new))) or (
        is_.is_floating(old) and is_.is_floating(new)
    )
    texts = (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view())
    times = is_.is_timestamp(old) and is_.is_timestamp(new)
    lists = (
        is_.is_nested(old)
        and is_.is_nested(new)
        and old.num_fields == 1
        and _widens(old.field(0).type, new.field(0).type)
    )
    return (
        old.equals(new)
        or numbers
        or (old in texts and new in texts)
        or times
        or lists
        or (is_.is_dictionary(old) and _widens(old.value_type, new))
    )


def _flag(field: Field, column: pa.Array, errors: dict[int, str]) -> pa.Array:
    """Note the records whose value this field may not have; NaN is not a number, so it is not a value."""
    if is_.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py():
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    column = _unsigned(column)
    if not field.nullable and column.null_count:
        _note(errors, pc.is_null(column), f'required field "{field.name}" is missing or null')
    what = "event time" if field.role == "event_time" else "field"
    for mask, why in unsound(column):
        _note(errors, mask, f'{what} "{field.name}" {why}')
    if field.symbols:
        wrong = pc.and_(pc.is_valid(column), pc.invert(pc.is_in(column, pa.array(field.symbols, column.type))))
        _note(errors, wrong, f'field "{field.name}" is none of {", ".join(field.symbols)}')
    return column


def _unsigned(column: pa.Array) -> pa.Array:
    """Zero has no sign: -0 is a whole number in one format and a float in another, and only floats have two zeros."""
    if is_.is_floating(column.type):
        values = np.asarray(column.fill_null(1.0) if column.null_count else column)
        return pc.add(column, 0.0) if (np.signbit(values) & (values == 0)).any() else column
    if is_.is_list(column.type) and is_.is_floating(column.type.value_type):
        items = column.flatten()
        made = _unsigned(items)
        return column if made is items else with_items(column, made, column.type)
    return column


def _note(errors: dict[int, str], wrong: pa.Array | Mask, why: str) -> None:
    mask = np.asarray(pc.fill_null(wrong, False)) if isinstance(wrong, pa.Array) else wrong
    for at in np.flatnonzero(mask).tolist():
        _add(errors, at, why)


def _add(errors: dict[int, str], at: int, why: str) -> None:
    errors[at] = f"{errors[at]}; {why}" if at in errors else why
