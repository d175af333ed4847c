"""A stream's sink on Spark, with its executors on YARN and its tables on HDFS: one application for all of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_cluster import brought
from sink_world import World, one_spark
from test_log_kafka import emptied
from test_sink_spark import OnKafka

from millstream.cluster import Cluster
from millstream.lake.contract import proven
from millstream.lake.lake import Lake
from millstream.lake.sink import Progress

URL = "spark://yarn?spark.executor.instances=2&spark.executor.cores=1"


@pytest.fixture(scope="module", autouse=True)
def spark_up(cluster: Cluster, kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    brought(cluster, "spark")
    with pytest.MonkeyPatch.context() as patch:
        for key, value in cluster.environment().items():
            patch.setenv(key, value)
        with one_spark(tmp_path_factory.mktemp("spark"), URL):
            yield


@pytest.fixture
def world(cluster: Cluster, kafka: str, tmp_path: Path) -> Iterator[World]:
    emptied(kafka)
    made = World(kafka, tmp_path, lakes=f"{cluster.address('hdfs')}/{uuid.uuid4()}", spark=URL)
    yield made
    made.close()


@pytest.mark.long
class TestOnYarn(OnKafka):
    @pytest.fixture
    def drain(self, world: World, lake: Lake) -> object:
        return lambda rows=500_000, of=None: world.drain("spark", rows, lake)


def test_from_python_to_yarn_and_back(world: World) -> None:
    """Dirty records all the way; small batches, so that kinds take over in the middle of things."""
    world.dirt(0)
    for turn, kind in enumerate(("spark", "python", "spark")):
        world.dirt(1 + 2 * turn, 30)
        sink = world.sink(kind, 150)
        sink.step()
        sink.close()
        world.dirt(2 + 2 * turn, 30)
        found = world.drain(kind, 400)
        assert isinstance(found, Progress) and found.rows > 0
        world.prove()
    assert proven(world.lake, world.log).rows > 0
