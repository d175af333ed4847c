"""A bandit's memory: a pure function of the mature rewards, written once for each change, and the same whoever asks
twice.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from decided_world import HOUR, PARAMS, T0, World, ab, buy, buys, decision, paid, rng, routed, run, shop

import millstream as ms
from millstream.base.errors import Conflict
from millstream.experiment import analyse, learn, phases
from millstream.experiment.bandit import Beta, Stat, probabilities
from millstream.experiment.learn import refresh, snapshot_of

BANDIT: Any = ab(assign=ms.assign.thompson(floor=0.05))
ONE = {"": {"blue": Stat(10, 7.0, 7.0), "red": Stat(10, 2.0, 2.0)}}


def begun(world: World, experiment: Any = BANDIT) -> Any:
    return phases.start(experiment, world.state, lambda ref: 1)


def test_the_same_rewards_are_the_same_snapshot(world: World) -> None:
    phase = begun(world)
    assert snapshot_of(world.state, "colours") is None
    first = refresh(BANDIT, phase, ONE, {"outcomes": 4}, world.state, boolean=True)
    assert first.probabilities == {"": probabilities(BANDIT.assign, ONE[""], boolean=True)} and (
        first.draw,
        first.phase,
        first.position,
    ) == (1, 1, {"outcomes": 4})
    assert (
        refresh(BANDIT, phase, ONE, {"outcomes": 9}, world.state, boolean=True)
        == first
        == snapshot_of(world.state, "colours")
    )
    more = {"": {**ONE[""], "red": Stat(11, 3.0, 3.0)}}
    second = refresh(BANDIT, phase, more, {"outcomes": 9}, world.state, boolean=True)
    assert (second.draw, second.position) == (2, {"outcomes": 9}) and second.probabilities[""][
        "red"
    ] > first.probabilities[""]["red"]
    back = refresh(BANDIT, phase, ONE, {"outcomes": 10}, world.state, boolean=True)
    assert back.draw == 3 and back.probabilities == first.probabilities, "only the rewards decide, not the way there"


def test_a_new_phase_begins_to_learn_anew_and_draws_on(world: World) -> None:
    first = refresh(BANDIT, begun(world), ONE, {}, world.state, boolean=True)
    second = refresh(BANDIT, begun(world), {}, {}, world.state, boolean=True)
    assert (first.phase, second.phase, second.draw) == (1, 2, 2) and second.stats == {
        "": {"blue": Stat(), "red": Stat()}
    }
    assert second.probabilities[""] == pytest.approx({"blue": 0.5, "red": 0.5})


def test_the_same_rewards_in_another_phase_are_another_snapshot(world: World) -> None:
    first = refresh(BANDIT, begun(world), ONE, {"outcomes": 1}, world.state, boolean=True)
    second = refresh(BANDIT, begun(world), ONE, {"outcomes": 2}, world.state, boolean=True)
    assert (
        first.stats == second.stats
        and (first.phase, second.phase, second.draw) == (1, 2, 2)
        and snapshot_of(world.state, "colours") == second
    )


def test_a_bandit_that_has_not_learnt_yet_is_reported_with_even_arms(world: World) -> None:
    """Before its first snapshot, and with one of contexts in which nothing was decided."""
    split: Any = ab(assign=ms.assign.thompson(by=["device"]))
    for bandit, learnt in ((BANDIT, False), (split, False), (split, True)):
        phase = begun(world, bandit)
        assert not learnt or refresh(bandit, phase, {}, {}, world.state, boolean=True).probabilities == {}
        report = analyse.analyse(bandit, shop(bandit), world.lake, world.sql, world.state, PARAMS)
        assert [arm.probability for arm in report.arms] == [0.5, 0.5] and (report.snapshot is not None) == learnt


def test_arms_without_rewards_are_there_too(world: World) -> None:
    made = refresh(BANDIT, begun(world), {"": {"red": Stat(50, 40.0, 40.0)}}, {}, world.state, boolean=True)
    assert made.stats[""]["blue"] == Stat() and list(made.probabilities[""]) == ["blue", "red"]


def test_two_at_once_write_one(world: World) -> None:
    phase = begun(world)

    class Between:
        def get(self, kind: str, key: str) -> Any:
            doc = world.state.get(kind, key)
            if doc is None:
                refresh(BANDIT, phase, ONE, {}, world.state, boolean=True)
            return doc

        def put(self, *args: Any, **options: Any) -> Any:
            return world.state.put(*args, **options)

    with pytest.raises(Conflict):
        refresh(BANDIT, phase, ONE, {}, Between(), boolean=True)  # type: ignore[arg-type]
    made = snapshot_of(world.state, "colours")
    assert made is not None and made.draw == 1


def test_of_many_contexts_those_with_most_rewards_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learn, "_MOST_CONTEXTS", 3)
    by = ab(assign=ms.assign.thompson(by=["device"]))
    stats = {f"c{i}": {"blue": Stat(i, float(i), float(i)), "red": Stat(1, 0.0, 0.0)} for i in range(6)}
    made = refresh(by, begun(world, by), stats, {}, world.state, boolean=True)
    assert list(made.stats) == list(made.probabilities) == ["c3", "c4", "c5"]
    assert refresh(by, begun(world, by), {}, {}, world.state, boolean=True).probabilities == {}, (
        "without a reward there is no context yet"
    )


# From the outcomes table


def test_update_counts_every_mature_decision_of_the_phase(world: World) -> None:
    endpoint = shop(BANDIT)
    assert analyse.update(BANDIT, endpoint, world.lake, world.sql, world.state, PARAMS) is None, "nothing runs yet"
    begun(world)
    assert analyse.update(BANDIT, endpoint, world.lake, world.sql, world.state, PARAMS) is None, "no outcome yet"
    rows = [
        decision("a", 0, "blue"),
        decision("b", HOUR, "blue"),
        decision("c", 0, "red"),
        decision("old", 0, "red", phase=7),
        decision("gone", 0, "green"),
        decision("immature", 30 * HOUR, "red"),
        decision("outside", 0, None),
    ]
    world.decide(endpoint, rows)
    world.land(buys, [buy("a", HOUR), buy("old", HOUR), buy("immature", 31 * HOUR)], upto=T0 + 32 * HOUR)
    world.refresh(endpoint)
    made = analyse.update(BANDIT, endpoint, world.lake, world.sql, world.state, PARAMS)
    assert (
        made is not None and made.boolean and made.stats == {"": {"blue": Stat(2, 1.0, 1.0), "red": Stat(1, 0.0, 0.0)}}
    ), "one user's two decisions are two rewards"
    assert made.position == {"outcomes": world.lake.table("shop_outcomes").version, "decisions_us": T0 + HOUR}
    assert analyse.update(BANDIT, endpoint, world.lake, world.sql, world.state, PARAMS) == made
    phases.stop("colours", world.state)
    assert analyse.update(BANDIT, endpoint, world.lake, world.sql, world.state, PARAMS) is None


def test_numbers_and_missing_rewards_by_context(world: World) -> None:
    by = ab(assign=ms.assign.thompson(by=["device"]), reward=paid.score("outcome / 2"))
    endpoint = shop(by)
    begun(world, by)
    world.decide(
        endpoint,
        [
            decision("a", 0, device="desk"),
            decision("b", 0, "red", device="desk"),
            decision("c", 0),
            decision("silent", 0),
        ],
    )
    world.land(buys, [buy("a", HOUR, 3.0), buy("b", HOUR, 8.0), buy("c", HOUR, 1.0)], upto=T0 + 20 * HOUR)
    world.refresh(endpoint)
    made = analyse.update(by, endpoint, world.lake, world.sql, world.state, PARAMS)
    assert made is not None and not made.boolean
    assert made.stats == {
        "desk": {"blue": Stat.of([1.5]), "red": Stat.of([4.0])},
        "phone": {"blue": Stat.of([0.5]), "red": Stat()},
    }


# The whole loop


@pytest.mark.parametrize("method", ["thompson", "epsilon_greedy"])
def test_a_bandit_learns_from_what_becomes_of_its_decisions(world: World, method: str) -> None:
    """Route, decide, land, refresh, update, twelve times over: red pays four times as often and ends with most of the
    traffic.
    """
    bandit = ab(assign=ms.assign.thompson(floor=0.05) if method == "thompson" else ms.assign.epsilon_greedy(0.2))
    endpoint, random, phase, snapshot = shop(bandit), rng(5), begun(world, bandit), None
    shares = []
    for turn in range(6):
        route = run([(bandit, phase)], {} if snapshot is None else {"colours": snapshot})
        rows = routed(route, [f"u{turn}/{i}" for i in range(150)], first=turn * 150, every_us=30_000_000)
        shares.append(np.mean([row["arm"] == "red" for row in rows]))
        world.decide(endpoint, rows)
        bought = [row for row in rows if random.random() < {"blue": 0.1, "red": 0.4}[row["arm"]]]
        world.land(
            buys, [buy(row["decision_id"], row["ts"] - T0 + 1) for row in bought], upto=rows[-1]["ts"] + 7 * HOUR
        )
        world.refresh(endpoint)
        snapshot = analyse.update(bandit, endpoint, world.lake, world.sql, world.state, PARAMS)
        assert snapshot is not None and snapshot.draw == turn + 1
    assert snapshot is not None and 0.35 < shares[0] < 0.65 and shares[-1] > 0.8
    report = analyse.analyse(bandit, endpoint, world.lake, world.sql, world.state, PARAMS)
    assert report.result.srm is None and sum(a.decisions for a in report.arms) == 900
    red = next(a for a in report.arms if a.arm == "red")
    assert red.probability == pytest.approx(snapshot.probabilities[""]["red"]) and red.probability >= 0.9
    truth = Beta.of(snapshot.stats[""]["red"])
    assert (red.believed_mean, red.believed_sd) == (truth.mean, truth.sd) and abs(
        red.believed_mean - 0.4
    ) < 4 * red.believed_sd
    # A propensity is a true one: weighing by its inverse gives each arm's mean over all, unskewed by who was sent
    # where.
    judged = world.rows("shop_outcomes")
    for arm, mean in (("blue", 0.1), ("red", 0.4)):
        weighed = [r["reward"] / r["propensity"] * (r["arm"] == arm) for r in judged]
        assert abs(np.mean(weighed) - mean) < 4 * np.std(weighed) / math.sqrt(len(weighed))
