"""Kafka passes the suite of the log, and keeps what only it promises."""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import fastavro
import pyarrow as pa
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from millstream.base.errors import ConfigError, Recreated, Truncated, Unreachable, UsageError
from millstream.base.event import ARRIVED_AT, EVENT_ID
from millstream.engines.kafka import topics
from millstream.engines.kafka.log import KafkaLog
from millstream.engines.kafka.positions import record
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.log.contract import NOW, SCHEMA, LogContract, numbers, read, rows
from millstream.log.framing import framed
from millstream.log.port import RAW_SCHEMA_ID, Append, Ends, Topic

SOON = timedelta(seconds=5)


def emptied(url: str) -> None:
    """A cluster without topics, positions included."""
    with tempfile.TemporaryDirectory() as folder:
        log = KafkaLog(url, SqliteSchemas(f"sqlite:{folder}/schemas.db"))
        for topic in [*log.topics(), log._topics.topic(log.address.positions)]:
            if topic is not None:
                log.delete(topic.name)
        log.close()


def found(log: KafkaLog) -> Topic:
    """The topic t, which is there."""
    topic = log.topic("t")
    assert topic is not None
    return topic


class OnKafka:
    """`log`, `schema_id` and `again` on an emptied cluster."""

    @pytest.fixture
    def log(self, kafka: str, tmp_path: Path) -> Iterator[KafkaLog]:
        emptied(kafka)
        self.url, self.schemas = kafka, SqliteSchemas(f"sqlite:{tmp_path}/schemas.db")
        self.opened: list[KafkaLog] = []
        self.again(None)
        yield self.opened[0]
        for log in self.opened:
            log.close()

    @pytest.fixture
    def schema_id(self, log: KafkaLog) -> int:
        return self.schemas.register("t", SCHEMA)

    def again(self, log: object, options: str = "") -> KafkaLog:
        self.opened.append(KafkaLog(self.url + options, self.schemas))
        self.opened[-1]._upkeep.every_s = self.opened[-1]._upkeep._next = 0  # `maintain` works at each call
        return self.opened[-1]

    def client(self, **config: object) -> dict[str, object]:
        """Settings of a client that is not Millstream's; `_` for `.`."""
        return {
            "bootstrap.servers": self.opened[0].address.brokers,
            **{name.replace("_", "."): value for name, value in config.items()},
        }

    def send(self, *values: bytes | None, **config: object) -> Producer:
        """Records of a foreign producer, to partition 0; a transaction is left open."""
        producer = Producer(self.client(**config))
        if "transactional_id" in config:
            producer.init_transactions(10)
            producer.begin_transaction()
        for value in values:
            producer.produce("t", value, partition=0)
        assert producer.flush(10) == 0
        return producer


class TestKafkaLog(OnKafka, LogContract):
    """The suite."""


class TestOnlyKafka(OnKafka):
    # reading

    def test_holes_are_passed_and_told(self, log: KafkaLog, schema_id: int) -> None:
        log.create("t", partitions=1)
        writer = log.writer("s")
        writer.commit([Append("t", 0, schema_id, rows(1, 2))], "2")
        self.send(*framed(rows(8, 9), schema_id, SCHEMA), transactional_id="foreign").abort_transaction(10)
        end, deadline = 0, time.monotonic() + 30
        while end < 6 and time.monotonic() < deadline:  # the marker is written after the abort is answered
            end = log.ends("t")[0].high
        reader, found = log.reader("t", {0: 0}), []
        while reader.position(0) < end:
            found += reader.poll(100, SOON)
        # Two, a marker, two aborted, a marker
        assert numbers([p for p in found if p.rows.num_rows]) == [1, 2] and end == 6
        assert found[0].start == 0 and found[-1].end == end and all(a.end == b.start for a, b in pairwise(found))
        assert log.reader("t", {0: end}).poll(10, NOW) == []

    def test_an_open_transaction_holds_readers_back_and_nothing_is_read_twice(
        self, log: KafkaLog, schema_id: int
    ) -> None:
        log.create("t", partitions=1)
        first, second, third = framed(rows(1, 2, 3), schema_id, SCHEMA)
        open_one = self.send(first, transactional_id="foreign")
        self.send(second)
        reader = log.reader("t", {0: 0})
        assert reader.poll(10, timedelta(milliseconds=300)) == [] and log.ends("t")[0] == Ends(0, 0, held=2)
        open_one.commit_transaction(10)
        self.send(third)
        assert numbers([p for p in read(reader, 3) if p.rows.num_rows]) == [1, 2, 3]

    def test_what_was_removed_is_truncated(self, log: KafkaLog, schema_id: int) -> None:
        log.create("t", partitions=1)
        log.append([Append("t", 0, schema_id, rows(*range(100)))])
        reader = log.reader("t", {0: 50})
        admin = AdminClient(self.client())
        for future in admin.delete_records([TopicPartition("t", 0, 80)]).values():
            future.result(10)
        with pytest.raises(Truncated, match=r"offset 50 is asked for, and the log holds \[80, 100\)"):
            read(log.reader("t", {0: 50}), 1)
        reader.seek(0, 80)
        assert numbers(read(reader, 20)) == list(range(80, 100))
        assert log.ends("t")[0] == Ends(80, 100)

    def test_a_topic_made_again_with_more_in_it_is_noticed(self, log: KafkaLog, schema_id: int) -> None:
        """The old position lies inside of the new topic, so that the broker has nothing to complain of."""
        log.create("t", partitions=1)
        log.append([Append("t", 0, schema_id, rows(1, 2))])
        reader = log.reader("t", {0: 0})
        read(reader, 2)
        other = self.again(log)
        other.delete("t")
        other.create("t", partitions=1)
        other.append([Append("t", 0, schema_id, rows(*range(100)))])
        with pytest.raises(Recreated):
            read(reader, 1)

    def test_a_foreign_record_is_kept_as_found(self, log: KafkaLog, schema_id: int) -> None:
        log.create("t", partitions=1)
        good, other = framed(rows(1, 2), schema_id, SCHEMA)
        self.send(good, b'{"n": 7}', None, other)
        found = read(log.reader("t", {0: 0}), 4)
        assert [(p.schema_id, p.rows.num_rows) for p in found] == [(schema_id, 1), (RAW_SCHEMA_ID, 2), (schema_id, 1)]
        assert found[1].rows.column("raw").to_pylist() == [b'{"n": 7}', None]
        assert found[1].rows.column("origin").to_pylist() == ["t/0@1", "t/0@2"]

    def test_others_read_what_is_written(self, log: KafkaLog, schema_id: int) -> None:
        """Confluent framing: a zero byte, the id, the body; the envelope in headers, microseconds kept."""
        log.create("t", partitions=1)
        sent = pa.record_batch(
            {
                "n": [7],
                "who": ["né"],
                EVENT_ID: ["id-7"],
                ARRIVED_AT: pa.array([1_357_016_400_123_456], pa.timestamp("us", tz="UTC")),
            }
        )
        log.append([Append("t", 0, schema_id, sent)])
        consumer = Consumer(self.client(group_id="other", auto_offset_reset="earliest"))
        consumer.assign([TopicPartition("t", 0, 0)])
        message = consumer.poll(10)
        consumer.close()
        assert message is not None
        value = message.value()
        assert value[:5] == b"\0" + schema_id.to_bytes(4, "big")
        assert fastavro.schemaless_reader(io.BytesIO(value[5:]), fastavro.parse_schema(json.loads(SCHEMA)), None) == {
            "n": 7,
            "who": "né",
        }
        assert message.headers() == [(EVENT_ID, b"id-7"), (ARRIVED_AT, b"1357016400123456")]

    # writing

    def test_a_position_is_read_past_the_open_transactions_of_others(self, log: KafkaLog, schema_id: int) -> None:
        """A read-committed read to the end alone would give the old one (docs/exactly-once.md, section 3)."""
        log.create("t", partitions=1)
        log.writer("a").commit([Append("t", 0, schema_id, rows(1))], "1")
        other = Producer(self.client(transactional_id="other", transaction_timeout_ms=3_000))
        other.init_transactions(10)
        other.begin_transaction()
        key, value = record("b", "never")
        other.produce(log.address.positions, value, key, 0)
        other.flush(10)
        second = log.writer("a")  # waits for the other's end
        assert second.position == "1"
        second.commit([Append("t", 0, schema_id, rows(2))], "2")
        assert self.again(log).position("a") == "2" and log.position("b") is None

    def test_a_record_that_is_too_large_says_which_setting(self, log: KafkaLog, schema_id: int) -> None:
        log.create("t", partitions=1)
        big = pa.record_batch({"n": [1], "who": ["a" * 300_000]})
        small = self.again(log, "?max_message_bytes=200000")
        for write in (
            lambda: small.append([Append("t", 0, schema_id, big)]),
            lambda: small.writer("s").commit([Append("t", 0, schema_id, big)], "1"),
        ):
            with pytest.raises(
                UsageError,
                match=r"300,0\d\d bytes is larger than the 198,976 .*raise max_message_bytes in the URL of `log`",
            ):
                write()
        log._topics.configure("t", {"max.message.bytes": "100000"})  # the topic's own limit is the broker's to say
        time.sleep(0.5)
        with pytest.raises(UsageError, match="max.message.bytes"):  # noqa: RUF043
            log.append([Append("t", 0, schema_id, pa.record_batch({"n": [1], "who": [os.urandom(150_000).hex()]}))])
        assert small.position("s") is None

    def test_a_deleted_topic_takes_nothing(self, log: KafkaLog, schema_id: int) -> None:
        log.create("t", partitions=1)
        log.append([Append("t", 0, schema_id, rows(1))])
        self.again(log).delete("t")
        with pytest.raises((UsageError, Unreachable, LookupError)):
            log.append([Append("t", 0, schema_id, rows(2))])

    # topics

    def test_what_topics_are_made_with(self, log: KafkaLog, schema_id: int) -> None:
        log.create("t", partitions=2, retention=timedelta(hours=3))
        config = log._topics.configs(["t"])["t"]
        assert (config["retention.ms"], config["retention.bytes"], config[topics.DECLARED]) == ("-1", "-1", "10800000")
        assert (config["cleanup.policy"], config["message.timestamp.type"]) == ("delete", "LogAppendTime")
        assert config["max.message.bytes"] == str(16 << 20)
        log.writer("s").commit([], "1")
        kept = log._topics.configs([log.address.positions])[log.address.positions]
        assert kept["cleanup.policy"] == "compact"
        assert [t.name for t in log.topics()] == ["t"]

    def test_what_was_declared_last_is_told_to_all(self, log: KafkaLog) -> None:
        log.create("t", partitions=1)
        assert found(log).retention is None and topics.DECLARED not in log._topics.configs(["t"])["t"]
        other = self.again(log)
        other.create("t", partitions=1, retention=timedelta(hours=2))
        assert found(log).retention == timedelta(hours=2) and log.topics()[0].retention == timedelta(hours=2)
        log.create("t", partitions=1)
        assert found(other).retention is None and dict(other.positions()) == {}

    def test_a_topic_of_the_brokers_retention_is_taken_over(
        self, log: KafkaLog, caplog: pytest.LogCaptureFixture
    ) -> None:
        log._topics.create(
            "t", 1, {"retention.ms": "60000", "retention.bytes": "1000", "message.timestamp.type": "LogAppendTime"}
        )
        assert found(log).retention == timedelta(minutes=1)
        for _ in range(2):
            assert log.create("t", partitions=1, retention=timedelta(days=1)) == log.topic("t")
        config = log._topics.configs(["t"])["t"]
        assert (config["retention.ms"], config["retention.bytes"]) == ("-1", "-1")
        assert [
            r.message
            for r in caplog.records
            if "retention.ms=60000 and retention.bytes=1000; both are -1 now" in r.message
        ] == [caplog.records[0].message]

    # retention

    def old(self, log: KafkaLog, schema_id: int, partitions: int = 1) -> None:
        """A topic of 10 records a partition, all older than its retention."""
        log.create("t", partitions=partitions, retention=timedelta(milliseconds=1))
        log.append([Append("t", p, schema_id, rows(*range(10))) for p in range(partitions)])
        time.sleep(0.05)

    def test_marks_are_kafkas_own_lag(self, log: KafkaLog, schema_id: int) -> None:
        self.old(log, schema_id)
        self.again(log).retain("t", before={0: 7})
        consumer = Consumer(self.client(group_id=f"millstream.mark.lake.{found(log).uuid}"))
        (place,) = consumer.committed([TopicPartition("t", 0)], 10)
        consumer.close()
        assert place.offset == 7

    def test_all_that_is_old_and_written_goes_and_the_end_stays(self, log: KafkaLog, schema_id: int) -> None:
        """No record is younger: Kafka says -1, which to `delete_records` is everything. A mark beyond the end takes no
        more than the readable part.
        """
        self.old(log, schema_id, 2)
        log.retain("t", before={0: 10, 1: 4})
        log.maintain()
        assert log.ends("t") == {0: Ends(10, 10), 1: Ends(4, 10)}
        open_one = self.send(b"x", transactional_id="foreign")
        time.sleep(0.05)
        log.retain("t", before={0: 11})
        log.maintain()
        assert log.ends("t")[0] == Ends(10, 10, held=1)
        open_one.abort_transaction(10)

    def test_young_records_stay(self, log: KafkaLog, schema_id: int) -> None:
        log.create("t", partitions=1, retention=timedelta(seconds=2))
        log.append([Append("t", 0, schema_id, rows(1, 2, 3))])
        time.sleep(2.5)
        log.append([Append("t", 0, schema_id, rows(4, 5))])
        log.retain("t", before={0: 5})
        log.maintain()
        assert log.ends("t")[0] == Ends(3, 5)

    def test_a_topic_made_again_has_no_marks(self, log: KafkaLog, schema_id: int) -> None:
        self.old(log, schema_id)
        log.retain("t", before={0: 10})
        log.delete("t")
        self.old(log, schema_id)
        log.maintain()
        assert log.ends("t")[0] == Ends(0, 10)

    def test_a_mark_is_written_again_after_another_process_moved_it(self, log: KafkaLog, schema_id: int) -> None:
        """It said 3 before, and is right to say it again: its table was cut."""
        self.old(log, schema_id)
        log.retain("t", before={0: 3})
        self.again(log).retain("t", before={0: 9})
        log.retain("t", before={0: 3})
        log.maintain()
        assert log.ends("t")[0].low == 3

    def test_a_reader_that_said_nothing_of_a_partition_has_nothing_of_it(self, log: KafkaLog, schema_id: int) -> None:
        self.old(log, schema_id, 2)
        log.retain("t", before={0: 10, 1: 10})
        log.retain("t", before={0: 5}, reader="a.b")
        log.maintain()
        assert [end.low for end in log.ends("t").values()] == [5, 0]
        for _ in range(2):
            log.retain("t", before={}, reader="a.b")
        log.maintain()
        assert [end.low for end in log.ends("t").values()] == [10, 10]

    def test_records_that_brokers_are_about_to_remove_are_warned_of(
        self, log: KafkaLog, schema_id: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A topic of others, whose retention we may not set."""
        log._topics.create("t", 1, {"retention.ms": "2000", "message.timestamp.type": "LogAppendTime"})

        def refused(name: str, settings: object) -> None:
            raise ConfigError("not allowed")

        monkeypatch.setattr(log._topics, "configure", refused)
        log.create("t", partitions=1)

        def warnings() -> list[str]:
            log.maintain()
            return [r.message for r in caplog.records if "older than half" in r.message]

        log.append([Append("t", 0, schema_id, rows(*range(10)))])
        log.retain("t", before={0: 4})
        assert warnings() == []
        time.sleep(1.2)
        (said,) = warnings()
        assert (
            'topic "t"' in said
            and "after 2s" in said
            and "6 records that are not in the lake" in said
            and "partitions 0" in said
        )
        assert warnings() == [said], "once"
        log.retain("t", before={0: 10})
        assert warnings() == [said]

    def test_a_topic_that_fails_stops_no_other(
        self, log: KafkaLog, schema_id: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.old(log, schema_id)
        log.retain("t", before={0: 10})
        log.create("a", partitions=1, retention=timedelta(milliseconds=1))
        ends = log._topics.ends

        def broken(name: str, partitions: list[int]) -> object:
            if name == "a":
                raise Unreachable("no leader")
            return ends(name, partitions)

        monkeypatch.setattr(log._topics, "ends", broken)
        log.maintain()
        log.maintain()
        assert ends("t", [0])[0].low == 10 and [r.message for r in caplog.records if "no leader" in r.message] == [
            caplog.records[-1].message
        ]

    def test_a_compacted_topic_is_refused(self, log: KafkaLog) -> None:
        log._topics.create("t", 1, {"cleanup.policy": "compact"})
        with pytest.raises(ConfigError, match="would lose events"):
            log.create("t", partitions=1)

    def test_positions_that_would_be_forgotten_are_refused(self, log: KafkaLog) -> None:
        log._topics.create("mine", 1, {"cleanup.policy": "delete"})
        with pytest.raises(ConfigError, match="would forget positions"):
            self.again(log, "?positions=mine").writer("s")

    def test_a_name_that_kafka_does_not_take(self, log: KafkaLog) -> None:
        with pytest.raises(UsageError, match="letters, digits"):
            log.create("a b", partitions=1)

    def test_nobody_answers(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(topics, "REQUEST_S", 0.2)
        log = KafkaLog("kafka://127.0.0.1:9", SqliteSchemas(f"sqlite:{tmp_path}/schemas.db"))
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
            log.topics()
