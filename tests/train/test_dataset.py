"""Training sets: mature moments only, what was known then, what came after, parts that do not leak, one version for one
content.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from train_world import DAY, HOUR, PARAMS, T0, World, answer, ask, asked, city_done, done, late, traffic, world_in

import millstream as ms
from millstream.base.errors import DefinitionError, WorkFailed
from millstream.declare.outcome import Credit
from millstream.declare.training_set import TrainingSet
from millstream.train.dataset import Dataset, build, definition_of, latest
from millstream.transform.port import Sql


@pytest.fixture
def world(tmp_path: Path, sql: Sql) -> World:
    return world_in(tmp_path, sql)


def rides(**options: Any) -> TrainingSet[Any]:
    given: dict[str, Any] = {"at": asked, "label": late, "features": [asked.fields("city", "distance")], **options}
    return ms.training_set("rides", **given)


def made(world: World, of: Any, params: dict[str, Any] | None = None, **options: Any) -> Dataset:
    return build(of, world.lake, world.sql, PARAMS | (params or {}), **options)


# Which rows


def test_immature_and_unlabelled_rows_are_left_out(world: World) -> None:
    """The answers' stream has passed 12 h, the horizon is 6 h: what was asked from 6 h on is immature, even where an
    answer is there.
    """
    world.land(asked, [ask("a", 0), ask("b", HOUR), ask("early", 6 * HOUR), ask("c", 6 * HOUR - 1)])
    world.land(
        done,
        [answer("a", 2 * HOUR, 16.0), answer("early", 7 * HOUR), answer("c", 12 * HOUR - 1, 15.0)],
        upto=T0 + 12 * HOUR,
    )
    found = made(world, rides())
    assert [(r["ride"], r["label"], r["_split"], r["_row"]) for r in world.rows("rides")] == [
        ("a", True, "train", 0),
        ("c", False, "train", 2),
    ]
    assert (found.rows, found.purged, found.unlabelled) == ({"train": 2}, 0, 1)
    assert (found.columns, found.labels) == (("city", "distance"), {"label": "bool"})


def test_an_answer_counts_after_the_moment_and_up_to_the_horizon(world: World) -> None:
    world.land(asked, [ask("same", 0), ask("just", 0), ask("last", 0), ask("over", 0)])
    world.land(
        done,
        [answer("same", 0), answer("just", 1), answer("last", 6 * HOUR), answer("over", 6 * HOUR + 1)],
        upto=T0 + DAY,
    )
    made(world, rides())
    assert [r["ride"] for r in world.rows("rides")] == ["just", "last"]


def test_nothing_means_otherwise_when_it_says_so(world: World) -> None:
    world.land(asked, [ask("a", 0), ask("b", 0)])
    world.land(done, [answer("a", HOUR, 99.0)], upto=T0 + DAY)
    made(world, rides(label=ms.outcome(done, on="ride", value="delay > 15", within="6h", otherwise=False)))
    assert [r["label"] for r in world.rows("rides")] == [True, False]


def test_where_and_until_choose_rows(world: World) -> None:
    world.land(
        asked,
        [
            ask("a", 0, distance=3.0),
            ask("b", 0, distance=9.0),
            ask("c", DAY, distance=9.0),
            ask("d", DAY, distance=None),
        ],
    )
    world.land(done, [answer(r, DAY + HOUR * 2) for r in "cd"] + [answer(r, HOUR) for r in "ab"], upto=T0 + 9 * DAY)
    made(world, rides(where="distance > $least"), {"least": 5})
    assert [r["ride"] for r in world.rows("rides")] == ["b", "c"]
    made(world, rides(until="2013-01-02"))
    assert [r["ride"] for r in world.rows("rides")] == ["a", "b"]


def test_two_answers_the_first_counts_or_they_are_aggregated(world: World) -> None:
    world.land(asked, [ask("a", 0)])
    world.land(done, [answer("a", 2 * HOUR, 5.0), answer("a", HOUR, 40.0), answer("a", 3 * HOUR, 1.5)], upto=T0 + DAY)
    labels = {
        "first": ms.outcome(done, on="ride", value="delay", within="6h"),
        "total": ms.outcome(done, on="ride", value=ms.agg.sum("delay"), within="6h"),
        "times": ms.outcome(done, on="ride", value=ms.agg.count(), within="6h"),
        "soon": ms.outcome(done, on="ride", value=ms.agg.mean("delay"), within="150m"),
    }
    found = made(world, rides(label=labels))
    row = world.rows("rides")[0]
    assert (row["first"], row["total"], row["times"], row["soon"]) == (40.0, 46.5, 3, 22.5)
    assert (
        found.labels == {"first": "float64", "total": "float64", "times": "int64", "soon": "float64"}
        and found.within_us == 6 * HOUR
    )


def test_credit_gives_a_shared_answer_to_one_row(world: World) -> None:
    world.land(asked, [ask("a", 0), ask("a", HOUR), ask("a", 2 * HOUR)])
    world.land(done, [answer("a", 2 * HOUR, 20.0)], upto=T0 + DAY)
    cases: tuple[tuple[Credit, list[bool | None]], ...] = (
        ("all", [True, True, None]),
        ("last", [False, True, None]),
        ("first", [True, False, None]),
    )
    for credit, truth in cases:
        outcome = ms.outcome(
            done,
            on="ride",
            value="delay > 15",
            within="6h",
            otherwise=None if credit == "all" else False,
            credit=credit,
        )
        found = made(world, rides(label=outcome))
        labels = [r["label"] for r in world.rows("rides")]
        assert labels == [t for t in truth if t is not None] + ([] if credit == "all" else [False]), credit
        assert found.version == latest("rides", world.lake).version  # type: ignore[union-attr]


def test_two_labels_a_row_counts_with_either(world: World) -> None:
    world.land(asked, [ask("a", 0), ask("b", 0)])
    world.land(done, [answer("a", HOUR, 30.0), answer("b", 5 * HOUR, 30.0)], upto=T0 + DAY)
    found = made(world, rides(label={"late": late, "soon": ms.outcome(done, on="ride", value="delay", within="2h")}))
    assert [(r["late"], r["soon"]) for r in world.rows("rides")] == [(True, 30.0), (True, None)] and found.labels == {
        "late": "bool",
        "soon": "float64",
    }


# The split


def test_rows_whose_horizon_crosses_an_edge_are_purged(world: World) -> None:
    """until = day 10; test the last 2 days, valid the 3 before: edges at days 5 and 8; the horizon is 6 h."""
    at = {
        "train": 5 * DAY - 6 * HOUR - 1,
        "gone1": 5 * DAY - 6 * HOUR,
        "gone2": 5 * DAY - 1,
        "valid0": 5 * DAY,
        "valid1": 8 * DAY - 6 * HOUR - 1,
        "gone3": 8 * DAY - 6 * HOUR,
        "test0": 8 * DAY,
        "test1": 10 * DAY - 1,
    }
    world.land(asked, [ask(name, moment) for name, moment in at.items()])
    world.land(done, [answer(name, moment + 1) for name, moment in at.items()], upto=T0 + 20 * DAY)
    found = made(world, rides(until="2013-01-11", split=ms.by_time(valid="3d", test="2d")))
    parts: dict[str, list[str]] = {}
    for row in world.rows("rides"):
        parts.setdefault(row["_split"], []).append(row["ride"])
    assert parts == {"train": ["train"], "valid": ["valid0", "valid1"], "test": ["test0", "test1"]}
    assert (found.rows, found.purged) == ({"train": 1, "valid": 2, "test": 2}, 3)


@pytest.mark.parametrize(
    ("split", "parts"), [(ms.by_time(test="2d"), {"train", "test"}), (ms.by_time(valid="2d"), {"train", "valid"})]
)
def test_a_split_in_two_leaves_no_answer_of_a_row_in_the_other_part(world: World, split: Any, parts: set[str]) -> None:
    asks, answers = traffic(400, 8)
    world.land(asked, asks)
    world.land(done, answers, upto=T0 + 9 * DAY)
    found = made(world, rides(until="2013-01-09", split=split))
    assert set(found.rows) == parts and found.purged > 0
    edge, other = T0 + 6 * DAY, next(iter(parts - {"train"}))
    for row in world.rows("rides"):
        moment = int(row["ts"].timestamp() * 1e6)
        assert (moment >= edge) if row["_split"] == other else moment + 6 * HOUR < edge


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 9 * DAY), st.booleans()), min_size=1, max_size=60),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_parts_are_what_the_plain_rule_says(
    tmp_path_factory: pytest.TempPathFactory, sql: Sql, moments: list[tuple[int, bool]], valid: int, test: int
) -> None:
    world = world_in(tmp_path_factory.mktemp("split"), sql)
    world.land(asked, [ask(f"r{i}", at) for i, (at, _) in enumerate(moments)])
    world.land(
        done, [answer(f"r{i}", at + HOUR) for i, (at, answered) in enumerate(moments) if answered], upto=T0 + 10 * DAY
    )
    end, truth = 8 * DAY, dict[str, str]()
    edges = {"test": end - test * DAY, "valid": end - (test + valid) * DAY}
    for i, (at, answered) in enumerate(moments):
        if not answered or at >= end:
            continue
        if test and at >= edges["test"]:
            truth[f"r{i}"] = "test"
        elif valid and at >= edges["valid"]:
            if not test or at + 6 * HOUR < edges["test"]:
                truth[f"r{i}"] = "valid"
        elif not (valid or test) or at + 6 * HOUR < edges["valid"]:
            truth[f"r{i}"] = "train"
    of = rides(until="2013-01-09", split=ms.by_time(valid=f"{valid}d", test=f"{test}d"))
    if truth:
        made(world, of)
        assert {r["ride"]: r["_split"] for r in world.rows("rides")} == truth
    else:
        with pytest.raises(WorkFailed, match="no mature row"):
            made(world, of)


# Columns


def test_features_are_as_of_the_moment_and_derived_columns_see_them(world: World) -> None:
    world.land(
        done,
        [
            answer("x", 0, 10.0),
            answer("y", HOUR, 30.0),
            answer("z", HOUR, 50.0, city="ber"),
            answer("a", 3 * HOUR, 99.0),
        ],
        upto=T0 + 2 * DAY,
    )
    world.land(asked, [ask("a", 2 * HOUR, distance=4.0), ask("none", 2 * HOUR, city=None)])
    found = made(
        world,
        rides(
            features=[asked.fields("distance"), city_done],
            derive={"pace": "city_done__delay_1d / distance", "busy": "city_done__rides_1d > $busy"},
        ),
        {"busy": 1},
    )
    assert found.columns == ("distance", "city_done__rides_1d", "city_done__delay_1d", "pace", "busy")
    row = world.rows("rides")[0]
    assert [row[c] for c in found.columns] == [4.0, 2, 20.0, 5.0, True] and row["label"] is True
    assert found.uses[0]["features"] == "city_done" and found.params["busy"] == 1


def test_event_mode_sees_what_came_late_and_known_mode_does_not(world: World) -> None:
    world.land(
        done, [{**answer("x", 0, 10.0), "_arrived_at": T0 + 5 * HOUR}, answer("a", 3 * HOUR, 99.0)], upto=T0 + 2 * DAY
    )
    world.land(asked, [ask("a", 2 * HOUR)])
    for mode, rides_seen in (("known", 0), ("event", 1)):
        found = made(world, rides(features=[city_done]), mode=mode)
        assert world.rows("rides")[0]["city_done__rides_1d"] == rides_seen and found.mode == mode


def test_a_feature_keyed_by_another_column(world: World) -> None:
    world.land(done, [answer("x", 0, 10.0, city="a"), answer("a", 3 * HOUR, 99.0)], upto=T0 + 2 * DAY)
    world.land(asked, [ask("a", 2 * HOUR)])
    found = made(world, rides(features=[city_done.on("ride", name="by_ride")["delay_1d"]]))
    assert found.columns == ("by_ride__delay_1d",) and world.rows("rides")[0]["by_ride__delay_1d"] == 10.0


def test_columns_of_one_name_are_refused(world: World) -> None:
    world.land(asked, [ask("a", 0)])
    world.land(done, [answer("a", HOUR)], upto=T0 + DAY)
    with pytest.raises(DefinitionError, match="two columns of one name") as found:
        made(world, rides(label={"distance": late}))
    assert found.value.code == "E144"
    with pytest.raises(DefinitionError, match="keyed by"):
        made(world, rides(features=[city_done.on("nowhere")]))


def test_a_spine_that_is_a_table(world: World) -> None:
    import pyarrow as pa

    from millstream.base.event import TIMESTAMP

    schema = pa.schema([("ride", pa.string()), ("city", pa.string()), ("at", TIMESTAMP)])
    rows = [{"ride": f"r{i}", "city": "ams", "at": T0 + i} for i in range(3)]
    world.lake.create("spine", schema).append(pa.Table.from_pylist(rows, schema))
    world.land(done, [answer("r0", HOUR), answer("r2", HOUR)], upto=T0 + DAY)
    spine = ms.table("spine", "select 1", key=["ride"], time="at")
    made(world, ms.training_set("rides", at=spine, label=late, features=[city_done]))
    assert [r["ride"] for r in world.rows("rides")] == ["r0", "r2"]
    with pytest.raises(DefinitionError, match="has no time"):
        made(
            world,
            ms.training_set("other", at=ms.table("spine", "select 1", key=["ride"]), label=late, features=[city_done]),
        )


# Versions


def test_the_same_content_is_the_same_version(world: World) -> None:
    world.land(asked, [ask("a", 0), ask("b", 2 * DAY)])
    world.land(done, [answer("a", HOUR)], upto=T0 + DAY)
    first = made(world, rides())
    again = made(world, rides())
    assert not first.reused and again.reused and again == first and world.lake.table("rides").version == first.version
    assert first.inputs == {n: {"version": 1, "uuid": world.lake.table(n).uuid} for n in ("asked", "done")}
    for change in (
        {"where": "distance > 0"},
        {"derive": {"far": "distance > 5"}},
        {"split": ms.by_time(test="1h")},
        {"until": "2013-01-01T12:00:00"},
        {"label": ms.outcome(done, on="ride", within="5h")},
        {"features": [asked.fields("distance")]},
    ):
        changed = rides(**change)
        assert definition_of(changed, PARAMS) != definition_of(rides(), PARAMS)
        assert made(world, changed).fingerprint != first.fingerprint
    assert made(world, rides(), {"late_minutes": 16}).fingerprint != first.fingerprint
    assert made(world, rides(), {"unused": 16}).fingerprint == first.fingerprint


def test_new_data_is_a_new_version_and_old_ones_can_be_read(world: World) -> None:
    world.land(asked, [ask("a", 0), ask("b", DAY)])
    world.land(done, [answer("a", HOUR)], upto=T0 + DAY)
    first = made(world, rides())
    world.land(done, [answer("b", DAY + HOUR)], upto=T0 + 2 * DAY)
    second = made(world, rides())
    assert second.version > first.version and second.rows == {"train": 2} and second.fingerprint != first.fingerprint
    assert [r["ride"] for r in world.rows("rides", first.version)] == ["a"] and [
        r["ride"] for r in world.rows("rides")
    ] == ["a", "b"]
    assert latest("rides", world.lake) == second and latest("nobody", world.lake) is None


def test_what_the_commit_says_is_json_and_comes_back(world: World) -> None:
    world.land(asked, [ask("a", 0)])
    world.land(done, [answer("a", HOUR)], upto=T0 + DAY)
    first = made(world, rides(features=[asked.fields("city"), city_done], until="2013-01-01T06:00:00"))
    assert latest("rides", world.lake) == first and first.until_us == T0 + 6 * HOUR
    json.dumps(dict(world.lake.table("rides").metadata(first.version)))


def test_without_answers_it_says_what_to_do(world: World) -> None:
    world.land(asked, [ask("a", 0)])
    with pytest.raises(WorkFailed, match='the stream "done" of its label "label" holds no event yet'):
        made(world, rides())
    world.land(done, [answer("other", HOUR)], upto=T0 + DAY)
    with pytest.raises(WorkFailed, match="has no mature row with a label: 1 moments before"):
        made(world, rides())


def test_progress_is_told(world: World) -> None:
    world.land(asked, [ask("a", 0)])
    world.land(done, [answer("a", HOUR)], upto=T0 + DAY)
    told: list[tuple[int, int, str]] = []
    made(world, rides(), report=lambda *said: told.append(said))
    assert (
        [done for done, _, _ in told] == sorted(done for done, _, _ in told)
        and told[-1][:2] == (4, 4)
        and not math.isnan(told[0][0])
    )


# Columns without a value


def test_a_column_without_a_value_in_any_training_row_is_named_with_its_cause(world: World) -> None:
    asks, answers = (
        [ask(f"r{i}", i * HOUR, distance=None) for i in range(8)],
        [answer(f"r{i}", i * HOUR + HOUR // 2, 1e7 if i < 2 else 5.0) for i in range(8)],
    )
    world.land(asked, asks)
    world.land(done, answers, upto=T0 + 2 * DAY)
    large = ms.features(
        "large",
        done,
        key="city",
        windows=["1d"],
        aggregates={
            "sum": ms.agg.sum("delay"),
            "worst": ms.agg.max("delay"),
            "huge": ms.agg.sum("delay * 1e6"),
            "none": ms.agg.min("nullif(delay, delay)"),
            "n": ms.agg.count(),
        },
    )
    found = made(
        world,
        rides(
            features=[asked.fields("city", "distance"), large, city_done],
            where="ride <> 'r0'",
            derive={"twice": "distance * 2"},
        ),
    )
    assert found.blank == {
        "distance": "",
        "twice": "",
        "large__huge_1d": (
            "2 values of done are too large for an exact sum (too_large); give the aggregate a smaller scale="
        ),
        "large__none_1d": "no row of done has a value",
    }
    assert made(world, rides(features=[asked.fields("city"), city_done])).blank == {}, "a value in one row is one"
