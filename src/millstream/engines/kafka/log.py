"""Apache Kafka, as the log: idempotent appends, transactions that hold a source's position, read-committed readers.

Retention is the broker's: it knows no readers, so `retain` and `maintain` have nothing to do here. A topic's retention must outlast the
longest time that its sinks may stand still; a sink that was overtaken says so (`Truncated`).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import ClassVar

from millstream.declare.errors import Conflict, UsageError
from millstream.engines.kafka.address import address_of
from millstream.engines.kafka.java import java_settings
from millstream.engines.kafka.positions import Positions
from millstream.engines.kafka.reading import KafkaReader
from millstream.engines.kafka.sending import Encoder, Sender
from millstream.engines.kafka.sharing import KafkaShare
from millstream.engines.kafka.topics import Topics, topic_of
from millstream.engines.kafka.writing import KafkaWriter
from millstream.log.framing import Texts
from millstream.log.port import Append, Ends, Range, Schemas, Topic

_STREAM = {"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"}


class KafkaLog:
    """The log of a cluster; see `address` for the URL."""

    GAPS: ClassVar[Mapping[str, str]] = {
        "offsets without holes": "the end of each transaction takes an offset of its own",
        "retention that waits for the slowest reader": "brokers remove by age and know no readers; a sink that was overtaken says so (`Truncated`)",
    }

    def __init__(self, url: str, schemas: Schemas) -> None:
        self.address = address_of(url)
        self._topics, self._texts = Topics(self.address), Texts(schemas)
        self._encoder = Encoder(self.address, self._topics, self._texts)
        self._positions = Positions(self.address, self._topics)
        self._sender: Sender | None = None
        self._lock = threading.Lock()

    # topics

    def create(self, name: str, *, partitions: int, retention: timedelta | None = None) -> Topic:
        if partitions < 1:
            raise UsageError(f'topic "{name}" cannot have {partitions} partitions; at least 1')
        kept = str(-1 if retention is None else retention // timedelta(milliseconds=1))
        found, made = self._topics.create(name, partitions, {**_STREAM, "retention.ms": kept})
        if len(found.partitions) != partitions:
            raise Conflict(f'topic "{name}" has {len(found.partitions)} partitions, not {partitions}; its order and dedupe hang on them: make a new topic, or say partitions={len(found.partitions)}')  # fmt: skip
        if not made:
            self._topics.keep(name, retention)
        return replace(topic_of(found, {}), retention=None if retention is None else timedelta(milliseconds=int(kept)))

    def topic(self, name: str) -> Topic | None:
        return self._topics.topic(name)

    def topics(self) -> list[Topic]:
        return self._topics.topics()

    def delete(self, name: str) -> None:
        self._topics.delete(name)
        self._encoder.forget(name)

    # records

    def append(self, appends: Sequence[Append]) -> list[Range]:
        with self._lock:
            if self._sender is not None and self._sender.dead:
                self._sender.close()
                self._sender = None
            self._sender = sender = self._sender or Sender(self.address, self._encoder)
        return sender.append(appends)

    def writer(self, split: str) -> KafkaWriter:
        return KafkaWriter(self.address, self._encoder, self._positions, split)

    def position(self, split: str) -> str | None:
        return self._positions.read().get(split)

    def positions(self, prefix: str = "") -> Mapping[str, str]:
        return {split: position for split, position in self._positions.read().items() if split.startswith(prefix)}

    def reader(self, topic: str, positions: Mapping[int, int]) -> KafkaReader:
        return KafkaReader(self.address, self._topics, self._texts, topic_of(self._topics.known(topic), {}), positions)

    def ends(self, topic: str) -> dict[int, Ends]:
        return self._topics.ends(topic, [p.id for p in self._topics.known(topic).partitions])

    def newest(self, topic: str) -> int | None:
        return self._topics.newest(topic, [p.id for p in self._topics.known(topic).partitions])

    def share(self, topic: str, group: str, member: str) -> KafkaShare:
        return KafkaShare(self.address, topic_of(self._topics.known(topic), {}), group, member)

    def java_settings(self) -> Mapping[str, str]:
        return java_settings(self.address)

    # upkeep

    def retain(self, topic: str, *, before: Mapping[int, int], reader: str = "lake") -> None:
        """The broker's retention knows no readers."""

    def maintain(self) -> None:
        """The broker does what is due."""

    def close(self) -> None:
        if self._sender is not None:
            self._sender.close()
        self._positions.close()
        self._topics.close()
