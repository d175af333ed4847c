"""Verbs that only look: sql, explore, show, verify, trace."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from millstream.app.cli.context import Context, Styled, as_json, ended, pass_context
from millstream.app.each import Each, Rows
from millstream.base.errors import NotFound, UsageError
from millstream.base.words import choices, nearest
from millstream.serve.decisions import all_streams

KINDS = (
    "runs",
    "run",
    "steps",
    "streams",
    "sources",
    "waiting",
    "tables",
    "features",
    "sets",
    "models",
    "model",
    "experiments",
    "endpoint",
    "endpoints",
    "graph",
)
_NAMED = ("run", "steps", "model", "endpoint")
SHOWN = 100
"""Rows that `sql` prints for people."""
_LOOK_S = 1.0
"""Between two looks at a run that is followed."""


@click.command()
@click.argument("query")
@as_json
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    help="Rows to print; 0 prints all. By default 100, and all with --json and --csv.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@pass_context
def sql(context: Context, query: str, as_json: bool, limit: int | None, as_csv: bool) -> None:
    """Query the lake with one read-only statement in DuckDB's dialect; "-" reads it from standard input.

    In JSON a NULL is null, and a float that JSON has not is the text "NaN", "Infinity" or "-Infinity". In CSV a NULL is
    an empty field, an empty text is "", and NaN is nan. docs/reference/values.md has the other types.
    """
    from millstream.app.lookup import ask
    from millstream.transform import plain

    text = sys.stdin.read() if query == "-" else query
    # A script that reads part of the rows would take them for all
    limit = (0 if as_json or as_csv else SHOWN) if limit is None else limit
    found = ask(context.workspace, text, None if limit == 0 else limit + 1)
    more = limit and found.num_rows > limit
    found = found.slice(0, limit) if more else found
    if as_json:
        if twice := [name for name, n in Counter(found.column_names).items() if n > 1]:
            raise UsageError(
                f'two columns are called "{twice[0]}", and an object of JSON holds one of them; '
                f"name the other: {twice[0]} as {twice[0]}_2"
            )
        context.json(plain.values(found))
    elif as_csv:
        import pyarrow.csv

        pyarrow.csv.write_csv(plain.flat(found), sys.stdout.buffer)
    else:
        numeric = [
            f.name for f in found.schema if str(f.type).startswith(("int", "uint", "double", "float", "decimal"))
        ]
        context.table(
            "", found.column_names, zip(*(_cells(column) for column in found.columns), strict=True), right=numeric
        )
    if more:
        context.say("", Styled("dim", f"the first {limit} rows; --limit 0 prints all"))


def _cells(column: Any) -> list[str | Styled]:
    """A column's values; what is NULL looks other than the text."""
    from millstream.transform import cell

    return [
        text if valid.as_py() else Styled("dim", text)
        for text, valid in zip(cell.cells(column), column.is_valid(), strict=True)
    ]


@click.command()
@click.argument("table")
@as_json
@click.option(
    "--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write a page that opens without a network."
)
@click.option("--columns", help="Only these, separated by commas.")
@click.option("--version", type=int, help="The table's version; the newest by default.")
@pass_context
def explore(
    context: Context, table: str, as_json: bool, page: Path | None, columns: str | None, version: int | None
) -> None:
    """Profile TABLE: per column its type, nulls, distinct values, quantiles, histogram and top values."""
    from millstream.transform.explore import html, plain, terminal
    from millstream.transform.profile import profile

    ws = context.workspace
    found = profile(ws.compute, ws.lake.table(table).snapshot(version), columns.split(",") if columns else None)
    if page is not None:
        page.write_text(html(found, title=table), encoding="utf-8")
        context.say(page, Styled("green", "written"))
    if as_json:
        context.json(plain(found))
    elif page is None:
        context.out.print(terminal(found))


@click.command()
@click.argument("what", default="graph")
@click.argument("name", required=False)
@as_json
@click.option("--limit", default=20, show_default=True, help="Of runs: at most so many, newest first.")
@click.option(
    "--follow",
    is_flag=True,
    help="Of a run: wait for its end, a line for each asset; the exit code is 1 when it failed.",
)
@pass_context
def show(context: Context, what: str, name: str | None, as_json: bool, limit: int, follow: bool) -> None:
    """Show one of: runs, run ID, steps RUN-ID (of another orchestrator), streams, sources, waiting (what has failed,
    and when it is tried again), tables, features, sets (of training), models, model NAME@VERSION, experiments,
    endpoints, endpoint NAME, graph; or an error code such as E141.
    """
    from millstream.app import lookup

    if what[:1] in "eE" and what[1:].isdecimal():
        click.echo(lookup.page(what.upper()))
        return
    if what not in KINDS:
        there = f"there are {', '.join(KINDS)}, and error codes"
        raise UsageError(f'nothing is called "{what}" here; {nearest(what, KINDS) or there}')
    ws = context.workspace
    if what in _NAMED and not name:
        raise UsageError(f"show {what} wants a name")
    if follow:
        if what != "run":
            raise UsageError("--follow waits for a run: millstream show run ID --follow")
        _follow(context, str(name), as_json)
        return
    found: Any = getattr(lookup, what)(ws, name) if what in _NAMED else getattr(lookup, what)(ws, limit)
    failed = found.failed if isinstance(found, Rows) else {}
    if as_json:
        context.json(found)
        context.end(failed)
        return
    steps = found.pop("results", None) if what == "run" else None
    rows = found if isinstance(found, list) else [{"": key, " ": _line(value)} for key, value in found.items()]
    if not rows:
        context.end(failed)
        context.say("nothing waits" if what == "waiting" else f"no {what} yet")
        return
    # Columns that are there when they say something
    rare = [key for key in ("held", "complete", "given up", "stuck") if not any(row.get(key) for row in rows)]
    _rows(context, [{key: value for key, value in row.items() if key not in rare} for row in rows])
    if what == "streams":
        context.say(
            "",
            Styled("dim", "\n".join(f"{name}: {words}" for name, words in lookup.STREAMS.items() if name not in rare)),
        )
    if steps:
        _rows(
            context,
            [{"asset": s["name"], **{k: s[k] for k in ("kind", "status", "seconds", "rows", "error")}} for s in steps],
        )
    context.end(failed)


def _follow(context: Context, name: str, as_json: bool) -> None:
    """To the run's end, whoever runs it."""
    from millstream.app import lookup

    told, ws = set[str](), context.workspace
    with context.err.status("") as waiting:
        while True:
            found = lookup.find_run(ws, name)
            for row in (row for row in found.results if row["name"] not in told):
                told.add(row["name"])
                if not as_json:
                    context.err.print(ended(row), soft_wrap=True)
            if found.ended:
                break
            waiting.update(f"{name}: {found.status}")
            time.sleep(_LOOK_S)
    if as_json:
        context.json(lookup.run(ws, name))
    else:
        context.say(name, Styled("green" if found.status == "finished" else "red", f"{found.status}:"))
    if found.status != "finished":
        raise click.exceptions.Exit(1)


def _rows(context: Context, rows: list[dict[str, Any]]) -> None:
    columns = list(rows[0])
    context.table(
        "",
        columns,
        [[_line(row[c]) for c in columns] for row in rows],
        right=[c for c in columns if isinstance(rows[0][c], int | float)],
    )


def _line(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, dict):
        return "\n".join(f"{k}: {_line(v)}" for k, v in value.items())
    return (
        ", ".join(_line(v) for v in value) if isinstance(value, list | tuple) else "" if value is None else str(value)
    )


def _tell(progress: Any, task: Any, done: int, total: int) -> None:
    progress.update(task, completed=done, total=total)


@click.command()
@click.argument("names", nargs=-1)
@as_json
@click.option("--deep", is_flag=True, help="Read every page of every file too, and compare its checksum.")
@pass_context
def verify(context: Context, names: Sequence[str], as_json: bool, deep: bool) -> None:
    """Prove for the tables of streams NAMES (all by default): every record of the log once, no gap, no overlap, no
    double.

    What the log still holds is judged again and compared with the table. What was judged by an older definition of the
    stream is not, and is counted.
    """
    from millstream.lake.verify import verify as prove

    ws = context.workspace
    streams = all_streams(ws.project)
    for name in names:
        if name not in streams:
            raise NotFound(f'no stream "{name}"; {choices(name, streams)}')
    chosen = [streams[n] for n in names or streams if ws.log.topic(n) is not None]
    reports, each = [], Each()
    with context.progress() as progress:
        for stream in chosen:
            task = progress.add_task(stream.name, total=None, note="")
            report = each.attempt(
                stream.name, partial(prove, ws.lake, ws.log, stream, deep=deep, report=partial(_tell, progress, task))
            )
            if report is not None:
                reports.append((stream.name, report))
            progress.remove_task(task)
    if as_json:
        context.json(
            [
                {
                    "stream": name,
                    "ok": r.ok,
                    "rows": r.rows,
                    "dead": r.dead,
                    "duplicates": r.duplicates,
                    "gaps": r.gaps,
                    "overlaps": r.overlaps,
                    "doubles": r.doubles,
                    "torn": r.torn,
                    "verdicts": r.verdicts,
                    "recomputed": r.recomputed,
                    "not_recomputed": r.not_recomputed,
                }
                for name, r in reports
            ]
        )
    else:
        columns = ["rows", "dead", "duplicates", "gaps", "overlaps", "doubles", "judged again", "not judged"]
        context.table(
            "",
            ["stream", "", *columns],
            [
                (
                    name,
                    Styled("green", "proven") if r.ok else Styled("red", "broken"),
                    f"{r.rows:,}",
                    f"{r.dead:,}",
                    f"{r.duplicates:,}",
                    len(r.gaps),
                    len(r.overlaps),
                    len(r.doubles),
                    f"{r.recomputed:,}",
                    f"{r.not_recomputed:,}",
                )
                for name, r in reports
            ],
            right=columns,
        )
        if any(r.not_recomputed for _, r in reports):
            context.say(
                "",
                Styled(
                    "dim",
                    "not judged: another definition of the stream judged these records, or the log is damaged there",
                ),
            )
        for name, r in reports:
            for gap in (gap for gap in r.gaps if gap["recorded"]):
                context.say(
                    f"{name}: partition {gap['partition']}, offsets [{gap['start']}, {gap['end']}) were given up"
                    " (--accept-loss)"
                )
            words = r.words()
            for text in words[:20]:
                context.say(text, Styled("red", f"{name}:"))
            if len(words) > 20:
                context.say(f"{name}: {len(words) - 20} more; --json has them")
    if not all(r.ok for _, r in reports):
        for name, error in each.failed.items():
            context.say(error, Styled("red", f"{name}:"))
        raise click.exceptions.Exit(1)
    context.end(each.failed)


@click.command()
@click.argument("decision_id")
@as_json
@pass_context
def trace(context: Context, decision_id: str, as_json: bool) -> None:
    """Follow the prediction DECISION_ID back: model version, features, rows, table versions, log offsets,
    source files.
    """
    from millstream.app.lookup import trace as follow

    found = follow(context.workspace, decision_id)
    if as_json:
        context.json(found.to_dict())
    else:
        context.out.print(found.tree())
