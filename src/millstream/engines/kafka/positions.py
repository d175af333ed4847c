"""The positions of splits: the newest record of each in a compacted topic, written in the transaction that it belongs
to.

A reader that is read-committed to the end sees an OLD position while any other split's transaction is open: the last
stable offset stops there (tried: 1 was read where 3 was committed). So the end is taken uncommitted first, and reading
continues until it is passed.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import OffsetSpec

from millstream.base.errors import Busy, ConfigError, Corrupt
from millstream.engines.kafka.address import Address
from millstream.engines.kafka.errors import error_of, mapped
from millstream.engines.kafka.reading import pull
from millstream.engines.kafka.topics import Topics, uuid_of

VERSION = 1
WAIT_S = 30.0
"""Longer than a dead writer's transaction can hold readers back: its timeout, and the broker's look every 10 s."""
_CONFIG = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.1",
    "segment.ms": "3600000",
    "segment.bytes": str(16 << 20),
}


def record(split: str, position: str) -> tuple[bytes, bytes]:
    """Key and value of a position.

    >>> record("files/a.csv", "line 3")
    (b'files/a.csv', b'{"version": 1, "position": "line 3"}')
    """
    return split.encode(), json.dumps({"version": VERSION, "position": position}).encode()


def read_record(key: bytes | None, value: bytes | None) -> tuple[str, str | None]:
    """Split and position; None where it was forgotten.

    Raises:
        Corrupt: It is not a position, or one of a newer Millstream.
    """
    try:
        split = (key or b"").decode()
        if value is None:
            return split, None
        found: Any = json.loads(value)
        version, position = found["version"], found["position"]
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"the position of {key!r} is not a record of Millstream's: {value!r}") from error
    if version != VERSION or not isinstance(position, str):
        raise Corrupt(
            f'the position of "{split}" was written by a newer Millstream (version {version}, this one reads'
            f" {VERSION}); use that version"
        )
    return split, position


class Positions:
    """Committed positions by split, kept in memory and read on from where they were read to. Safe for several
    threads.
    """

    def __init__(self, address: Address, topics: Topics) -> None:
        self.topic, self._address, self._topics = address.positions, address, topics
        self._lock = threading.Lock()
        self._consumer: Consumer | None = None
        self._uuid, self._at = "", 0
        self._found: dict[str, str] = {}

    def ensure(self) -> None:
        """Make the topic, or look whether it is one that positions can be trusted to."""
        found, made = self._topics.create(self.topic, 1, _CONFIG)
        if not made and len(found.partitions) != 1:
            raise ConfigError(
                f'topic "{self.topic}" has {len(found.partitions)} partitions; positions need one: name another,'
                " positions=NAME in the URL of `log`"
            )
        policy = self._topics.configs([self.topic])[self.topic].get("cleanup.policy")
        if policy != "compact":
            raise ConfigError(
                f'topic "{self.topic}" would forget positions (cleanup.policy={policy}); set cleanup.policy=compact'
            )

    def read(self) -> dict[str, str]:
        """All that are committed now.

        Raises:
            Busy: Another split's transaction has been open for too long.
        """
        with self._lock:
            found = self._topics.describe(self.topic)
            if found is None:
                return {}
            if uuid_of(found) != self._uuid:
                self._begin(uuid_of(found))
            end = self._topics.offsets(self.topic, [0], OffsetSpec.latest(), uncommitted=True)[0]
            self._catch_up(end)
            return dict(self._found)

    def _begin(self, uuid: str) -> None:
        if self._consumer is not None:
            self._consumer.close()
        config = {
            "group.id": "millstream.positions",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
        }
        self._consumer = Consumer(self._address.config(config))
        self._consumer.assign([TopicPartition(self.topic, 0, OFFSET_BEGINNING)])
        self._uuid, self._at, self._found = uuid, 0, {}

    def _catch_up(self, end: int) -> None:
        assert self._consumer is not None
        deadline = time.monotonic() + WAIT_S
        while self._at < end:
            if time.monotonic() > deadline:
                raise Busy(
                    f'positions in "{self.topic}" can be read to offset {self._at} of {end} only: a transaction has'
                    f" been open for {WAIT_S:.0f} s"
                )
            with mapped(f'topic "{self.topic}"'):
                messages = pull(self._consumer, 10_000, 0.05)
            for message in messages:
                self._take(message)

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is None:
            split, position = read_record(message.key(), message.value())
            self._found.pop(split, None)
            if position is not None:
                self._found[split] = position
            self._at = max(self._at, (message.offset() or 0) + 1)
        elif error.code() == KafkaError._PARTITION_EOF:
            self._at = max(self._at, message.offset() or 0)  # passes the markers of transactions
        elif not error.retriable():
            self._uuid = ""  # read it all again
            raise error_of(error, f'topic "{self.topic}"')

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
