"""A real server on real embedded engines, as a process of its own: `python live_server.py FOLDER` prints its
address.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from given import engines

import millstream as ms
from millstream.declare.endpoint import Endpoint
from millstream.serve.live import Live
from millstream.serve.server import Server, run


class Ask(ms.Event):
    """A visitor asks for a ranking."""

    visit_id: str
    device: str
    weight: float = 0.0
    ts: ms.EventTime


class Bought(ms.Event):
    visit_id: str
    price: float
    ts: ms.EventTime


ASKED = ms.stream("asked", Ask, key="visit_id", dedupe="visit_id")
BOUGHT = ms.stream("bought", Bought, key="visit_id")
SPENT = ms.outcome(BOUGHT, on="visit_id", within="1h", value="price", otherwise=0.0)


def ranking(**options: Any) -> Endpoint[Any, Any]:
    test = ms.experiment(
        "ranking",
        arms={"cheap": "cheap", "new": {"order": ["n", "m"]}},
        unit="visit_id",
        assign=ms.assign.ab(0.25, 0.75),
        reward=SPENT,
        **options,
    )
    return ms.endpoint("rank", test, default="popular", request=Ask)


if __name__ == "__main__":
    made = engines(Path(sys.argv[1]), ranking())
    run(Server(Live(made), made.log), port=0, started=lambda url: print(url, flush=True))
