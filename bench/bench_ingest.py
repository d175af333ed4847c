"""Files into the embedded log, durable, with positions; beside Arrow's own reader of the same file.

    python bench/bench_ingest.py [--json] [--runs 5] [--rows 500000]

"read" is the file source alone (typed columns, ids, positions); "pump" brings them into the log; "raw" is the same file
read by pyarrow (Avro: Polars) into typed columns, no ids, no checks, on one thread. Rows a CPU second of this process,
medians of `--runs`.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

import millstream as ms
from millstream.base.registry import engine
from millstream.ingest.pump import pump


class Landed(ms.Event):
    flight_id: str
    carrier: str
    origin: str
    dest: str
    distance: float
    delay: float
    gate: int
    ts: ms.EventTime


STREAM = ms.stream("landed", Landed, key="flight_id")
FORMS = ["csv", "csv.gz", "jsonl", "parquet", "avro"]


def table(rows: int) -> pa.Table:
    at = np.arange(rows)
    ids = pc.binary_join_element_wise("2013-11-01-UA", pa.array(at).cast(pa.string()), "EWR", "-")
    names = pa.array(["EWR", "JFK", "LGA"])
    return pa.table(
        {
            "flight_id": ids,
            "carrier": pa.array(["UA", "AA"]).take(at % 2),
            "origin": names.take(at % 3),
            "dest": names.take((at + 1) % 3),
            "distance": at * 1.5,
            "delay": np.round(np.sin(at) * 60, 3),
            "gate": at % 97,
            "ts": pa.array(1_356_998_400_000_000 + at * 1_000_000, pa.timestamp("us", "UTC")),
        }
    )


def write(folder: Path, rows: int) -> None:
    data = table(rows)
    text = data.set_column(7, "ts", pc.strftime(data.column("ts"), "%Y-%m-%dT%H:%M:%SZ"))
    buffer = io.BytesIO()
    pa_csv.write_csv(text, buffer, pa_csv.WriteOptions(quoting_style="needed"))
    (folder / "x.csv").write_bytes(buffer.getvalue())
    (folder / "x.csv.gz").write_bytes(gzip.compress(buffer.getvalue(), 5))
    frame = pl.from_arrow(text)
    assert isinstance(frame, pl.DataFrame)
    frame.write_ndjson(folder / "x.jsonl")
    pq.write_table(data, folder / "x.parquet")
    frame.write_avro(folder / "x.avro", compression="deflate")


def raw(path: Path, form: str) -> int:
    kinds = dict(zip(STREAM.schema.names(), STREAM.schema.arrow().types, strict=True))
    if form.startswith("csv"):
        file = pa.input_stream(str(path), compression="gzip" if form.endswith("gz") else None)
        found = pa_csv.read_csv(
            file,
            pa_csv.ReadOptions(use_threads=False, block_size=8 << 20),
            convert_options=pa_csv.ConvertOptions(column_types=kinds),
        )
    elif form == "jsonl":
        schema = pa.schema([(n, pa.string() if n == "ts" else k) for n, k in kinds.items()])
        found = pa_json.read_json(
            path,
            pa_json.ReadOptions(use_threads=False, block_size=8 << 20),
            pa_json.ParseOptions(explicit_schema=schema),
        )
    elif form == "parquet":
        found = pq.read_table(path, use_threads=False)
    else:
        return pl.read_avro(path).height
    return int(found.num_rows)


def rate(rows: int, work: Callable[[], int]) -> float:
    begun = time.process_time()
    assert work() == rows
    return rows / (time.process_time() - begun)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=500_000)
    given = parser.parse_args()
    found: dict[str, Any] = {"bench": "ingest", "rows": given.rows, "runs": given.runs}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, given.rows)
        for form in FORMS:
            source = ms.source(STREAM, ms.read.files(f"x.{form}"))
            files = engine("source", "files:")(source, folder)

            def read(files: Any = files, form: str = form) -> int:
                return sum(batch.rows.num_rows for batch in files.read(f"x.{form}", None))

            def pumped(source: Any = source, files: Any = files) -> int:
                with tempfile.TemporaryDirectory() as inner:
                    url = f"sqlite:{inner}/log.db"
                    schemas = engine("schemas", url)(url)
                    log = engine("log", url)(url, schemas)
                    done = pump(log, schemas, [(source, files)]).rows
                    log.close()
                    schemas.close()
                    return done

            def bare(form: str = form) -> int:
                return raw(folder / f"x.{form}", form)

            rates = {
                kind: round(statistics.median(rate(given.rows, work) for _ in range(given.runs)))
                for kind, work in (("read", read), ("pump", pumped), ("raw", bare))
            }
            found[form] = {**rates, "ratio": round(rates["pump"] / rates["raw"], 3)}
    if given.json:
        print(json.dumps(found))
        return
    for form in FORMS:
        one = found[form]
        print(
            f"{form:<8} read {one['read']:>10,}  pump {one['pump']:>10,}  raw {one['raw']:>10,} rows/s a core   ratio"
            f" {one['ratio']:.2f}"
        )


if __name__ == "__main__":
    main()
