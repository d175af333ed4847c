"""Every statistic of an experiment at scales that cancel, overflow or vanish, beside scipy on the same rewards where
those are harmless.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from decided_world import HOUR, PARAMS, T0, World, ab, buy, buys, decision, paid, shop
from hypothesis import given, settings
from hypothesis import strategies as st

import millstream as ms
from millstream.experiment import analyse as reports
from millstream.experiment import learn, phases
from millstream.experiment.ab import SRM_BELOW, Effect, analyse, compare, sample_ratio
from millstream.experiment.bandit import Stat, probabilities, read_stat, stat_sql

stats = pytest.importorskip("scipy.stats")
SCALES = [
    (0.0, 1.0),
    (1e9, 1.0),
    (-1e9, 1.0),
    (1e12, 1e-3),
    (1e15, 4.0),
    (1e-9, 1e-12),
    (0.0, 1e-150),
    (0.0, 1e-90),
    (0.0, 1e90),
    (0.0, 1e150),
    (-1e140, 1e130),
]


def told(a: Any, b: Any, *, share: bool = False) -> Effect:
    return compare("reward", "a", "b", Stat.of(a), Stat.of(b), share=share)


def in_sql(values: np.ndarray, *, whole: bool = False) -> Stat:
    """As the engine computes them."""
    import duckdb
    import pyarrow as pa

    con = duckdb.connect()
    con.register(
        "given", pa.table({"arm": ["a"] * len(values), "reward": pa.array(values, pa.float64(), from_pandas=False)})
    )
    inner, outer = stat_sql('"reward"', "r", whole=whole)
    found = (
        con.sql(f"select {outer} from (select *, {inner.format(groups='arm')} from given) group by arm")
        .to_arrow_table()
        .to_pylist()
    )
    return read_stat(found[0], "r")


@pytest.mark.parametrize(("offset", "scale"), SCALES)
@pytest.mark.parametrize("apart", [0.0, 0.3])
@pytest.mark.parametrize("make", [Stat.of, in_sql])
def test_welch_is_scipys_at_every_scale(offset: float, scale: float, apart: float, make: Any) -> None:
    random = np.random.default_rng(12)
    a, b = offset + scale * random.normal(0, 1, 300), offset + scale * random.normal(apart, 2, 400)
    first, second = (a - offset) / scale, (b - offset) / scale  # exactly what rounding to a double has left of them
    truth = stats.ttest_ind(second, first, equal_var=False)
    low, high = truth.confidence_interval(0.95)
    found = compare("reward", "a", "b", make(a), make(b), share=False)
    slack = 4 * np.finfo(float).eps * abs(offset) / scale
    assert found.enough and found.p == pytest.approx(truth.pvalue, rel=1e-6 + 10 * slack)
    ends = (found.difference / scale, found.low / scale, found.high / scale)
    assert ends == pytest.approx((np.mean(second) - np.mean(first), low, high), rel=1e-8, abs=1e-9 + slack)
    assert make(a).variance / scale / scale == pytest.approx(np.var(first, ddof=1), rel=1e-7)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(-1000, 1000), min_size=2, max_size=40),
    st.lists(st.integers(-1000, 1000), min_size=2, max_size=40),
    st.sampled_from([0.0, 2.0**30, -(2.0**40), 2.0**42]),
    st.integers(-300, 300),
)
def test_neither_shift_nor_unit_changes_a_verdict(a: list[int], b: list[int], shift: float, power: int) -> None:
    """The moved rewards are exact doubles, so only the statistics can lose what tells them apart."""
    plain, moved = told(a, b), told(*([math.ldexp(shift + v, power) for v in values] for values in (a, b)))
    assert moved.verdict == plain.verdict
    if plain.enough:
        assert moved.p == pytest.approx(plain.p, rel=1e-6, abs=1e-12)


def test_no_alarm_far_from_zero() -> None:
    """A/A of N(1e9, 1): raw sums of squares give variance 0, p = 0 and "worse"."""
    random = np.random.default_rng(0)
    assert told(random.normal(1e9, 1, 1000), random.normal(1e9, 1, 1000)).verdict == "no difference seen"
    alarms = sum(told(*random.normal(1e9, 1, (2, 200))).p < 0.05 for _ in range(500))
    assert 10 <= alarms <= 42, "one in twenty"
    raw = Stat(1000, 1e12, 1e21)  # as an old snapshot kept them: nothing of the variance is left in them
    assert (
        raw.variance == 0.0
        and compare("r", "a", "b", raw, Stat(1000, 1e12 + 5, 1e21 + 1e10), share=False).verdict == "no variance"
    )


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ([0.9, 0.9], [0.91, 0.91], "no variance"),
        ([5.0] * 5, [5.0] * 5, "no variance"),
        ([0.0] * 5000, [1.0] * 5000, "no variance"),
        ([0.9, 0.9, 0.1 + 0.8], [0.91] * 3, "no variance"),  # 0.1 + 0.8 is 0.9 to a rounding
        ([1e9 / 3] * 50, [1e9 / 3 + 1e-6] * 50, "no variance"),
        # An arm that has not varied yet is not an arm without variance
        ([0.9, 0.9], [1.0, 1.1, 1.05], "no difference seen"),
        ([0.0] * 1000, [0.0] * 900 + [1.0] * 100, "better"),
        ([0.0] * 50, [0.0] * 997 + [300.0] * 3, "no difference seen"),
        ([1.0], [2.0, 3.0], "not enough data"),
        ([], [], "not enough data"),
        ([1.0, 2.0, math.nan], [1.0, 2.0], "rewards that are not finite numbers"),
        ([1.0, 2.0], [math.inf, 2.0], "rewards that are not finite numbers"),
        ([1e200, -1e200], [1e200, 3e200], "rewards too large to square"),
    ],
)
def test_where_nothing_can_be_said_there_is_no_verdict(a: list[float], b: list[float], verdict: str) -> None:
    found = told(a, b)
    assert found.verdict == verdict and found.enough == (verdict in ("better", "no difference seen"))
    if not found.enough:
        assert all(math.isnan(value) for value in (found.low, found.high, found.p, found.relative))
    by_engine = compare(
        "reward", "a", "b", *(in_sql(np.array(values)) if values else Stat() for values in (a, b)), share=False
    )
    assert by_engine.verdict == verdict


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ((0, 2), (2, 2), "not enough data"),  # the score test says p = 0.046, Fisher's exact one 0.33
        ((0, 3), (3, 3), "not enough data"),
        ((0, 9), (9, 9), "not enough data"),
        ((0, 12), (12, 12), "better"),
        ((0, 1000), (4, 1000), "not enough data"),
        ((0, 1000), (20, 1000), "better"),
        ((980, 1000), (1000, 1000), "better"),
        ((1000, 1000), (996, 1000), "not enough data"),
        ((0, 0), (0, 0), "not enough data"),
        ((3, 5), (500, 1000), "not enough data"),  # the smaller arm says whether there are enough
        ((500, 1000), (3, 5), "not enough data"),
        ((100, 1000), (101, 1000), "no difference seen"),
    ],
)
def test_a_few_shares_have_no_verdict(a: tuple[int, int], b: tuple[int, int], verdict: str) -> None:
    found = compare("r", "a", "b", Stat(a[1], a[0], a[0]), Stat(b[1], b[0], b[0]), share=True)
    assert found.verdict == verdict
    exact = stats.fisher_exact([[a[0], a[1] - a[0]], [b[0], b[1] - b[0]]]).pvalue if a[1] else 1.0
    assert (verdict == "better") <= (exact < 0.05)
    whole = in_sql(np.repeat([1.0, 0.0], [b[0], b[1] - b[0]]), whole=True) if b[1] else Stat()
    assert whole == Stat(b[1], b[0], b[0])


def test_a_guardrail_that_cannot_be_judged_is_told_apart() -> None:
    random = np.random.default_rng(1)
    good = {"a": Stat.of(random.normal(0, 1, 90)), "b": Stat.of(random.normal(0, 1, 90))}
    found = analyse(
        {"reward": good, "guardrail__g": {"a": Stat.of([1.0, 2.0]), "b": Stat.of([1.0, math.nan])}}, control="a"
    )
    assert found.effects[1].verdict == "rewards that are not finite numbers"


def test_a_ratio_to_almost_nothing_is_none() -> None:
    found = told([1e-300, -1e-300, 1e-310], [1e10, 2e10])
    assert math.isnan(found.relative) and math.isnan(found.relative_high) and found.difference == 1.5e10


# Sample ratio


@pytest.mark.parametrize(
    ("observed", "weights"),
    [
        ((1, 1), (0.999, 0.001)),
        ((0, 2), (0.999, 0.001)),
        ((3996, 4), (0.999, 0.001)),
        ((3900, 100), (0.999, 0.001)),
        ((1, 0), (0.5, 0.5)),
        ((9, 0), (0.5, 0.5)),
        ((100, 0), (0.99, 0.01)),
    ],
)
def test_a_ratio_of_few_units_is_exact(observed: tuple[int, int], weights: tuple[float, float]) -> None:
    """Where a cell expects less than five, Pearson's p of the first is 0.0000 and no ratio is ever as weighed."""
    found = sample_ratio(dict(zip("ab", observed, strict=True)), dict(zip("ab", weights, strict=True)))
    tails = [
        stats.binomtest(observed[1], sum(observed), weights[1], alternative=way).pvalue for way in ("less", "greater")
    ]
    assert found.p == pytest.approx(min(1.0, 2 * 2 * min(tails)), rel=1e-9)
    assert found.ok == (found.p >= SRM_BELOW)


@pytest.mark.parametrize("observed", [(0, 9, 9), (9, 5, 4), (1, 16, 1), (4, 7, 7), (18, 0, 0)])
def test_each_of_several_arms_is_tested_against_the_rest(observed: tuple[int, int, int]) -> None:
    """Of two arms the one has too few where the other has too many, so either tail would do."""
    weights = (0.2, 0.4, 0.4)
    found = sample_ratio(dict(zip("abc", observed, strict=True)), dict(zip("abc", weights, strict=True)))
    tails = [
        stats.binomtest(n, sum(observed), w, alternative=way).pvalue
        for n, w in zip(observed, weights, strict=True)
        for way in ("less", "greater")
    ]
    assert found.p == pytest.approx(min(1.0, 3 * 2 * min(tails)), rel=1e-9)


def test_false_alarms_of_a_tiny_arm() -> None:
    random = np.random.default_rng(3)
    ps = [
        sample_ratio({"a": 300 - k, "b": int(k)}, {"a": 0.998, "b": 0.002}).p for k in random.binomial(300, 0.002, 2000)
    ]
    assert sum(p < SRM_BELOW for p in ps) <= 4 and sum(p < 0.05 for p in ps) / 2000 < 0.05
    assert not sample_ratio({"a": 280, "b": 20}, {"a": 0.998, "b": 0.002}).ok


# Bandits


@pytest.mark.parametrize(("offset", "scale"), SCALES)
def test_a_bandit_learns_alike_at_every_scale(offset: float, scale: float) -> None:
    random = np.random.default_rng(2)
    first, second = offset + scale * random.normal(0, 1, 60), offset + scale * random.normal(0.25, 1, 60)
    moved = probabilities(ms.assign.thompson(floor=0.0), {"a": Stat.of(first), "b": Stat.of(second)}, boolean=False)
    plain = probabilities(
        ms.assign.thompson(floor=0.0),
        {k: Stat.of((v - offset) / scale) for k, v in (("a", first), ("b", second))},
        boolean=False,
    )
    assert 0.6 < plain["b"] < 0.9 and moved == pytest.approx(plain, abs=1e-6)


def test_rewards_that_are_no_numbers_teach_nothing() -> None:
    for bad in (Stat.of([1.0, math.nan]), Stat.of([math.inf]), Stat.of([1e200, -1e200])):
        for way in (ms.assign.thompson(), ms.assign.epsilon_greedy(0.1)):
            assert probabilities(way, {"a": bad, "b": Stat.of([1.0, 2.0])}, boolean=False) == {"a": 0.5, "b": 0.5}


def test_equal_rewards_summed_in_another_order_tie() -> None:
    values = [0.1, 0.2, 0.3, 1e9, 0.7]
    raw = [Stat(5, total, sum(v * v for v in values)) for total in (sum(values), sum(values[::-1]))]
    assert raw[0].mean != raw[1].mean or raw[0].total == raw[1].total
    assert probabilities(ms.assign.epsilon_greedy(0.2), {"a": raw[0], "b": raw[1]}, boolean=False) == {
        "a": 0.5,
        "b": 0.5,
    }


@pytest.mark.parametrize(("offset", "scale"), SCALES)
def test_statistics_add_up_at_every_scale(offset: float, scale: float) -> None:
    random = np.random.default_rng(9)
    parts = [offset + scale * random.normal(k, 1 + k, 50 + k) for k in range(4)]
    whole = sum((Stat.of(part) for part in parts), Stat())
    together = Stat.of(np.concatenate(parts))
    assert whole.n == together.n and whole.variance == pytest.approx(together.variance, rel=1e-9)
    assert whole.mean == pytest.approx(together.mean, rel=1e-12, abs=1e-12 * scale)
    assert (Stat.of([1.0, math.nan]) + Stat.of([math.inf])).odd == 2 and Stat() + Stat.of([2.0]) == Stat.of([2.0])


# From the lake


def decided(world: World, experiment: Any, amounts: dict[str, list[float]]) -> None:
    endpoint = shop(experiment)
    phases.start(experiment, world.state, lambda ref: 1)
    rows = [decision(f"{arm}{i}", i, arm, user=f"{arm}{i}") for arm, of in amounts.items() for i in range(len(of))]
    world.decide(endpoint, rows)
    world.land(
        buys,
        [buy(f"{arm}{i}", HOUR + i, amount) for arm, of in amounts.items() for i, amount in enumerate(of)],
        upto=T0 + 20 * HOUR,
    )
    world.refresh(endpoint)


def test_a_report_far_from_zero_is_scipys(world: World) -> None:
    random = np.random.default_rng(6)
    amounts = {"blue": random.normal(2, 1, 80).round(3).tolist(), "red": random.normal(2.2, 1, 90).round(3).tolist()}
    experiment = ab(reward=paid.score("outcome + 1000000000"))
    decided(world, experiment, amounts)
    found = reports.analyse(experiment, shop(experiment), world.lake, world.sql, world.state, PARAMS)
    truth = stats.ttest_ind(amounts["red"], amounts["blue"], equal_var=False)
    low, high = truth.confidence_interval(0.95)
    effect = found.result.effects[0]
    assert (effect.p, effect.low, effect.high) == (
        pytest.approx(truth.pvalue, rel=1e-5),
        pytest.approx(low, abs=1e-6),
        pytest.approx(high, abs=1e-6),
    )


def test_a_reward_that_is_no_double_is_missing(world: World) -> None:
    """exp(1000): the outcomes table has NULL, so that no report ever sums an infinity."""
    experiment = ab(reward=paid.score("exp(outcome)"))
    decided(world, experiment, {"blue": [1.0, 2.0, 1000.0], "red": [1.0, 2.0, 3.0]})
    found = reports.analyse(experiment, shop(experiment), world.lake, world.sql, world.state, PARAMS)
    assert [(a.judged, a.stat.n, a.stat.odd, a.missing) for a in found.arms] == [(3, 2, 0, 1), (3, 3, 0, 0)]


def test_a_bandit_far_from_zero_and_one_of_an_older_snapshot(world: World) -> None:
    bandit = ab(assign=ms.assign.thompson(floor=0.0), reward=paid.score("outcome + 1000000000"))
    random = np.random.default_rng(7)
    amounts = {"blue": random.normal(2, 1, 60).round(3).tolist(), "red": random.normal(2.9, 1, 60).round(3).tolist()}
    decided(world, bandit, amounts)
    made = reports.update(bandit, shop(bandit), world.lake, world.sql, world.state, PARAMS)
    near = probabilities(bandit.assign, {arm: Stat.of(of) for arm, of in amounts.items()}, boolean=False)
    assert (
        made is not None
        and made.probabilities[""] == pytest.approx(near, abs=1e-4)
        and made.probabilities[""]["red"] > 0.99
    )
    doc = world.state.get("bandit", "colours")
    assert doc is not None and doc.value["format"] == 2
    world.state.put(
        "bandit", "colours", {**doc.value, "format": 1, "stats": {"": {"blue": [10, 7.0, 7.0], "red": [10, 2.0, 2.0]}}}
    )
    read = learn.snapshot_of(world.state, "colours")
    assert read is not None and read.stats[""]["blue"] == Stat(10, 7.0, 7.0)
