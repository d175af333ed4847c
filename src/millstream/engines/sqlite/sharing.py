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
    """A member of a group: partitions by rank among the members seen lately."""

    def __init__(self, write: Write, look: Callable[[str, Sequence[object]], list[tuple[Any, ...]]], topic: Topic, group: str, member: str) -> None:
        self._write, self._look, self._topic = write, look, topic
        self._me, self._group, self._member = (topic.uuid, group, member), group, member
        self._beat = -_EVERY

    def partitions(self) -> frozenset[int]:
        now = time.time_ns() // 1000
        if time.monotonic() - self._beat >= _EVERY:
            with self._write() as con:
                self._heartbeat(con, now)
            self._beat = time.monotonic()
        oldest = now - int(SESSION_S * 1e6)
        rows = self._look("select member from member where topic = ? and grp = ? and seen_us > ? order by member", (self._topic.uuid, self._group, oldest))
        alive = [str(member) for (member,) in rows]
        if self._member not in alive:
            return frozenset()
        rank = alive.index(self._member)
        return frozenset(p for p in range(self._topic.partitions) if p % len(alive) == rank)

    def _heartbeat(self, con: sqlite3.Connection, now: int) -> None:
        con.execute("delete from member where seen_us < ?", (now - int(10 * SESSION_S * 1e6),))
        con.execute("insert or replace into member values (?, ?, ?, ?)", (*self._me, now))

    def leave(self) -> None:
        with self._write() as con:
            con.execute("delete from member where topic = ? and grp = ? and member = ?", self._me)
        self._beat = -_EVERY
