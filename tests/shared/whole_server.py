"""Endpoints and collector in one process, as `up` runs them: `python whole_server.py FOLDER` prints its address."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from given import engines

import millstream as ms
from millstream.declare.endpoint import Endpoint
from millstream.ingest.collector import Collector
from millstream.serve.live import Live
from millstream.serve.server import Server, run


class Ask(ms.Event):
    """A visitor asks for a ranking."""

    visit_id: str
    device: str
    ts: ms.EventTime


class Bought(ms.Event):
    visit_id: str
    price: float
    ts: ms.EventTime


BOUGHT = ms.stream("bought", Bought, key="visit_id")
TEST = ms.experiment(
    "ranking",
    arms={"cheap": "cheap", "new": "newest"},
    unit="visit_id",
    assign=ms.assign.ab(0.5, 0.5),
    reward=ms.outcome(BOUGHT, on="visit_id", within="1h", value="price", otherwise=0.0),
)
RANK: Endpoint[Any, str] = ms.endpoint("rank", TEST, default="popular", request=Ask)


def main(folder: Path) -> None:
    made = engines(folder, RANK, BOUGHT)
    collector = Collector(made.log, made.schemas, {"bought": BOUGHT}, token="secret")
    collector.start()
    try:
        run(
            Server(Live(made), made.log, token="secret", mounts={"/v1/events": collector}),
            port=0,
            started=lambda address: print(address, flush=True),
        )
    finally:
        collector.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
