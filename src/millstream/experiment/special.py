"""Distribution functions that a report needs, vectorised, so that no statistics package is needed at run time.

References:
    DLMF 8.17.22 (continued fraction of the incomplete beta), 8.7.1 and 8.9.2 (series and continued fraction of the
    incomplete gamma); evaluated by the modified Lentz method (Press et al., Numerical Recipes, 3rd ed., 5.2, 6.2 and
    6.4). `normal_quantile` is `statistics.NormalDist`, Wichura's AS 241.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]
_TINY, _STEPS, _CLOSE = 1e-300, 400, 3e-15
_erf = np.frompyfunc(math.erf, 1, 1)
_NORMAL = NormalDist()


def beta_cdf(x: ArrayLike, a: float, b: float) -> Floats:
    """The regularised incomplete beta function I_x(a, b), x in [0, 1]; within 1e-12 of the truth for a, b up to 1e6.

    >>> float(beta_cdf(0.5, 2.0, 2.0).round(12))
    0.5
    """
    x = np.clip(np.asarray(x, dtype=np.float64), 0.0, 1.0)
    return _beta(x, 1.0 - x, a, b)


def _beta(x: Floats, y: Floats, a: float, b: float) -> Floats:
    """The same with y = 1 - x given, which near 1 has digits that x has lost."""
    value = np.where(y <= 0.0, 1.0, 0.0)
    inside = (x > 0.0) & (y > 0.0)
    u, v = x[inside], y[inside]
    swap = u > (a + 1.0) / (a + b + 2.0)  # the fraction converges fast on one side only
    first, second = np.where(swap, b, a), np.where(swap, a, b)
    part = _front(u, v, a, b) / first
    # Too small to matter whatever the fraction (it may be in the thousands), and the slowest to converge
    done = part < 1e-30
    part[~done] *= _beta_fraction(np.where(swap, v, u)[~done], first[~done], second[~done])
    value[inside] = np.where(swap, 1.0 - part, part)
    return np.asarray(np.clip(value, 0.0, 1.0))


def _front(x: Floats, y: Floats, a: float, b: float) -> Floats:
    """x^a y^b / B(a, b), written so that no two large numbers cancel (as in DiDonato and Morris, TOMS 708, 1992,
    section 4).
    """
    with np.errstate(divide="ignore", invalid="ignore", under="ignore"):
        if min(a, b) >= 10.0:
            p, q = a / (a + b), b / (a + b)
            power = a * np.log1p((x - p) / p) + b * np.log1p((y - q) / q)
            return np.asarray(np.exp(power - _rest(a) - _rest(b) + _rest(a + b)) * math.sqrt(a * q / (2.0 * math.pi)))
        if max(a, b) >= 10.0:
            small, large = min(a, b), max(a, b)
            log_beta = (
                math.lgamma(small)
                - (large - 0.5) * math.log1p(small / large)
                - small * math.log(large + small)
                + small
                + _rest(large)
                - _rest(large + small)
            )
        else:
            log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
        # Of two that sum to 1, the logarithm of the larger is that of 1 less the smaller, which has digits that the
        # larger has lost.
        log_x, log_y = np.where(x > 0.5, np.log1p(-y), np.log(x)), np.where(y > 0.5, np.log1p(-x), np.log(y))
        return np.asarray(np.exp(a * log_x + b * log_y - log_beta))


def _rest(z: float) -> float:
    """ln Gamma(z) minus Stirling's formula, z >= 10 (DLMF 5.11.1)."""
    w = 1.0 / (z * z)
    return (1 / 12 - w * (1 / 360 - w * (1 / 1260 - w * (1 / 1680 - w * (1 / 1188 - w * 691 / 360360))))) / z


def _beta_fraction(x: Floats, a: Floats, b: Floats) -> Floats:
    if x.size == 1:  # NumPy's price for an array of one is thirty times that of a float
        return np.full(x.shape, _beta_fraction_at(x.item(), a.item(), b.item()))
    c = np.ones_like(x)
    d = 1.0 / _away(1.0 - (a + b) * x / (a + 1.0))
    value = d.copy()
    for m in range(1, _STEPS * 10):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1.0 / _away(1.0 + even * d), _away(1.0 + even / c)
        value = value * d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1.0 / _away(1.0 + odd * d), _away(1.0 + odd / c)
        step = d * c
        value = value * step
        if np.all(np.abs(step - 1.0) < _CLOSE):
            break
    return value


def _beta_fraction_at(x: float, a: float, b: float) -> float:
    """The same steps for one number."""
    c, d = 1.0, 1.0 / _off(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, _STEPS * 10):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1.0 / _off(1.0 + even * d), _off(1.0 + even / c)
        value = value * d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1.0 / _off(1.0 + odd * d), _off(1.0 + odd / c)
        step = d * c
        value = value * step
        if abs(step - 1.0) < _CLOSE:
            break
    return value


def _off(x: float) -> float:
    return _TINY if abs(x) < _TINY else x


def _away(x: Floats) -> Floats:
    return np.where(np.abs(x) < _TINY, _TINY, x)


def t_cdf(t: ArrayLike, df: float) -> Floats:
    """Student's t, `df` degrees of freedom (a fraction is fine): P(T <= t), by I_{df/(df+t^2)}(df/2, 1/2)
    (DLMF 8.17).
    """
    t = np.asarray(t, dtype=np.float64)
    tail = 0.5 * _beta(df / (df + t * t), t * t / (df + t * t), df / 2.0, 0.5)
    return np.asarray(np.where(t > 0, 1.0 - tail, tail))


def t_tails(t: float, df: float) -> float:
    """P(|T| >= |t|), without the loss of digits of 1 - cdf."""
    square = np.asarray(t * t, dtype=np.float64)
    return float(_beta(df / (df + square), square / (df + square), df / 2.0, 0.5))


def t_quantile(p: float, df: float) -> float:
    """The t with P(T <= t) = p, by Newton's steps inside a bracket; 0 < p < 1."""
    if p < 0.5:
        return -t_quantile(1.0 - p, df)
    t = _near_quantile(p, df)
    low, high = 0.0, 2.0 * t + 2.0
    while float(t_cdf(high, df)) < p and high < 1e12:
        low, high = high, high * 2.0
    log_scale = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    t = min(max(low, t), high)
    for _ in range(100):
        off = float(t_cdf(t, df)) - p
        low, high = (low, t) if off > 0 else (t, high)
        density = math.exp(log_scale - (df + 1) / 2 * math.log1p(t * t / df))
        step = t - off / density if density > 0 else low
        then = step if low < step < high else 0.5 * (low + high)
        if abs(then - t) <= 1e-13 * max(1.0, t):
            return then
        t = then
    return t


def _near_quantile(p: float, df: float) -> float:
    """To about 1e-4 from df = 5 on, by three terms of the expansion in 1/df (Abramowitz and Stegun 26.7.5); a place to
    begin.
    """
    z = normal_quantile(p)
    if df < 2.0:
        return z
    w = z * z
    return (
        z
        + z
        * ((w + 1) / 4 + ((5 * w + 16) * w + 3) / (96 * df) + (((3 * w + 19) * w + 17) * w - 15) / (384 * df * df))
        / df
    )


def normal_cdf(z: ArrayLike) -> Floats:
    """The standard normal's P(Z <= z)."""
    return np.asarray(
        0.5 * (1.0 + np.asarray(_erf(np.asarray(z, dtype=np.float64) / math.sqrt(2.0)), dtype=np.float64))
    )


def normal_tails(z: float) -> float:
    """P(|Z| >= |z|)."""
    return math.erfc(abs(z) / math.sqrt(2.0))


def normal_quantile(p: float) -> float:
    """The z with P(Z <= z) = p, 0 < p < 1."""
    return _NORMAL.inv_cdf(p)


def chi2_tail(x: float, df: int) -> float:
    """P(X >= x) of chi-square: the upper regularised incomplete gamma Q(df/2, x/2).

    >>> round(chi2_tail(3.841458820694124, 1), 12)
    0.05
    """
    if x <= 1e-300:
        return 1.0
    a, x = df / 2.0, x / 2.0
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    return max(0.0, 1.0 - front * _gamma_series(a, x)) if x < a + 1.0 else front * _gamma_fraction(a, x)


def _gamma_series(a: float, x: float) -> float:
    term = total = 1.0 / a
    n = a
    for _ in range(_STEPS * 100):
        n += 1.0
        term *= x / n
        total += term
        if term < total * _CLOSE:
            break
    return total


def _gamma_fraction(a: float, x: float) -> float:
    b = x + 1.0 - a
    c, d = 1.0 / _TINY, 1.0 / b
    value = d
    for i in range(1, _STEPS * 100):
        an = -i * (i - a)
        b += 2.0
        d = an * d + b
        d = 1.0 / (d if abs(d) > _TINY else _TINY)
        c = b + an / c
        c = c if abs(c) > _TINY else _TINY
        step = d * c
        value *= step
        if abs(step - 1.0) < _CLOSE:
            break
    return value
