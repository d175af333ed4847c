"""What Hadoop's services share: jars, pages, settings as XML, and how a JVM of it is started."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from millstream.cluster.fetch import Jars, Java, java
from millstream.cluster.jvm import OPENS, jvm
from millstream.cluster.service import Site
from millstream.cluster.zookeeper import quorum

VERSION = "3.5.0"
JAVA = Java(17, 21)
"""Hadoop does not run on a Java without the security manager (24 and later); it was run on 17."""
_ARTIFACTS = (
    "hadoop-common",
    "hadoop-hdfs",
    "hadoop-hdfs-client",
    "hadoop-yarn-server-resourcemanager",
    "hadoop-yarn-server-nodemanager",
    "hadoop-yarn-client",
    "hadoop-yarn-server-timelineservice",  # the resource manager names a class of it, used or not
    "hadoop-mapreduce-client-app",
    "hadoop-mapreduce-client-jobclient",
    "hadoop-mapreduce-client-shuffle",
)
JARS = Jars("hadoop", tuple(f"org.apache.hadoop:{name}:{VERSION}" for name in _ARTIFACTS))
PAGES = Jars(
    "hadoop-pages",
    (f"!org.apache.hadoop:hadoop-hdfs:{VERSION}:jar:tests",),
    unpack=(f"hadoop-hdfs-{VERSION}-tests.jar", "webapps/"),
)
"""Daemons of HDFS do not start without their pages, which are in the release's archive and, of the jars, in that of the
tests only.
"""
LOGGING = """\
hadoop.root.logger=INFO,console
log4j.rootLogger=${hadoop.root.logger}
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d %p %c{2}: %m%n
log4j.logger.org.apache.hadoop.util.NativeCodeLoader=ERROR
"""


def xml(settings: Mapping[str, object]) -> str:
    """A configuration file of Hadoop."""
    rows = "\n".join(
        f"<property><name>{escape(name)}</name><value>{escape(str(value))}</value></property>"
        for name, value in settings.items()
    )
    return f'<?xml version="1.0"?>\n<configuration>\n{rows}\n</configuration>\n'


def core_site(site: Site, file_system: str) -> dict[str, object]:
    """Settings of every Hadoop process and client.

    Args:
        file_system: The URL of the default file system.
    """
    user = getpass.getuser()
    return {
        "fs.defaultFS": file_system,
        "hadoop.tmp.dir": site.data("hadoop-tmp"),
        "ha.zookeeper.quorum": quorum(site),
        "ha.zookeeper.session-timeout.ms": 4000,  # the time in which a dead namenode is noticed; 10 s by default
        "hadoop.http.staticuser.user": user,
        f"hadoop.proxyuser.{user}.hosts": "*",
        f"hadoop.proxyuser.{user}.groups": "*",
        "ipc.client.connect.max.retries": 3,
    }


def hadoop(conf: Path, heap_mb: int, main: str, *options: str) -> list[str | Path]:
    """A command line of a Hadoop class: options `-Dkey=value` are its settings beside those of the files."""
    return [*jvm(heap_mb, f"{conf}:{PAGES.folder}:{JARS.folder}/*", main, *OPENS), *options]


def variables(conf: Path) -> dict[str, str]:
    """What daemons and commands of Hadoop find in their environment."""
    return {
        "HADOOP_CONF_DIR": str(conf),
        "HADOOP_USER_NAME": getpass.getuser(),
        "JAVA_HOME": str(java().resolve().parent.parent),
    }
