"""Millstream on Kafka and Spark beside what a user of them would write without it: the same broker, the same records,
one run.

    python bench/bench_cluster.py [--json] [--runs 3] [--rows 2000000] [--no-yarn] [--port 30000]

A cluster of its own (one broker, one registry; HDFS and YARN for the last part) is brought up in a temporary project
and taken down. Every contender is a process of its own, and they take turns; figures are medians of `--runs`.

- Landing: the whole topic (Avro, 8 fields, 4 partitions) into a Delta table, by the sink in Python (one process), by
  the sink on Spark, and by plain Structured
  Streaming as one would write it: `from_avro`, Delta, `availableNow`, batches of 500,000, `local[1]`. Starting Python
      and Spark is not counted. A CPU second
  is one of the process, its JVM and its workers; the broker's are in neither.
- Producing: Arrow batches by the block encoding, all acknowledged, from two threads (each waits for its own), beside
  fastavro and confluent-kafka's `produce` one event at a time, which waits for none before the end; with the same
  settings.
- SQL: one text in DuckDB's dialect over the landed table, on DuckDB, on Spark local[2], on Spark on YARN; and the same
  in Spark's own words in the same session, without Millstream. Here less is better, and a ratio of 1.05 is an overhead
  of 5 %. Ours and theirs go in pairs, each first every other time, 5 pairs for one of `--runs`; the ratio is the median
  of the pairs', so that what slows the machine for a while slows both.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from bench_log import Departure, batch
from millstream.base.registry import engine
from millstream.cluster import Cluster
from millstream.cluster.fetch import Jars
from millstream.cluster.spark import CONNECTOR, DELTA
from millstream.declare.stream import stream
from millstream.lake.lake import Lake
from millstream.lake.sink import Sink
from millstream.log.envelope import publish, topic_of

BATCH, DISTINCT = 40_000, 10
PAIRS, WARM = 5, 3
"""Pairs of askings for one of --runs; askings before them, not counted."""
PLAIN = stream("departures", Departure, key="flight_id", dedupe=None)
FROM_AVRO = Jars("spark-avro", ("!org.apache.spark:spark-avro_2.13:4.1.1",))
SQL = {
    "a sum a carrier": (
        (
            "select carrier, origin, count(*) as n, sum(delay) as delay, max(distance) as far from departures group by"
            " all order by all"
        ),
        (
            "select carrier, origin, count(*) as n, sum(delay) as delay, max(distance) as far from departures group by"
            " all order by all"
        ),
    ),
    "the last of each hour": (
        (
            "select * exclude (r) from (select flight_id, dest, delay, row_number() over (partition by dest, local_hour"
            " order by ts desc, flight_id) as r from departures) where r = 1 order by all"
        ),
        (
            "select flight_id, dest, delay from (select flight_id, dest, delay, row_number() over (partition by dest,"
            " local_hour order by ts desc, flight_id) as r from departures) where r = 1 order by all"
        ),
    ),
}
"""What is asked -> in DuckDB's dialect, and as one would write it for Spark."""


# -- what a contender does; each returns {"rows", "wall", "cpu"}, `ask` the seconds of each question


def taken(rows: int, work: Callable[[], None]) -> dict[str, float]:
    """The work, by the clock and in CPU seconds of this process and all below it."""
    wall, cpu = time.perf_counter(), spent()
    work()
    return {"rows": rows, "wall": time.perf_counter() - wall, "cpu": spent() - cpu}


def spent() -> float:
    me = psutil.Process()
    below = [p.cpu_times() for p in me.children(recursive=True)]
    own = os.times()
    return own.user + own.system + sum(t.user + t.system + t.children_user + t.children_system for t in below)


def opened(told: Mapping[str, Any]) -> tuple[Any, Any, Lake]:
    schemas = engine("schemas", told["registry"])(told["registry"])
    return (
        engine("log", told["kafka"])(told["kafka"], schemas),
        schemas,
        Lake(engine("files", "file")(tempfile.mkdtemp(dir=told["folder"]))),
    )


def counted(lake: Lake, rows: int) -> None:
    assert lake.table("departures").rows() == rows, (lake.table("departures").rows(), rows)


def land_python(told: Mapping[str, Any]) -> dict[str, float]:
    log, schemas, lake = opened(told)
    sink = Sink(log, schemas, lake, PLAIN)
    found = taken(told["rows"], lambda: void(sink.drain()))
    counted(lake, told["rows"])
    return found


def land_spark(told: Mapping[str, Any]) -> dict[str, float]:
    log, schemas, lake = opened(told)
    url = f"spark://local[1]?memory=1g&spark.jars={jars(CONNECTOR)}"
    sinks = engine("sink", url)(url, Path(tempfile.mkdtemp(dir=told["folder"])))
    sink = sinks.worker(log, schemas, lake, PLAIN)
    found = taken(told["rows"], lambda: void(sink.drain()))
    sink.close()
    sinks.close()
    counted(lake, told["rows"])
    return found


def land_plain(told: Mapping[str, Any]) -> dict[str, float]:
    from pyspark.sql import SparkSession
    from pyspark.sql.avro.functions import from_avro
    from pyspark.sql.functions import col, expr

    _, schemas, lake = opened(told)
    out, text = f"{lake.files.root}/departures", schemas.schema(schemas.versions("departures")[-1])
    settings = {
        "spark.jars": f"{jars(CONNECTOR)},{jars(DELTA)},{jars(FROM_AVRO)}",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.driver.memory": "1g",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.session.timeZone": "UTC",
    }
    builder = SparkSession.builder.master("local[1]")
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    brokers = told["kafka"].removeprefix("kafka://")
    read = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", brokers)
        .option("subscribe", "departures")
        .option("startingOffsets", "earliest")
    )
    event = from_avro(expr("substring(value, 6, length(value) - 5)"), text).alias("event")
    frame = (
        read.option("maxOffsetsPerTrigger", 500_000)
        .load()
        .select(event, "partition", "offset", col("timestamp").alias("arrived_at"))
    )
    write = (
        frame.select("event.*", "partition", "offset", "arrived_at")
        .writeStream.format("delta")
        .option("checkpointLocation", f"{out}-checkpoint")
    )
    found = taken(told["rows"], lambda: void(write.trigger(availableNow=True).start(out).awaitTermination()))
    spark.stop()
    counted(lake, told["rows"])
    return found


def produce_block(told: Mapping[str, Any]) -> dict[str, float]:
    log, schemas, _ = opened(told)
    binding = topic_of(log, schemas, stream("produced", Departure, key="flight_id", dedupe=None))
    made = batches(told["rows"])
    publish(log, binding, made[0].slice(0, 100))  # connected
    with ThreadPoolExecutor(2) as pool:
        return taken(told["rows"], lambda: void(list(pool.map(lambda one: publish(log, binding, one), made))))


def produce_one_by_one(told: Mapping[str, Any]) -> dict[str, float]:
    from confluent_kafka import Producer
    from fastavro import parse_schema, schemaless_writer

    log, schemas, _ = opened(told)
    binding = topic_of(log, schemas, stream("produced", Departure, key="flight_id", dedupe=None))
    schema = parse_schema(json.loads(schemas.schema(binding.schema_id)))
    events = [row for one in batches(min(told["rows"], 4 * BATCH)) for row in one.to_pylist()]
    head, acknowledged = b"\0" + binding.schema_id.to_bytes(4, "big"), [0]
    producer = Producer(
        {
            "bootstrap.servers": told["kafka"].removeprefix("kafka://"),
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 2,
            "batch.size": 1_000_000,
            "batch.num.messages": 100_000,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
        }
    )

    def acked(error: object, message: object) -> None:
        acknowledged[0] += error is None

    def work() -> None:
        for event in events:
            body = io.BytesIO(head)
            body.seek(5)
            schemaless_writer(body, schema, event)
            producer.produce("produced", body.getvalue(), key=event["flight_id"], on_delivery=acked)
            producer.poll(0)
        assert producer.flush(60) == 0

    found = taken(len(events), work)
    assert acknowledged[0] == len(events)
    return found


def ask(told: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Each question to one engine: seconds; on Spark also to its session, without us, and the ratio of the two. The
    first askings of each are not counted.
    """
    table = Lake(engine("files", told["lake"] if "://" in told["lake"] else "file")(told["lake"])).table("departures")
    snapshot, url = table.snapshot(), told["compute"]
    sql, found = engine("sql", url)(url, Path(tempfile.mkdtemp(dir=told["folder"]))), dict[str, dict[str, float]]()
    for what, (ours, theirs) in SQL.items():
        ways = [lambda ours=ours: sql.query(ours, {"departures": snapshot}).read_all()]
        if url.startswith("spark"):
            ways.append(lambda theirs=theirs: plainly(sql, snapshot, theirs))
        answers = [way().num_rows for _ in range(WARM) for way in ways]
        assert len(set(answers)) == 1, answers
        pairs = [in_turn(ways, turn) for turn in range(PAIRS * told["runs"])]
        found[what] = dict(
            zip(("ours", "theirs"), (statistics.median(one) for one in zip(*pairs, strict=True)), strict=False)
        )
        if len(ways) == 2:
            found[what]["ratio"] = statistics.median(one / other for one, other in pairs)
    sql.close()
    return found


def in_turn(ways: Sequence[Callable[[], Any]], turn: int) -> list[float]:
    """Seconds of each; who goes first changes with the turn."""
    seconds = [0.0] * len(ways)
    for at in range(len(ways)) if turn % 2 == 0 else reversed(range(len(ways))):
        begun = time.perf_counter()
        ways[at]()
        seconds[at] = time.perf_counter() - begun
    return seconds


def plainly(sql: Any, snapshot: Any, text: str) -> pa.Table:
    session = sql._session
    session.sparkContext.setJobGroup("plain", "plain")  # the last query of ours has cancelled its own
    session.read.parquet(*snapshot.files).createOrReplaceTempView("departures")
    return session.sql(text).toArrow()


# -- the run


def void(value: object) -> None:
    """A result that is not looked at."""


def jars(some: Jars) -> str:
    return ",".join(str(jar) for jar in sorted(some.folder.glob("*.jar")))


def batches(rows: int) -> list[pa.RecordBatch]:
    """Some distinct batches, again and again."""
    made = [batch(BATCH, seed) for seed in range(min(DISTINCT, -(-rows // BATCH)))]
    return [made[at // BATCH % DISTINCT].slice(0, min(BATCH, rows - at)) for at in range(0, rows, BATCH)]


def child(work: Callable[..., Any], told: Mapping[str, Any], environment: Mapping[str, str] = {}) -> Any:
    """The contender in a process of its own."""
    command = [sys.executable, __file__, "--child", work.__name__, json.dumps(told)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    if done.returncode:
        raise SystemExit(f"{work.__name__} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def medians(works: Sequence[Callable[..., Any]], told: Mapping[str, Any], runs: int) -> dict[str, dict[str, float]]:
    """Rows a second, by the clock and a CPU second, of contenders that take turns."""
    found: dict[str, list[dict[str, float]]] = {work.__name__: [] for work in works}
    for _ in range(runs):
        for work in works:
            found[work.__name__].append(child(work, told))
    return {
        name: {of: statistics.median(one["rows"] / one[of] for one in some) for of in ("wall", "cpu")}
        for name, some in found.items()
    }


def compared(what: str, of: str, ours: Mapping[str, float], theirs: Mapping[str, float]) -> list[dict[str, Any]]:
    units = {"wall": "rows/s by the clock", "cpu": "rows a CPU second"}
    return [
        {
            "what": what,
            "figure": round(ours[key]),
            "unit": unit,
            "limit": round(theirs[key]),
            "of": of,
            "ratio": ours[key] / theirs[key],
        }
        for key, unit in units.items()
    ]


def asked(cluster: Cluster, told: dict[str, Any], computes: Mapping[str, str]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    duckdb: dict[str, dict[str, float]] = {}
    for name, url in computes.items():
        found = child(ask, {**told, "compute": url}, cluster.environment())
        duckdb = duckdb or found
        for what, took in found.items() if found is not duckdb else ():
            beside = {
                "DuckDB": (duckdb[what]["ours"], took["ours"] / duckdb[what]["ours"]),
                "the same Spark without Millstream, in pairs": (took["theirs"], took["ratio"]),
            }
            results += [
                {
                    "what": f"{what}, on {name}",
                    "figure": round(took["ours"], 3),
                    "unit": "s",
                    "limit": round(limit, 3),
                    "of": of,
                    "ratio": ratio,
                }
                for of, (limit, ratio) in beside.items()
            ]
    return results


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--port", type=int, default=30_000, help="the first of the cluster's ports")
    parser.add_argument("--no-yarn", action="store_true", help="without the SQL on YARN, over HDFS")
    parser.add_argument("--child", nargs=2, metavar=("WORK", "TOLD"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(globals()[args.child[0]](json.loads(args.child[1]))))
        return
    for some in (CONNECTOR, DELTA, FROM_AVRO):
        some.fetch(lambda words: print(words, file=sys.stderr))
    with tempfile.TemporaryDirectory(prefix=".bench_cluster_", dir=".") as folder:
        cluster = Cluster(Path(folder).absolute(), port=args.port)
        try:
            results = measured(cluster, args, str(Path(folder).absolute()))
        finally:
            cluster.down(wipe=True)
    if args.json:
        print(json.dumps(results))
        return
    for row in results:
        print(
            f"{row['what']:<50} {row['figure']:>12,g} {row['unit']:<22} {row['limit']:>12,g} {row['of']:<50}"
            f" {row['ratio']:6.2f}"
        )


def measured(cluster: Cluster, args: argparse.Namespace, folder: str) -> list[dict[str, Any]]:
    cluster.up(["kafka", "registry"])
    told = {
        "kafka": cluster.address("kafka"),
        "registry": cluster.address("registry"),
        "folder": folder,
        "rows": args.rows,
        "runs": args.runs,
    }
    log, schemas, lake = opened(told)
    binding = topic_of(log, schemas, PLAIN)
    for one in batches(args.rows):
        publish(log, binding, one)
    landed = medians([land_python, land_spark, land_plain], told, args.runs)
    results = compared(
        "Kafka to Delta, the sink in Python", "plain Structured Streaming", landed["land_python"], landed["land_plain"]
    )
    results += compared(
        "Kafka to Delta, the sink on Spark", "plain Structured Streaming", landed["land_spark"], landed["land_plain"]
    )
    made = medians([produce_block, produce_one_by_one], told, args.runs)
    results += compared(
        "to Kafka, Arrow batches by blocks", "fastavro, one by one", made["produce_block"], made["produce_one_by_one"]
    )
    sink = Sink(log, schemas, lake, PLAIN)
    sink.drain()
    sink.close()
    computes = {"DuckDB": "duckdb:?threads=2", "Spark local[2]": "spark://local[2]?memory=1g"}
    results += asked(cluster, {**told, "lake": lake.files.root}, computes)
    if not args.no_yarn:
        cluster.up(["hdfs", "spark"])
        url = cluster.address("hdfs").rstrip("/") + "/bench"
        os.environ.update(cluster.environment())
        far = Sink(log, schemas, Lake(engine("files", url)(url)), PLAIN)
        far.drain()
        far.close()
        results += asked(
            cluster, {**told, "lake": url}, {"DuckDB over HDFS": "duckdb:?threads=2", "Spark on YARN": "spark://yarn"}
        )
    log.close()
    return results


if __name__ == "__main__":
    main()
