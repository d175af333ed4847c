"""Kafka with TLS and passwords: what the URL says reaches the broker, and what is wrong says so."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from millstream.base.errors import ConfigError, MillstreamError
from millstream.cluster.jvm import jvm
from millstream.cluster.kafka import JARS, properties
from millstream.engines.kafka import topics
from millstream.engines.kafka.log import KafkaLog
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.log.contract import SCHEMA, numbers, read, rows
from millstream.log.port import Append, Ends

PLAIN, SECURE, CONTROLLER = range(3)
MODULE = "org.apache.kafka.common.security"


@dataclass(frozen=True)
class Secured:
    """A broker that wants TLS, and a name and a password."""

    folder: Path
    ports: tuple[int, ...]

    def url(self, who: str, ca: str = "ca.crt", more: str = "") -> str:
        return f"kafka://{who}@127.0.0.1:{self.ports[SECURE]}?ssl.ca.location={self.folder / ca}{more}"

    def log(self, url: str) -> KafkaLog:
        return KafkaLog(url, SqliteSchemas(f"sqlite:{self.folder}/schemas.db"))


def certificates(folder: Path) -> None:
    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    for name in ("ca", "other"):
        openssl(
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "30",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.crt",
            "-subj",
            f"/CN={name}",
        )
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "s.key", "-out", "s.csr", "-subj", "/CN=localhost")
    (folder / "san").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl(
        "x509",
        "-req",
        "-in",
        "s.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "30",
        "-extfile",
        "san",
        "-out",
        "s.crt",
    )
    openssl("pkcs8", "-topk8", "-nocrypt", "-in", "s.key", "-out", "s.p8")
    (folder / "keystore.pem").write_text((folder / "s.p8").read_text() + (folder / "s.crt").read_text())


def settings(folder: Path, ports: tuple[int, ...]) -> str:
    plain, secure = f"INTERNAL://127.0.0.1:{ports[PLAIN]}", f"SECURE://127.0.0.1:{ports[SECURE]}"
    more = {
        "listeners": f"{plain},{secure},CONTROLLER://127.0.0.1:{ports[CONTROLLER]}",
        "advertised.listeners": f"{plain},{secure}",
        "listener.security.protocol.map": "INTERNAL:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "INTERNAL",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        "listener.name.secure.scram-sha-512.sasl.jaas.config": f"{MODULE}.scram.ScramLoginModule required;",
        "listener.name.secure.plain.sasl.jaas.config": (
            f'{MODULE}.plain.PlainLoginModule required user_bob="bob-secret";'
        ),
        "listener.name.secure.ssl.keystore.type": "PEM",
        "listener.name.secure.ssl.keystore.location": folder / "keystore.pem",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:alice",
    }
    return properties(1, {1: (ports[PLAIN], ports[CONTROLLER])}, folder / "data") + "".join(
        f"{key}={value}\n" for key, value in more.items()
    )


def free_ports(count: int) -> tuple[int, ...]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return tuple(s.getsockname()[1] for s in sockets)


@pytest.fixture(scope="module")
def secured(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates")
    folder, ports = tmp_path_factory.mktemp("secure"), free_ports(3)
    certificates(folder)
    (folder / "server.properties").write_text(settings(folder, ports))
    tool = jvm(128, f"{JARS.folder}/*", "kafka.tools.StorageTool")
    scram = "SCRAM-SHA-512=[name=alice,password=alice/s@cret]"
    subprocess.run(
        [*tool, "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", "server.properties", "-S", scram],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    with (folder / "log").open("wb") as out:
        broker = subprocess.Popen(
            [*jvm(256, f"{JARS.folder}/*", "kafka.Kafka"), "server.properties"], cwd=folder, stdout=out, stderr=out
        )
        try:
            admin, until = (
                AdminClient({"bootstrap.servers": f"127.0.0.1:{ports[PLAIN]}", "logger": _Silent()}),
                time.monotonic() + 60,
            )
            while not _up(admin):
                assert time.monotonic() < until and broker.poll() is None, (folder / "log").read_text()[-2000:]
            yield Secured(folder, ports)
        finally:
            broker.terminate()
            broker.wait(30)


class _Silent:
    def log(self, *args: object) -> None:
        """It is not up yet."""


def _up(admin: AdminClient) -> bool:
    try:
        return bool(admin.describe_cluster(request_timeout=1).result().nodes)
    except Exception:
        time.sleep(0.2)
        return False


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "REQUEST_S", 2.0)


def test_a_user_with_a_password_over_tls(secured: Secured) -> None:
    """All kinds of clients: admin, appender, writer, reader, group."""
    log = secured.log(secured.url("alice:alice%2Fs%40cret"))
    schema_id = log._texts._schemas.register("t", SCHEMA)
    log.create("t", partitions=1)
    log.append([Append("t", 0, schema_id, rows(1))])
    log.writer("s").commit([Append("t", 0, schema_id, rows(2))], "2")
    assert numbers(read(log.reader("t", {0: 0}), 2)) == [1, 2] and log.position("s") == "2"
    share = log.share("t", "g", "m")
    until = time.monotonic() + 30
    while share.partitions() != {0}:
        assert time.monotonic() < until
        time.sleep(0.05)
    share.leave()
    log.close()


@pytest.mark.parametrize(
    ("who", "ca", "more", "said"),
    [
        ("alice:wrong", "ca.crt", "", "_AUTHENTICATION"),
        ("nobody:x", "ca.crt", "", "_AUTHENTICATION"),
        ("alice:alice%2Fs%40cret", "other.crt", "", "_SSL"),
        ("bob:bob-secret", "ca.crt", "&sasl.mechanism=SCRAM-SHA-512", "_AUTHENTICATION"),
    ],
)
def test_what_is_refused_names_the_settings(secured: Secured, who: str, ca: str, more: str, said: str) -> None:
    log = secured.log(secured.url(who, ca, more))
    with pytest.raises(ConfigError, match=said) as caught:
        log.topics()
    assert "in the URL of `log`" in str(caught.value) and "cret" not in str(caught.value)
    log.close()


def test_an_acl_that_is_missing_says_so(secured: Secured) -> None:
    """bob may see the topic, and may not write to it."""
    alice = secured.log(secured.url("alice:alice%2Fs%40cret"))
    alice.create("seen", partitions=1)
    schema_id = alice._texts._schemas.register("seen", SCHEMA)
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{secured.ports[PLAIN]}", "logger": _Silent()})
    rule = AclBinding(
        ResourceType.TOPIC,
        "seen",
        ResourcePatternType.LITERAL,
        "User:bob",
        "*",
        AclOperation.DESCRIBE,
        AclPermissionType.ALLOW,
    )
    for future in admin.create_acls([rule]).values():
        future.result(10)
    bob = secured.log(secured.url("bob:bob-secret", more="&sasl.mechanism=PLAIN"))
    with pytest.raises(ConfigError, match="AUTHORIZATION_FAILED"):
        bob.append([Append("seen", 0, schema_id, rows(1))])
    with pytest.raises(MillstreamError):
        bob.create("bobs", partitions=1)
    assert numbers(alice.reader("seen", {0: 0}).poll(10, timedelta(0))) == []
    for log in (alice, bob):
        log.close()


def test_rights_that_retention_lacks_are_named_once(secured: Secured, caplog: pytest.LogCaptureFixture) -> None:
    """bob may look, and neither configure the topic, nor keep marks, nor delete; then he may keep marks."""
    alice = secured.log(secured.url("alice:alice%2Fs%40cret"))
    alice.create("kept", partitions=1, retention=timedelta(milliseconds=1))
    alice.append([Append("kept", 0, alice._texts._schemas.register("kept", SCHEMA), rows(1, 2))])
    alice._topics.configure("kept", {"retention.ms": "86400000"})
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{secured.ports[PLAIN]}", "logger": _Silent()})

    def allow(kind: ResourceType, name: str, pattern: ResourcePatternType, *operations: AclOperation) -> None:
        rules = [
            AclBinding(kind, name, pattern, "User:bob", "*", operation, AclPermissionType.ALLOW)
            for operation in operations
        ]
        for future in admin.create_acls(rules).values():
            future.result(10)

    def warnings(name: str) -> int:
        return sum(name in record.message for record in caplog.records)

    allow(ResourceType.TOPIC, "kept", ResourcePatternType.LITERAL, AclOperation.READ, AclOperation.DESCRIBE_CONFIGS)
    bob = secured.log(secured.url("bob:bob-secret", more="&sasl.mechanism=PLAIN"))
    bob._upkeep.every_s = bob._upkeep._next = 0
    for _ in range(2):
        bob.create("kept", partitions=1, retention=timedelta(milliseconds=1))
        bob.retain("kept", before={0: 2})
        bob.maintain()
    assert (
        warnings("allow ALTER_CONFIGS") == warnings("allow READ and DELETE on groups") == 1
        and warnings("allow DELETE on the topic") == 0
    )
    allow(ResourceType.GROUP, "millstream.", ResourcePatternType.PREFIXED, AclOperation.READ)
    for _ in range(2):
        bob.retain("kept", before={0: 2})
        bob.maintain()
    assert warnings("allow DELETE on the topic") == 1 and alice.ends("kept")[0] == Ends(0, 2)
    for log in (alice, bob):
        log.close()
