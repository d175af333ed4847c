"""An alert is told once an episode, tried again when the webhook was away, and taken back when all is well."""

from __future__ import annotations

import itertools
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from given import project
from watch_fakes import MemoryState, webhook

import millstream as ms
from millstream.base.errors import WorkFailed
from millstream.base.waits import Waits
from millstream.watch import monitor as monitors
from millstream.watch.alert import Webhook
from millstream.watch.scene import Scene
from millstream.watch.verdict import Verdict, unknown


class Thing(ms.Event):
    name: str
    ts: ms.EventTime


class Nothing:
    """A lake without tables."""

    def exists(self, name: str) -> bool:
        return False


THINGS = ms.stream("things", Thing, key="name")
MONITOR = ms.monitor(THINGS, ms.expect.fresh("1h"), severity="page", name="watched")


def scene() -> Scene:
    ticks = itertools.count(1_000_000)
    return Scene(SimpleNamespace(lake=Nothing(), state=MemoryState(), project=project()), wall_us=lambda: next(ticks))


def verdicts(monkeypatch: pytest.MonkeyPatch, *found: Any) -> None:
    left = list(found)

    def judge(*_: Any) -> Verdict:
        status = left.pop(0)
        if isinstance(status, Exception):
            raise status
        return (
            unknown("fresh", "nothing yet")
            if status == "unknown"
            else Verdict("fresh", status, 2.0, 1.0, f"it is {status}", {"n": 1})
        )

    monkeypatch.setattr(monitors, "judge", judge)


def test_one_alert_an_episode_and_one_recovery(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    verdicts(monkeypatch, "ok", "violated", "violated", "unknown", "violated", "ok", "ok", "drifted")
    where = scene()
    with webhook() as (address, posted, _), caplog.at_level(logging.INFO, "millstream.watch"):
        for _ in range(8):
            monitors.run(MONITOR, where, webhook=Webhook(address), project="flights")
    assert [(p["event"], p["verdict"]["status"]) for p in posted] == [
        ("opened", "violated"),
        ("recovered", "ok"),
        ("opened", "drifted"),
    ]
    assert posted[0]["severity"] == "page" and posted[0]["project"] == "flights" and "things" in posted[0]["text"]
    assert [r.levelno for r in caplog.records] == [logging.ERROR, logging.INFO, logging.ERROR]
    assert [e["check"] for e in monitors.episodes(where)] == ["fresh"]


def test_a_webhook_that_was_away_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts(monkeypatch, "violated", "violated", "violated", "ok", "ok")
    where = scene()
    with webhook() as (address, posted, statuses):
        statuses += [500, 200, 503, 200]
        hook = Webhook(address, waits=Waits(0.0, 0.0))
        for _ in range(5):
            monitors.run(MONITOR, where, webhook=hook)
    assert [p["event"] for p in posted] == ["opened", "opened", "recovered", "recovered"]


def test_history_is_kept_newest_first_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitors, "KEPT", 5)
    verdicts(monkeypatch, *["ok", "violated"] * 6)
    where = scene()
    for _ in range(12):
        monitors.run(MONITOR, where)
    kept = monitors.history(MONITOR, where, "fresh")
    assert [v.status for v in kept] == ["violated", "ok", "violated", "ok", "violated"]
    assert kept[0].details == {"n": 1} and kept[0].at_us > kept[1].at_us


def test_a_check_that_fails_to_run_is_unknown_and_the_others_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts(monkeypatch, WorkFailed("the engine refused"), "ok")
    monitor = ms.monitor(THINGS, ms.expect.fresh("1h"), ms.expect.fresh("2h"), name="twice")
    found = monitors.run(monitor, scene())
    assert [v.status for v in found] == ["unknown", "ok"] and "the engine refused" in found[0].message
    assert [label for label, _ in monitors.labelled(monitor)] == ["fresh", "fresh-2"]


def test_an_alert_that_was_not_taken_is_posted_again_without_another_look(monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts(monkeypatch, "violated")
    where = scene()
    with webhook() as (address, posted, statuses):
        hook = Webhook(address, waits=Waits(0.0, 0.0))
        statuses += [500, 503]
        monitors.run(MONITOR, where, webhook=hook)
        assert monitors.send_again([MONITOR], where, hook) == ["watched/fresh"]
        assert monitors.send_again([MONITOR], where, hook) == [] and monitors.send_again([MONITOR], where, hook) == []
    assert [p["event"] for p in posted] == ["opened"] * 3 and not hook.trouble


@pytest.mark.parametrize(
    "error", [KeyError("no such thing"), MemoryError(), WorkFailed("kafka://a:secretpass1@h:1 is away")]
)
def test_a_check_that_raises_anything_is_unknown_and_failed(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    verdicts(monkeypatch, error)
    (found,) = monitors.run(MONITOR, scene())
    assert (
        found.status == "unknown"
        and found.failed
        and "could not be judged" in found.message
        and "secretpass1" not in found.message
    )


def test_two_processes_that_look_at_once_both_have_their_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts(monkeypatch, "violated")
    where, put = scene(), MemoryState.put

    def other_first(self: MemoryState, kind: str, key: str, value: Any, *, expect: int | None = None) -> Any:
        if kind == "episode":
            put(self, kind, key, value)
        return put(self, kind, key, value, expect=expect)

    monkeypatch.setattr(MemoryState, "put", other_first)
    assert [v.status for v in monitors.run(MONITOR, where)] == ["violated"]
