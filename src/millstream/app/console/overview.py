"""The first page: how much, how fast, how far behind, the graph with the same at each of its boxes, the last runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from starlette.requests import Request

from millstream.app import lookup
from millstream.app.console.graph import Drawing, Node, layout
from millstream.app.console.online import stand
from millstream.app.console.rates import Rates
from millstream.app.console.show import Figure, Grid, Link, Tag, Values, link, moment, rate, run_page, seconds
from millstream.app.each import Each, Rows
from millstream.base.words import counted
from millstream.run.workspace import Workspace

Row = Mapping[str, Any]


def home(ws: Workspace, request: Request) -> Values:
    streams = lookup.streams(ws)
    seen: Rates = request.app.state.rates
    rates = {s["stream"]: seen.see(s["stream"], s["end"]) for s in streams}
    verdicts = [v for name in ws.project.monitors for v in ws.monitors.verdicts(name, latest=True)]
    runs = [
        [
            Link(moment(r["started"]) if r["started"] else r["status"], run_page(r["run"])),
            Tag(r["status"]),
            f"{r['made']:,}",
            seconds(r["seconds"]),
        ]
        for r in lookup.runs(ws, 8)
    ]
    waiting = [
        [*row, moment(since), moment(until) if until else "at the next run"]
        for *row, since, until in _waiting(ws, streams)
    ]
    rows = [
        [
            Link(s["stream"], f"/tables/{s['stream']}"),
            f"{s['in the log']:,}",
            f"{s['in the lake']:,}",
            _behind(s),
            rate(rates[s["stream"]]),
            s["newest event"] or None,
        ]
        for s in streams
    ]
    return {
        "title": "Overview",
        "lead": _lead(ws),
        "figures": _figures(streams, rates, verdicts, len(ws.project.monitors)),
        "drawing": request.app.state.drawing,
        "notes": _notes(ws, streams, rates),
        "marks": _marks(ws, verdicts),
        "streams": Grid(
            ["stream", "in the log", "in the lake", "behind", "events/s", "newest event"],
            rows,
            "streams",
            ("in the log", "in the lake", "behind", "events/s"),
            empty="No stream is declared: add one to `streams.py`.",
        ),
        "waiting": Grid(
            ["part", "name", "why", "since", "next try"], waiting, "waiting", wide=("why",), empty="Nothing has failed."
        ),
        "runs": Grid(
            ["started", "status", "made", "took"],
            runs,
            "runs",
            ("made", "took"),
            empty="No run yet: `millstream run` makes everything that is declared.",
        ),
    }


def _waiting(ws: Workspace, streams: Rows) -> list[tuple[str, str, str, str, str]]:
    """What has failed and waits, and the streams that cannot be looked at."""
    kept = [(w["part"], w["name"], w["why"], w["since"], w["next try"]) for w in lookup.waiting(ws)]
    now = datetime.now(UTC).isoformat()
    return [*kept, *(("stream", name, str(error), now, "") for name, error in streams.failed.items())]


def _lead(ws: Workspace) -> str:
    kinds: dict[str, int] = {}
    for noun in ws.project.nouns:
        kinds[noun.kind] = kinds.get(noun.kind, 0) + 1
    return ", ".join(
        f"{n} {kind.replace('_', ' ')}{'s' if n > 1 and kind != 'features' else ''}" for kind, n in kinds.items()
    )


def _figures(
    streams: Sequence[Row], rates: Mapping[str, float | None], verdicts: Sequence[Row], declared: int
) -> list[Figure]:
    known = [r for r in rates.values() if r is not None]
    behind = sum(s["behind"] for s in streams)
    violated = any(v["status"] == "violated" for v in verdicts)
    wrong = sum(v["status"] in ("violated", "drifted") for v in verdicts)
    unsure = sum(v["status"] == "unknown" for v in verdicts)
    well = f"{len(verdicts) - wrong - unsure} of {len(verdicts)}" if verdicts else "–"
    note = (
        f"ok, {wrong} not"
        if wrong
        else "ok"
        if verdicts
        else "never looked: `millstream monitor`"
        if declared
        else "none is declared"
    )
    return [
        Figure("Events in the lake", f"{sum(s['in the lake'] for s in streams):,}"),
        Figure("Coming in", rate(sum(known) if known else None), "events/s"),
        Figure("Behind", f"{behind:,}", "records to land"),
        Figure("Checks of monitors", well, note, "bad" if violated else "warn" if wrong else ""),
    ]


def draw(ws: Workspace) -> Drawing:
    """Boxes for what events become; an endpoint's decisions stand after it, as one more stream."""
    project, graph = ws.project, ws.project.graph
    names = [n for n in graph.order() if n in project.by_name and project.by_name[n].kind not in ("source", "monitor")]
    nodes = [Node(n, project.by_name[n].kind, link(project.by_name[n])) for n in names]
    edges = [(u, n) for n in names for u in graph.upstream(n)]
    for endpoint in project.endpoints.values():
        nodes.append(Node(endpoint.decisions, "stream", f"/tables/{endpoint.decisions}"))
        edges.append((endpoint.name, endpoint.decisions))
    direct = {s for s, t in edges for e in project.experiments if t == e}
    # An endpoint reaches its models through its experiments: the second way to the same box only crosses lines.
    kept = [
        (s, t) for s, t in edges if not (t in project.endpoints and s in direct and project.endpoints[t].experiments)
    ]
    return layout(nodes, kept)


def _notes(ws: Workspace, streams: Sequence[Row], rates: Mapping[str, float | None]) -> dict[str, str]:
    """What stands below each name: rates and lags of what is live, size or state of the rest."""
    notes = {s["stream"]: f"{rate(rates[s['stream']])}/s · {_behind(s)} behind" for s in streams}
    for noun in ws.project.nouns:
        if noun.kind in ("table", "training_set", "model"):
            doc = ws.state.get("asset", noun.name)
            if doc is None:
                notes[noun.name] = f"{noun.kind.replace('_', ' ')}, not made"
            else:
                notes[noun.name] = _trained(doc.value) if noun.kind == "model" else counted(_rows(ws, noun.name), "row")
    for features in ws.project.features.values():
        each = Each()
        found = each.attempt(features.name, partial(stand, ws, features))
        notes[features.name] = "cannot be looked at" if found is None else found.note
    for row in lookup.experiments(ws):
        notes[row["experiment"]] = f"{row['status']}, phase {row['phase']}" if row["phase"] else "not started"
    for endpoint in ws.project.endpoints.values():
        landed = next((s["end"] for s in streams if s["stream"] == endpoint.decisions), None)
        notes[endpoint.name] = "cannot be looked at" if landed is None else counted(landed, "decision")
    return notes


def _rows(ws: Workspace, table: str) -> int:
    """Of the table as it is: what a build brings may be its newest interval alone."""
    return ws.lake.table(table).rows() if ws.lake.exists(table) else 0


def _trained(value: Row) -> str:
    """`v3 · auc 0.723`, from the record of its making."""
    words = str(value.get("note", "")).split()
    return f"v{value['version']}" + (f" · {words[2]} {words[3]}" if len(words) > 3 and words[0] == "version" else "")


def _marks(ws: Workspace, verdicts: Sequence[Row]) -> dict[str, str]:
    """Noun -> the worst that its monitors say of it."""
    ranks = ("violated", "drifted", "unknown", "ok")
    marks: dict[str, str] = {}
    for v in verdicts:
        if v["status"] in ranks:
            marks[v["target"]] = min(marks.get(v["target"], "ok"), v["status"], key=ranks.index)
    return marks


def _behind(stream: Mapping[str, Any]) -> str:
    """Records that have not landed, and whether a sink could have landed more."""
    held = f" and {stream['held']:,} held back by an open transaction" if stream["held"] else ""
    return f"{stream['behind']:,}{held}"
