"""Is an arm better: difference, interval, relative effect, p-value, guardrails and the sample-ratio check, from
sufficient statistics.

Fixed horizon: look once, at the end. Numbers are compared by Welch's t, shares by Newcombe's interval and the pooled
score test. There is no verdict where nothing says by how much rewards vary, nor where the normal approximation of
shares does not hold.

References:
    Cochran, W. G. (1954). Some methods for strengthening the common chi-square tests. Biometrics 10 (five expected in
    each cell). Clopper, C. J. and Pearson, E. S. (1934). The use of confidence or fiducial limits ... Biometrika 26
    (binomial tails by the beta function). Welch, B. L. (1947). The generalization of "Student's" problem ... Biometrika
    34. Newcombe, R. G. (1998). Interval estimation for the difference between independent proportions. Statistics in
        Medicine 17 (method 10).
    Wilson, E. B. (1927). Probable inference, the law of succession, and statistical inference. JASA 22.
    Deng, A., Knoblich, U., Lu, J. (2018). Applying the Delta Method in Metric Analytics. KDD (relative effect, section
    3). Fabijan, A. et al. (2019). Diagnosing Sample Ratio Mismatch in Online Controlled Experiments. KDD (threshold
    0.0005).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from millstream.experiment.bandit import Stat
from millstream.experiment.special import beta_cdf, chi2_tail, normal_quantile, normal_tails, t_quantile, t_tails

SRM_BELOW = 0.0005
EXPECTED = 5
"""Trues and falses that each arm must be expected to hold before shares have a verdict; units of each arm before its
share is tested by chi-square.
"""
FEW, ALIKE, ODD, LARGE = (
    "not enough data",
    "no variance",
    "rewards that are not finite numbers",
    "rewards too large to square",
)


class Effect(NamedTuple):
    """A treatment beside the control, for one metric.

    Attributes:
        difference: Mean of the treatment minus mean of the control; NaN when either has no reward.
        low: Lower end of the interval of the difference.
        high: Upper end.
        relative: Difference over the control's mean; NaN when that is 0, or so small that no double holds the ratio.
        relative_low: Lower end of its interval, by the delta method.
        relative_high: Upper end.
        p: Two-sided p-value of "no difference"; NaN, like the interval, when nothing says by how much rewards vary.
        n_control: Units behind it.
        n_treatment: Units behind it.
        lacks: Why there is no verdict: "not enough data" (an arm has fewer than 2 rewards, or is expected to hold fewer
            than 5 trues or falses), "no variance" (all rewards of each arm are alike), "rewards that are not finite
            numbers", "rewards too large to square"; else "".
    """

    metric: str
    control: str
    treatment: str
    difference: float
    low: float
    high: float
    relative: float
    relative_low: float
    relative_high: float
    p: float
    n_control: int
    n_treatment: int
    lacks: str

    @property
    def enough(self) -> bool:
        """Whether there is a verdict."""
        return not self.lacks

    @property
    def verdict(self) -> str:
        """ "better", "worse", "no difference seen", or what is lacking for one."""
        if self.lacks:
            return self.lacks
        return "better" if self.low > 0 else "worse" if self.high < 0 else "no difference seen"


class SampleRatio(NamedTuple):
    """Do the arms have the shares they should: a broken experiment shows here before its effect can be believed.

    Attributes:
        observed: Units by arm.
        expected: Units by arm that the weights ask for.
        statistic: Pearson's chi-square.
        p: Of a ratio as far off by chance; exact (binomial, of each arm against the rest) while an arm is expected to
            hold fewer than 5 units.
        ok: p is not below 0.0005.
    """

    observed: dict[str, int]
    expected: dict[str, float]
    statistic: float
    p: float
    ok: bool


class Result(NamedTuple):
    """The analysis of one phase.

    Attributes:
        means: Metric -> arm -> mean.
        effects: Of each metric and each treatment; the reward first.
        srm: None for a bandit, whose shares move on purpose.
        level: Of the intervals, e.g. 0.95.
        guards: Guardrail -> True while its interval does not lie below 0 for any treatment.
    """

    means: dict[str, dict[str, float]]
    effects: list[Effect]
    srm: SampleRatio | None
    level: float
    guards: dict[str, bool]


def analyse(
    stats: Mapping[str, Mapping[str, Stat]],
    *,
    control: str,
    exposed: Mapping[str, int] | None = None,
    weights: Mapping[str, float] | None = None,
    shares: frozenset[str] = frozenset(),
    level: float = 0.95,
) -> Result:
    """Compare every arm with the control.

    Args:
        stats: Metric -> arm -> statistics; the first metric is the reward, the others are guardrails.
        exposed: Arm -> units exposed, mature or not, for the sample-ratio check.
        weights: Arm -> share it should have; empty or None for a bandit: no check.
        shares: Metrics whose values are 0 and 1.
    """
    effects = [
        compare(metric, control, arm, of[control], of[arm], share=metric in shares, level=level)
        for metric, of in stats.items()
        for arm in of
        if arm != control
    ]
    guards = {
        metric: not any(e.enough and e.high < 0 for e in effects if e.metric == metric) for metric in list(stats)[1:]
    }
    srm = sample_ratio(exposed, weights) if exposed is not None and weights else None
    return Result(
        {metric: {arm: stat.mean for arm, stat in of.items()} for metric, of in stats.items()},
        effects,
        srm,
        level,
        guards,
    )


def compare(metric: str, control: str, treatment: str, a: Stat, b: Stat, *, share: bool, level: float = 0.95) -> Effect:
    """`b` (the treatment) beside `a` (the control)."""
    lacks, nan = _lacks(a, b, share), math.nan
    # Of few shares there is an interval, which is wide
    if lacks and not (share and lacks == FEW and min(a.n, b.n) > 0):
        return Effect(metric, control, treatment, b.beyond(a), nan, nan, nan, nan, nan, nan, a.n, b.n, lacks)
    low, high, p = _shares(a, b, level) if share else _welch(a, b, level)
    relative = _relative(a, b, share, level)
    return Effect(metric, control, treatment, b.beyond(a), low, high, *relative, p, a.n, b.n, lacks)


def _lacks(a: Stat, b: Stat, share: bool) -> str:
    """What keeps two arms from being compared; "" when nothing does."""
    if a.odd or b.odd:
        return ODD
    if share:
        pooled = (a.sum + b.sum) / (a.n + b.n) if a.n + b.n else 0.0
        return FEW if min(a.n, b.n) * min(pooled, 1.0 - pooled) < EXPECTED else ""
    if min(a.n, b.n) < 2:
        return FEW
    if not math.isfinite(a.variance + b.variance):
        return LARGE
    return ALIKE if a.variance == b.variance == 0.0 else ""


def _errors(a: Stat, b: Stat) -> tuple[float, float]:
    """Squared standard errors of two means of numbers. An arm whose rewards are all alike has not shown yet how they
    vary: it gets the variance of both arms' rewards together, as if they were one."""
    pooled = (a + b).variance if min(a.variance, b.variance) == 0.0 else 0.0
    return (a.variance or pooled) / a.n, (b.variance or pooled) / b.n


def _welch(a: Stat, b: Stat, level: float) -> tuple[float, float, float]:
    difference, (va, vb) = b.beyond(a), _errors(a, b)
    error, part = math.sqrt(va + vb), va / (va + vb)  # the part, since the square of a variance may not be a double
    df = 1.0 / (part * part / (a.n - 1) + (1.0 - part) * (1.0 - part) / (b.n - 1))
    reach = t_quantile(0.5 + level / 2.0, df) * error
    return difference - reach, difference + reach, t_tails(difference / error, df)


def _shares(a: Stat, b: Stat, level: float) -> tuple[float, float, float]:
    z = normal_quantile(0.5 + level / 2.0)
    (low_a, high_a), (low_b, high_b) = _wilson(a, z), _wilson(b, z)
    difference = b.mean - a.mean
    low = difference - math.hypot(b.mean - low_b, high_a - a.mean)
    high = difference + math.hypot(high_b - b.mean, a.mean - low_a)
    pooled = (a.sum + b.sum) / (a.n + b.n)
    error = math.sqrt(pooled * (1.0 - pooled) * (1.0 / a.n + 1.0 / b.n))
    return low, high, 1.0 if error == 0.0 else normal_tails(difference / error)


def _wilson(stat: Stat, z: float) -> tuple[float, float]:
    n, p = stat.n, stat.mean
    middle, reach = p + z * z / (2 * n), z * math.sqrt(max(0.0, p * (1 - p)) / n + z * z / (4 * n * n))
    return (middle - reach) / (1 + z * z / n), (middle + reach) / (1 + z * z / n)


def _relative(a: Stat, b: Stat, share: bool, level: float) -> tuple[float, float, float]:
    if a.mean == 0.0:
        return math.nan, math.nan, math.nan
    va, vb = (max(0.0, s.mean * (1 - s.mean)) / s.n for s in (a, b)) if share else _errors(a, b)
    ratio = b.mean / a.mean
    reach = normal_quantile(0.5 + level / 2.0) * math.hypot(math.sqrt(vb), ratio * math.sqrt(va)) / abs(a.mean)
    if not math.isfinite(ratio + reach):
        return math.nan, math.nan, math.nan
    relative = b.beyond(a) / a.mean
    return relative, relative - reach, relative + reach


def sample_ratio(observed: Mapping[str, int], weights: Mapping[str, float]) -> SampleRatio:
    """Pearson's chi-square of the arms' units against the weights; exact tails where it does not hold."""
    n, whole = sum(observed.values()), math.fsum(weights.values())
    expected = {arm: n * weight / whole for arm, weight in weights.items()}
    told = {arm: int(observed.get(arm, 0)) for arm in weights}
    if n == 0 or len(weights) < 2:
        return SampleRatio(told, expected, 0.0, 1.0, True)
    impossible = any(weight == 0 and told[arm] for arm, weight in weights.items())
    statistic = math.inf if impossible else math.fsum((told[arm] - e) ** 2 / e for arm, e in expected.items() if e > 0)
    if impossible:
        p = 0.0
    elif min(e for e in expected.values() if e > 0) < EXPECTED:
        p = min(
            1.0,
            math.fsum(1 for e in expected.values() if e > 0)
            * min(_binomial(told[arm], n, e / n) for arm, e in expected.items() if e > 0),
        )
    else:
        p = chi2_tail(statistic, sum(1 for e in expected.values() if e > 0) - 1)
    return SampleRatio(told, expected, statistic, p, p >= SRM_BELOW)


def _binomial(k: int, n: int, share: float) -> float:
    """Twice the smaller tail of k of n at this share."""
    if share >= 1.0:
        return 1.0
    least = float(beta_cdf(share, k, n - k + 1)) if k else 1.0  # P(X >= k)
    most = float(beta_cdf(1.0 - share, n - k, k + 1)) if k < n else 1.0  # P(X <= k)
    return min(1.0, 2.0 * min(least, most))
