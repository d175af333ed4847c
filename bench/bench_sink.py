"""Log -> lake: events a second through the sink, exactly once and synced, and beside it delta-rs writing the same
batches; 8 fields an event.

    python bench/bench_sink.py [--json] [--runs 5] [--rows 2000000] [--commit 500000]

Rates are medians of `--runs`; the sink and its limit take turns. "a core" divides by processor time, so it holds on a
busy machine; "wall" is what a clock on the wall says. The raw limit is `write_deltalake` of the very batches that the
sink would have landed, judged and with their envelope, in commits as large as the sink's; it reads no log, checks
nothing and syncs nothing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

from bench_log import DEPARTURES, Departure, batch
from millstream.base.event import EVENT_ID
from millstream.declare.stream import Stream, stream
from millstream.engines.local.files import LocalFiles
from millstream.engines.sqlite.log import SqliteLog
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.engines.sqlite.state import SqliteState
from millstream.lake.lake import Lake
from millstream.lake.maintain import maintain
from millstream.lake.scan import scan
from millstream.lake.sink import Sink, SinkLimits
from millstream.lake.verify import verify
from millstream.log.envelope import publish, topic_of

BATCH = 10_000

PLAIN = stream("departures", Departure, key="flight_id", dedupe=None)


class Bench:
    """Medians of what took turns."""

    def __init__(self, runs: int) -> None:
        self.runs, self.results = runs, list[dict[str, Any]]()

    def measure(self, rows: int, **work: Callable[[], Any]) -> None:
        """Each of `work` in turn, `runs` times; the last is the limit that the others are measured by."""
        wall: dict[str, list[float]] = {name: [] for name in work}
        core: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(self.runs):
            for name, call in work.items():
                w, c = time.perf_counter(), time.process_time()
                call()
                wall[name].append(rows / (time.perf_counter() - w))
                core[name].append(rows / max(time.process_time() - c, 1e-9))
        limit = statistics.median(core[list(work)[-1]])
        for name in work:
            found: dict[str, Any] = {
                "what": name.replace("_", " "),
                "wall": statistics.median(wall[name]),
                "core": statistics.median(core[name]),
            }
            self.results.append(found if name == list(work)[-1] else found | {"ratio": found["core"] / limit})


class World:
    """A log with departures in four partitions, and lakes to land them in."""

    def __init__(self, rows: int, doubles: float) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=".bench_sink_", dir="."))
        self.schemas = SqliteSchemas(f"sqlite:{self.folder}/log.db")
        self.log = SqliteLog(f"sqlite:{self.folder}/log.db", self.schemas)
        self.turn, rng = 0, np.random.default_rng(3)
        binding = topic_of(self.log, self.schemas, DEPARTURES)
        for at in range(0, rows, BATCH * 4):
            made = batch(BATCH * 4, at)
            numbers = np.arange(at, at + BATCH * 4)
            again = rng.random(len(numbers)) < doubles
            ids = np.where(again, np.maximum(0, numbers - rng.integers(1, 1000, len(numbers))), numbers)
            publish(self.log, binding, made.append_column(EVENT_ID, pa.array([f"{n:032x}" for n in ids])))

    def lake(self) -> Lake:
        """An empty one; the one before is dropped."""
        shutil.rmtree(self.folder / f"lake{self.turn}", ignore_errors=True)
        self.turn += 1
        return Lake(LocalFiles(str(self.folder / f"lake{self.turn}")))

    def land(self, of: Stream[Any], commit: int, lake: Lake | None = None) -> tuple[Lake, Sink]:
        made = lake or self.lake()
        sink = Sink(
            self.log, self.schemas, made, of, limits=SinkLimits(rows=commit, bytes=1 << 40, age=timedelta(days=1))
        )
        sink.drain()
        sink.close()
        return made, sink

    def close(self) -> None:
        self.log.close()
        shutil.rmtree(self.folder)


def raw(world: World, commits: Sequence[pa.Table]) -> Callable[[], None]:
    """delta-rs alone."""

    def work() -> None:
        lake = world.lake()
        for rows in commits:
            write_deltalake(f"{lake.files.root}/departures", rows, mode="append")

    return work


def landed(lake: Lake, commits: int) -> list[pa.Table]:
    """What the sink landed, cut as it was."""
    table = lake.table("departures")
    whole = pa.Table.from_batches(scan(table, table.schema.names))
    size = -(-whole.num_rows // commits)
    return [whole.slice(at, size).combine_chunks() for at in range(0, whole.num_rows, size)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--commit", type=int, default=500_000, help="rows a commit")
    args = parser.parse_args()
    rows = args.rows // (BATCH * 4) * (BATCH * 4)
    bench, world = Bench(args.runs), World(rows, doubles=0.01)
    try:
        lake, _ = world.land(PLAIN, args.commit)
        commits = landed(lake, lake.table("departures").version)
        memory: list[float] = []

        def deduped() -> None:
            _, one = world.land(DEPARTURES, args.commit)
            assert one.batcher.deduper is not None
            memory.append(one.batcher.deduper.bytes / (rows * 0.99))

        bench.measure(
            rows,
            sink=lambda: world.land(PLAIN, args.commit),
            sink_with_dedupe=deduped,
            raw_limit_write_deltalake_alone=raw(world, commits),
        )
        bench.results[1]["bytes_an_id"] = statistics.median(memory)
        size = lambda lake: lake.table("departures").bytes() / lake.table("departures").rows()  # noqa: E731
        lake, _ = world.land(DEPARTURES, args.commit)
        bench.results[0]["bytes_a_row"] = size(lake)
        report = verify(lake, world.log, DEPARTURES)
        assert report.ok and report.duplicates > 0, report
        few = min(rows, 200_000)
        bench.measure(
            rows,
            verify_with_dedupe=lambda: verify(lake, world.log, DEPARTURES),
            columns_of_it_read_alone=lambda: read(lake),
        )
        small = World(few, doubles=0)
        state = SqliteState(f"sqlite:{world.folder}/state.db")
        try:
            small_lake, _ = small.land(PLAIN, 2_000)
            bench.measure(
                1, upkeep_of_a_table_with_nothing_to_do=lambda: maintain(small_lake, "departures", state, "bench")
            )
            bench.measure(few, sink_2000_rows_a_commit=lambda: small.land(PLAIN, 2_000))
        finally:
            state.close()
            small.close()
    finally:
        world.close()
    if args.json:
        print(json.dumps(bench.results))
        return
    for found in bench.results:
        more = "  ".join(f"{k} {v:.3g}" for k, v in found.items() if k not in ("what", "wall", "core"))
        print(f"{found['what']:<44} {found['wall']:>12,.0f} /s wall {found['core']:>12,.0f} /s a core  {more}")


def read(lake: Lake) -> None:
    """The columns that verify looks at."""
    for _ in scan(lake.table("departures"), ["_partition", "_offset", "_arrived_at", EVENT_ID]):
        pass


if __name__ == "__main__":
    main()
