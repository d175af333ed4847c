"""Verbs for other orchestrators: export, and run-step, which their tasks call."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from millstream.app.cli.context import Context, as_json, pass_context
from millstream.app.cli.words import Group
from millstream.base.errors import Fenced, UsageError

FENCED = 5


@click.group(cls=Group)
def export() -> None:
    """Write the project as jobs of another orchestrator. The same project gives the same bytes."""


def _options(command: Any) -> Any:
    """What every kind of export takes."""
    for option in (
        click.option("--retries", default=2, show_default=True, help="How often a failed task is tried again."),
        click.option(
            "--pool",
            "pools",
            multiple=True,
            metavar="PHASE=NAME",
            help="The pool of the tasks of a phase: land, make, fill, train.",
        ),
        click.option(
            "--python",
            default=sys.executable,
            metavar="PROGRAM",
            help="The Python that runs the tasks, where they run; this one by default.",
        ),
        click.option("--root", metavar="DIR", help="The project's folder where the tasks run; this one by default."),
    ):
        command = option(command)
    return command


def _pools(words: tuple[str, ...]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    for phase, equals, name in pairs:
        if not equals or not name:
            raise UsageError(f'--pool wants PHASE=NAME, found "{phase}{equals}"')
    return {phase: name for phase, _, name in pairs}


@export.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@_options
@as_json
@pass_context
def airflow(
    context: Context, folder: Path, retries: int, pools: tuple[str, ...], python: str, root: str | None, as_json: bool
) -> None:
    """Write the manifest and a DAG file for each timetable into FOLDER, Airflow's or one that becomes it.

    DAG files of this project whose timetable is gone are removed; manifests stay, since tasks under way read theirs.
    """
    from millstream.run.export import airflow as to

    _write(context, to.export, folder, retries, pools, python, root, as_json, "dags")


@export.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@_options
@as_json
@pass_context
def luigi(
    context: Context, folder: Path, retries: int, pools: tuple[str, ...], python: str, root: str | None, as_json: bool
) -> None:
    """Write the manifest and a module for each timetable into FOLDER, from where luigi imports them.

    Run one: luigi --module MODULE TIMETABLE.Run --run-id ID. A run of the same ID is continued. Pools are luigi's
    resources.
    """
    from millstream.run.export import luigi as to

    _write(context, to.export, folder, retries, pools, python, root, as_json, "namespaces")


@export.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@_options
@as_json
@pass_context
def oozie(
    context: Context, folder: Path, retries: int, pools: tuple[str, ...], python: str, root: str | None, as_json: bool
) -> None:
    """Write an application for each timetable into FOLDER, to be put on HDFS: a workflow, and a coordinator when it has
    a cron line.

    Pools are YARN's queues. The project and its Python must be on every node that runs steps.
    """
    from millstream.run.export import oozie as to

    _write(context, to.export, folder, retries, pools, python, root, as_json, "applications")


def _write(
    context: Context,
    to: Any,
    folder: Path,
    retries: int,
    pools: tuple[str, ...],
    python: str,
    root: str | None,
    as_json: bool,
    called: str,
) -> None:
    """Export, and say what was written. `called`: what the tool calls a timetable."""
    from millstream.run.export import make
    from millstream.run.export.modules import Deployment

    ws = context.workspace
    manifest = make(ws, pools=_pools(pools), retries=retries)
    written = to(manifest, folder, Deployment(root or str(ws.project.root), ws.settings.profile, python))
    if as_json:
        context.json(
            {
                "sha256": manifest.sha,
                "files": [str(file) for file in written],
                called: [t.name for t in manifest.timetables],
            }
        )
        return
    for file in written:
        click.echo(str(file))


@click.command("run-step")
@click.option(
    "--manifest",
    "file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that `millstream export` wrote.",
)
@click.option("--step", "name", required=True, metavar="NAME", help="One of its groups.")
@click.option("--run-id", required=True, metavar="ID", help="The orchestrator's name of the run.")
@click.option(
    "--try",
    "attempt",
    required=True,
    type=click.IntRange(1),
    metavar="N",
    help="Which attempt this is; a higher one takes over from a lower.",
)
@click.option("--only", multiple=True, metavar="ASSET", help="One of the group's assets; all when none is named.")
@click.option(
    "--watched",
    is_flag=True,
    help="End at once, with all that was started, when standard input ends: whoever holds the other end is gone.",
)
@as_json
@pass_context
def run_step(
    context: Context,
    file: Path,
    name: str,
    run_id: str,
    attempt: int,
    only: tuple[str, ...],
    watched: bool,
    as_json: bool,
) -> None:
    """Bring the assets of one group of a manifest up to date: what a task of another orchestrator runs.

    Exit code 5: a newer attempt has taken over, so this one committed no more. 2: the manifest or the project is not
    what was exported; trying again does not help.
    """
    from millstream.app.cli.work import bars, end
    from millstream.declare.load import find
    from millstream.run.export import read
    from millstream.run.job import check_code, run_job
    from millstream.run.lifeline import end_with_parent

    if watched:
        end_with_parent()
    manifest = read(file)
    manifest.group(name)
    check_code(manifest, find(context.folder or "."))
    try:
        with bars(context) as (report, told):
            done = run_job(context.workspace, manifest, name, run_id, attempt, only=only, report=report, told=told)
    except Fenced as error:
        click.echo(f"Fenced: {error}", err=True)
        raise click.exceptions.Exit(FENCED) from None
    end(context, done, as_json)
