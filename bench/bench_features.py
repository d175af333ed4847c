"""Features: a point-in-time training set beside hand-written SQL, and the online store's updates and look-ups.

    python bench/bench_features.py [--json] [--scale 1.0] [--only offline|online] [--keys uniform,zipf] [--peers]

Offline, at scale 1: 10 M events of 20,000 keys in 60 days, 95 % known within 30 s and 0.1 % up to 3 days late, 1 M
labels, 1 % of them on an event of their key; six aggregates over 3 h and 7 d. The peers do the same job as if nothing
were late: RANGE frames with bounds a row, and cumulative sums with ASOF joins (which have no min and max). Each runs in
a process of its own on two threads; "ratio" is processor time over that of our own run in mode event. On a busy machine
trust processor seconds.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
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
from millstream.base.event import TIMESTAMP
from millstream.base.registry import engine
from millstream.declare.collect import collecting
from millstream.features.define import define
from millstream.features.definition import Definition

DAY, HOUR = 86_400_000_000, 3_600_000_000
T0 = 19_700 * DAY
KEYS, EVENTS, LABELS = 20_000, 10_000_000, 1_000_000
agg = ms.agg


class Tick(ms.Event):
    """An event of the bench."""

    k: int
    v: float | None
    ts: ms.EventTime


with collecting():
    ticks = ms.stream("ticks", Tick, key="k", partitions=1)
    noun = ms.features(
        "recent",
        ticks,
        key="k",
        windows=["3h", "7d"],
        aggregates={
            "n": agg.count("v"),
            "mean": agg.mean("v"),
            "spread": agg.variance("v"),
            "least": agg.min("v"),
            "most": agg.max("v"),
            "final": agg.last("v"),
        },
    )


def keys_of(rng: np.random.Generator, n: int, keys: str) -> np.ndarray[Any, Any]:
    if keys == "uniform":
        return rng.integers(0, KEYS, n)
    shares = 1.0 / np.arange(1, KEYS + 1) ** 1.1
    return rng.permutation(KEYS)[np.searchsorted(np.cumsum(shares) / shares.sum(), rng.random(n))]


def events_and_labels(scale: float, keys: str) -> tuple[pa.Table, pa.Table]:
    rng = np.random.default_rng(7)
    n, m = int(EVENTS * scale), int(LABELS * scale)
    k, t = keys_of(rng, n, keys), T0 + rng.integers(0, 60 * DAY, n)
    chance = rng.random(n)
    late = np.where(
        chance < 0.95,
        rng.integers(0, 30_000_000, n),
        np.where(chance < 0.999, rng.integers(0, HOUR, n), rng.integers(0, 3 * DAY, n)),
    )
    order = np.argsort(t + late, kind="stable")
    k, t, arrived = k[order], t[order], (t + late)[order]
    v = pa.array(np.round(rng.normal(5, 40, n), 2), mask=rng.random(n) < 0.01)
    columns = {
        "k": pa.array(k),
        "v": v,
        "ts": pa.array(t, TIMESTAMP),
        "_event_id": pa.nulls(n, pa.string()),
        "_arrived_at": pa.array(arrived, TIMESTAMP),
        "_partition": pa.array(np.zeros(n, np.int32)),
        "_offset": pa.array(np.arange(n)),
        "_late": pa.array(np.zeros(n, bool)),
    }
    on = rng.integers(0, n, m // 100)
    lk, lt = keys_of(rng, m, keys), T0 + rng.integers(8 * DAY, 60 * DAY, m)
    lk[: len(on)], lt[: len(on)] = k[on], t[on]
    return pa.table(columns), pa.table(
        {"_row": pa.array(np.arange(m)), "_t": pa.array(lt, TIMESTAMP), "k": pa.array(lk)}
    )


# -- offline


def lake_in(folder: Path, events: pa.Table) -> Any:
    from millstream.lake.lake import Lake

    lake = Lake(engine("files", "file")(str(folder / "lake")))
    lake.create("ticks", events.schema).append(events.to_batches(max_chunksize=1_000_000))
    return lake


def ours(folder: Path, labels: pa.Table, mode: Any) -> int:
    from millstream.features.offline import offline
    from millstream.lake.lake import Lake

    sql = engine("sql", "duckdb")("duckdb:?threads=2&memory_limit=3GB", folder / "scratch")
    lake = Lake(engine("files", "file")(str(folder / "lake")))
    counted = sum(
        _total(batch, "f__n_7d") for batch in offline(sql, lake, labels, [(define(noun, {}), ["k"], "f")], mode)
    )
    sql.close()
    return counted


def _total(batch: pa.RecordBatch, column: str) -> int:
    return int(np.asarray(batch.column(column)).sum())


_START = {"3h": f"(t // 300000000 * 300000000 - {3 * HOUR})", "7d": f"(t // {HOUR} * {HOUR} - {7 * DAY})"}
_ROWS = """with e as (select k, epoch_us(ts) as t, v, cast(floor(v * 1e6 + 0.5) as bigint) as q, null as id
           from events where v is not null),
a as (select * from e union all select k, epoch_us(_t), null, null, _row from labels)"""


def frames(folder: Path, labels: pa.Table) -> int:
    windows = ", ".join(
        f"w{w} as (partition by k order by t range between t - {start} preceding and 1 preceding)"
        for w, start in _START.items()
    )
    outputs = ", ".join(
        f"count(q) over w{w} as n{w}, sum(q) over w{w} as s{w}, sum(q::hugeint * q) over w{w} as x{w}, min(v) over w{w}"
        f" as mn{w}, max(v) over w{w} as mx{w}, last_value(v ignore nulls) over w{w} as l{w}"
        for w in _START
    )
    return by_hand(
        folder,
        labels,
        f"{_ROWS} select * from (select id, {outputs} from a window {windows}) where id is not null",
        "n7d",
    )


def cumulative(folder: Path, labels: pa.Table) -> int:
    text = f"""{_ROWS},
c as (select k, t, count(*) over w as n, sum(q) over w as s, sum(q::hugeint * q) over w as x, v
      from e window w as (partition by k order by t rows unbounded preceding)),
d as (select k, t, max(n) as n, arg_max(s, n) as s, arg_max(x, n) as x, arg_max(v, n) as v from c group by k, t),
l as (select _row as id, k, epoch_us(_t) as t from labels),
l2 as (select *, {_START["3h"]} as t3, {_START["7d"]} as t7 from l)
select l2.id,
  coalesce(d.n, 0) - coalesce(d3.n, 0) as n3h,
  coalesce(d.s, 0) - coalesce(d3.s, 0) as s3h,
  coalesce(d.x, 0) - coalesce(d3.x, 0) as x3h,
  coalesce(d.n, 0) - coalesce(d7.n, 0) as n7d,
  coalesce(d.s, 0) - coalesce(d7.s, 0) as s7d,
  coalesce(d.x, 0) - coalesce(d7.x, 0) as x7d,
  d.v
from l2
  asof left join d on l2.k = d.k and l2.t > d.t
  asof left join d d3 on l2.k = d3.k and l2.t3 > d3.t
  asof left join d d7 on l2.k = d7.k and l2.t7 > d7.t"""
    return by_hand(folder, labels, text, "n7d")


def by_hand(folder: Path, labels: pa.Table, text: str, count: str) -> int:
    import duckdb

    (folder / "hand").mkdir(exist_ok=True)
    con = duckdb.connect(
        str(folder / "hand" / "scratch.db"),
        config={"threads": 2, "memory_limit": "3GB", "preserve_insertion_order": False},
    )
    con.execute("set timezone = 'UTC'")
    con.execute(f"create view events as select * from read_parquet('{folder}/lake/ticks/*.parquet')")
    con.register("labels", labels)
    counted = sum(_total(batch, count) for batch in con.sql(text).to_arrow_reader(131_072))
    con.close()
    shutil.rmtree(folder / "hand")
    return counted


JOBS: dict[str, Callable[[Path, pa.Table], int]] = {
    "ours, mode known": lambda folder, labels: ours(folder, labels, "known"),
    "ours, mode event": lambda folder, labels: ours(folder, labels, "event"),
    "RANGE frames by hand": frames,
    "cumulative sums and ASOF by hand, no min and max": cumulative,
}


def child(job: str, folder: Path) -> None:
    """One job in this process; a line of JSON."""
    import pyarrow.parquet as pq

    labels = pq.read_table(folder / "labels.parquet")
    wall, cpu = time.perf_counter(), time.process_time()
    counted = JOBS[job](folder, labels)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(
        json.dumps(
            {
                "wall": wall,
                "cpu": cpu,
                "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
                "counted": counted,
            }
        )
    )


def offline_bench(scale: float, keys: str, peers: bool) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    folder, results = Path(tempfile.mkdtemp(prefix=".bench_features_", dir=".")).absolute(), list[dict[str, Any]]()
    try:
        events, labels = events_and_labels(scale, keys)
        lake_in(folder, events)
        pq.write_table(labels, folder / "labels.parquet")
        rows = labels.num_rows
        del events, labels
        for job in JOBS if peers else list(JOBS)[:2]:
            told = subprocess.run(
                [sys.executable, __file__, "--child", job, "--folder", str(folder)],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            results.append({"what": f"{keys}: {job}", "labels": rows, **json.loads(told.stdout)})
            print(line(results[-1]), file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder)
    base = next(r for r in results if r["what"].endswith("event"))
    for result in results:
        result["ratio"] = result["cpu"] / base["cpu"]
        if "known" not in result["what"] and result["counted"] != base["counted"]:
            raise SystemExit(f"{result['what']} counted {result['counted']}, ours in mode event {base['counted']}")
    return results


# -- online


def online_bench(scale: float, keys: str) -> list[dict[str, Any]]:
    from millstream.engines.sqlite.online import SqliteOnline
    from millstream.features.events import events_of
    from millstream.features.port import Apply

    rng, n = np.random.default_rng(3), int(1_000_000 * scale)
    k, t = keys_of(rng, n, keys), T0 + np.sort(rng.integers(0, 6 * DAY, n))
    rows = pa.RecordBatch.from_pydict(
        {
            "k": pa.array(k),
            "v": pa.array(np.round(rng.normal(5, 40, n), 2)),
            "ts": pa.array(t, TIMESTAMP),
            "_offset": pa.array(np.arange(n)),
        }
    )
    d, results = define(noun, {}), list[dict[str, Any]]()
    for size in (20_000, 1_000):
        folder = Path(tempfile.mkdtemp(prefix=".bench_features_", dir="."))
        try:
            store = SqliteOnline(f"sqlite:{folder}/online.db")
            store.create(d)
            store.activate(d.generation, {}, 0)
            count = n if size == 20_000 else n // 5
            wall, cpu = time.perf_counter(), time.process_time()
            for at in range(0, count, size):
                part = rows.slice(at, min(size, count - at))
                store.apply(
                    [Apply(d, 0, at, at + part.num_rows, int(t[at + part.num_rows - 1]), events_of(d, part, 0))]
                )
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            results.append(
                {"what": f"{keys}: updates, {size} a transaction", "wall": count / wall, "core": count / cpu}
            )
            results.append(
                {
                    "what": f"{keys}: look-ups after it, {len(d.columns)} columns",
                    **looked_up(store, d, k[:count], int(t[count - 1])),
                }
            )
            store.close()
        finally:
            shutil.rmtree(folder)
    return results


def from_the_log(scale: float, keys: str) -> list[dict[str, Any]]:
    """The whole way of an updater: read, judge, lift, apply; 65,536 records a step."""
    from millstream.engines.sqlite.log import SqliteLog
    from millstream.engines.sqlite.online import SqliteOnline
    from millstream.engines.sqlite.schemas import SqliteSchemas
    from millstream.features.updater import Updater
    from millstream.log.envelope import publish, topic_of

    rng, n = np.random.default_rng(3), int(1_000_000 * scale)
    folder = Path(tempfile.mkdtemp(prefix=".bench_features_", dir="."))
    try:
        schemas = SqliteSchemas(f"sqlite:{folder}/log.db")
        log, store = SqliteLog(f"sqlite:{folder}/log.db", schemas), SqliteOnline(f"sqlite:{folder}/online.db")
        binding, t = topic_of(log, schemas, ticks), T0 + np.sort(rng.integers(0, 6 * DAY, n))
        columns = {
            "k": pa.array(keys_of(rng, n, keys)),
            "v": pa.array(np.round(rng.normal(5, 40, n), 2)),
            "ts": pa.array(t, TIMESTAMP),
            "_arrived_at": pa.array(t, TIMESTAMP),
        }
        rows = pa.RecordBatch.from_pydict(columns)
        for at in range(0, n, 10_000):
            publish(log, binding, rows.slice(at, 10_000))
        updater = Updater(log, schemas, store, [define(noun, {})], ticks)
        wall, cpu = time.perf_counter(), time.process_time()
        assert updater.drain().events == n
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        updater.close()
        store.close()
        log.close()
    finally:
        shutil.rmtree(folder)
    return [{"what": f"{keys}: from the log, by an updater", "wall": n / wall, "core": n / cpu}]


def looked_up(store: Any, d: Definition, k: np.ndarray[Any, Any], now: int, times: int = 20_000) -> dict[str, float]:
    reader, rng = store.reader([(d, ["k"], "f")]), np.random.default_rng(5)
    requests = [{"k": int(key)} for key in k[rng.integers(0, len(k), times)]]
    moments = (now + 1 - rng.integers(0, 300_000_000, times)).tolist()
    took = []
    cpu = time.process_time()
    for request, moment in zip(requests, moments, strict=True):
        begun = time.perf_counter()
        reader(request, moment)
        took.append(time.perf_counter() - begun)
    cpu = time.process_time() - cpu
    took.sort()
    return {"p50_us": took[times // 2] * 1e6, "p99_us": took[int(times * 0.99)] * 1e6, "core": times / cpu}


def line(result: dict[str, Any]) -> str:
    shown = {k: v for k, v in result.items() if k not in ("what", "counted", "labels")}
    return f"{result['what']:<75}" + "  ".join(
        f"{name} {value:,.2f}" if value < 1000 else f"{name} {value:,.0f}" for name, value in shown.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", choices=("offline", "online"))
    parser.add_argument("--keys", default="uniform,zipf")
    parser.add_argument("--runs", type=int, default=1, help="medians of so many runs")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.folder)
        return
    runs = []
    for _ in range(args.runs):
        results: list[dict[str, Any]] = []
        for keys in args.keys.split(","):
            results += offline_bench(args.scale, keys, not args.no_peers) if args.only != "online" else []
            results += (
                [*online_bench(args.scale, keys), *from_the_log(args.scale, keys)] if args.only != "offline" else []
            )
        runs.append(results)
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
