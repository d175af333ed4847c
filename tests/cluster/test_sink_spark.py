"""A stream's sink on Spark passes the suite of sinks, and a table goes from the sink in Python to it and back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from sink_world import World, one_spark, spark_url
from test_log_kafka import emptied
from test_schemas_registry import emptied as no_subjects
from test_streams_kafka import Shop

from millstream.base.errors import ConfigError, Recreated, Truncated
from millstream.declare.stream import Stream
from millstream.engines.spark.sink import SparkSink
from millstream.engines.spark.sql import SparkSql
from millstream.engines.sqlite.log import SqliteLog
from millstream.lake.contract import READINGS, WIDE, SinkContract, at_once, ids, ids_of, proven, put, readings, rows_in
from millstream.lake.gaps import accept, find
from millstream.lake.lake import Lake
from millstream.lake.landing import HOLES_AFTER
from millstream.lake.lineage import ranges
from millstream.lake.port import Files
from millstream.lake.sink import Progress, SinkLimits
from millstream.lake.verify import verify
from millstream.log.envelope import topic_of
from millstream.log.port import Append, Log, Schemas

NOW = timedelta(0)


@pytest.fixture(scope="module", autouse=True)
def spark_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with one_spark(tmp_path_factory.mktemp("spark")) as url:
        yield url


@pytest.fixture
def world(kafka: str, tmp_path: Path) -> Iterator[World]:
    emptied(kafka)
    made = World(kafka, tmp_path)
    yield made
    made.close()


class OnKafka(SinkContract):
    @pytest.fixture
    def log(self, world: World) -> Log:
        return world.log

    @pytest.fixture
    def schemas(self, world: World) -> Schemas:
        return world.schemas

    @pytest.fixture
    def files(self, world: World) -> Files:
        return world.lake.files


class TestInThisProcess(OnKafka):
    """The sink in Python, for comparison."""


class TestOnSpark(OnKafka):
    @pytest.fixture
    def drain(self, world: World, lake: Lake) -> Callable[..., Progress]:
        def run(rows: int = 500_000, of: Stream[Any] = READINGS) -> Progress:
            assert of is READINGS
            return world.drain("spark", rows, lake)

        return run


def test_from_python_to_spark_and_back(world: World) -> None:
    """Dirty records all the way; small batches, so that kinds take over in the middle of things; at last several of
    both kinds at once.
    """
    world.dirt(0)
    for turn, kind in enumerate(("python", "spark", "python", "spark")):
        world.dirt(1 + 2 * turn, 30)
        sink = world.sink(kind, 150)
        sink.step(timedelta(seconds=5))
        sink.close()  # in the middle
        world.dirt(2 + 2 * turn, 30)
        world.drain(kind, 400)
        world.prove()
    world.dirt(10, 200)
    found = at_once(
        [
            lambda kind=kind, rows=rows: world.drain(kind, rows)  # type: ignore[misc]
            for kind, rows in (("python", 90), ("spark", 200), ("python", 130), ("spark", 500))
        ]
    )
    assert all(isinstance(one, Progress) for one in found), found
    world.prove()


def test_two_live_sinks_of_both_kinds(world: World) -> None:
    """They share partitions by the group, and find out by the table whose a partition is."""
    world.dirt(0, 10)
    stop, sinks, failed = threading.Event(), [world.sink(kind) for kind in ("python", "spark")], list[BaseException]()

    def run(sink: Any) -> None:
        try:
            sink.run(stop)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(sink,), daemon=True) for sink in sinks]
    for thread in threads:
        thread.start()
    for seed in range(1, 6):
        world.dirt(seed, 40)
        time.sleep(1)
    everything = world.drain("python", lake=world.lake_of("reference")).rows
    deadline = time.monotonic() + 240
    while world.lake.table("readings").rows() < everything:
        assert time.monotonic() < deadline and not failed, failed
        time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join(60)
    for sink in sinks:
        sink.close()
    assert not failed
    world.drain("spark")
    world.prove()


def test_holes_are_passed_in_time(world: World) -> None:
    """A position moves over markers and aborted records too, without a commit for each of them."""
    put(world.log, world.schemas, 0, 1)
    now = [0.0]
    sink = world.sink("spark", clock=lambda: now[0])
    assert sink.step().rows == 1
    world.transactions(0)
    world.drain("python")
    world.transactions(1)  # five records in three transactions, and an aborted one
    assert sink.step().rows == 45
    producer_holes(world)
    before = world.lake.table("readings").version
    assert sink.step() == Progress() and sink.step() == Progress()
    assert world.lake.table("readings").version == before
    now[0] = HOLES_AFTER.total_seconds()
    assert sink.step().commits == 1
    assert sink.start(0) == world.log.ends("readings")[0].high
    sink.close()
    world.prove()


def test_beside_queries_of_the_same_spark(world: World, tmp_path: Path) -> None:
    """A query cancels its job group when its reader is closed; the sink's jobs of that thread are none of them."""
    put(world.log, world.schemas, 0, 1, 2)
    sql = SparkSql(spark_url(), tmp_path / "sql")
    assert sql.query("select 1 as one", {}).read_all().num_rows == 1
    assert world.drain("spark").rows == 2
    assert sql.query("select 1 as one", {}).read_all().num_rows == 1
    sql.close()


def producer_holes(world: World) -> None:
    """An aborted transaction, and nothing else."""
    producer = Producer({"bootstrap.servers": world.log.address.brokers, "transactional.id": "regrets"})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce("readings", world._good(1), partition=0)
    producer.flush(20)
    producer.abort_transaction(20)


def test_a_writers_new_columns_land(world: World) -> None:
    put(world.log, world.schemas, 0, 1, 2)
    world.drain("spark")
    binding = topic_of(world.log, world.schemas, WIDE)
    rows = readings(3, 4).append_column("unit", ["F", "K"]).append_column("exact", [0.5, None])
    world.log.append([Append("readings", 0, binding.schema_id, rows)])
    put(world.log, world.schemas, 1, 5)
    assert world.drain("spark").rows == 3
    found = {row["n"]: (row["unit"], row["exact"]) for row in rows_in(world.lake.table("readings"))}
    assert found == {1: (None, None), 2: (None, None), 3: ("F", 0.5), 4: ("K", None), 5: (None, None)}
    world.prove()


def test_a_worker_knows_the_ids_of_its_last_batch(world: World) -> None:
    """The window is read again only where somebody else landed in between; what is kept is the same."""
    put(world.log, world.schemas, 0, 1, 2)
    sink = world.sink("spark")
    assert isinstance(sink, SparkSink)
    assert sink.step().rows == 2
    put(world.log, world.schemas, 0, 2, 3)
    assert (sink.step().duplicates, sink._before(0)) == (1, sink._after[0][1])
    put(world.log, world.schemas, 0, 3, 4)
    world.drain("python")
    put(world.log, world.schemas, 0, 4, 5)
    assert sink.step().duplicates == 1 and ids(world.lake) == ids_of(1, 2, 3, 4, 5)
    sink.close()
    world.prove()


def test_lost_records_stop_it(world: World) -> None:
    put(world.log, world.schemas, 0, *range(10))
    world.drain("spark", 5)
    put(world.log, world.schemas, 0, *range(10, 20))
    admin = AdminClient({"bootstrap.servers": world.log.address.brokers})
    for future in admin.delete_records([TopicPartition("readings", 0, 15)]).values():
        future.result()
    with pytest.raises(Truncated, match=r"records \[10, 15\) left the log"):
        world.sink("spark")
    accept(world.log, world.lake, READINGS, find(world.log, world.lake, READINGS))
    going_on = world.sink("spark")
    assert going_on.drain().rows == 5
    going_on.close()
    report = verify(world.lake, world.log, READINGS)
    assert report.ok and [(gap["start"], gap["end"], gap["recorded"]) for gap in report.gaps] == [(10, 15, True)]
    assert [(r.start, r.end) for r in ranges(world.lake.table("readings"))][-2:] == [(10, 15), (15, 20)]


def test_another_topic_of_the_name_stops_it(world: World) -> None:
    put(world.log, world.schemas, 0, 1)
    world.drain("spark")
    running = world.sink("spark")
    world.log.delete("readings")
    put(world.log, world.schemas, 0, *range(5))
    with pytest.raises((Recreated, Truncated)):
        for _ in range(20):
            running.step()
            time.sleep(0.1)
    running.close()
    with pytest.raises(Recreated):
        world.sink("spark")
    assert ids(world.lake) == ids_of(1)


def test_only_kafka(tmp_path: Path, world: World) -> None:
    log = SqliteLog(f"sqlite:{tmp_path}/schemas.db", world.schemas)
    topic_of(log, world.schemas, READINGS)
    with pytest.raises(ConfigError, match="reads Kafka, and the log is none"):
        SparkSink(spark_url(), tmp_path, log, world.schemas, world.lake, READINGS)
    log.close()


def test_a_project_lands_by_a_setting(
    kafka: str, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run` with the sink on Spark, then in Python, then on Spark again: the tables of the laptop, row for row."""
    emptied(kafka)
    no_subjects(registry)
    kinds = ("local", spark_url(), "local", spark_url())
    shops = {
        profile: Shop(tmp_path / profile, profile, {"TEST_LOG": kafka, "TEST_REGISTRY": registry})
        for profile in ("laptop", "kafka")
    }
    said: dict[str, Any] = {}
    for profile, shop in shops.items():
        for file, kind in enumerate(kinds):
            shop.write(file)
            shop.environment["MILLSTREAM_SINK"] = kind if profile == "kafka" else "local"
            shop.verb("run")
        report = shop.verb("verify", "--json")
        rows = shop.verb("sql", "--json", "select * exclude (_offset) from visits order by all", "--limit", "0")
        said[profile] = (
            rows,
            [
                {k: v for k, v in one.items() if k in ("stream", "ok", "rows", "dead", "duplicates", "records")}
                for one in report
            ],
        )
    assert said["laptop"] == said["kafka"]
    assert len(said["kafka"][0]) > 5_000


def test_a_batch_is_as_long_as_was_said(world: World) -> None:
    for partition in range(3):
        put(world.log, world.schemas, partition, *range(100 * partition, 100 * partition + 100))
    sink = world.sink("spark")
    sink.limits = SinkLimits(rows=60)
    assert sink.step() == Progress(records=60, rows=60, commits=1)
    sink.close()
    assert proven(world.lake, world.log).rows == 60
