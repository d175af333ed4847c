"""Waiting out a store that does not answer: a namenode that fails over, a datanode that has just died. And not waiting
for ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from millstream.base.errors import Unreachable

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


class Unanswered(Unreachable):
    """A call has not come back. What it was made with may be stuck with it, and it may still take effect."""


def answered(work: Callable[[], T], within_s: float, what: str) -> T:
    """What `work` returns, if it does so in time. A driver without a limit of its own waits for ever for an answer that
    died with its server (seen with hdfs-native 0.13, a namenode killed in the middle of a call).

    Raises:
        Unanswered: It did not; its thread is left behind, waiting.
    """
    said: list[T] = []
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            said.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=ask, name=f"asks {what}", daemon=True)
    thread.start()
    thread.join(within_s)
    if failed:
        raise failed[0]
    if not said:
        raise Unanswered(f"{what} has not answered for {within_s:.0f} s")
    return said[0]


def patiently(work: Callable[[], T], renew: Callable[[], None] | None = None) -> T:
    """What `work` returns; it is done again while it raises Unreachable, for `PATIENCE` in all, so it must be such that
    it may be done twice.

    Args:
        renew: Makes anew what a call that was not answered may have left stuck; then it is done once more. None: it is
            not done again.
    """
    patience = Patience()
    while True:
        try:
            return work()
        except Unanswered:
            if renew is None:
                raise
            renew()
            renew = None
        except Unreachable:
            if not patience.wait():
                raise
