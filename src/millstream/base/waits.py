"""When what has failed is tried again: each thing by itself, after a pause that doubles, and said once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

FIRST_S, MOST_S = 0.5, 30.0
_UNLIKE = re.compile(r"[0-9a-f-]*\d[0-9a-f-]*")
"""What differs from try to try in the same error: names of files, numbers."""


@dataclass(frozen=True)
class Wait:
    """Why a thing waits, and until when.

    Attributes:
        pause_s: Until it is tried again, from the failure on.
        due_s: The same by the clock of `Waits`.
        news: Whether another error than the one before it; the same need not be said again.
    """

    why: str
    pause_s: float
    due_s: float
    news: bool


class Waits:
    """The things that wait.

    Args:
        first_s, most_s: The first pause after a failure, and the longest. A success forgets all.
        clock: Seconds that only grow.
    """

    def __init__(
        self, first_s: float = FIRST_S, most_s: float = MOST_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.first_s, self.most_s, self.clock = first_s, most_s, clock
        self._waits: dict[str, Wait] = {}

    def due(self, name: str) -> bool:
        """Whether it may be tried now."""
        wait = self._waits.get(name)
        return wait is None or self.clock() >= wait.due_s

    def failed(self, name: str, why: str, pause_s: float | None = None) -> Wait:
        """It was tried, and failed. `pause_s`: until its next try, where that is settled elsewhere."""
        last = self._waits.get(name)
        pause = self.first_s if last is None else min(self.most_s, 2 * last.pause_s)
        pause = pause if pause_s is None else pause_s
        made = Wait(why, pause, self.clock() + pause, last is None or alike(last.why) != alike(why))
        self._waits[name] = made
        return made

    def left_s(self, name: str) -> float:
        """Until its next try; 0 when it may be tried now."""
        wait = self._waits.get(name)
        return 0.0 if wait is None else max(0.0, wait.due_s - self.clock())

    def well(self, name: str) -> bool:
        """It was tried, and works: whether it had failed before."""
        return self._waits.pop(name, None) is not None

    def why(self, name: str) -> str:
        """Why it waits, "" when it does not."""
        return self._waits[name].why if name in self._waits else ""

    def names(self) -> list[str]:
        """What waits."""
        return list(self._waits)


def alike(text: str) -> str:
    """The error without what differs from try to try.

    >>> alike("/lake/t/1733-ab9f.parquet is read-only") == alike("/lake/t/1734-11c0.parquet is read-only")
    True
    """
    return _UNLIKE.sub("", text)
