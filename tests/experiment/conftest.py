"""One engine a module, one world a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from decided_world import World, world_in

from millstream.base.registry import engine
from millstream.transform.port import Sql


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sql]:
    made: Sql = engine("sql", "duckdb")("duckdb:?threads=2", tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


@pytest.fixture
def world(tmp_path: Path, sql: Sql) -> Iterator[World]:
    made = world_in(tmp_path, sql)
    yield made
    made.state.close()
