"""The log port: events in order, kept, read again. `contract.py` proves what is promised here.

Events travel as Arrow record batches: the payload columns of the event's schema, `_event_id` (string, may be absent)
and, when history is loaded, `_arrived_at` (which then replaces the log's stamp). A record that its source could not
decode travels as columns `RAW` under schema id 0 and ends in the dead-letter table: nothing is dropped on the way.

An engine is constructed as `Engine(url: str, schemas: Schemas)`.
Helpers for engines: `log/framing.py`, `log/retention.py`, `log/schemas.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, runtime_checkable

import pyarrow as pa

from millstream.base.errors import MillstreamError

RAW_SCHEMA_ID = 0
RAW = pa.schema([pa.field("raw", pa.binary()), pa.field("error", pa.string()), pa.field("origin", pa.string())])
"""Columns of undecodable records: the bytes as found, why, and where (`data/x.csv:17`, `http`)."""


@dataclass(frozen=True)
class Topic:
    """A topic as it exists. `uuid` differs when one of the same name is created again."""

    name: str
    uuid: str
    partitions: int
    retention: timedelta | None = None


@dataclass(frozen=True)
class Append:
    """Rows for one partition, in order. `schema_id` is the writer's schema (0: RAW)."""

    topic: str
    partition: int
    schema_id: int
    rows: pa.RecordBatch


@dataclass(frozen=True)
class Range:
    """Where an append went: offsets [start, end) of a partition. Offsets inside may have holes, so count rows, not
    offsets.
    """

    topic: str
    partition: int
    start: int
    end: int


@dataclass(frozen=True)
class Ends:
    """A partition's readable part: offsets [low, high) have not been removed, and are committed.

    Attributes:
        held: How much is written beyond it and held back by an open transaction; who waits at `high` is not slow.
    """

    low: int
    high: int
    held: int = 0


@dataclass(frozen=True)
class Slice:
    """Consecutive records of one partition under one schema.

    Attributes:
        start: The reader's position before it.
        end: The reader's position after it (passes holes; never last offset + 1 by rule).
        rows: Payload columns as they were written, then `_event_id` (NULL where none was given), `_arrived_at`,
            `_offset`; RAW's columns with `_arrived_at` and `_offset` for schema id 0. May have no rows where only holes
            were passed.
    """

    topic: str
    partition: int
    start: int
    end: int
    schema_id: int
    rows: pa.RecordBatch


class Writer(Protocol):
    """A fenced writer of one split: data and the source's position in one transaction."""

    @property
    def position(self) -> str | None:
        """The last committed position of the split, None at its beginning. Read after the predecessor was fenced."""
        ...

    def commit(self, appends: Sequence[Append], position: str) -> list[Range]:
        """All appends (of any topics) and the position, or nothing. Durable on return. No appends: the position alone.

        Raises:
            Fenced: A newer writer of this split exists; nothing was written, and this object is of no further use.
            Full, Busy: Nothing was written; the same call may be tried again.
            Unreachable: Whether it was written is not known; the split must be taken over again to see.
        """
        ...

    def close(self) -> None:
        """Let go without fencing anybody."""
        ...


class Reader(Protocol):
    """Reads partitions of one topic, committed records only, each partition in order."""

    def poll(self, max_rows: int, timeout: timedelta) -> list[Slice]:
        """The next records, at least one slice when any are there; waits up to `timeout` for the first.

        Slices of one partition come in order and abut. May return a little more than `max_rows` (whole stored batches
        are cut, so never more than one schema's run). Empty after the timeout.

        Raises:
            Truncated: The position lies before the log's start (retention passed it) or after its end.
            Recreated: The topic is not the one this reader was opened on.
        """
        ...

    def seek(self, partition: int, offset: int) -> None:
        """Read this partition from here next; a partition not read so far is added."""
        ...

    def drop(self, partition: int) -> None:
        """Stop reading this partition."""
        ...

    def position(self, partition: int) -> int:
        """The offset that will be read next; it passes holes."""
        ...

    def close(self) -> None: ...


class Share(Protocol):
    """One member's part of a topic, among the members of a group: a hint about who reads what, never a proof."""

    def partitions(self) -> frozenset[int]:
        """What this member should read now. Call it at least every third of the session; it keeps the
        membership alive.
        """
        ...

    def leave(self) -> None: ...


class Log(Protocol):
    """Topics of one cluster or file. Safe for several threads and processes."""

    def create(self, name: str, *, partitions: int, retention: timedelta | None = None) -> Topic:
        """The topic, made when it is not there. One that exists, with as many partitions, keeps its records and takes
        the retention said last.

        Raises:
            Conflict: It exists with another number of partitions.
        """
        ...

    def topic(self, name: str) -> Topic | None: ...

    def topics(self) -> list[Topic]: ...

    def delete(self, name: str) -> None:
        """Remove the topic and its records; absent is fine."""
        ...

    def append(self, appends: Sequence[Append]) -> list[Range]:
        """Write without a source position (a collector, an endpoint): at least once under the caller's retry.

        Durable on return in the engine's own sense (embedded: fsynced by a group commit; Kafka: acks=all). All of the
        call or nothing, embedded; per partition on Kafka.

        Raises:
            Full: Below the free-space floor.
            Busy: The lock did not come free in time.
        """
        ...

    def writer(self, split: str) -> Writer:
        """Take a split over: fences its earlier writer, then reads its position."""
        ...

    def position(self, split: str) -> str | None:
        """The committed position of a split, without taking it over."""
        ...

    def positions(self, prefix: str = "") -> Mapping[str, str]:
        """Committed positions of all splits whose name begins with `prefix`."""
        ...

    def reader(self, topic: str, positions: Mapping[int, int]) -> Reader:
        """Read these partitions from these offsets.

        Raises:
            NotFound: There is no such topic.
        """
        ...

    def ends(self, topic: str) -> dict[int, Ends]:
        """Each partition's readable range now.

        Raises:
            NotFound: There is no such topic.
        """
        ...

    def newest(self, topic: str) -> int | None:
        """When the newest append to the topic was made, by the log's own stamp, in microseconds since 1970 UTC; None
        where no record is left.

        An arrival time that records bring along does not count.

        Raises:
            NotFound: There is no such topic.
        """
        ...

    def share(self, topic: str, group: str, member: str) -> Share:
        """Join a group of readers of a topic."""
        ...

    def retain(self, topic: str, *, before: Mapping[int, int], reader: str = "lake", uuid: str | None = None) -> None:
        """This reader has the records below these offsets: they may be removed when retention wants them to be
        (`retention.py`).

        The slowest reader decides. "lake" is one from the moment that the topic exists, with mark 0 until it says
        otherwise. A mark may move back: what has not been removed by then stays. An empty mapping forgets the reader;
        of "lake" it sets the marks to 0.

        Args:
            uuid: Of the topic that the reader has read; None: whichever has the name now.

        Raises:
            NotFound: There is no such topic.
            Recreated: The topic of this name is another one; its marks are left as they are.
        """
        ...

    def maintain(self) -> None:
        """Do what is due: retention in small steps, joining of small batches. Call it now and then from one process."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class OnDisk(Protocol):
    """A log whose disk may refuse a write: full, over a quota, read-only."""

    def refuses(self) -> MillstreamError | None:
        """Why no append is taken now; None when one is. It tries by itself whether the disk takes writes again."""
        ...


@runtime_checkable
class OnKafka(Protocol):
    """A log whose topics are topics of Kafka, in Confluent's framing (`framing.py`): another engine may read them by a
    client of its own.
    """

    def java_settings(self) -> Mapping[str, str]:
        """What Kafka's own (Java) consumer needs: brokers, security, committed records only. Holds a password, where
        there is one.

        Raises:
            ConfigError: The URL has a setting that the Java client has no equal of.
        """
        ...


class Schemas(Protocol):
    """Avro schemas by subject, as JSON texts. Ids begin at 1 and are never used again. Engine: `Engine(url: str)`."""

    def register(self, subject: str, schema: str, compatibility: str = "backward") -> int:
        """The schema's id; the same schema under the same subject gets the same id.

        Raises:
            Incompatible: It breaks the rule against the latest version (all versions, for `_transitive`).
        """
        ...

    def schema(self, schema_id: int) -> str:
        """Raises NotFound."""
        ...

    def versions(self, subject: str) -> list[int]:
        """Ids in order of registration; empty for an unknown subject."""
        ...
