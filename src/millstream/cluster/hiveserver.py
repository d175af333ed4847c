"""HiveServer2: Hive SQL by JDBC and Python's clients. Queries run in its own process (Tez in local mode, no YARN)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from millstream.cluster import ask
from millstream.cluster.hadoop import JARS, JAVA, PAGES, variables
from millstream.cluster.hdfs import root
from millstream.cluster.hive import HIVE, configured, uris
from millstream.cluster.jvm import OPENS, jvm
from millstream.cluster.service import LOOPBACK, Daemon, Fetch, Once, Service, Site, Step

_PORT = 510
_MORE = ("util.concurrent", "util.concurrent.atomic", "util.regex", "time", "nio", "lang.reflect")
_OPENS = (*OPENS, *(word for package in _MORE for word in ("--add-opens", f"java.base/java.{package}=ALL-UNNAMED")))


class HiveServer(Service):
    name = "hiveserver"
    needs = ("hive",)
    patience_s = 240.0

    def fetches(self, site: Site) -> Sequence[Fetch]:
        return JAVA, JARS, PAGES, HIVE, ask.IMPYLA

    def files(self, site: Site) -> Mapping[str, str]:
        return configured(site, self._settings(site))

    def _settings(self, site: Site) -> dict[str, object]:
        return {
            "hive.metastore.uris": uris(site),
            "hive.metastore.warehouse.dir": f"{root(site)}/warehouse",
            "hive.server2.thrift.bind.host": LOOPBACK,
            "hive.server2.thrift.port": site.port + _PORT,
            "hive.server2.webui.port": 0,
            "hive.server2.enable.doAs": "false",
            "hive.server2.authentication": "NONE",
            "hive.support.concurrency": "false",
            "hive.stats.autogather": "false",
            # A count comes from the table, not from what the metastore was last sent
            "hive.compute.query.using.stats": ("false"),
            "hive.server2.tez.initialize.default.sessions": "false",
            "hive.notification.event.poll.interval": 0,
            "hive.scheduled.queries.executor.enabled": "false",
            "hive.execution.engine": "tez",
            "hive.tez.container.size": 256,
            "tez.local.mode": "true",
            "tez.local.mode.without.network": "true",
            "tez.runtime.optimize.local.fetch": "true",
            "tez.ignore.lib.uris": "true",
            "tez.runtime.io.sort.mb": 24,
            "tez.staging-dir": "/tmp/tez",  # these two are folders of HDFS
            "hive.exec.scratchdir": "/tmp/hive",
            "hive.exec.local.scratchdir": site.data("hiveserver"),
        }

    def steps(self, site: Site) -> Sequence[Step]:
        conf = site.conf(self.name)
        path = f"{conf}:{HIVE.folder}/*:{PAGES.folder}:{JARS.folder}/*"
        main = jvm(512, path, "org.apache.hive.service.server.HiveServer2", *_OPENS, "-Duser.timezone=UTC")
        return self._scratch(site), Daemon(self.name, 0, main, [site.port + _PORT], variables(conf))

    def _scratch(self, site: Site) -> Once:
        shell = jvm(256, f"{site.conf(self.name)}:{JARS.folder}/*", "org.apache.hadoop.fs.FsShell", *OPENS)
        both = 'p="$1"; shift; "$@" -mkdir -p "$p" && "$@" -chmod 777 "$p"'
        return Once(
            "hiveserver-scratch",
            [["sh", "-c", both, "sh", "/tmp/hive", *shell]],
            environment=variables(site.conf(self.name)),
        )

    def missing(self, site: Site) -> str:
        return "" if ("default",) in ask.sql(site.port + _PORT, "show databases") else "its default database"

    def address(self, site: Site) -> str:
        return f"jdbc:hive2://{site.at(_PORT)}"
