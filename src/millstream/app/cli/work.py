"""Verbs that do work: plan, run, ingest, up and its parts."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click

from millstream.app.cli.context import Context, Styled, as_json, ended, pass_context
from millstream.app.each import Each
from millstream.base.errors import UsageError
from millstream.base.words import choices, counted


@click.command()
@click.argument("selectors", nargs=-1)
@as_json
@click.option("--all", "everything", is_flag=True, help="Show what is up to date too.")
@pass_context
def plan(context: Context, selectors: tuple[str, ...], as_json: bool, everything: bool) -> None:
    """Say what a run of SELECTORS would do, why, and what it would read.

    Selectors: NAME, +NAME (and what it is made from), NAME+ (and what is made from it), kind:KIND, state:changed.
    """
    from millstream.run import windows
    from millstream.run.step import size
    from millstream.run.unmatched import unmatched

    made = _plan(context, selectors)
    each = Each()
    ids = each.attempt("dedupe windows", lambda: list(windows.measured(context.workspace))) or []
    each.failed.update({a.name: a.error for a in made.assets if a.error is not None})
    if as_json:
        context.json(
            {
                "assets": [
                    {
                        "name": a.name,
                        "kind": a.kind,
                        "stale": a.stale,
                        "reasons": a.reasons,
                        "rows": a.cost.rows,
                        "bytes": a.cost.bytes,
                        "seconds": a.seconds,
                    }
                    for a in made.assets
                ],
                "endpoints": made.endpoints,
                "warnings": list(unmatched(context.workspace.project)),
                "dedupe": [
                    {
                        "stream": w.stream,
                        "within_us": w.within_us,
                        "ids": w.ids,
                        "memory_bytes": w.cost.memory,
                        "disk_bytes": w.cost.disk,
                    }
                    for w in ids
                ],
            }
        )
        context.end(each.failed)
        return
    for window in ids:
        if window.ids >= windows.WORTH_TELLING:
            context.say(window)
    _missing(context)
    shown = [a for a in made.assets if a.stale or everything]
    if shown:
        context.table(
            "",
            ["asset", "kind", "why", "rows", "bytes", "seconds"],
            [
                (
                    Styled("yellow" if a.stale else "dim", a.name),
                    a.kind,
                    "\n".join(a.reasons) or Styled("dim", "up to date"),
                    f"{a.cost.rows:,}" if a.stale else "",
                    size(a.cost.bytes) if a.stale else "",
                    "" if a.seconds is None else f"{a.seconds:.1f}",
                )
                for a in shown
            ],
            right=["rows", "bytes", "seconds"],
        )
    if not made.stale:
        context.say(
            f"{counted(len(made.assets), 'asset is', 'assets are')} up to date", Styled("green", "nothing to do:")
        )
        return
    rows, count = sum(a.cost.rows for a in made.stale), sum(a.cost.bytes for a in made.stale)
    price = f"{counted(rows, 'row')}, {size(count)} to read{_time(made.stale)}"
    context.say(f"{len(made.stale)} of {counted(len(made.assets), 'asset')} would be made: {price}")
    if made.endpoints:
        context.say(f"models of {', '.join(made.endpoints)} would change")
    context.end(each.failed)


def _time(stale: Sequence[Any]) -> str:
    """How long it takes by the last run, and of how many assets nothing is known: those that were never built."""
    known = [a.seconds for a in stale if a.seconds is not None]
    # These take as long as their files are large
    unknown = sum(a.seconds is None and a.kind not in ("source", "stream") for a in stale)
    if not known:
        return "; how long it takes is unknown, since none of them has been built" if unknown else ""
    about = f", about {sum(known):.0f} s by the last run"
    return about + (f" for {len(known)} of them; the time of {unknown}, never built, is unknown" if unknown else "")


def _plan(context: Context, selectors: tuple[str, ...]) -> Any:
    from millstream.run import plan as planning
    from millstream.run.steps import steps

    ws = context.workspace
    every = steps(ws)
    endpoints = {e.name: [r.model.name for r in e.refs()] for e in ws.project.endpoints.values()}

    def changed() -> list[str]:
        return [a.name for a in planning.plan(every, [s.name for s in every], ws.state, endpoints).stale]

    return planning.plan(every, _selected(every, selectors, changed), ws.state, endpoints)


def _selected(every: list[Any], selectors: tuple[str, ...], changed: Any) -> list[str]:
    from millstream.run.select import select

    return select(selectors, {s.name: s.upstream for s in every}, {s.name: s.kind for s in every}, changed)


accept_loss = click.option(
    "--accept-loss",
    "losses",
    multiple=True,
    metavar="STREAM",
    help=(
        "Continue without the records of STREAM that are gone or damaged, as they are now; they are printed and"
        " recorded."
    ),
)


def _give_up(context: Context, losses: tuple[str, ...]) -> None:
    """Accept, once, what is missing of these streams; and say what it was."""
    if not losses:
        return
    from millstream.app.losses import accept

    for name, gaps in accept(context.workspace, losses):
        if not gaps:
            context.say(f"{name}: no record is missing; nothing was accepted")
        for gap in gaps:
            context.say(f"{name} {gap}", Styled("yellow", "given up"))


@click.command()
@click.argument("selectors", nargs=-1)
@as_json
@click.option("--force", is_flag=True, help="Make the selected assets even when they are up to date.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the selected models.")
@click.option("--workers", default=2, show_default=True, help="Assets at a time.")
@click.option(
    "--detach",
    is_flag=True,
    help="Have the orchestrator of the profile do it, and print the run's name; see `show run`.",
)
@click.option("--run-id", default="", hidden=True, help="The run's name: of a run that was detached.")
@accept_loss
@pass_context
def run(
    context: Context,
    selectors: tuple[str, ...],
    as_json: bool,
    force: bool,
    params: tuple[str, ...],
    workers: int,
    detach: bool,
    run_id: str,
    losses: tuple[str, ...],
) -> None:
    """Bring assets up to date, in order of dependency. What is unchanged is skipped; a killed run is resumed by running
    again.
    """
    from millstream.run import runner
    from millstream.run.steps import steps

    ws = context.workspace
    _give_up(context, losses)
    names = set(_selected(steps(ws), selectors, lambda: [a.name for a in _plan(context, ()).stale]))
    if detach:
        if force or params:
            raise UsageError(
                "--detach makes what is stale, by its defaults; leave --force and --param out, or wait for the run"
            )
        started = ws.orchestrator.start([s.name for s in steps(ws) if s.name in names])
        context.json({"run": started}) if as_json else click.echo(started)
        return
    given = _params(ws, params, names)
    every = steps(ws, model_params=given, force=force)
    with runner.alone(ws.folder), bars(context) as (report, told):
        done = runner.run(
            [s for s in every if s.name in names],
            ws.state,
            force=force or bool(given and selectors),
            workers=workers,
            report=report,
            told=told,
            run_id=run_id,
        )
    _left_behind(context, every, names)
    end(context, done, as_json)


def _left_behind(context: Context, every: list[Any], chosen: set[str]) -> None:
    """Features over a table that this run has rebuilt and that were not selected: requests are answered from its former
    rows.
    """
    for step in every:
        if (
            step.kind == "features"
            and step.name not in chosen
            and chosen.intersection(step.upstream)
            and (why := step.pending())
        ):
            context.say(f"{step.name}: {why}; millstream run {step.name}", Styled("yellow", "stale"))


def _missing(context: Context) -> None:
    """A word about sources without a file."""
    from millstream.run.unmatched import unmatched

    for line in unmatched(context.workspace.project):
        context.say(line, Styled("yellow", "warning"))


def end(context: Context, done: list[Any], as_json: bool) -> None:
    """What became of the steps, published to the catalog and printed; and the exit code."""
    from millstream.app.catalog import tell
    from millstream.app.parts import owner
    from millstream.run import runner

    for text in tell(context.workspace, owner()):
        context.say("", Styled("yellow", text))

    failed = [d for d in done if d.status in ("failed", "blocked")]
    if as_json:
        context.json([runner.row(d) for d in done])
    else:
        if any(d.kind == "source" for d in done):
            _missing(context)
        made = sum(d.status == "made" for d in done)
        context.say(
            f"{made} made, {len(done) - made - len(failed)} up to date"
            + (f", {len(failed)} failed or blocked" if failed else ""),
            Styled("red", "failed:") if failed else Styled("green", "done:"),
        )
    if failed:
        raise click.exceptions.Exit(1)


def _params(ws: Any, words: tuple[str, ...], selected: set[str]) -> dict[str, dict[str, Any]]:
    """Model -> the parameters that are said for it: each goes to every selected model that has one of its name."""
    if not words:
        return {}
    from millstream.train.run import parameters

    models = {name: model for name, model in ws.project.models.items() if name in selected}
    given: dict[str, dict[str, Any]] = {name: {} for name in models}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f'--param wants NAME=VALUE, found "{word}"')
        takers = [model for model in models.values() if name in model.params]
        if not takers:
            known = dict.fromkeys(p for model in models.values() for p in model.params)
            raise UsageError(f'no selected model has a parameter "{name}"; {choices(name, known)}')
        for model in takers:
            given[model.name][name] = parameters(model, {name: value})[name]
    return given


@contextmanager
def bars(context: Context) -> Iterator[tuple[Any, Any]]:
    """A bar for each step that reports, and a line for each that ends."""
    from millstream.run.runner import row
    from millstream.run.step import Report

    progress, lock = context.progress(), threading.Lock()
    bars: dict[str, Any] = {}

    class Bar(Report):
        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, done: int, total: int | None = None, note: str = "") -> None:
            with lock:
                if self.name not in bars:
                    bars[self.name] = progress.add_task(self.name, total=total, note=note)
                progress.update(bars[self.name], completed=done, total=total, note=note)

    def say(done: Any) -> None:
        with lock:
            if done.name in bars:
                progress.remove_task(bars.pop(done.name))
            if done.status != "skipped":
                progress.console.print(ended(row(done)), soft_wrap=True)

    with progress:
        yield Bar, say


@click.command()
@as_json
@click.option(
    "--until", metavar="TIME", help="Stop before the first event at or after TIME (event time; UTC without a zone)."
)
@click.option("--no-sink", is_flag=True, help="Into the log only; the lake follows with the next run.")
@click.option(
    "--complete",
    "complete",
    multiple=True,
    metavar="STREAM",
    help=(
        "Afterwards, declare that no event of STREAM up to now is missing: labels that wait for one are complete. A"
        " later record takes it back."
    ),
)
@accept_loss
@pass_context
def ingest(
    context: Context,
    as_json: bool,
    until: str | None,
    no_sink: bool,
    complete: tuple[str, ...],
    losses: tuple[str, ...],
) -> None:
    """Read the file sources, merged by event time, into the log; then land the streams in the lake."""
    from millstream.app import losses as decisions
    from millstream.declare.source import FileReader
    from millstream.run import runner
    from millstream.run.intake import SourceStep, StreamStep
    from millstream.run.steps import steps

    ws = context.workspace
    until_us = None
    if until:
        try:
            moment = datetime.fromisoformat(until)
        except ValueError:
            raise UsageError(f'--until "{until}" is not a time; write e.g. 2013-11-01 or 2013-11-01T12:00Z') from None
        until_us = int((moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp() * 1_000_000)
    if complete and (until or no_sink):
        raise UsageError(
            "--complete says that all is there; leave out --until and --no-sink, with which something is not"
        )
    decisions.streams_of(ws, complete)
    _give_up(context, losses)
    for source in ws.project.sources.values():
        if isinstance(source.reader, FileReader):
            door = ws.doors.of(source.into)
            door.refresh()
            door.now_us()  # a clock that is wrong is said at once, not as a failed step
    chosen = [
        s
        for s in steps(ws, until_us=until_us)
        if isinstance(s, SourceStep) or (isinstance(s, StreamStep) and not no_sink)
    ]
    with runner.alone(ws.folder), bars(context) as (report, told):
        done = runner.run(chosen, ws.state, report=report, told=told)
    if all(d.status in ("made", "skipped") for d in done):
        for name, upto in decisions.complete(ws, complete):
            context.say(
                f"{name}: no event up to {upto} is missing; a record that comes later takes it back",
                Styled("green", "complete"),
            )
    elif complete:
        context.say(f"{', '.join(complete)}: not declared complete, since not all was read", Styled("red", "refused"))
    end(context, done, as_json)


@click.command()
@click.option("--no-console", is_flag=True, help="Without the pages for a browser.")
@accept_loss
@pass_context
def up(context: Context, no_console: bool, losses: tuple[str, ...]) -> None:
    """Run everything: collector, endpoints, feature updaters, sinks, sources that watch, schedules, monitors, console.

    Each part is a process of its own; one that dies is started again. Ctrl-C stops all gracefully.
    """
    from millstream.app.supervise import supervise

    ws = context.workspace
    _give_up(context, losses)
    supervise(ws, console=not no_console, say=lambda style, mark, text: context.say(text, Styled(style, mark)))


@click.command()
@click.argument("name", metavar="serve|features|sinks|sources|schedule|console")
@click.option(
    "--watched", is_flag=True, help="Stop when standard input ends: `up`, which holds the other end, is gone."
)
@accept_loss
@pass_context
def part(context: Context, name: str, watched: bool, losses: tuple[str, ...]) -> None:
    """Run one part of `up` until it is told to stop, for a process manager that starts each by itself.

    serve: the collector and the endpoints. features: their features, kept up to date. sinks: streams from the log into
    the lake. sources: watched folders. schedule: outcomes, scheduled assets, monitors. console: pages for a browser.
    """
    from millstream.app.parts import PARTS
    from millstream.app.supervise import stop_with_supervisor

    if name not in PARTS:
        raise UsageError(f'no part "{name}"; {choices(name, PARTS)}')
    if losses and name != "sinks":
        raise UsageError(
            f"--accept-loss is for the part sinks, which writes streams to the lake; {name} waits for nothing of"
            " the log"
        )
    _give_up(context, losses)
    if watched:
        stop_with_supervisor()
    PARTS[name](context.workspace)
