"""The monitors of a project: run now, and what they found before, as rows for people and scripts."""

from __future__ import annotations

from typing import Any

from millstream.base.moments import moment_of
from millstream.declare.monitor import Monitor
from millstream.ports import Engines
from millstream.watch.alert import Webhook
from millstream.watch.monitor import history, labelled, run, send_again
from millstream.watch.scene import Scene
from millstream.watch.verdict import Verdict


class Monitors:
    """Runs them and reads their verdicts.

    Attributes:
        webhook: Where alerts go; it remembers what was not accepted.
    """

    def __init__(self, engines: Engines) -> None:
        self._project = engines.project
        self.scene, self.webhook = Scene(engines), Webhook(engines.settings.webhook)

    def run(self, monitor: Monitor) -> list[dict[str, Any]]:
        """Run a monitor now: one row a check; verdicts are kept, and an alert is sent when one turns bad or ok
        again.
        """
        verdicts = run(monitor, self.scene, webhook=self.webhook, project=self._project.name)
        return [_row(monitor, label, v) for (label, _), v in zip(labelled(monitor), verdicts, strict=True)]

    def send_again(self) -> list[str]:
        """Send the alerts that the webhook did not accept before; the episodes whose alert is still not sent."""
        return send_again(self._project.monitors.values(), self.scene, self.webhook)

    def verdicts(self, name: str, *, latest: bool = False) -> list[dict[str, Any]]:
        """What a monitor found before, newest first; only the last of each check when `latest`."""
        monitor = self._project.monitors[name]
        found = [
            _row(monitor, label, v)
            for label, _ in labelled(monitor)
            for v in history(monitor, self.scene, label, 1 if latest else 100)
        ]
        return found if latest else sorted(found, key=lambda v: v["at"], reverse=True)


def _row(monitor: Monitor, label: str, verdict: Verdict) -> dict[str, Any]:
    at = moment_of(verdict.at_us).isoformat(" ", "seconds")
    return {
        "monitor": monitor.name,
        "target": monitor.target.name,
        "severity": monitor.severity,
        **verdict.json(),
        "check": label,
        "at": at,
    }
