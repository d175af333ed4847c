"""The ahead rule for batches of a source: records whose times lie too far ahead of now become bad records of the
reading.

One place for all formats, between the source and the commit. The verdict is in the log with the record, so nobody
decides it again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as is_

from millstream.base.duration import spell
from millstream.base.event import ARRIVED_AT, EVENT_ID
from millstream.base.moments import spelled
from millstream.declare.stream import Stream
from millstream.ingest.port import Batch
from millstream.log.port import RAW

Ints = Any


def without_ahead(batch: Batch, stream: Stream[Any], now_us: int, origin: Callable[[str], str]) -> Batch:
    """The batch with the rows that are too far ahead among `bad`; the very batch when there are none.

    Args:
        now_us: Microseconds since 1970 UTC.
        origin: `_event_id` -> where a person finds the record.
    """
    latest = now_us + stream.ahead_us
    happened, arrived = (_micros(batch.rows, name) for name in (stream.schema.event_time, ARRIVED_AT))
    late = np.zeros(0, np.int64) if happened is None else np.flatnonzero(happened > latest)
    if arrived is not None:
        late = np.union1d(late, np.flatnonzero(arrived > latest))
    if not len(late):
        return batch
    dead = [_dead(batch, int(at), stream, happened, latest, now_us, origin) for at in late]
    kept = np.setdiff1d(np.arange(batch.rows.num_rows), late)
    # `after` counts bad records up to a row. A row that becomes bad itself stands behind those that come with it.
    before = (
        np.array([batch.after(int(at) + 1)[0] for at in late], np.int64)
        if batch.bad.num_rows
        else np.zeros(len(late), np.int64)
    )
    found, rows = batch.found, batch.rows.take(pa.array(kept))
    return Batch(
        rows,
        _merged(batch.bad, dead, before),
        _after(batch, kept, late),
        batch.fault,
        None if found is None else lambda row: found(int(kept[row])),
    )


def _after(batch: Batch, kept: Ints, late: Ints) -> Callable[[int], tuple[int, str]]:
    def after(rows: int) -> tuple[int, str]:
        read = batch.rows.num_rows if rows >= len(kept) else int(kept[rows - 1]) + 1 if rows else 0
        bad, position = batch.after(read)
        return bad + int(np.searchsorted(late, read)), position

    return after


def _merged(bad: pa.RecordBatch, dead: list[dict[str, Any]], before: Ints) -> pa.RecordBatch:
    """Both in the order in which they are taken: each of `dead` after so many of `bad`."""
    together = pa.Table.from_batches([bad.cast(RAW), pa.RecordBatch.from_pylist(dead, RAW)]).combine_chunks()
    places = np.concatenate([np.arange(bad.num_rows), before - 0.5])
    return together.take(pa.array(np.argsort(places, kind="stable"))).to_batches()[0]


def _dead(
    batch: Batch, at: int, stream: Stream[Any], happened: Ints, latest: int, now_us: int, origin: Callable[[str], str]
) -> dict[str, Any]:
    schema, rows = stream.schema, batch.rows
    by_event = happened is not None and int(happened[at]) > latest
    field = schema.event_time if by_event else schema.arrival_time or schema.event_time
    what, us = (
        ("event", int(happened[at]))
        if by_event
        else ("arrival", int(rows.column(ARRIVED_AT)[at].cast(pa.int64()).as_py()))
    )
    place = origin(str(rows.column(EVENT_ID)[at]))
    error = (
        f'{place}: {what} time "{field}" is {spelled(us)}, more than {spell(stream.ahead_us)} ahead of the clock'
        f" ({spelled(now_us)}); correct the time and send the record again"
    )
    return {
        "raw": _text(rows, at, schema.names()) if batch.found is None else batch.found(at),
        "error": error,
        "origin": place,
    }


def _text(rows: pa.RecordBatch, at: int, names: Any) -> bytes:
    """The event as JSON, of a file whose records have no bytes of their own."""
    values = {}
    for name in names:
        scalar = rows.column(name)[at]
        values[name] = str(scalar) if scalar.is_valid and is_.is_temporal(scalar.type) else scalar.as_py()
    return json.dumps(values, default=str, ensure_ascii=False).encode()


def _micros(rows: pa.RecordBatch, name: str) -> Ints:
    return (
        rows.column(name).cast(pa.int64()).fill_null(-(2**62)).to_numpy(zero_copy_only=False)
        if name in rows.schema.names
        else None
    )
