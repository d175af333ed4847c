"""The command line: help, a run with nothing to do, and what the runner costs an asset; each beside what it cannot be
faster than.

    python bench/bench_app.py [--json] [--runs 5] [--rows 200]

help      `millstream --help` in a fresh process; the limit is `python -c pass`. Aim: 150 ms.
idle      `millstream run` of a project that is up to date, in a fresh process; the limit is a process that imports
Millstream and
          loads the project.
runner    seconds an asset of a run in which all are up to date, in one process; the limit is a loop that reads each
asset's record
          from the same SQLite file with sqlite3 alone. Aim: 5 ms.

The project has `--rows` trivial tables over one stream of three events. Medians of `--runs`.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STREAMS = '''
import millstream as ms


class Tick(ms.Event):
    """Something happened."""

    key: str
    value: float
    ts: ms.EventTime


ticks = ms.stream("ticks", Tick, key="key")
ms.source(ticks, ms.read.files("data/ticks.csv"))
'''
TICKS = "key,value,ts\n" + "".join(f"k{i},{i}.5,2026-01-01T00:00:0{i}Z\n" for i in range(3))
LOAD = "from millstream.declare.load import load; load({root!r})"


def generate(root: Path, tables: int) -> None:
    """One stream, and tables that each read it."""
    for folder in ("tables", "data"):
        (root / folder).mkdir(parents=True)
    (root / "millstream.toml").write_text('[project]\nname = "many"\n')
    (root / "streams.py").write_text(STREAMS)
    (root / "data" / "ticks.csv").write_text(TICKS)
    for i in range(tables):
        (root / "tables" / f"t{i}.sql").write_text(f"select key, value + {i} as value, ts from ticks\n")


def timed(work: Callable[[], object], runs: int) -> float:
    """Median seconds, after one that warms up."""
    taken = []
    for _ in range(runs + 1):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[1:])


def process(*words: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, *words], check=True, capture_output=True)


def in_process(root: Path, runs: int) -> tuple[float, float, int]:
    """Seconds an asset of a run with nothing to do, of the bare loop, and how many assets there are."""
    from millstream.run.runner import run
    from millstream.run.steps import steps
    from millstream.run.workspace import Workspace

    with Workspace.open(str(root)) as ws:
        every = steps(ws)
        bare = sqlite3.connect(root / ".millstream" / "state.db")
        table, columns = _documents(bare)

        def idle() -> None:
            assert all(done.status == "skipped" for done in run(every, ws.state))

        def loop() -> None:
            for step in every:
                bare.execute(
                    f"select * from {table} where {columns[0]} = ? and {columns[1]} = ?", ("asset", step.name)
                ).fetchone()

        ours, limit = timed(idle, runs), timed(loop, runs)
        bare.close()
    return ours / len(every), limit / len(every), len(every)


def _documents(bare: sqlite3.Connection) -> tuple[str, list[str]]:
    """The table of documents and the columns of its kind and key, whatever the engine calls them."""
    for (name,) in bare.execute("select name from sqlite_master where type = 'table'").fetchall():
        columns = [row[1] for row in bare.execute(f"pragma table_info({name})")]
        if {"kind", "key"} <= set(columns):
            return name, ["kind", "key"]
    raise SystemExit("the state file has no table of documents")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=200, help="tables of the project")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []

    def told(what: str, ours: float, limit: float, of: str, aim: float | None) -> None:
        rows.append(
            {
                "what": what,
                "unit": "ms",
                "figure": round(ours * 1e3, 3),
                "limit": round(limit * 1e3, 3),
                "of": of,
                "ratio": round(ours / limit, 2),
                "aim": aim,
            }
        )

    told(
        "millstream --help",
        timed(process("-m", "millstream", "--help"), given.runs),
        timed(process("-c", "pass"), given.runs),
        "python -c pass",
        150,
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "project"
        generate(root, given.rows)
        process("-m", "millstream", "--project", str(root), "run")()
        ours, limit, assets = in_process(root, given.runs)
        told(f"runner, an asset of {assets} up to date", ours, limit, "its record read by sqlite3", 5)
        idle, bare = (
            timed(process("-m", "millstream", "--project", str(root), "run"), given.runs),
            timed(process("-c", LOAD.format(root=str(root))), given.runs),
        )
        told(f"millstream run, {assets} assets, nothing to do", idle, bare, "the project loaded", None)
    if given.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(
            f"{row['what']:<44} {row['figure']:>10,.1f} ms   {row['of']} {row['limit']:,.3g} ms   ratio {row['ratio']}"
            + (f"   aim {row['aim']} ms" if row["aim"] else "")
        )


if __name__ == "__main__":
    main()
