"""Event classes as Avro schemas, Avro schemas as Arrow schemas, and rows as Avro bodies and back.

Bodies are exactly what the schema says: any Avro reader reads them, and these functions read any writer's. The block
way (see `avro_block`) is taken where it can be, the record way (`avro_records`) for lists, maps, records and unions
wider than null and one, and for every batch in which a body is not sound. Both give the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa

from millstream.base.errors import UsageError
from millstream.base.event import ENVELOPE, REQUIRED, Field, Kind, Schema
from millstream.log.avro_block import decode_block, encode_block
from millstream.log.avro_records import Records
from millstream.log.avro_types import Column, columns_of, physical, presented

_AVRO: dict[Kind, Any] = {
    "string": "string",
    "int64": "long",
    "float64": "double",
    "bool": "boolean",
    "binary": "bytes",
    "timestamp": {"type": "long", "logicalType": "timestamp-micros"},
    "date": {"type": "int", "logicalType": "date"},
}
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def avro_schema(schema: Schema) -> str:
    """The event class as an Avro record, as JSON."""
    fields = [_field(schema, f) for f in schema.fields]
    record: dict[str, Any] = {"type": "record", "name": schema.name, "fields": fields}
    if schema.doc:
        record["doc"] = schema.doc
    return json.dumps(record)


def _field(schema: Schema, field: Field) -> dict[str, Any]:
    kind: Any
    if field.kind == "enum" and not all(_NAME.fullmatch(symbol) for symbol in field.symbols):
        # Avro's symbols are names; other readers refuse anything else
        kind = {"type": "string", "values": list(field.symbols)}
    elif field.kind == "enum":
        kind = {"type": "enum", "name": f"{schema.name}_{field.name}", "symbols": list(field.symbols)}
    elif field.kind == "list":
        assert field.item is not None
        kind = {"type": "array", "items": _AVRO[field.item]}
    else:
        kind = _AVRO[field.kind]
    made: dict[str, Any] = {"name": field.name, "type": ["null", kind] if field.nullable else kind}
    if field.nullable:
        made["default"] = None
    elif field.default is not REQUIRED and isinstance(field.default, str | int | float | bool):
        made["default"] = field.default
    if field.doc:
        made["doc"] = field.doc
    return made


def arrow_schema(text: str) -> pa.Schema:
    """The columns of an Avro record. A union wider than null and one type is a column of JSON texts.

    Raises:
        UsageError: A type that has no place in a table, or no record at all.
    """
    return pa.schema([pa.field(c.name, c.arrow, c.nullable) for c in columns_of(text)])


class Decoded(NamedTuple):
    """What came of some bodies.

    Attributes:
        rows: One row for each body that could be read, in their order.
        bad: Place among the bodies and reason of each that could not.
    """

    rows: pa.RecordBatch
    bad: dict[int, str]


def encode(rows: pa.RecordBatch, schema: str, head: bytes = b"") -> list[bytes]:
    """One Avro body a row, each behind `head`. Columns are found by name; what the schema does not name is left out.

    Raises:
        UsageError: A column is missing or does not fit: a NULL in a required field, a symbol that the enum lacks.
    """
    columns = columns_of(schema)
    missing = [c.name for c in columns if c.name not in rows.schema.names]
    if missing:
        raise UsageError(
            f"rows have no column {', '.join(missing)}, which the schema names; they have"
            f" {', '.join(rows.schema.names)}"
        )
    arrays = [physical(c, rows.column(c.name)) for c in columns]
    if all(c.flat for c in columns):
        return encode_block(columns, arrays, rows.num_rows, head)
    return [head + body for body in _records(schema).encode(columns, arrays, rows.num_rows)]


def decode(bodies: Sequence[bytes], schema: str) -> Decoded:
    """The rows of Avro bodies without framing, written under `schema`. A bad body harms no neighbour."""
    columns = columns_of(schema)
    if all(c.flat for c in columns):
        arrays = decode_block(columns, bodies)
        if arrays is not None:
            return Decoded(_rows(columns, arrays), {})
    good, bad = _records(schema).decode(bodies)
    return Decoded(_rows(columns, [pa.array([record[c.name] for record in good], c.stored) for c in columns]), bad)


def _rows(columns: Sequence[Column], arrays: Sequence[pa.Array]) -> pa.RecordBatch:
    shown = [presented(c, array) for c, array in zip(columns, arrays, strict=True)]
    return pa.RecordBatch.from_arrays(shown, schema=pa.schema([pa.field(c.name, c.arrow, c.nullable) for c in columns]))


@lru_cache(64)
def _records(schema: str) -> Records:
    return Records(columns_of(schema), schema)


def resolve(rows: pa.RecordBatch, writer: str, reader: str) -> pa.RecordBatch:
    """Rows of an older or newer schema as the reader's: fields by name or alias, missing ones by default, types
    promoted.

    Args:
        rows: Columns of the writer's schema, in any order; columns of the envelope are passed on.

    Raises:
        UsageError: The reader wants a field that is neither there nor has a default, or a type that cannot become its
            own.
    """
    if writer == reader:
        return rows
    names, arrays, fields = set(arrow_schema(writer).names) & set(rows.schema.names), [], []
    for column, spec in zip(columns_of(reader), json.loads(reader)["fields"], strict=True):
        found = next((n for n in (column.name, *spec.get("aliases", [])) if n in names), None)
        if found is None and "default" not in spec:
            raise UsageError(f'"{column.name}" was not written and has no default; give it one, or make it `| None`')
        try:
            made = column.fill(spec["default"], rows.num_rows) if found is None else column.promote(rows.column(found))
        except pa.ArrowInvalid as error:
            raise UsageError(
                f'"{column.name}" was written as {rows.schema.field(str(found)).type} and does not become'
                f" {column.arrow}: {error}"
            ) from None
        arrays.append(made)
        fields.append(pa.field(column.name, column.arrow, column.nullable))
    for name in rows.schema.names:
        if name in ENVELOPE:
            arrays.append(rows.column(name))
            fields.append(rows.schema.field(name))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
