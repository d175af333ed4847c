"""The embedded log: events a second in, out, from several processes, and through dedupe and Avro; 8 fields an event.

    python bench/bench_log.py [--json] [--runs 5] [--rows 1000000]

Rates are medians of `--runs`. "a core" divides by processor time, so it holds on a busy machine; "wall" is what a clock
on the wall says. The raw limit is the same Arrow messages written as blobs by sqlite3 alone, 10,000 events a
transaction, synchronous=FULL, in the same run. The log's folder is beside this script's working folder, so that fsync
is real.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from millstream.base.event import EventTime, rows_to_arrow
from millstream.declare.event import Event
from millstream.declare.stream import stream
from millstream.engines.sqlite.log import SqliteLog
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.log.avro import decode, encode
from millstream.log.dedupe import Deduper
from millstream.log.envelope import publish, topic_of
from millstream.log.port import Append

BATCH = 10_000


class Departure(Event):
    """Eight fields, as a flight has them."""

    flight_id: str
    carrier: str
    origin: str
    dest: str
    delay: float
    distance: float
    local_hour: int
    ts: EventTime


DEPARTURES = stream("departures", Departure, key="flight_id")


def batch(rows: int, seed: int = 1) -> pa.RecordBatch:
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 10**9, rows)
    columns = [
        pa.array([f"2013-01-01-UA-{n:09}-EWR" for n in numbers]),
        pa.array(rng.choice(["UA", "AA", "DL", "B6"], rows)),
        pa.array(rng.choice(["EWR", "JFK", "LGA"], rows)),
        pa.array(rng.choice(["SFO", "LAX", "ORD", "ATL"], rows)),
        pa.array(np.round(rng.normal(5, 30, rows))),
        pa.array(rng.integers(80, 5000, rows).astype(float)),
        pa.array(rng.integers(0, 24, rows)),
        pa.array(1_357_000_000_000_000 + np.sort(rng.integers(0, 10**13, rows)), pa.timestamp("us", tz="UTC")),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=Departure.__schema__.arrow())


class Bench:
    def __init__(self, runs: int, rows: int) -> None:
        self.runs, self.rows, self.results = runs, rows, list[dict[str, float | str]]()

    def measure(self, what: str, rows: int, work: Callable[[Path], None], raw: str = "") -> None:
        """Median rates of the work; `raw`: the measurement that is its limit."""
        wall, cpu = [], []
        for _ in range(self.runs):
            folder = Path(tempfile.mkdtemp(prefix=".bench_log_", dir="."))
            try:
                w, c = time.perf_counter(), time.process_time()
                work(folder)
                wall.append(rows / (time.perf_counter() - w))
                cpu.append(rows / max(time.process_time() - c, 1e-9))
            finally:
                shutil.rmtree(folder)
        self.add(what, statistics.median(wall), statistics.median(cpu), raw)

    def add(self, what: str, wall: float, core: float, raw: str = "", **more: float) -> None:
        found: dict[str, float | str] = {"what": what, "wall": wall, "core": core, **more}
        limit = next((r for r in self.results if r["what"] == raw), None)
        if limit is not None:
            found["ratio"] = core / float(limit["core"])
        self.results.append(found)


def open_log(folder: Path, partitions: int = 1) -> SqliteLog:
    url = f"sqlite:{folder}/log.db"
    log = SqliteLog(url, SqliteSchemas(url))
    log.create("departures", partitions=partitions)
    return log


def raw_sqlite(rows: pa.RecordBatch, times: int) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        con = sqlite3.connect(folder / "raw.db", isolation_level=None)
        con.execute("pragma journal_mode=wal")
        con.execute("pragma synchronous=full")
        con.execute("create table batch(id integer primary key, data blob)")
        for _ in range(times):
            con.execute("begin immediate")
            con.execute("insert into batch(data) values (?)", (rows.serialize().to_pybytes(),))
            con.execute("commit")
        con.close()

    return work


def appended(rows: pa.RecordBatch, times: int) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        log = open_log(folder)
        for _ in range(times):
            log.append([Append("departures", 0, 1, rows)])
        log.close()

    return work


def published(rows: pa.RecordBatch, times: int) -> Callable[[Path], None]:
    """By key into four partitions."""

    def work(folder: Path) -> None:
        url = f"sqlite:{folder}/log.db"
        schemas = SqliteSchemas(url)
        log = SqliteLog(url, schemas)
        binding = topic_of(log, schemas, DEPARTURES)
        for _ in range(times):
            publish(log, binding, rows)
        log.close()

    return work


def objects(made: list[Departure] | None, times: int) -> Callable[[Path], None]:
    """Ten thousand objects a call, at hand or made on the way."""

    def work(folder: Path) -> None:
        url = f"sqlite:{folder}/log.db"
        schemas = SqliteSchemas(url)
        log = SqliteLog(url, schemas)
        binding = topic_of(log, schemas, DEPARTURES)
        for _ in range(times):
            publish(log, binding, rows_to_arrow(made or some_objects(BATCH), DEPARTURES.schema))
        log.close()

    return work


def some_objects(count: int) -> list[Departure]:
    now = datetime(2013, 1, 1, tzinfo=UTC)
    return [
        Departure(
            flight_id=f"2013-01-01-UA-{n:09}-EWR",
            carrier="UA",
            origin="EWR",
            dest="SFO",
            delay=1.5,
            distance=2500.0,
            local_hour=7,
            ts=now,
        )
        for n in range(count)
    ]


WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from bench_log import Append, SqliteLog, SqliteSchemas, batch
url = f"sqlite:{sys.argv[1]}/log.db"
log, rows = SqliteLog(url, SqliteSchemas(url)), batch(int(sys.argv[4]), int(sys.argv[2]))
until, done = float(sys.argv[5]), 0
slowest = []
print("ready", flush=True)
sys.stdin.readline()
until += time.perf_counter()
while (begun := time.perf_counter()) < until:
    log.append([Append("departures", int(sys.argv[2]), 1, rows)])
    slowest.append(time.perf_counter() - begun)
    done += rows.num_rows
slowest.sort()
print(done, slowest[int(len(slowest) * 0.99)] * 1000)
"""


def three_writers(bench: Bench, size: int, seconds: float) -> None:
    """Three processes append for some seconds while this one reads all of it."""
    wall, p99, even = [], [], []
    for _ in range(bench.runs):
        folder = Path(tempfile.mkdtemp(prefix=".bench_log_", dir="."))
        try:
            log = open_log(folder, 3)
            reader = log.reader("departures", {0: 0, 1: 0, 2: 0})
            command = [sys.executable, "-c", WRITER, str(folder)]
            writers = [
                subprocess.Popen(
                    [*command, str(n), str(Path(__file__).parent), str(size), str(seconds)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                for n in range(3)
            ]
            for writer in writers:
                assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
            begun = time.perf_counter()
            for writer in writers:
                assert writer.stdin is not None
                writer.stdin.write("go\n")
                writer.stdin.flush()
            read = 0
            while any(w.poll() is None for w in writers):
                read += sum(s.rows.num_rows for s in reader.poll(100_000, timedelta(milliseconds=100)))
            while more := reader.poll(100_000, timedelta(0)):
                read += sum(s.rows.num_rows for s in more)
            wall.append(read / (time.perf_counter() - begun))
            told = [w.stdout.read().split() for w in writers if w.stdout is not None]
            assert read == sum(int(t[0]) for t in told), "the reader saw every event once"
            p99.append(max(float(t[1]) for t in told))
            even.append(min(int(t[0]) for t in told) / max(int(t[0]) for t in told))
            reader.close()
            log.close()
        finally:
            shutil.rmtree(folder)
    bench.add(
        f"3 processes beside a reader, {size} a commit",
        statistics.median(wall),
        0,
        p99_ms=statistics.median(p99),
        slowest_to_fastest=statistics.median(even),
    )


def dedupe(bench: Bench) -> None:
    """One record in ten is a double; the window holds everything, so memory only grows."""
    rng = np.random.default_rng(1)
    ids = pa.array([f"{n:032x}" for n in rng.integers(0, bench.rows * 5, bench.rows)])
    arrived = np.arange(bench.rows, dtype=np.int64)
    sizes: list[float] = []

    def work(_: Path) -> None:
        deduper = Deduper(24 * 3_600_000_000)
        kept = sum(
            int(deduper.keep(0, ids.slice(at, 50_000), arrived[at : at + 50_000]).sum())
            for at in range(0, bench.rows, 50_000)
        )
        sizes.append(deduper.bytes / kept)

    bench.measure(f"dedupe, ids of 32 bytes, {bench.rows} of them in batches of 50000", bench.rows, work)
    bench.results[-1]["bytes_an_id"] = sizes[-1]


def avro(bench: Bench, rows: pa.RecordBatch) -> None:
    from millstream.log.avro import _records, avro_schema
    from millstream.log.avro_types import columns_of, physical

    text = avro_schema(DEPARTURES.schema)
    bodies, columns = encode(rows, text), columns_of(text)
    some = rows.num_rows // 10
    bench.measure(
        "Avro, record by record, written",
        some,
        lambda _: void(
            _records(text).encode(columns, [physical(c, rows.column(c.name).slice(0, some)) for c in columns], some)
        ),
    )
    bench.measure("Avro, record by record, read", some, lambda _: void(_records(text).decode(bodies[:some])))
    bench.measure(
        "Avro, by blocks, written", rows.num_rows, lambda _: void(encode(rows, text)), "Avro, record by record, written"
    )
    bench.measure(
        "Avro, by blocks, read", rows.num_rows, lambda _: void(decode(bodies, text)), "Avro, record by record, read"
    )


def void(_: object) -> None:
    """The result is not looked at."""


def read_back(bench: Bench, rows: pa.RecordBatch, times: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix=".bench_log_", dir="."))
    try:
        appended(rows, times)(folder)
        log = open_log(folder)

        def work(_: Path) -> None:
            reader, count = log.reader("departures", {0: 0}), 0
            while more := reader.poll(100_000, timedelta(0)):
                count += sum(s.rows.num_rows for s in more)
            assert count == rows.num_rows * times
            reader.close()

        bench.measure("read back, 10000 a batch", rows.num_rows * times, work)
        log.close()
        size = (folder / "log.db").stat().st_size
        bench.results[-1]["bytes_an_event"] = size / (rows.num_rows * times)
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long three processes write")
    args = parser.parse_args()
    bench, rows, times = Bench(args.runs, args.rows), batch(BATCH), max(1, args.rows // BATCH)
    raw = "raw: blobs by sqlite3 alone"
    bench.measure(raw, BATCH * times, raw_sqlite(rows, times))
    bench.measure("Arrow -> log, durable, 10000 a commit", BATCH * times, appended(rows, times), raw)
    bench.measure("Arrow -> log by key into 4 partitions, 10000 a commit", BATCH * times, published(rows, times), raw)
    few = rows.slice(0, 100)
    bench.measure("Arrow -> log, durable, 100 a commit", 100 * times, appended(few, times))
    read_back(bench, rows, times)
    few_times = max(1, times // 10)
    bench.measure("Python objects -> log, durable", BATCH * few_times, objects(some_objects(BATCH), few_times), raw)
    bench.measure("Python objects, made on the way -> log, durable", BATCH * few_times, objects(None, few_times), raw)
    three_writers(bench, 100, args.seconds)
    three_writers(bench, BATCH, args.seconds)
    dedupe(bench)
    avro(bench, batch(min(args.rows, 100_000)))
    if args.json:
        print(json.dumps(bench.results))
        return
    for found in bench.results:
        more = "  ".join(
            f"{k} {v:.3g}" for k, v in found.items() if k not in ("what", "wall", "core") and isinstance(v, float)
        )
        core = f"{float(found['core']):>12,.0f} /s a core" if found["core"] else " " * 22
        print(f"{found['what']:<68} {float(found['wall']):>12,.0f} /s wall {core}  {more}")


if __name__ == "__main__":
    main()
