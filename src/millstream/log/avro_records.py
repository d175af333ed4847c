"""Avro record by record, with fastavro: for what has no fixed column layout, and to find the bad bodies of a batch."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from millstream.base.errors import UsageError
from millstream.log.avro_types import Column


class Records:
    """Reads and writes bodies of one schema. Times stay numbers: their logical types are taken off first."""

    def __init__(self, columns: Sequence[Column], schema: str) -> None:
        import fastavro

        self._columns = columns
        self._schema: Any = fastavro.parse_schema(_bare(json.loads(schema)))
        self._read, self._write = fastavro.schemaless_reader, fastavro.schemaless_writer
        self._json = [c.name for c in columns if c.wire == "union"]

    def encode(self, columns: Sequence[Column], arrays: Sequence[pa.Array], rows: int) -> list[bytes]:
        """One body a row.

        Raises:
            UsageError: A value that its field cannot hold.
        """
        values = [_python(array) for array in arrays]
        bodies = []
        for at in range(rows):
            record = {c.name: column[at] for c, column in zip(columns, values, strict=True)}
            for name in self._json:
                record[name] = None if record[name] is None else json.loads(record[name])
            out = io.BytesIO()
            try:
                self._write(out, self._schema, record)
            except (ValueError, TypeError, KeyError, OverflowError) as error:
                raise UsageError(f"row {at} does not fit the schema: {error}") from None
            bodies.append(out.getvalue())
        return bodies

    def decode(self, bodies: Sequence[bytes]) -> tuple[list[dict[str, Any]], dict[int, str]]:
        """The records that could be read, and why the others could not. Each must use its body to the last byte."""
        good: list[dict[str, Any]] = []
        bad: dict[int, str] = {}
        for at, body in enumerate(bodies):
            source = io.BytesIO(body)
            try:
                record: Any = self._read(source, self._schema, None)
                left = len(body) - source.tell()
                if left:
                    raise ValueError(f"{left} bytes are left over")
                self._fits(record)
            except Exception as error:  # whatever fastavro trips over: the body is not what its schema says
                bad[at] = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
                continue
            for name in self._json:
                record[name] = None if record[name] is None else json.dumps(record[name])
            good.append(record)
        return good, bad

    def _fits(self, record: dict[str, Any]) -> None:
        for column in self._columns:
            pa.scalar(record[column.name] if column.wire != "union" else None, column.stored)


def _bare(kind: Any) -> Any:
    if isinstance(kind, list):
        return [_bare(branch) for branch in kind]
    if isinstance(kind, dict):
        return {
            key: _bare(value) if key in ("type", "items", "values", "fields") else value
            for key, value in kind.items()
            if key != "logicalType"
        }
    return kind


def _python(array: pa.Array) -> list[Any]:
    """Python values; maps as dictionaries."""
    return array.to_pylist(maps_as_pydicts="strict") if _has_map(array.type) else array.to_pylist()


def _has_map(kind: pa.DataType) -> bool:
    return pa.types.is_map(kind) or any(_has_map(kind.field(i).type) for i in range(kind.num_fields))
