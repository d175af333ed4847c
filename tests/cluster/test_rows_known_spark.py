"""Rows of tables count from when they are known on Spark too: the same SQL, the same bits as the embedded engine's,
offline and in what a fill loads.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from oracle import naive, same, settled, spine
from spark_world import both
from test_rows_known import T0, embedded, held, known, rows_of, ruled

from millstream.features.fill import fill
from millstream.features.keys import encode
from millstream.features.offline import offline

MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    with both(tmp_path_factory.mktemp("engines")) as made:
        yield made


@pytest.mark.parametrize("rule", [(0, 26 * HOUR + 1), (HOUR, 10 * MINUTE), (DAY, 3 * DAY)])
def test_spark_counts_the_rows_that_the_rule_says(
    rule: tuple[int, int], engines: tuple[Any, Any], tmp_path: Path
) -> None:
    chance = random.Random(7)
    d = ruled(*rule, ("3h", "14d"))
    moments = [T0 + chance.randrange(DAY) for _ in range(3)]
    rows = rows_of(chance, d, moments)
    looks = [((k,), t + step) for t in moments for step in (-1, 0, 1, HOUR) for k in "abz"]
    told = [
        offline(sql, held(rows), spine(looks), [(d, ("k",), "p")]).read_all().sort_by("_row").to_pylist()
        for sql in engines
    ]
    stores = [embedded(tmp_path, name) for name in ("duckdb", "spark")]
    for sql, store in zip(engines, stores, strict=True):
        fill(sql, held(rows), store, d, settled, wall_us=lambda: min(moments))
    online = [store.lookup(d, [encode(k) for k, _ in looks], [t for _, t in looks]) for store in stores]
    for i, (key, t) in enumerate(looks):
        for w in d.windows_us:
            for name, value in naive(d, rows, key, t, w, lambda r, t=t: known(d, r.t) < t).items():  # type: ignore[misc]
                got = [rows_of_one[i][f"p__{name}"] for rows_of_one in told] + [
                    found[i].values[name] for found in online
                ]
                assert all(same(one, value) for one in got), (key, t, name, value, got)
    for store in stores:
        store.close()
