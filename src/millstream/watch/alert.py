"""Alerts: a log line and a webhook, once when an episode begins and once when it ends."""

from __future__ import annotations

import json
import logging
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from millstream.declare.monitor import Monitor
from millstream.watch.verdict import Verdict

log = logging.getLogger("millstream.watch")
LEVELS = {"info": logging.INFO, "warn": logging.WARNING, "page": logging.ERROR}
TIMEOUT_S = 5.0


def message(monitor: Monitor, verdict: Verdict, event: str, opened_us: int, project: str = "") -> dict[str, Any]:
    """What a webhook is sent; `text` alone is enough for a chat.

    Args:
        event: "opened" or "recovered".
    """
    mark = "recovered" if event == "recovered" else verdict.status
    return {"event": event, "project": project, "monitor": monitor.name, "target": str(monitor.target), "severity": monitor.severity,
            "opened_us": opened_us, "text": f"{monitor.target}: {verdict.check} {mark}: {verdict.message}", "verdict": verdict.json()}  # fmt: skip


def notify(told: Mapping[str, Any], webhook: str | None) -> bool:
    """Log it and post it. False when the webhook did not take it, so that it is tried again at the next look."""
    level = logging.INFO if told["event"] == "recovered" else LEVELS[str(told["severity"])]
    log.log(level, "%s", told["text"])
    return webhook is None or _post(webhook, json.dumps(told, default=str).encode())


def _post(webhook: str, body: bytes) -> bool:
    if not webhook.startswith(("http://", "https://")):
        log.error("the alert webhook is no http or https address")
        return False
    request = urllib.request.Request(webhook, body, {"content-type": "application/json"}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            return True
    except (urllib.error.URLError, OSError) as error:
        log.warning("the alert webhook did not take the alert: %s", getattr(error, "reason", error))
        return False
