"""Read-committed readers whose position passes holes: markers of transactions, aborted and compacted records."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import timedelta
from operator import itemgetter

import numpy as np
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import OffsetSpec

from millstream.base.errors import NotFound, Recreated, Transient, Truncated, Unreachable
from millstream.engines.kafka.address import Address
from millstream.engines.kafka.collecting import no_collection
from millstream.engines.kafka.errors import Faults, error_of, mapped
from millstream.engines.kafka.topics import Topics, uuid_of
from millstream.log.framing import Records, Texts, envelopes, holes, slices
from millstream.log.port import Slice, Topic

LOOK_S, IDLE_LOOK_S = 0.25, 1.0
"""How often, at most, a reader looks whether its topic is still the same: while records come, and while none do."""
AGREE_S = 1.0  # so long a broker may tell of a topic what is no longer so
STUCK_S = 30.0
"""So long may the broker withhold records that it says are there (a leader is being elected)."""
SILENT_POLLS, SILENT_S = 2, 1.0
AHEAD_ROWS = 10_000
_CONSUMER = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "check.crcs": True,
    "fetch.wait.max.ms": 100,
    "queued.min.messages": 200_000,
    "fetch.message.max.bytes": 8 << 20,
    "fetch.error.backoff.ms": 100,
}


class KafkaReader:
    """Reads partitions of one topic. Records are taken from the client as they come, decoded, and handed out in turns
    of partitions.
    """

    def __init__(
        self, address: Address, topics: Topics, texts: Texts, topic: Topic, positions: Mapping[int, int]
    ) -> None:
        self._topics, self._texts, self._topic = topics, texts, topic
        self._what = f'topic "{topic.name}" of Kafka at {address.brokers}'
        self._faults = Faults(self._what)
        with mapped(self._what):
            self._consumer = Consumer(
                address.config(
                    {
                        **_CONSUMER,
                        "group.id": f"millstream.{topic.name}",
                        "message.max.bytes": address.max_message_bytes,
                        "error_cb": self._faults,
                    }
                )
            )
        self._at: dict[int, int] = {}  # handed out to here
        self._read: dict[int, int] = {}  # taken from the client to here
        self._ahead: dict[int, deque[Slice]] = {}
        self._ended: set[int] = set()  # partitions whose end the client has seen since their last record
        self._looked = time.monotonic()
        self._silent: dict[int, int] = {}  # polls that brought others' records and nothing of this partition
        self._turn = 0
        for partition, offset in positions.items():
            self.seek(partition, offset)

    def poll(self, max_rows: int, timeout: timedelta) -> list[Slice]:
        max_rows = max(1, max_rows)
        deadline = time.monotonic() + timeout.total_seconds()
        stuck = max(deadline, time.monotonic() + STUCK_S)
        while self._at:
            ahead = sum(piece.rows.num_rows for pieces in self._ahead.values() for piece in pieces)
            if ahead < max_rows:
                left = 0.0 if ahead else max(0.0, min(IDLE_LOOK_S, deadline - time.monotonic()))
                self._take(max(max_rows, AHEAD_ROWS), left)
            self._wait_for_the_silent()
            if found := list(self._hand_out(max_rows)):
                self._same(LOOK_S)
                for piece in found:
                    self._at[piece.partition] = piece.end
                given = {piece.partition for piece in found}
                self._silent = {
                    p: 0 if p in given or p in self._ended else self._silent.get(p, 0) + 1 for p in self._at
                }
                return found
            self._same(IDLE_LOOK_S)
            if time.monotonic() < deadline:
                continue
            if not self._behind(timeout):
                return []
            if time.monotonic() > stuck:
                raise Unreachable(f"{self._what}: records are there and do not come; see the brokers' logs")
            self._take(AHEAD_ROWS, 0.1)
        time.sleep(max(0.0, timeout.total_seconds()))
        return []

    def _wait_for_the_silent(self) -> None:
        """A partition of which nothing is known, not even that it is at its end, is waited for a little before others
        are read on and on.
        """
        silent, until = {p for p, polls in self._silent.items() if polls >= SILENT_POLLS}, time.monotonic() + SILENT_S
        while time.monotonic() < until and any(
            not self._ahead[p] and p not in self._ended for p in silent & self._at.keys()
        ):
            self._take(AHEAD_ROWS, 0.05)

    # from the client

    def _take(self, most: int, timeout_s: float) -> None:
        """What the client has, decoded; the first is waited for. When it raises, the same is read again."""
        with mapped(self._what):
            taken = pull(self._consumer, most, timeout_s)
        if not taken:
            return
        try:
            with no_collection():
                events = list(filter(Message.error, taken))
                ends, found = (
                    self._events(events),
                    _by_partition([m for m in taken if m.error() is None] if events else taken),
                )
                del taken
            for partition, records in found:
                if partition in self._at:
                    self._keep(
                        partition, slices(self._texts, self._topic.name, partition, self._read[partition], records)
                    )
            for partition, end in ends.items():
                if partition in self._at and end > self._read[partition]:
                    self._pass(partition, end)
        except BaseException:
            for partition in self._at:
                self.seek(partition, self._at[partition])
            raise

    def _keep(self, partition: int, pieces: list[Slice]) -> None:
        self._ahead[partition].extend(pieces)
        self._read[partition] = pieces[-1].end
        self._ended.discard(partition)

    def _pass(self, partition: int, end: int) -> None:
        """Holes up to an end."""
        ahead = self._ahead[partition]
        last = ahead.pop() if ahead else holes(self._topic.name, partition, self._read[partition], end)
        ahead.append(Slice(last.topic, partition, last.start, end, last.schema_id, last.rows))
        self._read[partition] = end

    def _events(self, messages: list[Message]) -> dict[int, int]:
        """Ends of partitions by partition; what else the client has to say is raised."""
        ends: dict[int, int] = {}
        for message in messages:
            error, partition = message.error(), int(message.partition() if message.partition() is not None else -1)
            assert error is not None
            if error.code() == KafkaError._PARTITION_EOF:
                ends[partition] = int(message.offset() or 0)
                self._ended.add(partition)
            elif not error.retriable() or error.fatal():
                self._same(0.0, settle=True)
                found = error_of(error, f"{self._what}, partition {partition}")
                if isinstance(found, Truncated):
                    self._truncated(partition)
                elif not isinstance(found, Transient):
                    raise found
        return ends

    def _truncated(self, partition: int) -> None:
        """The broker refused an offset: raise, unless it is one that was left by a `seek` since."""
        at, end = self._read.get(partition, -1), self._topics.ends(self._topic.name, [partition])[partition]
        if partition in self._at and end.low <= at <= end.high:
            self.seek(partition, self._at[partition])
        elif partition in self._at:
            raise Truncated(
                f'topic "{self._topic.name}", partition {partition}: offset {at} is asked for, and the log holds'
                f" [{end.low}, {end.high}); to continue without records that are gone:  millstream ingest --accept-loss"
                f" {self._topic.name}"
            )

    # what is true of the topic

    def _same(self, every_s: float, *, settle: bool = False) -> None:
        """Raise where the topic is another one by now.

        A broker may be up to a second behind: what differs must continue to differ.

        Args:
            settle: Something was wrong with the topic, so what is the same must continue to be it, too.
        """
        now = time.monotonic()
        if now - self._looked < every_s:
            return
        while True:
            found = self._topics.describe(self._topic.name)
            same, late = found is not None and uuid_of(found) == self._topic.uuid, time.monotonic() - now >= AGREE_S
            if same and (late or not settle):
                self._looked = time.monotonic()
                return
            if late:
                again = "" if found is None else " and created again"
                raise Recreated(f'topic "{self._topic.name}" was deleted{again}; its positions mean nothing any more')
            time.sleep(0.05)

    def _behind(self, timeout: timedelta) -> bool:
        """Whether records are there that have not come. Where the client waits at the end of every partition, the
        broker would have told it.
        """
        if timeout and self._ended.issuperset(self._at):
            return False
        ends = self._topics.offsets(self._topic.name, list(self._at), OffsetSpec.latest())
        return any(self._read[partition] < end for partition, end in ends.items())

    # to the caller

    def _hand_out(self, max_rows: int) -> Iterator[Slice]:
        partitions, left = sorted(self._ahead), max_rows
        self._turn = (self._turn + 1) % max(1, len(partitions))
        for partition in partitions[self._turn :] + partitions[: self._turn]:
            ahead = self._ahead[partition]
            while ahead and (left > 0 or not ahead[0].rows.num_rows):
                piece = ahead.popleft()
                if piece.rows.num_rows > left:
                    piece, rest = _cut(piece, left)
                    ahead.appendleft(rest)
                left -= piece.rows.num_rows
                yield piece

    def seek(self, partition: int, offset: int) -> None:
        if not 0 <= partition < self._topic.partitions:
            raise NotFound(
                f'topic "{self._topic.name}" has partitions 0 to {self._topic.partitions - 1}, and no {partition}'
            )
        place = [TopicPartition(self._topic.name, partition, offset)]
        with mapped(self._what):
            if partition in self._at:
                self._consumer.incremental_unassign(place)  # so that nothing fetched before is handed out any more
            self._consumer.incremental_assign(place)
        self._at[partition] = self._read[partition] = offset
        self._ahead[partition] = deque()
        self._ended.discard(partition)

    def drop(self, partition: int) -> None:
        if partition in self._at:
            with mapped(self._what):
                self._consumer.incremental_unassign([TopicPartition(self._topic.name, partition)])
            for held in (self._at, self._read, self._ahead):
                held.pop(partition)
            self._ended.discard(partition)

    def position(self, partition: int) -> int:
        return self._at[partition]

    def close(self) -> None:
        self._consumer.close()


def pull(consumer: Consumer, most: int, timeout_s: float) -> list[Message]:
    """The first message as soon as it is there, and with it what else has come: `consume` alone would wait for all of
    them.
    """
    first = consumer.poll(timeout_s)
    if first is None:
        return []
    with no_collection():
        return [first, *consumer.consume(most - 1, 0)] if most > 1 else [first]


def _by_partition(messages: list[Message]) -> list[tuple[int, Records]]:
    """The records of each partition, as plain as they can be: what a message holds is asked of it once."""
    places = np.fromiter(map(Message.partition, messages), np.int64, len(messages))
    found = []
    for partition in np.unique(places).tolist():
        mine = messages if (places == partition).all() else [messages[at] for at in np.flatnonzero(places == partition)]
        stamps = np.fromiter(map(itemgetter(1), map(Message.timestamp, mine)), np.int64, len(mine))
        offsets = np.fromiter(map(Message.offset, mine), np.int64, len(mine))
        found.append(
            (
                partition,
                Records(list(map(Message.value, mine)), offsets, stamps, *envelopes(list(map(Message.headers, mine)))),
            )
        )
    return found


def _cut(piece: Slice, rows: int) -> tuple[Slice, Slice]:
    at = int(piece.rows.column(piece.rows.num_columns - 1)[rows].as_py())
    return (
        Slice(piece.topic, piece.partition, piece.start, at, piece.schema_id, piece.rows.slice(0, rows)),
        Slice(piece.topic, piece.partition, at, piece.end, piece.schema_id, piece.rows.slice(rows)),
    )
