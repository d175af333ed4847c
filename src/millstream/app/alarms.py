"""What `up` says of the monitors: which are violated when it starts, and each change after that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from millstream.base.errors import MillstreamError
from millstream.watch.verdict import BAD

EVERY_S = 5.0
_STYLES = {"violated": "red", "drifted": "yellow", "ok": "green"}
Say = Callable[[str, str, str], None]
"""Style, word, text."""


class Alarms:
    """Looks at the newest verdicts, which the part `schedule` writes, once in a while.

    Args:
        verdicts: The newest of each check, as `Workspace.verdicts` gives them.
        say: Called with each check that is bad, once, and with its end.
    """

    def __init__(
        self, verdicts: Callable[[], Iterable[Mapping[str, Any]]], say: Say, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._verdicts, self._say, self._clock = verdicts, say, clock
        self._bad: dict[tuple[str, str], str] = {}
        self._due = clock()

    def look(self) -> None:
        """When it is due. A state that does not answer is looked at again: nothing else of `up` waits for this."""
        if self._clock() < self._due:
            return
        self._due = self._clock() + EVERY_S
        try:
            found = list(self._verdicts())
        except (MillstreamError, OSError):
            return
        for verdict in found:
            self._judge((verdict["monitor"], verdict["check"]), verdict)

    def _judge(self, check: tuple[str, str], verdict: Mapping[str, Any]) -> None:
        status, before = verdict["status"], self._bad.get(check)
        if status in BAD:
            self._bad[check] = status
        elif status == "ok":
            self._bad.pop(check, None)
        else:
            return  # unknown: neither good nor bad news
        if status != (before or "ok"):
            name, label = check
            self._say(
                _STYLES[status],
                f"{status}{' again' if status == 'ok' else ''}",
                f"{name} ({label}): {verdict['message']}",
            )
