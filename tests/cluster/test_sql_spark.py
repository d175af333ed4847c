"""Spark behind the sql port: the contract, on one core of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from spark_world import SPARK

from millstream.base.registry import engine as find
from millstream.engines.spark.sql import SparkSql
from millstream.transform.contract import SqlContract

URL = SPARK


@pytest.fixture(scope="module", autouse=True)
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Spark starts once: it lives as long as one engine does."""
    engine = SparkSql(URL, tmp_path_factory.mktemp("spark"))
    engine.query("select 1 as a", {}).read_all()
    yield
    engine.close()


class TestSpark(SqlContract):
    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[SparkSql]:
        engine = SparkSql(URL, tmp_path / "scratch")
        yield engine
        engine.close()


def test_the_registry_finds_it() -> None:
    assert find("sql", "spark://local[2]") is SparkSql
