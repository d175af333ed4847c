"""What an Avro field is in a table, and what it is on the wire."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from millstream.base.errors import UsageError
from millstream.base.event import TIMESTAMP

_PLAIN: dict[str, pa.DataType] = {
    "string": pa.string(),
    "long": pa.int64(),
    "int": pa.int32(),
    "double": pa.float64(),
    "float": pa.float32(),
    "boolean": pa.bool_(),
    "bytes": pa.binary(),
    "enum": pa.string(),
    "fixed": pa.binary(),
}
_LOGICAL: dict[tuple[str, str], pa.DataType] = {
    ("long", "timestamp-micros"): TIMESTAMP,
    ("long", "timestamp-millis"): pa.timestamp("ms", tz="UTC"),
    ("long", "timestamp-nanos"): pa.timestamp("ns", tz="UTC"),
    ("int", "date"): pa.date32(),
}
_FLAT = {"string", "long", "int", "double", "float", "boolean", "bytes", "enum"}
_JSON = {"null", "string", "long", "int", "double", "float", "boolean"}


@dataclass(frozen=True)
class Column:
    """A field of a record.

    Attributes:
        wire: The Avro type, without logical type; "union" for one wider than null and one type.
        arrow: Its type in a table.
        stored: Its type before `presented`: numbers where `arrow` has times.
        null_branch: Which branch of the union null is; None when the field is required.
        flat: The block way can read and write it.
    """

    name: str
    wire: str
    arrow: pa.DataType
    stored: pa.DataType
    null_branch: int | None = None
    flat: bool = True
    symbols: tuple[str, ...] = ()
    otherwise: str | None = None

    @property
    def nullable(self) -> bool:
        return self.null_branch is not None or self.wire == "union"

    def fill(self, default: Any, rows: int) -> pa.Array:
        """A field that was not written."""
        if self.wire in ("bytes", "fixed") and isinstance(default, str):
            default = default.encode("latin-1")  # by Avro's specification
        if self.wire == "union" and default is not None:
            default = json.dumps(default)
        one = pa.array([default], self.stored)
        return presented(self, pa.repeat(one[0], rows) if rows else one.slice(0, 0))

    def promote(self, written: pa.Array) -> pa.Array:
        """A field written under another schema."""
        made = written if written.type == self.arrow else written.cast(self.arrow)
        if self.symbols:
            known = pc.is_in(made, value_set=pa.array(self.symbols, pa.string()))
            strange = pc.and_(pc.is_valid(made), pc.invert(known))
            if pc.any(strange).as_py():
                if self.otherwise is None:
                    raise UsageError(
                        f'"{self.name}" holds {made.filter(strange)[0].as_py()!r}, which is none of'
                        f" {', '.join(self.symbols)}"
                    )
                made = pc.if_else(strange, pa.scalar(self.otherwise), made)
        if made.null_count and not self.nullable:
            raise UsageError(f'"{self.name}" is required and holds NULL')
        return made


@lru_cache(256)
def columns_of(text: str) -> tuple[Column, ...]:
    """The fields of an Avro record.

    Raises:
        UsageError: A type that has no place in a table, or no record at all.
    """
    record = json.loads(text)
    if not isinstance(record, dict) or record.get("type") != "record":
        raise UsageError(f"events are Avro records, and this schema is {str(record)[:80]}")
    named: dict[str, Any] = {}
    return tuple(_column(field, named) for field in record["fields"])


def _column(field: dict[str, Any], named: dict[str, Any]) -> Column:
    name, kind, null = field["name"], field["type"], None
    if isinstance(kind, list):
        branches = [branch for branch in kind if branch != "null"]
        if len(branches) != 1:
            if not all(isinstance(b, str) and b in _JSON for b in kind):
                raise UsageError(
                    f'field "{name}" is a union that has no place in a table: {json.dumps(kind)}; only plain types may'
                    " share a field"
                )
            return Column(name, "union", pa.string(), pa.string(), flat=False)
        null, kind = (kind.index("null") if len(kind) == 2 else None), branches[0]
    if isinstance(kind, dict) and kind["type"] in ("enum", "fixed", "record"):
        named[kind["name"]] = kind
    kind = named.get(kind, kind) if isinstance(kind, str) else kind
    wire = kind["type"] if isinstance(kind, dict) else kind
    enum = kind if wire == "enum" else {}
    stored = _type(name, kind, named, logical=False)
    return Column(
        name,
        wire,
        _type(name, kind, named),
        stored,
        null,
        wire in _FLAT,
        tuple(enum.get("symbols", ())),
        enum.get("default"),
    )


def _type(name: str, kind: Any, named: dict[str, Any], *, logical: bool = True) -> pa.DataType:
    if isinstance(kind, list):
        branches = [branch for branch in kind if branch != "null"]
        if len(branches) == 1:
            return _type(name, branches[0], named, logical=logical)
        raise UsageError(f'field "{name}" has a union inside that has no place in a table: {json.dumps(kind)}')
    kind = named.get(kind, kind) if isinstance(kind, str) else kind
    wire = kind["type"] if isinstance(kind, dict) else kind
    if not isinstance(wire, str):  # {"type": {"type": ...}}
        return _type(name, wire, named, logical=logical)
    if wire == "array":
        return pa.list_(_type(name, kind["items"], named, logical=logical))
    if wire == "map":
        return pa.map_(pa.string(), _type(name, kind["values"], named, logical=logical))
    if wire == "record":
        return pa.struct(
            [
                pa.field(f["name"], _type(f"{name}.{f['name']}", f["type"], named, logical=logical))
                for f in kind["fields"]
            ]
        )
    if wire not in _PLAIN:
        raise UsageError(f'field "{name}" is of the Avro type {wire}, which has no place in a table')
    said = kind.get("logicalType", "") if isinstance(kind, dict) else ""
    return _LOGICAL.get((wire, said), _PLAIN[wire]) if logical else _PLAIN[wire]


def physical(column: Column, array: Any) -> pa.Array:
    """A column of a table as it goes on the wire: times as numbers, without dictionaries.

    Raises:
        UsageError: It holds what the field cannot.
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    try:
        if array.type != column.arrow:
            array = array.cast(column.arrow)
        if column.stored != column.arrow:
            array = array.cast(column.stored)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UsageError(f'"{column.name}" holds what the schema\'s {column.wire} cannot: {error}') from None
    if array.null_count and not column.nullable:
        raise UsageError(
            f'"{column.name}" is required by the schema and holds NULL in row {array.is_null().index(True).as_py()}'
        )
    return array


def presented(column: Column, array: pa.Array) -> pa.Array:
    """The other way round."""
    return array if array.type == column.arrow else array.cast(column.arrow)
