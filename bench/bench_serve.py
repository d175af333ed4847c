"""An endpoint, one row a request with feature look-ups and a durable decision log, beside bare servers with the same
model.

    python bench/bench_serve.py [--json] [--runs 5] [--seconds 3] [--connections 16,64] [--rows 20000]

Every server is one process on one core; the load comes from another process on another core. The bare server decodes
the same body (msgspec), predicts with the same compiled booster and encodes the answer: no look-up, no log. Medians of
`--runs`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import millstream as ms
from millstream import agg

HERE = Path(__file__).resolve().parent
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
KEYS = 500
WINDOWS = ["3h", "7d"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", default="16,64", help="how many at once, one after the other")
    parser.add_argument("--rows", type=int, default=20_000, help="events that the features are made of")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        SERVERS[given.serve](given.folder, given.port)
    else:
        measure(given)


# --- the project, the model, the events
# ---------------------------------------------------------------------------------


def project() -> Any:
    """Six features of two streams, 48 columns, as in the flights project; one endpoint."""

    class Left(ms.Event):
        flight_id: str
        carrier: str
        origin: str
        dest: str
        delay: float
        ts: ms.EventTime

    class Landed(Left):
        pass

    class Ask(ms.Event):
        flight_id: str
        carrier: str
        origin: str
        dest: str
        distance: float
        hour: int
        ts: ms.EventTime

    asked = ms.stream("asked", Ask, key="flight_id")
    left = ms.stream("left", Left, key="flight_id")
    landed = ms.stream("landed", Landed, key="flight_id")
    delays = {
        "flights": agg.count(),
        "delay": agg.mean("delay"),
        "worst": agg.max("delay"),
        "late": agg.mean("delay > 15"),
    }
    made = [
        ms.features(name, source, key=key, windows=WINDOWS, aggregates=delays)
        for name, source, key in (
            ("carrier_left", left, "carrier"),
            ("carrier_landed", landed, "carrier"),
            ("route_landed", landed, ["origin", "dest"]),
            ("origin_left", left, "origin"),
            ("dest_landed", landed, "dest"),
            ("route_left", left, ["origin", "dest"]),
        )
    ]
    late = ms.outcome(landed, on="flight_id", value="delay > 15", within="36h")
    on = ms.training_set("late_set", at=asked, label=late, features=[asked.fields("distance", "hour"), *made])
    model = ms.model(on)(_never)
    return {
        "streams": {s.name: s for s in (asked, left, landed)},
        "features": made,
        "model": model,
        "endpoint": ms.endpoint("late", model["champion"]),
    }


def _never(train: Any) -> object:
    raise AssertionError("the bench brings its own booster")


def columns() -> list[str]:
    return ["distance", "hour", *(c for f in project()["features"] for c in f.columns())]


class Booster:
    """The predictor of all three servers: an encoder of rows and LightGBM's single-row function."""

    def __init__(self, folder: Path) -> None:
        from millstream.train.compiled import BoosterScorer
        from millstream.train.matrix import Column, Encoder

        self.encoder = Encoder([Column(name, "number") for name in columns()])
        self.scorer = BoosterScorer((folder / "model.txt").read_text())
        self.derive: dict[str, Any] = {}
        self.definitions: list[Any] = []

    def predict_row(self, row: Any) -> float:
        return self.scorer.row(self.encoder.row(row))


def prepare(folder: Path, rows: int) -> None:
    """The booster, the bodies, and the events in the log."""
    import lightgbm
    import pyarrow as pa

    rng = np.random.default_rng(3)
    width = len(columns())
    X = rng.normal(size=(20_000, width))
    y = (X[:, :5].sum(axis=1) + rng.normal(size=20_000) > 0).astype(float)
    fitted = lightgbm.train(
        {"objective": "binary", "num_leaves": 31, "verbose": -1, "num_threads": 1}, lightgbm.Dataset(X, y), 150
    )
    (folder / "model.txt").write_text(fitted.model_to_string())
    bodies = [
        json.dumps(
            {
                "flight_id": f"f{i}",
                "carrier": f"c{i % 16}",
                "origin": f"o{i % 3}",
                "dest": f"d{i % 100}",
                "distance": 500.0 + i % 2000,
                "hour": i % 24,
                "ts": (NOON + timedelta(seconds=i)).isoformat(),
            }
        )
        for i in range(KEYS)
    ]
    (folder / "bodies").write_text("\n".join(bodies))

    from millstream.log.envelope import publish, topic_of

    pieces, behind = project(), live_pieces(folder)
    for stream in ("left", "landed"):
        binding = topic_of(behind["log"], behind["schemas"], pieces["streams"][stream])
        at = np.sort(rng.integers(0, 7 * 86_400_000_000, rows))
        ts = pa.array(int((NOON - timedelta(days=7)).timestamp() * 1e6) + at, pa.timestamp("us", tz="UTC"))
        names = {
            k: pa.array([f"{k[0]}{n}" for n in rng.integers(0, m, rows)])
            for k, m in (("carrier", 16), ("origin", 3), ("dest", 100))
        }
        columns_ = {
            "flight_id": pa.array([f"f{n}" for n in range(rows)]),
            **names,
            "delay": pa.array(rng.normal(10, 30, rows).round()),
            "ts": ts,
            "_event_id": pa.array([f"{stream}{n}" for n in range(rows)]),
            "_arrived_at": ts,
        }
        publish(behind["log"], binding, pa.RecordBatch.from_pydict(columns_))


def live_pieces(folder: Path) -> dict[str, Any]:
    """The embedded engines."""
    from millstream.base.registry import engine
    from millstream.ingest.doors import Doors
    from millstream.lake.lake import Lake

    url = f"sqlite:{folder / 'log.db'}"
    schemas = engine("schemas", url)(url)
    log = engine("log", url)(url, schemas)
    return {
        "schemas": schemas,
        "log": log,
        "doors": Doors(log),
        "lake": Lake(engine("files", str(folder / "lake"))(str(folder / "lake"))),
        "folder": folder,
        "compute": engine("sql", "duckdb")("duckdb", folder / "scratch"),
        "online": engine("online", "sqlite")(f"sqlite:{folder / 'online.db'}"),
        "state": engine("state", "sqlite")(f"sqlite:{folder / 'state.db'}"),
        "tracking": Champion(),
    }


class Champion:
    """A registry with one version."""

    def version(self, model: str, name: str) -> Any:
        from millstream.train.port import Version

        return Version(model, 1, "bench", NOON, ("champion",), {})


# --- the servers ------------------------------------------------------------------------------------------------------


def serve_millstream(folder: Path, port: int) -> None:
    from millstream.features.define import define
    from millstream.serve.live import Live
    from millstream.serve.server import Server, run

    pieces, engines = project(), live_pieces(folder)

    def predictor(model: Any, version: int) -> Booster:
        made = Booster(folder)
        made.definitions = [(define(f, {}), f.key, f.name) for f in pieces["features"]]
        return made

    declared = {
        "endpoints": {"late": pieces["endpoint"]},
        "streams": pieces["streams"],
        "features": {f.name: f for f in pieces["features"]},
    }
    of_project: Any = SimpleNamespace(project=SimpleNamespace(params={}, **declared), **engines)
    run(Server(Live(of_project, predictor=predictor), engines["log"]), port=port)


def bare(folder: Path) -> Any:
    """A raw ASGI application: decode, predict, encode."""
    import msgspec

    from millstream.serve.request import RequestForm

    form, booster, empty = RequestForm(project()["streams"]["asked"].schema), Booster(folder), dict.fromkeys(columns())
    head = [(b"content-type", b"application/json")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        requests, _ = form.decode(
            (await receive())["body"]
            or b'{"flight_id":"f","carrier":"c","origin":"o","dest":"d","distance":1,"hour":1}'
        )
        body = msgspec.json.encode({"prediction": booster.predict_row(empty | requests[0]), "model": "trees"})
        await send(
            {"type": "http.response.start", "status": 200, "headers": [*head, (b"content-length", b"%d" % len(body))]}
        )
        await send({"type": "http.response.body", "body": body})

    return app


def serve_bare(folder: Path, port: int) -> None:
    _uvicorn(bare(folder), port)


def serve_fastapi(folder: Path, port: int) -> None:
    import fastapi
    import pydantic

    booster, empty = Booster(folder), dict.fromkeys(columns())
    Ask = pydantic.create_model(
        "Ask",
        flight_id=(str, ...),
        carrier=(str, ...),
        origin=(str, ...),
        dest=(str, ...),
        distance=(float, ...),
        hour=(int, ...),
        ts=(datetime, ...),
    )
    app = fastapi.FastAPI()

    async def predict(ask: Any) -> dict[str, Any]:
        return {"prediction": booster.predict_row(empty | ask.model_dump()), "model": "trees"}

    predict.__annotations__["ask"] = Ask
    app.post("/v1/predict/late")(predict)
    app.get("/healthz")(lambda: {"status": "ok"})
    _uvicorn(app, port)


def _uvicorn(app: Any, port: int) -> None:
    import uvicorn

    uvicorn.run(app, port=port, loop="uvloop", http="httptools", lifespan="off", log_level="warning", access_log=False)


SERVERS = {"millstream": serve_millstream, "bare": serve_bare, "fastapi": serve_fastapi}


# --- the measuring
# ------------------------------------------------------------------------------------------------------


def measure(given: argparse.Namespace) -> None:
    names = ["bare", "millstream"] + (["fastapi"] if _installed("fastapi") else [])
    with tempfile.TemporaryDirectory() as text, contextlib.ExitStack() as servers:
        folder = Path(text)
        prepare(folder, given.rows)
        ports = {name: servers.enter_context(started(name, folder)) for name in names}
        for port in ports.values():
            _drive(port, folder, 16, 1.0)
        told = [measured(int(n), ports, folder, given) for n in given.connections.split(",")]
    if given.json:
        print(json.dumps({"at": told, "runs": given.runs}))
        return
    print(
        f"{'server':12} {'requests/s':>11} {'p50 ms':>8} {'p99 ms':>8}   one core, medians of {given.runs} x"
        f" {given.seconds:g} s"
    )
    for at in told:
        print(f"{at['connections']} connections")
        for name, of in at["servers"].items():
            print(f"{name:12} {of['rps']:11,.0f} {of['p50_ms']:8.2f} {of['p99_ms']:8.2f}")
        print(f"millstream (6 look-ups of 8 values, decision durable) / bare: {at['ratio_to_bare']:.2f}")


def measured(connections: int, ports: dict[str, int], folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Medians of each server. In turns, since a shared machine is twice as fast in one minute as in the next."""
    rounds = [
        {name: _drive(port, folder, connections, given.seconds) for name, port in ports.items()}
        for _ in range(given.runs)
    ]
    medians = {name: {k: statistics.median(of[name][k] for of in rounds) for k in rounds[0][name]} for name in ports}
    ratio = statistics.median(of["millstream"]["rps"] / of["bare"]["rps"] for of in rounds)
    return {"connections": connections, "servers": medians, "ratio_to_bare": round(ratio, 3)}


@contextlib.contextmanager
def started(name: str, folder: Path) -> Iterator[int]:
    """A server on the first core, ready; its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve", name, "--folder", str(folder), "--port", str(port)],
        preexec_fn=lambda: _pin(0),
    )
    try:
        _wait(f"http://127.0.0.1:{port}/healthz", server)
        if name == "millstream":
            _wait(f"http://127.0.0.1:{port}/readyz", server)
            _wait_applied(f"http://127.0.0.1:{port}/metrics")
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def _drive(port: int, folder: Path, connections: int, seconds: float) -> dict[str, float]:
    command = [
        sys.executable,
        str(HERE / "load.py"),
        f"http://127.0.0.1:{port}/v1/predict/late",
        str(folder / "bodies"),
        "--connections",
        str(connections),
        "--seconds",
        str(seconds),
    ]
    return json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True, preexec_fn=lambda: _pin(1)).stdout
    )


def _pin(core: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[core % len(cores)]})


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if server.poll() is not None:
            raise SystemExit(f"the server ended with {server.returncode}")
        try:
            urllib.request.urlopen(url, timeout=1).read()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"no answer from {url}")


def _wait_applied(url: str) -> None:
    """Until the updaters have applied every event."""
    for _ in range(600):
        lags = [
            line
            for line in urllib.request.urlopen(url).read().decode().splitlines()
            if line.startswith("millstream_updater_lag{")
        ]
        if lags and all(line.endswith(" 0") for line in lags):
            return
        time.sleep(0.1)
    raise SystemExit("the feature updaters do not catch up")


def _installed(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


if __name__ == "__main__":
    main()
