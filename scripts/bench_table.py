"""Runs the benches and writes docs/benchmarks.md: each figure beside its raw limit, and the machine it was measured on.

    python scripts/bench_table.py                  all benches, medians of 5; an hour on two cores
    python scripts/bench_table.py log app          only these; the others keep the figures they had
    python scripts/bench_table.py cluster          Kafka and Spark; `make bench-cluster` brings what it needs
    python scripts/bench_table.py --quick --out x  small sizes, one run: whether each bench starts and reports

What a bench said is kept in bench/results/NAME.json with the machine and the date, so that a table may be made of
several sittings.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
QUICK = {
    "app": ["--rows", "5"],
    "check": ["--rows", "50"],
    "cluster": ["--rows", "40000"],
    "collector": ["--seconds", "0.3"],
    "features": ["--scale", "0.002", "--keys", "uniform"],
    "ingest": ["--rows", "20000"],
    "log": ["--rows", "20000", "--seconds", "0.3"],
    "read": ["--rows", "20000"],
    "rest": ["--only", "letters", "--small", "0.01"],
    "scale": ["--events", "20000,50000"],
    "serve": ["--seconds", "0.3", "--rows", "2000"],
    "sink": ["--rows", "100000", "--commit", "50000"],
    "version": ["--rows", "64"],
}
RUNS = {"features": 1, "rest": 1, "scale": 1, "cluster": 3}
"""Other than 5. Of so many events that one run says enough: a quarter of an hour each."""
APART = ("cluster",)
"""Only when it is named: it fetches Kafka and Spark, and starts them."""
INTRO = """# Benchmarks

<!-- Made by `make bench`. -->

Each figure stands beside its limit: what the same work costs without Millstream, measured in the same run. "a core"
divides by processor time, so it holds on a busy machine. A ratio of rates is ours by the limit (1 is the best there can
be); a ratio of times is ours by the limit as well, so there less is better. Figures are medians of the runs that are
named. They say what this machine does, not what yours will do: run `make bench`.
"""


def run(name: str, quick: bool) -> dict[str, Any]:
    """What a bench says, and where and when."""
    runs = 1 if quick else RUNS.get(name, 5)
    command = [
        sys.executable,
        str(ROOT / "bench" / f"bench_{name}.py"),
        "--json",
        "--runs",
        str(runs),
        *(QUICK.get(name, []) if quick else []),
    ]
    begun = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    print(f"{name:<12} {time.monotonic() - begun:8.1f} s", file=sys.stderr, flush=True)
    return {"said": json.loads(done.stdout), "runs": runs, "machine": machine(), "day": f"{datetime.now(UTC):%Y-%m-%d}"}


def machine() -> str:
    """Processor, cores, memory, system and Python, as far as they can be told."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{cores} cores of {_processor()}, {memory:.0f} GiB, {platform.system()} {platform.machine()}, Python"
        f" {platform.python_version()}"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor() or "an unknown processor"


def rows(name: str, said: Any) -> Iterator[tuple[str, str, str, str, float | None]]:
    """(what, figure, limit, what the limit is, ratio) of each thing that a bench measured; the benches say it in their
    own words.
    """
    if isinstance(said, list):
        for row in said:
            yield _row(row)
    elif name == "ingest":
        for form in ("csv", "jsonl", "parquet", "avro"):
            if form in said:
                yield (
                    f"{form} into the log",
                    _rate(said[form]["pump"]),
                    _rate(said[form]["raw"]),
                    "Arrow's or Polars' own reader",
                    said[form]["ratio"],
                )
    elif name == "collector":
        for unit, of in (("events_a_core", "a core"), ("events_a_second", "by the clock")):
            ours, bare = said["collector"][unit], said["bare"][unit]
            yield (
                f"events over HTTP, {said['rows']} a request, {of}",
                _rate(ours, of),
                _rate(bare, of),
                "a bare server, no log",
                ours / bare,
            )
    elif name == "serve":
        for at in said["at"]:
            ours, bare = at["servers"]["millstream"], at["servers"]["bare"]
            what = f"requests with 6 look-ups, decision durable, {at['connections']} connections"
            yield what, _rate(ours["rps"], "a core"), _rate(bare["rps"], "a core"), "a bare server", at["ratio_to_bare"]
            for of in ("p50_ms", "p99_ms"):
                yield (
                    f"the same, {of.removesuffix('_ms')} of a request",
                    f"{ours[of]:.2f} ms",
                    f"{bare[of]:.2f} ms",
                    "a bare server",
                    ours[of] / bare[of],
                )
    else:
        raise SystemExit(f"bench {name} says what no row can be made of: {said}")


def _row(row: dict[str, Any]) -> tuple[str, str, str, str, float | None]:
    what, ratio = str(row["what"]).replace("_", " "), row.get("ratio")
    if "figure" in row:
        return what, f"{row['figure']:,g} {row['unit']}", f"{row['limit']:,g} {row['unit']}", row["of"], ratio
    if "seconds" in row:
        return what, f"{row['seconds']:,g} s", f"{row['raw']:,g} s", "the modules run alone", ratio
    if "cpu" in row:
        return (
            what,
            f"{row['cpu']:,.1f} s of CPU, {row['peak_gb']:.2f} GB",
            f"{row['cpu'] / ratio:,.1f} s of CPU",
            "ours, mode event",
            ratio,
        )
    if "p50_us" in row:
        return what, f"{row['p50_us']:,.0f} us p50, {row['p99_us']:,.0f} us p99", "", "", None
    if not row.get("core"):
        return what, _rate(row["wall"], "by the clock"), "", "", None
    return (
        what,
        _rate(row["core"]),
        _rate(row["core"] / ratio) if ratio else "",
        "named in the bench" if ratio else "",
        ratio,
    )


def _rate(value: float, of: str = "a core") -> str:
    return f"{value:,.0f} /s {of}"


def page(results: dict[str, dict[str, Any]]) -> str:
    lines = [INTRO]
    for name, result in sorted(results.items()):
        runs = "one run" if result["runs"] == 1 else f"medians of {result['runs']}"
        lines += [
            f"## {name}",
            "",
            f"`bench/bench_{name}.py`, {runs}, {result['day']}, {result['machine']}.",
            "",
            "| | figure | limit | the limit is | ratio |",
            "|---|---:|---:|---|---:|",
        ]
        lines += [
            f"| {what} | {figure} | {limit} | {of} | {'' if ratio is None else f'{ratio:.2f}'} |"
            for what, figure, limit, of, ratio in rows(name, result["said"])
        ]
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    known = sorted(file.stem.removeprefix("bench_") for file in (ROOT / "bench").glob("bench_*.py"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; all when none is given")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, one run; with --out, since its figures mean nothing"
    )
    parser.add_argument(
        "--out", type=Path, help="a folder for results and table, instead of bench/results and docs/benchmarks.md"
    )
    given = parser.parse_args()
    if unknown := set(given.names) - set(known):
        parser.error(f"no bench {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if given.quick and given.out is None:
        parser.error("--quick needs --out")
    folder, target = (given.out, given.out / "benchmarks.md") if given.out else (RESULTS, PAGE)
    folder.mkdir(parents=True, exist_ok=True)
    for name in given.names or [name for name in known if name not in APART]:
        (folder / f"{name}.json").write_text(json.dumps(run(name, given.quick), indent=1) + "\n", encoding="utf-8")
    target.write_text(
        page({file.stem: json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.json")}),
        encoding="utf-8",
    )
    print(f"written {target}")


if __name__ == "__main__":
    main()
