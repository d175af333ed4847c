"""The verb `experiment`."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from millstream.app.cli.context import Context, as_json, pass_context
from millstream.app.cli.words import OneOf
from millstream.app.each import Rows
from millstream.base.errors import NotFound, UsageError
from millstream.base.words import choices


@click.command()
@click.argument(
    "action",
    type=OneOf(["show", "start", "stop", "ship"], "the name comes after one of them: experiment show {}"),
    default="show",
)
@click.argument("name", required=False)
@click.argument("arm", required=False)
@as_json
@click.option("--phase", type=int, help="Of show NAME: the report of this phase instead of the present one.")
@pass_context
def experiment(
    context: Context, action: str, name: str | None, arm: str | None, as_json: bool, phase: int | None
) -> None:
    """Show (all, or NAME), start NAME, stop NAME, or ship NAME ARM.

    start begins a new phase with the arms' aliases pinned to versions; ship gives all of its traffic to one arm.
    A running server looks once a second, and decides by the old phase until then.
    """
    from millstream.app import experiments

    ws = context.workspace
    if name is not None and name not in ws.project.experiments:
        raise NotFound(f'no experiment "{name}"; {choices(name, ws.project.experiments)}')
    if phase is not None and (action != "show" or name is None):
        raise UsageError("--phase goes with one experiment: experiment show NAME --phase N")
    if arm is not None and action != "ship":
        raise UsageError(
            f'experiment {action} takes no arm, and was given "{arm}"; ship NAME ARM gives all of its traffic to'
            " one arm"
        )
    if action != "show":
        if name is None:
            names = ", ".join(ws.project.experiments) or "none"
            raise UsageError(f"experiment {action} wants the experiment's name; there are {names}")
        context.say(experiments.change(ws, action, name, arm))
        return
    if phase is not None and name is not None:
        experiments.known_phase(ws, ws.project.experiments[name], phase)
    found = Rows()
    for one in [ws.project.experiments[name]] if name else ws.project.experiments.values():
        found.add(f"experiment {one.name}", partial(experiments.analyse, ws, one, phase))
    if as_json:
        context.json(found)
    else:
        for told in found:
            _print(context, told)
    context.end(found.failed)


def _print(context: Context, found: dict[str, Any]) -> None:
    """For the terminal."""
    from millstream.experiment.report import PHASES, phase_rows

    title = f"{found['name']}: {found['method']}, {found['status']}" + (
        f", phase {found['phase']}" if found["phase"] else ""
    )
    bandit = found["srm"] is None
    columns = [
        "arm",
        "model",
        "decisions",
        "units",
        "share",
        "reward",
        "missing",
        *(["chosen with", "believed"] if bandit else ["effect", "95 % interval"]),
    ]
    rows = [_cells(arm, bandit) for arm in found["arms"]]
    if rows:
        context.table(
            title, columns, rows, right=[c for c in columns if c not in ("arm", "model", "95 % interval", "believed")]
        )
    else:
        context.out.print(title, style="bold")
    context.out.print("\n".join(text for text in (found["counted"], found["verdict"]) if text), end="\n\n")
    if len(found["phases"]) > 1:
        context.table(f"Phases (experiment show {found['name']} --phase N)", PHASES, phase_rows(found))


def _cells(arm: dict[str, Any], bandit: bool) -> list[str]:
    shown = [
        arm["arm"],
        arm["model"] or str(arm["value"]),
        f"{arm['decisions']:,}",
        f"{arm['units']:,}",
        f"{arm['share']:.1%}",
        "" if arm["mean"] is None else f"{arm['mean']:.4f}",
        f"{arm['missing']:,}",
    ]
    if bandit:
        believed = (
            ""
            if arm["believed_mean"] is None
            else f"{arm['believed_mean']:.4f}" + (f" ± {arm['believed_sd']:.4f}" if arm["believed_sd"] else "")
        )
        return [*shown, f"{arm['probability']:.1%}", believed]
    effect = "control" if arm["control"] else "" if arm["effect"] is None else f"{arm['effect']:+.4f}"
    return [*shown, effect, "" if arm["low"] is None else f"{arm['low']:+.4f} to {arm['high']:+.4f}"]
