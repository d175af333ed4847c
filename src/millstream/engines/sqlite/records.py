"""Arrow batches as rows of the log: an IPC message without its schema, the schema kept once by number."""

from __future__ import annotations

import functools
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millstream.base.errors import Corrupt, UsageError
from millstream.base.event import ARRIVED_AT, EVENT_ID, LATE, OFFSET, PARTITION, TIMESTAMP

# Smaller messages are stored as they are, and those of columns smaller than that
PACKED_BYTES, COLUMN_BYTES = (16_384, 1_024)
LARGEST_BYTES = 8_000_000  # of one stored batch, so that retention can go in small steps
_LZ4 = pa.ipc.IpcWriteOptions(compression="lz4")


class Layouts:
    """Arrow schemas by number, so that a stored message need not repeat its own."""

    def __init__(self) -> None:
        self._by_id: dict[int, pa.Schema] = {}
        self._by_schema: dict[pa.Schema, int] = {}
        self._lock = threading.Lock()

    def number(self, con: sqlite3.Connection, schema: pa.Schema) -> int:
        """Inside a write transaction: the schema's number, given now when it is new. A roll-back must be told to
        `forget`.
        """
        with self._lock:
            if schema not in self._by_schema:
                key = schema.serialize().to_pybytes()
                row = con.execute("select id from layout where body = ?", (key,)).fetchone()
                self._by_schema[schema] = int(
                    row[0] if row else con.execute("insert into layout(body) values (?)", (key,)).lastrowid or 0
                )
            return self._by_schema[schema]

    def schema(self, con: sqlite3.Connection, number: int) -> pa.Schema:
        with self._lock:
            if number not in self._by_id:
                body = con.execute("select body from layout where id = ?", (number,)).fetchone()[0]
                self._by_id[number] = pa.ipc.read_schema(pa.py_buffer(body))
            return self._by_id[number]

    def forget(self) -> None:
        with self._lock:
            self._by_schema.clear()


def plain(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows as they are stored: payload, `_event_id`, `_arrived_at`; no metadata, no dictionaries, no columns that
    the log makes itself.

    Raises:
        UsageError: Two columns have one name.
    """
    order, decode, stamp = _stored(rows.schema)
    if order is not None:
        rows = rows.select(order)
    for at in decode:
        rows = rows.set_column(at, rows.schema.names[at], rows.column(at).dictionary_decode())
    if stamp is not None:
        rows = rows.set_column(stamp, ARRIVED_AT, rows.column(stamp).cast(TIMESTAMP))
    if rows.schema.metadata or any(f.metadata for f in rows.schema):
        rows = pa.RecordBatch.from_arrays(rows.columns, schema=pa.schema([f.remove_metadata() for f in rows.schema]))
    return rows


@functools.lru_cache(256)
def _stored(schema: pa.Schema) -> tuple[list[str] | None, list[int], int | None]:
    """What `plain` must do to rows of this schema, whose metadata does not count: the columns in their order when it
    differs, where a dictionary is decoded (its values are a message of their own, which a single message cannot carry),
    and where the arrival is cast.
    """
    if len(set(schema.names)) != len(schema.names):
        raise UsageError(f"rows with two columns of one name cannot be kept: {', '.join(schema.names)}")
    order = [n for n in schema.names if n not in (EVENT_ID, ARRIVED_AT, OFFSET, PARTITION, LATE)] + [
        n for n in (EVENT_ID, ARRIVED_AT) if n in schema.names
    ]
    decode = [at for at, name in enumerate(order) if pa.types.is_dictionary(schema.field(name).type)]
    stamp = order.index(ARRIVED_AT) if ARRIVED_AT in order and schema.field(ARRIVED_AT).type != TIMESTAMP else None
    return order if order != schema.names else None, decode, stamp


def pack(rows: pa.RecordBatch) -> Iterator[tuple[int, bytes]]:
    """The rows as messages of at most a few MB, each with its number of rows.

    LZ4 halves what is written for a tenth of a microsecond an event; zstd makes it a third, for twice the time of the
    whole append.
    """
    # `nbytes`, which leaves out what a slice does not show, costs microseconds a column
    held = rows.get_total_buffer_size()
    if held > LARGEST_BYTES and rows.num_rows > 1 and rows.nbytes > LARGEST_BYTES:
        half = rows.num_rows // 2
        yield from pack(rows.slice(0, half))
        yield from pack(rows.slice(half))
    elif held < max(PACKED_BYTES, COLUMN_BYTES * rows.num_columns):
        yield rows.num_rows, rows.serialize().to_pybytes()
    else:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema, options=_LZ4) as stream:
            stream.write_batch(rows)
            end = sink.tell()
        whole = pa.BufferReader(sink.getvalue())
        pa.ipc.read_message(whole)  # the schema
        yield rows.num_rows, whole.read(end - whole.tell())


def checksum(data: bytes) -> int:
    """What tells a damaged message from a good one before Arrow trusts its lengths."""
    return zlib.crc32(data)


def unpack(data: bytes, crc: int, schema: pa.Schema, rows: int, what: str) -> pa.RecordBatch:
    """The rows of one message.

    Raises:
        Corrupt: It is not what was written.
    """
    if checksum(data) != crc:
        raise Corrupt(f"{what}: the stored batch is damaged (its checksum differs); restore the log's file from a copy")
    batch = pa.ipc.read_record_batch(pa.py_buffer(data), schema)
    if batch.num_rows != rows:
        raise Corrupt(f"{what}: the stored batch has {batch.num_rows} rows, and its offsets say {rows}")
    return batch


def finished(
    batches: Sequence[pa.RecordBatch], appended_us: Sequence[int], start: int, schema_id: int
) -> pa.RecordBatch:
    """Neighbouring batches of one layout as a reader sees them: `_event_id`, `_arrived_at` and `_offset` last.

    Args:
        appended_us: The log's stamp of each batch; it stands where the rows bring no arrival time.
        start: Offset of the first row.
    """
    batch = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
    columns, names, rows = list(batch.columns), list(batch.schema.names), batch.num_rows
    arrived = columns.pop() if names and names[-1] == ARRIVED_AT else None
    names = names[: len(columns)]
    if EVENT_ID not in names and schema_id:
        columns.append(pa.nulls(rows, pa.string()))
        names.append(EVENT_ID)
    if arrived is None or arrived.null_count:
        stamps = pa.array(np.repeat(np.asarray(appended_us, np.int64), [b.num_rows for b in batches])).cast(TIMESTAMP)
        arrived = stamps if arrived is None else pc.coalesce(arrived, stamps)
    offsets = pa.array(np.arange(start, start + rows, dtype=np.int64))
    return pa.RecordBatch.from_arrays([*columns, arrived, offsets], names=[*names, ARRIVED_AT, OFFSET])
