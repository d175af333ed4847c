"""What a training set takes over from its stored version is what it would make anew, whatever landed in between."""

from __future__ import annotations

import importlib
import random
from pathlib import Path
from typing import Any

import pytest
from train_world import DAY, HOUR, PARAMS, T0, World, answer, ask, asked, city_done, done, late, traffic, world_in

import millstream as ms
from millstream.base.event import ARRIVED_AT
from millstream.declare.training_set import TrainingSet
from millstream.train import build as building
from millstream.train.dataset import build
from millstream.transform.port import Sql


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows whose features were made anew, a number for each build."""
    offline = importlib.import_module("millstream.features.offline")  # `millstream.features` is the noun's class
    plain, counts = offline.offline, list[int]()

    def counted(sql: Any, lake: Any, spine: Any, *more: Any, **options: Any) -> Any:
        counts.append(spine.num_rows)
        return plain(sql, lake, spine, *more, **options)

    monkeypatch.setattr(offline, "offline", counted)
    return counts


def rides(name: str, **options: Any) -> TrainingSet[Any]:
    given: dict[str, Any] = {
        "at": asked,
        "label": late,
        "features": [asked.fields("city", "distance"), city_done],
        "derive": {"far": "distance > city_done__delay_1d"},
        "split": ms.by_time(valid="1d", test="1d"),
        **options,
    }
    return ms.training_set(name, **given)


def anew(world: World, name: str) -> list[dict[str, Any]]:
    """The same set under a name that has no stored version."""
    build(rides(name), world.lake, world.sql, PARAMS)
    return world.rows(name)


def test_only_rows_after_the_first_news_are_looked_up_again(tmp_path: Path, sql: Sql, looked_up: list[int]) -> None:
    world = world_in(tmp_path, sql)
    asks, answers = traffic(200, 10)
    cut = T0 + 7 * DAY
    world.land(asked, [row for row in asks if row["ts"] < cut])
    world.land(done, [row for row in answers if row["ts"] < cut], upto=cut)
    first = build(rides("rides"), world.lake, sql, PARAMS)
    world.land(asked, [row for row in asks if row["ts"] >= cut])
    world.land(done, [row for row in answers if row["ts"] >= cut], upto=T0 + 11 * DAY)
    second = build(rides("rides"), world.lake, sql, PARAMS)
    assert world.rows("rides") == anew(world, "again")
    total = sum(second.rows.values())
    assert second.version > first.version and looked_up[1] < total - 100 and looked_up[2] == total


@pytest.mark.parametrize("seed", range(12))
def test_whatever_lands_in_whatever_order_the_rows_are_those_made_anew(tmp_path: Path, sql: Sql, seed: int) -> None:
    """Rows late by hours and days, arrivals after the event, answers before their request, ties."""
    chance, world = random.Random(seed), world_in(tmp_path, sql)
    asks, answers = traffic(120, 6, seed)
    for row in [*asks, *answers]:
        row["ts"] -= row["ts"] % (HOUR // 2) if chance.random() < 0.5 else 0
        row[ARRIVED_AT] = row["ts"] + chance.choice([0, 0, 0, HOUR, chance.randrange(2 * DAY)])
    asks.sort(key=lambda row: row[ARRIVED_AT])
    answers.sort(key=lambda row: row[ARRIVED_AT])
    for step in range(1, 5):
        until = T0 + step * 2 * DAY
        for stream, rows in ((asked, asks), (done, answers)):
            here = [row for row in rows if row[ARRIVED_AT] < until and chance.random() < 0.97]
            rows[:] = [row for row in rows if row not in here]
            if here:
                world.land(stream, here, upto=until)
        build(rides("rides"), world.lake, sql, PARAMS)
        assert world.rows("rides") == anew(world, f"anew{step}"), f"seed {seed}, step {step}"


def test_rows_taken_away_or_another_declaration_mean_all_anew(tmp_path: Path, sql: Sql, looked_up: list[int]) -> None:
    world = world_in(tmp_path, sql)
    world.land(asked, [ask(f"r{i}", i * HOUR) for i in range(20)])
    world.land(done, [answer(f"r{i}", i * HOUR + HOUR, float(i)) for i in range(20)], upto=T0 + 3 * DAY)
    build(rides("rides"), world.lake, sql, PARAMS)
    table = world.lake.table("done")
    table.replace(sql.query("select * from t where delay < 10", {"t": table.snapshot()}), where=("ts", 0, T0 + 9 * DAY))
    world.land(done, [], upto=T0 + 4 * DAY)
    build(rides("rides"), world.lake, sql, PARAMS)
    assert world.rows("rides") == anew(world, "again")
    changed = build(rides("rides", where="distance > 0"), world.lake, sql, PARAMS)
    assert looked_up[-1] == sum(changed.rows.values())


def test_the_check_bites(tmp_path: Path, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    """A late answer changes a row that was stored; taking that row over would be seen."""
    world = world_in(tmp_path, sql)
    world.land(asked, [ask("a", 6 * HOUR), ask("b", 30 * HOUR)])
    world.land(done, [answer("a", 7 * HOUR), answer("b", 31 * HOUR)], upto=T0 + 3 * DAY)
    build(rides("rides", split=None), world.lake, sql, PARAMS)
    world.land(done, [answer("x", 5 * HOUR, 99.0)], upto=T0 + 4 * DAY)
    monkeypatch.setattr(building, "holds_until", lambda *_: 2**62)
    build(rides("rides", split=None), world.lake, sql, PARAMS)
    stale = [row["city_done__rides_1d"] for row in world.rows("rides")]
    monkeypatch.undo()
    build(rides("fresh", split=None), world.lake, sql, PARAMS)
    assert stale != [row["city_done__rides_1d"] for row in world.rows("fresh")]
