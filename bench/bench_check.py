"""Check of a generated project of 1,000 assets: cold, then warm (a cache by content hash), in fresh processes.

The raw limit is a process that imports Millstream and runs the same Python modules: what no check can be faster than.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

STREAM = '''
class E{i}(ms.Event):
    """Event {i}."""

    key: str
    other: str
    value: float = ms.field(doc="a number")
    count: int | None = None
    ts: ms.EventTime


s{i} = ms.stream("s{i}", E{i}, key="key", lateness="10m")
'''
FEATURES = """
f{i} = ms.features("f{i}", s{i}, key="key", windows=["3h", "7d"], aggregates={{
    "n": agg.count(), "mean": agg.mean("value"), "big": agg.mean("value > $limit + {i}")}})
o{i} = ms.outcome(s{j}, on="key", value="value > $limit", within="1d")
t{i} = ms.training_set("t{i}", at=s{i}, label=o{i}, features=[f{i}], until="2020-01-01",
                       derive={{"d": "f{i}__mean_3h - f{i}__mean_7d"}})
ms.monitor(s{i}, ms.expect.rows("value between 0 and {i}"))
"""
TABLE = """-- @time ts
-- @key key
-- @incremental 1d lookback 2d
with a as (select key, ts, value from s{i} where ts >= $start and ts < $end)
select a.key, a.ts, sum(a.value) over (partition by a.key) as total, b.value > $limit as big,
  coalesce(b.other, 'none') as other
from a left join s{j} b using (key) where a.value is not null
"""


def generate(root: Path, assets: int) -> None:
    """Streams, features, training sets, monitors and SQL tables in equal parts."""
    n = assets // 5
    (root / "tables").mkdir(parents=True)
    (root / "millstream.toml").write_text('[project]\nname = "many"\n[params]\nlimit = 15\n')
    (root / "streams.py").write_text("import millstream as ms\n" + "".join(STREAM.format(i=i) for i in range(n)))
    names = ", ".join(f"s{i}" for i in range(n))
    (root / "views.py").write_text(
        f"import millstream as ms\nfrom millstream import agg\nfrom streams import {names}\n"
        + "".join(FEATURES.format(i=i, j=(i + 1) % n) for i in range(n))
    )
    for i in range(assets - 4 * n):
        (root / "tables" / f"q{i}.sql").write_text(TABLE.format(i=i % n, j=(i + 1) % n))


CHECK = """
import time; b = time.perf_counter()
from pathlib import Path
from millstream.declare.load import load
p = load({root!r}, cache=Path({cache!r}))
print(time.perf_counter() - b, len(p.nouns), len(p.graph.order()))
"""
RAW = """
import time; b = time.perf_counter()
import sys; sys.path.insert(0, {root!r})
import streams, views
print(time.perf_counter() - b)
"""


def seconds(script: str) -> float:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1000, help="assets")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder) / "project", Path(folder) / "cache"
        generate(root, given.rows)
        values = {"root": str(root), "cache": str(cache)}
        cold = seconds(CHECK.format(**values))
        warm = statistics.median(seconds(CHECK.format(**values)) for _ in range(given.runs))
        raw = statistics.median(seconds(RAW.format(**values)) for _ in range(given.runs))
    rows = [
        {
            "what": f"check of {given.rows} assets, warm",
            "seconds": round(warm, 3),
            "raw": round(raw, 3),
            "ratio": round(warm / raw, 2),
        },
        {
            "what": f"check of {given.rows} assets, cold",
            "seconds": round(cold, 3),
            "raw": round(raw, 3),
            "ratio": round(cold / raw, 2),
        },
    ]
    if given.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(
            f"{row['what']:36} {row['seconds']:8.3f} s   running the modules alone {row['raw']:.3f} s   ratio"
            f" {row['ratio']}"
        )


if __name__ == "__main__":
    main()
