"""The services there are, in the order in which they are shown."""

from __future__ import annotations

from millstream.app.cluster.airflow import Airflow
from millstream.app.cluster.hdfs import Hdfs
from millstream.app.cluster.hive import Hive
from millstream.app.cluster.hiveserver import HiveServer
from millstream.app.cluster.kafka import Kafka
from millstream.app.cluster.mlflow import MlflowServer
from millstream.app.cluster.postgres import Postgres
from millstream.app.cluster.rabbitmq import RabbitMq
from millstream.app.cluster.redis import Redis
from millstream.app.cluster.registry import Registry
from millstream.app.cluster.service import Service
from millstream.app.cluster.spark import Spark
from millstream.app.cluster.thriftserver import ThriftServer
from millstream.app.cluster.yarn import Yarn
from millstream.app.cluster.zookeeper import ZooKeeper

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
