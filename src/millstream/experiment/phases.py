"""What an experiment is doing now: its phase, the versions its arms are pinned to, and whether it runs. State, not
code.

One document a name of kind "experiment"; its revision guards every change, so of two processes that start, stop or ship
at once one wins and the other gets an error. A phase begins when arms, weights, traffic, the reward or the way to
assign change, and when it is said so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from millstream.base.errors import NotFound, UsageError
from millstream.base.words import choices
from millstream.declare.experiment import AB, Experiment
from millstream.declare.model import ModelRef
from millstream.experiment.assign import even
from millstream.features.outcome import meaning
from millstream.state.port import Doc, State

KIND = "experiment"
FORMAT = 1
Status = Literal["running", "stopped", "shipped"]
Resolve = Callable[[ModelRef[Any]], int]
"""From a reference by alias to the version it names now."""


@dataclass(frozen=True)
class Arm:
    """What an arm answers with: a model's version, or a value (any JSON)."""

    model: str | None = None
    version: int | None = None
    value: Any = None


@dataclass(frozen=True)
class Phase:
    """An experiment between two changes.

    Attributes:
        number: From 1, one higher with every change.
        arms: In the order declared; the first is the control.
        weights: Of an A/B; empty for a bandit.
        definition: Fingerprint of what was declared, to see a change.
        winner: The arm that all get once shipped.
    """

    experiment: str
    number: int
    status: Status
    method: str
    arms: Mapping[str, Arm]
    weights: Mapping[str, float]
    layer: str
    traffic: tuple[float, float]
    unit: str
    definition: str
    started_at: datetime
    ended_at: datetime | None = None
    winner: str | None = None


def current(state: State, name: str) -> Phase | None:
    """The phase now; None when it was never started."""
    doc = state.get(KIND, name)
    return _read(doc.value["phases"][-1]) if doc else None


def history(state: State, name: str) -> list[Phase]:
    """All phases, first to last."""
    doc = state.get(KIND, name)
    return [_read(phase) for phase in doc.value["phases"]] if doc else []


def ensure(experiment: Experiment[Any], state: State, resolve: Resolve, now: datetime | None = None) -> Phase:
    """What should be running for this declaration: started if it never was, in a new phase if its declaration changed.

    A stopped or shipped experiment stays so, and a running one keeps its pinned versions whatever the aliases do.

    Raises:
        NotFound: An arm's model has no such version yet.
        Conflict: Another process changed it just now; call again.
    """
    doc = state.get(KIND, experiment.name)
    phase = _read(doc.value["phases"][-1]) if doc else None
    if phase is None or (phase.status == "running" and phase.definition != definition(experiment)):
        return _started(experiment, state, doc, resolve, now)
    return phase


def start(experiment: Experiment[Any], state: State, resolve: Resolve, now: datetime | None = None) -> Phase:
    """Begin a new phase, with the versions that the arms' aliases name now. Ends the running one.

    Raises:
        NotFound: An arm's model has no such version yet.
        Conflict: Another process changed it just now.
    """
    return _started(experiment, state, state.get(KIND, experiment.name), resolve, now)


def stop(name: str, state: State, now: datetime | None = None) -> Phase:
    """No unit is assigned any more: all get the endpoint's default. The phase keeps its number, and late rewards still
    count.

    Raises:
        NotFound: It was never started.
        UsageError: It does not run.
        Conflict: Another process changed it just now.
    """
    doc, last = _known(state, name)
    if last.status == "shipped":
        raise UsageError(
            f'experiment "{name}" was shipped in phase {last.number}: all of its traffic gets "{last.winner}", so'
            f" nothing is left to stop; {_ANEW.format(name)}"
        )
    if last.status == "stopped":
        raise UsageError(
            f'experiment "{name}" was stopped already, in phase {last.number}: its units get the default;'
            f" {_ANEW.format(name)}"
        )
    ended = replace(last, status="stopped", ended_at=now or datetime.now(UTC))
    _write(state, name, [*doc.value["phases"][:-1], _plain(ended)], doc.revision)
    return ended


def ship(name: str, winner: str, state: State, now: datetime | None = None) -> Phase:
    """Every unit of its traffic gets this arm, in a phase of its own, so that what was measured stays as it was.

    Raises:
        NotFound: It was never started.
        UsageError: It has no such arm, or was shipped already.
        Conflict: Another process changed it just now.
    """
    doc, last = _known(state, name)
    if winner not in last.arms:
        raise UsageError(
            f'experiment "{name}" has no arm "{winner}" in phase {last.number}; {choices(winner, last.arms)}'
        )
    if last.status == "shipped":
        raise UsageError(
            f'experiment "{name}" was shipped with "{last.winner}" in phase {last.number} already; {_ANEW.format(name)}'
        )
    moment = now or datetime.now(UTC)
    return _follow(
        state,
        doc,
        replace(last, number=last.number + 1, status="shipped", winner=winner, started_at=moment, ended_at=None),
        moment,
    )


def definition(experiment: Experiment[Any]) -> str:
    """Fingerprint of all whose change is a new phase."""
    arms = {
        name: [arm.model.name, arm.version] if isinstance(arm, ModelRef) else {"value": arm}
        for name, arm in experiment.arms.items()
    }
    method = {k: v for k, v in asdict(experiment.assign).items() if k != "place"}
    said = [
        list(arms.items()),
        experiment.assign.method,
        method,
        experiment.layer,
        list(experiment.traffic),
        experiment.unit,
        experiment.reward.expression,
        meaning(experiment.reward.outcome),
    ]
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:16]


def weights(experiment: Experiment[Any]) -> dict[str, float]:
    """Of an A/B, by arm; empty for a bandit."""
    if not isinstance(experiment.assign, AB):
        return {}
    if not experiment.assign.weights:
        return even(list(experiment.arms))
    return dict(zip(experiment.arms, experiment.assign.weights, strict=True))


def _pin(arm: Any, resolve: Resolve) -> Arm:
    return Arm(model=arm.model.name, version=resolve(arm)) if isinstance(arm, ModelRef) else Arm(value=arm)


_ANEW = "to measure again:  millstream experiment start {}  begins a new phase"


def _known(state: State, name: str) -> tuple[Doc, Phase]:
    doc = state.get(KIND, name)
    if doc is None:
        raise NotFound(f'experiment "{name}" was never started; millstream experiment start {name}')
    return doc, _read(doc.value["phases"][-1])


def _started(
    experiment: Experiment[Any], state: State, doc: Doc | None, resolve: Resolve, now: datetime | None
) -> Phase:
    moment = now or datetime.now(UTC)
    arms = {name: _pin(arm, resolve) for name, arm in experiment.arms.items()}
    number = doc.value["phases"][-1]["number"] + 1 if doc else 1
    made = Phase(
        experiment.name,
        number,
        "running",
        experiment.assign.method,
        arms,
        weights(experiment),
        experiment.layer,
        experiment.traffic,
        experiment.unit,
        definition(experiment),
        moment,
    )
    return _follow(state, doc, made, moment)


def _follow(state: State, doc: Doc | None, made: Phase, now: datetime) -> Phase:
    """Write `made` after the phases of `doc`, which is what was looked at: whoever changed them since makes this a
    Conflict.
    """
    phases = list(doc.value["phases"]) if doc else []
    last = _read(phases[-1]) if phases else None
    if last is not None and last.ended_at is None:
        phases[-1] = _plain(replace(last, status="stopped" if last.status == "running" else last.status, ended_at=now))
    _write(state, made.experiment, [*phases, _plain(made)], doc.revision if doc else 0)
    return made


def _write(state: State, name: str, phases: list[Any], revision: int) -> None:
    state.put(KIND, name, {"format": FORMAT, "phases": phases}, expect=revision)


def _plain(phase: Phase) -> dict[str, Any]:
    told = asdict(phase)
    return told | {
        "started_at": phase.started_at.isoformat(),
        "ended_at": phase.ended_at and phase.ended_at.isoformat(),
    }


def _read(told: Mapping[str, Any]) -> Phase:
    ended = told["ended_at"]
    return Phase(
        **(
            dict(told)
            | {
                "arms": {name: Arm(**arm) for name, arm in told["arms"].items()},
                "traffic": tuple(told["traffic"]),
                "started_at": datetime.fromisoformat(told["started_at"]),
                "ended_at": datetime.fromisoformat(ended) if ended else None,
            }
        )
    )
