"""A bandit's posterior as a document of state: a pure function of one version of the outcomes table, and it says of
which.

There is no counter that could be bumped twice: every snapshot is computed anew from the mature rewards, so a killed or
doubled refresh changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from millstream.declare.experiment import Assign, EpsilonGreedy, Experiment, Thompson
from millstream.experiment.bandit import Stat, probabilities
from millstream.experiment.phases import Phase
from millstream.state.port import State

KIND = "bandit"
FORMAT = 2
"""1 had raw sums, without a shift; it is read as well."""
_MOST_CONTEXTS = 10_000


@dataclass(frozen=True)
class Snapshot:
    """What a bandit believes, as of a position.

    Attributes:
        phase: Of the experiment; a snapshot of another phase is not used.
        draw: Counts the snapshots of the experiment; salts the assignment.
        position: `{"outcomes": version of the outcomes table, "decisions_us": mature up to this moment}`.
        stats: Context -> arm -> sufficient statistics.
        probabilities: Context -> arm -> probability of being chosen; "" is all contexts together when there is no `by`.
    """

    experiment: str
    phase: int
    draw: int
    boolean: bool
    position: Mapping[str, int]
    stats: Mapping[str, Mapping[str, Stat]]
    probabilities: Mapping[str, Mapping[str, float]]
    made_at: datetime


def by_of(assign: Assign) -> tuple[str, ...]:
    """The request's fields that have posteriors of their own."""
    return assign.by if isinstance(assign, EpsilonGreedy | Thompson) else ()


def snapshot_of(state: State, name: str) -> Snapshot | None:
    """The last snapshot; None before the first."""
    doc = state.get(KIND, name)
    return _read(doc.value) if doc else None


def refresh(
    experiment: Experiment[Any],
    phase: Phase,
    stats: Mapping[str, Mapping[str, Stat]],
    position: Mapping[str, int],
    state: State,
    *,
    boolean: bool,
    now: datetime | None = None,
) -> Snapshot:
    """Store the posterior that these statistics give; the stored one when nothing changed.

    Args:
        stats: Context -> arm -> statistics of the phase's mature rewards; arms without any may be missing.
        position: What the statistics were computed from.

    Raises:
        Conflict: Another process wrote one just now; its snapshot is as good.
    """
    doc = state.get(KIND, experiment.name)
    last = _read(doc.value) if doc else None
    whole = {key: {arm: of.get(arm, Stat()) for arm in phase.arms} for key, of in stats.items()}
    whole = whole or ({"": {arm: Stat() for arm in phase.arms}} if not by_of(experiment.assign) else {})
    # The contexts with most rewards are kept; the others stay even, which is also what an unknown context gets.
    most = sorted(whole, key=lambda key: (-sum(s.n for s in whole[key].values()), key))[:_MOST_CONTEXTS]
    whole = {key: whole[key] for key in sorted(most)}
    if last is not None and last.phase == phase.number and last.stats == whole:
        return last
    made = Snapshot(
        experiment.name,
        phase.number,
        last.draw + 1 if last else 1,
        boolean,
        dict(position),
        whole,
        {key: probabilities(experiment.assign, of, boolean=boolean) for key, of in whole.items()},
        now or datetime.now(UTC),
    )
    state.put(KIND, experiment.name, _plain(made), expect=doc.revision if doc else 0)
    return made


def _plain(made: Snapshot) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "experiment": made.experiment,
        "phase": made.phase,
        "draw": made.draw,
        "boolean": made.boolean,
        "position": dict(made.position),
        "stats": {key: {arm: list(stat) for arm, stat in of.items()} for key, of in made.stats.items()},
        "probabilities": {key: dict(of) for key, of in made.probabilities.items()},
        "made_at": made.made_at.isoformat(),
    }


def _read(told: Mapping[str, Any]) -> Snapshot:
    stats = {key: {arm: Stat(*stat) for arm, stat in of.items()} for key, of in told["stats"].items()}
    return Snapshot(
        told["experiment"],
        told["phase"],
        told["draw"],
        told["boolean"],
        told["position"],
        stats,
        told["probabilities"],
        datetime.fromisoformat(told["made_at"]),
    )
