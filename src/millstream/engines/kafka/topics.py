"""Topics made, checked and described, through an admin client that is made anew when its controller died."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, TypeVar

from confluent_kafka import IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    ListOffsetsResultInfo,
    NewTopic,
    OffsetSpec,
    ResourceType,
    TopicDescription,
)

from millstream.base.errors import ConfigError, Conflict, NotFound, Unreachable, UsageError
from millstream.engines.kafka.address import Address
from millstream.engines.kafka.errors import Faults, error_of
from millstream.log.port import Ends, Topic

REQUEST_S, TRIES = 5.0, 4
SETTLE_S = 0.3
"""For so long after it was deleted and made again a topic may yet be described by its old id."""
WAIT_S = 15.0
_LEGAL = re.compile(r"[A-Za-z0-9._-]{1,249}")
_INNER = ("__", "_schemas")
DECLARED = "delete.retention.ms"
"""Where a topic keeps its declared retention: brokers use this setting for compacted topics alone (decision 0023)."""
_OWN = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
_UNDONE = {"retention.ms": "-1", "retention.bytes": "-1"}
log = logging.getLogger("millstream.kafka")
T = TypeVar("T")


class Topics:
    """The topics of a cluster. Safe for several threads."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._lock = threading.Lock()
        self._admin: AdminClient | None = None
        self._faults = Faults(f"Kafka at {address.brokers}")
        self._gone: set[str] = set()
        self.foreign: set[str] = set()
        """Topics of streams whose retention is not ours to set: brokers remove their records, whoever has them."""

    # made, described, deleted

    def create(self, name: str, partitions: int, config: Mapping[str, str]) -> tuple[TopicDescription, bool]:
        """The topic as it is now, and whether it was made now. Returns when its id is settled and every partition has a
        leader.
        """
        if not _LEGAL.fullmatch(name):
            raise UsageError(f'"{name}" cannot be a topic of Kafka: up to 249 letters, digits, ".", "_" and "-"')
        found = self.describe(name)
        if found is not None:
            return found, False
        copies = self.address.replication or min(3, self._brokers())
        safe = {"min.insync.replicas": "2"} if copies >= 3 else {}
        wanted = NewTopic(
            name,
            partitions,
            copies,
            config={"max.message.bytes": str(self.address.max_message_bytes), **safe, **config},
        )
        made = self._make(wanted)
        return self._settled(name), made

    def _make(self, wanted: NewTopic) -> bool:
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                self.call(
                    lambda admin: admin.create_topics([wanted], request_timeout=REQUEST_S)[wanted.topic],
                    f'topic "{wanted.topic}"',
                )
                return True
            except Conflict:  # somebody was faster, or one of the name is being deleted
                if self.describe(wanted.topic) is not None:
                    return False
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _settled(self, name: str) -> TopicDescription:
        """What the topic is when it has been that for a while: right after a delete and create the old id may yet be
        reported.
        """
        deadline, since, last = time.monotonic() + WAIT_S, time.monotonic(), None
        while time.monotonic() < deadline:
            found = self.describe(name)
            if (
                found is None
                or any(p.leader is None or p.leader.id < 0 for p in found.partitions)
                or (last is not None and uuid_of(found) != last)
            ):
                since = time.monotonic()
            elif time.monotonic() - since >= SETTLE_S:
                return found
            last = None if found is None else uuid_of(found)
            time.sleep(0.03)
        raise Unreachable(
            f'topic "{name}" of {self.address.brokers} was made and has no leader after {WAIT_S:.0f} s; see the'
            " brokers' logs"
        )

    def describe(self, name: str) -> TopicDescription | None:
        """The topic's partitions and id; None when there is none."""
        if not _LEGAL.fullmatch(name):
            return None
        try:
            found = self.call(
                lambda admin: admin.describe_topics(TopicCollection([name]), request_timeout=REQUEST_S)[name],
                f'topic "{name}"',
            )
        except NotFound:
            return None
        return None if uuid_of(found) in self._gone else found

    def known(self, name: str) -> TopicDescription:
        """As `describe`.

        Raises:
            NotFound: There is none.
        """
        found = self.describe(name)
        if found is None:
            raise NotFound(f'no topic "{name}" in Kafka at {self.address.brokers}')
        return found

    def names(self) -> list[str]:
        """All but Kafka's own and the positions."""
        listed = self._again(
            lambda: self.direct(lambda admin: admin.list_topics(timeout=REQUEST_S), "the list of topics")
        )
        return sorted(
            n
            for n, t in listed.topics.items()
            if t.error is None and not n.startswith(_INNER) and n != self.address.positions
        )

    def topics(self) -> list[Topic]:
        """Those of `names`."""
        found = [d for name in self.names() if (d := self.describe(name)) is not None]
        retentions = self.configs([d.name for d in found])
        return [topic_of(d, retentions[d.name]) for d in found]

    def topic(self, name: str) -> Topic | None:
        found = self.describe(name)
        return None if found is None else topic_of(found, self.configs([name])[name])

    def delete(self, name: str) -> None:
        """Returns when it is gone."""
        found = self.describe(name)
        if found is None:
            return
        self._gone.add(uuid_of(found))
        try:
            self.call(
                lambda admin: admin.delete_topics([name], request_timeout=REQUEST_S, operation_timeout=REQUEST_S)[name],
                f'topic "{name}"',
            )
        except NotFound:
            pass
        except BaseException:
            self._gone.discard(uuid_of(found))
            raise

    # configuration

    def declared(self) -> dict[str, timedelta]:
        """The topics that have a declared retention."""
        configs = self.configs(self.names(), lenient=True)
        return {
            name: timedelta(milliseconds=int(config[DECLARED]))
            for name, config in configs.items()
            if DECLARED in config
        }

    def configs(self, names: Sequence[str], *, lenient: bool = False) -> dict[str, dict[str, str]]:
        """Each topic's configuration; `DECLARED` only where the topic itself has it.

        Args:
            lenient: Leave out the topics that are gone by now, or that we may not look at.
        """
        if not names:
            return {}
        wanted = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        futures = self.direct(lambda admin: admin.describe_configs(wanted, request_timeout=REQUEST_S), "configurations")
        found = {}
        for place, future in futures.items():
            try:
                entries = self.result(future, f'topic "{place.name}"')
            except (ConfigError, NotFound):
                if not lenient:
                    raise
            else:
                found[place.name] = {
                    key: entry.value for key, entry in entries.items() if key != DECLARED or entry.source == _OWN
                }
        return found

    def configure(self, name: str, settings: Mapping[str, str | None]) -> None:
        """Set these in one step; None: what is the cluster's default."""
        operation = {True: AlterConfigOpType.DELETE, False: AlterConfigOpType.SET}
        entries = [
            ConfigEntry(key, value, incremental_operation=operation[value is None]) for key, value in settings.items()
        ]
        place = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        self.call(
            lambda admin: next(iter(admin.incremental_alter_configs([place], request_timeout=REQUEST_S).values())),
            f'topic "{name}"',
        )

    def keep(self, name: str, retention: timedelta | None) -> None:
        """Declare the retention where it is another, and look whether the topic is one that events can be
        trusted to.
        """
        config = self.configs([name])[name]
        if "compact" in config.get("cleanup.policy", ""):
            raise ConfigError(
                f'topic "{name}" is compacted (cleanup.policy={config["cleanup.policy"]}) and would lose events; set'
                " cleanup.policy=delete"
            )
        self._declare(name, config, retention)
        copies = min((len(p.replicas) for p in self.known(name).partitions), default=0)
        if copies > 1 and int(config.get("min.insync.replicas", 1)) < 2:
            log.warning(
                'topic "%s" has %d replicas and min.insync.replicas=1: an acknowledged event may be on one broker only;'
                " set it to 2",
                name,
                copies,
            )
        if config.get("message.timestamp.type") != "LogAppendTime":
            log.warning(
                'topic "%s" takes its producers\' clocks (message.timestamp.type=%s) for arrival; duplicates are found'
                " best with LogAppendTime",
                name,
                config.get("message.timestamp.type"),
            )

    def _declare(self, name: str, config: Mapping[str, str], retention: timedelta | None) -> None:
        wanted = kept(retention)
        wrong = {key: value for key, value in wanted.items() if config.get(key) != value}
        if not wrong:
            return
        try:
            self.configure(name, wrong)
        except ConfigError as error:
            if name in self.foreign:
                return
            self.foreign.add(name)
            log.warning(
                'topic "%s": its retention cannot be set, so the brokers continue to remove records by retention.ms=%s'
                " and retention.bytes=%s, written to the lake or not; allow ALTER_CONFIGS on the topic, or set both to"
                " -1: %s",
                name,
                config.get("retention.ms"),
                config.get("retention.bytes"),
                error,
            )
            return
        if wrong.keys() & _UNDONE.keys():
            log.warning(
                'topic "%s": the brokers removed its records by retention.ms=%s and retention.bytes=%s; both are -1'
                " now, and records go when they are old enough and in the lake",
                name,
                config.get("retention.ms"),
                config.get("retention.bytes"),
            )

    # offsets

    def ends(self, name: str, partitions: Sequence[int]) -> dict[int, Ends]:
        """Low, the last stable offset, and how far the high watermark is from it."""
        low, written = (
            self.offsets(name, partitions, OffsetSpec.earliest()),
            self.offsets(name, partitions, OffsetSpec.latest(), uncommitted=True),
        )
        # Last, so that nothing seems held that has just been written
        stable = self.offsets(name, partitions, OffsetSpec.latest())
        return {p: Ends(low[p], stable[p], max(0, written[p] - stable[p])) for p in partitions}

    def offsets(
        self, name: str, partitions: Sequence[int], spec: OffsetSpec, *, uncommitted: bool = False
    ) -> dict[int, int]:
        """The earliest or latest offset of each partition; the latest is the last stable one unless `uncommitted`."""
        return {p: info.offset for p, info in self._listed(name, partitions, spec, uncommitted=uncommitted).items()}

    def newest(self, name: str, partitions: Sequence[int]) -> int | None:
        """The greatest timestamp of a record, in microseconds; brokers set it at the append (LogAppendTime), in
        milliseconds.
        """
        stamps = [
            info.timestamp
            for info in self._listed(name, partitions, OffsetSpec.max_timestamp(), uncommitted=True).values()
        ]
        return max((stamp * 1_000 for stamp in stamps if stamp is not None and stamp >= 0), default=None)

    def _listed(
        self, name: str, partitions: Sequence[int], spec: OffsetSpec, *, uncommitted: bool
    ) -> dict[int, ListOffsetsResultInfo]:
        level = IsolationLevel.READ_UNCOMMITTED if uncommitted else IsolationLevel.READ_COMMITTED
        what = f'topic "{name}"'

        def ask() -> dict[int, ListOffsetsResultInfo]:
            asked = {TopicPartition(name, p): spec for p in partitions}
            futures = self.direct(
                lambda admin: admin.list_offsets(asked, isolation_level=level, request_timeout=REQUEST_S), what
            )
            return {at.partition: self.result(future, what) for at, future in futures.items()}

        return self._again(ask)

    # calls

    def _brokers(self) -> int:
        return len(self.call(lambda admin: admin.describe_cluster(request_timeout=REQUEST_S), "the cluster").nodes)

    def call(self, ask: Callable[[AdminClient], Future[T]], what: str) -> T:
        """One answer."""
        return self._again(lambda: self.result(self.direct(ask, what), what))

    def _again(self, ask: Callable[[], T]) -> T:
        """Asked again where the broker that should answer was away."""
        for tries in range(TRIES):
            try:
                return ask()
            except Unreachable:
                if tries == TRIES - 1:
                    raise
                self._anew()
        raise AssertionError

    def direct(self, ask: Callable[[AdminClient], Any], what: str) -> Any:
        with self._lock:
            if self._admin is None:
                self._admin = AdminClient(self.address.config({"error_cb": self._faults}))
            admin = self._admin  # kept: an admin client that is collected ends its futures
        try:
            return ask(admin)
        except KafkaException as error:
            self._hear()
            raise error_of(error, f"{what} of Kafka at {self.address.brokers}") from error

    def result(self, future: Future[T], what: str) -> T:
        try:
            return future.result(timeout=2 * REQUEST_S)
        except KafkaException as error:
            self._hear()
            raise error_of(error, f"{what} of Kafka at {self.address.brokers}") from error
        except TimeoutError as error:
            raise Unreachable(f"{what}: Kafka at {self.address.brokers} does not answer") from error

    def _hear(self) -> None:
        """Raise what the client has said beside the answer."""
        with self._lock:
            if self._admin is not None:
                self._admin.poll(0)
        self._faults.check()

    def _anew(self) -> None:
        """One that was opened before its controller died waits for it for ever."""
        with self._lock:
            self._admin = None

    def close(self) -> None:
        self._anew()


def kept(retention: timedelta | None) -> dict[str, str | None]:
    """What a topic is configured with: the brokers remove nothing by themselves, and the declared retention is there
    for all to read.
    """
    return {**_UNDONE, DECLARED: None if retention is None else str(retention // timedelta(milliseconds=1))}


def topic_of(found: TopicDescription, config: Mapping[str, str]) -> Topic:
    """The retention is the one that was declared; for a topic that Millstream did not make, the brokers'."""
    ms = int(config.get(DECLARED) or config.get("retention.ms") or -1)
    return Topic(found.name, uuid_of(found), len(found.partitions), None if ms < 0 else timedelta(milliseconds=ms))


def uuid_of(found: TopicDescription) -> str:
    """The topic's id as Kafka's own tools print it: librdkafka's is standard base64, theirs is safe in URLs."""
    return str(found.topic_id).replace("+", "-").replace("/", "_")
