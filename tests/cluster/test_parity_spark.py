"""A whole project on Spark beside DuckDB: tables, features at every moment, the training set."""

from __future__ import annotations

from pathlib import Path

import pytest
from spark_world import SPARK

from millstream.app.cli.main import cli
from millstream.engines.spark.sql import SparkSql
from millstream.run.parity import parity
from millstream.run.workspace import Workspace
from millstream.templates import create


@pytest.mark.long  # the tutorial does it too
def test_the_quickstart_is_the_same(tmp_path: Path) -> None:
    create("quickstart", tmp_path / "start")
    cli.main(
        ["--project", str(tmp_path / "start"), "run", "visits", "orders", "+visits", "+orders"], standalone_mode=False
    )
    spark = SparkSql(SPARK, tmp_path / "spark")
    with Workspace.open(str(tmp_path / "start")) as ws:
        try:
            judged = {one.name: one for one in parity(ws, spark, rows=500)}
        finally:
            spark.close()
    assert list(judged) == ["habit", "spend", "customer_days", "visit_set"]
    assert {name: one.description for name, one in judged.items()} == dict.fromkeys(judged, "")
    assert all(one.same and one.difference and one.difference.rows[0] for one in judged.values())
