"""Spark on YARN: no daemon of its own, only configuration that clients find by SPARK_CONF_DIR, and the jars of Delta
and of Kafka's connector.

Client mode: the driver is the client's process. Node managers are on this machine, so jars are read where they lie
instead of being shipped.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from sysconfig import get_path

from millstream.base.errors import EngineMissing
from millstream.cluster.fetch import Jars, Java
from millstream.cluster.hadoop import variables
from millstream.cluster.service import LOOPBACK, Fetch, Note, Service, Site, Step
from millstream.cluster.yarn import Yarn

# Each without what it needs: Spark brings its own Hadoop, Parquet and Jackson, and two of them do not go together.
_DELTA = (
    "delta-spark_4.2_2.13",
    "delta-storage",
    "delta-kernel-api",
    "delta-kernel-defaults",
    "delta-kernel-unitycatalog",
)
_BESIDE = (
    "io.unitycatalog:unitycatalog-client:0.6.0",
    "io.unitycatalog:unitycatalog-hadoop:0.6.0",
    "org.locationtech.jts:jts-core:1.20.0",
)
DELTA = Jars("delta", (*(f"!io.delta:{name}:4.4.0" for name in _DELTA), *(f"!{coordinate}" for coordinate in _BESIDE)))
# Of `sink = "spark://..."`; kafka-clients is the one that this connector was built with.
_CONNECTOR = ("spark-sql-kafka-0-10_2.13:4.2.0", "spark-token-provider-kafka-0-10_2.13:4.2.0")
CONNECTOR = Jars(
    "spark-kafka",
    (
        *(f"!org.apache.spark:{name}" for name in _CONNECTOR),
        "!org.apache.kafka:kafka-clients:3.9.2",
        "!org.apache.commons:commons-pool2:2.13.1",
    ),
)
_DRIVER, _BLOCKS, _PAGES = 600, 620, 700


class PySpark:
    """Spark itself, from the extra `spark`."""

    def fetch(self, say: Note) -> None:
        if find_spec("pyspark") is None:
            raise EngineMissing('Spark is not installed: pip install "millstream[spark]"')

    @staticmethod
    def home() -> Path:
        """SPARK_HOME: where it is, or would be; commands about other services ask too."""
        found = find_spec("pyspark")
        return (
            Path(found.origin).parent
            if found is not None and found.origin is not None
            else Path(get_path("purelib")) / "pyspark"
        )


class Spark(Service):
    name = "spark"
    setting = "compute"
    needs = ("yarn",)

    def fetches(self, site: Site) -> Sequence[Fetch]:
        return Java(17, 21), PySpark(), DELTA, CONNECTOR

    def files(self, site: Site) -> Mapping[str, str]:
        told = {**variables(site.conf(Yarn.name)), "SPARK_LOCAL_IP": LOOPBACK}
        return {
            "spark-defaults.conf": "".join(f"{key} {value}\n" for key, value in self._settings(site).items()),
            "spark-env.sh": "".join(f"export {key}={shlex.quote(value)}\n" for key, value in told.items()),
        }

    def _settings(self, site: Site) -> dict[str, object]:
        return {
            "spark.master": "yarn",
            "spark.driver.memory": "768m",
            "spark.driver.memoryOverhead": "256m",
            "spark.executor.memory": "512m",
            "spark.executor.memoryOverhead": "256m",
            "spark.executor.instances": 2,
            "spark.executor.cores": 2,
            "spark.yarn.am.memory": "256m",
            "spark.yarn.am.memoryOverhead": "192m",
            "spark.yarn.maxAppAttempts": 4,
            "spark.driver.host": LOOPBACK,
            "spark.driver.bindAddress": LOOPBACK,
            "spark.driver.port": site.port + _DRIVER,
            "spark.blockManager.port": site.port + _BLOCKS,
            "spark.ui.port": site.port + _PAGES,
            "spark.port.maxRetries": 40,
            "spark.executorEnv.SPARK_LOCAL_IP": LOOPBACK,
            "spark.yarn.appMasterEnv.SPARK_LOCAL_IP": LOOPBACK,
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
            "spark.databricks.delta.snapshotPartitions": 2,
            "spark.sql.shuffle.partitions": 4,
            "spark.yarn.jars": f"local:{PySpark.home()}/jars/*,local:{DELTA.folder}/*,local:{CONNECTOR.folder}/*",
            "spark.driver.extraClassPath": f"{DELTA.folder}/*:{CONNECTOR.folder}/*",
            "spark.pyspark.python": sys.executable,
            "spark.executor.extraJavaOptions": "-XX:+UseSerialGC",
        }

    def steps(self, site: Site) -> Sequence[Step]:
        return ()

    def missing(self, site: Site) -> str:
        return Yarn().missing(site)

    def address(self, site: Site) -> str:
        return f"spark://yarn?conf={site.from_project(site.conf(self.name))}"

    def environment(self, site: Site) -> Mapping[str, str]:
        hadoop = variables(site.conf(Yarn.name))
        return {
            **hadoop,
            "SPARK_CONF_DIR": str(site.conf(self.name)),
            "SPARK_HOME": str(PySpark.home()),
            "SPARK_LOCAL_IP": LOOPBACK,
        }
