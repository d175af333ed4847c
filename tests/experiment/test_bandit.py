"""Posteriors and probabilities: known answers, quadrature against draws, and convergence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.declare.experiment import assign
from millstream.experiment.assign import pick
from millstream.experiment.bandit import Beta, Normal, Stat, best, context, context_sql, probabilities

counts = st.tuples(st.integers(0, 300), st.integers(0, 300)).map(lambda t: Stat(t[0] + t[1], float(t[0]), float(t[0])))


def stat(values: list[float]) -> Stat:
    return Stat.of(values)


def closed(a: int, b: int, c: int, d: int) -> float:
    """P(Beta(c, d) > Beta(a, b)) for whole numbers (Miller, Formulas for Bayesian A/B Testing, 2014)."""

    def log_beta(x: float, y: float) -> float:
        return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

    return math.fsum(
        math.exp(log_beta(a + i, b + d) - math.log(d + i) - log_beta(1 + i, d) - log_beta(a, b)) for i in range(c)
    )


@pytest.mark.parametrize(
    "of", [(3, 5, 4, 4), (20, 80, 28, 72), (1, 1, 1, 1), (500, 4500, 545, 4455), (2, 900, 9, 1000)]
)
def test_beta_known_answers(of: tuple[int, int, int, int]) -> None:
    a, b, c, d = of
    found = best({"x": Beta(a, b), "y": Beta(c, d)})
    assert found["y"] == pytest.approx(closed(a, b, c, d), abs=3e-6) and found["x"] + found["y"] == pytest.approx(
        1, abs=1e-15
    )


def test_quadrature_is_exact_where_the_truth_is_known() -> None:
    assert best({"a": Beta(7, 9), "b": Beta(7, 9)})["a"] == pytest.approx(0.5, abs=1e-12)
    assert best({k: Normal(0.3, 0.1, 5) for k in "abcd"})["c"] == pytest.approx(0.25, abs=1e-6)
    # Beta(1, 1) against Beta(n, 1), the maximum of n uniforms: 1 / (n + 1).
    for n in (1, 2, 5, 50):
        assert best({"one": Beta(1, 1), "n": Beta(n, 1)})["one"] == pytest.approx(1 / (n + 1), abs=5e-6)
    # Two near-normal means d apart with equal scale s: Phi(d / (s sqrt 2)).
    found = best({"a": Normal(0.0, 1.0, 1e7), "b": Normal(1.0, 1.0, 1e7)})["b"]
    assert found == pytest.approx(0.5 * (1 + math.erf(0.5)), abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.lists(counts, min_size=2, max_size=4), st.floats(0, 0.3))
def test_probabilities_are_a_distribution_with_a_floor(stats: list[Stat], floor: float) -> None:
    named = {f"a{i}": s for i, s in enumerate(stats)}
    for way in (assign.thompson(floor=floor), assign.epsilon_greedy(0.2)):
        for boolean in (True, False):
            found = probabilities(way, named, boolean=boolean)
            assert math.fsum(found.values()) == pytest.approx(1, abs=1e-12) and list(found) == list(named)
            least = min(floor, 1 / len(stats)) if way.method == "thompson" else 0.2 / len(stats)
            assert min(found.values()) >= least - 1e-12


@settings(max_examples=40, deadline=None)
@given(st.lists(counts, min_size=2, max_size=4), st.permutations(range(4)))
def test_the_order_of_arms_is_no_matter(stats: list[Stat], order: list[int]) -> None:
    named = {f"a{i}": s for i, s in enumerate(stats)}
    shuffled = {f"a{i}": stats[i] for i in order if i < len(stats)}
    one, two = (probabilities(assign.thompson(floor=0.0), n, boolean=True) for n in (named, shuffled))
    assert all(one[arm] == pytest.approx(two[arm], abs=1e-12) for arm in named)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=2, max_size=30), st.lists(st.floats(-50, 50), min_size=0, max_size=30))
def test_statistics_add_up(a: list[float], b: list[float]) -> None:
    whole = stat(a) + stat(b)
    assert whole.n == len(a) + len(b) and whole.mean == pytest.approx(np.mean(a + b), abs=1e-9)
    assert whole.variance == pytest.approx(np.var(a + b, ddof=1), rel=1e-6, abs=1e-6)


def test_normal_posterior_by_hand() -> None:
    """Murphy 2007, section 3.3 with k0 = 1, a0 = 1, b0 = 4, m0 = 10 and the rewards 12, 14: k = 3, a = 2, b = 4 + 1 + 2
    * 9 / 6 = 8.
    """
    made = Normal.of(stat([12.0, 14.0]), 10.0, 4.0)
    assert (made.mean, made.df) == (pytest.approx(12.0), 4.0) and made.scale == pytest.approx(math.sqrt(8 / (2 * 3)))


def test_rewards_that_are_all_alike() -> None:
    same = {"a": Stat(10, 5.0, 2.5), "b": Stat(3, 1.5, 0.75)}
    assert probabilities(assign.thompson(floor=0.0), same, boolean=False)["a"] == pytest.approx(0.5, abs=0.05)
    none = {"a": Stat(), "b": Stat(), "c": Stat()}
    assert all(p == pytest.approx(1 / 3) for p in probabilities(assign.thompson(), none, boolean=False).values())


def test_greed_waits_for_every_arm() -> None:
    assert probabilities(assign.epsilon_greedy(0.1), {"a": Stat(50, 40, 40), "b": Stat()}, boolean=True) == {
        "a": 0.5,
        "b": 0.5,
    }
    found = probabilities(
        assign.epsilon_greedy(0.1), {"a": Stat(50, 40, 40), "b": Stat(5, 1, 1), "c": Stat(5, 4, 4)}, boolean=True
    )
    # A and c tie
    assert found == {
        "a": pytest.approx(0.1 / 3 + 0.45),
        "b": pytest.approx(0.1 / 3),
        "c": pytest.approx(0.1 / 3 + 0.45),
    }


@pytest.mark.parametrize("boolean", [True, False])
def test_thompson_converges_and_beats_an_even_split(boolean: bool) -> None:
    """Three arms, rewards in batches of 50, a fixed seed: the best arm ends with most of the traffic, and the floor
    holds.
    """
    random = np.random.default_rng(7)
    truth = {"a": 0.30, "b": 0.45, "c": 0.35}
    stats = {arm: Stat() for arm in truth}
    earned, chances = 0.0, {}
    for _ in range(80):
        chances = probabilities(assign.thompson(floor=0.02), stats, boolean=boolean)
        for place in random.random(50):
            arm = pick(place, chances)
            reward = float(random.random() < truth[arm]) if boolean else float(random.normal(truth[arm], 0.3))
            stats[arm] = stats[arm] + Stat(1, reward, reward * reward)
            earned += reward
    assert chances["b"] > 0.9 and min(chances.values()) >= 0.02 - 1e-12
    assert earned / 4000 > 0.42 > np.mean(list(truth.values()))


def test_contexts_tell_null_from_text() -> None:
    import duckdb

    con = duckdb.connect()
    values = [None, "~", "|", "a|b", "\\", "a", "", "true"]
    keys = set()
    for x in values:
        for y in (*values, True):
            key = context(["x", "y"], {"x": x, "y": y})
            assert con.execute(
                f"select {context_sql(['x', 'y'])} from (select $x as x, $y as y)", {"x": x, "y": y}
            ).fetchone() == (key,)
            keys.add(key)
    assert len(keys) == len(values) * len(values) and context([], {}) == ""
