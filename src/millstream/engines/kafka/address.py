"""The URL of a Kafka cluster.

    kafka://broker-1:9092,broker-2:9092
    kafka://alice:PASSWORD@broker-1:9093?ssl.ca.location=/etc/ca.pem&replication=3

A user means SASL_SSL with SCRAM-SHA-512 unless the options say otherwise. Options with a dot in their name go to
librdkafka as they are (`security.protocol`, `sasl.mechanism`, `ssl.ca.location`, `client.rack`, ...); the others are
Millstream's own.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from millstream.base.errors import ConfigError
from millstream.base.words import nearest
from millstream.engines.kafka.errors import Quiet

OURS = ("replication", "positions", "max_message_bytes", "transaction_timeout_ms")
_KEPT = (
    "acks",
    "enable.idempotence",
    "transactional.id",
    "isolation.level",
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.partition.eof",
    "group.id",
    "bootstrap.servers",
    "transaction.timeout.ms",
    "message.max.bytes",
    "enable.auto.offset.store",
)


@dataclass(frozen=True)
class Address:
    """Where a cluster is, and how to speak to it.

    Attributes:
        brokers: `host:port,host:port`.
        client: librdkafka's settings that every client gets; holds a password, so it is in no repr.
        replication: Copies of each partition of topics made here; None: 3, or as many as there are brokers.
        positions: The compacted topic of the splits' positions. Projects that share a cluster and name their sources
            alike need one each.
        max_message_bytes: The largest record, framed: the limit of topics made here and of what is sent.
        transaction_timeout_ms: How long a dead writer's transaction holds readers back.
    """

    brokers: str
    client: Mapping[str, str] = field(repr=False)
    replication: int | None = None
    positions: str = "_millstream_positions"
    max_message_bytes: int = 16 << 20
    transaction_timeout_ms: int = 10_000

    def config(self, more: Mapping[str, object]) -> dict[str, Any]:
        """All settings of one client."""
        return {
            "bootstrap.servers": self.brokers,
            "log.connection.close": False,
            "logger": Quiet(),
            **self.client,
            **more,
        }


def address_of(url: str) -> Address:
    """Read the URL.

    Raises:
        ConfigError: It names no broker, or an option that does not exist or that exactly-once rests on.

    >>> address_of("kafka:b1:9092,b2:9092").brokers
    'b1:9092,b2:9092'
    >>> sorted(address_of("kafka://alice:s@b1:9093?replication=2").client)
    ['sasl.mechanism', 'sasl.password', 'sasl.username', 'security.protocol']
    """
    rest, _, query = url.removeprefix("kafka:").removeprefix("//").partition("?")
    who, at, brokers = rest.rpartition("@")
    brokers = brokers.strip("/")
    if not brokers or not all(_is_host(broker) for broker in brokers.split(",")):
        raise ConfigError(f'"{url}" names no broker; write kafka://HOST:PORT,HOST:PORT')
    options = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    client = {name: value for name, value in options.items() if "." in name}
    _check(options)
    if at:
        user, _, password = who.partition(":")
        said = {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"}
        client = {
            **said,
            "sasl.username": urllib.parse.unquote(user),
            "sasl.password": urllib.parse.unquote(password),
            **client,
        }
    numbers = {
        name: _number(name, options[name])
        for name in ("replication", "max_message_bytes", "transaction_timeout_ms")
        if name in options
    }
    return Address(
        brokers,
        client,
        **({"positions": options["positions"]} if options.get("positions") else {}),  # type: ignore[arg-type]
        **numbers,  # type: ignore[arg-type]
    )


def _check(options: Mapping[str, str]) -> None:
    for name in options:
        if name in _KEPT:
            raise ConfigError(f"the option {name} of a kafka URL is Millstream's to set; exactly-once rests on it")
        if "." not in name and name not in OURS:
            known = (
                nearest(name, OURS)
                or f"there are {', '.join(OURS)}, and librdkafka's own, which have a dot in their name"
            )
            raise ConfigError(f'a kafka URL has no option "{name}"; {known}')


def _number(name: str, value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise ConfigError(f"the option {name} of a kafka URL is a number from 1; it is {value!r}")
    return int(value)


def _is_host(broker: str) -> bool:
    host, _, port = broker.rpartition(":")
    return bool(host) and port.isdecimal()
