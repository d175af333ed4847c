"""The Spark Thrift Server: Spark SQL over the lake's tables by name, for clients that speak HiveServer2's protocol.
Spark runs in its own process.

Its configuration, read by SPARK_CONF_DIR, does for any other Spark session that is to find tables in the metastore.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from millstream.cluster import ask
from millstream.cluster.hadoop import JARS, JAVA, PAGES, core_site, variables, xml
from millstream.cluster.hdfs import Hdfs, hdfs_site, root
from millstream.cluster.hive import HIVE, uris
from millstream.cluster.service import LOOPBACK, Daemon, Fetch, Service, Site, Step
from millstream.cluster.spark import DELTA, PySpark

_PORT, _PAGES = 520, 521
_NOT_FOR_CLIENTS = ("log4j", "slf4j", "hadoop-", "tez-")
"""Beginnings of jars that Spark brings itself, or that its client of the metastore does not use."""


class ThriftServer(Service):
    name = "thriftserver"
    needs = ("hive",)
    patience_s = 240.0

    def fetches(self, site: Site) -> Sequence[Fetch]:
        return JAVA, JARS, PAGES, PySpark(), DELTA, HIVE, ask.IMPYLA

    def files(self, site: Site) -> Mapping[str, str]:
        return {
            "core-site.xml": xml(core_site(site, root(site))),
            "hdfs-site.xml": xml(hdfs_site(site)),
            "spark-defaults.conf": "".join(f"{key} {value}\n" for key, value in self._settings(site).items()),
        }

    def _settings(self, site: Site) -> dict[str, object]:
        return {
            "spark.master": "local[2]",
            "spark.driver.memory": "640m",
            "spark.driver.host": LOOPBACK,
            "spark.driver.bindAddress": LOOPBACK,
            "spark.driver.extraClassPath": f"{DELTA.folder}/*",
            "spark.ui.port": site.port + _PAGES,
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
            "spark.sql.session.timeZone": "UTC",
            "spark.databricks.delta.snapshotPartitions": 2,
            "spark.sql.shuffle.partitions": 4,
            "spark.sql.catalogImplementation": "hive",
            "spark.sql.warehouse.dir": f"{root(site)}/warehouse",
            "spark.hadoop.hive.metastore.uris": uris(site),
            # Spark's own client, of Hive 2.3, asks what Hive 4 does not answer any more
            "spark.sql.hive.metastore.version": ("4.0.1"),
            "spark.sql.hive.metastore.jars": "path",
            "spark.sql.hive.metastore.jars.path": _client_jars(),
            "spark.hadoop.hive.server2.thrift.bind.host": LOOPBACK,
            "spark.hadoop.hive.server2.thrift.port": site.port + _PORT,
            "spark.hadoop.hive.server2.enable.doAs": "false",
            "spark.driver.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Duser.timezone=UTC",
        }

    def steps(self, site: Site) -> Sequence[Step]:
        main = "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2"
        submit: list[str | Path] = [
            PySpark.home() / "bin" / "spark-submit",
            "--class",
            main,
            "--name",
            "millstream",
            "spark-internal",
        ]
        return (Daemon(self.name, 0, submit, [site.port + _PORT], self._variables(site)),)

    def missing(self, site: Site) -> str:
        return "" if ("default",) in ask.sql(site.port + _PORT, "show databases") else "its default database"

    def address(self, site: Site) -> str:
        return f"jdbc:hive2://{site.at(_PORT)}"

    def _variables(self, site: Site) -> Mapping[str, str]:
        spark = {
            "SPARK_CONF_DIR": str(site.conf(self.name)),
            "SPARK_HOME": str(PySpark.home()),
            "SPARK_LOCAL_IP": LOOPBACK,
            "PYSPARK_PYTHON": sys.executable,
        }
        return {**variables(site.conf(Hdfs.name)), **spark}


@cache
def _client_jars() -> str:
    found = sorted(jar for jar in HIVE.folder.glob("*.jar") if not jar.name.startswith(_NOT_FOR_CLIENTS))
    return ",".join(f"file://{jar}" for jar in found)
