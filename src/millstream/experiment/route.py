"""From a request to an arm. Pure arithmetic on a salted hash of the unit, so that SQL over the decisions finds the same
arm again.

A bandit's arm is drawn by the same hash, salted anew with every snapshot of its posterior: between two snapshots a unit
keeps its arm, and the propensity is the probability over the salts. Immutable: a new phase or snapshot is a new router.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from millstream.declare.experiment import Experiment
from millstream.experiment.assign import arm_salt, bucket, even, layer_salt, pick
from millstream.experiment.bandit import context
from millstream.experiment.learn import Snapshot, by_of
from millstream.experiment.phases import Phase


class Routed(NamedTuple):
    """Which arm a unit got.

    Attributes:
        propensity: The probability with which it got this arm, given that the experiment took it.
    """

    experiment: str
    phase: int
    arm: str
    propensity: float


class Router:
    """Of one endpoint.

    Args:
        experiments: Tried in order; experiments of one layer take disjoint parts of its line.
        phases: Name -> phase; an experiment without one takes no unit.
        snapshots: Name -> the bandit's posterior; without one (or of another phase) all arms are even.
    """

    def __init__(
        self,
        experiments: Sequence[Experiment[Any]],
        phases: Mapping[str, Phase],
        snapshots: Mapping[str, Snapshot] | None = None,
    ) -> None:
        given = snapshots or {}
        self._parts = [
            _Part(e, phases[e.name], given.get(e.name))
            for e in experiments
            if e.name in phases and phases[e.name].status in ("running", "shipped")
        ]

    def route(self, unit: Any, request: Mapping[str, Any]) -> Routed | None:
        """The arm of this unit; None when no experiment takes it, or it is NULL.

        Args:
            unit: The value randomised; an experiment whose own unit is a field of the request takes that.
        """
        places: dict[tuple[str, Any], float] = {}
        for part in self._parts:
            own = request.get(part.unit, unit)
            if own is None:
                continue
            place = places.get((part.layer, own))
            if place is None:
                place = places[part.layer, own] = bucket(part.layer, own)
            if part.low <= place < part.high:
                return part.route(own, request)
        return None


class _Part:
    """One experiment, with all that does not change prepared."""

    def __init__(self, experiment: Experiment[Any], phase: Phase, snapshot: Snapshot | None) -> None:
        self.name, self.phase, self.unit = experiment.name, phase.number, phase.unit
        self.layer, (self.low, self.high) = layer_salt(phase.layer), phase.traffic
        self.winner = phase.winner if phase.status == "shipped" else None
        self.by = by_of(experiment.assign)
        live = snapshot if snapshot is not None and snapshot.phase == phase.number else None
        self.salt = arm_salt(self.name, self.phase, live.draw if live else 0)
        self.unknown = dict(phase.weights) or even(list(phase.arms))
        self.known = live.probabilities if live else {}

    def route(self, unit: Any, request: Mapping[str, Any]) -> Routed:
        if self.winner is not None:
            return Routed(self.name, self.phase, self.winner, 1.0)
        chances = self.known.get(context(self.by, request), self.unknown) if self.known else self.unknown
        arm = pick(bucket(self.salt, unit), chances)
        return Routed(self.name, self.phase, arm, chances[arm])
