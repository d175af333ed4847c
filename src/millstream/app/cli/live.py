"""Verbs about what is live: serve, experiment, monitor, console."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import click

from millstream.app.cli.context import Context, Styled, as_json, pass_context
from millstream.app.each import Each
from millstream.base.errors import MillstreamError, NotFound
from millstream.base.words import choices


def _listen(context: Context, section: str, host: str | None, port: int | None) -> None:
    """Flags of a server are settings like any other."""
    given = {f"{section}.host": host, f"{section}.port": None if port is None else str(port)}
    context.sets += tuple(f"{key}={value}" for key, value in given.items() if value is not None)


@click.command()
@click.option("--host", help="Loopback by default; beyond it a token is needed (serve.token).")
@click.option("--port", type=int, help="8600 by default (serve.port).")
@pass_context
def serve(context: Context, host: str | None, port: int | None) -> None:
    """Serve the endpoints and the collector over HTTP; their features are kept up to date in the same process."""
    from millstream.run.serving import run

    _listen(context, "serve", host, port)
    run(context.workspace)


@click.command()
@click.option("--host", help="Loopback by default; beyond it a token is needed (console.token).")
@click.option("--port", type=int, help="8601 by default (console.port).")
@pass_context
def console(context: Context, host: str | None, port: int | None) -> None:
    """Serve pages for a browser: graph, runs, tables, models, experiments, monitors, traces."""
    from millstream.app.console.server import run

    _listen(context, "console", host, port)
    run(context.workspace)


@click.command()
@click.argument("names", nargs=-1)
@as_json
@click.option("--history", is_flag=True, help="What was found before, newest first, instead of looking now.")
@pass_context
def monitor(context: Context, names: tuple[str, ...], as_json: bool, history: bool) -> None:
    """Run monitors NAMES (all by default) once. Exit code 4 when one is violated; else 1 when a check could not be
    judged, or an alert not be sent.
    """
    ws = context.workspace
    unknown = [n for n in names if n not in ws.project.monitors]
    if unknown:
        raise NotFound(f'no monitor "{unknown[0]}"; {choices(unknown[0], ws.project.monitors)}')
    rows, each = list[dict[str, Any]](), Each()
    for name in names or ws.project.monitors:
        noun = ws.project.monitors[name]
        rows += (
            each.attempt(
                f"monitor {name}", partial(ws.monitors.verdicts, name) if history else partial(ws.monitors.run, noun)
            )
            or []
        )
    if as_json:
        context.json(rows)
    else:
        marks = {
            "ok": Styled("green", "ok"),
            "violated": Styled("red", "violated"),
            "drifted": Styled("yellow", "drifted"),
            "unknown": Styled("dim", "unknown"),
        }
        columns = ["at", "monitor", "check", "", "found"] if history else ["monitor", "check", "", "found"]
        told = [
            (r["at"][:19], r["monitor"], r["check"], marks.get(r["status"], r["status"]), r["message"]) for r in rows
        ]
        context.table("", columns, told if history else [row[1:] for row in told])
    if not history:
        _judged(context, rows, each.failed)
    context.end(each.failed)


def _judged(context: Context, rows: list[dict[str, Any]], failed: Mapping[str, MillstreamError]) -> None:
    """The exit codes of a look: 4 is the strongest, since pipelines stop at it."""
    lost = context.workspace.monitors.webhook.trouble
    if lost:
        context.say(f"{lost}; the next look sends the alert again", Styled("yellow", "not sent:"))
    if any(r["status"] in ("violated", "drifted") for r in rows):
        for name, error in failed.items():
            context.say(error, Styled("red", f"{name}:"))
        raise click.exceptions.Exit(4)
    if not failed and (lost or any(r["details"].get("failed") for r in rows)):
        raise click.exceptions.Exit(1)
