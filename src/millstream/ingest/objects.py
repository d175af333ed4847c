"""Objects of an event class as the JSON that every door takes: what the class says, not what a JSON encoder would make
of another type.

An encoder writes infinity as null and bytes in a text as base64, and each would arrive as a value that nobody meant.
"""

from __future__ import annotations

import math
import sys
from contextlib import suppress
from datetime import UTC, date, datetime
from types import GenericAlias
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from millstream.base.errors import UsageError
from millstream.base.event import Field, Schema
from millstream.declare.event import Event
from millstream.ingest.cast import wanted
from millstream.ingest.form import PATH, BadEvent

_MOST = sys.float_info.max
_FINITE = Annotated[float, msgspec.Meta(ge=-_MOST, le=_MOST)]
_TYPES: dict[str, Any] = {
    "string": str,
    "int64": int | _FINITE,
    "float64": _FINITE,
    "bool": bool,
    "binary": bytes,
    "date": date,
    "timestamp": datetime,
}
_NATIVE = (bytes, bytearray, memoryview, datetime, date)
"""Types that are not texts here: a text is not a date, and a date is not text."""
_WANTED = {
    "timestamp": "a datetime with a zone, e.g. datetime(2013, 11, 1, 12, tzinfo=UTC)",
    "date": "a date, e.g. date(2013, 11, 1)",
    "binary": "bytes",
    "list": "a list",
}
_encode = msgspec.json.Encoder().encode


class Objects:
    """Encodes the objects of one event class."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        # An object has all its fields, so those with a default too
        ordered = sorted(schema.fields, key=lambda f: f.nullable)
        self._moments = any(f.item == "timestamp" for f in schema.fields)
        self._struct = msgspec.defstruct(schema.name, [_spec(f) for f in ordered], gc=False)

    def json(self, event: Event) -> bytes:
        """One object. NaN is not a value, so it is null.

        Raises:
            BadEvent: A field holds a value of another type, or an infinite one.
        """
        try:
            try:
                msgspec.convert(event, self._struct, from_attributes=True, builtin_types=_NATIVE)
                return _encode(self._closely(event) if self._moments else event)
            except (msgspec.ValidationError, TypeError):
                return _encode(self._closely(event))
        except UnicodeEncodeError as error:
            raise BadEvent(
                f"{self.schema.name} holds a text that is not valid UTF-8: {error.reason}",
                "write texts of whole characters",
            ) from None

    def _closely(self, event: Event) -> dict[str, Any]:
        """The event's values as Python's own, without NaN."""
        values = {f.name: getattr(event, f.name) for f in self.schema.fields}
        kept = {name: _plain(value) for name, value in values.items()}
        kept = {
            name: None if isinstance(value, float) and math.isnan(value) and self.schema[name].nullable else value
            for name, value in kept.items()
        }
        try:
            msgspec.convert(kept, self._struct, builtin_types=_NATIVE)
        except msgspec.ValidationError as error:
            path = PATH.search(str(error))
            name = path[1] if path else ""
            if name not in values:
                raise BadEvent(f"{self.schema.name}: {error}", f"make it as {self.schema.name}(...)") from None
            raise BadEvent(
                f"{self.schema.name}.{name} is {_repr(values[name])}",
                f"give {name} as {_wanted(self.schema[name])}",
                name,
            ) from None
        return kept


def same_class(schema: Schema, event: Any, what: str) -> None:
    """That an event is one of a stream's class. Modules may have been loaded more than once, so a class is the same
    when its fields are.

    Raises:
        UsageError: It is not; `what` says what takes it.
    """
    other = getattr(event, "__schema__", None)
    if other is None or isinstance(event, type) or other.fields != schema.fields:
        raise UsageError(f"{what} takes {schema.name}, and was given {_given(event)}")


def _given(event: Any) -> str:
    return (
        event.__name__ + ", the class itself"
        if isinstance(event, type)
        else f"a value of type {type(event).__name__}"
        if not isinstance(event, Event)
        else type(event).__name__
    )


def _plain(value: Any) -> Any:
    """A value of a library as the one of Python that it equals, or as it is."""
    if isinstance(value, np.generic):
        return _of_numpy(value)
    # Pandas; its nanoseconds are cut, as they are of files
    if isinstance(value, datetime) and type(value) is not datetime:
        try:
            value = datetime(
                value.year,
                value.month,
                value.day,
                value.hour,
                value.minute,
                value.second,
                value.microsecond,
                value.tzinfo,
                fold=value.fold,
            )
        except (TypeError, ValueError):  # NaT
            return value
    if isinstance(value, str) and type(value) is not str:
        return str.__str__(value)
    # In UTC, since JSON has no place for the seconds of an offset
    if isinstance(value, datetime) and value.tzinfo is not None:
        with suppress(OverflowError):
            return value.astimezone(UTC)
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1):
        return [_plain(item) for item in value]
    return value


def _of_numpy(value: np.generic) -> Any:
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.floating):
        made = float(value)
        return made if made == value or math.isnan(made) else value  # a long double may have more digits
    return str.__str__(value) if isinstance(value, np.str_) else value


def _wanted(field: Field) -> str:
    """What an object's field takes."""
    text = _WANTED.get(field.kind)
    return wanted(field) if text is None else text + (", or None" if field.nullable else "")


def _repr(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # whatever an object of the user's does
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _spec(field: Field) -> Any:
    hint = (
        Literal[field.symbols]
        if field.kind == "enum"
        else GenericAlias(list, (_TYPES[field.item],))
        if field.item
        else _TYPES[field.kind]
    )
    if field.nullable:
        return (field.name, hint | None, None)
    return (field.name, hint)
