"""Values of tables as JSON and CSV have them: one rule for every verb, so that nothing is lost in silence
(docs/reference/values.md, "What is printed").

JSON has no NaN and no infinity, and `null` is NULL: they are the texts "NaN", "Infinity" and "-Infinity".
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as is_

from millstream.base.floats import named
from millstream.transform.cell import cell, span

_PER = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}


def values(found: pa.Table) -> list[dict[str, Any]]:
    """The rows as builtins, times and dates, each a JSON object."""
    columns = [_values(found.column(at)) for at in range(found.num_columns)]
    return [dict(zip(found.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def flat(found: pa.Table) -> pa.Table:
    """The table for CSV: what CSV has no form for is the text that JSON has, nested values as JSON. NULL is an empty
    field, "" an empty text, NaN `nan`.
    """
    for place, field in enumerate(found.schema):
        if _needs_text(field.type):
            texts = [
                value if value is None or isinstance(value, str) else _json(value)
                for value in _values(found.column(place))
            ]
            found = found.set_column(place, field.name, pa.array(texts, pa.string()))
    return found


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _needs_text(kind: pa.DataType) -> bool:
    return bool(is_.is_nested(kind) or is_.is_duration(kind) or is_.is_interval(kind) or _is_binary(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        is_.is_binary(kind) or is_.is_large_binary(kind) or is_.is_fixed_size_binary(kind) or kind == pa.binary_view()
    )


def _values(column: pa.ChunkedArray) -> list[Any]:
    kind = column.type
    if (
        is_.is_integer(kind)
        or is_.is_boolean(kind)
        or (is_.is_floating(kind) and pc.all(pc.is_finite(column), skip_nulls=True).as_py() is not False)
    ):
        return list(column.to_pylist())
    return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    """One value, by its type."""
    kind = scalar.type
    if not scalar.is_valid:
        return None
    if is_.is_dictionary(kind) or is_.is_union(kind):
        return _value(scalar.value)
    if is_.is_decimal(kind):
        exact = scalar.as_py()
        return int(exact) if kind.scale <= 0 else format(exact, "f")
    if is_.is_interval(kind):
        return span(*scalar.as_py())
    if is_.is_duration(kind):
        return span(0, 0, scalar.cast(pa.int64()).as_py() * _PER[kind.unit])
    if _is_binary(kind):
        return base64.b64encode(scalar.as_py()).decode()
    if is_.is_map(kind):
        entries = scalar.values
        pairs = [[_value(entries.field(0)[at]), _value(entries.field(1)[at])] for at in range(len(entries))]
        return dict(pairs) if is_.is_string(kind.key_type) or is_.is_large_string(kind.key_type) else pairs
    if is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind):
        return [_value(item) for item in scalar.values]
    if is_.is_struct(kind):
        return {kind.field(at).name: _value(scalar[at]) for at in range(kind.num_fields)}
    return _of_python(scalar)


def _of_python(scalar: pa.Scalar) -> Any:
    kind = scalar.type
    if is_.is_timestamp(kind) and kind.unit == "ns":
        return _text(scalar)  # Python's times end at microseconds
    try:
        value = scalar.as_py()
    except (OverflowError, ValueError, UnicodeDecodeError):
        return _text(scalar)
    return named(value)


def _text(scalar: pa.Scalar) -> str:
    said = cell(scalar)
    return said.replace(" ", "T") + ("Z" if scalar.type.tz else "") if is_.is_timestamp(scalar.type) else said
