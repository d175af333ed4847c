"""Pages of what was made: runs and versions of models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from millstream.app import lookup
from millstream.app.console.show import (
    Figure,
    Grid,
    Link,
    Section,
    Tag,
    Values,
    grid,
    link,
    moment,
    number,
    run_page,
    seconds,
    text,
)
from millstream.app.console.tables import around
from millstream.run.workspace import Workspace
from millstream.serve.decisions import all_streams

PLAIN = (
    "model",
    "version",
    "aliases",
    "created",
    "run",
    "seconds",
    "promoted",
    "verdict",
    "promote_if",
    "judged_by",
    "code",
    "seed",
    "input",
    "output",
    "file",
)
TITLES = {
    "training_set": "Training set",
    "tables": "Versions of the lake's tables",
    "features": "Definitions of features",
    "libraries": "Libraries",
    "parameters": "Parameters",
    "derive": "Derived columns",
    "labels": "Labels",
    "metrics": "Metrics",
}


def begin(ws: Workspace) -> str:
    """Have the orchestrator bring everything up to date; the run's name."""
    from millstream.run.steps import steps

    return ws.orchestrator.start([step.name for step in steps(ws)])


def runs(ws: Workspace, request: Request) -> Values:
    rows = [
        {
            "run": Link(r["run"], run_page(r["run"]), mono=True),
            "status": Tag(r["status"]),
            "started": moment(r["started"]) if r["started"] else "",
            "took": seconds(r["seconds"]),
            "made": r["made"],
            "up to date": r["up to date"],
            "failed": r["failed"],
        }
        for r in lookup.runs(ws, 100)
    ]
    return {
        "title": "Runs",
        "lead": "What was brought up to date, newest first.",
        "action": ("/runs", "Bring all up to date"),
        "grid": grid(rows, name="list", empty="No run yet: `millstream run` makes everything that is declared."),
    }


def run(ws: Workspace, request: Request) -> Values:
    found = lookup.run(ws, request.path_params["name"])
    results = found.get("results", [])
    waiting = [
        {"name": n, "kind": "", "status": "waiting" if found["status"] == "running" else found["status"]}
        for n in found.get("steps", ())
        if not results
    ]
    rows = [
        [
            _asset(ws, r["name"]),
            r["kind"].replace("_", " "),
            Tag(r["status"]),
            seconds(r.get("seconds")),
            f"{r['rows']:,}" if r.get("rows") else "",
            r.get("error") or r.get("note", ""),
        ]
        for r in [*results, *waiting]
    ]
    steps = Grid(
        ["asset", "kind", "status", "took", "rows", "found"],
        rows,
        "steps",
        ("took", "rows"),
        ("found",),
        "Nothing was selected.",
    )
    counts = {word: sum(r["status"] == word for r in results) for word in ("made", "skipped", "failed", "blocked")}
    figures = [
        Figure("Made", f"{counts['made']:,}"),
        Figure("Up to date", f"{counts['skipped']:,}"),
        Figure(
            "Failed or blocked", f"{counts['failed'] + counts['blocked']:,}", tone="bad" if counts["failed"] else ""
        ),
    ]
    return {
        "title": found["run"],
        "kind": "run",
        "tag": Tag(found["status"]),
        "lead": f"Started {moment(found['started_at'])} UTC" if found["started_at"] else "Not begun yet",
        "figures": figures,
        "sections": [Section("Steps", grid=steps)],
    }


def _asset(ws: Workspace, name: str) -> object:
    noun = ws.project.by_name.get(name)
    if noun is not None:
        return Link(name, link(noun))
    return Link(name, f"/tables/{name}") if name in all_streams(ws.project) else name


def models(ws: Workspace, request: Request) -> Values:
    ever = any(_trained(ws, name) for name in ws.project.models)
    rows = [
        {k: Link(v, f"/models/{v}") if k == "model" else v for k, v in r.items()}
        for r in (lookup.models(ws) if ever else [])
    ]
    declared = ", ".join(ws.project.models)
    empty = (
        f"No version yet of {declared}: `millstream run` trains them."
        if declared
        else "No model is declared: `@ms.model` over a training set makes one."
    )
    return {
        "title": "Models",
        "lead": "Every version, newest first. The champion serves; a challenger has missed its promotion.",
        "grid": grid(rows, name="list", empty=empty),
    }


def model(ws: Workspace, request: Request) -> Values:
    name = request.path_params["name"]
    noun = ws.project.models.get(name.partition("@")[0])
    if noun is not None and not _trained(ws, noun.name):
        empty = Section("No version yet", f"`millstream run +{noun.name}` trains it, with all that it is made from.")
        return {
            "title": noun.name,
            "kind": "model",
            "lead": noun.doc,
            "figures": [],
            "sections": [empty, *around(ws, noun)],
        }
    found = lookup.model(ws, name)
    noun = ws.project.models[found["model"]]
    figures = [Figure(m, number(v)) for m, v in found["metrics"].items() if m in noun.metrics]
    figures += [Figure("Aliases", ", ".join(found["aliases"]) or "none")]
    facts = [
        (
            k.replace("_", " "),
            moment(found[k]) if k == "created" else seconds(found[k]) if k == "seconds" else text(found[k]),
        )
        for k in PLAIN
        if found.get(k) not in (None, "", {}, []) and k not in ("model", "aliases")
    ]
    shown = {figure.name for figure in figures}
    parts = [
        _part(key, found[key])
        for key in TITLES
        if found.get(key) and not (key == "metrics" and shown >= set(found[key]))
    ]
    sections = [Section("Version", facts=facts), *parts]
    if found.get("columns"):
        sections.append(Section(f"Columns ({len(found['columns'])})", chips=[str(c) for c in found["columns"]]))
    return {
        "title": f"{found['model']}@{found['version']}",
        "kind": "model",
        "lead": noun.doc,
        "figures": figures,
        "sections": [*sections, *around(ws, noun)],
    }


def _trained(ws: Workspace, name: str) -> bool:
    """Whether a version was ever made here. Asking the registry first would make one, and that takes seconds."""
    return ws.state.get("asset", name) is not None


def _part(key: str, value: Any) -> Section:
    if isinstance(value, Mapping):
        facts = [
            (
                str(k).replace("_", " ") if key == "training_set" else str(k),
                moment(v) if k == "until" else str(v) if key == "libraries" else text(v),
            )
            for k, v in value.items()
        ]
    else:
        facts = [(str(i + 1), text(v)) for i, v in enumerate(value if isinstance(value, list | tuple) else [value])]
    return Section(TITLES[key], facts=facts, half=True)
