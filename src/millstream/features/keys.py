"""The columns of a key as one string: injective, the same for a batch, for one request, and in SQL.

Each part is a letter for its type, then its text; every part but the last has its length (in characters) before the
text. So an integer and its string are different keys: `i5` and `s5`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as is_

from millstream.base.errors import UsageError
from millstream.base.moments import moment_us

_US = timedelta(microseconds=1)
_DAY_ZERO = date(1970, 1, 1)


def encode(values: Sequence[Any]) -> str | None:
    """The key of one request; None when a part is None, since a NULL key is in no feature.

    >>> encode(["JFK", "LAX"]), encode([5]), encode(["5"]), encode([None])
    ('s3:JFKsLAX', 'i5', 's5', None)
    """
    parts = []
    for value in values:
        part = _part(value)
        if part is None:
            return None
        parts.append(part)
    return "".join([_measured(part) for part in parts[:-1]]) + parts[-1]


def encoder(columns: Sequence[str]) -> Callable[[Mapping[str, Any]], str | None]:
    """`encode` over these fields of a request; an absent field is NULL."""
    if len(columns) == 1:
        (column,) = columns

        def one(request: Mapping[str, Any]) -> str | None:
            value = request.get(column)
            return f"s{value}" if type(value) is str else None if value is None else _part(value)

        return one
    return lambda request: encode([request.get(c) for c in columns])


def encode_batch(columns: Sequence[pa.Array | pa.ChunkedArray]) -> pa.Array | pa.ChunkedArray:
    """The keys of many rows, NULL where a part is NULL."""
    parts = [_letter_and_text(column) for column in columns]
    texts = [_concat(letter, pc.cast(pc.utf8_length(text), pa.string()), ":", text) for letter, text in parts[:-1]]
    letter, text = parts[-1]
    return _concat(*texts, letter, text)


def sql(columns: Sequence[str], types: Sequence[pa.DataType]) -> str:
    """The same in DuckDB's SQL; `columns` are expressions."""
    parts = []
    for i, (column, kind) in enumerate(zip(columns, types, strict=True)):
        letter, text = _SQL[_family(kind)]
        text = text.format(column)
        parts.append(
            f"'{letter}' || {text}" if i == len(columns) - 1 else f"'{letter}' || length({text}) || ':' || {text}"
        )
    return " || ".join(parts)


_SQL = {
    "string": ("s", "({})"),
    "int": ("i", "cast({} as varchar)"),
    "bool": ("b", "cast(cast({} as integer) as varchar)"),
    "date": ("d", "cast(({}) - date '1970-01-01' as varchar)"),
    "time": ("t", "cast(epoch_us({}) as varchar)"),
    "binary": ("x", "lower(hex({}))"),
}


def comparable(a: pa.DataType, b: pa.DataType) -> bool:
    """Whether keys of these types can be equal at all: an integer and its string never are, whatever an engine would
    cast.
    """
    return not is_.is_null(a) and not is_.is_null(b) and _family(a) == _family(b)


def _family(kind: pa.DataType) -> str:
    if is_.is_dictionary(kind):
        return _family(kind.value_type)
    if is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind):
        return "string"
    if is_.is_integer(kind):
        return "int"
    if is_.is_boolean(kind):
        return "bool"
    if is_.is_date(kind):
        return "date"
    if is_.is_timestamp(kind):
        return "time"
    if is_.is_binary(kind) or is_.is_large_binary(kind):
        return "binary"
    raise UsageError(
        f"a column of {kind} cannot be a key: its values have no exact equality; use a string, an integer, a boolean, a"
        " date or a time"
    )


def _part(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return f"s{value}"
    if isinstance(value, bool):
        return f"b{value:d}"
    if isinstance(value, int):
        return f"i{value:d}"
    if isinstance(value, datetime):
        return f"t{moment_us(value)}"
    if isinstance(value, date):
        return f"d{(value - _DAY_ZERO).days}"
    if isinstance(value, bytes):
        return f"x{value.hex()}"
    raise UsageError(f"{value!r} cannot be a key; use a string, an integer, a boolean, a date or a time")


def _measured(part: str) -> str:
    return f"{part[0]}{len(part) - 1}:{part[1:]}"


def _letter_and_text(column: pa.Array | pa.ChunkedArray) -> tuple[str, Any]:
    if is_.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    family = _family(column.type)
    letter = _SQL[family][0]
    if family == "string":
        return letter, column.cast(pa.string())
    if family == "bool":
        return letter, column.cast(pa.int8()).cast(pa.string())
    if family == "date":
        return letter, column.cast(pa.date32()).cast(pa.int32()).cast(pa.string())
    if family == "time":
        return letter, column.cast(pa.timestamp("us", tz="UTC") if column.type.tz else pa.timestamp("us")).cast(
            pa.int64()
        ).cast(pa.string())
    if family == "binary":
        return letter, pa.array([None if v is None else v.hex() for v in column.to_pylist()], pa.string())
    return letter, column.cast(pa.string())


def _concat(*parts: Any) -> Any:
    return pc.binary_join_element_wise(*parts, "")
