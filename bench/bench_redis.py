"""Redis as the online store beside the embedded one: the same updates and look-ups, in one run.

    python bench/bench_redis.py [--json] [--scale 1.0] [--runs 1]

Three definitions (six aggregates over 3 h and 7 d) of 20,000 keys, Zipf, six days of events; a request looks all three
up for two keys of its own: six uses, 72 values. Updates are in transactions of 20,000, 1,000 and 100 events, each for
all three definitions, so an event counts three times. "core" divides by our own processor time, without the server's;
"server" is what redis-server used, per our second. "busy" is while another process applies 100 events every 50 ms.
redis-server is a child on loopback, with its file of appends synced each second.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench_features import DAY, T0, keys_of, line, noun
from millstream.base.event import TIMESTAMP
from millstream.base.registry import engine
from millstream.features.define import define
from millstream.features.events import events_of
from millstream.features.port import Apply

DEFINITIONS = [replace(define(noun, {}), name=f"recent{i}", generation=f"{i}" * 16) for i in range(3)]
USES = [(d, [column], f"{d.name}_{column}") for d in DEFINITIONS for column in ("a", "b")]


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, int]]:
    """URL and pid of a redis-server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = [
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(folder),
        "--save",
        "",
        "--appendonly",
        "yes",
        "--appendfsync",
        "everysec",
    ]
    process = subprocess.Popen(["redis-server", *settings], stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0", process.pid
    finally:
        process.terminate()
        process.wait()


def cpu_of(pid: int | None) -> float:
    """Processor seconds of another process so far."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


class Events:
    """Some days of events, and where a store stands in them."""

    def __init__(self, n: int) -> None:
        rng = np.random.default_rng(3)
        self.keys, self.t, self.n, self.at = keys_of(rng, n, "zipf"), T0 + np.sort(rng.integers(0, 6 * DAY, n)), n, 0
        columns = {
            "k": pa.array(self.keys),
            "v": pa.array(np.round(rng.normal(5, 40, n), 2)),
            "ts": pa.array(self.t, TIMESTAMP),
            "_offset": pa.array(np.arange(n)),
        }
        self.rows = pa.RecordBatch.from_pydict(columns)

    def apply(self, store: Any, size: int) -> None:
        part = self.rows.slice(self.at, size)
        clock = int(self.t[self.at + part.num_rows - 1])
        events = events_of(DEFINITIONS[0], part, 0)
        store.apply([Apply(d, 0, self.at, self.at + part.num_rows, clock, events) for d in DEFINITIONS])
        self.at += part.num_rows


def updates(name: str, store: Any, events: Events, size: int, count: int, pid: int | None) -> dict[str, Any]:
    count = min(count, events.n - events.at)
    wall, cpu, theirs = time.perf_counter(), time.process_time(), cpu_of(pid)
    for _ in range(count // size):
        events.apply(store, size)
    wall, cpu, theirs = time.perf_counter() - wall, time.process_time() - cpu, cpu_of(pid) - theirs
    return {
        "what": f"{name}: updates, {size} a transaction",
        "wall": 3 * count / wall,
        "core": 3 * count / cpu,
        "server": theirs / cpu,
    }


def looked_up(name: str, store: Any, events: Events, times: int, pid: int | None) -> dict[str, Any]:
    reader, rng = store.reader(USES), np.random.default_rng(5)
    requests = [{"a": int(a), "b": int(b)} for a, b in events.keys[rng.integers(0, events.at, (times, 2))]]
    now = int(events.t[events.at - 1])
    for request in requests[:100]:
        reader(request, now + 1)
    took, cpu, theirs = [], time.process_time(), cpu_of(pid)
    for request in requests:
        begun = time.perf_counter()
        reader(request, now + 1)
        took.append(time.perf_counter() - begun)
    cpu, theirs = time.process_time() - cpu, cpu_of(pid) - theirs
    took.sort()
    return {
        "what": f"{name}: look-ups, 6 uses",
        "p50_us": took[times // 2] * 1e6,
        "p99_us": took[int(times * 0.99)] * 1e6,
        "core": times / cpu,
        "server": theirs / cpu,
    }


def writes(url: str, n: int, at: int, stop: Any) -> None:
    """The other process of "busy"."""
    store, events = engine("online", url)(url), Events(n)
    events.at = at
    while not stop.is_set() and events.at + 100 <= events.n:
        events.apply(store, 100)
        time.sleep(0.05)
    store.close()


def one(name: str, url: str, scale: float, pid: int | None) -> list[dict[str, Any]]:
    n = int(1_000_000 * scale)
    events, store = Events(n), engine("online", url)(url)
    for d in DEFINITIONS:
        store.create(d)
        store.activate(d.generation, {}, 0)
    found = [
        updates(name, store, events, size, count, pid)
        for size, count in ((20_000, int(n * 0.8)), (1_000, n // 20), (100, n // 100))
    ]
    times = max(200, int(10_000 * scale))
    found.append(looked_up(name, store, events, times, pid))
    stop = multiprocessing.get_context("spawn").Event()
    other = multiprocessing.get_context("spawn").Process(target=writes, args=(url, n, events.at, stop))
    other.start()
    before = store.applied(DEFINITIONS[0].generation).offsets
    while store.applied(DEFINITIONS[0].generation).offsets == before:
        time.sleep(0.02)
    busy = looked_up(name, store, events, times, pid)
    stop.set()
    other.join()
    store.close()
    return [*found, {**busy, "what": busy["what"] + ", busy"}]


def run(scale: float) -> list[dict[str, Any]]:
    folder = Path(tempfile.mkdtemp(prefix=".bench_redis_", dir=".")).absolute()
    try:
        results = one("sqlite", f"sqlite:{folder}/online.db", scale, None)
        with server(folder) as (url, pid):
            results += one("redis", url, scale, pid)
    finally:
        shutil.rmtree(folder)
    return results


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--runs", type=int, default=1, help="medians of so many runs")
    args = parser.parse_args()
    if not shutil.which("redis-server"):
        sys.exit("there is no redis-server here; on Debian: apt-get install --no-install-recommends redis-server")
    runs = [run(args.scale) for _ in range(args.runs)]
    medians = [
        {
            name: value if isinstance(value, str) else statistics.median(r[i][name] for r in runs)
            for name, value in row.items()
        }
        for i, row in enumerate(runs[0])
    ]
    print(json.dumps(medians, indent=1) if args.json else "\n".join(line(result) for result in medians))


if __name__ == "__main__":
    main()
