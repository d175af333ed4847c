"""Outcomes against the words of the noun: within, where, first or all, otherwise, credit; and that no row is mature too
early.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from oracle import DAY, HOUR, MINUTE, Row, readings, table

import millstream as ms
from millstream.base.event import TIMESTAMP
from millstream.base.registry import engine
from millstream.declare.outcome import Outcome
from millstream.features.outcome import outcome_sql

T0 = 19_700 * DAY
Spine = list[tuple[str | None, int, int]]


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    made = engine("sql", "duckdb")("duckdb:?threads=2", tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


def scene(seed: int, within: int) -> tuple[Spine, list[Row]]:
    """Moments and events that meet at the very ends of the horizon."""
    chance = random.Random(seed)
    spine = [
        (
            chance.choice(["a", "b", "c", None]),
            chance.choice([1, 2]),
            T0 + chance.choice([0, 0, 1, HOUR, within, chance.randrange(DAY)]),
        )
        for _ in range(30)
    ]
    rows = []
    for offset in range(120):
        k, i, t = chance.choice(spine)
        at = t + chance.choice([-1, 0, 1, within - 1, within, within + 1, chance.randrange(2 * within), within // 2])
        rows.append(
            Row(
                k,
                chance.choice([i, 1, 2]),
                chance.choice(
                    [None, 0.1, -2.5, 7.0, 1e6]
                    if chance.random() < 0.9
                    else [math.nan, math.inf, -math.inf, 1e300, 9e9]
                ),
                chance.choice([None, 0, 3, -4, 2**52]),
                at,
                T0,
                chance.randrange(3),
                offset,
            )
        )
    return spine, rows


def naive(o: Outcome, spine: Spine, rows: Sequence[Row]) -> list[Any]:
    names = {"k": 0, "i": 1}

    def meets(row: int, event: Row) -> bool:
        same = all(spine[row][names[c]] is not None and getattr(event, c) == spine[row][names[c]] for c in o.on)
        return (
            same
            and spine[row][2] < event.t <= spine[row][2] + o.within_us
            and (o.where is None or (number(event.v) or 0) > 0)
        )

    taken: dict[int, list[Row]] = {r: [] for r in range(len(spine))}
    for event in rows:
        claims = [r for r in range(len(spine)) if meets(r, event)]
        if claims and o.credit != "all":
            claims = (
                [max(claims, key=lambda r: (spine[r][2], r))]
                if o.credit == "last"
                else [min(claims, key=lambda r: (spine[r][2], r))]
            )
        for r in claims:
            taken[r].append(event)
    return [answer(o, sorted(taken[r], key=lambda e: (e.t, e.partition, e.offset))) for r in range(len(spine))]


def number(v: float | None) -> float | None:
    """As expressions take it: what is not finite is not a value."""
    return v if v is not None and math.isfinite(v) else None


def answer(o: Outcome, events: Sequence[Row]) -> Any:
    if not events:
        return o.otherwise
    first = number(events[0].v)
    if isinstance(o.value, str):
        return {"true": True, "v": first, "v > 0": None if first is None else first > 0}[o.value]
    column = o.value.expression
    values: Sequence[Any] = [v for e in events if (v := number(getattr(e, column))) is not None] if column else events
    if column == "v" and o.value.operation in ("sum", "mean", "variance") and any(abs(v) >= 9e9 for v in values):
        return None  # no exact sum
    q = [math.floor(v * 10**6 + 0.5) for v in values if abs(v) < 9e9] if column else []
    if o.value.operation == "count":
        return len(values)
    if not values:
        return None
    match o.value.operation:
        case "sum":
            return sum(values) if column == "n" else sum(q) / 1e6
        case "mean":
            return sum(q) / (len(q) * 1e6)
        case "variance":
            return (
                None if len(q) < 2 else (len(q) * sum(x * x for x in q) - sum(q) ** 2) / (len(q) * (len(q) - 1)) / 1e12
            )
        case "min" | "max":
            return min(values) if o.value.operation == "min" else max(values)
        case _:
            return values[0] if o.value.operation == "first" else values[-1]


VALUES = [
    "true",
    "v",
    "v > 0",
    ms.agg.count(),
    ms.agg.count("v"),
    ms.agg.sum("v"),
    ms.agg.sum("n"),
    ms.agg.mean("v"),
    ms.agg.min("v"),
    ms.agg.max("n"),
    ms.agg.first("v"),
    ms.agg.last("n"),
    ms.agg.variance("v"),
]


@pytest.mark.parametrize(
    "value", VALUES, ids=lambda v: v if isinstance(v, str) else f"{v.operation} {v.expression or ''}"
)
def test_an_outcome_is_what_the_noun_says(value: Any, sql: Any) -> None:
    chance = random.Random(str(value))
    for seed in range(3):
        within = chance.choice([30 * MINUTE, HOUR, 36 * HOUR])
        spine, rows = scene(seed, within)
        of_number = not isinstance(value, str) or value == "v"
        o = ms.outcome(
            readings,
            on=chance.choice(["k", ("k", "i")]),
            within=f"{within // MINUTE}m",
            value=value,
            where=chance.choice([None, "v > 0"]),
            otherwise=chance.choice([None, 0 if of_number else False]),
            credit=chance.choice(["all", "all", "first", "last"]),
        )
        asked = outcome_sql(o, {})
        columns = {
            "_row": pa.array(range(len(spine)), pa.int64()),
            "_t": pa.array([t for *_, t in spine], TIMESTAMP),
            "k": pa.array([k for k, *_ in spine], pa.string()),
            "i": pa.array([i for _, i, _ in spine], pa.int64()),
        }
        found = (
            sql.query(
                f"select * from ({asked.sql}) order by _row", {"spine": pa.table(columns), "readings": table(rows)}
            )
            .read_all()["outcome"]
            .to_pylist()
        )
        want = naive(o, spine, rows)
        assert len(found) == len(want)
        assert any(w != o.otherwise for w in want), "the scene must hold outcomes"
        for r, (a, b) in enumerate(zip(found, want, strict=True)):
            assert a == b or (isinstance(b, float) and a is not None and math.isclose(a, b, rel_tol=1e-15)), (
                seed,
                o,
                spine[r],
                a,
                b,
            )


def test_no_label_is_made_before_it_is_mature(tmp_path: Path, sql: Any) -> None:
    """Not even a label whose answer came early: the watermark must have passed moment + within."""
    from updater_world import World

    from millstream.declare.collect import collecting
    from millstream.features.outcome import fields_of
    from millstream.train.dataset import build

    with collecting():
        landed = ms.stream("readings", readings.event, key="k", partitions=3)
        asked = ms.training_set(
            "mature",
            at=landed,
            label=ms.outcome(landed, on="k", within="1h", value="true", otherwise=False),
            features=[landed.fields("n")],
        )
    world = World(tmp_path, stream=landed)
    for _ in range(4):
        world.send(60)
    world.now += 50 * MINUTE
    world.send(60)
    world.land()
    mark = world.lake.watermark(landed)
    assert mark is not None and fields_of(landed)["n"] == "int64"
    made = build(asked, world.lake, world.sql, {})
    moments = (
        world.sql.query("select epoch_us(_t) as t from s", {"s": world.lake.table("mature").snapshot()})
        .read_all()["t"]
        .to_pylist()
    )
    every = [r.t for r in world.rows()]
    assert sorted(moments) == sorted(t for t in every if t + HOUR <= mark), "all that is mature, and nothing else"
    assert len(moments) < len(every) and made.rows
    world.close()
