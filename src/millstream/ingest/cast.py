"""Columns of any type made into an event's columns; what does not fit is named record by record.

The good path is one Arrow cast a column. Only a column that fails is halved until the failing records are found.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as is_

from millstream.base.event import ARRIVED_AT, REQUIRED, Field, Schema
from millstream.base.words import otherwise_cased
from millstream.ingest.become import NoMoment, become
from millstream.ingest.digits import survives
from millstream.lake import shown as values
from millstream.lake.sound import UNFIT, Mask, lenient, unsound

_WANTED = {
    "string": "text in UTF-8",
    "int64": "a whole number, e.g. 12",
    "float64": "a number, e.g. 12.5",
    "bool": "true or false",
    "binary": "bytes as base64",
    "timestamp": "a time in ISO 8601, e.g. 2013-11-01T12:00:00Z",
    "date": "a date, e.g. 2013-11-01",
    "list": "a JSON array",
}

ZONED = "a time in ISO 8601 with a zone, e.g. 2013-11-01T12:00:00Z"


class Errors:
    """What is wrong, by record: the first finding of each."""

    def __init__(self, rows: int) -> None:
        self.good = np.ones(rows, bool)
        self.texts: dict[int, str] = {}

    def note(self, at: int, text: str) -> None:
        if self.good[at]:
            self.good[at] = False
            self.texts[at] = text

    def note_where(self, mask: pa.Array | Mask, text: str) -> None:
        where = np.asarray(pc.fill_null(mask, False)) if isinstance(mask, pa.Array) else mask
        for at in np.flatnonzero(where).tolist():
            self.note(at, text)


def wanted(field: Field, *, zoned: bool = False) -> str:
    """What a field takes, in words. `zoned`: a time must carry a zone."""
    if zoned and field.kind == "timestamp":
        return f"{ZONED}{', or nothing' if field.nullable else ''}"
    text = "one of " + ", ".join(field.symbols) if field.kind == "enum" else _WANTED[field.kind]
    return text + (", or nothing" if field.nullable else "")


def cast(
    columns: Mapping[str, pa.Array],
    rows: int,
    schema: Schema,
    errors: Errors,
    *,
    zone: str = "UTC",
    what: str = "column",
    trim: bool = True,
    others: Collection[str] = (),
) -> pa.RecordBatch:
    """The columns as the event's. Records noted in `errors` have null or meaningless values: filter by `errors.good`.

    Args:
        columns: As found; a field without a column takes its default, null, or is missing. One whose name is there in
            another case is missing, whatever it might take: its values are there, and would be lost.
        zone: Of times that carry none.
        what: "column" or "field", for messages.
        trim: See `become`.
        others: Names that the source has beside these columns.
    """
    made = [
        (
            _missing(field, rows, errors, what, others)
            if field.name not in columns
            else _column(field, columns[field.name], errors, zone, what, trim)
        )
        for field in schema.fields
    ]
    return pa.RecordBatch.from_arrays(made, schema=pa.schema([pa.field(f.name, f.arrow) for f in schema.fields]))


def with_arrival(rows: pa.RecordBatch, schema: Schema) -> pa.RecordBatch:
    """History carries when it was known: the field of type ArrivalTime where it is given, else the event's own time."""
    stamp = rows.column(schema.event_time)
    if schema.arrival_time is not None:
        stamp = pc.coalesce(rows.column(schema.arrival_time), stamp)
    return rows.append_column(ARRIVED_AT, stamp)


def missing(field: Field, what: str, others: Iterable[str]) -> str:
    """That a field has no column, or no key of a record: perhaps since its name is written in another case."""
    cased = otherwise_cased(field.name, others)
    if cased:
        return (
            f'{what} "{field.name}" is missing: "{cased}" is there, and names are case-sensitive; rename it to'
            f' "{field.name}"'
        )
    return f'{what} "{field.name}" is missing and has no default; add it as {wanted(field)}'


def _missing(field: Field, rows: int, errors: Errors, what: str, others: Iterable[str]) -> pa.Array:
    default = None if field.default is REQUIRED else field.default
    if otherwise_cased(field.name, others) or (default is None and not field.nullable):
        errors.note_where(np.ones(rows, bool), missing(field, what, others))
    return pa.nulls(rows, field.arrow) if default is None else pa.repeat(pa.scalar(default, field.arrow), rows)


def _column(field: Field, found: pa.Array, errors: Errors, zone: str, what: str, trim: bool) -> pa.Array:
    default = None if field.default is REQUIRED else field.default
    column, failed = lenient(found, lambda part: become(part, field, zone=zone, trim=trim), field.arrow)
    for at in failed:
        errors.note(at, f'{what} "{field.name}" is {shown(found[at])}{_why(found, at, field, zone, trim)}')
    if is_.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py():
        # NaN is not a number, so it is not a value
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if column.null_count and default is not None and not field.nullable:
        column = pc.fill_null(column, pa.scalar(default, field.arrow))
    if column.null_count and not field.nullable:
        errors.note_where(
            pc.is_null(column), f'{what} "{field.name}" is empty and the field is required; it takes {wanted(field)}'
        )
    _check(field, column, errors, what)
    return column


def _why(found: pa.Array, at: int, field: Field, zone: str, trim: bool) -> str:
    """What keeps a value from being one of the field."""
    try:
        become(found.take(pa.array([at])), field, zone=zone, trim=trim)
    except NoMoment as error:
        return f", {error}" if field.kind == "timestamp" else f", which holds {error}"
    except UNFIT:
        pass
    return f"; it takes {wanted(field)}{_lost(field, found[at])}"


def _lost(field: Field, value: pa.Scalar) -> str:
    """That it is a number, and yet none that a float holds."""
    text = str(value.as_py()).strip() if field.kind == "float64" and not is_.is_nested(value.type) else ""
    return "" if not text or survives(text) else " (a float would lose digits of it: declare the field int)"


def _check(field: Field, column: pa.Array, errors: Errors, what: str) -> None:
    if field.symbols:
        wrong = pc.invert(pc.fill_null(pc.is_in(column, pa.array(field.symbols, column.type)), True))
        wrong = pc.and_(wrong, pc.is_valid(column))
        if pc.any(wrong).as_py():
            for at in np.flatnonzero(wrong.to_numpy(zero_copy_only=False)).tolist():
                errors.note(at, f'{what} "{field.name}" is {shown(column[at])}; it takes {wanted(field)}')
    for mask, why in unsound(column):
        errors.note_where(mask, f'{what} "{field.name}" {why}')


def shown(value: Any) -> str:
    """A value and its type, short. Never raises, whatever the value is."""
    kinds = {
        str: "text",
        int: "a whole number",
        float: "a number",
        bool: "a boolean",
        bytes: "bytes",
        list: "an array",
        dict: "an object",
    }
    try:
        found = value.as_py() if isinstance(value, pa.Scalar) else value
        text = json.dumps(found) if isinstance(found, str) else str(found)
    except UNFIT:  # no date of Python, no UTF-8, too many digits or levels
        found = values.shown(value) if isinstance(value, pa.Scalar) else value
        text = json.dumps(found) if isinstance(value, pa.Scalar) else "beyond what can be shown"
    if found is None:
        return "nothing"
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({kinds.get(type(found), type(found).__name__)})"
