"""Events a second, from what a counter said each time somebody looked."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 12.0
LEAST_S = 0.8


class Rates:
    """The slope of counters over the last seconds. However many browsers look, each look is one more point of the same
    line.

    >>> now = 0.0
    >>> rates = Rates(lambda: now)
    >>> rates.see("orders", 100) is None
    True
    >>> now = 2.0
    >>> rates.see("orders", 300)
    100.0
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def see(self, name: str, count: int) -> float | None:
        """Note what the counter says now; its rate, or None when it has not been looked at in the last seconds.

        A counter that went back (a topic made anew) starts again.
        """
        now = self._clock()
        with self._lock:
            seen = self._seen.setdefault(name, deque())
            if seen and count < seen[-1][1]:
                seen.clear()
            while seen and now - seen[0][0] > WINDOW_S:
                seen.popleft()
            rate = (count - seen[0][1]) / (now - seen[0][0]) if seen and now - seen[0][0] >= LEAST_S else None
            if not seen or now - seen[-1][0] >= LEAST_S / 4:
                seen.append((now, count))
        return rate
