"""JSON's many spellings of one value as the one that a strict decoder takes; so 1.0 is a whole number here too, as it
is in a column of floats.

Only events that the strict decoder does not take come here: the good path costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from millstream.base.event import Field, Schema
from millstream.ingest.digits import EXACT, MOST, ZERO, survives, whole

_LONG, _FINER = re.compile(rb"\.\d{7}").search, re.compile(rb":\d\d\.\d{7}").search
_MOMENT = re.compile(
    r'"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d)(?::(\d\d)(?::(\d\d)(\.\d{1,6})?)?)?(?<![\dT'
    r' ]\.)\d*([Zz]|[+-]\d\d(?::?\d\d)?)?)?"',
    re.ASCII,
)
_WHOLE = re.compile(rb"-?\d+")


class Lossy(ValueError):
    """A number of which a float would lose digits."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(
            f"{text if len(text) <= 60 else text[:57] + '...'}, and a float keeps only {float(text)!r} of it"
        )
        self.name = name


def finer(data: bytes) -> bool:
    """Whether a second may have more digits than microseconds have: a decoder would round it, and times are cut (a
    moment must not become a later one).
    """
    # Points are rarer than colons, so most bodies are passed over quickly
    return _LONG(data) is not None and _FINER(data) is not None


def normal(raw: bytes, schema: Schema, *, known: bool = False) -> bytes:
    """One object with its fields in the strict spelling. What is not an object, or has no such spelling, stays as it
    is.

    Args:
        known: Without what is not a field.

    Raises:
        Lossy: A float that would not be what was written.
    """
    try:
        found = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw
    changed = known and not found.keys() <= set(schema.names())
    found = {name: found[name] for name in schema.names() if name in found} if changed else found
    for field in schema.fields:
        token = found.get(field.name)
        if token is None or (of := _FORMS.get(field.item or field.kind)) is None:
            continue
        told = bytes(token)
        made = _listed(told, of, field) if field.item else of(told, field)
        if made != told:
            found[field.name], changed = msgspec.Raw(made), True
    return msgspec.json.encode(found) if changed else raw


def normal_items(token: bytes, field: Field) -> bytes:
    """The items of an array likewise; `field` is of a list.

    Raises:
        Lossy: See `normal`.
    """
    of = _FORMS.get(str(field.item))
    return token if of is None else _listed(token, of, field)


def _listed(token: bytes, of: Callable[[bytes, Field], bytes], field: Field) -> bytes:
    try:
        items = msgspec.json.decode(token, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return token
    return b"[" + b",".join(of(bytes(item), field) for item in items) + b"]"


def _int(token: bytes, field: Field) -> bytes:
    if len(token) > MOST or token[:1] == b'"' or not any(sign in token for sign in b".eE"):
        return token
    number = whole(token.decode(errors="replace"))
    return token if number is None else b"%d" % number


def _float(token: bytes, field: Field) -> bytes:
    if (
        len(token) > 15
        and len(token) <= MOST
        and _WHOLE.fullmatch(token)
        and abs(int(token)) >= EXACT
        and not survives(text := token.decode())
    ):
        raise Lossy(field.name, text)
    # Arrow looks at the exponent only, and calls 0e400 too large
    if b"e" in token.lower() and ZERO.fullmatch(token.decode(errors="replace")):
        return b"-0.0" if token.startswith(b"-") else b"0.0"
    return token


def _time(token: bytes, field: Field) -> bytes:
    found = _MOMENT.fullmatch(token.decode(errors="replace")) if len(token) <= 64 else None
    if found is None:
        return token
    day, hour, minute, second, fraction, zone = found.groups()
    zone = "" if zone is None else "Z" if zone in "Zz" else zone if len(zone) > 3 else f"{zone}:00"
    return f'"{day}T{hour or "00"}:{minute or "00"}:{second or "00"}{fraction or ""}{zone}"'.encode()


_FORMS: dict[str, Callable[[bytes, Field], bytes]] = {"int64": _int, "float64": _float, "timestamp": _time}
