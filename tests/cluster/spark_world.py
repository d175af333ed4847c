"""Spark beside DuckDB for tests: both engines, and tests of other rooms with Spark under them. Skips whoever imports it
where Spark cannot be had.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("pyspark", reason='Spark needs the extra: pip install "millstream[spark]"')
if shutil.which("java") is None:
    pytest.skip("Spark needs Java 17; on Debian: apt-get install openjdk-17-jre-headless", allow_module_level=True)

from millstream.engines.duckdb.sql import DuckDbSql
from millstream.engines.spark.sql import SparkSql

SPARK = "spark://local[1]?memory=1g"


def room(file: str) -> ModuleType:
    """The module of another room's tests, e.g. `transform/test_profile.py`."""
    path = Path(__file__).parents[1] / file
    spec = importlib.util.spec_from_file_location(f"of_{path.stem}", path)
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@contextmanager
def both(folder: Path) -> Iterator[tuple[DuckDbSql, SparkSql]]:
    """DuckDB and Spark, each with a scratch of its own."""
    duckdb, spark = DuckDbSql("duckdb:?threads=1", folder / "duckdb"), SparkSql(SPARK, folder / "spark")
    yield duckdb, spark
    duckdb.close()
    spark.close()
