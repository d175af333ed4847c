"""Records that an operator set aside: dead, though `judge` passes them.

For a record that stops its stream because of a fault of ours: what passes `judge` and cannot be written. Which ones is
said in the stream's table, by an app id each, in a commit that is a ruling: it names every position, so a sink that has
judged the record otherwise cannot commit. From then on sinks bury the record without looking into it, and features that
may have counted it are filled again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millstream.base.errors import Conflict, NotFound, UsageError
from millstream.base.event import ARRIVED_AT, ENVELOPE, EVENT_ID, OFFSET, PARTITION
from millstream.declare.stream import Stream
from millstream.lake.dead import DEAD, SET_ASIDE
from millstream.lake.judge import table_schema
from millstream.lake.port import Table, Tables
from millstream.lake.positions import stored
from millstream.lake.ruling import Rule, current, moves, record_of
from millstream.log.port import RAW, Log, Slice, Topic

APP = "millstream-aside/"
"""`millstream-aside/<topic uuid>/<partition>/<offset>` -> 1."""
_TRIES = 20
Ints = np.ndarray[Any, np.dtype[np.int64]]


def set_aside(log: Log, lake: Tables, stream: Stream[Any], partition: int, offset: int) -> None:
    """Have the record become a dead letter; again is fine.

    Raises:
        NotFound: There is no such record in the log.
        UsageError: It is behind the table's position: what became of it is recorded already.
        Conflict: Sinks never left a gap to record it in.
    """
    topic = log.topic(stream.name)
    if topic is None:
        raise NotFound(f'stream "{stream.name}" has no topic in the log; nothing was ever sent')
    ends = log.ends(stream.name).get(partition)
    if ends is None or not ends.low <= offset < ends.high:
        has = "no such partition" if ends is None else f"offsets [{ends.low}, {ends.high})"
        raise NotFound(f'stream "{stream.name}" has no record {partition}:{offset} in the log; it has {has}')
    for _ in range(_TRIES):
        table = lake.table(stream.name) if lake.exists(stream.name) else lake.create(stream.name, table_schema(stream))
        at, app = stored(table, topic, partition), f"{APP}{topic.uuid}/{partition}/{offset}"
        if table.position(app):
            return
        if offset < at:
            raise UsageError(
                f'record {partition}:{offset} of "{stream.name}" is not one that the stream waits for: it has come to'
                f" {partition}:{at}"
            )
        rule, ruling = Rule.of(stream), current(table, topic.uuid)
        said = record_of(ruling.number + 1, rule, table, topic, f"record {partition}:{offset} was set aside")
        try:
            table.land(
                [],
                txns={**moves(table, topic, rule.fingerprint, ruling.amended + 1), app: (None, 1)},
                metadata={"by": "ruling", "topic": topic.uuid, "ruling": said},
            )
            return
        except Conflict:  # a sink committed: look again
            continue
    raise Conflict(f'stream "{stream.name}": other commits never left a gap to set the record aside in; try again')


def asides(table: Table, topic: Topic, partition: int) -> Ints:
    """Offsets of a partition that were set aside, ascending."""
    start = f"{APP}{topic.uuid}/{partition}/"
    return np.array(sorted(int(app.removeprefix(start)) for app in table.txns() if app.startswith(start)), np.int64)


def without(piece: Slice, offsets: Ints) -> tuple[Slice, pa.RecordBatch]:
    """The slice without these records, and them."""
    aside = np.isin(piece.rows.column(OFFSET).to_numpy(), offsets)
    if not aside.any():
        return piece, piece.rows.slice(0, 0)
    rest = piece.rows.filter(pa.array(~aside))
    return Slice(piece.topic, piece.partition, piece.start, piece.end, piece.schema_id, rest), piece.rows.filter(
        pa.array(aside)
    )


def letters(topic: str, partition: int, rows: pa.RecordBatch, rule: int) -> pa.RecordBatch:
    """Their dead letters, whatever is in them."""
    many = rows.num_rows
    if set(RAW.names) <= set(rows.schema.names):
        raw, origin = rows.column("raw"), rows.column("origin")
    else:
        raw, origin = pa.array([_text(rows, at) for at in range(many)], pa.binary()), pa.nulls(many, pa.string())
    ids = rows.column(EVENT_ID).cast(pa.string()) if EVENT_ID in rows.schema.names else pa.nulls(many, pa.string())
    columns = {
        "error": pa.array([SET_ASIDE] * many),
        "raw": raw,
        "origin": origin,
        "topic": pa.array([topic] * many, pa.string()),
        EVENT_ID: ids,
        ARRIVED_AT: rows.column(ARRIVED_AT),
        PARTITION: pa.array([partition] * many, ENVELOPE[PARTITION]),
        OFFSET: rows.column(OFFSET),
        "rule": pa.array([rule] * many, pa.int64()),
    }
    return pa.RecordBatch.from_arrays(
        [pc.cast(columns[name], DEAD.field(name).type) for name in DEAD.names], schema=DEAD
    )


def _text(rows: pa.RecordBatch, at: int) -> bytes:
    """The record as JSON, each value as text where it is none of JSON's: whatever is wrong with it must not stop this
    too.
    """
    names: Sequence[str] = [name for name in rows.schema.names if name not in (ARRIVED_AT, OFFSET)]
    found = {}
    for name in names:
        try:
            value = rows.column(name)[at].as_py()
        except (ValueError, OverflowError, UnicodeDecodeError, pa.ArrowException) as error:
            value = f"unreadable: {error}"
        found[name] = value if value is None or isinstance(value, bool | int | float | str) else str(value)
    return json.dumps(found, ensure_ascii=True).encode()
