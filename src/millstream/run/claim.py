"""The right of one attempt to commit what a step of a run makes.

Orchestrators lose sight of jobs: a supervisor dies, its job lives on, and a second attempt is started beside it. Each
attempt writes its claim to the state, and looks whether it is still there right before whatever makes its work visible.
So a stale one does no more than one commit, and only if it looked before the newer one claimed and committed after;
that commit is a whole one, and the lake refuses it if the newer attempt's came first.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from millstream.base import points
from millstream.base.errors import Conflict, Fenced
from millstream.state.port import State

KIND = "step"


class Claim:
    """Of attempt `attempt` (from 1) at a step of a run. The highest attempt has it; of two with one number, the one
    that came last.
    """

    def __init__(self, state: State, run_id: str, step: str, attempt: int) -> None:
        self._state, self._key, self.attempt = state, f"{run_id}/{step}", attempt
        self._token = uuid.uuid4().hex
        self.lost = False
        self._revision = 0

    def take(self) -> None:
        """Raises Fenced when a higher attempt has it."""
        while True:
            doc = self._state.get(KIND, self._key)
            if doc and doc.value["attempt"] > self.attempt:
                raise self._fenced(doc.value)
            told = {
                "attempt": self.attempt,
                "token": self._token,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "status": "running",
                "at": _now(),
            }
            try:
                self._revision = self._state.put(KIND, self._key, told, expect=doc.revision if doc else 0).revision
                return
            except Conflict:
                continue  # another one claims at this moment

    def check(self) -> None:
        """Raises Fenced when another attempt has it now."""
        doc = self._state.get(KIND, self._key)
        if doc is None or doc.value["token"] != self._token:
            raise self._fenced(doc.value if doc else {})

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Every commit of this process within the block is checked."""

        def check(point: str) -> None:
            if point in points.GUARDED:
                self.check()

        end = points.watch(check)
        try:
            yield
        finally:
            end()

    def finish(self, status: str, results: list[dict[str, Any]]) -> None:
        """Write down what became of it. Raises Fenced when another attempt has it."""
        told = {"attempt": self.attempt, "token": self._token, "status": status, "results": results, "at": _now()}
        try:
            self._state.put(KIND, self._key, told, expect=self._revision)
        except Conflict:
            self.check()
            raise

    def _fenced(self, by: Mapping[str, Any]) -> Fenced:
        self.lost = True
        where = f" ({by['host']}, process {by['pid']})" if "host" in by else ""
        return Fenced(
            f"attempt {self.attempt} at {self._key} may commit nothing any more: attempt {by.get('attempt', 'unknown')}"
            f" has taken over{where}"
        )


def _now() -> str:
    return datetime.now(UTC).isoformat()
