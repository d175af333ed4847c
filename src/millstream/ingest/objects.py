"""Objects of an event class as the JSON that every door takes: what the class says, not what a JSON encoder would make of another type.

An encoder writes infinity as null and bytes in a text as base64, and each would arrive as a value that nobody meant.
"""

from __future__ import annotations

import math
import sys
from datetime import date, datetime
from types import GenericAlias
from typing import Annotated, Any, Literal

import msgspec

from millstream.declare.event import Event, Field, Schema
from millstream.ingest.cast import wanted
from millstream.ingest.form import PATH, BadEvent

_MOST = sys.float_info.max
_FINITE = Annotated[float, msgspec.Meta(ge=-_MOST, le=_MOST)]
_TYPES: dict[str, Any] = {"string": str, "int64": int | _FINITE, "float64": _FINITE, "bool": bool, "binary": bytes, "date": date, "timestamp": datetime}
_NATIVE = (bytes, bytearray, memoryview, datetime, date)
"""Types that are no texts here: a text is no date, and a date is no text."""
_encode = msgspec.json.Encoder().encode


class Objects:
    """Encodes the objects of one event class."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        ordered = sorted(schema.fields, key=lambda f: f.nullable)  # an object has all its fields, so those with a default too
        self._struct = msgspec.defstruct(schema.name, [_spec(f) for f in ordered], gc=False)

    def json(self, event: Event) -> bytes:
        """One object. NaN is no value, so it is null.

        Raises:
            BadEvent: A field holds a value of another type, or an infinite one.
        """
        try:
            msgspec.convert(event, self._struct, from_attributes=True, builtin_types=_NATIVE)
        except msgspec.ValidationError as error:
            self._without_nan(event, str(error))
        try:
            return _encode(event)
        except UnicodeEncodeError as error:
            raise BadEvent(f"{self.schema.name} holds a text that is no UTF-8: {error.reason}", "write texts of whole characters") from None

    def _without_nan(self, event: Event, told: str) -> None:
        values = {f.name: getattr(event, f.name) for f in self.schema.fields}
        kept = {name: None if isinstance(value, float) and math.isnan(value) and self.schema[name].nullable else value for name, value in values.items()}
        try:
            msgspec.convert(kept, self._struct, builtin_types=_NATIVE)
        except msgspec.ValidationError as error:
            path = PATH.search(str(error))
            name = path[1] if path else ""
            if name not in values:
                raise BadEvent(f"{self.schema.name}: {told}", f"make it as {self.schema.name}(...)") from None
            raise BadEvent(f"{self.schema.name}.{name} is {_repr(values[name])}", f"give {name} as {wanted(self.schema[name])}", name) from None


def _repr(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # whatever an object of the user's does
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _spec(field: Field) -> Any:
    hint = Literal[field.symbols] if field.kind == "enum" else GenericAlias(list, (_TYPES[field.item],)) if field.item else _TYPES[field.kind]
    if field.nullable:
        return (field.name, hint | None, None)
    return (field.name, hint)
