"""Profiles made on Spark: the tests of profiles, some of them, with Spark under them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from spark_world import SPARK, room

from millstream.engines.spark.sql import SparkSql

profiles = room("transform/test_profile.py")


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSql]:
    made = SparkSql(SPARK, tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


@pytest.mark.parametrize("shape", ["normal", "mostly zero", "few rows", "long tail"])
def test_numbers_are_numpys(spark: SparkSql, shape: str) -> None:
    profiles.test_numbers_are_numpys(spark, shape)


@pytest.mark.parametrize(
    "name",
    [
        "test_nulls_and_what_is_no_finite_number",
        "test_whole_numbers_and_decimals",
        "test_categories",
        "test_times",
        "test_what_is_only_counted",
        "test_empty_and_all_null",
        "test_a_sample_says_of_how_many",
    ],
)
def test_the_same_as_on_duckdb(spark: SparkSql, name: str) -> None:
    getattr(profiles, name)(spark)
