"""What is said otherwise on a cluster that is not for tests: the reference shows it beside what is rendered here, and a
test holds the names to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from millstream.cluster.service import Service, Site

ELSEWHERE: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "zookeeper": {
        "tickTime": ("2000", "a busy machine pauses for longer than four ticks of 500 ms"),
        "server.1": ("a host of its own", "three servers on three machines outlive one of them"),
        "clientPortAddress": ("the host's name", "loopback here"),
        "dataDir": ("a disk of its own", "every write waits for its sync"),
    },
    "kafka": {
        "listeners": ("SASL_SSL://HOST:9093", "loopback here, without a password; say advertised.listeners too"),
        "listener.security.protocol.map": (
            "SASL_SSL",
            "SCRAM-SHA-512 and certificates: how the URL of `log` says them is in the how-to of Kafka",
        ),
        "process.roles": (
            "broker and controller apart",
            "a controller that shares a busy broker's heap loses elections",
        ),
        "broker.session.timeout.ms": ("9000", "a broker's pause is not its death"),
        "broker.heartbeat.interval.ms": ("2000", "a quarter of the session"),
        "controller.quorum.fetch.timeout.ms": ("2000", "the default"),
        "num.partitions": ("as it is", "Millstream makes its topics with the partitions that the project says"),
        "min.insync.replicas": ("2, as here", "acks=all then outlives one broker"),
        "unclean.leader.election.enable": ("false, as here", "true would lose acknowledged records"),
        "transaction.state.log.num.partitions": ("50", "few here, so that brokers start fast"),
        "group.initial.rebalance.delay.ms": ("3000", "many sinks start at once"),
        "log.dirs": ("a disk a path", "with room for as long as a sink may ever stand still"),
    },
    "registry": {
        "apicurio.storage.sql.kind": ("postgresql", "two registries then share one database, and neither is missed"),
        "apicurio.datasource.url": ("jdbc:postgresql://HOST/registry", "a file here"),
        "quarkus.http.host": ("the host's name", "behind TLS and a password"),
    },
    "hdfs": {
        "dfs.permissions.enabled": ("true", "with Kerberos: the how-to of HDFS says what the client needs"),
        "dfs.ha.fencing.methods": (
            "sshfence, then shell(/bin/true)",
            "journal nodes let one namenode write; an old one may still answer reads",
        ),
        "dfs.blocksize": ("134217728", "small here, so that small files of tests have several blocks"),
        "dfs.heartbeat.interval": ("3", "seconds"),
        "dfs.namenode.heartbeat.recheck-interval": ("15000", "a datanode is given up after 2 x this + 10 heartbeats"),
        "dfs.namenode.stale.datanode.interval": (
            "10000, not the default of 30000",
            "a writer of delta-rs fails on a dead datanode until it counts as stale",
        ),
        "dfs.namenode.reconstruction.pending.timeout-sec": (
            "300",
            "seconds until what a datanode did not copy or rebuild is given to another",
        ),
        "dfs.namenode.avoid.write.stale.datanode": ("true, as here", "the default is false"),
        "dfs.namenode.avoid.read.stale.datanode": ("true, as here", "the default is false"),
        "dfs.namenode.ec.system.default.policy": (
            "RS-6-3-1024k, from nine datanodes on",
            "RS-3-2 needs five; an XOR policy is not read by hdfs-native",
        ),
        "dfs.namenode.handler.count": ("20 x ln(datanodes)", "6 serve tests"),
        "dfs.namenode.safemode.extension": ("30000", "milliseconds in which late datanodes may report"),
        "ha.zookeeper.session-timeout.ms": ("10000", "a namenode's long collection is not its death"),
        "dfs.replication": ("3, as here", ""),
        "dfs.namenode.rpc-address.mycluster.nn1": (
            "HOST:8020",
            "a name that all clients resolve; call the nameservice something of your own",
        ),
    },
    "yarn": {
        "yarn.nodemanager.resource.memory-mb": ("what the machine has, less the datanode's", "3 GB here"),
        "yarn.scheduler.maximum-allocation-mb": ("the largest executor and its overhead", ""),
        "yarn.nodemanager.pmem-check-enabled": ("true", "a container that takes more than it asked for is stopped"),
        "yarn.nodemanager.container-executor.class": (
            "LinuxContainerExecutor",
            "containers run as their users, in cgroups",
        ),
        "yarn.nm.liveness-monitor.expiry-interval-ms": ("600000", "10 s here, so that a dead node is soon missed"),
        "yarn.am.liveness-monitor.expiry-interval-ms": ("600000", ""),
        "yarn.scheduler.capacity.root.queues": ("a queue a team", "name Millstream's in spark.yarn.queue"),
        "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": (
            "90",
            "a full disk of a laptop would take the node out",
        ),
    },
    "spark": {
        "spark.yarn.jars": (
            "hdfs:///millstream/spark/*.jar, or spark.yarn.archive",
            "they are read where they lie on this machine",
        ),
        "spark.pyspark.python": (
            "the same path on each node, or an archive",
            "the how-to of Spark says how the environment is shipped",
        ),
        "spark.driver.memory": ("2g and more", "a driver's heap holds the plan and what is collected"),
        "spark.executor.memory": ("4g and more", ""),
        "spark.executor.instances": ("spark.dynamicAllocation.enabled true", "with the shuffle service of YARN"),
        "spark.driver.host": ("the host's name", "executors call the driver back"),
        "spark.sql.shuffle.partitions": ("2 to 3 a core", "4 here"),
    },
    "hive": {
        "javax.jdo.option.ConnectionURL": (
            "jdbc:postgresql://HOST/metastore",
            "a file of Derby here: one process at a time",
        ),
        "datanucleus.schema.autoCreateAll": ("false", "schematool makes and upgrades the schema"),
        "hive.metastore.schema.verification": ("true", ""),
        "hive.metastore.thrift.bind.host": ("the host's name", "with SASL, where HDFS has Kerberos"),
        "metastore.housekeeping.threads.on": ("true", ""),
    },
    "hiveserver": {
        "hive.server2.thrift.bind.host": ("the host's name", "loopback here"),
        "hive.server2.authentication": ("KERBEROS or LDAP", "everybody is let in here"),
        "hive.server2.enable.doAs": (
            "true",
            "where HDFS knows its users: files are read as who asks, not as the server",
        ),
        "hive.support.concurrency": (
            "true, with ZooKeeper or the metastore's transactions",
            "Millstream's tables are read here and written elsewhere, by commits that Hive's locks know nothing of",
        ),
        "tez.local.mode": ("false", "queries run in the server's own process here, and as applications of YARN there"),
        "tez.ignore.lib.uris": ("false, with tez.lib.uris on HDFS", "where containers find Tez"),
        "hive.tez.container.size": ("a container of YARN: 4096 and more", ""),
        "tez.runtime.io.sort.mb": ("a tenth of a container", "24 MB fit a server of 400 MB"),
        "hive.compute.query.using.stats": (
            "false, as here",
            "a count comes from the table, not from what the metastore was last sent",
        ),
        "hive.server2.webui.port": ("10002", "no page here"),
    },
    "thriftserver": {
        "spark.master": ("yarn", "Spark runs in the server's own process here"),
        "spark.driver.memory": ("4g and more", "what a client asks for is collected there"),
        "spark.driver.host": ("the host's name", "executors call it back"),
        "spark.hadoop.hive.server2.thrift.bind.host": (
            "the host's name",
            "with hive.server2.authentication, as HiveServer2's",
        ),
        "spark.sql.shuffle.partitions": ("2 to 3 a core", "4 here"),
        "spark.sql.hive.metastore.version": (
            "the metastore's own, with its jars in spark.sql.hive.metastore.jars.path",
            "Spark's built-in client, of Hive 2.3, asks what Hive 4 does not answer any more",
        ),
    },
    "redis": {
        "appendfsync": (
            "always, or everysec and a replica",
            "the updater tells a server that lost its last second again: nothing is lost, some features are late",
        ),
        "bind": ("the host's name", "with requirepass or ACLs, and TLS"),
        "save": ('"", as here', "snapshots beside the appends only cost memory"),
    },
    "postgres": {
        "fsync": ("on", "off here: a machine that loses power loses the database"),
        "listen_addresses": ("'*'", "with pg_hba.conf, passwords and TLS"),
        "shared_buffers": ("a quarter of the memory", ""),
        "max_connections": ("100, and a pooler before it", "each process of Millstream holds one"),
    },
    "rabbitmq": {
        "listeners.tcp.1": ("listeners.ssl.1", "loopback here, with a password and without TLS"),
        "default_user": ("none: `rabbitmqctl add_user`", "made on the first start here"),
        "vm_memory_high_watermark.absolute": (
            "vm_memory_high_watermark.relative = 0.4",
            "tasks are small; beyond it, the scheduler waits",
        ),
    },
    "airflow": {
        "simple_auth_manager_users": ("auth_manager of FAB or Keycloak", "one user here, whose password is a file"),
        "host": ("0.0.0.0 behind TLS", "loopback here"),
        "base_url": ("https://HOST", "execution_api_server_url with it: workers speak to it"),
        "workers": ("2 or more", "of the API server, each some 200 MB"),
        "worker_concurrency": ("as many as a worker's cores", "steps of Millstream are processes of their own"),
        "scheduler_idle_sleep_time": ("0.1, as here", "1 costs each task of a chain a second"),
        "task_instance_heartbeat_timeout": (
            "60",
            "so long is a lost worker not missed; a pause of the API server must be shorter",
        ),
        "parsing_processes": ("2", ""),
        "min_file_process_interval": ("30", "so long until a new DAG file is seen; `run --detach` waits for it"),
        "base_log_folder": (
            "remote_logging",
            "a folder of this machine here, which all read; else drop --skip-serve-logs",
        ),
    },
}
"""Service -> setting -> (what it is there, why)."""


def rendered(service: Service, site: Site) -> dict[str, str]:
    """Setting -> value of a service's files; the first file that says it wins."""
    found: dict[str, str] = {}
    for name, text in service.files(site).items():
        pattern = (
            r"<name>(.*?)</name><value>(.*?)</value>"
            if name.endswith(".xml")
            else r"(?m)^([\w.\-]+)[ \t]*[= ][ \t]*(.*)$"
        )
        for key, value in re.findall(pattern, text):
            found.setdefault(key, value)
    return found
