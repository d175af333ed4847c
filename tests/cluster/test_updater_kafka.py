"""The feature updater on Kafka counts what the stream's table holds, restarts, duplicates and transactions of sources
included.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from test_log_kafka import emptied as no_topics
from test_schemas_registry import emptied as no_subjects
from updater_world import World, across_restarts, one

from millstream.base.registry import engine
from millstream.engines.kafka.log import KafkaLog
from millstream.lake.verify import verify
from millstream.log.envelope import topic_of
from millstream.log.port import Append


class OneWriter:
    """The log, whose appends go through a split's transactions, so that markers lie between the records."""

    def __init__(self, log: KafkaLog) -> None:
        self._log, self._writer, self._commits = log, log.writer("world"), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def append(self, appends: list[Append]) -> Any:
        self._commits += 1
        return self._writer.commit(appends, str(self._commits))


@pytest.fixture(params=["appends", "transactions"])
def world(kafka: str, registry: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    no_topics(kafka)
    no_subjects(registry)
    made = World(tmp_path)
    made.log.close()
    made.schemas = engine("schemas", registry)(registry)
    log = engine("log", kafka)(kafka, made.schemas)
    made.log = log if request.param == "appends" else cast(Any, OneWriter(log))
    made.binding = topic_of(made.log, made.schemas, made.stream)
    yield made
    made.close()


def test_online_is_what_the_table_holds(world: World) -> None:
    done = across_restarts(world)
    report = verify(world.lake, world.log, world.stream)
    assert report.ok and report.records == done.records, report


def test_filled_then_moved_on(world: World) -> None:
    d = one()
    for _ in range(6):
        world.send(40)
    world.land()
    for _ in range(3):
        world.send(30)
    assert world.fill(d) == len(world.rows())
    updater = world.updater(d)
    updater.drain()
    updater.close()
    world.land()
    assert world.differences(d) == []
