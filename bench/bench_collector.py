"""Events over HTTP into the embedded log, durable before they are answered, in batches of 100; beside bare servers.

    python bench/bench_collector.py [--json] [--runs 5] [--seconds 3] [--connections 8] [--rows 100]

The server is one process, the load another. "bare" is an ASGI application that parses the same JSON into the same typed
objects and answers: no columns, no log. Rates are per second of the server's CPU ("a core") and per second of the
clock; medians of `--runs`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import millstream as ms

HERE = Path(__file__).resolve().parent


class Landed(ms.Event):
    flight_id: str
    carrier: str
    origin: str
    dest: str
    distance: float
    delay: float
    gate: int
    ts: ms.EventTime


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rows", type=int, default=100, help="events a request")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, given.folder)
    else:
        measure(given)


def stream() -> Any:
    return ms.stream("landed", Landed, key="flight_id")


def bodies(rows: int) -> list[bytes]:
    now = datetime.now(UTC).isoformat()
    made = []
    for start in range(0, 40 * rows, rows):
        events = [
            {
                "flight_id": f"2013-11-01-UA-{i}-EWR",
                "carrier": "UA",
                "origin": "EWR",
                "dest": "IAH",
                "distance": 1400.0,
                "delay": i / 7,
                "gate": i,
                "ts": now,
            }
            for i in range(start, start + rows)
        ]
        made.append(json.dumps(events).encode())
    return made


def serve(kind: str, folder: Path) -> None:
    import uvicorn

    from millstream.http.wire import encode, headers_of, read_body, reply
    from millstream.ingest.collector import Collector
    from millstream.ingest.form import EventForm

    landed = stream()
    app: Any
    if kind == "collector":
        from millstream.base.registry import engine

        url = f"sqlite:{folder / 'log.db'}"
        schemas = engine("schemas", url)(url)
        app = Collector(engine("log", url)(url, schemas), schemas, {"landed": landed})
        app.start()
    else:
        form = EventForm(landed.schema, zoned=True, ids=True, closed=True)

        async def plain(scope: Any, receive: Any, send: Any) -> None:
            events = form.array(await read_body(receive, headers_of(scope), 32_000_000, "events"))
            await reply(send, 200, encode({"accepted": len(events)}))

        app = plain

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            print(f"http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}/v1/events/landed", flush=True)

    config = uvicorn.Config(
        app, port=0, loop="uvloop", http="httptools", ws="none", lifespan="off", log_config=None, access_log=False
    )
    Announcing(config).run()


def once(kind: str, given: argparse.Namespace, file: Path) -> dict[str, float]:
    import psutil

    with tempfile.TemporaryDirectory() as folder:
        child = subprocess.Popen(
            [sys.executable, __file__, "--serve", kind, "--folder", folder], stdout=subprocess.PIPE, text=True
        )
        try:
            assert child.stdout is not None
            url = child.stdout.readline().strip()
            process = psutil.Process(child.pid)
            load(url, file, given.connections, 0.3)
            before = sum(process.cpu_times()[:2])
            told = load(url, file, given.connections, given.seconds)
            cpu = sum(process.cpu_times()[:2]) - before
        finally:
            child.terminate()
            child.wait()
    events = told["requests"] * given.rows
    return {
        "events_a_core": events / cpu,
        "events_a_second": told["rps"] * given.rows,
        "p50_ms": told["p50_ms"],
        "p99_ms": told["p99_ms"],
    }


def load(url: str, file: Path, connections: int, seconds: float) -> dict[str, float]:
    done = subprocess.run(
        [
            sys.executable,
            str(HERE / "load.py"),
            url,
            str(file),
            "--connections",
            str(connections),
            "--seconds",
            str(seconds),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    told: dict[str, float] = json.loads(done.stdout)
    return told


def measure(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bodies"
        file.write_bytes(b"\n".join(bodies(given.rows)))
        runs = {kind: [once(kind, given, file) for _ in range(given.runs)] for kind in ("collector", "bare")}
    found = {
        kind: {name: round(statistics.median(run[name] for run in all_), 2) for name in all_[0]}
        for kind, all_ in runs.items()
    }
    ratio = found["collector"]["events_a_core"] / found["bare"]["events_a_core"]
    result = {
        "bench": "collector",
        "rows": given.rows,
        "connections": given.connections,
        "runs": given.runs,
        **found,
        "ratio": round(ratio, 3),
    }
    if given.json:
        print(json.dumps(result))
        return
    for kind, one in found.items():
        print(
            f"{kind:<10} {one['events_a_core']:>10,.0f} events/s a core  {one['events_a_second']:>10,.0f} a second  p50"
            f" {one['p50_ms']:.1f} ms  p99 {one['p99_ms']:.1f} ms"
        )
    print(f"ratio {ratio:.2f} of the bare server, in batches of {given.rows}")


if __name__ == "__main__":
    main()
