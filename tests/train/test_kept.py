"""A training set says of each row of its spine whether it kept it, and why not: the counts are those of a loop over the
rows, and add up.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from train_world import HOUR, PARAMS, T0, World, answer, ask, asked, done, late, world_in

import millstream as ms
from millstream.base.errors import WorkFailed
from millstream.declare.training_set import TrainingSet
from millstream.train.dataset import build, latest, plain, read
from millstream.train.kept import sentence
from millstream.transform.port import Sql

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=T0 + us)


def rides(**options: Any) -> TrainingSet[Any]:
    return ms.training_set("rides", at=asked, label=late, features=[asked.fields("city", "distance")], **options)


row = st.tuples(st.integers(0, 60), st.sampled_from(["ams", "rtm", None]), st.sampled_from([None, 1, 3]))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    rows=st.lists(row, min_size=1, max_size=25),
    passed=st.integers(1, 70),
    until=st.none() | st.integers(1, 60),
    where=st.booleans(),
    split=st.booleans(),
)
def test_counts_add_up_to_the_rows_of_the_spine(
    sql: Sql,
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, str | None, int | None]],
    passed: int,
    until: int | None,
    where: bool,
    split: bool,
) -> None:
    world = world_in(tmp_path_factory.mktemp("w"), sql)
    world.land(asked, [ask(f"r{i}", hour * HOUR, city) for i, (hour, city, _) in enumerate(rows)])
    answers = [
        answer(f"r{i}", (hour + after) * HOUR)
        for i, (hour, _, after) in enumerate(rows)
        if after is not None and hour + after < passed
    ]
    world.land(done, answers or [answer("nobody", 0)], upto=T0 + passed * HOUR)
    options: dict[str, Any] = {"where": "city = 'ams'"} if where else {}
    options |= {"until": at(until * HOUR)} if until is not None else {}
    options |= {"split": ms.by_time(valid="10h", test="10h")} if split else {}
    mature = passed - 6
    expected = dict.fromkeys(("outside", "where", "immature", "unlabelled", "purged"), 0)
    kept, end = 0, mature if until is None else until
    for hour, city, after in rows:
        if until is not None and hour >= until:
            expected["outside"] += 1
        elif where and city != "ams":
            expected["where"] += 1
        elif hour >= mature:
            expected["immature"] += 1
        elif after is None or hour + after >= passed:
            expected["unlabelled"] += 1
        elif split and (
            (end - 10 > hour >= end - 20 and hour + 6 >= end - 10) or (hour < end - 20 and hour + 6 >= end - 20)
        ):
            expected["purged"] += 1
        else:
            kept += 1
    try:
        found = build(rides(**options), world.lake, world.sql, PARAMS)
    except WorkFailed as error:
        assert kept == 0
        assert f"of {len(rows):,} rows of asked, left out: " in str(error)
        return
    assert sum(found.rows.values()) == kept
    assert found.left_out == {name: count for name, count in expected.items() if count}
    assert found.total == len(rows) == kept + sum(found.left_out.values())


@pytest.fixture
def world(tmp_path: Path, sql: Sql) -> World:
    return world_in(tmp_path, sql)


def test_the_line_that_people_read(world: World) -> None:
    world.land(asked, [ask("a", 0), ask("b", HOUR), ask("c", 20 * HOUR)])
    world.land(done, [answer("a", HOUR)], upto=T0 + 24 * HOUR)
    build(rides(), world.lake, world.sql, PARAMS)
    found = latest("rides", world.lake)
    assert found is not None
    assert (
        sentence(found)
        == "1 of 3 rows of asked kept; left out: 1 immature (the time for their label has not passed), 1 without a"
        " label"
    )


def test_a_set_of_an_older_millstream_says_nothing(world: World) -> None:
    world.land(asked, [ask("a", 0)])
    world.land(done, [answer("a", HOUR)], upto=T0 + 24 * HOUR)
    told = plain(build(rides(), world.lake, world.sql, PARAMS))
    for name in ("spine", "total", "left_out"):
        del told[name]
    assert sentence(read(told, 1)) == ""
