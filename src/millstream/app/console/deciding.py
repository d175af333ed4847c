"""Pages of what is live: experiments, endpoints, monitors, and the trace of one prediction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request

from millstream.app import lookup
from millstream.app.console import charts
from millstream.app.console.show import Bar, Figure, Grid, Link, Section, Tag, Values, grid, link, moment, number, rate, text
from millstream.app.console.tables import around, fields
from millstream.base.errors import MillstreamError, NotFound
from millstream.base.words import choices
from millstream.declare.endpoint import Endpoint
from millstream.run.workspace import Workspace

METHODS = {"ab": "A/B", "thompson": "Thompson sampling", "epsilon_greedy": "epsilon-greedy"}
NOT_DECIDED = "No decision has landed yet: `millstream up` answers requests and lands what was decided."


def experiments(ws: Workspace, request: Request) -> Values:
    rows = [{k: Link(v, f"/experiments/{v}") if k == "experiment" else Tag(v) if k == "status" else v for k, v in r.items()} for r in lookup.experiments(ws)]
    return {"title": "Experiments", "lead": "Which arm, and is it better.",
            "grid": grid(rows, name="list", empty="No experiment is declared: `ms.experiment` makes one of arms and a reward.")}  # fmt: skip


def experiment(ws: Workspace, request: Request) -> Values:
    from millstream.app import experiments as rooms
    from millstream.experiment import report

    name = request.path_params["name"]
    if name not in ws.project.experiments:
        raise NotFound(f'no experiment "{name}"; {choices(name, ws.project.experiments)}')
    noun = ws.project.experiments[name]
    asked = request.query_params.get("phase", "")
    found = rooms.analyse(ws, noun, int(asked) if asked.isdecimal() and asked.isascii() and len(asked) < 10 else None)
    figures = [Figure("Method", METHODS.get(found["method"], found["method"])), Figure("Phase", str(found["phase"] or "–"), "" if found["phase"] else "not started"),
               Figure("Traffic", f"{100 * noun.traffic[0]:g} to {100 * noun.traffic[1]:g} %", f"of layer {noun.layer}" if noun.layer else ""), _shares(found)]  # fmt: skip
    sections = [Section("Arms", f"{found['verdict']} {found['counted']}".strip(), grid=_arms(found, noun.name))]
    if found["shares"]:
        sections.append(Section("Over time", charts=[
            ("Share of each arm", charts.lines(found["shares"], label="Share of each arm over time", low=0.0, high=1.0, x_name="day of the phase", y_name="share")),
            *([("Mean reward", charts.lines(found["rewards"], label="Mean reward of each arm over time", x_name="day of the phase", y_name="reward"))]
              if found.get("rewards") else [])]))  # fmt: skip
    if noun.guardrails:
        told = [[e["metric"], e["treatment"], e["control"], f"{e['difference']:+.4f}", f"{e['low']:+.4f} to {e['high']:+.4f}", f"{e['p']:.2g}", Tag(e["verdict"])]
                if e.get("p") is not None and e["low"] is not None else [e["metric"], e["treatment"], e["control"], None, None, None, Tag(e["verdict"])]
                for e in found["effects"]]  # fmt: skip
        sections.append(
            Section("Effects", grid=Grid(["metric", "arm", "beside", "difference", "95 % interval", "p", "verdict"], told, "effects", ("difference", "p")))
        )
    if len(found["phases"]) > 1:
        told = [[Link(row[0], f"/experiments/{name}?phase={row[0]}"), Tag(row[1]), *row[2:]] for row in report.phase_rows(found)]
        sections.append(Section("Phases", grid=Grid(list(report.PHASES), told, "phases")))
    return {"title": name, "kind": "experiment", "tag": Tag(found["status"]), "lead": noun.doc, "figures": figures, "sections": [*sections, *around(ws, noun)]}


def _shares(found: Mapping[str, Any]) -> Figure:
    """Whether the arms have the shares they should; a bandit's move on purpose."""
    if found["srm"] is None:
        return Figure("Shares", "adaptive" if found["ratio"] else "–", found["ratio"])
    well = "not as weighed" not in found["ratio"]
    return Figure("Shares", "as weighed" if well else "not as weighed", f"p = {found['srm']['p']:.2g}", "" if well else "bad")


def _arms(found: Mapping[str, Any], name: str) -> Grid:
    """What decides comes first: a phone shows the first few columns, and the rest by scrolling."""
    bandit = found["srm"] is None
    rows = [{"arm": a["arm"]}
            | ({"chosen with": f"{a['probability']:.1%}"} if bandit else
               {"effect": "control" if a["control"] else None if a["effect"] is None else f"{a['effect']:+.4f}",
                "95 % interval": f"{a['low']:+.4f} to {a['high']:+.4f}" if a["low"] is not None else ""})
            | {"reward": a["mean"], "share": Bar(a["share"]), "units": a["units"], "decisions": a["decisions"], "missing": a["missing"],
               "gives": a["model"] or text(a["value"])} for a in found["arms"]]  # fmt: skip
    made = grid(rows, name="arms", empty=f"No unit has been assigned: `millstream experiment start {name}` begins a phase.")
    return Grid(made.columns, made.rows, made.name, {*made.right, "chosen with", "effect"}, (), made.empty)


def endpoints(ws: Workspace, request: Request) -> Values:
    rows = [{k: Link(v, f"/endpoints/{v}") if k == "endpoint" else v for k, v in r.items()} for r in lookup.endpoints(ws)]
    return {"title": "Endpoints", "lead": "What answers requests. Decisions are one more stream.",
            "grid": grid(rows, name="list", empty="No endpoint is declared: `ms.endpoint` puts a model or an experiment behind HTTP.")}  # fmt: skip


def endpoint(ws: Workspace, request: Request) -> Values:
    name = request.path_params["name"]
    found = lookup.endpoint(ws, name)
    noun = ws.project.endpoints[name]
    ends = ws.log.ends(noun.decisions) if ws.log.topic(noun.decisions) else {}
    speed = request.app.state.rates.see(noun.decisions, sum(e.high for e in ends.values()))
    figures = [Figure("Decisions", f"{found['decisions']:,}", "in the lake"), Figure("Coming in", rate(speed), "decisions/s"),
               Figure("Outcomes", f"{found['outcomes']:,}", "mature and judged"), Figure("Unjudged", f"{found['unjudged']:,}", "mature, not judged yet")]  # fmt: skip
    sections = [Section("Latest decisions", grid=_decisions(ws, [noun], 15, which=False))]
    if noun.event:
        sections.append(Section(f"POST /v1/predict/{name}", code=_example(ws, noun), grid=fields(noun.event)))
    return {"title": name, "kind": "endpoint", "lead": noun.doc, "figures": figures, "sections": [*sections, *around(ws, noun)]}


def _example(ws: Workspace, noun: Endpoint[Any, Any]) -> str:
    """A request to copy: the latest one that has landed, else one with a value of each type."""
    assert noun.event is not None
    told = [f for f in noun.event.__schema__.fields if f.role != "event_time"]
    made: dict[str, Any] = {f.name: f.symbols[0] if f.symbols else {"int64": 1, "float64": 1.0, "bool": True}.get(f.kind, f.name) for f in told}
    if ws.lake.exists(noun.decisions):
        columns = ", ".join(f'"{f.name}"' for f in told)
        latest = lookup.ask(ws, f'select {columns} from "{noun.decisions}" order by ts desc limit 1', 1).to_pylist()
        made = latest[0] if latest else made
    port = ws.settings.serve_port
    body = json.dumps(made, default=str, ensure_ascii=False).replace("'", "'\\''")
    return f"curl -s http://127.0.0.1:{port}/v1/predict/{noun.name} \\\n  -d '{body}'"


def _decisions(ws: Workspace, nouns: Sequence[Endpoint[Any, Any]], most: int, which: bool = True) -> Grid:
    rows: list[dict[str, Any]] = []
    for noun in nouns:
        if ws.lake.exists(noun.decisions):
            query = f'select decision_id, ts, experiment, arm, model, version, prediction from "{noun.decisions}" order by ts desc limit {most}'
            rows += [{"decision": Link(r["decision_id"], f"/trace?id={r['decision_id']}", mono=True)} | ({"endpoint": noun.name} if which else {}) | {"time": r["ts"],
                      "experiment": r["experiment"] or "", "arm": r["arm"] or "", "model": f"{r['model']}@{r['version']}" if r["model"] else "",
                      "prediction": r["prediction"]} for r in lookup.ask(ws, query, most).to_pylist()]  # fmt: skip
    return grid(rows, name="decisions", empty=NOT_DECIDED)


def monitors(ws: Workspace, request: Request) -> Values:
    rows = []
    for name, noun in ws.project.monitors.items():
        latest = ws.monitors.verdicts(name, latest=True)
        worst = next((s for s in ("violated", "drifted", "unknown", "ok") if any(v["status"] == s for v in latest)), "unknown")
        rows.append({"monitor": Link(name, f"/monitors/{name}"), "status": Tag(worst), "watches": Link(noun.target.name, link(noun.target)), "severity": noun.severity,
                     "found": "; ".join(v["message"] for v in latest) or "never looked: millstream monitor", "looked": latest[0]["at"][:19] if latest else ""})  # fmt: skip
    return {"title": "Monitors", "lead": "Is it well, and why not.",
            "grid": grid(rows, name="list", wide=("found",), empty="No monitor is declared: `ms.monitor` watches a stream, a table, a model or an endpoint.")}  # fmt: skip


def monitor(ws: Workspace, request: Request) -> Values:
    name = request.path_params["name"]
    if name not in ws.project.monitors:
        raise NotFound(f'no monitor "{name}"; {choices(name, ws.project.monitors)}')
    noun = ws.project.monitors[name]
    latest = ws.monitors.verdicts(name, latest=True)
    now = [[v["check"], Tag(v["status"]), v["message"], moment(v["at"])] for v in latest]
    hint = f"Nobody has looked yet: `millstream monitor {name}` does, and `millstream up` keeps looking."
    sections = [Section("Now", grid=Grid(["check", "status", "found", "at"], now, "now", wide=("found",), empty=hint))]
    sections += [Section(f"{v['check'].capitalize()} by column", _amounts(v), distances(v)) for v in latest if v.get("details", {}).get("distances")]
    history = [[moment(v["at"]), v["check"], Tag(v["status"]), v["message"]] for v in ws.monitors.verdicts(name)[:60]]
    if len(history) > len(now):
        sections.append(Section("Before", grid=Grid(["at", "check", "status", "found"], history, "before", wide=("found",))))
    every = noun.every_us / 60_000_000
    return {"title": name, "kind": f"monitor of {noun.target.kind.replace('_', ' ')} {noun.target.name}", "sections": [*sections, *around(ws, noun)],
            "lead": f"Looks every {number(every)} minute{'' if every == 1 else 's'}; severity {noun.severity}."}  # fmt: skip


def _amounts(verdict: Mapping[str, Any]) -> str:
    details = verdict["details"]
    rows = f"{details['window_rows']:,} rows now beside {details['reference_rows']:,} of the training set. " if "window_rows" in details else ""
    return f"{rows}A column has drifted when its distance is larger than the tolerance and what chance allows together (the mark)."


def distances(verdict: Mapping[str, Any]) -> Grid:
    """How far each column has moved, the furthest beyond its allowance first."""
    from millstream.watch.drift import WORDS

    tolerance = verdict.get("bound") or 0.0
    rows = [[d["column"] + (f" of {d['of']}" if d.get("of") else ""), WORDS.get(d["kind"], d["kind"]), Bar(d["value"], tolerance + d["allowance"], "bad" if d["status"] == "drifted" else ""),
             f"{d['allowance']:.3f}", Tag(d["status"])] for d in verdict["details"]["distances"]]  # fmt: skip
    return Grid(["column", "compared", "distance", "allowed for chance", "status"], rows, f"distances-{verdict['check']}", ("allowed for chance",))


def trace(ws: Workspace, request: Request) -> Values:
    wanted = request.query_params.get("id", "").strip()
    values: Values = {"title": "Trace", "id": wanted, "error": "", "recent": None, "trace": None}
    if not wanted:
        return values | {"recent": _decisions(ws, list(ws.project.endpoints.values()), 12)}
    try:
        found = lookup.trace(ws, wanted).to_dict()
    except MillstreamError as error:
        return values | {"error": str(error)}
    return values | {"trace": _traced(found)}


def _traced(found: Mapping[str, Any]) -> Values:
    decision, model, place = found["decision"], found["model"], found["place"]
    figures = [Figure("Prediction", str(text(decision.get("prediction")))), Figure("Arm", decision.get("arm") or "default", decision.get("experiment") or "")]
    if model:
        figures.append(Figure("Model", f"{model['model']}@{model['version']}", f"trained {moment(model['trained_at'])}"))
    figures.append(Figure("Decided", moment(decision["ts"]) if decision.get("ts") else moment(found["request"]["ts"]), f"by {found['endpoint']}"))
    where = [(k, text(v)) for k, v in place.items()]
    return {"figures": figures, "request": [(k, moment(v) if k == "ts" else text(v)) for k, v in found["request"].items()], "place": where,
            "features": [_feature(f) for f in found["features"]]}  # fmt: skip


def _feature(f: Mapping[str, Any]) -> Values:
    rows = f.get("rows") or []
    columns = list(rows[0]) if rows else []
    cells = [[moment(r[c]) if c in ("time", "arrived_at") and r[c] else text(r[c]) for c in columns] for r in rows]
    right = {c for c in columns if any(isinstance(r[c], int | float) for r in rows)}
    count = f.get("count") or 0
    shown = f"; the newest {len(rows)} are shown" if count > len(rows) else ""
    return {"column": f["column"], "value": text(f["value"]), "reason": f.get("reason"), "what": f.get("what", ""),
            "grid": Grid(columns, cells, f"rows-{f['column']}", right) if rows else None,
            "summary": f"computed from {count:,} row{'' if count == 1 else 's'}{shown}"}  # fmt: skip
