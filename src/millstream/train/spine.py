"""The moments of a training set, or of a batch scoring: rows of a stream or of a table that has a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from millstream.base.errors import DefinitionError, Place
from millstream.base.event import ENVELOPE, OFFSET, PARTITION, Kind
from millstream.declare.stream import Stream
from millstream.declare.table import Table
from millstream.features.outcome import fields_of
from millstream.train.matrix import kind_of

ROW, MOMENT = "_row", "_t"
"""A row's place in the order of the spine, and its moment."""


def fields(at: Stream[Any] | Table, schema: pa.Schema) -> dict[str, Kind]:
    """Its columns and their kinds: of a stream those of its class, of a table those that a model can take."""
    if isinstance(at, Stream):
        return fields_of(at)
    return {f.name: kind for f in schema if f.name not in ENVELOPE and (kind := kind_of(f.type)) is not None}


def query(at: Stream[Any] | Table, columns: Mapping[str, Kind], what: str, place: Place | None, where: str = "true") -> str:
    """SQL for `_row`, `_t` and the columns of the rows that meet a condition, which may name `time`.

    Raises:
        DefinitionError: A table without a time.
    """
    time = at.schema.event_time if isinstance(at, Stream) else at.time
    if time is None:
        raise DefinitionError(f'{what}: the table "{at.name}" has no time, so its rows have no moment', place=place, found="no @time header and no time=",
                              fix='say which column is the moment: ms.table(..., time="...")', code="E145")  # fmt: skip
    order = [time, PARTITION, OFFSET] if isinstance(at, Stream) else [time, *at.key, *(c for c in columns if c not in (time, *at.key))]
    told, by = (", ".join(f'"{name}"' for name in names) for names in (columns, order))
    return f"""select row_number() over (order by {by}) - 1 as {ROW}, "{time}" as {MOMENT}, {told}
        from "{at.name}" where {where.format(time=f'"{time}"')}"""
