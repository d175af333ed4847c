"""`millstream cluster`: existing engines on one machine, configured and supervised for development and tests.

cluster.py        `Cluster`: up, down, kill, restart, status
catalogue.py      the services there are
service.py        what a service is made of
bring.py          brings services up, and waits for them
process.py        daemons known by pid and start time
state.py          what is remembered between commands
fetch.py          jars, virtual environments, system packages
elsewhere.py      what differs on a cluster that is not for tests
ask.py            questions to services, as a client puts them
jvm.py            small Java processes

Services, one file each:
airflow.py hdfs.py hive.py hiveserver.py kafka.py mlflow.py postgres.py rabbitmq.py redis.py registry.py spark.py
thriftserver.py yarn.py zookeeper.py

What they share:
hadoop.py         jars, pages and settings of Hadoop
kafka_archive.py  a class-data archive, for a faster start
kafka_wire.py     two questions in Kafka's own protocol
thrift.py         one question in Thrift's binary protocol
"""

from __future__ import annotations

from millstream.cluster.cluster import PORT, Cluster, Status

__all__ = ["PORT", "Cluster", "Status"]
