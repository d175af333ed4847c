"""A class-data archive for Kafka: a broker starts in two thirds of the time, three at once in a third.

It is made once a user and Java, by a broker that is started on a scratch folder and stopped in order.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from millstream.base.errors import EngineMissing
from millstream.cluster import kafka_wire
from millstream.cluster.fetch import Jars, java, java_version, whole
from millstream.cluster.jvm import jvm
from millstream.cluster.process import free_ports
from millstream.cluster.service import Note

_TETHERED = 'trap "" INT; "$@" & read -r _; kill $!; wait $!'
"""A broker that ends when our end of its standard input does, so also when we are killed."""
_PATIENCE_S = 120.0


def cluster_id(raw: bytes) -> str:
    """An id as Kafka writes them: 16 bytes in URL-safe base64. One that began with "-" would be taken for an option (1
    of 64).

    >>> cluster_id(bytes(16)), cluster_id(bytes([0xF8, *range(15)]))
    ('AAAAAAAAAAAAAAAAAAAAAA', 'AAABAgMEBQYHCAkKCwwNDg')
    """
    text = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    return f"A{text[1:]}" if text.startswith("-") else text


@dataclass(frozen=True)
class Archive:
    """The archive for these jars on this Java.

    Attributes:
        settings: The server properties of a node alone, given its two ports and its data folder.
    """

    jars: Jars
    settings: Callable[[int, int, Path], str]

    @property
    def file(self) -> Path:
        key = hashlib.sha256(f"{self.jars.folder.name} {java().resolve()} {java_version()}".encode()).hexdigest()[:12]
        return self.jars.folder.with_name(f"kafka-archive-{key}") / "kafka.jsa"

    def fetch(self, say: Note) -> None:
        with whole(self.file.parent) as new, tempfile.TemporaryDirectory(prefix="millstream-kafka-") as scratch:
            if new is not None:
                say("preparing Kafka's classes")
                self._record(Path(scratch), new / self.file.name)

    def _record(self, scratch: Path, archive: Path) -> None:
        client, controller = free_ports(2)
        properties = scratch / "server.properties"
        properties.write_text(self.settings(client, controller, scratch / "data"), encoding="utf-8")
        path = f"{self.jars.folder}/*"
        formatted = jvm(256, path, "kafka.tools.StorageTool")
        subprocess.run(
            [*formatted, "format", "-t", cluster_id(uuid.uuid4().bytes), "-c", properties],
            check=True,
            capture_output=True,
        )
        broker = [*jvm(256, path, "kafka.Kafka", f"-XX:ArchiveClassesAtExit={archive}"), properties]
        with (
            (scratch / "log").open("wb") as log,
            subprocess.Popen(
                ["sh", "-c", _TETHERED, "sh", *broker], stdin=subprocess.PIPE, stdout=log, stderr=log
            ) as process,
        ):
            deadline = time.monotonic() + _PATIENCE_S
            while not _answers(client) and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
        if not archive.exists():
            raise EngineMissing(
                f"a Kafka broker did not start on {java()}:\n{(scratch / 'log').read_text(errors='replace')[-2000:]}"
            )


def _answers(port: int) -> bool:
    try:
        return bool(kafka_wire.brokers(port))
    except OSError:
        return False
