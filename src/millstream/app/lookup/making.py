"""Features, training sets, and versions of models."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from millstream.app.each import Rows
from millstream.base.errors import NotFound
from millstream.base.words import choices
from millstream.features.define import define

if TYPE_CHECKING:
    from millstream.declare.model import Model
    from millstream.declare.training_set import TrainingSet
    from millstream.run.steps import FeaturesStep
    from millstream.run.workspace import Workspace
    from millstream.train.port import Version


def features(ws: Workspace, limit: int = 0) -> Rows:
    """Each features noun: what it is made of, when a row of that is known, where the online state stands, and why it is
    stale.
    """
    from millstream.run.steps import FeaturesStep
    from millstream.run.steps import steps as every

    rows = Rows()
    for step in every(ws):
        if isinstance(step, FeaturesStep):
            rows.add(f"features {step.name}", partial(_features, ws, step))
    return rows


def _features(ws: Workspace, step: FeaturesStep) -> dict[str, Any]:
    from millstream.declare.table import Table
    from millstream.run.plan import reasons

    source, definition, doc = (
        step.features.source,
        define(step.features, ws.project.params),
        ws.state.get("asset", step.name),
    )
    applied = ws.online.applied(definition.generation)
    stands: Any = "" if applied is None or not applied.active else sum(applied.offsets.values())
    shown = {
        "features": step.name,
        "of": source.name,
        "a row is known at": "as it arrives",
        "online": stands,
        "in the lake": "",
        "stale": step.pending(),
    }
    if isinstance(source, Table):
        known = "always" if definition.time is None else str(source.known or "its time")
        at = ws.lake.table(source.name).version if ws.lake.exists(source.name) else ""
        shown |= {
            "a row is known at": known,
            "in the lake": at,
            "stale": ", ".join(reasons(step, doc.value if doc else None)),
        }
    return shown


def sets(ws: Workspace, limit: int = 0) -> Rows:
    """Each training set as last built: its rows by part, of how many of its spine, and why the others are not in it."""
    rows = Rows()
    for noun in ws.project.training_sets.values():
        rows.add(f"training set {noun.name}", partial(_set, ws, noun))
    return rows


def _set(ws: Workspace, noun: TrainingSet[Any]) -> dict[str, Any]:
    from millstream.train.dataset import latest
    from millstream.train.kept import left

    found = latest(noun.name, ws.lake)
    parts, counted = dict(found.rows) if found else {}, found is not None and found.total is not None
    return {
        "training set": noun.name,
        "version": found.version if found else "",
        "rows": sum(parts.values()) if found else "not built",
        "of": f"{found.total:,} of {found.spine}" if found and counted else noun.at.name,
        "parts": parts,
        "others": left(found.left_out) if found and counted else "",
    }


def models(ws: Workspace, limit: int = 0) -> Rows:
    """Each version of each model, newest first."""
    found = Rows()

    def row(model: Model[Any], version: Version) -> dict[str, Any]:
        metrics = ws.tracking.run(version.run_id).metrics
        return {
            "model": f"{model.name}@{version.number}",
            "aliases": " ".join(version.aliases),
            **{m: metrics.get(m) for m in model.metrics},
            "made": version.created_at.isoformat(" ", "seconds")[:19],
        }

    for model in ws.project.models.values():
        for version in reversed(
            found.each.attempt(f"model {model.name}", partial(ws.tracking.versions, model.name)) or []
        ):
            found.add(f"{model.name}@{version.number}", partial(row, model, version))
    columns = list(dict.fromkeys(key for row in found for key in row))
    found[:] = [{key: row.get(key, "") for key in columns} for row in found]
    return found


def model(ws: Workspace, name: str) -> dict[str, Any]:
    """`trees@champion`: what the version is made from."""
    from millstream.train.describe import describe

    base, _, version = name.partition("@")
    if base not in ws.project.models:
        raise NotFound(f'no model "{base}"; {choices(base, ws.project.models)}')
    return dict(describe(ws.tracking, base, version or "champion"))
