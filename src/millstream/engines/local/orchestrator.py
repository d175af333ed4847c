"""This machine, as an orchestrator: `millstream run` as a process that nobody waits for. One run at a time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from millstream.base.errors import Busy, Conflict, NotFound
from millstream.run.port import Run
from millstream.run.runner import alone, new_id
from millstream.state.port import Doc

if TYPE_CHECKING:
    from millstream.ports import Engines

_QUEUED = "queued"


class LocalOrchestrator:
    """The runs in the project's state, whoever began them."""

    keeps_time = False

    def __init__(self, url: str, ws: Engines) -> None:
        self._ws = ws

    def deploy(self) -> None:
        """A run reads the project as it finds it."""

    def start(self, assets: Sequence[str]) -> str:
        ws, run_id = self._ws, new_id()
        with alone(ws.folder):  # said now rather than by a process whom nobody hears
            pass
        words = [
            sys.executable,
            "-m",
            "millstream",
            "--project",
            str(ws.project.root),
            "--profile",
            ws.settings.profile,
        ]
        words += [word for key, value in ws.settings.flags.items() for word in ("--set", f"{key}={value}")]
        log = ws.folder / "runs" / f"{run_id}.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("wb") as out:
            words += ["run", "--run-id", run_id, *assets]
            child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        with suppress(Conflict):  # it was quicker, and has said more
            ws.state.put(
                "run",
                run_id,
                {"started_at": datetime.now(UTC).isoformat(), "status": _QUEUED, "pid": child.pid},
                expect=0,
            )
        return run_id

    def runs(self, limit: int) -> list[Run]:
        return [self._run(doc) for doc in self._ws.state.list("run", newest=True, limit=limit)]

    def run(self, run_id: str) -> Run:
        doc = self._ws.state.get("run", run_id)
        if doc is None:
            raise NotFound(f'no run "{run_id}"; see millstream show runs')
        return self._run(doc)

    def _run(self, doc: Doc) -> Run:
        """A run that says it is under way while nobody has the lock was killed."""
        value, status = doc.value, str(doc.value["status"])
        if status == "running" or (status == _QUEUED and (datetime.now(UTC) - doc.written_at).total_seconds() > 60):
            with suppress(Busy, OSError), alone(self._ws.folder):  # where nothing can be written, nobody can tell
                status = self._again(doc)
        ended = value.get("ended_at")
        return Run(
            doc.key,
            status,
            datetime.fromisoformat(value["started_at"]),
            datetime.fromisoformat(ended) if ended else None,
            tuple(value.get("results", ())),
        )

    def _again(self, doc: Doc) -> str:
        """Its status, looked up under the lock: it may have ended since it was read."""
        now = self._ws.state.get("run", doc.key)
        return "killed" if now is None or now.value["status"] in ("running", _QUEUED) else str(now.value["status"])
