"""The services there are, in the order in which they are shown."""

from __future__ import annotations

from millstream.cluster.airflow import Airflow
from millstream.cluster.hdfs import Hdfs
from millstream.cluster.hive import Hive
from millstream.cluster.hiveserver import HiveServer
from millstream.cluster.kafka import Kafka
from millstream.cluster.mlflow import MlflowServer
from millstream.cluster.postgres import Postgres
from millstream.cluster.rabbitmq import RabbitMq
from millstream.cluster.redis import Redis
from millstream.cluster.registry import Registry
from millstream.cluster.service import Service
from millstream.cluster.spark import Spark
from millstream.cluster.thriftserver import ThriftServer
from millstream.cluster.yarn import Yarn
from millstream.cluster.zookeeper import ZooKeeper

SERVICES: dict[str, Service] = {
    service.name: service
    for service in (
        ZooKeeper(),
        Kafka(),
        Registry(),
        Hdfs(),
        Yarn(),
        Spark(),
        Hive(),
        HiveServer(),
        ThriftServer(),
        Redis(),
        Postgres(),
        MlflowServer(),
        RabbitMq(),
        Airflow(),
    )
}
