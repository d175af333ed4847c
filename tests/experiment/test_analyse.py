"""Reports from the lake beside numbers computed by hand, and what they say of worlds whose truth is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from decided_world import (
    DAY,
    HOUR,
    PARAMS,
    T0,
    World,
    ab,
    bought,
    buy,
    buys,
    calm,
    complaints,
    decision,
    paid,
    rng,
    routed,
    run,
    shop,
)

import millstream as ms
from millstream.base.errors import NotFound
from millstream.experiment import phases
from millstream.experiment.analyse import Report, analyse
from millstream.experiment.bandit import Stat

stats = pytest.importorskip("scipy.stats")


def report(world: World, experiment: Any, **options: Any) -> Report:
    return analyse(experiment, shop(experiment), world.lake, world.sql, world.state, PARAMS, **options)


def begin(world: World, experiment: Any) -> Any:
    return phases.start(experiment, world.state, lambda ref: 1)


def test_before_anything_there_is_nothing_to_say(world: World) -> None:
    experiment = ab()
    with pytest.raises(NotFound, match='"colours" was never started'):
        report(world, experiment)
    begin(world, experiment)
    empty = report(world, experiment)
    assert [(a.arm, a.decisions, a.units, a.judged, a.stat, a.probability) for a in empty.arms] == [
        ("blue", 0, 0, 0, Stat(), 0.5),
        ("red", 0, 0, 0, Stat(), 0.5),
    ]
    assert (
        [e.verdict for e in empty.result.effects] == ["not enough data"]
        and empty.shares == []
        and empty.result.srm is not None
        and empty.result.srm.ok
    )
    with pytest.raises(NotFound, match="has phases 1 to 1, not 2"):
        report(world, experiment, phase=2)


def test_units_count_once_by_their_first_decision(world: World) -> None:
    """u: not bought, then bought; v: bought twice; w: its decision is not mature; the other phase and the rest are not
    looked at.
    """
    experiment = ab()
    begin(world, experiment)
    rows = [
        decision("u1", 0, user="u"),
        decision("u2", HOUR, user="u"),
        decision("v1", HOUR, "red", user="v"),
        decision("v2", 2 * HOUR, "red", user="v"),
        decision("w1", 40 * HOUR, "red", user="w"),
        decision("x1", 0, "red", user="x", phase=9),
        decision("y1", 0, None, user="y"),
    ]
    world.decide(shop(experiment), rows)
    world.land(buys, [buy(name, 3 * HOUR) for name in ("u2", "v1", "v2", "x1")], upto=T0 + 41 * HOUR)
    world.refresh(shop(experiment))
    found = report(world, experiment)
    assert [(a.arm, a.decisions, a.units, a.judged, a.stat, a.missing) for a in found.arms] == [
        ("blue", 2, 1, 1, Stat(1, 0.0, 0.0), 0),
        ("red", 3, 2, 1, Stat(1, 1.0, 1.0), 0),
    ]
    assert (
        found.result.means == {"reward": {"blue": 0.0, "red": 1.0}}
        and found.result.srm is not None
        and found.result.srm.observed == {"blue": 1, "red": 2}
    )


def test_numbers_are_those_of_scipy_on_the_same_rewards(world: World) -> None:
    experiment = ab(
        reward=paid.score("outcome - price / 10"),
        guardrails={"bought": bought, "calm": calm},
        assign=ms.assign.ab(0.4, 0.6),
    )
    endpoint, phase, random = shop(experiment), begin(world, experiment), rng(8)
    rows = routed(run([(experiment, phase)]), [f"u{i}" for i in range(400)])
    amounts = {
        row["decision_id"]: round(float(random.gamma(3, 2 if row["arm"] == "red" else 1.5)), 2)
        for row in rows
        if random.random() < 0.7
    }
    wrote = [row for row in rows if random.random() < 0.2]
    world.decide(endpoint, rows)
    world.land(buys, [buy(name, HOUR * 10, amount) for name, amount in sorted(amounts.items())], upto=T0 + 9 * DAY)
    world.land(complaints, [{"user": row["user"], "ts": row["ts"] + HOUR} for row in wrote], upto=T0 + 9 * DAY)
    world.refresh(endpoint)
    found = report(world, experiment, level=0.9)
    seen = {name: amount - 1.0 for name, amount in amounts.items() if 0 < 10 * HOUR - _at(rows, name) <= 6 * HOUR}
    truth = {
        arm: np.array([seen[row["decision_id"]] for row in rows if row["arm"] == arm and row["decision_id"] in seen])
        for arm in ("blue", "red")
    }
    reward, share, worse = found.result.effects
    test = stats.ttest_ind(truth["red"], truth["blue"], equal_var=False)
    low, high = test.confidence_interval(0.9)
    assert (reward.metric, reward.p, reward.low, reward.high) == (
        "reward",
        pytest.approx(test.pvalue, rel=1e-6),
        pytest.approx(low, rel=1e-6),
        pytest.approx(high, rel=1e-6),
    )
    assert (reward.n_control, reward.n_treatment) == (
        len(truth["blue"]),
        len(truth["red"]),
    ) and found.result.level == 0.9
    units = {arm: [row for row in rows if row["arm"] == arm] for arm in ("blue", "red")}
    table = [
        [sum((r["decision_id"] in seen) == yes for r in units[arm]) for yes in (True, False)] for arm in ("blue", "red")
    ]
    assert share.metric == "guardrail__bought" and share.p == pytest.approx(
        stats.chi2_contingency(table, correction=False).pvalue, rel=1e-9
    )
    writers = {r["user"] for r in wrote}
    complained = {arm: -np.array([float(r["user"] in writers) for r in units[arm]]) for arm in units}
    assert worse.metric == "guardrail__calm" and worse.p == pytest.approx(
        stats.ttest_ind(complained["red"], complained["blue"], equal_var=False).pvalue, rel=1e-6
    )
    srm = found.result.srm
    assert srm is not None and srm.p == pytest.approx(
        stats.chisquare([len(units["blue"]), len(units["red"])], [160.0, 240.0]).pvalue, rel=1e-8
    )
    assert [(a.arm, a.judged, a.missing) for a in found.arms] == [
        (arm, len(units[arm]), len(units[arm]) - len(truth[arm])) for arm in ("blue", "red")
    ]


def _at(rows: list[dict[str, Any]], name: str) -> int:
    return next(row["ts"] for row in rows if row["decision_id"] == name) - T0


def test_a_ratio_that_is_off_is_said_so(world: World) -> None:
    """A treatment that loses a fifth of its decisions (say, its page crashes before it logs) is not to be believed."""
    experiment = ab()
    rows = routed(run([(experiment, begin(world, experiment))]), [f"u{i}" for i in range(3000)])
    kept = [row for i, row in enumerate(rows) if row["arm"] == "blue" or i % 5]
    world.decide(shop(experiment), rows)
    assert (srm := report(world, experiment).result.srm) is not None and srm.ok
    world.lake.drop("shop_decisions")
    world.decide(shop(experiment), kept)
    assert (srm := report(world, experiment).result.srm) is not None and not srm.ok and srm.p < 1e-4


def test_a_known_effect_is_found_and_a_guardrail_that_is_hurt(world: World) -> None:
    """Red sells 12 points more often and angers one visitor in eight; the intervals hold both truths."""
    experiment = ab(guardrails={"calm": calm})
    endpoint, phase, random = shop(experiment), begin(world, experiment), rng(4)
    rows = routed(run([(experiment, phase)]), [f"u{i}" for i in range(3000)])
    world.decide(endpoint, rows)
    red = np.array([row["arm"] == "red" for row in rows])
    sold, angry = random.random(len(rows)) < 0.30 + 0.12 * red, random.random(len(rows)) < 0.125 * red
    world.land(
        buys,
        [buy(row["decision_id"], row["ts"] - T0 + HOUR) for row, yes in zip(rows, sold, strict=True) if yes],
        upto=T0 + 9 * DAY,
    )
    world.land(
        complaints,
        [{"user": row["user"], "ts": row["ts"] + HOUR} for row, yes in zip(rows, angry, strict=True) if yes],
        upto=T0 + 9 * DAY,
    )
    world.refresh(endpoint)
    found = report(world, experiment)
    reward, guard = found.result.effects
    assert reward.verdict == "better" and reward.low <= 0.12 <= reward.high and reward.p < 1e-6
    assert reward.relative_low <= 0.4 <= reward.relative_high
    assert (
        guard.verdict == "worse"
        and guard.low <= -0.125 <= guard.high
        and found.result.guards == {"guardrail__calm": False}
    )
    assert found.result.srm is not None and found.result.srm.ok


def test_shares_over_time(world: World) -> None:
    experiment = ab()
    begin(world, experiment)
    rows = [
        decision("a", 0, user="1"),
        decision("b", HOUR, user="2"),
        decision("c", 2 * HOUR, "red", user="3"),
        decision("d", 3 * DAY, "red", user="4"),
    ]
    world.decide(shop(experiment), rows)
    world.land(buys, [buy("a", HOUR)], upto=T0 + DAY)
    world.refresh(shop(experiment))
    told = report(world, experiment).shares
    assert [(s.at_us, s.arm, s.decisions, round(s.share, 3)) for s in told] == [
        (T0, "blue", 2, 0.667),
        (T0, "red", 1, 0.333),
        (T0 + 3 * DAY, "blue", 0, 0.0),
        (T0 + 3 * DAY, "red", 1, 1.0),
    ]
    assert [s.reward for s in told[:2]] == [0.5, 0.0] and all(math.isnan(s.reward) for s in told[2:])
    assert len(report(world, experiment, every_us=HOUR).shares) == 8


def test_each_phase_has_its_own_report(world: World) -> None:
    experiment = ab()
    begin(world, experiment)
    world.decide(
        shop(experiment),
        [decision("a", 0), decision("b", 0, "red", user="v", phase=2), decision("c", 0, "red", user="w", phase=2)],
    )
    phases.ship("colours", "red", world.state)
    assert [a.decisions for a in report(world, experiment, phase=1).arms] == [1, 0]
    shipped = report(world, experiment)
    assert (shipped.phase.number, [a.decisions for a in shipped.arms], [a.probability for a in shipped.arms]) == (
        2,
        [0, 2],
        [0.0, 1.0],
    )
