"""`up` says which monitors are violated: those that are when it starts, and every change after that, once."""

from __future__ import annotations

from typing import Any

from millstream.app.alarms import EVERY_S, Alarms
from millstream.base.errors import Unreachable


class World:
    def __init__(self) -> None:
        self.now, self.said = 0.0, list[tuple[str, str]]()
        self.found: list[dict[str, Any]] = []
        self.looks, self.down = 0, False
        self.alarms = Alarms(self.verdicts, lambda style, word, text: self.said.append((word, text)), lambda: self.now)

    def verdicts(self) -> list[dict[str, Any]]:
        self.looks += 1
        if self.down:
            raise Unreachable("the state does not answer")
        return self.found

    def look(self, *found: tuple[str, str, str]) -> list[tuple[str, str]]:
        """A look when it is due; what was said of it."""
        self.found = [
            {"monitor": "orders_fresh", "check": check, "status": status, "message": message}
            for check, status, message in found
        ]
        self.said.clear()
        self.now += EVERY_S
        self.alarms.look()
        return list(self.said)


def test_what_is_violated_is_said_once_and_so_is_its_end() -> None:
    world = World()
    bad = ("fresh", "violated", "3 h old; at most 1 h")
    assert world.look(bad, ("rows", "ok", "all")) == [("violated", "orders_fresh (fresh): 3 h old; at most 1 h")]
    assert world.look(bad) == []
    assert world.look(("fresh", "unknown", "no event yet")) == [], "neither good nor bad news"
    assert world.look(bad) == []
    assert world.look(("fresh", "drifted", "a bit")) == [("drifted", "orders_fresh (fresh): a bit")]
    assert world.look(("fresh", "ok", "1 min old")) == [("ok again", "orders_fresh (fresh): 1 min old")]
    assert world.look(("fresh", "ok", "1 min old")) == []


def test_it_looks_once_in_a_while_and_a_state_that_is_away_stops_nothing() -> None:
    world = World()
    world.alarms.look()
    world.alarms.look()
    assert world.looks == 1
    world.down = True
    assert world.look() == []
    world.down = False
    assert world.look(("fresh", "violated", "old")) == [("violated", "orders_fresh (fresh): old")]
