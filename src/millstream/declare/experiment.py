"""`experiment`: named arms, a unit, a way to assign, a reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from millstream.declare.arguments import checked
from millstream.declare.features import Feature
from millstream.declare.missing import Vocabulary
from millstream.declare.model import ModelRef
from millstream.declare.noun import Noun, Term
from millstream.declare.outcome import Outcome, Reward
from millstream.declare.plain import Instance, Json, Label, Number
from millstream.declare.rules import Doc, Either, Items, Name

V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)
ARM = Either((Instance(ModelRef), Json()))
"""What an arm is: a model's version, or a value."""
Weight = Annotated[float, Number(0, 1, code="E160")]
Epsilon = Annotated[float, Number(0, 1, above=True, code="E160")]
Traffic = Annotated[tuple[float, float], Items(Number(0, 1, code="E162"), least=2, most=2)]


@dataclass(frozen=True, kw_only=True)
class Assign(Term):
    """How a unit gets its arm."""

    method: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class AB(Assign):
    """Fixed weights, by a salted hash of the unit: the same unit always gets the same arm."""

    method: ClassVar[str] = "ab"
    weights: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class EpsilonGreedy(Assign):
    """The best arm so far with probability 1 - epsilon, else any arm evenly."""

    method: ClassVar[str] = "epsilon_greedy"
    epsilon: float
    by: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Thompson(Assign):
    """Each arm with the probability that it is best: Beta for boolean rewards, Normal for numbers; never below
    `floor`.
    """

    method: ClassVar[str] = "thompson"
    floor: float
    by: tuple[str, ...]


class assign(metaclass=Vocabulary):
    """The ways to assign."""

    @staticmethod
    @checked
    def ab(*weights: Weight) -> AB:
        """A fixed split. Weights in the arms' order, summing to 1; none means even."""
        return AB(weights=weights)

    @staticmethod
    @checked
    def epsilon_greedy(epsilon: Epsilon = 0.1, *, by: Sequence[str] = ()) -> EpsilonGreedy:
        """Explore with probability `epsilon`; `by` keeps one posterior for each value of these request fields."""
        return EpsilonGreedy(epsilon=epsilon, by=tuple(by))

    @staticmethod
    @checked
    def thompson(*, floor: Weight = 0.01, by: Sequence[str] = ()) -> Thompson:
        """Thompson sampling; every arm keeps at least `floor` of the traffic, so propensities stay useful."""
        return Thompson(floor=floor, by=tuple(by))


@dataclass(frozen=True, eq=False, kw_only=True)
class Experiment(Noun, Generic[V_co]):
    """See `experiment`."""

    kind: ClassVar[str] = "experiment"
    arms: Mapping[str, V_co]
    unit: str
    assign: Assign
    reward: Reward
    guardrails: Mapping[str, Reward] = field(default_factory=dict)
    layer: str = ""
    traffic: tuple[float, float] = (0.0, 1.0)
    adjust: Feature | None = None

    def upstream(self) -> tuple[Noun, ...]:
        models = [arm.model for arm in self.arms.values() if isinstance(arm, ModelRef)]
        return (*dict.fromkeys(models), self.reward.outcome.stream)


@checked
def experiment(
    name: Name,
    *,
    arms: Mapping[Annotated[str, Label()], Annotated[V, ARM]],
    unit: str,
    assign: Assign,
    reward: Reward | Outcome,
    guardrails: Mapping[Name, Reward | Outcome] | None = None,
    layer: Name | None = None,
    traffic: Traffic = (0.0, 1.0),
    adjust: Feature | None = None,
    doc: Doc = "",
) -> Experiment[V]:
    """Declare an experiment; starting, stopping and shipping it are state, not code.

    Args:
        arms: Name -> a model's version, or any JSON value. The first is the control.
        unit: The field of the request that is randomised.
        assign: One of `ms.assign`.
        reward: `outcome.score(...)`, or an outcome whose value is the reward.
        guardrails: Rewards that are reported and must not get worse.
        layer: Experiments of one layer share one salted line of units [0, 1); its own by default.
        traffic: The half-open part of that line this experiment takes.
        adjust: Must be None: adjusting by a feature (to reduce variance) is not in this version, and `check` refuses
            it.
    """
    return Experiment(
        name=name,
        arms=dict(arms),
        unit=unit,
        assign=assign,
        reward=_reward(reward),
        layer=layer or name,
        traffic=traffic,
        guardrails={k: _reward(r) for k, r in (guardrails or {}).items()},
        adjust=adjust,
        doc=doc,
    )


def _reward(of: Reward | Outcome | Any) -> Reward:
    return of.score("outcome") if isinstance(of, Outcome) else of
