"""YARN and Spark as `millstream cluster` brings them up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from running_cluster import brought

from millstream.cluster import Cluster
from millstream.cluster.spark import PySpark
from millstream.engines.hdfs.files import HdfsFiles

JOB = """
import sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.appName("test").getOrCreate()
table = sys.argv[1]
spark.range(1000).write.format("delta").mode("overwrite").save(table)
rows = spark.sql(f"select count(*), sum(id) from delta.`{table}`").collect()
python = spark.sparkContext.parallelize(range(100), 2).map(lambda x: x + 1).sum()  # a worker in Python on the executor
print("RESULT", spark.sparkContext.master, list(rows[0]), python)
spark.stop()
"""


@pytest.mark.timeout(900)
def test_a_job_runs_on_yarn_and_leaves_a_delta_table_on_hdfs(cluster: Cluster, spark: str, hdfs: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", JOB, f"{hdfs}/job"], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "RESULT yarn [1000, 499500] 5050" in done.stdout
    assert cluster.profile()["compute"] == f"{spark}?conf=.millstream/cluster/conf/spark"


CLUSTER_MODE = """
import sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.appName("job").getOrCreate()
python = spark.sparkContext.parallelize(range(100), 2).map(lambda x: x + 1).sum()
spark.range(1000).write.format("delta").save(sys.argv[1])
spark.range(1).write.parquet(sys.argv[1] + f"-told/{python}")
spark.stop()
"""


@pytest.mark.timeout(900)
@pytest.mark.long
def test_a_driver_on_yarn_too(spark: str, hdfs: str, tmp_path: Path) -> None:
    """`spark-submit --deploy-mode cluster` with the configuration alone, and no variable of Hadoop's."""
    job, place = tmp_path / "job.py", f"{hdfs}/{uuid.uuid4().hex}"
    job.write_text(CLUSTER_MODE, encoding="utf-8")
    environment = {
        key: value for key, value in os.environ.items() if key not in ("HADOOP_CONF_DIR", "JAVA_HOME", "SPARK_LOCAL_IP")
    }
    submit = [str(PySpark.home() / "bin" / "spark-submit"), "--deploy-mode", "cluster", str(job), place]
    done = subprocess.run(submit, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {name for name in HdfsFiles(f"{place}-told").list("") if not name.startswith("_")} == {"5050"}
    assert any(name.endswith(".json") for name in HdfsFiles(place).list("_delta_log"))


@pytest.mark.timeout(900)
def test_the_standby_manager_takes_over_and_nodes_come_back(ha_cluster: Cluster) -> None:
    brought(ha_cluster, "yarn", ha=True)
    killed = ha_cluster.leader("resourcemanager")
    ha_cluster.kill(killed)
    deadline = time.monotonic() + 60
    while True:
        try:
            if ha_cluster.leader("resourcemanager") != killed:
                break
        except OSError:
            pass
        assert time.monotonic() < deadline, "no other manager is active"
        time.sleep(0.2)
    ha_cluster.restart(killed)
    ha_cluster.kill("nodemanager#1")
    ha_cluster.restart("nodemanager#1")
    parts = {s.role: s.part for s in ha_cluster.status() if s.role.startswith("resourcemanager")}
    assert sorted(parts.values()) == ["active", "standby"] and parts[killed] == "standby"
