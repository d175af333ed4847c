"""The expression language on Spark: generated expressions and rows, beside DuckDB's answers; and statements of meaning
one by one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from spark_world import both, room

from millstream.engines.duckdb.sql import DuckDbSql
from millstream.engines.spark.sql import SparkSql
from millstream.lang.expression import compile as compile_expression

language = room("lang/test_expression.py")


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DuckDbSql, SparkSql]]:
    with both(tmp_path_factory.mktemp("both")) as made:
        yield made


def alike(a: Any, b: Any) -> bool:
    """Equal, of one type. exp, ln and power may differ in the last places: neither library rounds them correctly."""
    return type(a) is type(b) and (a == b or (isinstance(a, float) and math.isclose(a, b, rel_tol=1e-12)))


HUNT = int(os.environ.get("HUNT", "0"))
"""HUNT=150 tries 150 times 20 other expressions, others each time; what differs is printed whole."""


@settings(
    max_examples=HUNT or 12,
    deadline=None,
    derandomize=not HUNT,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    sources=st.lists(
        st.one_of(language.number(2), language.truth(2), language.text(2)), min_size=20, max_size=20, unique=True
    ),
    some=st.lists(language.rows, min_size=12, max_size=12),
)
@pytest.mark.timeout(120 * (HUNT or 5))
def test_spark_and_duckdb_agree(
    engines: tuple[DuckDbSql, SparkSql], sources: list[str], some: list[dict[str, Any]]
) -> None:
    compare(engines, sources, some)


def compare(engines: tuple[DuckDbSql, SparkSql], sources: list[str], some: list[dict[str, Any]]) -> None:
    table = pa.table(
        {name: pa.array([row[name] for row in some], language.ARROW[kind]) for name, kind in language.FIELDS.items()}
    )
    made = [compile_expression(source, language.FIELDS, language.PARAMS) for source in sources]
    text = f"select {', '.join(f'{one.sql} as v{i}' for i, one in enumerate(made))} from given"
    duckdb, spark = (engine.query(text, {"given": table}).read_all() for engine in engines)
    assert spark.schema == duckdb.schema
    for i, source in enumerate(sources):
        for row, a, b in zip(some, duckdb.column(i).to_pylist(), spark.column(i).to_pylist(), strict=True):
            assert alike(a, b), (
                source,
                made[i].sql,
                {name: value for name, value in row.items() if name in source},
                a,
                b,
            )


def test_meaning(engines: tuple[DuckDbSql, SparkSql]) -> None:
    (mark,) = language.test_meaning.pytestmark
    sources = [source for source, _ in mark.args[1]]
    compare(engines, sources, [language.ROW])
