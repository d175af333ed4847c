"""Spark that does not start says so in words, and the next one may."""

from __future__ import annotations

from pathlib import Path

import pytest
from spark_world import SPARK

from millstream.base.errors import Unreachable
from millstream.engines.spark.sql import SparkSql


def test_a_spark_that_does_not_start(tmp_path: Path) -> None:
    # An address of documents, and of no machine
    nowhere = SparkSql("spark://local[1]?spark.driver.bindAddress=203.0.113.1", tmp_path / "nowhere")
    with pytest.raises(Unreachable, match=r"Spark does not start on local\[1\]: .*sparkDriver") as said:
        nowhere.query("select 1 as a", {})
    assert "\n" not in str(said.value)
    nowhere.close()
    engine = SparkSql(SPARK, tmp_path / "here")
    assert engine.query("select 1 as a", {}).read_all().to_pylist() == [{"a": 1}]
    engine.close()
