"""What each page shows. A view takes the workspace and the request and returns the values of its template."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from starlette.requests import Request

from millstream.app import lookup
from millstream.app.console import charts
from millstream.app.console.graph import Node, layout
from millstream.app.workspace import Workspace
from millstream.declare.errors import MillstreamError, NotFound
from millstream.declare.noun import Noun

Values = dict[str, Any]
PAGES = {
    "table": "tables",
    "stream": "tables",
    "training_set": "tables",
    "model": "models",
    "experiment": "experiments",
    "endpoint": "endpoints",
    "monitor": "monitors",
}
_rates: dict[tuple[int, str], tuple[float, int, float]] = {}


def link(noun: Noun) -> str:
    """The page of a noun."""
    return f"/{PAGES.get(noun.kind, noun.kind)}/{noun.name}"


def _rate(ws: Workspace, name: str, end: int) -> float:
    """Events a second since the page was last asked for, smoothed; from the ends of the log."""
    now, key = time.monotonic(), (id(ws), name)
    then, before, smooth = _rates.get(key, (now, end, 0.0))
    if now - then < 0.5:
        return smooth
    fresh = (end - before) / (now - then)
    smooth = fresh if not smooth else 0.5 * smooth + 0.5 * fresh
    _rates[key] = (now, end, smooth)
    return smooth


def home(ws: Workspace, request: Request) -> Values:
    streams = lookup.streams(ws)
    rates = {s["stream"]: _rate(ws, s["stream"], s["end"]) for s in streams}
    project, graph = ws.project, ws.project.graph
    names = [n for n in graph.order() if n in project.by_name and project.by_name[n].kind not in ("source", "monitor")]
    nodes = [Node(n, project.by_name[n].kind, link(project.by_name[n])) for n in names]
    drawing = layout(nodes, [(u, n) for n in names for u in graph.upstream(n)])
    notes = {s["stream"]: f"{rates[s['stream']]:,.0f}/s · {s['behind']:,} behind" for s in streams}
    verdicts = [v for m in project.monitors for v in ws.verdicts(m, latest=True)]
    wrong = sum(v["status"] in ("violated", "drifted") for v in verdicts)
    figures = [
        {"name": "events in the lake", "value": f"{sum(s['in the lake'] for s in streams):,}", "unit": ""},
        {"name": "rate", "value": f"{sum(rates.values()):,.0f}", "unit": "events/s"},
        {"name": "behind", "value": f"{sum(s['behind'] for s in streams):,}", "unit": "records to land"},
        {"name": "monitors", "value": f"{len(verdicts) - wrong} ok", "unit": f"{wrong} not" if wrong else ""},
    ]
    kinds: dict[str, int] = {}
    for noun in project.nouns:
        kinds[noun.kind] = kinds.get(noun.kind, 0) + 1
    lead = ", ".join(f"{n} {kind.replace('_', ' ')}{'s' if n > 1 and kind != 'features' else ''}" for kind, n in kinds.items())
    runs = [
        {"id": r["run"], "status": r["status"], "made": r["made"], "seconds": r["seconds"], "started": r["started"].replace("T", " ")}
        for r in lookup.runs(ws, 6)
    ]
    rows = [
        [s["stream"], f"{s['in the log']:,}", f"{s['in the lake']:,}", f"{s['behind']:,}", f"{rates[s['stream']]:,.0f}", s["newest event"]] for s in streams
    ]
    return {"title": "Overview", "lead": lead, "figures": figures, "drawing": drawing, "notes": notes, "streams": rows, "runs": runs}


def _list(title: str, lead: str, rows: list[dict[str, Any]], base: str, empty: str, first: str | None = None) -> Values:
    columns = list(rows[0]) if rows else []
    right = [c for c in columns if isinstance(rows[0][c], int | float)]
    cells = [{"cells": [_show(r[c]) for c in columns], "link": f"{base}/{r[first or columns[0]]}"} for r in rows]
    return {"title": title, "lead": lead, "columns": columns, "right": right, "rows": cells, "empty": empty}


def _show(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return str(value)


def tables(ws: Workspace, request: Request) -> Values:
    return _list(
        "Tables",
        "Every table of the lake: streams as they landed, what SQL made of them, training sets, dead letters.",
        lookup.tables(ws),
        "/tables",
        "Nothing has landed yet.",
    )


def table(ws: Workspace, request: Request) -> Values:
    from millstream.transform.explore import fragment
    from millstream.transform.profile import profile

    name = request.path_params["name"]
    if not ws.lake.exists(name):
        raise NotFound(f'no table "{name}" in the lake yet')
    found = ws.lake.table(name)
    noun = ws.project.by_name.get(name)
    sections: list[Values] = [{"title": "Profile", "html": fragment(profile(ws.sql, found.snapshot(), sample=200_000))}]
    sql = getattr(noun, "sql", None)
    if sql:
        sections.append({"title": "Definition", "code": sql.strip()})
    sample = lookup.ask(ws, f'select * from "{name}" limit 20', 20)
    sections.append({"title": "Rows", "columns": sample.column_names, "right": [], "rows": [[_show(v) for v in r.values()] for r in sample.to_pylist()]})
    history = [[str(h["version"]), h["operation"], h["at"], f"{h['rows']:,}"] for h in found.history()[:12]]
    sections.append({"title": "History", "columns": ["version", "operation", "at", "rows"], "right": ["version", "rows"], "rows": history})
    figures = [
        {"name": "rows", "value": f"{found.rows():,}", "unit": ""},
        {"name": "bytes", "value": f"{found.bytes():,}", "unit": ""},
        {"name": "version", "value": found.version, "unit": ""},
    ]
    return {"title": name, "kind": noun.kind.replace("_", " ") if noun else "table", "lead": noun.doc if noun else "", "figures": figures, "sections": sections}


def sql(ws: Workspace, request: Request) -> Values:
    query, names = request.query_params.get("query", ""), ws.lake.names()
    values: Values = {"title": "SQL", "query": query or (f"select * from {names[0]} limit 10" if names else ""), "tables": names, "error": "", "columns": []}
    if not query:
        return values
    begun = time.perf_counter()
    try:
        found = lookup.ask(ws, query, 501)
    except MillstreamError as error:
        return values | {"error": str(error)}
    numeric = [f.name for f in found.schema if str(f.type).startswith(("int", "uint", "double", "float", "decimal"))]
    rows = [[_show(v) for v in r.values()] for r in found.slice(0, 500).to_pylist()]
    return values | {
        "columns": found.column_names,
        "rows": rows,
        "numeric": numeric,
        "more": found.num_rows > 500,
        "milliseconds": round(1000 * (time.perf_counter() - begun)),
    }


def runs(ws: Workspace, request: Request) -> Values:
    return _list("Runs", "What was brought up to date, newest first.", lookup.runs(ws, 100), "/runs", "No run yet: millstream run")


def run(ws: Workspace, request: Request) -> Values:
    found = lookup.run(ws, request.path_params["name"])
    rows = [
        [r["name"], r["kind"], r["status"], f"{r['seconds']:.2f}", f"{r['rows']:,}" if r.get("rows") else "", r["error"] or r["note"]]
        for r in found.get("results", [])
    ]
    section = {"title": "Steps", "columns": ["asset", "kind", "status", "seconds", "rows", "found"], "right": ["seconds", "rows"], "rows": rows}
    return {"title": found["run"], "kind": "run", "lead": f"{found['status']}, started {found['started_at'][:19].replace('T', ' ')} UTC", "sections": [section]}


def models(ws: Workspace, request: Request) -> Values:
    return _list("Models", "Every version, newest first: champion serves, challenger missed its promotion.", lookup.models(ws), "/models", "No model yet.")


def model(ws: Workspace, request: Request) -> Values:
    found = lookup.model(ws, request.path_params["name"])
    sections: list[Values] = []
    plain = [[k, _show(v)] for k, v in found.items() if not isinstance(v, dict | list)]
    sections.append({"title": "Version", "columns": ["what", "value"], "right": [], "rows": plain})
    for key, value in found.items():
        if isinstance(value, dict):
            sections.append(
                {"title": key.replace("_", " ").capitalize(), "columns": ["name", "value"], "right": [], "rows": [[k, _show(v)] for k, v in value.items()]}
            )
        elif isinstance(value, list):
            sections.append({"title": key.replace("_", " ").capitalize(), "columns": [key], "right": [], "rows": [[_show(v)] for v in value]})
    return {
        "title": request.path_params["name"],
        "kind": "model",
        "lead": ws.project.by_name[request.path_params["name"].partition("@")[0]].doc,
        "sections": sections,
    }


def experiments(ws: Workspace, request: Request) -> Values:
    return _list("Experiments", "Which arm, and is it better.", lookup.experiments(ws), "/experiments", "No experiment is declared.")


def experiment(ws: Workspace, request: Request) -> Values:
    from millstream.app import experiments as rooms

    name = request.path_params["name"]
    if name not in ws.project.experiments:
        raise NotFound(f'no experiment "{name}"')
    found = rooms.analyse(ws, ws.project.experiments[name])
    rows = [[a["arm"], f"{a['units']:,}", f"{a['share']:.1%}", _show(a["mean"]), _show(a.get("effect")),
             f"{a['low']:+.4f} to {a['high']:+.4f}" if a.get("low") is not None else ""] for a in found["arms"]]  # fmt: skip
    drawn = [{"title": "Share of each arm, day by day", "svg": charts.lines(found["shares"], label="Share of each arm over time", low=0.0, high=1.0)}]
    if found.get("rewards"):
        drawn.append({"title": "Mean reward, day by day", "svg": charts.lines(found["rewards"], label="Mean reward of each arm over time")})
    sections = [{"title": "Arms", "text": found["verdict"], "columns": ["arm", "units", "share", "reward", "effect", "95 % interval"],
                 "right": ["units", "share", "reward", "effect"], "rows": rows}, {"title": "Over time", "charts": drawn}]  # fmt: skip
    figures = [{"name": "method", "value": found["method"], "unit": ""}, {"name": "phase", "value": found["phase"], "unit": found["status"]},
               {"name": "sample ratio", "value": found["ratio"], "unit": ""}]  # fmt: skip
    return {"title": name, "kind": "experiment", "lead": ws.project.experiments[name].doc, "figures": figures, "sections": sections}


def endpoints(ws: Workspace, request: Request) -> Values:
    return _list("Endpoints", "What answers requests; decisions are one more stream.", lookup.endpoints(ws), "/endpoints", "No endpoint is declared.")


def endpoint(ws: Workspace, request: Request) -> Values:
    name = request.path_params["name"]
    found = lookup.endpoint(ws, name)
    noun = ws.project.endpoints[name]
    fields = [[f.name, f.kind + ("?" if f.nullable else ""), f.doc] for f in noun.event.__schema__.fields] if noun.event else []
    figures = [{"name": k, "value": _show(found[k]), "unit": ""} for k in ("decisions", "outcomes", "unjudged")]
    sections: list[Values] = [{"title": f"POST /v1/predict/{name}", "columns": ["field", "type", "meaning"], "right": [], "rows": fields}]
    if ws.lake.exists(noun.decisions):
        recent = lookup.ask(ws, f'select decision_id, ts, arm, model, prediction from "{noun.decisions}" order by ts desc limit 15', 15).to_pylist()
        sections.append({"title": "Latest decisions", "columns": ["decision", "time", "arm", "model", "prediction"], "right": ["prediction"],
                         "rows": [[{"text": r["decision_id"], "link": f"/trace?id={r['decision_id']}"}, _show(r["ts"]), r["arm"], r["model"], _show(r["prediction"])] for r in recent]})  # fmt: skip
    return {"title": name, "kind": "endpoint", "lead": noun.doc, "figures": figures, "sections": sections}


def monitors(ws: Workspace, request: Request) -> Values:
    rows = []
    for name, noun in ws.project.monitors.items():
        latest = ws.verdicts(name, latest=True)
        worst = next((s for s in ("violated", "drifted", "unknown", "ok") if any(v["status"] == s for v in latest)), "unknown")
        rows.append(
            {
                "monitor": name,
                "target": noun.target.name,
                "status": worst,
                "severity": noun.severity,
                "found": "; ".join(v["message"] for v in latest),
                "looked": latest[0]["at"][:19] if latest else "never",
            }
        )
    return _list("Monitors", "Is it well, and why not.", rows, "/monitors", "No monitor is declared.")


def monitor(ws: Workspace, request: Request) -> Values:
    name = request.path_params["name"]
    if name not in ws.project.monitors:
        raise NotFound(f'no monitor "{name}"')
    history = ws.verdicts(name)
    noun = ws.project.monitors[name]
    sections: list[Values] = [
        {
            "title": "What was found",
            "columns": ["at", "check", "status", "found"],
            "right": [],
            "rows": [[v["at"][:19], v["check"], v["status"], v["message"]] for v in history[:60]],
        }
    ]
    for verdict in ws.verdicts(name, latest=True):
        columns = verdict.get("details", {}).get("columns")
        if columns:
            ranked = sorted(columns.items(), key=lambda item: -(item[1].get("distance") or 0))
            sections.append({"title": f"{verdict['check']} by column", "columns": ["column", "distance", "status"], "right": ["distance"],
                             "rows": [[c, _show(d.get("distance")), d.get("status", "")] for c, d in ranked]})  # fmt: skip
    return {
        "title": name,
        "kind": f"monitor of {noun.target.kind} {noun.target.name}",
        "lead": f"every {noun.every_us // 60_000_000} min, severity {noun.severity}",
        "sections": sections,
    }


def trace(ws: Workspace, request: Request) -> Values:
    wanted = request.query_params.get("id", "").strip()
    values: Values = {"title": "Trace", "id": wanted, "error": "", "recent": [], "trace": None}
    if not wanted:
        for name, noun in ws.project.endpoints.items():
            if ws.lake.exists(noun.decisions):
                rows = lookup.ask(ws, f'select decision_id, ts, arm, prediction from "{noun.decisions}" order by ts desc limit 12', 12).to_pylist()
                values["recent"] += [
                    {"id": r["decision_id"], "endpoint": name, "ts": _show(r["ts"]), "arm": r["arm"], "prediction": _show(r["prediction"])} for r in rows
                ]
        return values
    try:
        found = lookup.trace(ws, wanted).to_dict()
    except MillstreamError as error:
        return values | {"error": str(error)}
    return values | {"trace": _trace(found)}


def _trace(found: Values) -> Values:
    decision = found["decision"]
    figures = [{"name": k, "value": _show(decision.get(k)), "unit": ""} for k in ("prediction", "arm", "model", "version", "ts") if decision.get(k) is not None]
    features = []
    for f in found["features"]:
        rows = f.get("rows", [])
        columns = list(rows[0]) if rows else []
        features.append({"column": f["column"], "value": f["value"], "reason": f.get("reason"), "what": f.get("what", ""), "columns": columns,
                         "rows": [[_show(r[c]) for c in columns] for r in rows[:50]], "summary": f"{f.get('count', len(rows)):,} rows it was made from"})  # fmt: skip
    return {"figures": figures, "features": features}


def noun(ws: Workspace, request: Request) -> Values:
    name = request.path_params["name"]
    found = ws.project.by_name.get(name)
    if found is None:
        raise NotFound(f'nothing is called "{name}"')
    graph = ws.project.graph
    around = [
        [{"text": n, "link": link(ws.project.by_name[n])}, way]
        for way, names in (("made from", graph.upstream(name)), ("used by", graph.downstream(name)))
        for n in names
        if n in ws.project.by_name
    ]
    sections: list[Values] = [{"title": "Around it", "columns": ["noun", "way"], "right": [], "rows": around}]
    if found.kind == "features":
        definition = ws.definition(found)  # type: ignore[arg-type]
        applied = ws.online.applied(definition.generation)
        sections.append({"title": "Outputs", "columns": ["column"], "right": [], "rows": [[c] for c in found.columns()]})  # type: ignore[attr-defined]
        if applied is not None:
            sections.append(
                {
                    "title": "Online",
                    "columns": ["partition", "next offset"],
                    "right": ["next offset"],
                    "rows": [[str(p), f"{o:,}"] for p, o in sorted(applied.offsets.items())],
                }
            )
    return {"title": name, "kind": found.kind.replace("_", " "), "lead": found.doc + (f" ({found.place})" if found.place else ""), "sections": sections}
