"""Pages of what is live: experiments, endpoints, monitors, and the trace of one prediction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request

from millstream.app import lookup
from millstream.app.console import charts
from millstream.app.console.show import Bar, Figure, Grid, Link, Section, Tag, Values, grid, rate, text
from millstream.app.console.tables import around, fields
from millstream.base.errors import NotFound
from millstream.base.words import choices
from millstream.declare.endpoint import Endpoint
from millstream.run.workspace import Workspace

METHODS = {"ab": "A/B", "thompson": "Thompson sampling", "epsilon_greedy": "epsilon-greedy"}
NOT_DECIDED = "No decision has landed yet: `millstream up` answers requests and lands what was decided."


def experiments(ws: Workspace, request: Request) -> Values:
    rows = [
        {k: Link(v, f"/experiments/{v}") if k == "experiment" else Tag(v) if k == "status" else v for k, v in r.items()}
        for r in lookup.experiments(ws)
    ]
    return {
        "title": "Experiments",
        "lead": "Which arm, and is it better.",
        "grid": grid(
            rows, name="list", empty="No experiment is declared: `ms.experiment` makes one of arms and a reward."
        ),
    }


def experiment(ws: Workspace, request: Request) -> Values:
    from millstream.app import experiments as rooms
    from millstream.experiment import report

    name = request.path_params["name"]
    if name not in ws.project.experiments:
        raise NotFound(f'no experiment "{name}"; {choices(name, ws.project.experiments)}')
    noun = ws.project.experiments[name]
    asked = request.query_params.get("phase", "")
    found = rooms.analyse(ws, noun, int(asked) if asked.isdecimal() and asked.isascii() and len(asked) < 10 else None)
    figures = [
        Figure("Method", METHODS.get(found["method"], found["method"])),
        Figure("Phase", str(found["phase"] or "–"), "" if found["phase"] else "not started"),
        Figure(
            "Traffic",
            f"{100 * noun.traffic[0]:g} to {100 * noun.traffic[1]:g} %",
            f"of layer {noun.layer}" if noun.layer else "",
        ),
        _shares(found),
    ]
    sections = [Section("Arms", f"{found['verdict']} {found['counted']}".strip(), grid=_arms(found, noun.name))]
    if found["shares"]:
        sections.append(
            Section(
                "Over time",
                charts=[
                    (
                        "Share of each arm",
                        charts.lines(
                            found["shares"],
                            label="Share of each arm over time",
                            low=0.0,
                            high=1.0,
                            x_name="day of the phase",
                            y_name="share",
                        ),
                    ),
                    *(
                        [
                            (
                                "Mean reward",
                                charts.lines(
                                    found["rewards"],
                                    label="Mean reward of each arm over time",
                                    x_name="day of the phase",
                                    y_name="reward",
                                ),
                            )
                        ]
                        if found.get("rewards")
                        else []
                    ),
                ],
            )
        )
    if noun.guardrails:
        told = [
            (
                [
                    e["metric"],
                    e["treatment"],
                    e["control"],
                    f"{e['difference']:+.4f}",
                    f"{e['low']:+.4f} to {e['high']:+.4f}",
                    f"{e['p']:.2g}",
                    Tag(e["verdict"]),
                ]
                if e.get("p") is not None and e["low"] is not None
                else [e["metric"], e["treatment"], e["control"], None, None, None, Tag(e["verdict"])]
            )
            for e in found["effects"]
        ]
        sections.append(
            Section(
                "Effects",
                grid=Grid(
                    ["metric", "arm", "beside", "difference", "95 % interval", "p", "verdict"],
                    told,
                    "effects",
                    ("difference", "p"),
                ),
            )
        )
    if len(found["phases"]) > 1:
        told = [
            [Link(row[0], f"/experiments/{name}?phase={row[0]}"), Tag(row[1]), *row[2:]]
            for row in report.phase_rows(found)
        ]
        sections.append(Section("Phases", grid=Grid(list(report.PHASES), told, "phases")))
    return {
        "title": name,
        "kind": "experiment",
        "tag": Tag(found["status"]),
        "lead": noun.doc,
        "figures": figures,
        "sections": [*sections, *around(ws, noun)],
    }


def _shares(found: Mapping[str, Any]) -> Figure:
    """Whether the arms have the shares they should; a bandit's move on purpose."""
    if found["srm"] is None:
        return Figure("Shares", "adaptive" if found["ratio"] else "–", found["ratio"])
    well = "not as weighed" not in found["ratio"]
    return Figure(
        "Shares", "as weighed" if well else "not as weighed", f"p = {found['srm']['p']:.2g}", "" if well else "bad"
    )


def _arms(found: Mapping[str, Any], name: str) -> Grid:
    """What decides comes first: a phone shows the first few columns, and the rest by scrolling."""
    bandit = found["srm"] is None
    rows = [
        {"arm": a["arm"]}
        | (
            {"chosen with": f"{a['probability']:.1%}"}
            if bandit
            else {
                "effect": "control" if a["control"] else None if a["effect"] is None else f"{a['effect']:+.4f}",
                "95 % interval": f"{a['low']:+.4f} to {a['high']:+.4f}" if a["low"] is not None else "",
            }
        )
        | {
            "reward": a["mean"],
            "share": Bar(a["share"]),
            "units": a["units"],
            "decisions": a["decisions"],
            "missing": a["missing"],
            "gives": a["model"] or text(a["value"]),
        }
        for a in found["arms"]
    ]
    made = grid(
        rows, name="arms", empty=f"No unit has been assigned: `millstream experiment start {name}` begins a phase."
    )
    return Grid(made.columns, made.rows, made.name, {*made.right, "chosen with", "effect"}, (), made.empty)


def endpoints(ws: Workspace, request: Request) -> Values:
    rows = [
        {k: Link(v, f"/endpoints/{v}") if k == "endpoint" else v for k, v in r.items()} for r in lookup.endpoints(ws)
    ]
    return {
        "title": "Endpoints",
        "lead": "What answers requests. Decisions are one more stream.",
        "grid": grid(
            rows, name="list", empty="No endpoint is declared: `ms.endpoint` puts a model or an experiment behind HTTP."
        ),
    }


def endpoint(ws: Workspace, request: Request) -> Values:
    name = request.path_params["name"]
    found = lookup.endpoint(ws, name)
    noun = ws.project.endpoints[name]
    ends = ws.log.ends(noun.decisions) if ws.log.topic(noun.decisions) else {}
    speed = request.app.state.rates.see(noun.decisions, sum(e.high for e in ends.values()))
    figures = [
        Figure("Decisions", f"{found['decisions']:,}", "in the lake"),
        Figure("Coming in", rate(speed), "decisions/s"),
        Figure("Outcomes", f"{found['outcomes']:,}", "mature and judged"),
        Figure("Unjudged", f"{found['unjudged']:,}", "mature, not judged yet"),
    ]
    sections = [Section("Latest decisions", grid=decisions_grid(ws, [noun], 15, which=False))]
    if noun.event:
        sections.append(Section(f"POST /v1/predict/{name}", code=_example(ws, noun), grid=fields(noun.event)))
    return {
        "title": name,
        "kind": "endpoint",
        "lead": noun.doc,
        "figures": figures,
        "sections": [*sections, *around(ws, noun)],
    }


def _example(ws: Workspace, noun: Endpoint[Any, Any]) -> str:
    """A request to copy: the latest one that has landed, else one with a value of each type."""
    assert noun.event is not None
    told = [f for f in noun.event.__schema__.fields if f.role != "event_time"]
    made: dict[str, Any] = {
        f.name: f.symbols[0] if f.symbols else {"int64": 1, "float64": 1.0, "bool": True}.get(f.kind, f.name)
        for f in told
    }
    if ws.lake.exists(noun.decisions):
        columns = ", ".join(f'"{f.name}"' for f in told)
        latest = lookup.ask(ws, f'select {columns} from "{noun.decisions}" order by ts desc limit 1', 1).to_pylist()
        made = latest[0] if latest else made
    port = ws.settings.serve_port
    body = json.dumps(made, default=str, ensure_ascii=False).replace("'", "'\\''")
    return f"curl -s http://127.0.0.1:{port}/v1/predict/{noun.name} \\\n  -d '{body}'"


def decisions_grid(ws: Workspace, nouns: Sequence[Endpoint[Any, Any]], most: int, which: bool = True) -> Grid:
    rows: list[dict[str, Any]] = []
    for noun in nouns:
        if ws.lake.exists(noun.decisions):
            query = (
                f'select decision_id, ts, experiment, arm, model, version, prediction from "{noun.decisions}" order by'
                f" ts desc limit {most}"
            )
            rows += [
                {"decision": Link(r["decision_id"], f"/trace?id={r['decision_id']}", mono=True)}
                | ({"endpoint": noun.name} if which else {})
                | {
                    "time": r["ts"],
                    "experiment": r["experiment"] or "",
                    "arm": r["arm"] or "",
                    "model": f"{r['model']}@{r['version']}" if r["model"] else "",
                    "prediction": r["prediction"],
                }
                for r in lookup.ask(ws, query, most).to_pylist()
            ]
    return grid(rows, name="decisions", empty=NOT_DECIDED)
