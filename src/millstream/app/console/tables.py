"""Pages of the lake: its tables with their profiles, the SQL box; and of features, which are kept beside it."""

from __future__ import annotations

import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

from starlette.requests import Request

from millstream.app import lookup
from millstream.app.console.online import positions, stand
from millstream.app.console.show import Figure, Grid, Link, Section, Values, grid, link, moment, text
from millstream.base.errors import MillstreamError, NotFound
from millstream.base.words import choices
from millstream.declare.features import Features
from millstream.declare.noun import Noun
from millstream.run.workspace import Workspace
from millstream.serve.decisions import all_streams
from millstream.transform.plain import values

CELLS = 2_000_000
"""A profile looks at about so many values: rows are drawn at random when a table has more."""
MOST = 500
"""Rows the SQL box shows."""
_profiles: OrderedDict[tuple[str, str, int], str] = OrderedDict()


def tables(ws: Workspace, request: Request) -> Values:
    from millstream.run.step import size

    rows = [
        {
            "table": Link(t["table"], f"/tables/{t['table']}"),
            "what": _what(ws, t["table"]),
            "rows": t["rows"],
            "size": size(t["bytes"]),
            "columns": t["columns"],
            "version": t["version"],
        }
        for t in lookup.tables(ws)
    ]
    found = grid(rows, name="list", empty="Nothing has landed yet: `millstream run` brings events into the lake.")
    return {
        "title": "Tables",
        "lead": "Every table of the lake: streams as they landed, what SQL made of them, training sets, decisions.",
        "grid": Grid(found.columns, found.rows, "list", {"rows", "size", "columns", "version"}, (), found.empty),
    }


def _what(ws: Workspace, name: str) -> str:
    noun = ws.project.by_name.get(name)
    if noun is not None:
        return noun.kind.replace("_", " ")
    for endpoint in ws.project.endpoints.values():
        if name in (endpoint.decisions, endpoint.outcomes):
            return f"{'decisions' if name == endpoint.decisions else 'outcomes'} of {endpoint.name}"
    return "dead letters" if name.endswith("__dead") else "table"


def table(ws: Workspace, request: Request) -> Values:
    from millstream.run.step import size

    name = request.path_params["name"]
    noun = ws.project.by_name.get(name)
    if not ws.lake.exists(name):
        if noun is None and name not in all_streams(ws.project):
            raise NotFound(f'no table "{name}"; {choices(name, ws.lake.names())}')
        return {
            "title": name,
            "kind": _what(ws, name),
            "lead": noun.doc if noun else "",
            "figures": [],
            "sections": [
                Section("Nothing has landed yet", "`millstream run` makes it; `millstream up` keeps it up to date."),
                *around(ws, noun),
            ],
        }
    found = ws.lake.table(name)
    figures = [
        Figure("Rows", f"{found.rows():,}"),
        Figure("Size", size(found.bytes())),
        Figure("Columns", f"{len(found.schema):,}"),
        Figure("Version", str(found.version)),
    ]
    sample = lookup.ask(ws, f'select * from "{name}" limit 20', 20)
    history = [
        [str(h["version"]), str(h["operation"]).lower(), moment(h["at"]), f"{h['rows']:,}"]
        for h in found.history()[:12]
    ]
    sections = [
        *_kept(ws, name),
        Section("Rows", grid=rows(sample, "rows", "It has no row.")),
        *definition(noun),
        Section(
            "History",
            grid=Grid(["version", "operation", "at", "rows"], history, "history", ("version", "rows")),
            half=True,
        ),
        *around(ws, noun),
    ]
    # A refresh leaves the profile as it is: making one costs more than all the rest
    if "x-live" not in request.headers:
        sections.insert(1, Section("Profile", html=profile_of(ws, name)))
    return {
        "title": name,
        "kind": _what(ws, name),
        "lead": noun.doc if noun else "",
        "figures": figures,
        "sections": sections,
    }


def _kept(ws: Workspace, name: str) -> list[Section]:
    """Of a training set: how many of how many rows it kept, and why the others are not in it."""
    from millstream.train.dataset import latest
    from millstream.train.kept import sentence

    found = latest(name, ws.lake) if name in ws.project.training_sets else None
    return [Section("Rows kept", sentence(found))] if found is not None and found.total is not None else []


def profile_of(ws: Workspace, name: str) -> str:
    """The profile of a table's newest version as a part of a page; the last few are kept."""
    from millstream.transform.explore import fragment
    from millstream.transform.profile import profile

    found = ws.lake.table(name)
    key = (str(ws.project.root), name, found.version)
    if key not in _profiles:
        _profiles[key] = fragment(
            profile(ws.sql, found.snapshot(), sample=max(20_000, CELLS // max(len(found.schema), 1)))
        )
        while len(_profiles) > 16:
            _profiles.popitem(last=False)
    return _profiles[key]


def rows(found: Any, name: str, empty: str = "The query found no row.") -> Grid:
    """An Arrow table as a grid."""
    right = {f.name for f in found.schema if str(f.type).startswith(("int", "uint", "double", "float", "decimal"))}
    return Grid(found.column_names, [[text(v) for v in r.values()] for r in values(found)], name, right, (), empty)


def definition(noun: Noun | None) -> list[Section]:
    """How a noun is said: its SQL, or the fields of its events."""
    sql, event = getattr(noun, "sql", None), getattr(noun, "event", None)
    if sql:
        return [Section("Definition", code=sql.strip())]
    return [Section("Fields", grid=fields(event))] if event is not None else []


def fields(event: Any) -> Grid:
    """The fields of an event class."""
    told = [
        [
            f.name,
            (f"list of {f.item}" if f.item else f.kind) + (", or none" if f.nullable else ""),
            f.doc or ", ".join(f.symbols) or f.role.replace("_", " "),
        ]
        for f in event.__schema__.fields
    ]
    return Grid(["field", "type", "meaning"], told, "fields", wide=("meaning",))


def around(ws: Workspace, noun: Noun | None) -> list[Section]:
    """What it is made from, and what is made from it."""
    if noun is None:
        return []
    graph, known = ws.project.graph, ws.project.by_name
    found = [
        [Link(n, link(known[n])), known[n].kind.replace("_", " "), way]
        for way, names in (("made from", graph.upstream(noun.name)), ("used by", graph.downstream(noun.name)))
        for n in names
        if n in known
    ]
    return [
        Section(
            "Around it",
            grid=Grid(
                ["name", "kind", "how"], found, "around", empty="Nothing is made from it, and it is made from nothing."
            ),
            half=True,
        )
    ]


def sql(ws: Workspace, request: Request) -> Values:
    query, names = request.query_params.get("query", ""), ws.lake.names()
    values: Values = {
        "title": "SQL",
        "query": query or (f'select * from "{names[0]}" limit 10' if names else ""),
        "tables": names,
        "error": "",
        "grid": None,
    }
    if not query.strip():
        return values
    begun = time.perf_counter()
    try:
        found = lookup.ask(ws, query, MOST + 1)
    except MillstreamError as error:
        return values | {"error": str(error)}
    took = 1000 * (time.perf_counter() - begun)
    more = (
        f"the first {MOST} rows"
        if found.num_rows > MOST
        else f"{found.num_rows:,} row{'' if found.num_rows == 1 else 's'}"
    )
    return values | {"grid": rows(found.slice(0, MOST), "result"), "note": f"{more} in {took:,.0f} ms"}


def noun(ws: Workspace, request: Request) -> Values:
    """What has no page of its own: features and sources."""
    name, kind = request.path_params["name"], request.path_params["kind"]
    found = ws.project.by_name.get(name)
    if found is None or found.kind != kind:
        raise NotFound(f'no {kind.replace("_", " ")} is called "{name}"')
    sections, figures = [], list[Figure]()
    if isinstance(found, Features):
        figures = [
            stand(ws, found).figure,
            Figure("Key", ", ".join(found.key)),
            Figure("Columns", f"{len(found.columns()):,}"),
        ]
        sections = [Section("Columns", grid=_columns(found)), *_online(ws, found)]
    place = f"Declared at `{_from(ws, found.place.file)}:{found.place.line}`." if found.place else ""
    return {
        "title": name,
        "kind": found.kind.replace("_", " "),
        "lead": found.doc or place,
        "figures": figures,
        "sections": [*sections, *around(ws, found)],
    }


def _from(ws: Workspace, file: str) -> str:
    """A file as it is called inside the project's folder."""
    path = Path(file).resolve()
    return str(path.relative_to(ws.project.root)) if path.is_relative_to(ws.project.root) else file


def _columns(features: Features) -> Grid:
    from millstream.base.duration import spell

    told = [
        [
            column,
            features.aggregates[name].operation,
            features.aggregates[name].expression or "*",
            "all time" if window is None else spell(window),
        ]
        for column, (name, window) in features.columns().items()
    ]
    return Grid(["column", "aggregate", "of", "window"], told, "columns", ("window",))


def _online(ws: Workspace, features: Features) -> list[Section]:
    applied = positions(ws, features)
    return [] if applied is None else [Section("Applied", grid=applied, half=True)]
