"""Arrow batches as rows of the log: an IPC message without its schema, the schema kept once by number."""

from __future__ import annotations

import sqlite3
import threading

import numpy as np
import pyarrow as pa

from millstream.declare.event import ARRIVED_AT, OFFSET, TIMESTAMP


class Layouts:
    """Arrow schemas by number, so that a stored message need not repeat its own."""

    def __init__(self) -> None:
        self._by_id: dict[int, pa.Schema] = {}
        self._by_schema: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def number(self, con: sqlite3.Connection, schema: pa.Schema) -> int:
        """Inside a write transaction: the schema's number, given now when it is new. A roll-back must be told to `forget`."""
        key = schema.serialize().to_pybytes()
        with self._lock:
            if key not in self._by_schema:
                row = con.execute("select id from layout where body = ?", (key,)).fetchone()
                found = row[0] if row else con.execute("insert into layout(body) values (?)", (key,)).lastrowid or 0
                self._by_schema[key] = int(found)
            return self._by_schema[key]

    def schema(self, con: sqlite3.Connection, number: int) -> pa.Schema:
        with self._lock:
            if number not in self._by_id:
                body = con.execute("select body from layout where id = ?", (number,)).fetchone()[0]
                self._by_id[number] = pa.ipc.read_schema(pa.py_buffer(body))
            return self._by_id[number]

    def forget(self) -> None:
        with self._lock:
            self._by_schema.clear()


def pack(batch: pa.RecordBatch) -> bytes:
    """The columns as one IPC message."""
    return batch.serialize().to_pybytes()


def unpack(data: bytes, schema: pa.Schema, start: int, appended_us: int, skip: int, rows: int) -> pa.RecordBatch:
    """`rows` records after the first `skip`, with `_arrived_at` and `_offset` last; nothing is copied but these two."""
    batch = pa.ipc.read_record_batch(pa.py_buffer(data), schema).slice(skip, rows)
    columns, names = list(batch.columns), list(schema.names)
    if ARRIVED_AT not in names:
        columns.append(pa.repeat(pa.scalar(appended_us, TIMESTAMP), rows))
        names.append(ARRIVED_AT)
    else:
        at = names.index(ARRIVED_AT)
        columns.append(columns.pop(at))
        names.append(names.pop(at))
    columns.append(pa.array(np.arange(start + skip, start + skip + rows, dtype=np.int64)))
    return pa.record_batch(columns, names=[*names, OFFSET])
