"""A column of any type as a field's: what loses nothing and is not a guess becomes a value, all else raises.

Numbers become numbers where they are exact, texts are read as CSV writes them, and of other types a field takes what
has one spelling everywhere: True is not 1, 20455 is not a date, and a zone is not thrown away to make a day.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as is_

from millstream.base.event import TIMESTAMP, Field
from millstream.ingest.digits import EXACT, NUMBER, survives, whole
from millstream.ingest.spelled import Lossy, normal_items
from millstream.lake.micros import micros
from millstream.lake.sound import with_items

NAIVE = pa.timestamp("us")
_ZONED = r"\d[Tt ]\d.*([Zz]|[+-]\d{2}:?\d{2}|[+-]\d{2})$"
_FLOAT, _INT, _TEXT = pa.float64(), pa.int64(), pa.string()
_DECIMAL = 38
"""Digits of a decimal of 128 bits."""
_ZONE_IT = "write it with an offset, or in UTC"
_JSON = {"int64": int, "float64": float, "bool": bool}


class NoMoment(pa.ArrowInvalid):
    """A local time that is not one moment: what it is, and the way on."""


def become(column: pa.Array, field: Field, *, zone: str = "UTC", trim: bool = True) -> pa.Array:
    """The column in the field's type.

    Args:
        zone: Of times that carry none.
        trim: Spaces around a number, a date or a time do not count: so in CSV; JSON's texts are taken as they stand.

    Raises:
        UNFIT (`lake.sound`): A value does not become one of the field.
    """
    column = _plain(column)
    if column.type.equals(field.arrow):
        return column
    if is_.is_null(column.type):
        return column.cast(field.arrow)
    if field.kind == "list":
        return _listed(column, field, zone)
    return _BY_KIND[field.kind](column, zone, trim)


def _plain(column: pa.Array) -> pa.Array:
    if is_.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(_TEXT) if is_.is_large_string(column.type) or column.type == pa.string_view() else column


def _listed(column: pa.Array, field: Field, zone: str) -> pa.Array:
    if is_.is_string(column.type):
        texts = [None if text is None else _array(text, field) for text in column.to_pylist()]
        column = pa.array(
            texts, pa.list_({"int64": _INT, "float64": _FLOAT, "bool": pa.bool_()}.get(str(field.item), _TEXT))
        )
    elif not (is_.is_list(column.type) or is_.is_large_list(column.type) or is_.is_fixed_size_list(column.type)):
        raise pa.ArrowInvalid("no list")
    items = _plain(column.flatten())
    if not items.type.equals(field.arrow.value_type):
        items = (
            items.cast(field.arrow.value_type)
            if is_.is_null(items.type)
            else _BY_KIND[str(field.item)](items, zone, False)
        )
    return with_items(column, items, field.arrow)


def _array(text: str, field: Field) -> list[Any]:
    """A JSON array. Dates, times and bytes are texts yet, as in JSON Lines."""
    kind: Any = _JSON.get(str(field.item), str)
    try:
        return msgspec.json.decode(normal_items(text.encode(), field), type=list[kind | None])
    except Lossy as error:
        raise pa.ArrowInvalid(str(error)) from None


def _whole(column: pa.Array, zone: str, trim: bool) -> pa.Array:
    kind = column.type
    if is_.is_integer(kind) or is_.is_decimal(kind):
        return column.cast(_INT)
    if is_.is_floating(kind):
        column = column.cast(_FLOAT)
        # NaN is not a value; beyond, a float may stand for several numbers
        if not _all(pc.less_equal(pc.abs(column), float(EXACT))):
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, _FLOAT), column)
            if not _all(pc.less_equal(pc.abs(column), float(EXACT))):
                raise pa.ArrowInvalid("a float that is not an exact number")
        return column.cast(_INT)
    return _whole_texts(_texts(column), trim)


def _whole_texts(column: pa.Array, trim: bool) -> pa.Array:
    try:
        if not _has(column, b"xX"):  # Arrow would read 0x10 as 16
            return column.cast(_INT)
    except pa.ArrowInvalid:
        pass
    column = pc.utf8_trim_whitespace(column) if trim else column
    try:
        return _whole_decimals(column)
    except pa.ArrowInvalid:
        # One text that is not a number, or one with more digits or a larger exponent than Arrow's decimals have
        return pa.array(map(_whole_text, column.to_pylist()), _INT)


def _whole_text(text: str | None) -> int | None:
    if text is not None and (number := whole(text)) is None:
        raise pa.ArrowInvalid("no whole number")
    return None if text is None else number


def _whole_decimals(column: pa.Array) -> pa.Array:
    # Arrow's decimals wrap around when a text has hundreds of digits
    short = pc.less_equal(pc.utf8_length(column), _DECIMAL)
    if not _all(pc.and_(short, pc.match_substring_regex(column, NUMBER))):
        raise pa.ArrowInvalid("no number")
    made = column.cast(pa.decimal128(_DECIMAL, 18)).cast(_INT)  # 1.0 and 1e3 are whole
    rough = column.cast(_FLOAT)
    if not _all(
        pc.less_equal(pc.abs(pc.subtract(made.cast(_FLOAT, safe=False), rough)), pc.multiply(pc.abs(rough), 1e-9))
    ):
        raise pa.ArrowInvalid("a number is out of range")
    return made


def _has(column: pa.Array, letters: bytes) -> bool:
    data = column.buffers()[2]
    held = b"" if data is None else data.to_pybytes()  # perhaps of more rows than these: a first look
    return any(
        bytes([letter]) in held and pc.any(pc.match_substring(column, chr(letter))).as_py() for letter in letters
    )


def _real(column: pa.Array, zone: str, trim: bool) -> pa.Array:
    kind = column.type
    if is_.is_floating(kind):
        return column.cast(_FLOAT)
    if is_.is_integer(kind):
        made = column.cast(_FLOAT, safe=False)
        if not _all(pc.less(pc.abs(made), float(EXACT))) and not _all(pc.equal(made.cast(kind), column)):
            raise pa.ArrowInvalid("no float has all digits of it")
        return made
    if is_.is_decimal(kind):  # by way of its digits: Arrow's own way is not always to the nearest
        column = column.cast(_TEXT)
    texts = _texts(column)
    try:
        made = texts.cast(_FLOAT)
    except pa.ArrowInvalid:
        if not trim:
            raise
        texts = pc.utf8_trim_whitespace(texts)
        made = texts.cast(_FLOAT)
    if not _all(pc.less(pc.abs(made), float(EXACT))):
        _check_large(texts, made)
    return made


def _check_large(texts: pa.Array, numbers: pa.Array) -> None:
    """Of numbers beyond the exact ones: none that is infinite may be so but in words (1e400 is a number that no field
    holds), and no digit may be lost.
    """
    infinite = pc.is_inf(numbers)
    if pc.any(pc.and_not(infinite, pc.match_substring(texts, "inf", ignore_case=True))).as_py():
        raise pa.ArrowInvalid("a number is out of range")
    large = pc.and_not(pc.greater_equal(pc.abs(numbers), float(EXACT)), infinite)
    if not all(map(survives, texts.filter(large).to_pylist())):
        raise pa.ArrowInvalid("no float has all digits of it")


def _truth(column: pa.Array, zone: str, trim: bool) -> pa.Array:
    if is_.is_integer(column.type):
        if not _all(pc.or_(pc.equal(column, 0), pc.equal(column, 1))):
            raise pa.ArrowInvalid("neither 0 nor 1")
        return column.cast(pa.bool_())
    return _tried(_texts(column), pa.bool_(), trim)


def _text(column: pa.Array, zone: str, trim: bool) -> pa.Array:
    """Floats, booleans and times are left out: other tools write them in other ways, so none is the text that was
    meant.
    """
    kind = column.type
    if is_.is_string(kind) or _is_bytes(kind) or is_.is_integer(kind) or is_.is_decimal(kind) or is_.is_date32(kind):
        return column.cast(_TEXT)
    raise pa.ArrowInvalid("no text")


def _bytes(column: pa.Array, zone: str, trim: bool) -> pa.Array:
    if _is_bytes(column.type):
        return column.cast(pa.binary())
    return pa.array([None if text is None else _base64(text) for text in _texts(column).to_pylist()], pa.binary())


def _is_bytes(kind: pa.DataType) -> bool:
    return (
        is_.is_binary(kind) or is_.is_large_binary(kind) or is_.is_fixed_size_binary(kind) or kind == pa.binary_view()
    )


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise pa.ArrowInvalid(str(error)) from None


def _day(column: pa.Array, zone: str, trim: bool) -> pa.Array:
    """Of times only those without a zone that are a midnight: so pandas writes dates."""
    kind = column.type
    if is_.is_date64(kind) or (is_.is_timestamp(kind) and kind.tz is None):
        column = column.cast(pa.timestamp("ms")) if is_.is_date64(kind) else column
        if not _all(pc.equal(pc.floor_temporal(column, unit="day"), column)):
            raise pa.ArrowInvalid("a time of a day")
        return column.cast(pa.date32())
    return _tried(_texts(column), pa.date32(), trim)


def _moment(column: pa.Array, zone: str, trim: bool) -> pa.Array:
    kind = column.type
    if is_.is_timestamp(kind):
        column = micros(column)
        return column.cast(TIMESTAMP) if kind.tz else _localised(column.cast(NAIVE), zone)
    if is_.is_date(kind):
        return _localised(column.cast(NAIVE), zone)
    column = _texts(column)
    try:
        return column.cast(TIMESTAMP)
    except pa.ArrowInvalid:
        column = pc.utf8_trim_whitespace(column) if trim else column
        for pattern, to in ((r"(\.\d{6})\d+", r"\1"), (r"^([\d-]+)t", r"\1T"), (r"z$", "Z")):
            column = pc.replace_substring_regex(column, pattern, to)
    zoned = pc.fill_null(pc.match_substring_regex(column, _ZONED), True)
    if _all(zoned):
        return column.cast(TIMESTAMP)
    if not pc.any(zoned).as_py():
        return _localised(column.cast(NAIVE), zone)
    none = pa.scalar(None, _TEXT)
    return pc.coalesce(
        pc.if_else(zoned, column, none).cast(TIMESTAMP), _localised(pc.if_else(zoned, none, column).cast(NAIVE), zone)
    )


def _localised(column: pa.Array, zone: str) -> pa.Array:
    """Local times as moments.

    Raises:
        NoMoment: One of an hour that the clock shows twice would be a guess; one of an hour that it skips is none.
    """
    try:
        return pc.assume_timezone(column, zone, ambiguous="raise", nonexistent="raise").cast(TIMESTAMP)
    except pa.ArrowInvalid:
        pass
    try:
        pc.assume_timezone(column, zone, ambiguous="earliest", nonexistent="raise")
    except pa.ArrowInvalid:
        raise NoMoment(
            f"a local time that does not exist in {zone}, since the clock is set forward; {_ZONE_IT}"
        ) from None
    raise NoMoment(f"a local time that occurs twice in {zone}, since the clock is set back; {_ZONE_IT}")


def _tried(texts: pa.Array, kind: pa.DataType, trim: bool) -> pa.Array:
    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:
        if not trim:
            raise
        return pc.utf8_trim_whitespace(texts).cast(kind)


def _all(mask: pa.Array) -> bool:
    """Of what is not a null."""
    return bool(pc.all(mask, min_count=0).as_py())


def _texts(column: pa.Array) -> pa.Array:
    if not is_.is_string(column.type):
        raise pa.ArrowInvalid(f"{column.type} is of another kind")
    return column


_BY_KIND: dict[str, Callable[[pa.Array, str, bool], pa.Array]] = {
    "int64": _whole,
    "float64": _real,
    "bool": _truth,
    "string": _text,
    "enum": _text,
    "binary": _bytes,
    "date": _day,
    "timestamp": _moment,
}
