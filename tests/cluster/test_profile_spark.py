"""Profiles made on Spark: the tests of profiles, some of them, with Spark under them."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pyspark", reason='Spark needs the extra: pip install "millstream[spark]"')
if shutil.which("java") is None:
    pytest.skip("Spark needs Java 17; on Debian: apt-get install openjdk-17-jre-headless", allow_module_level=True)

from millstream.engines.spark.sql import SparkSql

_spec = importlib.util.spec_from_file_location("profiles_of_transform", Path(__file__).parents[1] / "transform" / "test_profile.py")
assert _spec and _spec.loader
profiles = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(profiles)


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSql]:
    made = SparkSql("spark://local[1]?memory=1g", tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


@pytest.mark.parametrize("shape", ["normal", "mostly zero", "few rows", "long tail"])
def test_numbers_are_numpys(spark: SparkSql, shape: str) -> None:
    profiles.test_numbers_are_numpys(spark, shape)


@pytest.mark.parametrize("name", [
    "test_nulls_and_what_is_no_finite_number", "test_whole_numbers_and_decimals", "test_categories", "test_times", "test_what_is_only_counted", "test_empty_and_all_null",
    "test_a_sample_says_of_how_many",
])  # fmt: skip
def test_the_same_as_on_duckdb(spark: SparkSql, name: str) -> None:
    getattr(profiles, name)(spark)
