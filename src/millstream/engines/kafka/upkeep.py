"""Retention: records that are older than declared and below every reader's mark are deleted, by the rule of
`log/retention.py`.

Brokers delete nothing of a declared topic by themselves. What is deleted here leaves readers' sight at once; the disk
gets it back a segment at a time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec

from millstream.base.duration import spell
from millstream.base.errors import MillstreamError
from millstream.engines.kafka import topics
from millstream.engines.kafka.errors import denied
from millstream.engines.kafka.marks import Marks
from millstream.engines.kafka.topics import Topics, uuid_of
from millstream.log.port import Ends
from millstream.log.retention import LAKE, Stretch, needed, removable

EVERY_S = 60.0
log = logging.getLogger("millstream.kafka")


def due(ends: Ends, young: int, marks: Mapping[str, int], now_us: int, retention_us: int) -> int | None:
    """The offset below which a partition's records are to be deleted; None when none are. Never negative: to Kafka that
    means all of them.

    Args:
        ends: As they were before `young` was asked for: what came since is young.
        young: The first offset of a record that must stay for its age; negative, as Kafka says it, when there is none.
    """
    aged = ends.high if young < 0 else min(young, ends.high)
    found = removable([Stretch(aged, now_us - retention_us - 1)], marks, now_us, retention_us, whole=False)
    if found is None or found <= ends.low:
        return None
    if not 0 < found <= min(needed(marks), ends.high):
        raise AssertionError(f"{found} would be deleted of {ends}, {dict(marks)}")
    return found


def aging(ends: Ends, young: int, mark: int) -> int:
    """How many records from the mark on are not young.

    >>> aging(Ends(0, 10), 7, 4), aging(Ends(0, 10), -1, 4), aging(Ends(5, 10), 7, 4), aging(Ends(0, 10), 3, 4)
    (3, 6, 2, 0)
    """
    return max(0, (ends.high if young < 0 else min(young, ends.high)) - max(mark, ends.low))


class Upkeep:
    """What `maintain` does, at most once in `every_s`."""

    def __init__(
        self, topics: Topics, marks: Marks, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.every_s, self._topics, self._marks, self._clock = every_s, topics, marks, clock
        self._next = clock()
        self._warned: dict[str, str] = {}
        self._aging: set[str] = set()

    def maintain(self) -> None:
        """All topics with a declared retention; one that fails keeps its records, and the others are done."""
        if self._clock() < self._next:
            return
        self._next = self._clock() + self.every_s
        for name, retention in self._topics.declared().items():
            try:
                self._retire(name, retention)
            except MillstreamError as error:
                self._warn(name, error)
            else:
                self._warned.pop(name, None)
        for name in sorted(self._topics.foreign):
            try:
                self._watch(name)
            except MillstreamError as error:
                log.warning('topic "%s": how long its unwritten records will stay is not known: %s', name, error)

    def _watch(self, name: str) -> None:
        """Warn while records that the lake lacks have reached half of the age at which the brokers remove them."""
        topic, config = self._topics.describe(name), self._topics.configs([name], lenient=True).get(name, {})
        age_ms = int(config.get("retention.ms", -1))
        if topic is None or age_ms < 0:
            return
        partitions = [p.id for p in topic.partitions]
        ends = self._topics.ends(name, partitions)
        young = self._topics.offsets(
            name,
            partitions,
            OffsetSpec.for_timestamp(max(1, time.time_ns() // 1_000_000 - age_ms // 2)),
            uncommitted=True,
        )
        marks = self._marks.read(topic)
        late = {p: behind for p in partitions if (behind := aging(ends[p], young[p], marks[p][LAKE])) > 0}
        if late and name not in self._aging:
            log.warning(
                'topic "%s": brokers remove its records after %s (retention.ms), and %d records that are not in the'
                " lake are older than half of that (partitions %s): see why its sink waits (millstream show streams),"
                " or allow ALTER_CONFIGS on the topic",
                name,
                spell(age_ms * 1000),
                sum(late.values()),
                ", ".join(map(str, late)),
            )
        (self._aging.add if late else self._aging.discard)(name)

    def _retire(self, name: str, retention: timedelta) -> None:
        topic = self._topics.describe(name)
        now_us, retention_us = time.time_ns() // 1000, retention // timedelta(microseconds=1)
        horizon_ms = (now_us - retention_us) // 1000
        if topic is None or horizon_ms <= 0:  # a time below 0 would ask for the newest record
            return
        partitions = [p.id for p in topic.partitions]
        ends = self._topics.ends(name, partitions)
        young = self._topics.offsets(name, partitions, OffsetSpec.for_timestamp(horizon_ms), uncommitted=True)
        if not any((ends[p].high if young[p] < 0 else young[p]) > ends[p].low for p in partitions):
            return
        marks = self._marks.read(topic)  # last, so that a reader that moved its mark back is heard
        found = {
            p: at for p in partitions if (at := due(ends[p], young[p], marks[p], now_us, retention_us)) is not None
        }
        again = self._topics.describe(name)
        if found and again is not None and uuid_of(again) == uuid_of(topic):
            self._delete(name, found)

    def _delete(self, name: str, before: Mapping[int, int]) -> None:
        what, places = (
            f'topic "{name}"',
            [TopicPartition(name, partition, offset) for partition, offset in before.items()],
        )
        futures = self._topics.direct(
            lambda admin: admin.delete_records(
                places, request_timeout=topics.REQUEST_S, operation_timeout=topics.REQUEST_S
            ),
            what,
        )
        failed = None
        for future in futures.values():
            try:
                self._topics.result(future, what)
            except MillstreamError as error:
                failed = error
        if failed is not None:
            raise failed

    def _warn(self, name: str, error: MillstreamError) -> None:
        """Once, until it went well or fails in another way."""
        if self._warned.get(name) == str(error):
            return
        self._warned[name] = str(error)
        right = "; allow DELETE on the topic, and READ on groups that begin with millstream." if denied(error) else ""
        log.warning('topic "%s" keeps records that its retention of the log wants removed: %s%s', name, error, right)
