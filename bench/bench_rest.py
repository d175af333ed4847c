"""What lies at rest: the cost of a project in which nothing happens, as what it holds grows tenfold.

    python bench/bench_rest.py [--json] [--runs 1] [--small 1] [--only files,commits]

Each world is a project of its own that holds some amount of one thing, and the same project with ten times as much:

files     files of a source, all read                        200
events    events in the log and in the table, with dedupe    100,000
commits   commits of the table, each of ten rows             40
letters   dead letters of the stream                         2,000
streams   streams, each with a table                         5
runs      recorded runs of all assets                        20

Of each: CPU seconds of `millstream plan`, of `millstream run` with nothing to do, of `millstream up` until it is ready,
and, in percent of a core, of `millstream up` while nothing comes in (20 s of it). The limit beside a figure is the same
figure at the smaller amount: 1 is a cost that does not grow with what is at rest, 10 a cost that is proportional to it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

IDLE_S, SETTLED_S, TIMES = 20.0, 15.0, 10
T0_US = 1_767_225_600_000_000
HEAD = '''
import millstream as ms


class Tick(ms.Event):
    """Something happened to a key."""

    number: int
    key: str
    value: float
    ts: ms.EventTime
'''
STREAM = """

{name} = ms.stream("{name}", Tick, key="key", dedupe="number", lateness="10m")
ms.source({name}, ms.read.files("data/{name}/*.csv", watch=True))
ms.source({name}, ms.read.http())
"""
FILES, EVENTS, COMMITS, LETTERS, STREAMS, RUNS = 200, 100_000, 40, 2_000, 5, 20


def project(root: Path, streams: int = 1) -> None:
    """So many streams, each read from files of a folder of its own, each with a table."""
    (root / "tables").mkdir(parents=True)
    names = [f"ticks{i}" for i in range(streams)]
    (root / "millstream.toml").write_text('[project]\nname = "rest"\n')
    (root / "streams.py").write_text(HEAD + "".join(STREAM.format(name=name) for name in names))
    for name in names:
        (root / "data" / name).mkdir(parents=True)
        (root / "tables" / f"sums_{name}.sql").write_text(f"select key, sum(value) as total from {name} group by key\n")
        (root / "data" / name / "first.csv").write_text(csv(0, 3))


def csv(start: int, rows: int, bad: int = 0) -> str:
    stamps = np.datetime_as_string(np.datetime64(T0_US, "us") + (start + np.arange(rows)) * np.timedelta64(1, "s"))
    lines = [f"{start + i},k{i % 100},{i}.5,{stamps[i]}Z" for i in range(rows)] + [
        f"x{start + i},k,1.5,{stamps[0]}Z" for i in range(bad)
    ]
    return "number,key,value,ts\n" + "\n".join(lines) + "\n"


def run(root: Path, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "millstream", "--project", str(root), *(words or ("run",))],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{words}: {done.stdout}{done.stderr}")


def files(root: Path, amount: int) -> None:
    project(root)
    for i in range(1, amount):
        (root / "data" / "ticks0" / f"{i:06}.csv").write_text(csv(i * 10, 10))
    run(root)


def events(root: Path, amount: int) -> None:
    project(root)
    (root / "data" / "ticks0" / "more.csv").write_text(csv(10, amount))
    run(root)


def commits(root: Path, amount: int) -> None:
    """One poll of the sink for each append."""
    from millstream.lake.sink import Sink
    from millstream.log.envelope import publish, topic_of
    from millstream.run.workspace import Workspace

    project(root)
    run(root)
    with Workspace.open(str(root)) as ws:
        stream = ws.project.streams["ticks0"]
        binding = topic_of(ws.log, ws.schemas, stream)
        sink = Sink(ws.log, ws.schemas, ws.lake, stream)
        for i in range(1, amount + 1):
            numbers = np.arange(i * 10, i * 10 + 10)
            stamps = pa.array(T0_US + numbers * 1_000_000, pa.timestamp("us", tz="UTC"))
            columns = {
                "number": pa.array(numbers),
                "key": pa.array(["k"] * 10),
                "value": pa.array(numbers * 1.5),
                "ts": stamps,
            }
            extra = {"_event_id": pa.nulls(10, pa.string()), "_arrived_at": stamps}
            publish(ws.log, binding, pa.RecordBatch.from_pydict(columns | extra))
            sink.step()
        sink.close()
    run(root)


def letters(root: Path, amount: int) -> None:
    project(root)
    (root / "data" / "ticks0" / "more.csv").write_text(csv(10, 10, bad=amount))
    run(root)


def streams(root: Path, amount: int) -> None:
    project(root, amount)
    run(root)


def runs(root: Path, amount: int) -> None:
    project(root)
    for _ in range(amount):
        run(root, "run", "--force")


WORLDS: dict[str, tuple[Callable[[Path, int], None], int]] = {
    "files": (files, FILES),
    "events": (events, EVENTS),
    "commits": (commits, COMMITS),
    "letters": (letters, LETTERS),
    "streams": (streams, STREAMS),
    "runs": (runs, RUNS),
}


def spent(root: Path, *words: str) -> float:
    """CPU seconds of one command and all it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(root, *words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def idle(root: Path) -> tuple[float, float]:
    """CPU seconds of `up` until it is ready, and percent of a core while nothing comes in."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "millstream", "--project", str(root), "up"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"MILLSTREAM_SERVE_PORT": str(port)},
    )
    above = psutil.Process(process.pid)
    try:
        _ready(port)
        started = _cpu(above)
        time.sleep(SETTLED_S)
        before = _cpu(above)
        time.sleep(IDLE_S)
        return started, (_cpu(above) - before) / IDLE_S * 100
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _ready(port: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("`up` is not ready after 120 s")


def _cpu(parent: psutil.Process) -> float:
    """CPU seconds of a process and of all below it."""
    total = 0.0
    for process in (parent, *parent.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def measure(name: str, scale: float, runs: int) -> list[dict[str, Any]]:
    make, amount = WORLDS[name]
    small, found = max(1, round(amount * scale)), []
    for held in (small, small * TIMES):
        with tempfile.TemporaryDirectory(prefix="bench_rest_") as folder:
            root = Path(folder) / "project"
            make(root, held)
            plan = statistics.median(spent(root, "plan") for _ in range(runs + 1))
            again = statistics.median(spent(root, "run") for _ in range(runs + 1))
            started, percent = map(statistics.median, zip(*(idle(root) for _ in range(runs)), strict=True))
            found.append(
                {"plan": plan, "run, nothing to do": again, "up, until ready": started, "up, at rest": percent}
            )
    units = {what: "% of a core" if what == "up, at rest" else "s of CPU" for what in found[0]}
    return [
        {
            "what": f"{small * TIMES:,} {name}: {what}",
            "unit": units[what],
            "figure": round(found[1][what], 2),
            "limit": round(found[0][what], 2),
            "of": f"with {small:,}",
            "ratio": round(found[1][what] / max(found[0][what], 0.01), 2),
        }
        for what in units
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--small", type=float, default=1.0, help="amounts times this")
    parser.add_argument("--only", default="", help="names of worlds, separated by commas")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in given.only.split(",") if given.only else WORLDS:
        for row in measure(name, given.small, given.runs):
            rows.append(row)
            if not given.json:
                print(
                    f"{row['what']:<44} {row['figure']:>9,.2f} {row['unit']:<11}   {row['of']} {row['limit']:,.2f}  "
                    f" ratio {row['ratio']}",
                    flush=True,
                )
    if given.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
