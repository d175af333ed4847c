"""Who reads which partitions: membership of a consumer group, whose consumer reads nothing. A hint, never a proof."""

from __future__ import annotations

import contextlib

from confluent_kafka import Consumer, KafkaException, TopicPartition

from millstream.base.errors import ConfigError
from millstream.engines.kafka.address import Address
from millstream.engines.kafka.errors import Faults, error_of, mapped
from millstream.log.port import Topic

SESSION_MS, SILENT_MS = 6_000, 60_000
"""Who is dead is left out after the first; who lives and asks for no partitions, after the second."""


class KafkaShare:
    """A member of a group of one topic."""

    def __init__(self, address: Address, topic: Topic, group: str, member: str) -> None:
        self._what = f'group "{group}" of topic "{topic.name}" on Kafka at {address.brokers}'
        self._faults = Faults(self._what)
        self._mine: set[int] = set()
        config = {
            "group.id": f"{topic.name}.{group}",
            "client.id": member,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": SESSION_MS,
            "heartbeat.interval.ms": SESSION_MS // 4,
            "max.poll.interval.ms": SILENT_MS,
            "enable.auto.commit": False,
            "auto.offset.reset": "latest",
            "fetch.message.max.bytes": 1024,
            "error_cb": self._faults,
        }
        with mapped(self._what):
            self._consumer = Consumer(address.config(config))
            self._consumer.subscribe(
                [topic.name], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
            )

    def partitions(self) -> frozenset[int]:
        with mapped(self._what):
            while (message := self._consumer.poll(0)) is not None:
                error = message.error()
                if error is not None and isinstance(found := error_of(error, self._what), ConfigError):
                    raise found
        return frozenset(self._mine)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign(partitions)
        consumer.pause(partitions)
        self._mine |= {place.partition for place in partitions}

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_unassign(partitions)
        self._mine -= {place.partition for place in partitions}

    def leave(self) -> None:
        self._mine.clear()
        with contextlib.suppress(KafkaException, RuntimeError):  # a second time is fine
            self._consumer.close()
