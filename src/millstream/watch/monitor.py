"""Run a monitor: judge each check, keep the verdicts, open and close episodes.

State: `verdict` documents `<monitor>/<check>-<n>/<time>`, and one `episode` document for each check of a monitor.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from millstream.base.errors import Conflict, MillstreamError
from millstream.base.secrets import hide
from millstream.base.theirs import pass_on
from millstream.declare.monitor import (
    Check,
    ContractKept,
    Drift,
    Fresh,
    Monitor,
    NotNull,
    Performance,
    Rows,
    Skew,
    Volume,
)
from millstream.watch import expect
from millstream.watch.alert import Webhook, announce, message
from millstream.watch.scene import Scene
from millstream.watch.verdict import Verdict, failed, unknown

log = logging.getLogger("millstream.watch")
KEPT = 500
"""Verdicts kept of each check; older ones are forgotten."""


def run(monitor: Monitor, scene: Scene, *, webhook: Webhook | None = None, project: str = "") -> list[Verdict]:
    """One verdict a check, in their order; kept, and reported when one fails or recovers.

    A check that cannot be judged (no data, an engine that fails) is `unknown`, and does not keep the others from being
    judged.

    Args:
        webhook: Where alerts are posted to; nowhere without one.
    """
    made: list[Verdict] = []
    for label, check in labelled(monitor):
        verdict = replace(_judged(check, monitor, scene, label), at_us=scene.clock_us())
        _keep(monitor, label, verdict, scene)
        with contextlib.suppress(Conflict):  # another process looks at the same moment, and tells
            _episode(monitor, label, verdict, scene, webhook or Webhook(None), project)
        made.append(verdict)
    return made


def send_again(monitors: Iterable[Monitor], scene: Scene, webhook: Webhook) -> list[str]:
    """Post the alerts that the webhook did not take before: it need not wait for the next look, which may be a day
    away. Those that are left.
    """
    left = []
    for monitor in monitors:
        for doc in scene.engines.state.list("episode", prefix=f"{monitor.name}/"):
            if doc.value["told"] or not doc.value.get("alert"):
                continue
            if webhook.post(doc.value["alert"]):
                with contextlib.suppress(Conflict):
                    scene.engines.state.put("episode", doc.key, {**doc.value, "told": True}, expect=doc.revision)
            else:
                left.append(doc.key)
    return left


def labelled(monitor: Monitor) -> list[tuple[str, Check]]:
    """Each check with its name in the history: `volume`, and `volume-2` for a second of its kind."""
    seen: dict[str, int] = {}
    labels = []
    for check in monitor.checks:
        seen[check.check] = seen.get(check.check, 0) + 1
        labels.append((check.check if seen[check.check] == 1 else f"{check.check}-{seen[check.check]}", check))
    return labels


def history(monitor: Monitor, scene: Scene, label: str, limit: int = 100) -> list[Verdict]:
    """Verdicts of a check, newest first."""
    docs = scene.engines.state.list("verdict", prefix=f"{monitor.name}/{label}/")
    return [Verdict.read(doc.value) for doc in reversed(docs[-limit:])]


def episodes(scene: Scene, monitor: Monitor | None = None) -> list[dict[str, Any]]:
    """Episodes that are open now: monitor, check, since when (by the project's clock), the first and the last
    message.
    """
    docs = scene.engines.state.list("episode", prefix=f"{monitor.name}/" if monitor else "")
    return [dict(doc.value) for doc in docs if doc.value["open"]]


def judge(check: Check, monitor: Monitor, scene: Scene, since_us: int | None = None) -> Verdict:
    """The verdict of one check, as of now; nothing is kept."""
    target = monitor.target
    match check:
        case Fresh():
            return expect.fresh(check, target, scene)
        case Volume():
            return expect.volume(check, target, scene, since_us)
        case ContractKept():
            return expect.contract(check, target, scene)
        case NotNull():
            return expect.not_null(check, target, scene)
        case Rows():
            return expect.rows(check, target, scene)
        case Drift():
            from millstream.watch import drift

            return drift.drift(check, target, scene)
        case Performance():
            from millstream.watch import performance

            return performance.performance(check, target, scene)
        case Skew():
            from millstream.watch import skew

            return skew.skew(check, target, scene)
    return unknown(check.check, f"nothing here judges {check.check}")


def _judged(check: Check, monitor: Monitor, scene: Scene, label: str) -> Verdict:
    try:
        last = next(iter(history(monitor, scene, label, 1)), None) if isinstance(check, Volume) else None
        verdict = judge(check, monitor, scene, (last.details.get("through_us") if last else None))
        if (
            verdict.status == "unknown"
            and last is not None
            and isinstance(check, Volume)
            and last.details.get("through_us")
        ):
            return last  # nothing new to look at: what was found stands
        return verdict
    except BaseException as error:  # a fault of ours, or a panic of a library in Rust, which is not an Exception
        pass_on(error)
        if isinstance(error, MillstreamError):
            return failed(check.check, str(error))
        log.exception("monitor %s, %s", monitor.name, label)
        return failed(check.check, hide(f"{type(error).__name__}: {error}"))


def _keep(monitor: Monitor, label: str, verdict: Verdict, scene: Scene) -> None:
    prefix = f"{monitor.name}/{label}/"
    scene.engines.state.put("verdict", f"{prefix}{scene.wall_us():017d}", verdict.json())
    _forget(scene, [doc.key for doc in scene.engines.state.list("verdict", prefix=prefix)][:-KEPT])


def _forget(scene: Scene, keys: Iterable[str]) -> None:
    for key in keys:
        scene.engines.state.delete("verdict", key)


def _episode(monitor: Monitor, label: str, verdict: Verdict, scene: Scene, webhook: Webhook, project: str) -> None:
    """Open on the first bad verdict, close on the first good one; `unknown` changes nothing. A webhook that failed is
    tried again at the next look, so an episode is reported at least once, and as a rule once."""
    key = f"{monitor.name}/{label}"
    doc = scene.engines.state.get("episode", key)
    was = dict(doc.value) if doc else {"open": False, "told": True}
    now = {**was, "monitor": monitor.name, "check": label, "target": str(monitor.target), "severity": monitor.severity}
    if verdict.bad and not was["open"]:
        now |= {
            "open": True,
            "opened_us": verdict.at_us,
            "first": verdict.message,
            "told": False,
            "status": verdict.status,
        }
    elif verdict.status == "ok" and was["open"]:
        now |= {"open": False, "closed_us": verdict.at_us, "told": False}
    elif was["told"] and not (verdict.bad and was["open"]):
        return
    now["last"] = verdict.message
    if not now["told"]:
        now["alert"] = message(monitor, verdict, "opened" if now["open"] else "recovered", now["opened_us"], project)
        if was["told"] or now["open"] != was["open"]:  # else it was said, and only the webhook has not taken it
            announce(now["alert"])
        now["told"] = webhook.post(now["alert"])
    scene.engines.state.put("episode", key, now, expect=doc.revision if doc else 0)
