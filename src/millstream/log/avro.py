"""Event classes as Avro schemas, and Avro schemas as Arrow schemas."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from millstream.declare.errors import UsageError
from millstream.declare.event import REQUIRED, TIMESTAMP, Field, Kind, Schema

_AVRO: dict[Kind, Any] = {
    "string": "string", "int64": "long", "float64": "double", "bool": "boolean", "binary": "bytes",
    "timestamp": {"type": "long", "logicalType": "timestamp-micros"}, "date": {"type": "int", "logicalType": "date"},
}  # fmt: skip
_ARROW: dict[str, pa.DataType] = {
    "string": pa.string(), "long": pa.int64(), "int": pa.int32(), "double": pa.float64(), "float": pa.float32(), "boolean": pa.bool_(),
    "bytes": pa.binary(), "timestamp-micros": TIMESTAMP, "timestamp-millis": pa.timestamp("ms", tz="UTC"), "date": pa.date32(), "enum": pa.string(),
}  # fmt: skip


def avro_schema(schema: Schema) -> str:
    """The event class as an Avro record, as JSON."""
    fields = [_field(schema, f) for f in schema.fields]
    record: dict[str, Any] = {"type": "record", "name": schema.name, "fields": fields}
    if schema.doc:
        record["doc"] = schema.doc
    return json.dumps(record)


def _field(schema: Schema, field: Field) -> dict[str, Any]:
    kind: Any
    if field.kind == "enum":
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
    """The columns of an Avro record.

    Raises:
        UsageError: A type that no event can hold (maps, unions wider than null and one, nested records).
    """
    return pa.schema([_column(field) for field in json.loads(text)["fields"]])


def _column(field: dict[str, Any]) -> pa.Field:
    kind, nullable = field["type"], False
    if isinstance(kind, list):
        branches = [branch for branch in kind if branch != "null"]
        nullable = len(branches) < len(kind)
        if len(branches) != 1:
            raise UsageError(f'field "{field["name"]}" is a union of {len(branches)} types; events hold one type, or one and null')
        kind = branches[0]
    return pa.field(field["name"], _type(field["name"], kind), nullable)


def _type(name: str, kind: Any) -> pa.DataType:
    if isinstance(kind, dict) and kind["type"] == "array":
        return pa.list_(_type(name, kind["items"]))
    key = (kind.get("logicalType") or kind["type"]) if isinstance(kind, dict) else kind
    if key not in _ARROW:
        raise UsageError(f'field "{name}" is of the Avro type {key}, which no event can hold')
    return _ARROW[key]
