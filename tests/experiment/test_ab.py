"""The fixed-horizon analysis beside scipy, published examples, and A/A simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.experiment.ab import SRM_BELOW, analyse, compare, sample_ratio
from millstream.experiment.bandit import Stat

stats = pytest.importorskip("scipy.stats")
rewards = st.lists(st.floats(-100, 100), min_size=2, max_size=60)


def stat(values: list[float] | np.ndarray) -> Stat:
    return Stat.of(values)


def stats_of(draws: np.ndarray) -> list[Stat]:
    """One of each row."""
    return [Stat.of(row) for row in draws.tolist()]


@settings(max_examples=100, deadline=None)
@given(rewards, rewards)
def test_welch_is_scipys(a: list[float], b: list[float]) -> None:
    if min(np.std(a), np.std(b)) < 1e-3:
        return
    truth = stats.ttest_ind(b, a, equal_var=False)
    found = compare("reward", "a", "b", stat(a), stat(b), share=False)
    low, high = truth.confidence_interval(0.95)
    assert found.p == pytest.approx(truth.pvalue, rel=1e-4, abs=1e-9)
    assert (found.low, found.high) == (pytest.approx(low, rel=1e-5, abs=1e-7), pytest.approx(high, rel=1e-5, abs=1e-7))
    assert found.difference == pytest.approx(np.mean(b) - np.mean(a), abs=1e-9)


def test_newcombe_published() -> None:
    """Newcombe 1998, table II, example (a): 56/70 against 48/80, method 10: 0.0524 to 0.3339; (g) 10/10 against 0/20:
    0.6791 to 1.
    """
    found = compare("r", "c", "t", Stat(80, 48, 48), Stat(70, 56, 56), share=True)
    assert (found.difference, found.low, found.high) == (
        pytest.approx(0.2),
        pytest.approx(0.0524, abs=5e-5),
        pytest.approx(0.3339, abs=5e-5),
    )
    found = compare("r", "c", "t", Stat(20, 0, 0), Stat(10, 10, 10), share=True)
    assert (found.low, found.high) == (pytest.approx(0.6791, abs=5e-5), pytest.approx(1.0))


def test_score_test_is_the_chi_square_of_the_table() -> None:
    found = compare("r", "c", "t", Stat(200, 31, 31), Stat(220, 52, 52), share=True)
    assert found.p == pytest.approx(stats.chi2_contingency([[31, 169], [52, 168]], correction=False).pvalue, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5000), min_size=2, max_size=5))
def test_sample_ratio_is_scipys(observed: list[int]) -> None:
    if sum(observed) < 5 * len(observed):  # below five expected in a cell chi-square does not hold
        return
    named = {f"a{i}": n for i, n in enumerate(observed)}
    found = sample_ratio(named, dict.fromkeys(named, 1 / len(named)))
    truth = stats.chisquare(observed)
    assert found.p == pytest.approx(truth.pvalue, rel=1e-8, abs=1e-250) and found.statistic == pytest.approx(
        truth.statistic
    )


def test_sample_ratio_speaks_up() -> None:
    """Fabijan et al. 2019 open with 821,588 against 815,482 users of a 50/50 split: p is about 2e-6."""
    found = sample_ratio({"a": 821_588, "b": 815_482}, {"a": 0.5, "b": 0.5})
    assert not found.ok and found.p == pytest.approx(1.8e-6, rel=0.05)
    assert sample_ratio({"a": 5010, "b": 4990}, {"a": 0.5, "b": 0.5}).ok
    assert sample_ratio({}, {"a": 0.5, "b": 0.5}) == ({"a": 0, "b": 0}, {"a": 0.0, "b": 0.0}, 0.0, 1.0, True)
    assert not sample_ratio({"a": 10, "b": 1}, {"a": 1.0, "b": 0.0}).ok


@pytest.mark.parametrize("share", [True, False])
def test_an_aa_test_is_wrong_one_time_in_twenty(share: bool) -> None:
    """2,000 A/A tests of skewed rewards: false alarms at 5 %, intervals that hold nothing too often or too seldom would
    show.
    """
    random = np.random.default_rng(11)
    one, other = (
        (random.random((2000, n)) < 0.12).astype(float) if share else random.exponential(2.0, (2000, n))
        for n in (300, 340)
    )
    found = [compare("r", "a", "b", a, b, share=share) for a, b in zip(stats_of(one), stats_of(other), strict=True)]
    alarms, covered = sum(f.p < 0.05 for f in found), sum(f.low <= 0 <= f.high for f in found)
    assert 0.035 < alarms / 2000 < 0.065 and 0.935 < covered / 2000 < 0.965


def test_relative_effect_covers_the_truth() -> None:
    """The delta-method interval of a ratio of means, 2,000 times: truth inside about 95 %."""
    random = np.random.default_rng(5)
    pairs = zip(stats_of(random.gamma(4, 1, (2000, 400))), stats_of(random.gamma(4, 1.1, (2000, 400))), strict=True)
    inside = sum(
        f.relative_low <= 0.1 <= f.relative_high for f in (compare("r", "a", "b", a, b, share=False) for a, b in pairs)
    )
    assert 0.935 < inside / 2000 < 0.965


def test_sample_ratio_false_alarms() -> None:
    """Assignments by our own hash: p of the check is even, and below the threshold almost never."""
    from millstream.experiment.assign import bucket

    ps = []
    for run in range(300):
        treated = sum(bucket(f"arm/x/{run}", i) >= 0.5 for i in range(400))
        ps.append(sample_ratio({"a": 400 - treated, "b": treated}, {"a": 0.5, "b": 0.5}).p)
    assert stats.kstest(ps, "uniform").pvalue > 0.001 and min(ps) > SRM_BELOW


def test_too_few_rewards_are_said_so() -> None:
    found = compare("r", "a", "b", Stat(1, 2.0, 4.0), Stat(50, 10.0, 20.0), share=False)
    assert not found.enough and math.isnan(found.p) and found.verdict == "not enough data"
    none = compare("r", "a", "b", Stat(), Stat(), share=True)
    assert math.isnan(none.difference) and none.verdict == "not enough data"


def test_guardrails_are_watched_beside_the_reward() -> None:
    random = np.random.default_rng(3)
    values = {
        "reward": {"a": stat(random.normal(1, 1, 500)), "b": stat(random.normal(1.5, 1, 500))},
        "guardrail__speed": {"a": stat(random.normal(9, 1, 500)), "b": stat(random.normal(8, 1, 500))},
        "guardrail__buys": {"a": Stat(500, 50, 50), "b": Stat(500, 51, 51)},
    }
    found = analyse(
        values,
        control="a",
        exposed={"a": 510, "b": 505},
        weights={"a": 0.5, "b": 0.5},
        shares=frozenset({"guardrail__buys"}),
    )
    assert (
        found.guards == {"guardrail__speed": False, "guardrail__buys": True} and found.srm is not None and found.srm.ok
    )
    assert [e.verdict for e in found.effects] == ["better", "worse", "no difference seen"]
    assert analyse(values, control="a", exposed={"a": 9, "b": 1}, weights={}).srm is None
