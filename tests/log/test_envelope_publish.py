"""A stream's rows find their topic, their partitions and their schema."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from millstream.base.errors import Conflict, Incompatible
from millstream.base.event import EVENT_ID, EventTime, rows_to_arrow
from millstream.base.registry import engine
from millstream.declare.event import Event
from millstream.declare.stream import stream
from millstream.log.avro import arrow_schema, resolve
from millstream.log.contract import read
from millstream.log.envelope import arrived_us, payload, publish, raw_appends, topic_of
from millstream.log.port import RAW, RAW_SCHEMA_ID, Log, Schemas


class Seen(Event):
    """A bird."""

    who: str
    ts: EventTime


class SeenAt(Seen):
    """A bird at a place."""

    place: str | None = None


class SeenBy(Seen):
    """A bird, and nobody said who saw it before."""

    by: str


NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[tuple[Log, Schemas]]:
    url = f"sqlite:{tmp_path}/log.db"
    schemas: Schemas = engine("schemas", url)(url)
    log: Log = engine("log", url)(url, schemas)
    yield log, schemas
    log.close()


def test_rows_go_where_their_key_says(parts: tuple[Log, Schemas]) -> None:
    log, schemas = parts
    binding = topic_of(log, schemas, stream("seen", Seen, key="who", partitions=3, retention="7d"))
    assert (binding.topic.partitions, binding.topic.retention) == (3, timedelta(days=7))
    rows = rows_to_arrow(
        [Seen(who=f"bird {n % 7}", ts=NOW + timedelta(seconds=n)) for n in range(70)], binding.stream.schema
    )
    assert sum(r.end - r.start for r in publish(log, binding, rows)) == 70
    home: dict[str, int] = {}
    for piece in read(log.reader("seen", {0: 0, 1: 0, 2: 0}), 70):
        assert piece.schema_id == binding.schema_id and payload(piece.rows).schema.names == ["who", "ts"]
        times = payload(piece.rows).column("ts").to_pylist()
        assert times == sorted(times) and len(arrived_us(piece.rows)) == piece.rows.num_rows
        for who in piece.rows.column("who").to_pylist():
            assert home.setdefault(who, piece.partition) == piece.partition
    assert len(home) == 7 and len(set(home.values())) > 1


def test_bad_records_are_kept(parts: tuple[Log, Schemas]) -> None:
    log, schemas = parts
    binding = topic_of(log, schemas, stream("seen", Seen, key="who"))
    bad = pa.RecordBatch.from_pylist([{"raw": b"{", "error": "cut short", "origin": "http"}], RAW)
    log.append(raw_appends(binding, bad))
    (piece,) = read(log.reader("seen", dict.fromkeys(range(4), 0)), 1)
    assert piece.schema_id == RAW_SCHEMA_ID and piece.rows.select(RAW.names).equals(bad)


def test_a_class_that_grows_is_another_schema_and_one_that_breaks_is_refused(parts: tuple[Log, Schemas]) -> None:
    log, schemas = parts
    old = topic_of(log, schemas, stream("seen", Seen, key="who", partitions=1))
    publish(log, old, rows_to_arrow([Seen(who="a", ts=NOW)], old.stream.schema))
    new = topic_of(log, schemas, stream("seen", SeenAt, key="who", partitions=1))
    publish(log, new, rows_to_arrow([SeenAt(who="b", ts=NOW, place="here")], new.stream.schema))
    assert schemas.versions("seen") == [old.schema_id, new.schema_id] and old.topic.uuid == new.topic.uuid
    found: list[dict[str, Any]] = []
    for piece in read(log.reader("seen", {0: 0}), 2):
        rows = resolve(piece.rows, schemas.schema(piece.schema_id), schemas.schema(new.schema_id))
        assert (
            payload(rows).schema.names == arrow_schema(schemas.schema(new.schema_id)).names
            and EVENT_ID in rows.schema.names
        )
        found += payload(rows).to_pylist()
    assert [(r["who"], r["place"]) for r in found] == [("a", None), ("b", "here")]
    with pytest.raises(Incompatible, match="by is missing there and has no default"):
        topic_of(log, schemas, stream("seen", SeenBy, key="who", partitions=1))
    with pytest.raises(Conflict, match="1 partitions, not 2"):
        topic_of(log, schemas, stream("seen", SeenAt, key="who", partitions=2))


class Weighed(Seen):
    """A bird on scales that know whole grams."""

    grams: int | None = None


class WeighedFinely(Seen):
    """On better scales."""

    grams: float | None = None


def test_a_field_keeps_its_type(parts: tuple[Log, Schemas]) -> None:
    """Avro would read an int as a float; the table's column would not, so such records may not reach the log, under no
    contract.
    """
    log, schemas = parts
    binding = topic_of(log, schemas, stream("seen", Weighed, key="who"))
    with pytest.raises(Incompatible, match=r"grams was int64 and would be double.*beside it"):
        topic_of(log, schemas, stream("seen", WeighedFinely, key="who", contract="none"))
    assert topic_of(log, schemas, stream("seen", Weighed, key="who")).schema_id == binding.schema_id
    topic_of(log, schemas, stream("seen", Seen, key="who"))
    with pytest.raises(Incompatible, match="grams"):
        topic_of(log, schemas, stream("seen", WeighedFinely, key="who"))
