"""An event class as a strict JSON decoder: bytes in, columns out, or one sentence about the field that is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date, datetime
from types import GenericAlias
from typing import Annotated, Any, Literal

import msgspec
import pyarrow as pa

from millstream.base.errors import UsageError
from millstream.base.event import EVENT_ID, REQUIRED, Field, Schema
from millstream.base.words import nearest, otherwise_cased
from millstream.ingest.cast import shown, wanted
from millstream.ingest.digits import EXACT
from millstream.ingest.spelled import Lossy, finer, normal
from millstream.ingest.split import array_items
from millstream.lake.sound import UNFIT, unsound

_INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_ZONED = Annotated[datetime, msgspec.Meta(tz=True)]
_EXACT = Annotated[float, msgspec.Meta(gt=-float(EXACT), lt=float(EXACT))]
_TYPES: dict[str, Any] = {"string": str, "int64": _INT64, "float64": float, "bool": bool, "binary": bytes, "date": date}
UNREAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises when the bytes are at fault."""
_RANGE = ("Number out of range", "Integer value out of range")
ADD_A_ZONE = "with a zone: add Z, or an offset such as +02:00"
_DEEP = "it is nested too deeply"
PATH, _NAMED = re.compile(r" - at `\$\.?([^`\[]*)[^`]*`$"), re.compile(r"field `([^`]*)`")


class BadEvent(UsageError):
    """An item that is not an event of its class. As a text it is `message; fix`.

    Attributes:
        message: What is wrong with it.
        fix: What to send instead.
        field: The field at fault, "" when it is the item as a whole.
    """

    def __init__(self, message: str, fix: str, field: str = "") -> None:
        super().__init__(f"{message}; {fix}")
        self.message, self.fix, self.field = message, fix, field


class EventForm:
    """Decodes the JSON objects of one event class.

    Args:
        zoned: Times must carry a zone; else they may be naive.
        ids: Objects may carry `event_id` beside their fields.
        closed: A field that the class does not have is refused; else it is ignored.
    """

    def __init__(self, schema: Schema, *, zoned: bool, ids: bool, closed: bool) -> None:
        self.schema, self.zoned = schema, zoned
        ordered = sorted(schema.fields, key=lambda f: f.nullable or f.default is not REQUIRED)
        self._own_id = "event_id" in schema.names()
        specs, first = [_spec(f, zoned) for f in ordered], [_spec(f, zoned, _EXACT) for f in ordered]
        renamed = {}
        if ids and not self._own_id:
            specs.append((EVENT_ID, str | None, None))
            first.append(specs[-1])
            renamed = {EVENT_ID: "event_id"}
        wide, struct = (msgspec.defstruct(schema.name, of, forbid_unknown_fields=closed, rename=renamed or None, gc=False) for of in (specs, first))
        self._order = {name: at for at, (name, *_) in enumerate(specs)}
        self._one, self._many = msgspec.json.Decoder(struct), msgspec.json.Decoder(list[struct])  # type: ignore[valid-type]
        self._wide = msgspec.json.Decoder(wide)
        self._raw = msgspec.json.Decoder(list[msgspec.Raw])

    def lines(self, body: bytes) -> list[Any]:
        """Every line of a body as an event; raises one of UNREAD, also for what `one` must look at more closely."""
        return self._one.decode_lines(_plain(body))

    def array(self, body: bytes) -> list[Any]:
        """A JSON array of events; raises likewise."""
        return self._many.decode(_plain(body))

    def items(self, body: bytes) -> list[bytes]:
        """The items of an array, undecoded, so that each can be judged by itself.

        Raises:
            BadEvent: The body is not a JSON array.
        """
        try:
            return [bytes(item) for item in self._raw.decode(body)]
        except UNREAD as error:
            items = array_items(body)  # one bad item harms no neighbour
            if items is not None and all(map(_closed, items)):
                return items
            raise BadEvent(f"the body is not valid JSON: {error}", "send a JSON array of events, or one event a line") from None

    def one(self, raw: bytes) -> Any:
        """One event.

        Raises:
            BadEvent: What is wrong with it.
        """
        try:
            return self._one.decode(_plain(raw))
        except msgspec.ValidationError:
            return self._closely(raw)
        except msgspec.DecodeError as error:
            raise BadEvent(f"it is not valid JSON: {error}", f"write one {self.schema.name} as a JSON object") from None
        except UnicodeDecodeError:
            raise BadEvent(not_utf8(raw), "write it in UTF-8") from None
        except RecursionError:
            raise BadEvent(_DEEP, f"write one {self.schema.name} as a JSON object of its fields") from None

    def normal(self, raw: bytes) -> bytes:
        """An event in the strict spelling, e.g. 1 for a whole number that is written 1.0, and without what is not a field: what nobody reads may be beyond any type.

        Raises:
            BadEvent: What is wrong with it.
        """
        self.one(raw)
        return normal(raw, self.schema, known=True)

    def _closely(self, raw: bytes) -> Any:
        try:
            return self._wide.decode(normal(raw, self.schema))
        except Lossy as error:
            name = error.name
            raise BadEvent(f'field "{name}" of {self.schema.name} is {error}', f"declare {name} as int, or send fewer digits", name) from None
        except UnicodeDecodeError:
            raise BadEvent(not_utf8(raw), "write it in UTF-8") from None
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._explained(str(error), raw) from None

    def columns(self, events: Sequence[Any]) -> pa.RecordBatch:
        """Decoded events as columns of the class, and `_event_id` when ids are decoded.

        Raises:
            UNFIT (`lake.sound`): A value that JSON has and a column has not.
        """
        astuple = msgspec.structs.astuple
        values = list(zip(*map(astuple, events), strict=True)) if events else [()] * len(self._order)
        made = [pa.array(values[self._order[f.name]], pa.timestamp("us") if f.kind == "timestamp" and not self.zoned else f.arrow) for f in self.schema.fields]
        fields = [pa.field(f.name, column.type) for f, column in zip(self.schema.fields, made, strict=True)]
        if EVENT_ID in self._order or self._own_id:
            made.append(pa.array(values[self._order[EVENT_ID if EVENT_ID in self._order else "event_id"]], pa.string()))
            fields.append(pa.field(EVENT_ID, pa.string()))
        return pa.RecordBatch.from_arrays(made, schema=pa.schema(fields))

    def unsound(self, rows: pa.RecordBatch) -> dict[int, str]:
        """What of `columns` no table can hold: place -> why."""
        wrong: dict[int, str] = {}
        for field, column in zip(rows.schema, rows.columns, strict=True):
            for mask, why in unsound(column):
                wrong = {int(at): f'field "{field.name}" of {self.schema.name} {why}' for at in mask.nonzero()[0]} | wrong
        return wrong

    def _explained(self, text: str, raw: bytes) -> BadEvent:
        named, path = _NAMED.search(text), PATH.search(text)
        name = named[1] if named else path[1] if path else ""
        schema = self.schema
        if not name and text.startswith(_RANGE):
            return self._out_of_range(text, raw)
        if "unknown field" in text:
            return BadEvent(f'{schema.name} has no field "{name}"', near(name, schema), name)
        if "missing required" in text:
            return BadEvent(f'{schema.name} needs the field "{name}"', f"send {name} as {wanted(schema[name], zoned=self.zoned)}", name)
        if name in schema.names():
            zone = zoneless(text)
            return BadEvent(
                f'field "{name}" of {schema.name} is {as_sent(raw, name)}{zone}',
                f"send {name} {(zone and ADD_A_ZONE) or 'as ' + wanted(schema[name], zoned=self.zoned)}",
                name,
            )
        return BadEvent(f"{schema.name}: {text}", f"send one {schema.name} as a JSON object", name)

    def _out_of_range(self, text: str, raw: bytes) -> BadEvent:
        """A number beyond what msgspec holds, which does not say whose it is: the first field that cannot be decoded by itself."""
        for name, part in msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).items():
            try:
                msgspec.json.decode(part)
            except UNREAD:
                fix = f"send {name} as {wanted(self.schema[name], zoned=self.zoned)}" if name in self.schema.names() else "leave it out"
                return BadEvent(f'field "{name}" of {self.schema.name} is {as_sent(raw, name)}', fix, name)
        return BadEvent(f"{self.schema.name}: {text}", "send numbers of 64 bits")


def near(name: str, schema: Schema) -> str:
    """What may have been meant by a field that the class does not have."""
    if cased := otherwise_cased(name, schema.names()):
        return f'names are case-sensitive: send "{cased}"'
    return nearest(name, schema.names()) or f"its fields are {', '.join(schema.names())}"


def zoneless(text: str) -> str:
    """That a time has no zone, if that is what the decoder says of it."""
    return ", which has no time zone" if "timezone component" in text else ""


def as_sent(raw: bytes, name: str) -> str:
    """A field's value as it was sent, short."""
    try:
        return shown(msgspec.json.decode(raw)[name])
    except (*UNFIT, *UNREAD, KeyError):
        pass
    try:
        text = bytes(msgspec.json.decode(raw, type=dict[str, msgspec.Raw])[name]).decode(errors="replace")
    except (*UNREAD, KeyError):
        return _DEEP.removeprefix("it is ")
    return text if len(text) <= 60 else text[:57] + "..."


def _closed(item: bytes) -> bool:
    """Whether an item of an array ends where it seems to: two with a quote lost swallow what stands between them, and all later places are wrong. What it
    holds may be beyond any field: half an emoji, a number of thousands of digits, levels without end.
    """
    try:
        json.loads(item.decode(errors="surrogateescape"))
    except json.JSONDecodeError:
        return False
    except (RecursionError, ValueError):
        return True
    return True


def not_utf8(raw: bytes) -> str:
    """Where bytes stop being UTF-8, in words; "" when they do not."""
    try:
        raw.decode()
        return ""
    except UnicodeDecodeError as error:
        return f"it is not valid UTF-8: byte {error.start} is 0x{raw[error.start]:02x}"


def _plain(data: bytes) -> bytes:
    if finer(data):
        raise msgspec.ValidationError("a second has more digits than six")
    return data


def _spec(field: Field, zoned: bool, real: Any = float) -> Any:
    moment = _ZONED if zoned else datetime
    types = {**_TYPES, "timestamp": moment, "float64": real}
    hint = Literal[field.symbols] if field.kind == "enum" else GenericAlias(list, (types[field.item],)) if field.item else types[field.kind]
    if field.nullable:
        return (field.name, hint | None, None if field.default is REQUIRED else field.default)
    return (field.name, hint) if field.default is REQUIRED else (field.name, hint, field.default)
