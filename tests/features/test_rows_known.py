"""Features over tables: a row counts from when it is known by the table's rule, offline and online alike, whatever
version the store was filled from.

A world is a table of rows with a rule (a bucket, a wait), built several times: rows come late or in time, some change,
some go. After each build the store is filled, and look-ups are served until the next. What was served must be what the
oracle says of the version that was there, and what offline says of the last version, wherever no row was missing or
another when it was served.
"""

from __future__ import annotations

import dataclasses
import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from oracle import DAY, HOUR, MINUTE, Row, Stored, definition, naive, same, settled, spine, table
from test_planted_faults import Fault

from millstream.base.registry import engine
from millstream.engines.sqlite.online import SqliteOnline
from millstream.features import fill as fill_module
from millstream.features.definition import Definition
from millstream.features.fill import fill
from millstream.features.keys import encode
from millstream.features.offline import offline
from millstream.features.port import OnlineStore

SECONDS = float(os.environ.get("MILLSTREAM_WORLDS_SECONDS", "12"))
T0 = 19_700 * DAY + 7 * HOUR
PLAIN = {n: a for n, a in __import__("oracle").ALL.items() if n not in ("ck", "ns", "nvar", "nmx", "nl", "pos")}
WINDOWS = [("30m", "3h", "7d"), ("3h", "2d", "14d"), (), ("1d",), ("30m", "14d")]
RULES = [
    (0, 0),
    (0, 90_000_000),
    (0, 5 * MINUTE),
    (0, HOUR),
    (0, 26 * HOUR + 1),
    (HOUR, 0),
    (HOUR, 10 * MINUTE),
    (DAY, 0),
    (DAY, HOUR),
    (DAY, 3 * DAY),
    (7 * MINUTE, MINUTE),
]
"""Buckets and waits: of slots, across them, longer than the shortest window."""
Look = tuple[tuple[Any, ...], int]


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    made = engine("sql", "duckdb")("duckdb:?threads=2", tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


def ruled(bucket_us: int, wait_us: int, windows: Sequence[str]) -> Definition:
    d = definition(windows, source=settled, aggregates=PLAIN)
    return dataclasses.replace(
        d,
        bucket_us=bucket_us,
        wait_us=wait_us,
        generation=f"{abs(hash((bucket_us, wait_us, tuple(windows)))):016x}"[:16],
    )


def known(d: Definition, t: int) -> int:
    """The rule once more, in the words of the page."""
    return t + d.wait_us if not d.bucket_us else t - t % d.bucket_us + d.bucket_us + d.wait_us


def rows_of(chance: random.Random, d: Definition, moments: Sequence[int]) -> list[Row]:
    """Rows that become known around some moment, or lie at an edge of a window of it."""
    made = []
    for _ in range(70):
        t = chance.choice(moments) + chance.choice([-1, 0, 1, -MINUTE, -chance.randrange(HOUR)])
        back = chance.choice(
            [
                0,
                d.wait_us,
                d.wait_us,
                d.wait_us + d.bucket_us,
                chance.randrange(3 * DAY),
                chance.choice([w or DAY for w in d.windows_us]),
            ]
        )
        t -= back
        if d.bucket_us and chance.random() < 0.6:
            t -= t % d.bucket_us
        made.append(Row(chance.choice("ab"), 1, chance.choice([None, 0.5, -0.0, -2.0, -7.25, 3.0, 1e12]), None, t, T0))
    return made


def held(rows: Sequence[Row]) -> Any:
    return Stored(settled=table(rows).drop_columns(["_event_id", "_arrived_at", "_partition", "_offset"]))


def embedded(folder: Path, name: str) -> OnlineStore:
    return SqliteOnline(str(folder / f"{name}.db"))


def check(seed: int, sql: Any, folder: Path, store_of: Any = embedded) -> int:
    """Looked up; raises AssertionError."""
    chance = random.Random(seed)
    d = ruled(*chance.choice(RULES), chance.choice(WINDOWS))
    moments = sorted(
        T0
        + chance.choice([0, MINUTE, HOUR, chance.randrange(2 * DAY)]) // MINUTE * MINUTE
        + chance.choice([-1, 0, 1, 77])
        for _ in range(6)
    )
    rows = rows_of(chance, d, moments)
    builds = [(at, version_of(chance, d, rows, at)) for at in moments]
    store = store_of(folder, f"known-{seed}-{time.monotonic_ns()}")
    served: list[tuple[Look, dict[str, Any]]] = []
    touched = []
    try:
        for (at, there), after in zip(builds, [*moments[1:], moments[-1] + DAY], strict=True):
            fill(sql, held(there), store, d, settled, chunk_rows=chance.choice([20, 10**6]), wall_us=lambda at=at: at)  # type: ignore[misc]
            reader = store.reader([(d, d.key, "p")])
            looks = [((k,), t) for k in "abz" for t in {at, at + 1, after, chance.randrange(at, after + 1)}]
            found = store.lookup(d, [encode(k) for k, _ in looks], [t for _, t in looks])
            for (key, t), one in zip(looks, found, strict=True):
                again = reader({"k": key[0]}, t)
                assert one.exact and not again.inexact, (seed, key, t)
                for w in d.windows_us:
                    for name, value in naive(d, there, key, t, w, lambda r, t=t: known(d, r.t) < t).items():  # type: ignore[misc]
                        assert same(one.values[name], value) and same(again.values[f"p__{name}"], value), (
                            seed,
                            d.bucket_us,
                            d.wait_us,
                            key,
                            t,
                            name,
                            value,
                        )
                served.append(((key, t), dict(one.values)))
                touched.append([r for r in rows if known(d, r.t) < t] != [r for r in there if known(d, r.t) < t])
    finally:
        store.close()
    told = offline(
        sql, held(rows), spine([look for look, _ in served]), [(d, ("k",), "p")], chunk_rows=chance.choice([20, 10**6])
    ).read_all()
    for (look, values), row, other in zip(served, told.sort_by("_row").to_pylist(), touched, strict=True):
        wanted = {
            n: v
            for w in d.windows_us
            for n, v in naive(d, rows, look[0], look[1], w, lambda r, t=look[1]: known(d, r.t) < t).items()  # type: ignore[misc]
        }
        for name, value in wanted.items():
            assert same(row[f"p__{name}"], value), (
                seed,
                "offline",
                d.bucket_us,
                d.wait_us,
                look,
                name,
                value,
                row[f"p__{name}"],
            )
            assert other or same(values[name], row[f"p__{name}"]), (seed, "skew", look, name)
    return sum(not one for one in touched)


def version_of(chance: random.Random, d: Definition, rows: Sequence[Row], at: int) -> list[Row]:
    """What a build at a moment has: what is known by the rule, some of what is not yet, and in one world of three
    something comes late.
    """
    late = chance.random() < 0.3
    return [
        r
        for r in rows
        if (known(d, r.t) <= at or chance.random() < 0.5 or known(d, r.t) > at + 2 * DAY)
        and not (late and chance.random() < 0.1)
    ]


def test_what_was_served_is_what_offline_says_in_every_bit(sql: Any, tmp_path: Path) -> None:
    first = int(os.environ.get("MILLSTREAM_WORLDS_SEED", time.time_ns() // 1000 % 10**9))
    print(f"worlds from seed {first}: MILLSTREAM_WORLDS_SEED={first} makes them again")
    until, seed, compared = time.monotonic() + SECONDS, first, 0
    while time.monotonic() < until or seed < first + 3:
        compared += check(seed, sql, tmp_path)
        seed += 1
    assert compared > 10, "the worlds must leave look-ups that nothing late has touched"
    print(f"{seed - first} worlds, {compared} look-ups that no late row touched")


FAULTS = [
    Fault(
        "a row counts in the microsecond in which it is known",
        "",
        (Definition, "until_us"),
        "at_us - self.wait_us",
        "at_us - self.wait_us + 1",
    ),
    Fault("offline forgets the wait", "", (Definition, "known_sql"), "({time} + {self.wait_us})", "({time} + 0)"),
    Fault(
        "offline takes the bucket's start",
        "",
        (Definition, "known_sql"),
        "// {self.bucket_us} + 1",
        "// {self.bucket_us}",
    ),
    Fault(
        "online takes the bucket's start",
        "",
        (Definition, "until_us"),
        "* self.bucket_us - self.bucket_us",
        "* self.bucket_us",
    ),
    Fault(
        "a fill keeps no events of what is not known yet",
        "",
        (fill_module._Fill, "__init__"),
        "definition.until_us(horizon)",
        "horizon",
    ),
    Fault(
        "a fill drops tiles that end before the horizon",
        "",
        (fill_module._Fill, "statements"),
        "self.definition.windows_us, self.recent",
        "self.definition.windows_us",
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_found(fault: Fault, sql: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fault.plant(monkeypatch)
    for seed in (13, 23, *range(40)):  # the first two have long waits, few rows in a slot
        try:
            check(seed, sql, tmp_path)
        except AssertionError:
            return
    pytest.fail("not found in 42 worlds")


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_and_its_inverse_agree(rule: tuple[int, int]) -> None:
    """`until_us` is the least time whose row is not known yet."""
    d, chance = ruled(*rule, ("3h",)), random.Random(3)
    for _ in range(300):
        at = T0 + chance.choice([0, -1, 1, rule[1], chance.randrange(3 * DAY)])
        until = d.until_us(at)
        assert d.known_us(until - 1) < at <= d.known_us(until), at
        assert d.known_us(until - 1) == known(d, until - 1)


def test_a_window_that_ends_before_its_start_is_empty(sql: Any, tmp_path: Path) -> None:
    d = ruled(0, 26 * HOUR + 1, ("30m", "7d"))
    made = [
        Row("a", 1, 1.0, None, T0 - MINUTE, T0),
        Row("a", 1, 2.0, None, T0 - 27 * HOUR, T0),
        Row("a", 1, 4.0, None, T0 - 26 * HOUR - 2, T0),
    ]
    store = embedded(tmp_path, "one")
    fill(sql, held(made), store, d, settled, wall_us=lambda: T0)
    (found,) = store.lookup(d, [encode(["a"])], [T0])
    assert (found.values["c_30m"], found.values["c_7d"], found.values["s_7d"]) == (0, 2, 6.0)
    assert found.reasons["s_30m"] == "outside_window"
    store.close()
