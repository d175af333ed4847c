"""What sink and features cost as the number of events grows: seconds a million events, and the most memory a process
took.

    python bench/bench_scale.py [--json] [--events 1000000,10000000] [--large]     --large adds 100 M

The aim is a straight line and flat memory: seconds a million events and peak memory that do not grow with the number of
events. So the limit beside each figure is the same figure at the smallest size. Each size and each stage is a process
of its own:

sink      the embedded log -> a Delta table, exactly once, with dedupe by a field within 24 h; a million events a day
fill      the table -> the online store: a definition of two windows, five aggregates, 20,000 keys
offline   100,000 moments of the past asked of the same definition, from the table

Writing the log is not counted. 100 M events need about 15 GB of disk, below the working folder.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import millstream as ms
from millstream import agg
from millstream.base.registry import engine

BATCH, A_DAY, KEYS, MOMENTS = 50_000, 1_000_000, 20_000, 100_000
T0_US, DAY_US = 1_735_689_600_000_000, 86_400_000_000
TIMESTAMP = pa.timestamp("us", tz="UTC")


class Tick(ms.Event):
    """Something happened to a key."""

    number: int
    key: str
    value: float
    ts: ms.EventTime
    seen: ms.ArrivalTime


ticks = ms.stream("ticks", Tick, key="key", dedupe="number", lateness="10m")
recent = ms.features(
    "recent",
    ticks,
    key="key",
    windows=["3h", "7d"],
    aggregates={
        "n": agg.count(),
        "mean": agg.mean("value"),
        "least": agg.min("value"),
        "most": agg.max("value"),
        "last": agg.last("value"),
    },
)


class World:
    """The engines of one process, in a folder."""

    def __init__(self, folder: Path) -> None:
        from millstream.lake.lake import Lake

        url = f"sqlite:{folder}/log.db"
        self.schemas = engine("schemas", url)(url)
        self.log = engine("log", url)(url, self.schemas)
        self.lake = Lake(engine("files", "file")(str(folder / "lake")))
        self.folder = folder

    def sql(self) -> Any:
        return engine("sql", "duckdb")("duckdb:?threads=2&memory_limit=2GB", self.folder / "scratch")

    def store(self) -> Any:
        return engine("online", "sqlite")(f"sqlite:{self.folder}/online.db")


def write(world: World, events: int) -> int:
    """The log, in the order of time."""
    from millstream.log.envelope import publish, topic_of

    binding, rng = topic_of(world.log, world.schemas, ticks), np.random.default_rng(7)
    for start in range(0, events, BATCH):
        numbers = np.arange(start, min(start + BATCH, events))
        ts = T0_US + numbers * (DAY_US // A_DAY)
        columns = {
            "number": pa.array(numbers),
            "key": pa.array([f"k{k}" for k in rng.integers(0, KEYS, len(numbers))]),
            "value": pa.array(np.round(rng.normal(5, 40, len(numbers)), 2)),
            "ts": pa.array(ts, TIMESTAMP),
            "seen": pa.array(ts, TIMESTAMP),
            "_event_id": pa.nulls(len(numbers), pa.string()),
            "_arrived_at": pa.array(ts, TIMESTAMP),
        }
        publish(world.log, binding, pa.RecordBatch.from_pydict(columns))
    return events


def sink(world: World, events: int) -> int:
    from millstream.lake.sink import Sink

    made = Sink(world.log, world.schemas, world.lake, ticks)
    landed = made.drain()
    made.close()
    return landed.rows


def fill(world: World, events: int) -> int:
    from millstream.features.define import define
    from millstream.features.fill import fill as filled

    sql, store = world.sql(), world.store()
    rows = filled(sql, world.lake, store, define(recent, {}), ticks)
    sql.close()
    store.close()
    return rows


def offline(world: World, events: int) -> int:
    from millstream.features.define import define
    from millstream.features.offline import offline as asked

    rng, sql = np.random.default_rng(8), world.sql()
    moments = T0_US + rng.integers(0, events * (DAY_US // A_DAY), MOMENTS)
    spine = pa.table(
        {
            "_row": np.arange(MOMENTS),
            "_t": pa.array(moments, TIMESTAMP),
            "key": pa.array([f"k{k}" for k in rng.integers(0, KEYS, MOMENTS)]),
        }
    )
    rows = sum(batch.num_rows for batch in asked(sql, world.lake, spine, [(define(recent, {}), ["key"], "recent")]))
    sql.close()
    return events if rows == MOMENTS else rows


STAGES: dict[str, Callable[[World, int], int]] = {"write": write, "sink": sink, "fill": fill, "offline": offline}


def child(stage: str, events: int, folder: Path) -> None:
    """One stage in this process; one line of JSON."""
    world, begun, cpu = World(folder), time.perf_counter(), time.process_time()
    done = STAGES[stage](world, events)
    took, busy = time.perf_counter() - begun, time.process_time() - cpu
    if done != events:
        raise SystemExit(f"{stage}: {done:,} of {events:,} events")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"seconds": took, "cpu": busy, "peak_bytes": peak}))


def measure(sizes: list[int], say: Callable[[dict[str, Any]], None]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for events in sizes:
        folder = Path(tempfile.mkdtemp(prefix=".bench_scale_", dir="."))
        try:
            for stage in STAGES:
                command = [sys.executable, __file__, "--child", stage, "--events", str(events), "--folder", str(folder)]
                told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                if stage == "write":
                    continue
                for what, unit, figure in (
                    ("seconds of CPU a million", "s", told["cpu"] / events * 1e6),
                    ("peak memory", "MB", told["peak_bytes"] / 1e6),
                ):
                    least = next((r["figure"] for r in rows if r["stage"] == stage and r["unit"] == unit), figure)
                    rows.append(
                        {
                            "what": f"{stage}, {events / 1e6:g} M events: {what}",
                            "stage": stage,
                            "unit": unit,
                            "figure": round(figure, 2),
                            "limit": round(least, 2),
                            "of": f"at {sizes[0] / 1e6:g} M",
                            "ratio": round(figure / least, 2),
                            "wall_s": round(told["seconds"], 2),
                        }
                    )
                    say(rows[-1])
        finally:
            shutil.rmtree(folder)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--runs", type=int, default=1, help="ignored: one run a size, since the sizes are compared with one another"
    )
    parser.add_argument("--events", default="1000000,10000000", help="sizes, separated by commas")
    parser.add_argument("--large", action="store_true", help="100 M too")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    sizes = sorted({int(size) for size in given.events.split(",")} | ({100_000_000} if given.large else set()))
    if given.child:
        child(given.child, sizes[0], given.folder)
        return

    def say(row: dict[str, Any]) -> None:
        if not given.json:
            print(
                f"{row['what']:<52} {row['figure']:>10,.2f} {row['unit']:<2}   {row['of']} {row['limit']:,.2f}   ratio"
                f" {row['ratio']}",
                flush=True,
            )

    rows = measure(sizes, say)
    if given.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
