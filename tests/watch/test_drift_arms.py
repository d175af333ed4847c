"""Each version's rows are compared with the set that the version was trained on, whoever else answers at the same
endpoint.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from watch_fakes import scene_in

import millstream as ms
from millstream.base.event import TIMESTAMP
from millstream.train.dataset import META, Dataset, plain
from millstream.watch import drift as drifts
from millstream.watch.scene import Scene

DAY = 86_400_000_000
T0 = 1_357_000_000_000_000 // DAY * DAY


class Ask(ms.Event):
    city: str
    ts: ms.EventTime


class Left(ms.Event):
    city: str
    delay: float
    ts: ms.EventTime


ASKED, LEFT = ms.stream("asked", Ask, key="city"), ms.stream("left", Left, key="city")
NEAR = ms.features("near", LEFT, key="city", windows=["1h"], aggregates={"delay": ms.agg.mean("delay")})
FAR = ms.features("far", LEFT, key="city", windows=["1d"], aggregates={"delay": ms.agg.mean("delay")})
LATE = ms.outcome(LEFT, on="city", within="1h")
NEAR_SET = ms.training_set("near_set", at=ASKED, label=LATE, features=[ASKED.fields("city"), NEAR])
FAR_SET = ms.training_set("far_set", at=ASKED, label=LATE, features=[ASKED.fields("city"), FAR])
OTHER_SET = ms.training_set("other_set", at=ASKED, label=LATE, features=[ASKED.fields("city"), NEAR, FAR])


@ms.model(NEAR_SET)
def by_near(train: ms.Train) -> object: ...


@ms.model(FAR_SET)
def by_far(train: ms.Train) -> object: ...


AB = ms.experiment(
    "ab",
    arms={"near": by_near["champion"], "far": by_far["champion"]},
    unit="city",
    assign=ms.assign.ab(0.3, 0.7),
    reward=LATE,
)
POINT = ms.endpoint("point", AB, default=by_near["champion"])
COLUMNS = {
    "near_set": ("city", "near__delay_1h"),
    "far_set": ("city", "far__delay_1d"),
    "other_set": ("city", "near__delay_1h", "far__delay_1d"),
}
CHECK = ms.expect.drift(NEAR_SET, tolerance=0.1, window="7d")


@dataclass
class World:
    folder: Path
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(4))

    def __post_init__(self) -> None:
        self.scene: Scene = scene_in(self.folder, ASKED, POINT, tracking=self)

    def artifacts(self, model: str, version: int) -> Path:
        return self.folder / "models" / f"{model}-{version}"

    def values(self, columns: tuple[str, ...], n: int, shift: float) -> dict[str, Any]:
        return {c: self.rng.choice(["ams", "lis"], n) if c == "city" else self.rng.normal(shift, 1, n) for c in columns}

    def train(
        self, name: str, *models: tuple[str, int], shift: float = 0.0, columns: tuple[str, ...] | None = None
    ) -> None:
        """A version of a set, and versions of models trained on it."""
        columns = columns or COLUMNS[name]
        rows = pa.table(self.values(columns, 4_000, shift))
        lake = self.scene.engines.lake
        table = lake.table(name) if lake.exists(name) else lake.create(name, rows.schema)
        print_of = f"{name} {shift} {table.version}"
        held = Dataset(name, 1, print_of, {"train": 4_000}, 0, 0, columns, {}, {}, (), {}, {}, {}, "known", 0, 0)
        version = table.replace(rows, metadata={META: plain(held)})
        for model, number in models:
            self.artifacts(model, number).mkdir(parents=True)
            told = {"dataset": {"name": name, "version": version, "fingerprint": print_of}, "columns": list(columns)}
            (self.artifacts(model, number) / "manifest.json").write_text(json.dumps(told))

    def answer(
        self,
        model: str | None,
        version: int | None,
        n: int,
        shift: float = 0.0,
        columns: tuple[str, ...] = (),
        day: int = 10,
    ) -> None:
        """Decisions of one version: of the features only its own are filled."""
        filled = self.values(("city", *columns), n, shift)
        kinds = {
            "decision_id": pa.string(),
            "model": pa.string(),
            "version": pa.int64(),
            "city": pa.string(),
            "near__delay_1h": pa.float64(),
            "far__delay_1d": pa.float64(),
            "ts": TIMESTAMP,
        }
        plain_columns = {
            "decision_id": [f"{model}{version}{i}" for i in range(n)],
            "model": [model] * n,
            "version": [version] * n,
            "ts": [T0 + day * DAY + i for i in range(n)],
        }
        table = pa.table(
            {c: pa.array({**plain_columns, **filled}.get(c, [None] * n), kind) for c, kind in kinds.items()}
        )
        lake = self.scene.engines.lake
        (
            lake.table(POINT.decisions) if lake.exists(POINT.decisions) else lake.create(POINT.decisions, table.schema)
        ).append(table)

    def told(self, check: Any = CHECK) -> Any:
        return drifts.drift(check, POINT, self.scene)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.train("near_set", ("by_near", 1))
    made.train("far_set", ("by_far", 1))
    return made


def test_the_other_arms_share_of_rows_is_no_drift(world: World) -> None:
    """Of all rows 70 % have no near__delay_1h: they are those that by_far answered, which never looks it up."""
    world.answer("by_near", 1, 3_000, columns=("near__delay_1h",))
    world.answer("by_far", 1, 7_000, columns=("far__delay_1d",))
    found = world.told()
    assert found.status == "ok", found.message
    assert {(d["of"], d["column"]) for d in found.details["distances"]} == {
        ("by_near@1", "city"),
        ("by_near@1", "near__delay_1h"),
        ("by_far@1", "city"),
        ("by_far@1", "far__delay_1d"),
    }
    assert [
        (p["of"], p["against"].split("@")[0], p["reference_rows"], p["window_rows"]) for p in found.details["parts"]
    ] == [("by_far@1", "far_set", 4_000, 7_000), ("by_near@1", "near_set", 4_000, 3_000)]
    assert found.message.startswith("4 columns are within 0.1") and "10,000 rows against 8,000" in found.message


def test_the_arm_that_drifts_is_named(world: World) -> None:
    world.answer("by_near", 1, 3_000, columns=("near__delay_1h",))
    world.answer("by_far", 1, 7_000, shift=0.6, columns=("far__delay_1d",))
    found = world.told()
    assert (
        found.status == "drifted"
        and "1 of 4 columns has drifted by more than 0.1, furthest far__delay_1d of by_far@1 (ks" in found.message
    )


def test_versions_of_one_set_are_compared_together(world: World) -> None:
    world.train("near_set", ("by_near", 2), ("by_near", 3), shift=5.0)
    world.answer("by_near", 2, 2_000, shift=5.0, columns=("near__delay_1h",))
    world.answer("by_near", 3, 2_000, shift=5.0, columns=("near__delay_1h",))
    found = world.told()
    assert found.status == "ok" and [(p["of"], p["window_rows"]) for p in found.details["parts"]] == [("", 4_000)]
    world.answer("by_near", 1, 2_000, columns=("near__delay_1h",))
    both = world.told()
    assert both.status == "ok", "what version 1 answered is like its own set, which is five apart from the newest"
    assert [p["of"] for p in both.details["parts"]] == ["by_near@1", "by_near@2, by_near@3"]


def test_a_set_made_again_that_no_version_was_trained_on_is_no_reference(world: World) -> None:
    world.train("near_set", shift=5.0)
    world.answer("by_near", 1, 3_000, columns=("near__delay_1h",))
    assert world.told().status == "ok"


def test_a_set_of_neither_is_compared_with_what_each_has(world: World) -> None:
    world.train("other_set")
    world.answer("by_near", 1, 3_000, columns=("near__delay_1h",))
    world.answer("by_far", 1, 3_000, shift=0.6, columns=("far__delay_1d",))
    found = world.told(ms.expect.drift(OTHER_SET, tolerance=0.1, window="7d"))
    assert {(d["of"], d["column"]) for d in found.details["distances"] if d["status"] == "drifted"} == {
        ("by_far@1", "far__delay_1d")
    }
    assert {p["against"].split("@")[0] for p in found.details["parts"]} == {"other_set"}
    kept = world.scene.engines.state.list("profile")
    assert [len(doc.value["columns"]) for doc in kept] == [3], (
        "the set's profile is of all its columns, whoever asks first"
    )


def test_what_no_model_answered_is_left_out_and_counted(world: World) -> None:
    world.answer("by_near", 1, 3_000, columns=("near__delay_1h",))
    world.answer(None, None, 3_000)
    found = world.told()
    assert found.status == "ok" and found.message.endswith("; 3,000 that no model answered are left out")
    alone = World(world.folder / "alone")
    alone.train("near_set")
    alone.answer(None, None, 3_000)
    moved = alone.told()
    assert moved.status == "drifted" and moved.details["parts"][0]["window_rows"] == 3_000, (
        "without any model they are all there is"
    )


def test_a_version_whose_files_are_gone_is_named(world: World) -> None:
    world.answer("by_near", 1, 3_000, columns=("near__delay_1h",))
    world.answer("by_far", 9, 3_000, columns=("far__delay_1d",))
    assert world.told().message.endswith("; the training sets of by_far@9 are gone")
    alone = World(world.folder / "alone")
    alone.answer("by_far", 9, 3_000)
    found = alone.told()
    assert (found.status, found.message) == ("unknown", "the training sets of by_far@9 are gone")


def test_a_column_of_nan_and_one_of_another_type_have_drifted(world: World) -> None:
    world.answer("by_near", 1, 3_000, shift=float("nan"), columns=("near__delay_1h",))
    found = world.told()
    assert found.status == "drifted" and "furthest near__delay_1h (odd 1.000" in found.message
