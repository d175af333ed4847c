"""Runs, their steps, and what has failed and waits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from millstream.base.errors import NotFound
from millstream.run import trouble

if TYPE_CHECKING:
    from millstream.run.port import Run
    from millstream.run.workspace import Workspace


def runs(ws: Workspace, limit: int = 20) -> list[dict[str, Any]]:
    """The latest runs of the project, newest first: the orchestrator's, and those that somebody waited for."""
    rows = []
    for found in _runs(ws, limit):
        results, ended = found.results, found.ended_at
        seconds = (ended - found.started_at).total_seconds() if ended and found.started_at else None
        rows.append(
            {
                "run": found.run_id,
                "status": found.status,
                "made": sum(r["status"] == "made" for r in results),
                "up to date": sum(r["status"] == "skipped" for r in results),
                "failed": sum(r["status"] in ("failed", "blocked") for r in results),
                "seconds": "" if seconds is None else round(seconds, 1),
                "started": found.started_at.isoformat()[:19] if found.started_at else "",
            }
        )
    return rows


def _spelled(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _runs(ws: Workspace, limit: int) -> list[Run]:
    from millstream.base.registry import engine

    here = engine("orchestrator", "local")("local", ws).runs(limit)
    known = {found.run_id for found in here}
    there = [found for found in ws.orchestrator.runs(limit) if found.run_id not in known]
    newest = datetime.max.replace(tzinfo=UTC)  # what is queued has not begun
    return sorted([*here, *there], key=lambda found: found.started_at or newest, reverse=True)[:limit]


def run(ws: Workspace, name: str) -> dict[str, Any]:
    """One run with the end of each of its steps."""
    found = find_run(ws, name)
    return {
        "run": name,
        "status": found.status,
        "started_at": _spelled(found.started_at),
        "ended_at": _spelled(found.ended_at),
        "results": list(found.results),
    }


def find_run(ws: Workspace, name: str) -> Run:
    """As it stands: of this machine's, or the orchestrator's. Raises NotFound."""
    from millstream.base.registry import engine

    try:
        return engine("orchestrator", "local")("local", ws).run(name)
    except NotFound:
        return ws.orchestrator.run(name)


def steps(ws: Workspace, name: str) -> list[dict[str, Any]]:
    """Steps of a run that another orchestrator runs, as far as they have begun: the last attempt at each, and what
    became of it.
    """
    from millstream.run.claim import KIND

    docs = ws.state.list(KIND, prefix=f"{name}/")
    return [
        {
            "step": doc.key.rpartition("/")[2],
            "status": doc.value["status"],
            "attempt": doc.value["attempt"],
            "at": doc.value["at"][:19],
        }
        for doc in docs
    ]


def waiting(ws: Workspace, limit: int = 0) -> list[dict[str, Any]]:
    """All that has failed and waits: streams, sources, assets, monitors, experiments; each with its reason and its next
    try.
    """
    return list(trouble.lines(trouble.found(ws.state)))
