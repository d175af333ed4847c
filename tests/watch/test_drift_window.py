"""Drift of what comes in against a stored training set, on a real lake."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from watch_fakes import land, scene_in

import millstream as ms
from millstream.train.dataset import META, Dataset, latest, plain
from millstream.transform.profile import Profile, profile
from millstream.watch import drift as drifts
from millstream.watch.scene import Scene

DAY = 86_400_000_000
T0 = 1_357_000_000_000_000 // DAY * DAY


class Ask(ms.Event):
    carrier: str
    distance: float
    ts: ms.EventTime


class Landed(ms.Event):
    carrier: str
    ts: ms.EventTime


ASKED = ms.stream("asked", Ask, key="carrier")
SET = ms.training_set(
    "late_set",
    at=ASKED,
    label=ms.outcome(ms.stream("landed", Landed, key="carrier"), on="carrier", within="1h"),
    features=[],
)


def rows(rng: np.random.Generator, n: int, day: int, shift: float = 0.0, carriers: str = "ABC") -> list[dict[str, Any]]:
    return [
        {"carrier": str(c), "distance": float(d), "ts": T0 + day * DAY + i}
        for i, (c, d) in enumerate(zip(rng.choice(list(carriers), n), rng.normal(shift, 1, n), strict=True))
    ]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = scene_in(tmp_path, ASKED)
    found = rows(np.random.default_rng(1), 20_000, 0)
    table = pa.table(
        {
            "carrier": [r["carrier"] for r in found],
            "distance": [r["distance"] for r in found],
            "_t": [r["ts"] for r in found],
        }
    )
    held = Dataset(
        "late_set", 1, "f1", {"train": 20_000}, 0, 0, ("carrier", "distance"), {}, {}, (), {}, {}, {}, "known", 0, 0
    )
    made.engines.lake.create("late_set", table.schema).append(table, metadata={META: plain(held)})
    return made


def test_nothing_has_come_in(scene: Scene) -> None:
    assert drifts.drift(ms.expect.drift(SET), ASKED, scene).status == "unknown"


def test_only_the_window_counts_and_its_columns_are_told_apart(scene: Scene) -> None:
    rng = np.random.default_rng(2)
    check = ms.expect.drift(SET, tolerance=0.1, window="2d")
    land(scene, ASKED, rows(rng, 20_000, 10))
    calm = drifts.drift(check, ASKED, scene)
    assert calm.status == "ok" and calm.details["window_rows"] == 20_000 and calm.details["reference_rows"] == 20_000
    land(scene, ASKED, rows(rng, 20_000, 20, shift=0.5, carriers="ABCD"))
    moved = drifts.drift(check, ASKED, scene)
    assert moved.status == "drifted" and moved.details["window_rows"] == 20_000, "the calm days are outside the window"
    drifted = {(d["column"], d["kind"]) for d in moved.details["distances"] if d["status"] == "drifted"}
    assert (
        drifted == {("distance", "ks"), ("carrier", "tv"), ("carrier", "unseen")} and "distance" in moved.message
    ) or "carrier" in moved.message


def test_few_rows_say_nothing(scene: Scene) -> None:
    land(scene, ASKED, rows(np.random.default_rng(3), 20, 10))
    found = drifts.drift(ms.expect.drift(SET), ASKED, scene)
    assert found.status == "unknown" and "not enough data" in found.message


def test_the_sets_profile_is_made_once_a_version(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    land(scene, ASKED, rows(np.random.default_rng(4), 5_000, 10))
    made: list[int] = []

    def counted(*given: Any, **named: Any) -> Profile:
        made.append(1)
        return profile(*given, **named)

    monkeypatch.setattr(drifts, "profile", counted)
    for _ in range(3):
        drifts.drift(ms.expect.drift(SET), ASKED, scene)
    assert len(made) == 4, "the set once, the window each time"
    assert [d.key for d in scene.engines.state.list("profile")] == ["late_set@f1"]
    stored = latest("late_set", scene.engines.lake)
    assert stored is not None
    table = scene.engines.lake.table("late_set")
    table.append(
        pa.table({"carrier": ["A"], "distance": [0.0], "_t": [T0]}),
        metadata={META: plain(dataclasses.replace(stored, fingerprint="f2"))},
    )
    drifts.drift(ms.expect.drift(SET), ASKED, scene)
    assert [d.key for d in scene.engines.state.list("profile")] == ["late_set@f1", "late_set@f2"]


def test_one_row_of_2099_does_not_blind_the_monitor(scene: Scene) -> None:
    rng = np.random.default_rng(5)
    check = ms.expect.drift(SET, tolerance=0.1, window="2d")
    land(scene, ASKED, rows(rng, 20_000, 20, shift=0.5))
    drifted = drifts.drift(check, ASKED, scene)
    land(scene, ASKED, [{"carrier": "A", "distance": 0.0, "ts": 4_070_908_800_000_000}])
    found = drifts.drift(check, ASKED, scene)
    assert drifted.status == found.status == "drifted" and found.details == drifted.details
