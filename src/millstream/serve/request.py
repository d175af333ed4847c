"""The class of a request as a strict decoder: bytes in, a mapping out, or one sentence about the field that is wrong."""

from __future__ import annotations

import re
from datetime import date, datetime
from types import GenericAlias
from typing import Annotated, Any, Literal

import msgspec

from millstream.base.errors import UsageError
from millstream.base.event import REQUIRED, TIMESTAMP, Field, Schema
from millstream.base.moments import moment_us
from millstream.ingest.cast import wanted
from millstream.ingest.digits import EXACT
from millstream.ingest.form import ADD_A_ZONE, as_sent, near, zoneless
from millstream.ingest.spelled import Lossy, finer, normal
from millstream.lake.sound import years

_INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_EXACT = Annotated[float, msgspec.Meta(gt=-float(EXACT), lt=float(EXACT))]
_MOMENT = Annotated[datetime, msgspec.Meta(tz=True)]
_TYPES: dict[str, Any] = {"string": str, "int64": _INT64, "float64": float, "bool": bool, "binary": bytes, "timestamp": _MOMENT, "date": date}
_FIRST_US, _LAST_US = years(TIMESTAMP)
_PATH = re.compile(r" - at `\$(?:\[(\d+)\])?\.?([^`\[]*)[^`]*`$")
"""The place in the array, and the field."""
_NAMED = re.compile(r"field `([^`]*)`")


class BadRequest(UsageError):
    """What is wrong with a body.

    Attributes:
        field: The field at fault, "" when it is the body as a whole.
        fix: What to send instead.
    """

    def __init__(self, message: str, field: str, fix: str) -> None:
        super().__init__(message)
        self.field, self.fix = field, fix


class RequestForm:
    """Decodes bodies of one request class. Unknown fields are refused (a misspelt optional field would be a silent NULL);
    the event time may be left out; an absent nullable field is None.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema, self.time, self.arrival = schema, schema.event_time, schema.arrival_time
        self._floats = [f.name for f in schema.fields if "float64" in (f.kind, f.item)]
        self._moments = [f.name for f in schema.fields if "timestamp" in (f.kind, f.item)]
        ordered = sorted(schema.fields, key=lambda f: f.nullable or f.default is not REQUIRED or f.role == "event_time")
        struct, wide = (msgspec.defstruct(schema.name, [_spec(f, real) for f in ordered], forbid_unknown_fields=True) for real in (_EXACT, float))
        self._one, self._many = msgspec.json.Decoder(struct), msgspec.json.Decoder(list[struct])  # type: ignore[valid-type]
        self._wide_one, self._wide_many = msgspec.json.Decoder(wide), msgspec.json.Decoder(list[wide])  # type: ignore[valid-type]

    def decode(self, body: bytes) -> tuple[list[dict[str, Any]], bool]:
        """The requests of a body, and whether it was an array. A missing event time is None.

        Raises:
            BadRequest: It is not JSON, not of this class, or holds what no table can.
        """
        array = body[:1] == b"[" or body.lstrip()[:1] == b"["
        try:
            found = self._strict(body, array) or self._closely(body, array)
        except msgspec.ValidationError as error:
            raise self._explained(str(error), body) from None
        except Lossy as error:
            name = error.name
            raise BadRequest(f'field "{name}" of {self.schema.name} is {error}', name, f"declare {name} as int, or send fewer digits") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRequest(f"the body is not JSON: {error}", "", f"send one {self.schema.name} as a JSON object, or an array of them") from None
        except RecursionError:
            raise BadRequest("the body is nested too deeply", "", f"send one {self.schema.name} as a JSON object, or an array of them") from None
        asdict = msgspec.structs.asdict
        requests = [asdict(one) for one in found]
        for request in requests:
            for name in self._moments:
                self._check_moment(name, request[name])
            for name in self._floats:
                request[name] = _unsigned(request[name])
        return requests, array

    def _strict(self, body: bytes, array: bool) -> list[Any] | None:
        """None: it may be wrong, or only be spelled in another way."""
        if finer(body):
            return None
        try:
            return self._many.decode(body) if array else [self._one.decode(body)]
        except msgspec.ValidationError:
            return None

    def _closely(self, body: bytes, array: bool) -> list[Any]:
        if not array:
            return [self._wide_one.decode(normal(body, self.schema))]
        items = msgspec.json.decode(body, type=list[msgspec.Raw])
        return self._wide_many.decode(b"[" + b",".join(normal(bytes(item), self.schema) for item in items) + b"]")

    def _check_moment(self, name: str, given: Any) -> None:
        """A time is stored as UTC, where the first and the last day have fewer hours than in other zones; requests are recorded in one group,
        so one that cannot be stored would take its neighbours along.
        """
        for moment in given if isinstance(given, list) else (given,):
            if moment is not None and not _FIRST_US <= moment_us(moment) <= _LAST_US:
                raise BadRequest(f'field "{name}" of {self.schema.name} is {moment.isoformat()}, which lies outside the years 1 to 9999', name,
                                 f"send {name} as {wanted(self.schema[name], zoned=True)}")  # fmt: skip

    def _explained(self, text: str, body: bytes) -> BadRequest:
        named, path = _NAMED.search(text), _PATH.search(text)
        name = named[1] if named else path[2] if path else ""
        names = self.schema.names()
        if "unknown field" in text:
            return BadRequest(f'{self.schema.name} has no field "{name}"', name, near(name, self.schema))
        if "missing required" in text:
            return BadRequest(f'{self.schema.name} needs the field "{name}"', name, f"send {name} as {wanted(self.schema[name], zoned=True)}")
        if name in names:
            value, zone = as_sent(_item(body, path), name), zoneless(text)
            fix = ADD_A_ZONE if zone else f"as {wanted(self.schema[name], zoned=True)}"
            return BadRequest(f'field "{name}" of {self.schema.name} is {value}{zone}', name, f"send {name} {fix}")
        return BadRequest(f"{self.schema.name}: {text}", name, f"send one {self.schema.name} as a JSON object, or an array of them")


def _item(body: bytes, path: re.Match[str] | None) -> bytes:
    """The request of a body that an error is about."""
    return body if path is None or path[1] is None else bytes(msgspec.json.decode(body, type=list[msgspec.Raw])[int(path[1])])


def _unsigned(value: Any) -> Any:
    """Zero has no sign, as in every table: -0.0 is the same unit, key and value as 0.0."""
    if isinstance(value, list):
        return [_unsigned(one) for one in value]
    return 0.0 if value == 0 else value


def _spec(field: Field, real: Any) -> Any:
    types = {**_TYPES, "float64": real}
    hint = Literal[field.symbols] if field.kind == "enum" else GenericAlias(list, (types[field.item],)) if field.item else types[field.kind]
    if field.role == "event_time" or field.nullable:
        return (field.name, hint | None, None if field.default is REQUIRED else field.default)
    return (field.name, hint) if field.default is REQUIRED else (field.name, hint, field.default)
