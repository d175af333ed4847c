"""Apache Kafka, as the log: idempotent appends, transactions that hold a source's position, read-committed readers.

Brokers remove by age and know no readers, so they are told to remove nothing (`retention.ms=-1`): `maintain` deletes
what is old and below every reader's mark (`upkeep.py`, `marks.py`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import ClassVar

from millstream.base.errors import ConfigError, Conflict, UsageError
from millstream.engines.kafka.address import address_of
from millstream.engines.kafka.errors import denied
from millstream.engines.kafka.java import java_settings
from millstream.engines.kafka.marks import PREFIX, Marks
from millstream.engines.kafka.positions import Positions
from millstream.engines.kafka.reading import KafkaReader
from millstream.engines.kafka.sending import Encoder, Sender
from millstream.engines.kafka.sharing import KafkaShare
from millstream.engines.kafka.topics import Topics, kept, topic_of, uuid_of
from millstream.engines.kafka.upkeep import Upkeep
from millstream.engines.kafka.writing import KafkaWriter
from millstream.log.framing import Texts
from millstream.log.port import Append, Ends, Range, Schemas, Topic
from millstream.log.retention import same

log = logging.getLogger("millstream.kafka")
_STREAM = {"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"}


class KafkaLog:
    """The log of a cluster; see `address` for the URL."""

    GAPS: ClassVar[Mapping[str, str]] = {
        "offsets without holes": "the end of each transaction takes an offset of its own"
    }

    def __init__(self, url: str, schemas: Schemas) -> None:
        self.address = address_of(url)
        self._topics, self._texts = Topics(self.address), Texts(schemas)
        self._encoder = Encoder(self.address, self._topics, self._texts)
        self._positions, self._marks = Positions(self.address, self._topics), Marks(self._topics)
        self._upkeep, self._warned = Upkeep(self._topics, self._marks), False
        self._sender: Sender | None = None
        self._lock = threading.Lock()

    # topics

    def create(self, name: str, *, partitions: int, retention: timedelta | None = None) -> Topic:
        if partitions < 1:
            raise UsageError(f'topic "{name}" cannot have {partitions} partitions; at least 1')
        settings = {key: value for key, value in kept(retention).items() if value is not None}
        found, made = self._topics.create(name, partitions, {**_STREAM, **settings})
        if len(found.partitions) != partitions:
            raise Conflict(
                f'topic "{name}" has {len(found.partitions)} partitions, not {partitions}; its order and dedupe hang on'
                f" them: make a new topic, or say partitions={len(found.partitions)}"
            )
        if not made:
            self._topics.keep(name, retention)
        return topic_of(found, settings)

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

    def retain(self, topic: str, *, before: Mapping[int, int], reader: str = "lake", uuid: str | None = None) -> None:
        """Where the cluster does not let us keep marks, nothing of the topic is ever removed, which is said once."""
        found = self._topics.known(topic)
        same(topic, uuid_of(found), uuid)
        try:
            if before:
                self._marks.write(found, reader, before)
            else:
                self._marks.forget(found, reader)
        except ConfigError as error:
            if not denied(error):
                raise
            if not self._warned:
                log.warning(
                    "up to where the lake has a topic cannot be kept, so no record of it is ever removed; allow READ"
                    " and DELETE on groups that begin with %s: %s",
                    PREFIX,
                    error,
                )
            self._warned = True

    def maintain(self) -> None:
        self._upkeep.maintain()

    def close(self) -> None:
        if self._sender is not None:
            self._sender.close()
        self._positions.close()
        self._topics.close()
