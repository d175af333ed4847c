"""Sinks of both kinds that take turns, the updater and `verify` agree with the reference on Kafka, whatever the order
of arrivals.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from rules_world import RulesWorld
from sink_world import one_spark
from test_log_kafka import emptied

from millstream.engines.kafka.log import KafkaLog
from millstream.engines.local.files import LocalFiles
from millstream.engines.spark.sink import SparkSink
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.lake.lake import Lake
from millstream.lake.landing import SinkLimits
from millstream.lake.sink import Sink


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with one_spark(tmp_path_factory.mktemp("spark")) as url:
        yield url


@pytest.fixture
def world(kafka: str, spark: str, tmp_path: Path, seed: int) -> Iterator[RulesWorld]:
    emptied(kafka)
    schemas = SqliteSchemas(f"sqlite:{tmp_path}/schemas.db")
    log, files = KafkaLog(kafka, schemas), LocalFiles(str(tmp_path / "lake"))
    admin = AdminClient({"bootstrap.servers": log.address.brokers})

    def lose(partition: int, upto: int) -> None:
        for done in admin.delete_records([TopicPartition("things", partition, upto)]).values():
            done.result(20)

    sinks = {
        "python": lambda stream, rows: Sink(log, schemas, Lake(files), stream, limits=SinkLimits(rows=rows)),
        "spark": lambda stream, rows: SparkSink(
            spark, tmp_path / "spark", log, schemas, Lake(files), stream, limits=SinkLimits(rows=max(50, rows))
        ),
    }
    made = RulesWorld(log, schemas, files, tmp_path, sinks, lose, random.Random(seed))
    yield made
    made.close()
    log.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(4))
def test_every_consumer_gives_one_verdict(world: RulesWorld) -> None:
    world.play(5)
    world.check()
