"""A Hive metastore, its tables in a file of Derby; Spark and others find the lake's tables by name in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from millstream.cluster.fetch import Jars
from millstream.cluster.hadoop import JARS, JAVA, LOGGING, PAGES, core_site, variables, xml
from millstream.cluster.hdfs import hdfs_site, root
from millstream.cluster.jvm import OPENS, jvm
from millstream.cluster.service import LOOPBACK, Daemon, Fetch, Service, Site, Step
from millstream.cluster.thrift import databases

_HIVE = tuple(
    f"org.apache.hive:{name}:4.0.1" for name in ("hive-service", "hive-exec", "hive-standalone-metastore-server")
)
_TEZ = tuple(f"org.apache.tez:{name}:0.10.4" for name in ("tez-dag", "tez-mapreduce", "tez-runtime-library"))
HIVE = Jars(
    "hiveserver",
    (*_HIVE, *_TEZ),
    exclude=("jdk.tools:jdk.tools", "org.apache.hadoop:*", "org.pac4j:pac4j-saml-opensamlv3"),
)
"""All of Hive: the metastore needs its expressions, to choose the partitions of a query."""
_PORT = 500
LOG4J2 = """\
status=warn
appender.out.type=Console
appender.out.name=OUT
appender.out.target=SYSTEM_ERR
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{1}: %m%n
rootLogger.level=info
rootLogger.appenderRef.out.ref=OUT
"""


def configured(site: Site, settings: Mapping[str, object]) -> dict[str, str]:
    """The files of a daemon of Hive: its own settings, and HDFS's."""
    return {
        "core-site.xml": xml(core_site(site, root(site))),
        "hdfs-site.xml": xml(hdfs_site(site)),
        "hive-site.xml": xml(settings),
        "log4j.properties": LOGGING,
        "log4j2.properties": LOG4J2,
    }


class Hive(Service):
    name = "hive"
    setting = "catalog"
    needs = ("hdfs",)

    def fetches(self, site: Site) -> Sequence[Fetch]:
        return JAVA, JARS, PAGES, HIVE

    def files(self, site: Site) -> Mapping[str, str]:
        return configured(site, self._settings(site))

    def _settings(self, site: Site) -> dict[str, object]:
        metastore = "org.apache.hadoop.hive.metastore"
        return {
            "javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={site.data('hive')}/db;create=true",
            "javax.jdo.option.ConnectionDriverName": "org.apache.derby.jdbc.EmbeddedDriver",
            "datanucleus.schema.autoCreateAll": "true",  # enough for external tables
            "hive.metastore.schema.verification": "false",
            "hive.metastore.event.db.notification.api.auth": "false",
            "hive.metastore.warehouse.dir": f"{root(site)}/warehouse",
            "hive.metastore.warehouse.external.dir": f"{root(site)}/warehouse",
            "hive.metastore.thrift.bind.host": LOOPBACK,
            "hive.metastore.uris": uris(site),
            "metastore.task.threads.always": f"{metastore}.events.EventCleanerTask",
            "metastore.housekeeping.threads.on": "false",
            "metastore.compactor.initiator.on": "false",
            "metastore.expression.proxy": "org.apache.hadoop.hive.ql.optimizer.ppr.PartitionExpressionForMetastore",
        }

    def steps(self, site: Site) -> Sequence[Step]:
        conf, data = site.conf(self.name), site.data("hive")
        path = f"{conf}:{HIVE.folder}/*:{PAGES.folder}:{JARS.folder}/*"
        main = jvm(
            384,
            path,
            "org.apache.hadoop.hive.metastore.HiveMetaStore",
            *OPENS,
            f"-Dderby.stream.error.file={data}/derby.log",
        )
        command = ["sh", "-c", 'mkdir -p "$1" && shift && exec "$@"', "sh", data, *main, "-p", str(site.port + _PORT)]
        return (Daemon("hive", 0, command, [site.port + _PORT], variables(conf)),)

    def missing(self, site: Site) -> str:
        return "" if "default" in databases(site.port + _PORT) else "its default database"

    def address(self, site: Site) -> str:
        return f"hive://{site.at(_PORT)}"

    def environment(self, site: Site) -> Mapping[str, str]:
        return {"HIVE_CONF_DIR": str(site.conf(self.name))}


def uris(site: Site) -> str:
    """Where it is, as Hive's and Spark's own settings say it."""
    return f"thrift://{site.at(_PORT)}"
