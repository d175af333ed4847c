"""Values of records in a form that a person can read and JSON can hold, whatever they are: not every date is one of
Python, and not every string is UTF-8.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import pyarrow as pa
import pyarrow.types as is_

from millstream.lake.sound import years


def as_json(rows: pa.RecordBatch, at: int, without: Collection[str] = ()) -> bytes:
    """A record as a JSON object: the `raw` of its dead letter. Never raises for what a record holds."""
    payload = {
        name: shown(column[at])
        for name, column in zip(rows.schema.names, rows.columns, strict=True)
        if name not in without
    }
    return json.dumps(payload, ensure_ascii=False, default=str).encode(errors="backslashreplace")


def shown(scalar: pa.Scalar) -> Any:
    """A value out of what JSON has. A date or time outside the years 1 to 9999 is its stored number."""
    kind = scalar.type
    if not scalar.is_valid:
        return None
    if is_.is_dictionary(kind):
        return shown(scalar.value)
    if is_.is_date(kind) or is_.is_timestamp(kind):
        first, last = years(kind)
        number = scalar.cast(pa.int32()).as_py() if is_.is_date32(kind) else scalar.cast(pa.int64()).as_py()
        return scalar.cast(pa.string()).as_py() if first <= number <= last else number
    if is_.is_string(kind) or is_.is_large_string(kind):
        return scalar.as_buffer().to_pybytes().decode(errors="backslashreplace")
    if is_.is_map(kind):
        return [[shown(entry["key"]), shown(entry["value"])] for entry in _entries(scalar)]
    if is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind):
        return [shown(item) for item in scalar.values]
    if is_.is_struct(kind):
        return {kind.field(place).name: shown(scalar[place]) for place in range(kind.num_fields)}
    value = scalar.as_py()
    return value if isinstance(value, str | int | float | bool) else str(value)


def _entries(scalar: pa.Scalar) -> list[dict[str, pa.Scalar]]:
    entries = scalar.values
    return [{"key": entries.field(0)[at], "value": entries.field(1)[at]} for at in range(len(entries))]
