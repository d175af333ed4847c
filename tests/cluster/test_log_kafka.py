"""Kafka passes the suite of the log, and keeps what only it promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from millstream.engines.kafka.log import KafkaLog
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.log.contract import SCHEMA, LogContract
from millstream.log.port import Log


def emptied(url: str) -> None:
    """A cluster without topics, positions included."""
    log = KafkaLog(url, SqliteSchemas(":memory:"))
    for topic in [*log.topics(), log._topics.topic(log.address.positions)]:
        if topic is not None:
            log.delete(topic.name)
    log.close()


class OnKafka:
    """`log`, `schema_id` and `again` on an emptied cluster."""

    @pytest.fixture
    def log(self, kafka: str, tmp_path: Path) -> Iterator[Log]:
        emptied(kafka)
        self.url, self.schemas = kafka, SqliteSchemas(f"sqlite:{tmp_path}/schemas.db")
        self.opened = [KafkaLog(kafka, self.schemas)]
        yield self.opened[0]
        for log in self.opened:
            log.close()

    @pytest.fixture
    def schema_id(self, log: Log) -> int:
        return self.schemas.register("t", SCHEMA)

    def again(self, log: Log) -> KafkaLog:
        self.opened.append(KafkaLog(self.url, self.schemas))
        return self.opened[-1]

    def by_hand(self, *values: bytes | None, headers: dict[str, bytes] | None = None, **config: object) -> None:
        """Records of a producer that is not Millstream's."""
        producer = Producer({"bootstrap.servers": self.url.removeprefix("kafka://").partition("?")[0], **config})
        for value in values:
            producer.produce("t", value, partition=0, headers=headers)
        assert producer.flush(10) == 0


class TestKafkaLog(OnKafka, LogContract):
    """The suite."""
