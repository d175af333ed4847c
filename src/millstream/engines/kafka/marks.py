"""Up to where each reader has the records of a topic: the committed offsets of a consumer group for each reader.

Kafka's own tools show them, and how far each is behind. The topic's uuid is in the group's name, so that a topic that
was deleted and made again begins at 0. Brokers forget the offsets of a group in which nothing was committed for
`offsets.retention.minutes` (7 days): then the mark is 0, and nothing is removed until the sink writes it again. Every
mark is written as it is said, also one that this process said before: another process may have moved it up since.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, TopicPartition
from confluent_kafka.admin import TopicDescription

from millstream.base.errors import Terminal, Unreachable, UsageError
from millstream.engines.kafka import topics
from millstream.engines.kafka.errors import code_of, error_of
from millstream.engines.kafka.topics import Topics, uuid_of
from millstream.log.retention import LAKE

PREFIX = "millstream.mark."
PATIENCE_S = 15.0
"""So long the brokers may take to say which of them keeps a group: the first group of a cluster makes the topic that
groups are kept in.
"""
T = TypeVar("T")


def group_of(reader: str, uuid: str) -> str:
    """
    >>> group_of("lake", "xJ3a")
    'millstream.mark.lake.xJ3a'
    """
    return f"{PREFIX}{reader}.{uuid}"


def reader_of(group: str, uuid: str) -> str | None:
    """The reader of this topic whose group it is.

    >>> reader_of("millstream.mark.lake.xJ3a", "xJ3a")
    'lake'
    >>> reader_of("millstream.mark.lake.other", "xJ3a"), reader_of("orders.sink", "xJ3a")
    (None, None)
    """
    tail = f".{uuid}"
    return group[len(PREFIX) : -len(tail)] if group.startswith(PREFIX) and group.endswith(tail) else None


class Marks:
    """The marks of all readers."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    def write(self, topic: TopicDescription, reader: str, before: Mapping[int, int]) -> None:
        """The newest write counts, down too. Durable on return."""
        if any(offset < 0 for offset in before.values()):
            raise UsageError(f'topic "{topic.name}": no mark is below 0; it was {dict(before)}')
        group = group_of(reader, uuid_of(topic))
        places = [TopicPartition(topic.name, partition, offset) for partition, offset in before.items()]
        asked = [ConsumerGroupTopicPartitions(group, places)]
        what = f'group "{group}"'

        def ask() -> None:
            _checked(
                self._topics.call(
                    lambda admin: admin.alter_consumer_group_offsets(asked, request_timeout=topics.REQUEST_S)[group],
                    what,
                ),
                what,
            )

        _patiently(ask)

    def forget(self, topic: TopicDescription, reader: str) -> None:
        """It is not a reader any more; the lake always is one, and has nothing then."""
        if reader == LAKE:
            self.write(topic, reader, {p.id: 0 for p in topic.partitions})
            return
        group = group_of(reader, uuid_of(topic))
        try:
            _patiently(
                lambda: self._topics.call(
                    lambda admin: admin.delete_consumer_groups([group], request_timeout=topics.REQUEST_S)[group],
                    f'group "{group}"',
                )
            )
        except Terminal as error:
            if code_of(error) != KafkaError.GROUP_ID_NOT_FOUND:
                raise

    def read(self, topic: TopicDescription) -> dict[int, dict[str, int]]:
        """Partition -> reader -> mark, as they are now. A reader that has said nothing of a partition has nothing of
        it.

        Raises:
            Unreachable: A broker did not say which groups it keeps: one of them may be a reader.
        """
        uuid = uuid_of(topic)
        listed = _patiently(
            lambda: self._topics.call(
                lambda admin: admin.list_consumer_groups(request_timeout=topics.REQUEST_S), "the list of groups"
            )
        )
        if listed.errors:
            raise Unreachable(f"the list of groups: {listed.errors[0]}")
        readers = {reader for group in listed.valid if (reader := reader_of(group.group_id, uuid)) is not None}
        found: dict[int, dict[str, int]] = {p.id: {LAKE: 0} for p in topic.partitions}
        for reader in readers:
            for place in self._offsets(topic, group_of(reader, uuid)):
                found[place.partition][reader] = max(0, place.offset)  # a negative offset stands for none
        return found

    def _offsets(self, topic: TopicDescription, group: str) -> list[TopicPartition]:
        asked = [ConsumerGroupTopicPartitions(group, [TopicPartition(topic.name, p.id) for p in topic.partitions])]
        what = f'group "{group}"'
        return _patiently(
            lambda: _checked(
                self._topics.call(
                    lambda admin: admin.list_consumer_group_offsets(asked, request_timeout=topics.REQUEST_S)[group],
                    what,
                ),
                what,
            )
        )


def _checked(answer: ConsumerGroupTopicPartitions, what: str) -> list[TopicPartition]:
    places = list(answer.topic_partitions or [])
    for place in places:
        if place.error is not None:
            raise error_of(place.error, what)
    return places


def _patiently(ask: Callable[[], T]) -> T:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except Unreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
