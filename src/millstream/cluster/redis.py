"""Redis, one server; its file of appends is synced each second, so a killed server loses nothing and a lost machine one
second.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from millstream.cluster import ask
from millstream.cluster.fetch import Debian, program
from millstream.cluster.service import LOOPBACK, Daemon, Fetch, Service, Site, Step

_PORT = 70


def _server() -> Path | None:
    found = shutil.which("redis-server")
    return Path(found) if found else None


class Redis(Service):
    name = "redis"
    setting = "online"

    def fetches(self, site: Site) -> Sequence[Fetch]:
        return (Debian("redis-server", _server),)

    def files(self, site: Site) -> Mapping[str, str]:
        settings = {
            "port": site.port + _PORT,
            "bind": LOOPBACK,
            "dir": site.data("redis"),
            "save": '""',
            "appendonly": "yes",
            "appendfsync": "everysec",
        }
        return {"redis.conf": "".join(f"{key} {value}\n" for key, value in settings.items())}

    def steps(self, site: Site) -> Sequence[Step]:
        site.data("redis").mkdir(parents=True, exist_ok=True)
        return (
            Daemon(
                "redis",
                0,
                [program("redis-server", "redis-server"), site.conf(self.name) / "redis.conf"],
                [site.port + _PORT],
            ),
        )

    def missing(self, site: Site) -> str:
        answer = ask.line(site.port + _PORT, b"PING\r\n")
        return "" if answer.startswith(b"+PONG") else answer.decode(errors="replace").strip()

    def address(self, site: Site) -> str:
        return f"redis://{site.at(_PORT)}/0"
