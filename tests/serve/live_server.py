"""A real server on real embedded engines, as a process of its own: `python live_server.py FOLDER` prints its address."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import millstream as ms
from millstream.base.registry import engine
from millstream.declare.endpoint import Endpoint
from millstream.lake.lake import Lake
from millstream.serve.live import Behind, Live
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
        "ranking", arms={"cheap": "cheap", "new": {"order": ["n", "m"]}}, unit="visit_id", assign=ms.assign.ab(0.25, 0.75), reward=SPENT, **options
    )
    return ms.endpoint("rank", test, default="popular", request=Ask)


def engines(folder: Path) -> dict[str, Any]:
    """Everything embedded, below a folder."""
    url = f"sqlite:{folder / 'log.db'}"
    schemas = engine("schemas", url)(url)
    return {
        "schemas": schemas, "log": engine("log", url)(url, schemas), "lake": Lake(engine("files", "file")(str(folder / "lake"))),
        "sql": engine("sql", "duckdb")("duckdb", folder / "scratch"), "store": engine("online", "sqlite")(f"sqlite:{folder / 'online.db'}"),
        "state": engine("state", "sqlite")(f"sqlite:{folder / 'state.db'}"), "tracking": engine("tracking", "mlflow")(f"mlflow:{folder / 'mlflow.db'}", folder / "models"),
    }  # fmt: skip


def behind(folder: Path, *endpoints: Endpoint[Any, Any], **streams: Any) -> Behind:
    return Behind(endpoints={e.name: e for e in endpoints}, streams=streams, **engines(folder))


if __name__ == "__main__":
    made = behind(Path(sys.argv[1]), ranking())
    run(Server(Live(made), made.log), port=0, started=lambda url: print(url, flush=True))
