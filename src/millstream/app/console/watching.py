"""Monitors, and the trace of a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from millstream.app import lookup
from millstream.app.console.deciding import decisions_grid
from millstream.app.console.show import Bar, Figure, Grid, Link, Section, Tag, Values, grid, link, moment, number, text
from millstream.app.console.tables import around
from millstream.base.errors import MillstreamError, NotFound
from millstream.base.words import choices
from millstream.run.workspace import Workspace


def monitors(ws: Workspace, request: Request) -> Values:
    rows = []
    for name, noun in ws.project.monitors.items():
        latest = ws.monitors.verdicts(name, latest=True)
        worst = next(
            (s for s in ("violated", "drifted", "unknown", "ok") if any(v["status"] == s for v in latest)), "unknown"
        )
        rows.append(
            {
                "monitor": Link(name, f"/monitors/{name}"),
                "status": Tag(worst),
                "watches": Link(noun.target.name, link(noun.target)),
                "severity": noun.severity,
                "found": "; ".join(v["message"] for v in latest) or "never looked: millstream monitor",
                "looked": latest[0]["at"][:19] if latest else "",
            }
        )
    return {
        "title": "Monitors",
        "lead": "Is it well, and why not.",
        "grid": grid(
            rows,
            name="list",
            wide=("found",),
            empty="No monitor is declared: `ms.monitor` watches a stream, a table, a model or an endpoint.",
        ),
    }


def monitor(ws: Workspace, request: Request) -> Values:
    name = request.path_params["name"]
    if name not in ws.project.monitors:
        raise NotFound(f'no monitor "{name}"; {choices(name, ws.project.monitors)}')
    noun = ws.project.monitors[name]
    latest = ws.monitors.verdicts(name, latest=True)
    now = [[v["check"], Tag(v["status"]), v["message"], moment(v["at"])] for v in latest]
    hint = f"Nobody has looked yet: `millstream monitor {name}` does, and `millstream up` keeps looking."
    sections = [Section("Now", grid=Grid(["check", "status", "found", "at"], now, "now", wide=("found",), empty=hint))]
    sections += [
        Section(f"{v['check'].capitalize()} by column", _amounts(v), distances(v))
        for v in latest
        if v.get("details", {}).get("distances")
    ]
    history = [[moment(v["at"]), v["check"], Tag(v["status"]), v["message"]] for v in ws.monitors.verdicts(name)[:60]]
    if len(history) > len(now):
        sections.append(
            Section("Before", grid=Grid(["at", "check", "status", "found"], history, "before", wide=("found",)))
        )
    every = noun.every_us / 60_000_000
    return {
        "title": name,
        "kind": f"monitor of {noun.target.kind.replace('_', ' ')} {noun.target.name}",
        "sections": [*sections, *around(ws, noun)],
        "lead": f"Looks every {number(every)} minute{'' if every == 1 else 's'}; severity {noun.severity}.",
    }


def _amounts(verdict: Mapping[str, Any]) -> str:
    details = verdict["details"]
    rows = (
        f"{details['window_rows']:,} rows now beside {details['reference_rows']:,} of the training set. "
        if "window_rows" in details
        else ""
    )
    return (
        f"{rows}A column has drifted when its distance is larger than the tolerance and what chance allows together"
        " (the mark)."
    )


def distances(verdict: Mapping[str, Any]) -> Grid:
    """How far each column has moved, the furthest beyond its allowance first."""
    from millstream.watch.drift import WORDS

    tolerance = verdict.get("bound") or 0.0
    rows = [
        [
            d["column"] + (f" of {d['of']}" if d.get("of") else ""),
            WORDS.get(d["kind"], d["kind"]),
            Bar(d["value"], tolerance + d["allowance"], "bad" if d["status"] == "drifted" else ""),
            f"{d['allowance']:.3f}",
            Tag(d["status"]),
        ]
        for d in verdict["details"]["distances"]
    ]
    return Grid(
        ["column", "compared", "distance", "allowed for chance", "status"],
        rows,
        f"distances-{verdict['check']}",
        ("allowed for chance",),
    )


def trace(ws: Workspace, request: Request) -> Values:
    wanted = request.query_params.get("id", "").strip()
    values: Values = {"title": "Trace", "id": wanted, "error": "", "recent": None, "trace": None}
    if not wanted:
        return values | {"recent": decisions_grid(ws, list(ws.project.endpoints.values()), 12)}
    try:
        found = lookup.trace(ws, wanted).to_dict()
    except MillstreamError as error:
        return values | {"error": str(error)}
    return values | {"trace": _traced(found)}


def _traced(found: Mapping[str, Any]) -> Values:
    decision, model, place = found["decision"], found["model"], found["place"]
    figures = [
        Figure("Prediction", str(text(decision.get("prediction")))),
        Figure("Arm", decision.get("arm") or "default", decision.get("experiment") or ""),
    ]
    if model:
        figures.append(
            Figure("Model", f"{model['model']}@{model['version']}", f"trained {moment(model['trained_at'])}")
        )
    figures.append(
        Figure(
            "Decided",
            moment(decision["ts"]) if decision.get("ts") else moment(found["request"]["ts"]),
            f"by {found['endpoint']}",
        )
    )
    where = [(k, text(v)) for k, v in place.items()]
    return {
        "figures": figures,
        "request": [(k, moment(v) if k == "ts" else text(v)) for k, v in found["request"].items()],
        "place": where,
        "features": [_feature(f) for f in found["features"]],
    }


def _feature(f: Mapping[str, Any]) -> Values:
    rows = f.get("rows") or []
    columns = list(rows[0]) if rows else []
    cells = [[moment(r[c]) if c in ("time", "arrived_at") and r[c] else text(r[c]) for c in columns] for r in rows]
    right = {c for c in columns if any(isinstance(r[c], int | float) for r in rows)}
    count = f.get("count") or 0
    shown = f"; the newest {len(rows)} are shown" if count > len(rows) else ""
    return {
        "column": f["column"],
        "value": text(f["value"]),
        "reason": f.get("reason"),
        "what": f.get("what", ""),
        "grid": Grid(columns, cells, f"rows-{f['column']}", right) if rows else None,
        "summary": f"computed from {count:,} row{'' if count == 1 else 's'}{shown}",
    }
