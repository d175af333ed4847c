"""What sinks of both kinds are given: a topic full of dirt, lakes to compare, and Spark with its Kafka connector. Skips
its importer where Spark cannot be had.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import spark_world  # noqa: F401  (its skips)
from confluent_kafka import Producer

from millstream.base.errors import EngineMissing
from millstream.cluster.spark import CONNECTOR
from millstream.engines.hdfs.files import HdfsFiles
from millstream.engines.kafka.log import KafkaLog
from millstream.engines.local.files import LocalFiles
from millstream.engines.spark.session import Options, acquire, release
from millstream.engines.spark.sink import SparkSink
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.lake.contract import READINGS, proven, put, readings, unreadable
from millstream.lake.lake import Lake
from millstream.lake.positions import app_id
from millstream.lake.scan import scan
from millstream.lake.sink import Sink, SinkLimits
from millstream.log.envelope import topic_of
from millstream.log.port import Append


@cache
def spark_url() -> str:
    """One core, and the connector's jars."""
    try:
        CONNECTOR.fetch(lambda words: None)
    except EngineMissing as error:
        pytest.skip(str(error))
    jars = ",".join(str(jar) for jar in sorted(CONNECTOR.folder.glob("*.jar")))
    return f"spark://local[1]?memory=700m&spark.jars={jars}"


@contextmanager
def one_spark(folder: Path, url: str = "") -> Iterator[str]:
    """Spark stays up between the sinks of a module."""
    url = url or spark_url()
    acquire(Options.read(url), folder)
    yield url
    release()


class World:
    """A topic of Kafka and lakes in a folder, of this machine or of HDFS; Spark runs by `spark`, a URL."""

    def __init__(self, kafka: str, folder: Path, *, lakes: str = "", spark: str = "") -> None:
        self.kafka, self.folder, self.lakes, self.spark = kafka, folder, lakes, spark or spark_url()
        self.schemas = SqliteSchemas(f"sqlite:{folder}/schemas.db")
        self.log = KafkaLog(kafka, self.schemas)
        self.lake = self.lake_of("lake")

    def lake_of(self, name: str) -> Lake:
        return Lake(HdfsFiles(f"{self.lakes}/{name}") if self.lakes else LocalFiles(str(self.folder / name)))

    def sink(self, kind: str, rows: int = 500_000, lake: Lake | None = None, **more: Any) -> Sink | SparkSink:
        limits = SinkLimits(rows=rows)
        if kind == "spark":
            return SparkSink(
                self.spark,
                self.folder / "spark",
                self.log,
                self.schemas,
                lake or self.lake,
                READINGS,
                limits=limits,
                **more,
            )
        return Sink(self.log, self.schemas, lake or self.lake, READINGS, limits=limits, **more)

    def drain(self, kind: str, rows: int = 500_000, lake: Lake | None = None) -> Any:
        sink = self.sink(kind, rows, lake)
        try:
            return sink.drain()
        finally:
            sink.close()

    def close(self) -> None:
        self.log.close()

    # -- records

    def dirt(self, seed: int, count: int = 60) -> None:
        """Some of everything, in all partitions: doubles, late ones, refused ones, unreadable ones, foreign bytes and
        headers, transactions that end well and badly.
        """
        rng = random.Random(seed)
        base = 1000 * seed
        for partition in range(3):
            # Some come twice, and by minutes too late
            numbers = [base + rng.randrange(count * 4) for _ in range(count)]
            put(self.log, self.schemas, partition, *numbers, bad=numbers[:: rng.randrange(5, 12)])
            put(self.log, self.schemas, partition, *(base + rng.randrange(count * 4) for _ in range(count)))
            unreadable(self.log, self.schemas, partition, b"{\xff", b"")
            self.foreign(partition, seed)
        self.transactions(seed)

    def foreign(self, partition: int, seed: int) -> None:
        """Of a producer that keeps no rule. Its good record has odd headers."""
        good = self._good(9_000 + seed)
        producer = Producer({"bootstrap.servers": self.log.address.brokers})
        for value in (b"", b"\0", b"plain words", b"\0\0\0\x27\x0fbody of no schema", good[:-1], good + b"\0", None):
            producer.produce(READINGS.name, value, partition=partition)
        for headers in (
            [("_event_id", b"\xff")],
            [("_event_id", f"f-{seed}".encode()), ("_event_id", f"g-{seed}".encode())],
            [("_arrived_at", b"soon"), ("x", None)],
        ):
            producer.produce(READINGS.name, good, partition=partition, headers=headers)
        assert producer.flush(20) == 0

    def _good(self, n: int) -> bytes:
        from millstream.log.framing import framed

        binding = topic_of(self.log, self.schemas, READINGS)
        return framed(readings(n), binding.schema_id, self.schemas.schema(binding.schema_id))[0]

    def transactions(self, seed: int) -> None:
        """Each leaves a marker, and one of them records that nobody may read."""
        binding = topic_of(self.log, self.schemas, READINGS)
        writer = self.log.writer("split")
        at = int(writer.position or 0)
        for step in range(3):
            numbers = range(1000 * seed + 500 + step * 5, 1000 * seed + 505 + step * 5)
            writer.commit(
                [Append(READINGS.name, p, binding.schema_id, readings(*numbers)) for p in range(3)], str(at + step + 1)
            )
        writer.close()
        producer = Producer({"bootstrap.servers": self.log.address.brokers, "transactional.id": "regrets"})
        producer.init_transactions(20)
        producer.begin_transaction()
        for partition in range(3):
            producer.produce(READINGS.name, self._good(1), partition=partition)
        producer.flush(20)
        producer.abort_transaction(20)

    # -- what must be true

    def prove(self) -> None:
        """`verify` finds nothing, all that is in the log has landed, and the table is the one that a single sink in
        Python would have filled, row for row.
        """
        report = proven(self.lake, self.log)
        topic = self.log.topic(READINGS.name)
        assert topic is not None
        ends = self.log.ends(READINGS.name)
        assert {p: self.lake.table(READINGS.name).position(app_id(topic, p)) or 0 for p in ends} == {
            p: end.high for p, end in ends.items()
        }
        alone = self.lake_of(f"alone-{random.randrange(1 << 40)}")
        self.drain("python", lake=alone)
        assert self.lake.names() == alone.names()
        for name in self.lake.names():
            assert contents(self.lake, name).equals(contents(alone, name)), name
        assert report.rows > 0


def contents(lake: Lake, name: str) -> pa.Table:
    """All rows and columns, in the order of the log."""
    table = lake.table(name)
    return (
        pa.Table.from_batches(scan(table, table.schema.names), table.schema)
        .sort_by([("_partition", "ascending"), ("_offset", "ascending")])
        .combine_chunks()
    )
