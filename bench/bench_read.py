"""Queries of a table of the lake beside plain DuckDB on the same files: a sort, joins, groups and filters.

    python bench/bench_read.py [--json] [--runs 5] [--rows 4000000]

Both run in one process each, in pairs, with two threads and no cache between runs. The limit is what DuckDB takes when
it is given the files by name.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from millstream.base.registry import engine
from millstream.lake.lake import Lake

FILES = 10
QUERIES = {
    "least and greatest": "select min(n), max(ts), count(*) from t",
    "a filter on a key": "select count(*), sum(value) from t where key = 7",
    "a sum a key": "select key, sum(value), count(*) from t group by key",
    "the last row of each key": (
        "select max(n) from (select n from t qualify row_number() over (partition by key order by ts desc) = 1)"
    ),
    "a join with a filtered part": (
        "select count(*) from t a join (select n, key from t where key = 7) b on a.n = b.n + 1"
    ),
    "a sort": "select key, n from t order by key, n limit 1 offset {half}",
}
SCHEMA = pa.schema(
    [("n", pa.int64()), ("key", pa.int64()), ("value", pa.float64()), ("ts", pa.timestamp("us", tz="UTC"))]
)
ONE = """
import json, sys, time
sys.path[:0] = {path!r}
text, folder, plain = {text!r}, {folder!r}, {plain!r}
if plain:
    import duckdb
    connection = duckdb.connect(config={{"threads": 2}})
    connection.execute("set enable_progress_bar = false")
    begun = time.process_time()
    connection.execute("create view t as select * from read_parquet(" + repr({files!r}) + ")")
    connection.execute(text).fetchall()
else:
    from millstream.base.registry import engine
    from millstream.lake.lake import Lake
    sql = engine("sql", "duckdb")("duckdb:?threads=2", __import__("pathlib").Path(folder) / "scratch")
    snapshot = Lake(engine("files", "file")(folder)).table("t").snapshot()
    sql.query("select 1 as a", {{}}).read_all()
    begun = time.process_time()
    sql.query(text, {{"t": snapshot}}).read_all()
print(time.process_time() - begun)
"""


def fill(folder: str, rows: int) -> list[str]:
    """A table of so many rows, in the order of time; its files."""
    table, rng = Lake(engine("files", "file")(folder)).create("t", SCHEMA), np.random.default_rng(7)
    for part in np.array_split(np.arange(rows), FILES):
        columns = [
            part,
            rng.integers(0, 100, len(part)),
            rng.random(len(part)),
            pa.array(part * 1000, SCHEMA.field("ts").type),
        ]
        table.land(
            table.write([pa.RecordBatch.from_arrays([pa.array(c) for c in columns], schema=SCHEMA)]),
            txns={},
            metadata={},
        )
    return list(table.snapshot().files)


def cpu(text: str, folder: str, files: list[str], plain: bool) -> float:
    """Seconds of CPU of one query, in a process of its own."""
    script = ONE.format(
        text=text, folder=folder, files=files, plain=plain, path=[str(Path(__file__).parent.parent / "src")]
    )
    return float(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=4_000_000)
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        files = fill(folder, given.rows)
        for what, query in QUERIES.items():
            text = query.format(half=given.rows // 2)
            pairs = [(cpu(text, folder, files, False), cpu(text, folder, files, True)) for _ in range(given.runs)]
            ours, plain = (statistics.median(side) for side in zip(*pairs, strict=True))
            ratio = statistics.median(a / b for a, b in pairs)
            found.append(
                {
                    "what": what,
                    "unit": "s of CPU",
                    "figure": round(ours, 3),
                    "limit": round(plain, 3),
                    "of": "plain DuckDB, the same files",
                    "ratio": round(ratio, 2),
                }
            )
            if not given.json:
                print(f"{what:30} {ours:8.3f} s   plain DuckDB {plain:8.3f} s   ratio {ratio:.2f}", flush=True)
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
