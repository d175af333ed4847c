"""Sink, updater and `verify` agree with the reference on the embedded log, whatever the order of arrivals."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from rules_world import RulesWorld

from millstream.engines.local.files import LocalFiles
from millstream.engines.sqlite.log import SqliteLog
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.lake.lake import Lake
from millstream.lake.landing import SinkLimits
from millstream.lake.sink import Sink


@pytest.fixture
def seed() -> int:
    return 0


@pytest.fixture
def world(tmp_path: Path, seed: int) -> Iterator[RulesWorld]:
    schemas = SqliteSchemas(f"sqlite:{tmp_path}/log.db")
    log = SqliteLog(f"sqlite:{tmp_path}/log.db", schemas)
    files = LocalFiles(str(tmp_path / "lake"))

    def lose(partition: int, upto: int) -> None:
        """Batches go as a whole."""
        with sqlite3.connect(tmp_path / "log.db") as con:
            con.execute("delete from batch where partition = ? and start < ?", (partition, upto))
            con.execute(
                "update part set low = coalesce((select min(start) from batch where partition = part.partition), high)"
                " where partition = ?",
                (partition,),
            )
        con.close()

    made = RulesWorld(
        log,
        schemas,
        files,
        tmp_path,
        {"python": lambda stream, rows: Sink(log, schemas, Lake(files), stream, limits=SinkLimits(rows=rows))},
        lose,
        random.Random(seed),
    )
    yield made
    made.close()
    log.close()


@pytest.mark.parametrize("seed", range(6))
def test_every_consumer_gives_one_verdict(world: RulesWorld) -> None:
    world.play(8)
    world.check()
