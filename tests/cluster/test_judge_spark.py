"""What `judge` passes is read back equal from the lake by Spark and by DuckDB."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from poison import SEED, STREAM
from spark_world import both, room

from millstream.base.event import OFFSET
from millstream.engines.duckdb.sql import DuckDbSql
from millstream.engines.local.files import LocalFiles
from millstream.engines.spark.sql import SparkSql
from millstream.lake.judge import judge, table_schema
from millstream.lake.lake import Lake

logged = room("lake/test_judge_writes.py").logged


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DuckDbSql, SparkSql]]:
    with both(tmp_path_factory.mktemp("engines")) as found:
        yield found


@pytest.mark.parametrize("seed", range(SEED, SEED + 5))
def test_what_is_passed_is_read_back_equal(tmp_path: Path, engines: tuple[DuckDbSql, SparkSql], seed: int) -> None:
    rows, _ = logged(random.Random(seed), 400)
    judged = judge(STREAM, rows, 1)
    passed = judged.rows.filter(pa.array(judged.good))
    table = Lake(LocalFiles(str(tmp_path))).create(STREAM.name, table_schema(STREAM))
    table.append([passed])
    for engine in engines:
        found = engine.query(f"select * from {STREAM.name}", {STREAM.name: table.snapshot()}).read_all()
        found = found.select(passed.schema.names).sort_by(OFFSET).cast(passed.schema)
        assert found.to_pylist() == passed.to_pylist(), f"{type(engine).__name__}, seed {seed}"
