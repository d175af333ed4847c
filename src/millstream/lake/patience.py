"""Waiting out a store that does not answer: a namenode that fails over, a datanode that has just died."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from millstream.declare.errors import Unreachable

T = TypeVar("T")
PATIENCE = timedelta(seconds=20)
"""Longer than a failover takes with HDFS' own defaults (10 s to notice, and some to take over)."""
_FIRST_S, _MOST_S = 0.1, 1.0


class Patience:
    """How long one piece of work has been waiting.

    Example:
        >>> patience = Patience(timedelta(0))
        >>> patience.wait()
        False
    """

    def __init__(self, length: timedelta | None = None) -> None:
        self._end = time.monotonic() + (PATIENCE if length is None else length).total_seconds()
        self._pause = _FIRST_S

    def wait(self) -> bool:
        """Pause, longer each time; False, at once, when there was waiting enough."""
        if time.monotonic() + self._pause > self._end:
            return False
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, _MOST_S)
        return True


def patiently(work: Callable[[], T]) -> T:
    """What `work` returns; it is done again while it raises Unreachable, for `PATIENCE` in all, so it must be such that it may be done twice."""
    patience = Patience()
    while True:
        try:
            return work()
        except Unreachable:
            if not patience.wait():
                raise
