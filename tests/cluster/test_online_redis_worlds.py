"""Redis = offline = oracle, in bits, on the worlds of the property test; and does that test bite here too?"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_planted_faults import WORLDS, Fault
from test_rows_known import check as rows_known
from worlds import check_filled, check_online, world

from millstream.base.errors import WorkFailed
from millstream.base.registry import engine
from millstream.engines.redis import blobs, filling, lookups, online
from millstream.features.port import OnlineStore

SECONDS = float(os.environ.get("MILLSTREAM_WORLDS_SECONDS", "20"))
CHECKS = {"online": check_online, "filled": check_filled}
Opener = Callable[[Path, str], OnlineStore]


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    made = engine("sql", "duckdb")("duckdb:?threads=2", tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


@pytest.fixture
def store_of(redis: str) -> Opener:
    return lambda folder, name: online.RedisOnline(f"{redis}?prefix={uuid.uuid4().hex}")


def test_it_gives_the_oracles_bits(sql: Any, tmp_path: Path, store_of: Opener) -> None:
    first = int(os.environ.get("MILLSTREAM_WORLDS_SEED", time.time_ns() // 1000 % 10**9))
    print(f"worlds from seed {first}: MILLSTREAM_WORLDS_SEED={first} makes them again")
    until, seed = time.monotonic() + SECONDS, first
    while time.monotonic() < until or seed < first + 4:
        made = world(seed)
        for name, check in CHECKS.items():
            bad = check(made, sql, tmp_path, store_of=store_of)
            assert not bad, f"MILLSTREAM_WORLDS_SEED={seed}, {name}: {len(bad)} values, e.g. " + "\n".join(bad[:5])
        seed += 1
    print(f"{seed - first} worlds")


S = online.RedisOnline
FAULTS = [
    Fault(
        "the moment itself is inside",
        "online",
        (lookups.Cover, "rows"),
        "until_us if high is None",
        "until_us + 1 if high is None",
    ),
    Fault(
        "the last group of a stretch is left out",
        "online",
        (lookups, "cover"),
        "(high - 1) // size + 1",
        "max(low // size + 1, (high - 1) // size)",
    ),
    Fault(
        "what is kept of the past outlives a late event",
        "online",
        (online, "_moved"),
        "oldest_us < stand.settled_us or",
        "",
    ),
    Fault(
        "a reader does not see that its past is another's",
        "online",
        (lookups.Seen, "others"),
        "(a.space, a.era, a.days) != (b.space, b.era, b.days)",
        "(a.space, a.days) != (b.space, b.days)",
    ),
    Fault(
        "a replayed batch is applied",
        "online",
        (online, "_moved"),
        "if at != one.start:",
        "if at < one.start:",
        raises=AssertionError,
    ),
    Fault(
        "the head is let go two hours early",
        "online",
        (S, "_touched"),
        "moments(stand.horizon_us)",
        "moments(stand.horizon_us + 7_200_000_000)",
    ),
    Fault(
        "groups expire a day early",
        "online",
        (online, "_ends"),
        "return (int(group[2:]) + 1)",
        "return (int(group[2:]) - 11)",
    ),
    Fault(
        "what is late is written to an expired group's neighbour only",
        "online",
        (S, "_touched"),
        "since[level] or 0",
        "(since[level] or 0) + 30",
        ("3h",),
    ),
    Fault(
        "a tile that is there is not merged",
        "online",
        (online, "rewritten"),
        "layout.fold(merged, changed.records[known])",
        "pass",
    ),
    Fault(
        "new tiles go behind old ones",
        "online",
        (online, "rewritten"),
        "np.insert(stands, at[~known]",
        "np.insert(stands, np.full_like(at, len(stands))[~known]",
    ),
    Fault(
        "sums of one state are added to another",
        "online",
        (blobs.Layout, "fold"),
        "rows[:, self._adds]",
        "rows[:, self._adds[::-1]]",
        raises=WorkFailed,
    ),
    Fault(
        "pairs are ordered by their low byte",
        "online",
        (blobs, "_order"),
        "records[:, at].byteswap()",
        "records[:, at].copy()",
    ),
    Fault("the tie of a last is reversed", "online", (blobs.Layout, "fold"), "tie_new > tie", "tie_new < tie"),
    Fault("no last is the last of all", "online", (blobs.Layout, "records"), '-1 if kind == "least pair" else 0', "-1"),
    Fault("no least is zero", "filled", (blobs.Layout, "records"), "np.where(there, values, missing)", "values"),
    Fault(
        "a fill forgets which values are there",
        "filled",
        (filling, "_column"),
        "return values, there",
        "return values, None",
    ),
    Fault("a fill leaves the events out", "filled", (S, "load"), "moments(0)", "moments(2**62)"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_found(
    fault: Fault, sql: Any, tmp_path: Path, store_of: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault.plant(monkeypatch)
    for seed in range(WORLDS):
        try:
            if CHECKS[fault.check](world(seed, keys=15, windows=fault.windows), sql, tmp_path, store_of=store_of):
                return
        except Exception as error:
            assert fault.raises is not None and isinstance(error, fault.raises), (
                f"the fault is not a program: {error!r}"
            )
            return
    pytest.fail(f"not found in {WORLDS} worlds")


def test_a_row_of_a_table_counts_from_when_it_is_known(sql: Any, tmp_path: Path, store_of: Opener) -> None:
    first = int(os.environ.get("MILLSTREAM_WORLDS_SEED", time.time_ns() // 1000 % 10**9))
    print(f"worlds from seed {first}: MILLSTREAM_WORLDS_SEED={first} makes them again")
    until, seed = time.monotonic() + SECONDS, first
    while time.monotonic() < until or seed < first + 3:
        rows_known(seed, sql, tmp_path, store_of=store_of)
        seed += 1
