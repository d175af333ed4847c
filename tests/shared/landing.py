"""Rows put into the lake as a stream's sink lands them, without a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from millstream.base.event import ARRIVED_AT, OFFSET, PARTITION
from millstream.declare.stream import Stream
from millstream.lake.judge import table_schema
from millstream.lake.lake import Lake
from millstream.lake.positions import TIME


def landed(lake: Lake, stream: Stream[Any], rows: Sequence[Mapping[str, Any]], upto: int | None = None) -> None:
    """Land rows of a stream (`ts` in microseconds), which has then passed `upto`."""
    schema = table_schema(stream)
    table = lake.create(stream.name, schema)
    app, first = f"{TIME}{stream.name}/0", table.rows()
    full = [
        {**dict.fromkeys(schema.names), ARRIVED_AT: row["ts"], PARTITION: 0, OFFSET: first + i, **row}
        for i, row in enumerate(rows)
    ]
    before = table.position(app)
    newest = max([before or 0, upto or 0, *(row["ts"] for row in rows)])
    lake.table(stream.name).append(pa.Table.from_pylist(full, schema), txns={app: (before, newest)})
