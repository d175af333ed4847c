"""The expression language on Spark: generated expressions and rows, beside DuckDB's answers; and statements of meaning one by one."""

from __future__ import annotations

import importlib.util
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

pytest.importorskip("pyspark", reason='Spark needs the extra: pip install "millstream[spark]"')
if shutil.which("java") is None:
    pytest.skip("Spark needs Java 17; on Debian: apt-get install openjdk-17-jre-headless", allow_module_level=True)

from millstream.declare.expression import compile as compile_expression
from millstream.engines.duckdb.sql import DuckDbSql
from millstream.engines.spark.sql import SparkSql

_spec = importlib.util.spec_from_file_location("expressions_of_declare", Path(__file__).parents[1] / "declare" / "test_expression.py")
assert _spec and _spec.loader
language = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(language)


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DuckDbSql, SparkSql]]:
    folder = tmp_path_factory.mktemp("both")
    duckdb, spark = DuckDbSql("duckdb:?threads=1", folder / "duckdb"), SparkSql("spark://local[1]?memory=1g", folder / "spark")
    yield duckdb, spark
    duckdb.close()
    spark.close()


def alike(a: Any, b: Any) -> bool:
    """Equal, of one type. exp, ln and power may differ in the last places: neither library rounds them correctly."""
    return type(a) is type(b) and (a == b or (isinstance(a, float) and math.isclose(a, b, rel_tol=1e-12)))


@settings(max_examples=12, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(sources=st.lists(st.one_of(language.number(2), language.truth(2), language.text(2)), min_size=20, max_size=20, unique=True),
       some=st.lists(language.rows, min_size=12, max_size=12))  # fmt: skip
def test_spark_and_duckdb_agree(engines: tuple[DuckDbSql, SparkSql], sources: list[str], some: list[dict[str, Any]]) -> None:
    compare(engines, sources, some)


def compare(engines: tuple[DuckDbSql, SparkSql], sources: list[str], some: list[dict[str, Any]]) -> None:
    table = pa.table({name: pa.array([row[name] for row in some], language.ARROW[kind]) for name, kind in language.FIELDS.items()})
    made = [compile_expression(source, language.FIELDS, language.PARAMS) for source in sources]
    text = f"select {', '.join(f'{one.sql} as v{i}' for i, one in enumerate(made))} from given"
    duckdb, spark = (engine.query(text, {"given": table}).read_all() for engine in engines)
    assert spark.schema == duckdb.schema
    for i, source in enumerate(sources):
        for row, a, b in zip(some, duckdb.column(i).to_pylist(), spark.column(i).to_pylist(), strict=True):
            assert alike(a, b), (source, made[i].sql, {name: value for name, value in row.items() if name in source}, a, b)


def test_meaning(engines: tuple[DuckDbSql, SparkSql]) -> None:
    (mark,) = language.test_meaning.pytestmark
    sources = [source for source, _ in mark.args[1]]
    compare(engines, sources, [language.ROW])
