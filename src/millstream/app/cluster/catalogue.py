"""The services there are, in the order in which they are shown."""

from __future__ import annotations

from millstream.app.cluster.kafka import Kafka
from millstream.app.cluster.postgres import Postgres
from millstream.app.cluster.redis import Redis
from millstream.app.cluster.registry import Registry
from millstream.app.cluster.service import Service

SERVICES: dict[str, Service] = {service.name: service for service in (Kafka(), Registry(), Redis(), Postgres())}
