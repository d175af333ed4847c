"""The experiments of a project: start, stop, ship, and the report of a phase."""

from __future__ import annotations

from typing import Any

from millstream.base.errors import NotFound, UsageError
from millstream.declare.endpoint import Endpoint
from millstream.declare.experiment import Experiment
from millstream.experiment import phases
from millstream.experiment.analyse import analyse as analysed
from millstream.experiment.phases import Phase
from millstream.experiment.report import POOLED, judged, nothing, started
from millstream.ports import Engines


def status(ws: Engines, experiment: Experiment[Any]) -> dict[str, Any]:
    """Its status and phase: "not started" and 0 before the first."""
    phase = phases.current(ws.state, experiment.name)
    return {"status": phase.status if phase else "not started", "phase": phase.number if phase else 0}


def change(ws: Engines, action: str, name: str, arm: str | None) -> str:
    """Start, stop or ship; what became of it, in a sentence.

    Raises:
        UsageError: What is asked makes no sense now.
        NotFound: A model of an arm has no such version yet.
    """
    experiment = ws.project.experiments[name]
    if action == "start":
        phase = phases.start(experiment, ws.state, lambda ref: ws.tracking.version(ref.model.name, ref.version).number)
        return (
            f"{name}: phase {phase.number} runs with"
            f" {_pinned(phase)}{'' if experiment.assign.method == 'ab' else f'. {POOLED}'}"
        )
    if action == "stop":
        phase = phases.stop(name, ws.state)
        return f"{name}: phase {phase.number} is stopped; its units get the default, and late rewards still count"
    if arm is None:
        raise UsageError(f"experiment ship {name} wants the arm that wins: {', '.join(experiment.arms)}")
    phase = phases.ship(name, arm, ws.state)
    return f"{name}: phase {phase.number} gives all of its traffic to {arm}"


def _pinned(phase: Phase) -> str:
    return ", ".join(
        f"{name} = {arm.model}@{arm.version}" if arm.model else f"{name} = {arm.value!r}"
        for name, arm in phase.arms.items()
    )


def analyse(ws: Engines, experiment: Experiment[Any], phase: int | None = None) -> dict[str, Any]:
    """The report of a phase, the present one by default, JSON-able; an experiment that was never started has no arms to
    tell of.

    Raises:
        NotFound: It has no such phase.
    """
    known = phases.history(ws.state, experiment.name)
    shown = known_phase(ws, experiment, phase) if phase is not None else known[-1] if known else None
    base = started(experiment, shown, known)
    try:
        found = analysed(
            experiment, _endpoint(ws, experiment), ws.lake, ws.sql, ws.state, ws.project.params, phase=phase
        )
    except NotFound as error:
        return base | nothing(str(error))
    return base | judged(experiment, found)


def known_phase(ws: Engines, experiment: Experiment[Any], number: int) -> Phase:
    """The phase of that number. Raises NotFound."""
    known = phases.history(ws.state, experiment.name)
    for phase in known:
        if phase.number == number:
            return phase
    there = f"its phases are {', '.join(str(p.number) for p in known)}" if known else "it was never started"
    raise NotFound(f'experiment "{experiment.name}" has no phase {number}; {there}')


def _endpoint(ws: Engines, experiment: Experiment[Any]) -> Endpoint[Any, Any]:
    found = next((e for e in ws.project.endpoints.values() if experiment in e.experiments), None)
    if found is None:
        raise NotFound(f'no endpoint decides by experiment "{experiment.name}"')
    return found
