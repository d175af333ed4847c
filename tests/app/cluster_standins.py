"""Services of tiny processes, to test how a cluster is supervised without an engine.

python cluster_standins.py up FOLDER PORT     brings `slow` up, in a process that a test may kill
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from millstream.cluster import Cluster, ask
from millstream.cluster.service import Daemon, Once, Service, Site, Step

ANSWERS = """
import signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while True:
    with server.accept()[0] as s:
        s.recv(100)
        s.sendall(b"here\\n")
"""


def python(code: str, *words: str | Path) -> list[str | Path]:
    return [sys.executable, "-S", "-c", code, *words]


class StandIn(Service):
    """As many daemons as asked for, each answering on its port."""

    patience_s = 20.0

    def __init__(
        self,
        name: str,
        offset: int,
        *,
        count: int = 1,
        needs: tuple[str, ...] = (),
        code: str = ANSWERS,
        once: str = "",
        clear: str = "",
    ) -> None:
        self.name, self.offset, self.count, self.needs, self.code, self.once, self.clear = (
            name,
            offset,
            count,
            needs,
            code,
            once,
            clear,
        )

    def files(self, site: Site) -> Mapping[str, str]:
        return {"conf": f"port={site.port + self.offset}\n"}

    def steps(self, site: Site) -> Sequence[Step]:
        made = (
            [
                Once(
                    f"{self.name}-once",
                    [python(self.once, site.folder)],
                    clear=[site.data(self.clear)] if self.clear else [],
                )
            ]
            if self.once
            else []
        )
        ports = [site.port + self.offset + n for n in range(self.count * (3 if site.ha else 1))]
        daemons = [Daemon(self.name, n, python(self.code, str(port)), [port]) for n, port in enumerate(ports, 1)]
        return *made, *daemons

    def missing(self, site: Site) -> str:
        asked = [ask.line(d.ports[0], b"?\n") for d in self.daemons(site)]
        return "" if all(a == b"here\n" for a in asked) else "an answer"

    def leaders(self, site: Site) -> Mapping[str, str]:
        return {f"{self.name}#1": "leader"}

    def address(self, site: Site) -> str:
        return f"standin://{site.at(self.offset)}"


WAITS = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
(folder / "data" / "half").mkdir(parents=True)
while not (folder / "go").exists():
    time.sleep(0.02)
"""
"""Half of its work, which a second attempt must not find; the other half when it is told."""
SLOW = StandIn("slow", 10, once=WAITS, clear="half")


def cluster(folder: Path, port: int, *services: Service) -> Cluster:
    return Cluster(folder, port=port, services={s.name: s for s in services})


if __name__ == "__main__":
    cluster(Path(sys.argv[2]), int(sys.argv[3]), StandIn("quick", 0), SLOW).up()
