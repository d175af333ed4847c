"""How records get to Kafka: rows encoded a batch at a time, and an idempotent producer whose acknowledgements are
counted.

`produce` is called once a record: `produce_batch` knows no headers, and takes twice the time (measured, confluent-kafka
2.16).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from millstream.base.errors import Full, MillstreamError, NotFound, UsageError
from millstream.engines.kafka.address import Address
from millstream.engines.kafka.collecting import no_collection
from millstream.engines.kafka.errors import Faults, cause, error_of, mapped
from millstream.engines.kafka.topics import Topics
from millstream.log.framing import Headers, Texts, framed, headers
from millstream.log.port import Append, Range

DELIVERY_S = 30.0
"""How long an append is tried again; a partition's leader is elected anew in 3 to 10 s."""
PATIENCE_S = 3.0
"""Before what the client says beside its acknowledgements is listened to."""
RECORD_OVERHEAD = 1_024
"""What a record takes beside its value, headers included; a batch of one must still fit."""
_PRODUCER = {
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 2,
    "batch.size": 1_000_000,
    "batch.num.messages": 100_000,
    "compression.type": "lz4",
    "topic.metadata.propagation.max.ms": 5_000,
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 512 << 10,
}
Told = Callable[[KafkaError | None, Message], None]


@dataclass(frozen=True)
class Prepared:
    """An append, encoded."""

    topic: str
    partition: int
    values: Sequence[bytes]
    headers: Sequence[Headers] | None


class Encoder:
    """Appends as records, refused before the first is sent where one of them cannot be."""

    def __init__(self, address: Address, topics: Topics, texts: Texts) -> None:
        self._address, self._topics, self._texts = address, topics, texts
        self._partitions: dict[str, int] = {}

    def prepare(self, appends: Sequence[Append]) -> list[Prepared]:
        """Those that have rows.

        Raises:
            NotFound: There is no such topic or partition.
            UsageError: Rows that do not fit their schema, or a record that is too large.
        """
        return [self._prepared(append) for append in appends if self._known(append) and append.rows.num_rows]

    def _known(self, append: Append) -> bool:
        if append.partition >= self._partitions.get(append.topic, 0):
            self._partitions[append.topic] = len(self._topics.known(append.topic).partitions)
        if not 0 <= append.partition < self._partitions[append.topic]:
            raise NotFound(
                f'topic "{append.topic}" has partitions 0 to {self._partitions[append.topic] - 1}, and no'
                f" {append.partition}"
            )
        return True

    def _prepared(self, append: Append) -> Prepared:
        values = framed(append.rows, append.schema_id, self._texts[append.schema_id])
        largest, limit = max(map(len, values)), self._address.max_message_bytes - RECORD_OVERHEAD
        if largest > limit:
            raise UsageError(
                f'topic "{append.topic}": a record of {largest:,} bytes is larger than the {limit:,} that one may have;'
                " raise max_message_bytes in the URL of `log`, and max.message.bytes of the topic"
            )
        with no_collection():
            return Prepared(append.topic, append.partition, values, headers(append.rows))

    def forget(self, topic: str) -> None:
        """It may have other partitions now, or none."""
        self._partitions.pop(topic, None)


def producer(address: Address, faults: Faults, more: dict[str, Any]) -> Producer:
    with mapped(f"Kafka at {address.brokers}"):
        return Producer(
            address.config({**_PRODUCER, "message.max.bytes": address.max_message_bytes, "error_cb": faults, **more})
        )


def produce(to: Producer, one: Prepared, hear: Told, wait: Callable[[], None], *, ends_only: bool = False) -> None:
    """Hand all records of an append to the client.

    Args:
        hear: Called with each record's acknowledgement or failure.
        wait: Called while the client's queue is full.
        ends_only: Tell of the first and the last record only; each acknowledgement that is reported takes half a
            microsecond.
    """
    send, last = to.produce, len(one.values) - 1
    for at, (value, envelope) in enumerate(zip(one.values, one.headers or repeat(None), strict=False)):
        tell = hear if not ends_only or at in (0, last) else None
        while True:
            try:
                send(one.topic, value, None, one.partition, tell, headers=envelope)
                break
            except BufferError:
                wait()


class Ticket:
    """An append that waits for its acknowledgements; they are reported by one thread, in the order of the records."""

    def __init__(self, one: Prepared) -> None:
        self.topic, self.partition = one.topic, one.partition
        self.done = threading.Event()
        self.error: KafkaError | None = None
        self._left = len(one.values)
        self._first: Message | None = None
        self._last: Message | None = None

    def heard(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._first = message if self._first is None else self._first  # `or` would ask each message for its length
            self._last = message
        else:
            self.error = self.error or error
        self._left -= 1
        if not self._left:
            self.done.set()

    def range(self) -> Range:
        assert self._first is not None and self._last is not None
        return Range(self.topic, self.partition, int(self._first.offset() or 0), int(self._last.offset() or 0) + 1)


class Sender:
    """Appends of all threads through one idempotent producer; a thread of its own hears the acknowledgements."""

    def __init__(self, address: Address, encoder: Encoder) -> None:
        self._what, self._encoder = f"Kafka at {address.brokers}", encoder
        self._faults = Faults(self._what)
        self._producer = producer(address, self._faults, {"message.timeout.ms": int(DELIVERY_S * 1000)})
        self._closed = threading.Event()
        self._listener = threading.Thread(target=self._listen, name="millstream-kafka-acks", daemon=True)
        self._listener.start()

    def append(self, appends: Sequence[Append]) -> list[Range]:
        prepared = self._encoder.prepare(appends)
        tickets = [Ticket(one) for one in prepared]
        with mapped(self._what):
            for ticket, one in zip(tickets, prepared, strict=True):
                produce(self._producer, one, ticket.heard, self._wait)
        for ticket in tickets:
            self._hear(ticket)
        return [ticket.range() for ticket in tickets]

    def _hear(self, ticket: Ticket) -> None:
        began = time.monotonic()
        while not ticket.done.wait(0.5):
            if time.monotonic() - began > PATIENCE_S:
                self._faults.check()
            if time.monotonic() - began > 2 * DELIVERY_S:
                raise self._wrong(ticket, KafkaError(KafkaError._MSG_TIMED_OUT))
        if ticket.error is not None:
            raise self._wrong(ticket, ticket.error)

    @property
    def dead(self) -> bool:
        """Whether only another one will send again."""
        return self._faults.final() is not None

    def _wrong(self, ticket: Ticket, error: KafkaError) -> MillstreamError:
        self._encoder.forget(ticket.topic)
        return self._faults.final() or error_of(
            error, f'topic "{ticket.topic}", partition {ticket.partition}, of {self._what}'
        )

    def _wait(self) -> None:
        self._faults.check()
        if self._closed.is_set():
            raise Full(f"{self._what}: the log was closed")
        time.sleep(0.01)

    def _listen(self) -> None:
        while not self._closed.is_set():
            try:
                self._producer.poll(0.2)
            except (KafkaException, SystemError) as error:  # a fatal one; who waits will find it
                self._faults(cause(error).args[0])
                time.sleep(0.2)

    def close(self) -> None:
        self._closed.set()
        self._listener.join()
        self._producer.close()
