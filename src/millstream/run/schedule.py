"""The embedded scheduler: cron lines of assets, and monitors when they are due."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from millstream.base.errors import Busy, WorkFailed
from millstream.declare.cron import next_after
from millstream.run.trouble import ALERTS, ASSET, MONITOR, Later, Watches
from millstream.watch.monitors import Monitors

if TYPE_CHECKING:
    from millstream.declare.monitor import Monitor
    from millstream.declare.project import Project
    from millstream.ports import Engines
    from millstream.run.feedback import Attempt

log = logging.getLogger("millstream")


def left_alone(project: Project) -> Iterator[str]:
    """A sentence for each table that requests are answered from and that `up` never rebuilds: no schedule
    reaches it.
    """
    from millstream.declare.table import Table

    reached = [t.name for t in project.tables.values() if t.schedule] + [
        m.name for m in project.models.values() if m.schedule
    ]
    for name in reached:  # grows while it is walked
        reached += [up for up in project.graph.upstream(name) if up not in reached]
    read: dict[str, list[str]] = {}
    for features in project.features.values() if project.endpoints else ():
        if isinstance(features.source, Table) and features.source.name not in reached:
            read.setdefault(features.source.name, []).append(features.name)
    for table, names in read.items():
        answers = "answers" if len(names) == 1 else "answer"
        fix = "-- @schedule @hourly" if project.tables[table].file else 'schedule="@hourly"'
        yield (
            f"{table}: it has no schedule, so `up` never rebuilds it, and {', '.join(names)} {answers} requests from"
            f" the rows of its last run; give it one, e.g.  {fix}"
        )


class Schedule:
    """What is due. The last time of each is kept in the state, so a restart neither repeats nor forgets."""

    def __init__(self, ws: Engines, *, assets: bool = True, attempt: Attempt | None = None) -> None:
        """`assets`: Whether those with a cron line are among it; another orchestrator may keep their time."""
        self.ws, self._assets = ws, assets
        self._monitors = Monitors(ws)
        self._attempt = attempt or Watches(ws.state).attempt
        self._held_up: set[str] = set()
        self._wrong: dict[str, bool] = {}

    def tick(self, now: datetime, stop: threading.Event) -> None:
        """Run what has become due; the errors of one do not keep the others from running, nor those of the webhook a
        verdict.
        """
        for name, line in self._cron().items() if self._assets else ():
            if not stop.is_set():
                self._attempt(ASSET, name, partial(self._make_due, name, line, now))
        for monitor in self.ws.project.monitors.values():
            if not stop.is_set():
                self._attempt(MONITOR, monitor.name, partial(self._look_due, monitor, now))
        if self.ws.project.monitors and not stop.is_set():
            self._attempt(ALERTS, "webhook", self._send_again)

    def _make_due(self, name: str, line: str, now: datetime) -> None:
        if now >= next_after(line, self._last(name, now)) and self._make(name):
            self._mark(name, now)

    def _look_due(self, monitor: Monitor, now: datetime) -> None:
        if self._wrong.get(monitor.name) or now - self._last(monitor.name, now - timedelta(days=365)) >= timedelta(
            microseconds=monitor.every_us
        ):
            self._mark(monitor.name, now)
            self._wrong[monitor.name] = (
                True  # until it is known to be right: what could not be looked at is looked at again before it is due
            )
            rows = self._monitors.run(monitor)
            if broken := [f"{r['check']} {r['message']}" for r in rows if r["details"].get("failed")]:
                raise WorkFailed("; ".join(broken))
            self._wrong[monitor.name] = False

    def _send_again(self) -> None:
        if self._monitors.send_again() and (trouble := self._monitors.webhook.trouble):
            raise Later(trouble, self._monitors.webhook.again_s)

    def _cron(self) -> dict[str, str]:
        project = self.ws.project
        scheduled = {
            **{t.name: t.schedule for t in project.tables.values()},
            **{m.name: m.schedule for m in project.models.values()},
        }
        return {name: line for name, line in scheduled.items() if line}

    def _last(self, name: str, otherwise: datetime) -> datetime:
        doc = self.ws.state.get("schedule", name)
        if doc is None:
            self._mark(name, otherwise)
            return otherwise
        return datetime.fromisoformat(doc.value["at"])

    def _mark(self, name: str, at: datetime) -> None:
        self.ws.state.put("schedule", name, {"at": at.astimezone(UTC).isoformat()})

    def _make(self, name: str) -> bool:
        """Whether it was its turn; while another run is under way it stays due."""
        from millstream.run import runner
        from millstream.run.select import select
        from millstream.run.steps import steps

        every = [s for s in steps(self.ws) if s.kind not in ("source", "stream")]
        names = set(
            select(
                [f"+{name}"],
                {s.name: tuple(u for u in s.upstream if any(u == e.name for e in every)) for s in every},
                {},
                list,
            )
        )
        # What answers follows its table
        names |= {s.name for s in every if s.kind == "features" and names.intersection(s.upstream)}
        try:
            with runner.alone(self.ws.folder):
                runner.run([s for s in every if s.name in names], self.ws.state)
        except Busy as error:
            if name not in self._held_up:
                log.warning("%s is due, but %s", name, error)
            self._held_up.add(name)
            return False
        self._held_up.discard(name)
        return True
