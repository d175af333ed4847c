"""Whether a door may judge times: its own clock, held against the newest append and against a clock that never steps.

"Now" is not in the log, so the door that takes a record in decides once whether its times lie too far ahead. A machine
that starts in 2020 would refuse every record of 2026; one whose clock jumps to 2062 would take anything. Such a door
waits and says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from millstream.base.errors import ClockWrong, NotFound, Transient
from millstream.base.moments import spelled
from millstream.declare.stream import Stream
from millstream.log.port import Log
from millstream.state.port import State

LEAST_US = 60_000_000
"""Clocks of two machines differ a little, and a time server sets one by some seconds: neither is a wrong clock, however
small `ahead` is.
"""
ASK_S, ASK_AGAIN_S = 60.0, 1.0
"""How often the log is asked for its newest append: as a rule, and while the clock is in doubt."""
RELEASED = "door"
"""Kind of the state documents that say up to which append the doors of a stream were released."""
# The others stop while a laptop sleeps, and waking would look like a step
_KEEPS_TIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def wall_us() -> int:
    """Now, by the wall clock, in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def released_us(state: State, stream: str) -> int | None:
    """The append up to which `doctor --release` has released the stream's doors: the clock that stamped it was
    wrong.
    """
    doc = state.get(RELEASED, stream)
    return None if doc is None else int(doc.value["append_us"])


def _steady_us() -> int:
    return time.clock_gettime_ns(_KEEPS_TIME) // 1000


class Machine:
    """The wall clock of this machine, and how far it has stepped since this object was made.

    Args:
        wall: Microseconds since 1970 UTC.
        steady: Microseconds since whenever; never set, and counts while the machine sleeps.
    """

    def __init__(self, wall: Callable[[], int] = wall_us, steady: Callable[[], int] = _steady_us) -> None:
        self.wall_us, self.steady_us = wall, steady
        self._apart = wall() - steady()

    def step_us(self) -> int:
        """How much further the wall clock has moved than time has passed; negative when it was set back."""
        return self.wall_us() - self.steady_us() - self._apart


MACHINE = Machine()
"""This process's. It is as old as the process: a door that is opened again after a step must still see the step."""


class DoorClock:
    """The clock of one door to one stream.

    Args:
        stream: Its name, for messages.
        ahead_us: How far is too far.
        newest: When the newest append was made, in microseconds; None where there is none.
        released: Appends up to this moment do not count: a person has found that their clock was the wrong one. None:
            all count.
    """

    def __init__(
        self,
        stream: str,
        ahead_us: int,
        newest: Callable[[], int | None],
        *,
        released: Callable[[], int | None] = lambda: None,
        machine: Machine | None = None,
    ) -> None:
        self.stream, self.slack_us = stream, max(ahead_us, LEAST_US)
        self._ask_newest, self._ask_released, self._machine = newest, released, machine or MACHINE
        self._newest: int | None = None
        self._asked_us: int | None = None
        self._answered = False

    @property
    def due(self) -> bool:
        """Whether `refresh` would ask the log."""
        if self._asked_us is None:
            return True
        # The clock may have been set since, so the doubt is that of this moment.
        wait_s = ASK_S if self._answered and not self._behind(self._machine.wall_us()) else ASK_AGAIN_S
        return self._machine.steady_us() >= self._asked_us + round(wait_s * 1e6)

    def refresh(self) -> None:
        """Ask the log for its newest append, when that is due. Blocks for as long as the log takes.

        Raises:
            Transient: The log does not answer; what was known before stays.
        """
        if not self.due:
            return
        self._asked_us, self._answered = self._machine.steady_us(), False  # first, so that of many threads one asks
        newest = self._ask_newest()
        released = None if newest is None else self._ask_released()
        self._newest = None if newest is None or (released is not None and newest <= released) else newest
        self._answered = True

    def now_us(self) -> int:
        """The wall clock, in microseconds since 1970 UTC, when it can be trusted.

        Raises:
            ClockWrong: It lies further behind the newest append than `ahead`, or has stepped that far since this
                process began.
        """
        wall, step = self._machine.wall_us(), self._machine.step_us()
        if self._behind(wall):
            assert self._newest is not None
            raise ClockWrong(
                f'stream "{self.stream}" takes nothing in: this machine\'s clock shows {spelled(wall)}, but the newest'
                f" append to the stream is from {spelled(self._newest)}; set the clock, or, if the append's clock was"
                " wrong, run  millstream doctor"
            )
        if abs(step) > self.slack_us:
            raise ClockWrong(
                f'stream "{self.stream}" takes nothing in: this machine\'s clock was moved'
                f" {'forward' if step > 0 else 'back'} by {_length(step)} while this process was running, to"
                f" {spelled(wall)}; set the clock, or, if it is right now, restart this process"
            )
        return wall

    def _behind(self, wall: int) -> bool:
        return self._newest is not None and self._newest - wall > self.slack_us


class Doors:
    """The clocks of all doors of one process to one log, one a stream.

    Args:
        newest: Topic -> when its newest append was made; by default the log is asked.
        released: Stream -> the append up to which a person has released its doors.
    """

    def __init__(
        self,
        log: Log | None,
        *,
        newest: Callable[[str], int | None] | None = None,
        released: Callable[[str], int | None] = lambda stream: None,
        machine: Machine | None = None,
    ) -> None:
        self._log, self._newest, self._released, self._machine = log, newest or self._of_log, released, machine
        self._made: dict[str, DoorClock] = {}

    def of(self, stream: Stream[Any]) -> DoorClock:
        name = stream.name
        if name not in self._made:
            self._made[name] = DoorClock(
                name,
                stream.ahead_us,
                lambda: self._newest(name),
                released=lambda: self._released(name),
                machine=self._machine,
            )
        return self._made[name]

    def _of_log(self, topic: str) -> int | None:
        try:
            return None if self._log is None else self._log.newest(topic)
        except NotFound:
            return None


def quietly(door: DoorClock) -> None:
    """Refresh it; where the log does not answer, what was known before stands."""
    try:
        door.refresh()
    except Transient:
        return


def _length(us: int) -> str:
    seconds = abs(us) / 1e6
    return next(
        (
            f"{seconds / size:,.1f} {unit}"
            for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60))
            if seconds >= size
        ),
        f"{seconds:.0f} s",
    )
