"""Spark on YARN behind the sql port: the same contract, by executors of YARN over files on HDFS. One application for
all of it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import spark_world  # noqa: F401 - skips where Spark cannot be had
from running_cluster import brought

from millstream.cluster import Cluster
from millstream.engines.hdfs.files import HdfsFiles
from millstream.engines.spark.sql import SparkSql
from millstream.lake.port import Snapshot
from millstream.transform.contract import SqlContract, plant, scratch

URL = "spark://yarn?spark.executor.instances=2&spark.executor.cores=1"


@pytest.fixture(scope="module", autouse=True)
def lake(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HdfsFiles]:
    """The application starts once: it lives as long as one engine does."""
    brought(cluster, "spark")
    with pytest.MonkeyPatch.context() as patch:
        for key, value in cluster.environment().items():
            patch.setenv(key, value)
        engine = SparkSql(URL, tmp_path_factory.mktemp("spark"))
        engine.query("select 1 as a", {}).read_all()
        yield HdfsFiles(f"{cluster.address('hdfs')}/{uuid.uuid4()}")
        engine.close()


class TestSparkOnYarn(SqlContract):
    @pytest.fixture
    def engine(self, tmp_path: Path, lake: HdfsFiles) -> Iterator[SparkSql]:
        self.lake, self.shared = lake, HdfsFiles(f"{lake.root.rpartition('/lake')[0]}/tmp/millstream")
        engine = SparkSql(URL, tmp_path / "scratch")
        yield engine
        engine.close()

    def plant(self, folder: Path, *files: pa.Table, name: str = "t", **more: Any) -> Snapshot:
        """Written here, as the suite does, and moved to HDFS, where the executors read it."""
        here = plant(folder, *files, name=name, **more)
        there = []
        for file in here.files:
            path = f"{uuid.uuid4()}/{name}/{Path(file).name}"
            with self.lake.create(path) as out:
                out.write(Path(file).read_bytes())
            there.append(f"{self.lake.root}/{path}")
        return replace(here, files=tuple(there), store=self.lake)

    def scratch(self, folder: Path) -> list[Any]:
        return [
            *scratch(folder),
            *(
                one
                for application in self.shared.list("")
                if application != "environments"
                for one in self.shared.list(application)
            ),
        ]
