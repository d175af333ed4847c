"""What an event is made of: its fields and their types, and the columns of every stored row that no class declares.

`declare/event.py` reads a schema off the class that a user writes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import attrgetter
from typing import Annotated, Any, Literal

import pyarrow as pa

from millstream.base.errors import Place

EventTime = Annotated[datetime, "event_time"]
"""The field at which the fact became known. Exactly one an event; zone-aware."""
ArrivalTime = Annotated[datetime, "arrival_time"]
"""A field that replaces the log's stamp when history is loaded."""

Kind = Literal["string", "int64", "float64", "bool", "binary", "timestamp", "date", "enum", "list"]
KINDS: dict[Any, Kind] = {
    str: "string",
    int: "int64",
    float: "float64",
    bool: "bool",
    bytes: "binary",
    datetime: "timestamp",
    date: "date",
}
TIMESTAMP = pa.timestamp("us", tz="UTC")
ARROW = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "binary": pa.binary(),
    "timestamp": TIMESTAMP,
    "date": pa.date32(),
    "enum": pa.string(),
}

# The envelope: columns of every stored row that no class declares.
EVENT_ID, ARRIVED_AT, PARTITION, OFFSET, LATE = "_event_id", "_arrived_at", "_partition", "_offset", "_late"
ENVELOPE = {EVENT_ID: pa.string(), ARRIVED_AT: TIMESTAMP, PARTITION: pa.int32(), OFFSET: pa.int64(), LATE: pa.bool_()}


class _Required:
    def __repr__(self) -> str:
        return "required"

    def __reduce__(self) -> str:
        return "REQUIRED"  # the one there is, in another process too


REQUIRED = _Required()
"""The default of a field that has none."""


@dataclass(frozen=True)
class Field:
    """One field of an event.

    Attributes:
        kind: The logical type; `timestamp` is microseconds since 1970 UTC.
        item: The type of a list's items, else None.
        symbols: The values of an enum (`Literal["a", "b"]`), else empty.
        role: "event_time", "arrival_time" or "".
        default: What an older record without the field reads as; REQUIRED when it has none.
    """

    name: str
    kind: Kind
    nullable: bool = False
    item: Kind | None = None
    symbols: tuple[str, ...] = ()
    role: str = ""
    doc: str = ""
    default: Any = REQUIRED
    place: Place | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def arrow(self) -> pa.DataType:
        return pa.list_(ARROW[self.item]) if self.item else ARROW[self.kind]


@dataclass(frozen=True)
class Schema:
    """The fields of an event class, in order of declaration (inherited first)."""

    name: str
    doc: str
    fields: tuple[Field, ...]

    @property
    def event_time(self) -> str:
        return next(f.name for f in self.fields if f.role == "event_time")

    @property
    def arrival_time(self) -> str | None:
        return next((f.name for f in self.fields if f.role == "arrival_time"), None)

    def arrow(self) -> pa.Schema:
        """The payload's columns, without the envelope."""
        return pa.schema([pa.field(f.name, f.arrow, f.nullable) for f in self.fields])

    def __getitem__(self, name: str) -> Field:
        return next(f for f in self.fields if f.name == name)

    def names(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.fields)


def rows_to_arrow(rows: Sequence[Any], schema: Schema) -> pa.RecordBatch:
    """Objects as columns, one pass a field."""
    columns = [pa.array([*map(attrgetter(f.name), rows)], f.arrow) for f in schema.fields]
    return pa.record_batch(columns, schema=schema.arrow())
