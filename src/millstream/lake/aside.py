"""One record set aside by an operator: dead, though `judge` passes it.

For a record that stops its stream because of a fault of ours: what passes `judge` and cannot be written. Its letter goes to the dead letters, where
recorded verdicts stand; then a ruling says so, so that every sink judges again and features that may have counted the record are filled again.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pyarrow as pa

from millstream.declare.errors import Conflict, Damaged, NotFound, UsageError
from millstream.declare.event import ARRIVED_AT, ENVELOPE, EVENT_ID, OFFSET, PARTITION
from millstream.declare.stream import Stream
from millstream.lake.dead import DEAD, SET_ASIDE, Quarantine
from millstream.lake.judge import table_schema
from millstream.lake.port import Tables
from millstream.lake.positions import app_id, stored
from millstream.lake.ruling import Rule, current, moves, told
from millstream.log.port import RAW, Log, Topic

_TRIES = 20


def set_aside(log: Log, lake: Tables, stream: Stream[Any], partition: int, offset: int) -> None:
    """Make the record a dead letter; again is fine.

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
        if offset < stored(table, topic, partition):
            raise UsageError(
                f'record {partition}:{offset} of "{stream.name}" is not what the stream waits for: the table stands at {stored(table, topic, partition)}'
            )
        try:
            _bury(log, lake, stream, topic, partition, offset)
            rule, ruling = Rule.of(stream), current(table, topic.uuid)
            said = told(ruling.number + 1, rule, table, topic, f"record {partition}:{offset} was set aside")
            table.land([], txns=moves(table, topic, rule.fingerprint, ruling.amended + 1), metadata={"by": "ruling", "topic": topic.uuid, "ruling": said})
            return
        except Conflict:  # a sink committed: look again
            continue
    raise Conflict(f'stream "{stream.name}": other commits never left a gap to set the record aside in; try again')


def _bury(log: Log, lake: Tables, stream: Stream[Any], topic: Topic, partition: int, offset: int) -> None:
    dead, app = Quarantine(lake, stream.name, topic.uuid), app_id(topic, partition)
    if len(dead.recorded(app, partition, offset, offset + 1)):
        return
    stood = dead.position(app)
    letter = _letter(log, topic, partition, offset, Rule.of(stream))
    dead.land([letter], {app: (stood, offset + 1)}, {"by": "operator", "topic": topic.uuid, "record": f"{partition}:{offset}"})


def _letter(log: Log, topic: Topic, partition: int, offset: int, rule: Rule) -> pa.RecordBatch:
    reader = log.reader(topic.name, {partition: offset})
    try:
        pieces = reader.poll(1, timedelta(seconds=10))
    except Damaged:
        pieces = []
    finally:
        reader.close()
    rows = pieces[0].rows.slice(0, 1) if pieces else None
    if rows is None or not rows.num_rows or rows.column(OFFSET)[0].as_py() != offset:
        raise NotFound(f'offset {partition}:{offset} of "{topic.name}" holds no record that can be read')
    raw, origin = (rows.column("raw")[0].as_py(), rows.column("origin")[0].as_py()) if set(RAW.names) <= set(rows.schema.names) else (_text(rows), None)
    event_id = rows.column(EVENT_ID).cast(pa.string()) if EVENT_ID in rows.schema.names else pa.nulls(1, pa.string())
    columns = {"error": pa.array([SET_ASIDE]), "raw": pa.array([raw], pa.binary()), "origin": pa.array([origin], pa.string()), "topic": pa.array([topic.uuid]),
               EVENT_ID: event_id, ARRIVED_AT: rows.column(ARRIVED_AT), PARTITION: pa.array([partition], ENVELOPE[PARTITION]), OFFSET: rows.column(OFFSET),
               "rule": pa.array([rule.fingerprint], pa.int64())}  # fmt: skip
    return pa.RecordBatch.from_arrays([columns[name] for name in DEAD.names], schema=DEAD)


def _text(rows: pa.RecordBatch) -> bytes:
    """The record as JSON, each value as text where it is none of JSON's: whatever is wrong with it must not stop this too."""
    found = {}
    for name in (name for name in rows.schema.names if name not in (ARRIVED_AT, OFFSET)):
        try:
            value = rows.column(name)[0].as_py()
        except (ValueError, OverflowError, UnicodeDecodeError, pa.ArrowException) as error:
            value = f"unreadable: {error}"
        found[name] = value if value is None or isinstance(value, bool | int | float | str) else str(value)
    return json.dumps(found, ensure_ascii=True).encode()
