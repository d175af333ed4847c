"""Decisions with what became of them: once mature, never before; by parts as by the whole; whoever is killed on the
way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
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
    shop,
)

import millstream as ms
from millstream.base import points
from millstream.experiment import outcomes
from millstream.lake.table import LakeTable

SHOP = shop(ab())


# Which decisions, with what


def test_only_mature_decisions_are_judged_early_answers_too(world: World) -> None:
    assert world.refresh(SHOP).version is None
    world.decide(
        SHOP, [decision("a", 0), decision("b", HOUR), decision("early", 4 * HOUR), decision("edge", 4 * HOUR - 1)]
    )
    assert world.refresh(SHOP).version is None, "no answer has landed: nothing is mature"
    world.land(buys, [buy("a", 2 * HOUR), buy("early", 5 * HOUR)], upto=T0 + 10 * HOUR)
    done = world.refresh(SHOP)
    assert world.judged(SHOP) == {"a": (1.0, 1.0), "b": (0.0, 0.0), "edge": (0.0, 0.0)}
    assert (done.rows, done.mature_us) == (3, T0 + 4 * HOUR) and outcomes.due(SHOP, world.lake, world.sql) == 3
    world.land(buys, [], upto=T0 + 10 * HOUR + 1)
    assert world.refresh(SHOP).rows == 1 and world.judged(SHOP)["early"] == (1.0, 1.0)
    assert world.refresh(SHOP).rows == 0


def test_rewards_are_sql_over_outcome_prediction_arm_and_request(world: World) -> None:
    text = "case when arm = 'red' then outcome - $fee else outcome end + price / 10 + prediction"
    endpoint = shop(ab(reward=paid.score(text)))
    world.decide(
        endpoint,
        [
            decision("a", 0, "blue", prediction=0.25),
            decision("b", 0, "red", prediction=0.5, price=30.0),
            decision("none", 0, "red", prediction=0.5),
        ],
    )
    world.land(buys, [buy("a", HOUR, 5.0), buy("a", 2 * HOUR, 1.5), buy("b", HOUR, 8.0)], upto=T0 + DAY)
    world.refresh(endpoint)
    assert world.judged(endpoint) == {"a": (6.5, 7.75), "b": (8.0, 9.5), "none": (None, None)}, (
        "nothing came and otherwise is silent: NULL, but told"
    )


def test_of_two_answers_the_first_counts_and_a_second_decision_has_its_own(world: World) -> None:
    first = ms.outcome(buys, on="decision_id", value="amount", within="6h")
    endpoint = shop(ab(reward=first))
    world.decide(endpoint, [decision("a", 0), decision("b", HOUR)])
    world.land(
        buys,
        [buy("a", 3 * HOUR, 9.0), buy("a", 2 * HOUR, 4.0), buy("b", 0, 7.0), buy("b", 8 * HOUR, 7.0)],
        upto=T0 + DAY,
    )
    world.refresh(endpoint)
    assert world.judged(endpoint) == {"a": (4.0, 4.0), "b": (None, None)}, (
        "before the decision, or beyond the horizon, is not its answer"
    )


@pytest.mark.parametrize(
    ("credit", "truth"), [("all", [1.0, 1.0, 0.0]), ("last", [0.0, 1.0, 0.0]), ("first", [1.0, 0.0, 0.0])]
)
def test_credit(world: World, credit: Any, truth: list[float]) -> None:
    endpoint = shop(ab(reward=ms.outcome(buys, on="user", within="6h", otherwise=False, credit=credit)))
    world.decide(endpoint, [decision("a", 0), decision("b", HOUR), decision("c", 3 * HOUR)])
    world.land(buys, [buy("x", 2 * HOUR)], upto=T0 + 8 * HOUR)
    world.refresh(endpoint)
    assert [outcome for outcome, _ in world.judged(endpoint).values()] == truth[:2]
    world.land(buys, [buy("y", 4 * HOUR)], upto=T0 + DAY)
    world.refresh(endpoint)
    assert [outcome for outcome, _ in world.judged(endpoint).values()] == {
        "all": [1.0, 1.0, 1.0],
        "last": [0.0, 1.0, 1.0],
        "first": [1.0, 0.0, 0.0],
    }[credit]


def test_credit_looks_at_decisions_that_were_judged_before(world: World) -> None:
    endpoint = shop(ab(reward=ms.outcome(buys, on="user", within="6h", otherwise=False, credit="first")))
    world.decide(endpoint, [decision("a", 0), decision("b", 3 * HOUR)])
    world.land(buys, [buy("x", 4 * HOUR)], upto=T0 + 8 * HOUR)
    world.refresh(endpoint)
    world.land(buys, [], upto=T0 + DAY)
    world.refresh(endpoint)
    assert world.judged(endpoint) == {"a": (1.0, 1.0), "b": (0.0, 0.0)}


def test_guardrails_mature_with_the_slowest(world: World) -> None:
    endpoint = shop(ab(guardrails={"calm": calm}))
    world.decide(endpoint, [decision("a", 0, user="u"), decision("b", 0, user="v")])
    world.land(buys, [buy("a", HOUR)], upto=T0 + 9 * DAY)
    assert world.refresh(endpoint).rows == 0, "no complaint has landed yet"
    world.land(complaints, [{"user": "v", "ts": T0 + HOUR}, {"user": "v", "ts": T0 + DAY}])
    assert world.refresh(endpoint).rows == 0, "their horizon is a day"
    world.land(complaints, [{"user": "u", "ts": T0 + DAY + 1}])
    assert world.refresh(endpoint).rows == 2
    assert [(r["reward"], r["guardrail__calm"]) for r in world.rows("shop_outcomes")] == [(1.0, 0.0), (0.0, -2.0)]


def test_each_experiment_by_its_own_and_the_rest_by_the_first(world: World) -> None:
    one, two = ab("one", guardrails={"calm": calm}), ab("two", reward=paid.score("outcome * 10"))
    endpoint = shop(one, two)
    rows = [
        decision("a", 0, experiment="one"),
        decision("b", 0, experiment="two"),
        decision("none", 0, None),
        decision("gone", 0, experiment="ended"),
    ]
    world.decide(endpoint, rows)
    world.land(buys, [buy(name, HOUR, 3.0) for name in ("a", "b", "none", "gone")], upto=T0 + DAY)
    world.refresh(endpoint)
    assert world.judged(endpoint) == {"b": (3.0, 30.0), "none": (1.0, 1.0), "gone": (1.0, 1.0)}, (
        "the first waits for complaints, the others do not"
    )
    world.land(complaints, [], upto=T0 + 9 * DAY)
    world.refresh(endpoint)
    assert world.judged(endpoint)["a"] == (1.0, 1.0)
    assert {r["decision_id"]: r["guardrail__calm"] for r in world.rows("shop_outcomes")} == {
        "a": 0.0,
        "b": None,
        "none": None,
        "gone": None,
    }
    assert outcomes.due(endpoint, world.lake, world.sql) == 4


def test_the_table_holds_all_that_was_decided(world: World) -> None:
    world.decide(SHOP, [decision("a", 0, "red", propensity=0.125, device="desk")])
    world.land(buys, [], upto=T0 + DAY)
    world.refresh(SHOP)
    kept, before = world.rows("shop_outcomes")[0], world.rows("shop_decisions")[0]
    assert {k: v for k, v in kept.items() if k not in ("outcome", "reward")} == {
        k: v for k, v in before.items() if k in kept
    }
    assert not [name for name in kept if name.startswith("_")] and kept["propensity"] == 0.125


# By parts


def fully(world: World, endpoint: Any) -> list[dict[str, Any]]:
    """What one refresh of everything makes."""
    kept = world.rows(endpoint.outcomes)
    world.lake.drop(endpoint.outcomes)
    world.refresh(endpoint)
    assert outcomes.due(endpoint, world.lake, world.sql) == len(kept)
    return world.rows(endpoint.outcomes)


def test_a_late_answer_reaches_as_far_back_as_the_longest_horizon_over_its_stream(world: World) -> None:
    soon, later = ms.outcome(buys, on="decision_id", within="1h", otherwise=False), bought
    for name, reward, guardrail in (("a", soon, later), ("b", later, soon)):
        endpoint = shop(ab(reward=reward, guardrails={"other": guardrail}), name=name)
        world.decide(endpoint, [decision("d", 0)])
        world.land(buys, [], upto=T0 + 10 * HOUR)
        assert world.refresh(endpoint).rows == 1
        world.land(buys, [buy("d", 3 * HOUR)])
        assert world.refresh(endpoint).rows == 1
        (row,) = world.rows(endpoint.outcomes)
        assert (row["reward"], row["guardrail__other"]) == ((0.0, 1.0) if reward is soon else (1.0, 0.0))
        world.lake.drop("buys")


@pytest.mark.parametrize("seed", [0, 3])
def test_refreshes_bit_by_bit_are_one_refresh_of_all(world: World, seed: int) -> None:
    """Decisions and answers land in turns, some of them late; after every turn the table is what the whole would be."""
    random, endpoint, parts = (
        rng(seed),
        shop(ab(reward=paid.score("outcome + price"), guardrails={"bought": bought})),
        0,
    )
    number, now = 0, 0
    for _ in range(6):
        now += int(random.integers(HOUR, 20 * HOUR))
        moments = sorted(now - int(random.exponential(3 * HOUR)) for _ in range(int(random.integers(0, 12))))
        world.decide(
            endpoint,
            [
                decision(f"d{number + i:03}", at + DAY, str(random.choice(["blue", "red"])), user=f"u{i}")
                for i, at in enumerate(moments)
            ],
        )
        number += len(moments)
        asked = random.integers(0, max(number, 1), int(random.integers(0, 10)))
        answers = [
            buy(f"d{i:03}", now + DAY - int(random.exponential(4 * HOUR)), round(float(random.random()), 2))
            for i in asked
        ]
        world.land(buys, answers, upto=T0 + now + DAY - int(random.integers(0, 3)) * HOUR)
        done = world.refresh(endpoint)
        if done.version is None:
            continue
        parts += 0 < done.low_us < done.mature_us
        stored = world.rows(endpoint.outcomes)
        version = world.lake.table(endpoint.outcomes).version
        again = world.refresh(endpoint)
        assert (again.rows, world.lake.table(endpoint.outcomes).version) == (0, version), (
            "a second refresh finds nothing to do"
        )
        # The whole, in a table of its own beside it.
        whole = shop(*endpoint.experiments, name="whole")
        if world.lake.exists("whole_decisions"):
            world.lake.drop("whole_decisions")
            world.lake.drop("whole_outcomes")
        world.decide(
            whole,
            [
                {k: v for k, v in row.items() if not k.startswith("_")} | {"ts": int(row["ts"].timestamp() * 1e6)}
                for row in world.rows("shop_decisions")
            ],
        )
        world.refresh(whole)
        assert stored == world.rows("whole_outcomes")
    assert parts >= 2, "some of the refreshes were of a part"


def test_what_lands_late_changes_what_was_judged(world: World) -> None:
    world.decide(SHOP, [decision("a", 0), decision("b", 30 * DAY)])
    world.land(buys, [], upto=T0 + 40 * DAY)
    world.refresh(SHOP)
    assert world.judged(SHOP) == {"a": (0.0, 0.0), "b": (0.0, 0.0)}
    world.decide(SHOP, [decision("late", 20 * DAY)])
    world.land(buys, [buy("b", 30 * DAY + HOUR)])
    done = world.refresh(SHOP)
    assert (
        world.judged(SHOP)
        == {"a": (0.0, 0.0), "b": (1.0, 1.0), "late": (0.0, 0.0)}
        == {r["decision_id"]: (r["outcome"], r["reward"]) for r in fully(world, SHOP)}
    )
    assert done.low_us == T0 + 20 * DAY and done.rows == 2, "the decision of the first day was left alone"


def test_rows_that_were_taken_out_count_no_more(world: World) -> None:
    """`doctor` moves rows to the dead letters (`lake/move.py`): no row is new then, and some are gone."""
    world.decide(SHOP, [decision("a", 0), decision("b", HOUR)])
    world.land(buys, [buy("a", HOUR), buy("b", 2 * HOUR)], upto=T0 + DAY)
    world.refresh(SHOP)
    assert world.judged(SHOP) == {"a": (1.0, 1.0), "b": (1.0, 1.0)}
    table = world.lake.table("buys")
    table.edit(
        lambda rows: rows.filter(pa.array([name != "a" for name in rows.column("decision_id").to_pylist()])),
        {},
        txns={"moved": (None, 1)},
        metadata={},
    )
    world.refresh(SHOP)
    assert world.judged(SHOP) == {"a": (0.0, 0.0), "b": (1.0, 1.0)}


def test_another_way_to_judge_judges_all_anew(world: World) -> None:
    world.decide(SHOP, [decision("a", 0), decision("b", 0)])
    world.land(buys, [buy("a", 2 * HOUR, 5.0)], upto=T0 + DAY)
    world.refresh(SHOP)
    for reward, truth in (
        (bought.score("case when outcome then price else -1.0 end"), 10.0),
        (bought.score("case when outcome then $fee else -1.0 end"), 2.0),
        (ms.outcome(buys, on="decision_id", within="1h", otherwise=False), 0.0),
    ):
        assert world.refresh(shop(ab(reward=reward))).rows == 2
        assert world.judged(SHOP)["a"][1] == truth
    assert (
        world.refresh(
            shop(ab(reward=bought.score("case when outcome then $fee else -1.0 end"))), PARAMS | {"fee": 3}
        ).rows
        == 2
    )
    assert world.judged(SHOP)["a"][1] == 3.0
    guarded = shop(ab(guardrails={"paid": paid}))
    assert world.refresh(guarded).rows == 2 and world.rows("shop_outcomes")[0]["guardrail__paid"] == 5.0
    assert world.refresh(SHOP).rows == 2 and "guardrail__paid" not in world.rows("shop_outcomes")[0]


def test_a_table_made_again_is_read_again(world: World) -> None:
    world.decide(SHOP, [decision("a", 0)])
    world.land(buys, [buy("a", HOUR)], upto=T0 + DAY)
    world.refresh(SHOP)
    world.lake.drop("buys")
    world.land(buys, [], upto=T0 + DAY)
    assert world.refresh(SHOP).rows == 1 and world.judged(SHOP) == {"a": (0.0, 0.0)}


# Killed, and at once


class Killed(BaseException):
    """As `kill -9` would end it: nothing of ours catches it."""


def at_point(chosen: str) -> Callable[[], None]:
    def die(point: str) -> None:
        if point == chosen:
            raise Killed

    return points.watch(die)


@pytest.mark.parametrize("point", ["replace.files", "commit.linked"])
@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_a_killed_refresh_changes_nothing_or_all(world: World, point: str, first: bool) -> None:
    world.decide(SHOP, [decision("a", 0), decision("b", 10 * DAY)])
    world.land(buys, [buy("a", HOUR)], upto=T0 + 5 * DAY)
    if not first:
        world.refresh(SHOP)
    world.land(buys, [buy("b", 10 * DAY + HOUR)], upto=T0 + 15 * DAY)
    end = at_point(point)
    try:
        with pytest.raises(Killed):
            world.refresh(SHOP)
    finally:
        end()
    seen = world.judged(SHOP) if world.lake.exists("shop_outcomes") else {}
    assert seen == (
        {"a": (1.0, 1.0), "b": (1.0, 1.0)} if point == "commit.linked" else {} if first else {"a": (1.0, 1.0)}
    )
    world.refresh(SHOP)
    assert (
        world.judged(SHOP)
        == {"a": (1.0, 1.0), "b": (1.0, 1.0)}
        == {r["decision_id"]: (r["outcome"], r["reward"]) for r in fully(world, SHOP)}
    )


def test_two_refreshes_at_once_end_in_the_truth(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is about to commit what it saw, another sees more and commits first; whatever stands then, one more
    pass is right.
    """
    world.decide(SHOP, [decision("a", 0), decision("b", 2 * DAY)])
    world.land(buys, [buy("a", HOUR)], upto=T0 + DAY)
    world.refresh(SHOP)
    world.land(buys, [], upto=T0 + 3 * DAY)
    plain = LakeTable.replace

    def meanwhile(table: LakeTable, *args: Any, **options: Any) -> int:
        monkeypatch.setattr(LakeTable, "replace", plain)
        world.land(buys, [buy("a", 2 * HOUR), buy("b", 2 * DAY + HOUR)], upto=T0 + 4 * DAY)
        world.decide(SHOP, [decision("c", 3 * DAY)])
        world.refresh(SHOP)
        assert world.judged(SHOP) == {"a": (1.0, 1.0), "b": (1.0, 1.0), "c": (0.0, 0.0)}
        return plain(table, *args, **options)

    monkeypatch.setattr(LakeTable, "replace", meanwhile)
    world.refresh(SHOP)
    world.refresh(SHOP)
    assert (
        world.judged(SHOP)
        == {"a": (1.0, 1.0), "b": (1.0, 1.0), "c": (0.0, 0.0)}
        == {r["decision_id"]: (r["outcome"], r["reward"]) for r in fully(world, SHOP)}
    )
