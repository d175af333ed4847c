"""A stream bound to its topic and schema, and rows made into appends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pyarrow as pa

from millstream.base.errors import Incompatible
from millstream.base.event import ARRIVED_AT, ENVELOPE, EVENT_ID
from millstream.declare.stream import Stream
from millstream.log.avro import avro_schema
from millstream.log.avro_types import columns_of
from millstream.log.partition import partition
from millstream.log.port import RAW, RAW_SCHEMA_ID, Append, Log, Range, Schemas, Topic


@dataclass(frozen=True)
class Binding:
    """A stream, the topic that holds it, and the id its events are written under."""

    topic: Topic
    schema_id: int
    stream: Stream[Any]

    @property
    def schema(self) -> pa.Schema:
        """Columns of its rows: the payload, then `_event_id` and `_arrived_at`, which may be absent."""
        return self.stream.schema.arrow()


def topic_of(log: Log, schemas: Schemas, stream: Stream[Any]) -> Binding:
    """The stream's topic, made when it is not there, and its event class registered under its contract.

    Raises:
        Incompatible: The class breaks the stream's contract with what is in the log, or a field has another type than
            it had.
        Conflict: The topic has another number of partitions.
    """
    kept = None if stream.retention_us is None else timedelta(microseconds=stream.retention_us)
    text = avro_schema(stream.schema)
    _keep_types(stream.name, text, [schemas.schema(schema_id) for schema_id in schemas.versions(stream.name)])
    schema_id = schemas.register(stream.name, text, stream.contract)
    return Binding(log.create(stream.name, partitions=stream.partitions, retention=kept), schema_id, stream)


def _keep_types(subject: str, text: str, olds: Sequence[str]) -> None:
    """A column of a lake table keeps its type, whatever Avro would promote, and its letter case, since columns are told
    apart without it: records that cannot land must not reach the log.
    """
    types = {column.name: column.arrow for column in columns_of(text)}
    held = {name.lower(): name for name in ENVELOPE}
    for old in olds:
        held = {
            column.name.lower(): column.name for column in columns_of(old)
        } | held  # the first to be there gave the column its name
    for name in types:
        twin = held.setdefault(name.lower(), name)
        if twin != name:
            raise Incompatible(
                f'"{subject}": the field {name} differs by letter case only from {twin}, which the table has as a'
                f" column. Keep the name {twin}, choose a name that differs by more, or declare a new stream"
            )
    for column in (column for old in olds for column in columns_of(old)):
        now = types.get(column.name, column.arrow)
        if now != column.arrow:
            raise Incompatible(
                f'"{subject}": the field {column.name} was {column.arrow} and would be {now}, but a column of a table'
                f" keeps its type. Add a field beside it, fill both, and drop {column.name} later; or declare a new"
                " stream"
            )


def split_appends(binding: Binding, rows: pa.RecordBatch) -> list[Append]:
    """Rows as appends, one a partition, by the stream's key; without a key, by `_event_id`."""
    key = binding.stream.key or (EVENT_ID,)
    parts = partition(rows, key, binding.topic.partitions)
    return [Append(binding.topic.name, p, binding.schema_id, part) for p, part in enumerate(parts) if part is not None]


def raw_appends(binding: Binding, bad: pa.RecordBatch) -> list[Append]:
    """Records that could not be read, as found; they end in the dead-letter table."""
    rows = bad.select(RAW.names)
    parts = partition(rows, ("origin",), binding.topic.partitions) if rows.num_rows else []
    return [Append(binding.topic.name, p, RAW_SCHEMA_ID, part) for p, part in enumerate(parts) if part is not None]


def publish(log: Log, binding: Binding, rows: pa.RecordBatch) -> list[Range]:
    """Partition and append, durably; at least once under the caller's retry."""
    return log.append(split_appends(binding, rows))


def payload(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The columns that an event class declares, without the envelope."""
    return rows.select([name for name in rows.schema.names if name not in ENVELOPE])


def arrived_us(rows: pa.RecordBatch) -> pa.Array:
    """Arrival times in microseconds."""
    return rows.column(ARRIVED_AT).cast(pa.int64())
