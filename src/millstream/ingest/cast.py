"""Columns of any type made into an event's columns; what does not fit is named record by record.

The good path is one Arrow cast a column. Only a column that fails is halved until the failing records are found.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as is_

from millstream.declare.event import ARRIVED_AT, REQUIRED, TIMESTAMP, Field, Schema
from millstream.lake import shown as values
from millstream.lake.sound import UNFIT, Mask, lenient, unsound

NAIVE = pa.timestamp("us")
_ZONED = r"\d[Tt ]\d.*([Zz]|[+-]\d{2}:?\d{2}|[+-]\d{2})$"
_IN_JSON = {"int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}
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


def wanted(field: Field) -> str:
    """What a field takes, in words."""
    text = "one of " + ", ".join(field.symbols) if field.kind == "enum" else _WANTED[field.kind]
    return text + (", or nothing" if field.nullable else "")


def cast(columns: Mapping[str, pa.Array], rows: int, schema: Schema, errors: Errors, *, zone: str = "UTC", what: str = "column") -> pa.RecordBatch:
    """The columns as the event's. Records noted in `errors` have null or meaningless values: filter by `errors.good`.

    Args:
        columns: As found; a field without a column takes its default, null, or is missing.
        zone: Of times that carry none.
        what: "column" or "field", for messages.
    """
    made = [_column(field, columns.get(field.name), rows, errors, zone, what) for field in schema.fields]
    return pa.RecordBatch.from_arrays(made, schema=pa.schema([pa.field(f.name, f.arrow) for f in schema.fields]))


def with_arrival(rows: pa.RecordBatch, schema: Schema) -> pa.RecordBatch:
    """History carries when it was known: the field of type ArrivalTime where it is given, else the event's own time."""
    stamp = rows.column(schema.event_time)
    if schema.arrival_time is not None:
        stamp = pc.coalesce(rows.column(schema.arrival_time), stamp)
    return rows.append_column(ARRIVED_AT, stamp)


def _column(field: Field, found: pa.Array | None, rows: int, errors: Errors, zone: str, what: str) -> pa.Array:
    default = None if field.default is REQUIRED else field.default
    if found is None:
        if default is None and not field.nullable:
            errors.note_where(pa.repeat(True, rows), f'{what} "{field.name}" is missing and has no default; add it as {wanted(field)}')
        return pa.nulls(rows, field.arrow) if default is None else pa.repeat(pa.scalar(default, field.arrow), rows)
    column, failed = lenient(found, lambda part: _to(part, field, zone), field.arrow)
    for at in failed:
        errors.note(at, f'{what} "{field.name}" is {shown(found[at])}; it takes {wanted(field)}')
    if is_.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py():
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)  # NaN is no number, so it is no value
    if column.null_count and default is not None and not field.nullable:
        column = pc.fill_null(column, pa.scalar(default, field.arrow))
    if column.null_count and not field.nullable:
        errors.note_where(pc.is_null(column), f'{what} "{field.name}" is empty and the field is required; it takes {wanted(field)}')
    _check(field, column, errors, what)
    return column


def _check(field: Field, column: pa.Array, errors: Errors, what: str) -> None:
    if field.symbols:
        wrong = pc.invert(pc.fill_null(pc.is_in(column, pa.array(field.symbols, column.type)), True))
        wrong = pc.and_(wrong, pc.is_valid(column))
        if pc.any(wrong).as_py():
            for at in np.flatnonzero(wrong.to_numpy(zero_copy_only=False)).tolist():
                errors.note(at, f'{what} "{field.name}" is {shown(column[at])}; it takes {wanted(field)}')
    for mask, why in unsound(column):
        errors.note_where(mask, f'{what} "{field.name}" {why}')


def _to(column: pa.Array, field: Field, zone: str) -> pa.Array:
    if is_.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.type.equals(field.arrow):
        return column
    if is_.is_large_string(column.type) or column.type == pa.string_view():
        column = column.cast(pa.string())
    if field.kind == "timestamp":
        return _moments(column, zone)
    if is_.is_string(column.type):
        if field.kind == "binary":
            return pa.array([None if v is None else _base64(v) for v in column.to_pylist()], pa.binary())
        if field.kind == "list":
            column = pa.array([None if v is None else _list(v, field.item) for v in column.to_pylist()], pa.list_(_IN_JSON.get(str(field.item), pa.string())))
        if field.kind in ("int64", "float64", "bool", "date"):
            try:
                made = column.cast(field.arrow)
            except pa.ArrowInvalid:
                made = pc.utf8_trim_whitespace(column).cast(field.arrow)
            return _spelled(column, made) if field.kind == "float64" else made
    if field.item == "binary" and is_.is_list(column.type) and is_.is_string(column.type.value_type):
        return pa.array([None if v is None else [_base64(one) for one in v] for v in column.to_pylist()], field.arrow)
    if is_.is_floating(column.type) and field.kind == "int64":
        return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column).cast(field.arrow)
    return column.cast(field.arrow)


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise pa.ArrowInvalid(str(error)) from None


def _list(text: str, item: str | None) -> list[Any]:
    """A JSON array. Only what JSON itself has is taken as it is; dates, times and bytes are texts yet, as in JSON Lines."""
    found = json.loads(text, parse_float=_finite)
    if not isinstance(found, list):
        raise pa.ArrowInvalid("no array")
    if item == "int64" and not all(type(one) is int for one in found if one is not None):
        raise pa.ArrowInvalid("an item is no whole number")
    return found


def _finite(digits: str) -> float:
    """JSON has no infinity: a number of so many digits is one that no field holds."""
    value = float(digits)
    if math.isinf(value):
        raise pa.ArrowInvalid(f"{digits[:20]} is out of range")
    return value


def _spelled(texts: pa.Array, numbers: pa.Array) -> pa.Array:
    """The numbers, if those that are infinite are so in words: 1e400 is a number that no field holds."""
    infinite = pc.is_inf(numbers)
    if pc.any(infinite).as_py() and pc.any(pc.and_not(infinite, pc.match_substring(texts, "inf", ignore_case=True))).as_py():
        raise pa.ArrowInvalid("a number is out of range")
    return numbers


def _moments(column: pa.Array, zone: str) -> pa.Array:
    if is_.is_timestamp(column.type):
        plain = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False) if column.type.unit == "ns" else column
        return plain.cast(TIMESTAMP) if column.type.tz else _localised(plain.cast(NAIVE), zone)
    if is_.is_date(column.type):
        return _localised(column.cast(NAIVE), zone)
    if not is_.is_string(column.type):
        raise pa.ArrowInvalid("no time")
    try:
        return column.cast(TIMESTAMP)
    except pa.ArrowInvalid:
        # Nanoseconds are cut, as no event holds them.
        column = pc.replace_substring_regex(pc.utf8_trim_whitespace(column), r"(\.\d{6})\d+", r"\1")
    zoned = pc.fill_null(pc.match_substring_regex(column, _ZONED), True)
    if pc.all(zoned).as_py():
        return column.cast(TIMESTAMP)
    if not pc.any(zoned).as_py():
        return _localised(column.cast(NAIVE), zone)
    none = pa.scalar(None, pa.string())
    return pc.coalesce(pc.if_else(zoned, column, none).cast(TIMESTAMP), _localised(pc.if_else(zoned, none, column).cast(NAIVE), zone))


def _localised(column: pa.Array, zone: str) -> pa.Array:
    """An hour that the clock shows twice is its first; one that it skips fails."""
    return pc.assume_timezone(column, zone, ambiguous="earliest", nonexistent="raise").cast(TIMESTAMP)


def shown(value: Any) -> str:
    """A value and its type, short. Never raises, whatever the value is."""
    kinds = {str: "text", int: "a whole number", float: "a number", bool: "a boolean", bytes: "bytes", list: "an array", dict: "an object"}
    try:
        found = value.as_py() if isinstance(value, pa.Scalar) else value
        text = json.dumps(found) if isinstance(found, str) else str(found)
    except UNFIT:  # no date of Python, no UTF-8, too many digits or levels
        found = values.shown(value) if isinstance(value, pa.Scalar) else value
        text = json.dumps(found) if isinstance(value, pa.Scalar) else "beyond what can be shown"
    if found is None:
        return "nothing"
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({kinds.get(type(found), type(found).__name__)})"
