"""The distribution functions beside scipy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from millstream.experiment.special import (
    beta_cdf,
    chi2_tail,
    normal_cdf,
    normal_quantile,
    normal_tails,
    t_cdf,
    t_quantile,
    t_tails,
)

stats = pytest.importorskip("scipy.stats")


@settings(max_examples=40, deadline=None)
@given(st.floats(0.3, 1e5), st.floats(0.3, 1e5))
def test_beta(a: float, b: float) -> None:
    middle, spread = a / (a + b), math.sqrt(a * b / (a + b + 1)) / (a + b)
    x = np.clip(middle + spread * np.linspace(-6, 6, 41), 0, 1)
    assert beta_cdf(x, a, b) == pytest.approx(stats.beta.cdf(x, a, b), abs=1e-10)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.3, 1e5), st.floats(0.3, 1e5), st.floats(-6, 6))
def test_one_number_is_as_one_of_many(a: float, b: float, off: float) -> None:
    x = min(1.0, max(0.0, a / (a + b) + off * math.sqrt(a * b / (a + b + 1)) / (a + b)))
    assert float(beta_cdf(x, a, b)) == pytest.approx(float(beta_cdf([0.5, x], a, b)[1]), rel=1e-12, abs=1e-300)


def test_beta_of_a_million_rewards() -> None:
    x = np.linspace(0.298, 0.302, 21)
    assert beta_cdf(x, 3e5, 7e5) == pytest.approx(stats.beta.cdf(x, 3e5, 7e5), abs=1e-9)
    assert beta_cdf([0.0, 1.0, -1.0, 2.0], 2.0, 3.0).tolist() == [0.0, 1.0, 0.0, 1.0]


@settings(max_examples=100, deadline=None)
@example(df=365910.0, t=7.5)
@example(df=1.0, t=1e-9)
@given(st.floats(1, 1e6), st.floats(-40, 40))
def test_t(df: float, t: float) -> None:
    near = abs(t) < 1e-5  # where scipy squares t and so takes it for 0; the density there is flat
    assert float(t_cdf(t, df)) == pytest.approx(0.5 + t * stats.t.pdf(0, df) if near else stats.t.cdf(t, df), abs=1e-11)
    assert t_tails(t, df) == pytest.approx(2 * stats.t.sf(abs(t), df), rel=1e-7, abs=1e-14)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.001, 0.999), st.floats(1.5, 1e5))
def test_t_quantile(p: float, df: float) -> None:
    assert t_quantile(p, df) == pytest.approx(stats.t.ppf(p, df), rel=1e-8, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 500), st.integers(1, 60))
def test_chi2(x: float, df: int) -> None:
    assert chi2_tail(x, df) == pytest.approx(stats.chi2.sf(x, df), rel=1e-9, abs=1e-300)  # down to 1e-110


def test_normal() -> None:
    z = np.linspace(-7, 7, 29)
    assert normal_cdf(z) == pytest.approx(stats.norm.cdf(z), abs=1e-15)
    assert normal_tails(6.0) == pytest.approx(2 * stats.norm.sf(6.0), rel=1e-12)
    assert normal_quantile(0.975) == pytest.approx(1.959963984540054, rel=1e-12)
