"""Freshness, volume, contract, nulls and rows on real tables: each can be kept, broken, and not yet known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from watch_fakes import land, scene_in

import millstream as ms
from millstream.base.errors import DefinitionError
from millstream.watch import expect
from millstream.watch import monitor as monitors
from millstream.watch.scene import Scene

HOUR, DAY = 3_600_000_000, 86_400_000_000
T0 = 1_357_000_000_000_000 // DAY * DAY  # a midnight in 2013


class Reading(ms.Event):
    sensor: str
    level: float | None = None
    ts: ms.EventTime


READINGS = ms.stream("readings", Reading, key="sensor", lateness="1h")
OTHERS = ms.stream("others", Reading, key="sensor")


def rows(*times: int, level: float | None = 1.0) -> list[dict[str, Any]]:
    return [{"sensor": "a", "level": level, "ts": t} for t in times]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return scene_in(tmp_path, READINGS, OTHERS, wall_us=lambda: T0 + 1000 * DAY)


@pytest.mark.parametrize(
    "check",
    [
        ms.expect.fresh("1h"),
        ms.expect.volume(1),
        ms.expect.contract(),
        ms.expect.not_null("level"),
        ms.expect.rows("level > 0"),
    ],
)
def test_nothing_landed_is_unknown(scene: Scene, check: Any) -> None:
    assert monitors.judge(check, ms.monitor(READINGS, check), scene).status == "unknown"


def test_while_history_is_replayed_the_clock_is_the_newest_event(scene: Scene) -> None:
    land(scene, READINGS, rows(T0, T0 + HOUR))
    land(scene, OTHERS, rows(T0 + 5 * HOUR))
    assert scene.clock_us() == T0 + 5 * HOUR
    assert expect.fresh(ms.expect.fresh("5h"), READINGS, scene).status == "ok"
    stale = expect.fresh(ms.expect.fresh("3h"), READINGS, scene)
    assert stale.status == "violated" and stale.value == 4 * 3600.0 and "4.0 h old" in stale.message


def test_live_data_is_held_against_the_wall_clock(scene: Scene) -> None:
    """A feed that died must not look like history: its last record arrived after it happened."""
    land(scene, READINGS, rows(T0), arrived_us=lambda ts: ts + 5)
    assert scene.clock_us() == T0 + 1000 * DAY
    assert expect.fresh(ms.expect.fresh("3h"), READINGS, scene).status == "violated"


def test_history_followed_by_live_data(scene: Scene) -> None:
    land(scene, READINGS, rows(T0))
    land(scene, READINGS, rows(T0 + HOUR), arrived_us=lambda ts: ts + 1)
    assert scene.clock_us() == T0 + 1000 * DAY


def test_volume_counts_whole_intervals_only(scene: Scene) -> None:
    # from noon of day 0 (half a day), day 1 full, day 2 empty, day 3 with one, day 4 begun
    land(
        scene, READINGS, rows(T0 + 12 * HOUR, *(T0 + DAY + i for i in range(5)), T0 + 3 * DAY, T0 + 4 * DAY + 2 * HOUR)
    )
    found = expect.volume(ms.expect.volume(1, 4, every="1d"), READINGS, scene)
    assert found.status == "violated" and found.details["intervals"] == 3 and found.details["wrong"] == 2
    assert [w["rows"] for w in found.details["where"]] == [5, 0]
    assert expect.volume(ms.expect.volume(0, 5, every="1d"), READINGS, scene).status == "ok"


def test_volume_waits_for_lateness_and_looks_only_at_what_is_new(scene: Scene) -> None:
    land(scene, READINGS, rows(T0, T0 + DAY, T0 + 2 * DAY + HOUR // 2))
    check = ms.expect.volume(1, every="1d")
    found = expect.volume(check, READINGS, scene)
    assert found.details["intervals"] == 1, "day 1 is not over before an hour of lateness has passed"
    through = found.details["through_us"]
    assert expect.volume(check, READINGS, scene, through).status == "unknown"
    land(scene, READINGS, rows(T0 + 4 * DAY + HOUR))
    later = expect.volume(check, READINGS, scene, through)
    assert later.status == "violated" and [w["start_us"] for w in later.details["where"]] == [T0 + 3 * DAY]


def test_a_volume_monitor_goes_on_where_it_stopped(scene: Scene) -> None:
    monitor = ms.monitor(READINGS, ms.expect.volume(1, every="1d"))
    land(scene, READINGS, rows(T0, T0 + 3 * DAY, T0 + 4 * DAY + HOUR))
    assert [v.status for v in monitors.run(monitor, scene)] == ["violated"]
    assert [v.status for v in monitors.run(monitor, scene)] == ["violated"], "nothing new: what was found stands"
    land(scene, READINGS, rows(T0 + 4 * DAY + 2 * HOUR, T0 + 5 * DAY + HOUR))
    assert [v.status for v in monitors.run(monitor, scene)] == ["ok"]


def test_contract_is_the_share_of_dead_letters(scene: Scene) -> None:
    land(scene, READINGS, rows(*range(T0, T0 + 98)))
    assert expect.contract(ms.expect.contract(), READINGS, scene).status == "ok"
    dead = pa.table({"error": ["not a number", "not a number"], "raw": [b"x", b"y"]})
    scene.engines.lake.create("readings__dead", dead.schema).append(dead)
    broken = expect.contract(ms.expect.contract(), READINGS, scene)
    assert broken.status == "violated" and broken.value == 0.02 and broken.details["errors"] == {"not a number": 2}
    assert expect.contract(ms.expect.contract(0.02), READINGS, scene).status == "ok"


def test_not_null_names_the_worst_column(scene: Scene) -> None:
    land(scene, READINGS, [*rows(*range(T0, T0 + 9)), *rows(T0 + 9, level=None)])
    broken = expect.not_null(ms.expect.not_null("sensor", "level"), READINGS, scene)
    assert broken.status == "violated" and broken.value == pytest.approx(0.1) and broken.message.startswith("level")
    assert expect.not_null(ms.expect.not_null("level", tolerance=0.1 + 1e-12), READINGS, scene).status == "ok"


def test_rows_fail_an_expression_and_null_passes(scene: Scene) -> None:
    land(scene, READINGS, [*rows(*range(T0, T0 + 8)), *rows(T0 + 8, level=-5.0), *rows(T0 + 9, level=None)])
    broken = expect.rows(ms.expect.rows("level between 0 and 10"), READINGS, scene)
    assert broken.status == "violated" and broken.value == pytest.approx(0.1)
    assert broken.details["examples"] == [{"level": -5.0, "_partition": 0, "_offset": 8}]
    with pytest.raises(DefinitionError):
        expect.rows(ms.expect.rows("levl > 0"), READINGS, scene)


def test_a_table_without_time_has_no_freshness(scene: Scene) -> None:
    table = ms.table("plain", "select 1 as a")
    assert expect.fresh(ms.expect.fresh("1h"), table, scene).status == "unknown"
    assert expect.volume(ms.expect.volume(1), table, scene).status == "unknown"


IN_2099 = 4_070_908_800_000_000


def test_a_row_of_2099_keeps_no_dead_feed_fresh(scene: Scene) -> None:
    land(scene, READINGS, rows(T0), arrived_us=lambda ts: ts + 5)
    land(scene, READINGS, rows(IN_2099), arrived_us=lambda ts: T0 + 10)
    found = expect.fresh(ms.expect.fresh("3h"), READINGS, scene)
    assert (found.status, found.details["newest_us"], found.details["clock_us"]) == ("violated", T0, T0 + 1000 * DAY)


def test_a_row_that_is_to_come_counts_once_it_has_come(tmp_path: Path) -> None:
    now = [T0 + DAY]
    made = scene_in(tmp_path, READINGS, wall_us=lambda: now[0])
    land(made, READINGS, rows(T0, T0 + 2 * DAY))
    assert made.clock_us() == T0
    now[0] = T0 + 3 * DAY
    assert made.clock_us() == T0 + 2 * DAY


def test_volume_and_nulls_end_at_the_clock(scene: Scene) -> None:
    land(scene, READINGS, rows(*(T0 + DAY + i for i in range(5)), T0 + 3 * DAY))
    calm = expect.volume(ms.expect.volume(1, every="1d"), READINGS, scene)
    land(scene, READINGS, rows(*(IN_2099 + i for i in range(50)), level=None))
    assert expect.volume(ms.expect.volume(1, every="1d"), READINGS, scene).details == calm.details
    assert expect.not_null(ms.expect.not_null("level"), READINGS, scene).value == 0.0


WATCHED = ms.stream("watched", Reading, key="sensor", lateness="1h")
ms.source(WATCHED, ms.read.files("data/*.csv", watch=True))


def test_a_stream_of_watched_files_is_held_against_the_wall_clock(tmp_path: Path) -> None:
    """Its rows arrive when they happen, as history does, and yet more is expected."""
    made = scene_in(tmp_path, READINGS, WATCHED, wall_us=lambda: T0 + 1000 * DAY)
    for stream in (READINGS, WATCHED):
        land(made, stream, rows(T0, T0 + HOUR))
    dead, history = (expect.fresh(ms.expect.fresh("3h"), stream, made) for stream in (WATCHED, READINGS))
    assert (dead.status, history.status) == ("violated", "ok")
    assert "all history" in history.message and "history" not in dead.message


def test_a_stream_that_was_fresh_when_it_was_written_goes_stale(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file a day, read by a schedule of the user's: nothing watches it, and no stamp says that it is live."""
    land(scene, READINGS, rows(T0, T0 + HOUR))
    monkeypatch.setattr("millstream.lake.live.landed", lambda table: (T0 + HOUR, T0 + 20 * HOUR))
    assert expect.fresh(ms.expect.fresh("1d"), READINGS, scene).status == "violated"
    assert expect.fresh(ms.expect.fresh("3h"), READINGS, scene).status == "ok", "it never was as fresh as that"


def test_a_verdict_that_one_live_record_turned_says_so(scene: Scene) -> None:
    """Monitors of a project with history change sides with the first request, and nothing said why."""
    land(scene, READINGS, rows(*(T0 + i for i in range(5))))
    assert "judged by the wall clock" not in expect.volume(ms.expect.volume(1, every="1d"), READINGS, scene).message
    land(scene, READINGS, rows(T0 + HOUR), arrived_us=lambda ts: ts + 1)
    said = "Since records come live, it is judged by the wall clock; 1 of its 6 rows came live, the others are history"
    assert said in expect.volume(ms.expect.volume(1, every="1d"), READINGS, scene).message
    assert said in expect.fresh(ms.expect.fresh("1h"), READINGS, scene).message
    land(scene, READINGS, rows(*(T0 + 2 * HOUR + i for i in range(100))), arrived_us=lambda ts: ts + 1)
    assert "judged by the wall clock" not in expect.fresh(ms.expect.fresh("1h"), READINGS, scene).message


def test_volume_sees_that_nothing_comes_any_more(scene: Scene) -> None:
    land(scene, READINGS, rows(*(T0 + DAY + i for i in range(5)), T0 + 2 * DAY), arrived_us=lambda ts: ts + 5)
    found = expect.volume(ms.expect.volume(1, every="1d"), READINGS, scene)
    assert found.status == "violated" and found.details["intervals"] == 998 and found.details["wrong"] == 996


class Odd(ms.Event):
    name: str
    raw: bytes
    level: float | None = None
    ts: ms.EventTime


def test_examples_that_json_has_not_are_kept(scene: Scene, tmp_path: Path) -> None:
    """An infinity or bytes in an example row made the verdict impossible to store."""
    odd = ms.stream("odd", Odd, key="name")
    where = scene_in(tmp_path / "odd", odd, wall_us=lambda: T0 + DAY)
    land(where, odd, [{"name": "a", "raw": b"\xff", "level": float("inf"), "ts": T0}])
    verdict = expect.rows(ms.expect.rows("level < 1 and raw is null"), odd, where)
    assert verdict.status == "violated" and verdict.details["examples"][0]["level"] == "Infinity"
    kept = json.loads(json.dumps(verdict.json(), allow_nan=False))
    assert kept["details"]["examples"][0]["raw"] == "/w=="
