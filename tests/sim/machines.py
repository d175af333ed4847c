"""Machines of the simulator: each has a wall clock that may be wrong, and doors, a sink and an updater that live and
die with their process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from memory_log import MemoryLog
from memory_online import MemoryOnline
from reference import may_judge, too_far
from things import AHEAD, COUNT, DAY, FEED, SECOND, YEAR, Feed, Sent

from millstream.base.errors import ClockWrong, Fenced, Transient
from millstream.features.definition import Definition
from millstream.features.updater import Updater
from millstream.ingest import append
from millstream.ingest.collector import Collector
from millstream.ingest.doors import LEAST_US, Doors, Machine, quietly
from millstream.ingest.pump import pump
from millstream.lake.sink import Sink
from millstream.serve.updates import Updates

if TYPE_CHECKING:
    from world import World

SLACK = max(AHEAD, LEAST_US)
FRESH = 60 * SECOND
"""A door may know the log's newest append by so much late."""
_NEAR = [sign * seconds * SECOND for seconds in (5, 50, 70, 3600) for sign in (1, -1)]
OFFSETS = (0, 0, *_NEAR, 2 * DAY, -6 * YEAR, 36 * YEAR, 36 * YEAR)
"""How far a wall clock is off: differences of two machines, summer time, a machine that starts in 2020 and one that has
jumped to 2062.
"""


class Wrong(AssertionError):
    """Something is not as the rules say."""


class Box:
    """A machine and its one process.

    Attributes:
        off: How far its wall clock is off.
        doubted_us: When a door was last found to wait for an append of the future; it must look again soon.
    """

    def __init__(self, world: World, off: int = 0, fault: Callable[[str], None] = lambda point: None) -> None:
        self.world, self.off, self._fault = world, off, fault
        self.start()

    def start(self) -> None:
        """A new process."""
        world = self.world
        self.sink: Sink | None = None
        self.updater: Updater | None = None
        self.began_off, self.doubted_us = self.off, -(2**62)
        self.log = MemoryLog(world.log.held, self.wall, self._fault)
        self.store = MemoryOnline(world.store.held, self._fault)
        self.doors = Doors(self.log, released=world.released.get, machine=Machine(self.wall, lambda: world.now))
        project = SimpleNamespace(streams={"things": world.stream})
        engines: Any = SimpleNamespace(
            log=self.log, schemas=world.schemas, lake=world.tables, online=self.store, doors=self.doors, project=project
        )
        self.updates = Updates(engines, wall_us=self.wall, clock=lambda: world.now / SECOND)

        def fill(definition: Definition) -> None:
            world.fill(self)

        self.updates._fill = fill  # type: ignore[method-assign]
        self._collector: Collector | None = None

    def kill(self) -> None:
        self.store.close()
        self.start()

    def wall(self) -> int:
        return self.world.now + self.off

    def set(self, to: int, again: bool) -> None:
        """The wall clock is set; `again`: while the machine is off."""
        self.off = OFFSETS[to % len(OFFSETS)]
        if again:
            self.kill()

    # -- doors
    # -----------------------------------------------------------------------------------------------------------

    def post(self, sent: Sequence[Sent], replay: bool) -> None:
        """A request over HTTP, as the collector takes it, without its thread."""
        if self._collector is None:
            self._collector = Collector(self.log, self.world.schemas, {"things": self.world.stream}, doors=self.doors)
            self._collector._intakes = {"things": self._collector._intake(self.world.stream)}
        intake, body = self._collector._intakes["things"], b"\n".join(one.json() for one in sent)
        may = self.may_judge()
        if intake.door.due:
            quietly(intake.door)
        try:
            taken = self._collector._judge(intake, body)
        except ClockWrong as error:
            self._waits(may, error)
            return
        self._judges(may)
        for at, one in enumerate(sent):
            if (at in taken.errors) != (not one.good or self._dead(one)):
                raise Wrong(
                    f"{one} was {'refused' if at in taken.errors else 'taken'} at a wall clock of {self.wall()}:"
                    f" {taken.errors.get(at)}"
                )
        if taken.events:
            self._append(intake, taken, replay, [sent[at] for at in taken.index])

    def _append(self, intake: Any, taken: Any, replay: bool, sent: Sequence[Sent]) -> None:
        ticket = append.Ticket(intake.binding, intake.form, taken.events, 0, replay, None, None)  # type: ignore[arg-type]
        appends, acknowledged = append._appends([ticket]), True
        try:
            self.log.append(appends)
        except Transient:
            acknowledged = False
        found = self.world.noted(replay)
        there, wanted = sorted(one.number for one, _ in found), sorted(one.number for one in sent)
        if ticket.wrong or (there != wanted and (acknowledged or there)):
            raise Wrong(f"of a request of {wanted} the log has {there}; {ticket.wrong}")

    def read(self, lines: Sequence[Sent]) -> None:
        """Files, by the pump that reads them in."""
        log, split = self.world.log, "feed/feed"
        before, may = int(log.position(split) or 0), self.may_judge()
        waited: ClockWrong | None = None
        try:
            pump(self.log, self.world.schemas, [(FEED, Feed(lines))], doors=self.doors)
        except ClockWrong as error:
            waited = error
        except (Fenced, Transient):
            self.doubted_us = -1  # the door may have looked before the log failed
        after = int(log.position(split) or 0)
        found = self.world.noted(True)
        if sorted(one.number for one, _ in found) != [one.number for one in lines[before:after]]:
            raise Wrong(f"lines [{before}, {after}) were read, and the log has {[one.number for one, _ in found]}")
        for one, dead in found:
            if dead != (not one.good or self._dead(one)):
                raise Wrong(
                    f"{one} is a {'bad record' if dead else 'row'} of the log, by a wall clock of {self.wall()}"
                )
        if waited:
            self._waits(may, waited)
        elif after > before:
            self._judges(may)
        if waited and after > before:
            raise Wrong("a door that waits has taken lines in")

    def _dead(self, one: Sent) -> bool:
        return too_far((one.happened, one.known), self.wall(), AHEAD)

    def may_judge(self) -> bool | None:
        """By the reference; None where it depends on when the door has last asked the log."""
        samples, now = self.world.newest, self.world.now
        fresh = [newest for at, newest in samples if at >= now - FRESH] + [
            newest for at, newest in samples if at < now - FRESH
        ][-1:]
        # What it knows is one of these; while that lies ahead of its clock it asks again
        if 0 <= self.doubted_us <= now - SECOND:
            fresh = [
                samples[-1][1] if newest is not None and newest - self.wall() > SLACK else newest for newest in fresh
            ]
        says = {may_judge(self.wall(), self.off - self.began_off, newest, SLACK) for newest in fresh}
        return says.pop() if len(says) == 1 else None

    def _waits(self, may: bool | None, error: ClockWrong) -> None:
        if may:
            raise Wrong(f"a door waits whose clock is right: {error}")
        self.doubted_us = self.world.now if "newest append" in str(error) else -1

    def _judges(self, may: bool | None) -> None:
        if may is False:
            raise Wrong(
                f"a door judges whose clock is wrong: {self.off / SECOND} s off, {self.began_off / SECOND} s when it"
                " began"
            )
        self.doubted_us = -1

    # -- features
    # --------------------------------------------------------------------------------------------------------

    def let_go(self) -> None:
        """As `serve/updates.py`: what stands beyond the wall clock is filled again, if the clock can be trusted; so the
        log may be asked now.
        """
        if self.doubted_us >= 0:
            self.doubted_us = self.world.now
        self.updates._fill_beyond("things", [COUNT])
