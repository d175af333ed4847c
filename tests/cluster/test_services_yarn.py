"""YARN and Spark as `millstream cluster` brings them up."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from running_cluster import brought

from millstream.app.cluster import Cluster

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
    done = subprocess.run([sys.executable, "-c", JOB, f"{hdfs}/job"], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "RESULT yarn [1000, 499500] 5050" in done.stdout
    assert spark == cluster.profile()["compute"] == "spark://yarn"


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
