"""A collector as a process of its own: `python collecting_server.py FOLDER [kill]` prints its address.

With `kill` the process dies by SIGKILL after a durable append that holds an event called "die", before anything is
answered: the crash point collector.committed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import millstream as ms
from millstream.base.registry import engine
from millstream.ingest.collector import Collector


class Landed(ms.Event):
    """A flight has landed."""

    flight_id: str
    carrier: str
    origin: str
    dest: str
    distance: float
    delay: float
    gate: int
    ts: ms.EventTime


LANDED = ms.stream("landed", Landed, key="flight_id")


class Dying:
    """A log whose process dies after an append."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def append(self, appends: Sequence[Any]) -> Any:
        ranges = self._log.append(appends)
        if any("die" in append.rows.column("carrier").to_pylist() for append in appends):
            os.kill(os.getpid(), signal.SIGKILL)
        return ranges


def main(folder: Path, kill: bool) -> None:
    import uvicorn

    url = f"sqlite:{folder / 'log.db'}"
    schemas = engine("schemas", url)(url)
    log = engine("log", url)(url, schemas)
    app = Collector(Dying(log) if kill else log, schemas, {"landed": LANDED})

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: list[Any] | None = None) -> None:
            await super().startup(sockets)
            print(f"http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}", flush=True)

    app.start()
    try:
        Announcing(
            uvicorn.Config(
                app,
                port=0,
                loop="uvloop",
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
            )
        ).run()
    finally:
        app.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), "kill" in sys.argv[2:])
