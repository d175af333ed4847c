"""Experiments, endpoints, and a decision followed back to files."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from millstream.app.each import Rows
from millstream.base.errors import NotFound
from millstream.base.words import choices
from millstream.run.sources import source_engines

if TYPE_CHECKING:
    from millstream.run.workspace import Workspace


def experiments(ws: Workspace, limit: int = 0) -> Rows:
    """Each experiment: method, layer, traffic, status, phase."""
    from millstream.app.experiments import status

    rows = Rows()
    for e in ws.project.experiments.values():
        base = {
            "experiment": e.name,
            "method": e.assign.method,
            "arms": " ".join(e.arms),
            "unit": e.unit,
            "layer": e.layer,
            "traffic": f"{e.traffic[0]:g} to {e.traffic[1]:g}",
        }
        rows.add(f"experiment {e.name}", lambda e=e, base=base: {**base, **status(ws, e)})  # type: ignore[misc]
    return rows


def endpoints(ws: Workspace, limit: int = 0) -> Rows:
    """Each endpoint with its decisions."""
    rows = Rows()
    for name in ws.project.endpoints:
        rows.add(f"endpoint {name}", partial(endpoint, ws, name))
    return rows


def endpoint(ws: Workspace, name: str) -> dict[str, Any]:
    """An endpoint: its decisions in the log and in the lake, how many are judged, how many will be but are not yet."""
    if name not in ws.project.endpoints:
        raise NotFound(f'no endpoint "{name}"; {choices(name, ws.project.endpoints)}')
    from millstream.run.feedback import unjudged

    noun = ws.project.endpoints[name]
    landed = ws.lake.table(noun.decisions).rows() if ws.lake.exists(noun.decisions) else 0
    judged = ws.lake.table(noun.outcomes).rows() if ws.lake.exists(noun.outcomes) else 0
    return {
        "endpoint": name,
        "models": " ".join(dict.fromkeys(f"{r.model.name}@{r.version}" for r in noun.refs())),
        "experiments": " ".join(e.name for e in noun.experiments),
        "decisions": landed,
        "outcomes": judged,
        "unjudged": unjudged(ws, noun),
    }


def trace(ws: Workspace, decision_id: str) -> Any:
    """A decision followed back to its rows and files."""
    from millstream.watch.trace import trace as follow

    return follow(decision_id, ws.project, ws.lake, ws.sql, ws.tracking, source_engines(ws.project))
