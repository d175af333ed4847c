"""Batch scoring: each row of a spine gets what the endpoint would have said then; done again only when something
changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from memory_tracking import MemoryTracking
from train_world import DAY, PARAMS, T0, World, ask, asked, city_done, done, late, traffic, world_in

import millstream as ms
from millstream.base.errors import DefinitionError, NotFound, WorkFailed
from millstream.declare.model import Model
from millstream.train.dataset import build
from millstream.train.run import train
from millstream.train.scoring import score
from millstream.transform.port import Sql

rides: Any = ms.training_set(
    "rides",
    at=asked,
    label=late,
    until="2013-01-13",
    features=[asked.fields("city", "distance"), city_done],
    derive={"far": "distance > 8"},
)
both: Any = ms.training_set(
    "both",
    at=asked,
    until="2013-01-13",
    features=[asked.fields("distance")],
    label={"late": late, "minutes": ms.outcome(done, on="ride", value="delay", within="6h")},
)


class Sum:
    """Sums its columns, so that every one of them shows in the prediction."""

    def __init__(self, outputs: int = 1) -> None:
        self.outputs = outputs

    def predict(self, X: Any) -> Any:
        said = np.nan_to_num(np.asarray(X, dtype=float)) @ np.arange(1, X.shape[1] + 1)
        return said if self.outputs == 1 else np.stack([said, -said], axis=1)


@ms.model(rides, output="predict")
def total(train: ms.Train) -> object:
    return Sum()


@ms.model(both, output="predict")
def two(train: ms.Train) -> object:
    return Sum(2)


@ms.model(rides, output="predict")
def broken(train: ms.Train) -> object:
    class Fails(Sum):
        def predict(self, X: Any) -> Any:
            if X.shape[0] == 41:
                raise ValueError("41 rows are too many")
            return super().predict(X)

    return Fails()


scores = ms.table("scores", total["champion"].over(asked))


@pytest.fixture
def world(tmp_path: Path, sql: Sql) -> Iterator[World]:
    made = world_in(tmp_path, sql)
    asks, answers = traffic(300, 12)
    made.land(asked, asks, upto=T0 + 30 * DAY)
    made.land(done, answers, upto=T0 + 30 * DAY)
    yield made


@pytest.fixture
def tracking(world: World, tmp_path: Path) -> MemoryTracking:
    made = MemoryTracking(tmp_path / "tracking")
    trained(world, made, total)
    return made


def trained(world: World, tracking: MemoryTracking, model: Model[Any]) -> None:
    version = train(model, build(model.on, world.lake, world.sql, PARAMS), tracking, world.lake, world.sql)
    tracking.alias(model.name, "champion", version.number)


def rows_of(world: World, name: str = "scores") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        world.sql.query("select * from t order by ts, ride", {"t": world.lake.table(name).snapshot()})
        .read_all()
        .to_pylist()
    )
    return found


def test_each_row_has_what_the_model_said_of_the_training_set(world: World, tracking: MemoryTracking) -> None:
    made = score(scores, world.lake, world.sql, tracking)
    found = rows_of(world)
    assert (made.rows, made.model_version, made.reused) == (300, 1, False) and len(found) == 300
    assert list(found[0]) == ["ride", "city", "distance", "ts", "prediction", "version"]
    codes = {"ams": 0.0, "ber": 1.0, "cdg": 2.0}
    for row, known in zip(found, world.rows("rides"), strict=True):
        assert row["ride"] == known["ride"]
        values = [
            codes[known["city"]],
            known["distance"],
            known["city_done__rides_1d"],
            known["city_done__delay_1d"] or 0.0,
            float(known["far"]),
        ]
        assert row["prediction"] == pytest.approx(sum(v * (i + 1) for i, v in enumerate(values)))


def test_again_is_nothing_until_a_row_a_source_or_the_version_changes(world: World, tracking: MemoryTracking) -> None:
    first = score(scores, world.lake, world.sql, tracking)
    again = score(scores, world.lake, world.sql, tracking)
    assert again.reused and (again.version, again.rows) == (first.version, 0)
    world.land(asked, [ask("new", 13 * DAY)])
    assert score(scores, world.lake, world.sql, tracking).rows == 301
    world.land(done, [{"ride": "new", "city": "ams", "delay": 1.0, "ts": T0 + 12 * DAY}])
    assert not score(scores, world.lake, world.sql, tracking).reused
    trained(world, tracking, total)
    made = score(scores, world.lake, world.sql, tracking)
    assert made.model_version == 2 and {row["version"] for row in rows_of(world)} == {2}


def test_a_table_with_a_time_is_a_spine_too(world: World, tracking: MemoryTracking) -> None:
    weeks: Any = ms.table("weeks", "select city, ride, distance, ts from asked", time="ts", key="ride")
    world.lake.create(
        "weeks",
        pa.schema(
            [
                ("city", pa.string()),
                ("ride", pa.string()),
                ("distance", pa.float64()),
                ("ts", pa.timestamp("us", tz="UTC")),
            ]
        ),
    )
    snapshot = world.lake.table("asked").snapshot()
    world.lake.table("weeks").append(
        world.sql.query("select city, ride, distance, ts from asked where ride < 'r2'", {"asked": snapshot}).read_all()
    )
    some = ms.table("some", total["champion"].over(weeks))
    score(some, world.lake, world.sql, tracking)
    score(scores, world.lake, world.sql, tracking)
    said = {row["ride"]: row["prediction"] for row in rows_of(world)}
    found = rows_of(world, "some")
    assert found and all(row["prediction"] == said[row["ride"]] for row in found)


def test_several_labels_are_several_columns(world: World, tmp_path: Path) -> None:
    tracking = MemoryTracking(tmp_path / "tracking")
    trained(world, tracking, two)
    score(ms.table("pairs", two["champion"].over(asked)), world.lake, world.sql, tracking)
    found = rows_of(world, "pairs")
    assert all(row["prediction_late"] == -row["prediction_minutes"] == pytest.approx(row["distance"]) for row in found)


def test_what_cannot_be_scored_is_told_and_leaves_the_table(world: World, tracking: MemoryTracking) -> None:
    with pytest.raises(NotFound, match="two"):
        score(ms.table("none", two["champion"].over(asked)), world.lake, world.sql, tracking)
    timeless: Any = ms.table("timeless", "select ride from asked")
    world.lake.create("timeless", pa.schema([("ride", pa.string())]))
    with pytest.raises(DefinitionError, match='wants "city"'):
        score(ms.table("less", total["champion"].over(timeless)), world.lake, world.sql, tracking)
    trained(world, tracking, broken)
    failing = ms.table("scores", broken["champion"].over(asked))
    score(scores, world.lake, world.sql, tracking)
    before = rows_of(world)
    world.lake.create("few", world.lake.table("asked").schema)
    few: Any = ms.table("few", "select * from asked limit 41", time="ts")
    world.lake.table("few").append(
        world.sql.query("select * from asked limit 41", {"asked": world.lake.table("asked").snapshot()}).read_all()
    )
    failing = ms.table("scores", broken["champion"].over(few))
    with pytest.raises(WorkFailed, match="broken@1 failed on its rows: ValueError: 41 rows are too many"):
        score(failing, world.lake, world.sql, tracking)
    assert rows_of(world) == before
