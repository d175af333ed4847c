"""Online = offline = oracle, in bits, on worlds that aim at the edges (docs/feature-semantics.md, section 12)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from worlds import CHECKS, world

from millstream.base.registry import engine

SECONDS = float(os.environ.get("MILLSTREAM_WORLDS_SECONDS", "15"))
"""For how long new worlds are made; longer when looking for trouble."""


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    made = engine("sql", "duckdb")("duckdb:?threads=2", tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


def test_every_reader_gives_the_oracles_bits(sql: Any, tmp_path: Path) -> None:
    first = int(os.environ.get("MILLSTREAM_WORLDS_SEED", time.time_ns() // 1000 % 10**9))
    print(f"worlds from seed {first}: MILLSTREAM_WORLDS_SEED={first} makes them again")
    until, seed, looked = time.monotonic() + SECONDS, first, 0
    while time.monotonic() < until or seed < first + 4:
        made = world(seed)
        for name, check in CHECKS.items():
            bad = check(made, sql, tmp_path)
            assert not bad, f"MILLSTREAM_WORLDS_SEED={seed}, {name}: {len(bad)} values, e.g. " + "\n".join(bad[:5])
            looked += len(made.looks)
        seed += 1
    print(f"{seed - first} worlds, {looked} look-ups")
