"""Posteriors from sufficient statistics, and the probability that each arm is the best one.

The probabilities are integrals, not draws: two processes with one snapshot route alike, and a logged propensity is the true one.

References:
    Thompson, W. R. (1933). On the likelihood that one unknown probability exceeds another. Biometrika 25.
    Russo, D. et al. (2018). A Tutorial on Thompson Sampling. arXiv:1707.02038 (Beta-Bernoulli, section 3).
    Murphy, K. (2007). Conjugate Bayesian analysis of the Gaussian distribution, section 3 (Normal-inverse-gamma).
    Kass, R. and Wasserman, L. (1995). A reference Bayesian test ... (the unit information prior). JASA 90.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from millstream.declare.experiment import Assign, EpsilonGreedy, Thompson
from millstream.experiment.assign import even
from millstream.experiment.special import Floats, beta_cdf, t_cdf

# Points of the grid an arm contributes: steps in units of its own spread, dense in the middle: within 3e-6 of the true integral (tests).
_STEPS = np.concatenate([-np.geomspace(1e8, 8.0, 160), np.linspace(-8.0, 8.0, 1201)[1:-1], np.geomspace(8.0, 1e8, 160)])


class Stat(NamedTuple):
    """Sufficient statistics of the ripe rewards of one arm.

    Attributes:
        n: How many.
        total: Their sum.
        squares: The sum of their squares.
    """

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        """NaN when there is none."""
        return self.total / self.n if self.n else math.nan

    @property
    def variance(self) -> float:
        """The sample variance (n - 1), NaN below two; never negative."""
        return max(0.0, self.squares - self.total * self.total / self.n) / (self.n - 1) if self.n > 1 else math.nan

    def __add__(self, other: object) -> Stat:
        assert isinstance(other, Stat)
        return Stat(self.n + other.n, self.total + other.total, self.squares + other.squares)


class Posterior(Protocol):
    """What is believed of an arm's mean reward."""

    @property
    def mean(self) -> float: ...

    @property
    def sd(self) -> float: ...

    def cdf(self, x: Floats) -> Floats:
        """P(mean reward <= x)."""
        ...


@dataclass(frozen=True)
class Beta:
    """Of a boolean reward: Beta(a, b), from the uniform Beta(1, 1)."""

    a: float = 1.0
    b: float = 1.0

    @classmethod
    def of(cls, stat: Stat) -> Beta:
        return cls(1.0 + stat.total, 1.0 + stat.n - stat.total)

    @property
    def mean(self) -> float:
        return self.a / (self.a + self.b)

    @property
    def sd(self) -> float:
        whole = self.a + self.b
        return math.sqrt(self.a * self.b / (whole * whole * (whole + 1.0)))

    def cdf(self, x: Floats) -> Floats:
        return beta_cdf(x, self.a, self.b)


@dataclass(frozen=True)
class Normal:
    """Of a numeric reward, mean and variance unknown: Student's t with `df` degrees of freedom around `mean`, scaled by `scale`."""

    mean: float
    scale: float
    df: float

    @classmethod
    def of(cls, stat: Stat, prior_mean: float, prior_variance: float) -> Normal:
        """The marginal posterior of the mean under a Normal-inverse-gamma prior that weighs as much as one reward."""
        k0, a0 = 1.0, 1.0
        b0 = a0 * prior_variance
        k, a = k0 + stat.n, a0 + stat.n / 2.0
        mean = (k0 * prior_mean + stat.total) / k
        spread = (stat.n - 1) * stat.variance if stat.n > 1 else 0.0
        apart = (stat.mean - prior_mean) if stat.n else 0.0
        b = b0 + 0.5 * spread + k0 * stat.n * apart * apart / (2.0 * k)
        return cls(mean, math.sqrt(max(b / (a * k), 1e-300)), 2.0 * a)

    @property
    def sd(self) -> float:
        """NaN below three degrees of freedom, where the variance is infinite."""
        return self.scale * math.sqrt(self.df / (self.df - 2.0)) if self.df > 2 else math.nan

    def cdf(self, x: Floats) -> Floats:
        return t_cdf((x - self.mean) / self.scale, self.df)


def posteriors(stats: Mapping[str, Stat], *, boolean: bool) -> dict[str, Posterior]:
    """One posterior an arm.

    For numbers the prior is one imagined reward with the mean and variance of all arms together (Kass and Wasserman), so no unit
    of the reward has to be guessed; with fewer than two rewards in all, every arm is believed alike.
    """
    if boolean:
        return {arm: Beta.of(stat) for arm, stat in stats.items()}
    pooled = sum(stats.values(), Stat())
    variance = pooled.variance if pooled.n > 1 else 1.0
    centre = pooled.mean if pooled.n else 0.0
    tiny = max(variance, 1e-18 * (1.0 + centre * centre))  # all rewards equal: still a proper prior
    return {arm: Normal.of(stat, centre, tiny) for arm, stat in stats.items()}


def best(believed: Mapping[str, Posterior]) -> dict[str, float]:
    """P(arm has the greatest mean), for independent posteriors; sums to 1.

    The Stieltjes sum of P(i best) = integral of prod_{j != i} F_j dF_i on one grid made of all arms' own: the integrand is averaged
    over each cell, so for two arms the two probabilities are complements exactly.
    """
    arms = list(believed)
    if len(arms) == 1:
        return {arms[0]: 1.0}
    x = np.unique(np.concatenate([p.mean + _STEPS * _spread(p) for p in believed.values()]))
    cdf = np.stack([p.cdf(x) for p in believed.values()])
    # What lies outside the grid (heavy tails) goes to its first and last point.
    cdf[:, 0], cdf[:, -1] = 0.0, 1.0
    chances = []
    for i in range(len(arms)):
        others = np.prod(np.delete(cdf, i, axis=0), axis=0)
        chances.append(float(np.sum(np.diff(cdf[i]) * 0.5 * (others[1:] + others[:-1]))))
    whole = math.fsum(chances)
    return {arm: chance / whole for arm, chance in zip(arms, chances, strict=True)}


def _spread(posterior: Posterior) -> float:
    return posterior.scale if isinstance(posterior, Normal) else posterior.sd


def probabilities(assign: Assign, stats: Mapping[str, Stat], *, boolean: bool) -> dict[str, float]:
    """With which probability each arm is chosen next; sums to 1. It is the propensity that a decision logs.

    Thompson: floor + (1 - arms * floor) * P(best). Epsilon-greedy: epsilon is spread evenly, the rest goes to the greatest mean (shared
    by ties); while an arm has no ripe reward all are even, since with rewards that come hours late greed would starve the others.
    """
    arms = list(stats)
    if isinstance(assign, Thompson):
        chance = best(posteriors(stats, boolean=boolean))
        floor = min(assign.floor, 1.0 / len(arms))
        return _whole({arm: floor + (1.0 - len(arms) * floor) * chance[arm] for arm in arms})
    assert isinstance(assign, EpsilonGreedy), assign
    if any(stat.n == 0 for stat in stats.values()):
        return even(arms)
    top = max(stat.mean for stat in stats.values())
    leaders = [arm for arm, stat in stats.items() if stat.mean == top]
    share = (1.0 - assign.epsilon) / len(leaders)
    return _whole({arm: assign.epsilon / len(arms) + (share if arm in leaders else 0.0) for arm in arms})


def _whole(parts: Mapping[str, float]) -> dict[str, float]:
    whole = math.fsum(parts.values())
    return {arm: part / whole for arm, part in parts.items()}


def context(by: Sequence[str], request: Mapping[str, object]) -> str:
    """The key under which the posterior of this request's values of `by` is kept; "" without `by`.

    >>> context(["device", "new"], {"device": "phone", "new": None})
    'phone|~'
    """
    return "|".join("~" if request[name] is None else _told(request[name]) for name in by)


def _told(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("~", "\\~")


def context_sql(by: Sequence[str]) -> str:
    """The same key in SQL over the decisions."""
    if not by:
        return "''"
    told = [f"""coalesce(replace(replace(replace(cast("{name}" as varchar), '\\', '\\\\'), '|', '\\|'), '~', '\\~'), '~')""" for name in by]
    return " || '|' || ".join(told)
