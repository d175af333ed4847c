"""Posteriors from sufficient statistics, and the probability that each arm is the best one.

The probabilities are integrals, not draws: two processes with one snapshot route alike, and a logged propensity is the
true one.

References:
    Thompson, W. R. (1933). On the likelihood that one unknown probability exceeds another. Biometrika 25.
    Russo, D. et al. (2018). A Tutorial on Thompson Sampling. arXiv:1707.02038 (Beta-Bernoulli, section 3).
    Murphy, K. (2007). Conjugate Bayesian analysis of the Gaussian distribution, section 3 (Normal-inverse-gamma).
    Kass, R. and Wasserman, L. (1995). A reference Bayesian test ... (the unit information prior). JASA 90.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from millstream.declare.experiment import Assign, EpsilonGreedy, Thompson
from millstream.experiment.assign import even
from millstream.experiment.special import Floats, beta_cdf, t_cdf

_EPSILON = float(np.finfo(np.float64).eps)
# Points of the grid an arm contributes: steps in units of its own spread, dense in the middle: within 3e-6 of the true
# integral (tests).
_STEPS = np.concatenate([-np.geomspace(1e8, 8.0, 160), np.linspace(-8.0, 8.0, 1201)[1:-1], np.geomspace(8.0, 1e8, 160)])


class Stat(NamedTuple):
    """Sufficient statistics of the mature rewards of one arm, about a shift: raw sums of squares cancel where the
    spread is small beside the mean.

    Attributes:
        n: How many finite rewards.
        total: The sum of (reward - shift).
        squares: The sum of the squares of (reward - shift).
        shift: Near the mean for numbers; 0 for booleans, whose sums are then whole numbers.
        odd: Rewards that are NaN or infinite; they are in no other figure, and while there is one nothing is concluded.
    """

    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    shift: float = 0.0
    odd: int = 0

    @property
    def mean(self) -> float:
        """NaN when there is none."""
        return self.shift + self.total / self.n if self.n else math.nan

    @property
    def sum(self) -> float:
        """Of the rewards themselves."""
        return self.shift * self.n + self.total

    @property
    def variance(self) -> float:
        """The sample variance (n - 1), NaN below two and where the squares are beyond a double; 0 when the rewards are
        alike to its rounding.
        """
        if self.n < 2 or not math.isfinite(self.squares):
            return math.nan
        about, lost = self._about_mean(), 4.0 * _EPSILON * math.sqrt(self.n) * self.squares
        if about <= lost:
            return 0.0
        found = about / (self.n - 1)
        return 0.0 if math.sqrt(found) <= 4.0 * _EPSILON * abs(self.mean) else found

    def _about_mean(self) -> float:
        """The sum of squared distances from the mean."""
        return self.squares - self.total / self.n * self.total

    def beyond(self, other: Stat) -> float:
        """Its mean less the other's, without what either loses by being rounded at its size."""
        return (
            (self.shift - other.shift) + (self.total / self.n - other.total / other.n)
            if self.n and other.n
            else math.nan
        )

    def moved(self, by: float, unit: float) -> Stat:
        """Of (reward - by) / unit."""
        return Stat(self.n, self.total / unit, self.squares / unit / unit, (self.shift - by) / unit, self.odd)

    def __add__(self, other: object) -> Stat:
        """Of both together, about their common mean (Chan, Golub and LeVeque 1979); about the shift when it is the
        same.
        """
        assert isinstance(other, Stat)
        odd = self.odd + other.odd
        if not self.n or not other.n:
            return (self if self.n else other)._replace(odd=odd)
        n = self.n + other.n
        if self.shift == other.shift:
            return Stat(n, self.total + other.total, self.squares + other.squares, self.shift, odd)
        apart = other.beyond(self)
        about = max(0.0, self._about_mean()) + max(0.0, other._about_mean()) + apart * (self.n / n) * apart * other.n
        shift = self.mean + apart * (other.n / n)
        # What rounding left out of the shift
        total = (self.total + self.n * (self.shift - shift)) + (other.total + other.n * (other.shift - shift))
        return Stat(n, total, about + total / n * total, shift, odd)

    @classmethod
    def of(cls, rewards: Iterable[float]) -> Stat:
        """Of these values, in two passes.

        >>> Stat.of([1e9 + 1, 1e9 + 2, 1e9 + 3]).variance
        1.0
        """
        given = [float(value) for value in rewards]
        finite = [value for value in given if math.isfinite(value)]
        shift = math.fsum(value / len(finite) for value in finite)
        away = [value - shift for value in finite]
        return cls(len(finite), math.fsum(away), math.fsum(d * d for d in away), shift, len(given) - len(finite))


def stat_sql(column: str, name: str, *, whole: bool) -> tuple[str, str]:
    """SQL of the statistics of a column of doubles: what the inner query adds (the shift, by the same groups), and what
    the outer one selects, as `<name>_n`, `_total`, `_squares`, `_shift` and `_odd`.

    Args:
        column: Quoted. The inner query's `{groups}` stands for the columns that are grouped by.
        whole: Booleans as 0 and 1: no shift, and exact sums.
    """
    finite = f"filter (where isfinite({column}))"
    shift = f'"{name}_by"'
    inner = f"0.0::double as {shift}" if whole else f"avg({column}) {finite} over (partition by {{groups}}) as {shift}"
    outer = (
        f"count({column}) {finite} as {name}_n, sum({column} - {shift}) {finite} as {name}_total, "
        f"sum(({column} - {shift}) * ({column} - {shift})) {finite} as {name}_squares, "
        f"max({shift}) as {name}_shift, count({column}) filter (where not isfinite({column})) as {name}_odd"
    )
    return inner, outer


def read_stat(row: Mapping[str, Any], name: str) -> Stat:
    """From a row that `stat_sql` selects."""
    n, odd = int(row[f"{name}_n"]), int(row[f"{name}_odd"])
    return Stat(n, row[f"{name}_total"], row[f"{name}_squares"], row[f"{name}_shift"], odd) if n else Stat(odd=odd)


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
        return cls(1.0 + stat.sum, 1.0 + stat.n - stat.sum)

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
    """Of a numeric reward, mean and variance unknown: Student's t with `df` degrees of freedom around `mean`, scaled by
    `scale`.
    """

    mean: float
    scale: float
    df: float

    @classmethod
    def of(cls, stat: Stat, prior_mean: float, prior_variance: float) -> Normal:
        """The marginal posterior of the mean under a Normal-inverse-gamma prior that weighs as much as one reward."""
        k0, a0 = 1.0, 1.0
        b0 = a0 * prior_variance
        k, a = k0 + stat.n, a0 + stat.n / 2.0
        apart = (stat.mean - prior_mean) if stat.n else 0.0
        mean = prior_mean + stat.n * (apart / k)
        spread = (stat.n - 1) * stat.variance if stat.n > 1 else 0.0
        b = b0 + 0.5 * spread + k0 * stat.n * apart * apart / (2.0 * k)
        return cls(mean, math.sqrt(b / (a * k)), 2.0 * a)

    @property
    def sd(self) -> float:
        """NaN below three degrees of freedom, where the variance is infinite."""
        return self.scale * math.sqrt(self.df / (self.df - 2.0)) if self.df > 2 else math.nan

    def cdf(self, x: Floats) -> Floats:
        return t_cdf((x - self.mean) / self.scale, self.df)


def posteriors(stats: Mapping[str, Stat], *, boolean: bool) -> dict[str, Posterior]:
    """One posterior an arm.

    For numbers the prior is one imagined reward with the mean and variance of all arms together (Kass and Wasserman),
    so no unit of the reward has to be guessed; with fewer than two rewards in all, every arm is believed alike.
    """
    if boolean:
        return {arm: Beta.of(stat) for arm, stat in stats.items()}
    pooled = sum(stats.values(), Stat())
    variance = pooled.variance if pooled.n > 1 else 1.0
    centre = pooled.mean if pooled.n else 0.0
    if not variance > 0.0:  # all rewards equal: still a proper prior, in their own unit
        variance = (1e-9 * centre) * (1e-9 * centre) or 1.0
    return {arm: Normal.of(stat, centre, variance) for arm, stat in stats.items()}


def best(believed: Mapping[str, Posterior]) -> dict[str, float]:
    """P(arm has the greatest mean), for independent posteriors; sums to 1.

    The Stieltjes sum of P(i best) = integral of prod_{j != i} F_j dF_i on one grid made of all arms' own: the integrand
    is averaged over each cell, so for two arms the two probabilities are complements exactly.
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

    Thompson: floor + (1 - arms * floor) * P(best). Epsilon-greedy: epsilon is spread evenly, the rest goes to the
    greatest mean (shared by ties); while an arm has no mature reward all are even, since with rewards that come hours
    late greed would starve the others. While a reward is NaN or infinite all are even too.
    """
    arms = list(stats)
    if any(stat.odd or (stat.n and not math.isfinite(stat.squares)) for stat in stats.values()):
        return even(arms)  # rewards that are not numbers, or whose squares are none, teach nothing
    if isinstance(assign, Thompson):
        pooled = sum(stats.values(), Stat())
        # About their centre and in their own unit, where a grid of doubles tells the arms apart
        if not boolean and pooled.n > 1:
            stats = {arm: stat.moved(pooled.shift, math.sqrt(pooled.variance) or 1.0) for arm, stat in stats.items()}
        chance = best(posteriors(stats, boolean=boolean))
        floor = min(assign.floor, 1.0 / len(arms))
        return _whole({arm: floor + (1.0 - len(arms) * floor) * chance[arm] for arm in arms})
    assert isinstance(assign, EpsilonGreedy), assign
    if any(stat.n == 0 for stat in stats.values()):
        return even(arms)
    top = max(stat.mean for stat in stats.values())
    # Sums in another order are ties too
    leaders = [arm for arm, stat in stats.items() if math.isclose(stat.mean, top, rel_tol=1e-12)]
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
    return "|".join("~" if request[name] is None else _escaped(request[name]) for name in by)


def _escaped(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("~", "\\~")


def context_sql(by: Sequence[str]) -> str:
    """The same key in SQL over the decisions."""
    if not by:
        return "''"
    told = [
        f"""coalesce(replace(replace(replace(cast("{name}" as varchar), '\\', '\\\\'), '|', '\\|'), '~', '\\~'), '~')"""
        for name in by
    ]
    return " || '|' || ".join(told)
