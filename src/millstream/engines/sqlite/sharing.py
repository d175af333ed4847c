"""Who reads which partitions of the log: rows that members of a group keep fresh. A hint, never a proof."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from millstream.engines.sqlite.writing import Write
from millstream.log.port import Topic

SESSION_S = 6.0
_EVERY = SESSION_S / 4


class SqliteShare:
    """A member of a group: partitions by rank among the members that are alive.

    A member lives while its row changes, by the clock of whoever looks. The row's own time is believed only at first
    sight: a process that was killed while the wall clock was wrong would else count as alive until then.
    """

    def __init__(
        self,
        write: Write,
        look: Callable[[str, Sequence[object]], list[tuple[Any, ...]]],
        topic: Topic,
        group: str,
        member: str,
    ) -> None:
        self._write, self._look, self._topic = write, look, topic
        self._me, self._group, self._member = (topic.uuid, group, member), group, member
        self._beat = -_EVERY
        self._heard: dict[str, tuple[int, float]] = {}
        """Member -> the time its row says, and the last moment (monotonic) up to which it is alive."""

    def partitions(self) -> frozenset[int]:
        now = time.time_ns() // 1000
        if time.monotonic() - self._beat >= _EVERY:
            with self._write() as con:
                self._heartbeat(con, now)
            self._beat = time.monotonic()
        alive = self._alive(now)
        if self._member not in alive:
            return frozenset()
        rank = alive.index(self._member)
        return frozenset(p for p in range(self._topic.partitions) if p % len(alive) == rank)

    def _alive(self, now: int) -> list[str]:
        rows = self._look(
            "select member, seen_us from member where topic = ? and grp = ? order by member",
            (self._topic.uuid, self._group),
        )
        clock, heard = time.monotonic(), dict[str, tuple[int, float]]()
        for member, seen_us in rows:
            before = self._heard.get(member)
            if before is None:
                heard[member] = (seen_us, clock + max(0.0, SESSION_S - abs(now - seen_us) / 1e6))
            else:
                heard[member] = before if before[0] == seen_us else (seen_us, clock + SESSION_S)
        self._heard = heard
        return [member for member, (_, until) in heard.items() if until > clock]

    def _heartbeat(self, con: sqlite3.Connection, now: int) -> None:
        far = int(10 * SESSION_S * 1e6)
        # Who lives writes it again
        con.execute("delete from member where seen_us not between ? and ?", (now - far, now + far))
        con.execute("insert or replace into member values (?, ?, ?, ?)", (*self._me, now))

    def leave(self) -> None:
        with self._write() as con:
            con.execute("delete from member where topic = ? and grp = ? and member = ?", self._me)
        self._beat = -_EVERY
