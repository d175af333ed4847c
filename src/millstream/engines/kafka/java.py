"""librdkafka's settings as those of Kafka's Java client, for engines that read a topic by it."""

from __future__ import annotations

from collections.abc import Mapping

from millstream.base.errors import ConfigError
from millstream.engines.kafka.address import Address

_ALIKE = ("security.protocol", "client.rack", "client.dns.lookup")
_LOGINS = {
    "PLAIN": "plain.PlainLoginModule",
    "SCRAM-SHA-256": "scram.ScramLoginModule",
    "SCRAM-SHA-512": "scram.ScramLoginModule",
}
_SECURITY = ("security.", "sasl.", "ssl.", "oauthbearer.", "enable.ssl", "https.")


def java_settings(address: Address) -> dict[str, str]:
    """Settings of a consumer of committed records. What only tunes librdkafka is left out.

    Raises:
        ConfigError: A setting of security has no equal.
    """
    client = {key: str(value) for key, value in address.client.items()}
    made = {"bootstrap.servers": address.brokers, "isolation.level": "read_committed"}
    made |= {key: client.pop(key) for key in _ALIKE if key in client}
    if "ssl.ca.location" in client:
        made |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": client.pop("ssl.ca.location")}
    if "ssl.endpoint.identification.algorithm" in client:
        how = client.pop("ssl.endpoint.identification.algorithm")
        made["ssl.endpoint.identification.algorithm"] = "" if how == "none" else how
    if "sasl.username" in client:
        made |= _login(client)
    left = sorted(key for key in client if key.startswith(_SECURITY))
    if left:
        raise ConfigError(
            f"Kafka's Java client has no equal of {left[0]}, so Spark cannot read with it; give Spark a user and"
            ' password, or land with sink = "local"'
        )
    return made


def _login(client: dict[str, str]) -> Mapping[str, str]:
    how = client.pop("sasl.mechanism", client.pop("sasl.mechanisms", ""))
    user, password = (
        client.pop(key, "").replace("\\", "\\\\").replace('"', '\\"') for key in ("sasl.username", "sasl.password")
    )
    if how not in _LOGINS:
        raise ConfigError(
            f"users come to Kafka by {how or 'no mechanism'}; Spark's client is given {', '.join(_LOGINS)} only"
        )
    module = f"org.apache.kafka.common.security.{_LOGINS[how]}"
    return {"sasl.mechanism": how, "sasl.jaas.config": f'{module} required username="{user}" password="{password}";'}
