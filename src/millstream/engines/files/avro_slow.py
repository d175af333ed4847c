"""Avro blocks value by value, for what Polars does not read: maps, wide unions, and blocks in which a text is not
UTF-8.

Dates and times are read as numbers, and texts as bytes: no value of one record may stop its neighbours. What is wrong
is found by `cast`.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from millstream.lake.sound import UNFIT

_TIMES: dict[str, tuple[pa.DataType, pa.DataType]] = {
    "date": (pa.int32(), pa.date32()),
    **{
        f"timestamp-{word}": (pa.int64(), pa.timestamp(unit, "UTC"))
        for word, unit in (("millis", "ms"), ("micros", "us"), ("nanos", "ns"))
    },
    **{
        f"local-timestamp-{word}": (pa.int64(), pa.timestamp(unit))
        for word, unit in (("millis", "ms"), ("micros", "us"), ("nanos", "ns"))
    },
    "time-millis": (pa.int32(), pa.int32()),
    "time-micros": (pa.int64(), pa.int64()),
}
"""What each is stored as, and what it is."""
_ESCAPED = "surrogateescape"


def read_blocks(data: bytes) -> pa.RecordBatch:
    """The rows of a container file. Raises what fastavro raises when bytes are not what their schema says."""
    import fastavro

    records: list[Any] = []
    schema: Any = {"fields": []}
    for block in fastavro.block_reader(io.BytesIO(data)):
        schema = block.writer_schema
        bare, body = fastavro.parse_schema(_bare(schema)), io.BytesIO(block.bytes_.getvalue())
        records += [
            fastavro.schemaless_reader(body, bare, None, handle_unicode_errors=_ESCAPED)
            for _ in range(block.num_records)
        ]
    columns = {
        field["name"]: _column([record[field["name"]] for record in records], field["type"])
        for field in schema["fields"]
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _column(values: list[Any], kind: Any) -> pa.Array:
    stored, shown = _types(kind) or (None, None)
    try:
        made = pa.array(values, stored)
        return made if shown is None else made.cast(shown)
    except UNFIT:  # values of several kinds, or no UTF-8: as texts, which `cast` takes one by one
        texts = [None if value is None else _text(value).encode(errors=_ESCAPED) for value in values]
        return pa.array(texts, pa.binary()).view(pa.string())


def _text(value: Any) -> str:
    return (
        value
        if isinstance(value, str)
        else base64.b64encode(value).decode()
        if isinstance(value, bytes)
        else json.dumps(value, default=str)
    )


def _types(kind: Any) -> tuple[pa.DataType, pa.DataType] | None:
    """How a date or time, or an array of them, is stored, and what it is; None for all else, which Python's values say
    by themselves.
    """
    if isinstance(kind, list):
        branches = [branch for branch in kind if branch != "null"]
        return _types(branches[0]) if len(branches) == 1 else None
    if not isinstance(kind, Mapping):
        return None
    if kind["type"] == "array":
        items = _types(kind["items"])
        return None if items is None else (pa.list_(items[0]), pa.list_(items[1]))
    return _TIMES.get(kind.get("logicalType", ""))


def _bare(kind: Any) -> Any:
    """The schema without logical types of time: fastavro makes Python's dates of them, which not every number is."""
    if isinstance(kind, list):
        return [_bare(branch) for branch in kind]
    if not isinstance(kind, Mapping):
        return kind
    nested = {
        key: _bare(value) if key in ("type", "items", "values", "fields") else value
        for key, value in kind.items()
        if not key.startswith("__")
    }
    return {key: value for key, value in nested.items() if key != "logicalType" or value not in _TIMES}
