"""From a request to an arm: true propensities, layers that do not meet, and the same arm again by SQL over what was
logged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from decided_world import World, ab, routed, run, shop, world_in

import millstream as ms
from millstream.experiment import phases
from millstream.experiment.assign import arm_salt, bucket, layer_salt, pick_sql, sql
from millstream.experiment.bandit import Stat
from millstream.experiment.learn import Snapshot
from millstream.experiment.phases import Phase
from millstream.experiment.route import Router
from millstream.experiment.special import chi2_tail

NOW = datetime(2013, 1, 1, tzinfo=UTC)
USERS = [f"u{i}" for i in range(6000)]


def phase_of(experiment: Any, **changed: Any) -> Phase:
    arms = {name: phases.Arm(value=value) for name, value in experiment.arms.items()}
    given = {"number": 1, "status": "running", "weights": phases.weights(experiment), **changed}
    return Phase(
        experiment=experiment.name,
        method=experiment.assign.method,
        arms=arms,
        layer=experiment.layer,
        traffic=experiment.traffic,
        unit=experiment.unit,
        definition="",
        started_at=NOW,
        **given,
    )


def snapshot(experiment: Any, chances: dict[str, dict[str, float]], *, phase: int = 1, draw: int = 1) -> Snapshot:
    stats = {context: {arm: Stat(9, 3.0, 3.0) for arm in of} for context, of in chances.items()}
    return Snapshot(experiment.name, phase, draw, True, {}, stats, chances, NOW)


def router(*experiments: Any, snapshots: dict[str, Snapshot] | None = None) -> Any:
    return run([(e, phase_of(e)) for e in experiments], snapshots)


def fits(counts: Counter[Any], chances: dict[Any, float]) -> float:
    """p of Pearson's test that these counts have these probabilities."""
    whole = sum(counts.values())
    assert set(counts) <= set(chances)
    return chi2_tail(sum((counts[k] - whole * p) ** 2 / (whole * p) for k, p in chances.items()), len(chances) - 1)


def test_arms_come_with_their_propensities() -> None:
    experiment = ab(arms={"a": 1, "b": 2, "c": 3}, assign=ms.assign.ab(0.5, 0.3, 0.2))
    route = router(experiment)
    found = [route.route(None, {"user": user}) for user in USERS]
    assert {(r.experiment, r.phase) for r in found} == {("colours", 1)} and {r.arm: r.propensity for r in found} == {
        "a": 0.5,
        "b": 0.3,
        "c": 0.2,
    }
    assert fits(Counter(r.arm for r in found), {"a": 0.5, "b": 0.3, "c": 0.2}) > 0.001
    assert [route.route(None, {"user": user}) for user in reversed(USERS)] == found[::-1], "a unit keeps its arm"


def test_a_weight_of_nothing_gets_nobody() -> None:
    route = router(ab(assign=ms.assign.ab(0.0, 1.0)))
    assert {route.route(None, {"user": user}).arm for user in USERS[:500]} == {"red"}


def test_experiments_of_one_layer_never_share_a_unit_and_those_of_others_do() -> None:
    one, two, other = (
        ab("one", layer="page", traffic=(0.0, 0.3)),
        ab("two", layer="page", traffic=(0.3, 0.8)),
        ab("other", traffic=(0.0, 0.5)),
    )
    alone = {e.name: router(e) for e in (one, two, other)}
    taken = {name: {u for u in USERS if route.route(None, {"user": u})} for name, route in alone.items()}
    assert not taken["one"] & taken["two"]
    for name, share in (("one", 0.3), ("two", 0.5), ("other", 0.5)):
        assert fits(Counter(u in taken[name] for u in USERS), {True: share, False: 1 - share}) > 0.001
    assert fits(Counter(u in taken["other"] for u in taken["one"]), {True: 0.5, False: 0.5}) > 0.001, (
        "layers know nothing of each other"
    )
    together = router(one, two, other)
    for user in USERS[:2000]:
        found = together.route(None, {"user": user})
        wanted = (
            "one"
            if user in taken["one"]
            else "two"
            if user in taken["two"]
            else "other"
            if user in taken["other"]
            else None
        )
        assert (found and found.experiment) == wanted, "they are tried in order"
        if found:
            assert found == alone[found.experiment].route(None, {"user": user}), (
                "an arm does not hang on who else is there"
            )


def test_arms_of_one_layer_are_drawn_apart_from_the_traffic() -> None:
    """Half of the traffic, and in it half and half: not the arm of the lower half of the line."""
    route = router(ab(traffic=(0.0, 0.5)))
    found = Counter(r.arm for u in USERS if (r := route.route(None, {"user": u})))
    assert fits(found, {"blue": 0.5, "red": 0.5}) > 0.001


def test_who_gets_the_default() -> None:
    experiment = ab(traffic=(0.2, 0.4))
    route = router(experiment)
    for user in USERS[:500]:
        inside = 0.2 <= bucket(layer_salt("colours"), user) < 0.4
        assert (route.route(None, {"user": user}) is not None) == inside
    assert route.route(None, {"user": None}) is None, "NULL is not a unit"
    assert run([(experiment, phase_of(experiment, status="stopped"))]).route(None, {"user": "u1"}) is None
    assert router().route(None, {"user": "u1"}) is None
    assert Router([experiment], {}).route(None, {"user": "u1"}) is None, "one without a phase takes nobody"


def test_the_unit_is_the_experiments_own_field_else_the_one_given() -> None:
    by_device = ab("devices", unit="device", arms={str(i): i for i in range(50)})
    route = router(by_device)
    arms = {
        device: route.route(user, {"user": user, "device": device})
        for device in ("phone", "desk")
        for user in USERS[:50]
    }
    assert arms["phone"].arm != arms["desk"].arm
    assert route.route("phone", {"user": "u1"}) == arms["phone"] and route.route(None, {"user": "u1"}) is None


def test_shipped_gives_all_of_its_traffic_the_winner() -> None:
    experiment = ab(traffic=(0.0, 0.5))
    shipped = run([(experiment, phase_of(experiment, status="shipped", winner="red", number=4))])
    found = [shipped.route(None, {"user": user}) for user in USERS[:500]]
    assert {r for r in found if r} == {("colours", 4, "red", 1.0)} and 150 < sum(r is None for r in found) < 350


def test_a_new_phase_shuffles_the_arms_and_not_the_traffic() -> None:
    experiment = ab(traffic=(0.0, 0.5))
    one, two = (run([(experiment, phase_of(experiment, number=n))]) for n in (1, 2))
    both = [(one.route(None, {"user": u}), two.route(None, {"user": u})) for u in USERS]
    assert all((a is None) == (b is None) for a, b in both)
    assert fits(Counter(a.arm == b.arm for a, b in both if a and b), {True: 0.5, False: 0.5}) > 0.001


# Bandits


def test_a_bandit_is_even_until_it_has_learnt() -> None:
    bandit = ab(assign=ms.assign.thompson())
    assert {r.propensity for u in USERS[:200] if (r := router(bandit).route(None, {"user": u}))} == {0.5}
    other = snapshot(bandit, {"": {"blue": 0.9, "red": 0.1}}, phase=7)
    assert router(bandit, snapshots={"colours": other}).route(None, {"user": "u1"}).propensity == 0.5, (
        "a snapshot of another phase is not used"
    )


def test_a_bandit_draws_by_its_snapshot_anew_with_each() -> None:
    bandit, chances = ab(assign=ms.assign.thompson()), {"": {"blue": 0.8, "red": 0.2}}
    one, two = (router(bandit, snapshots={"colours": snapshot(bandit, chances, draw=d)}) for d in (1, 2))
    first, second = ([r.route(None, {"user": u}) for u in USERS] for r in (one, two))
    for found in (first, second):
        assert fits(Counter(r.arm for r in found), chances[""]) > 0.001 and all(
            r.propensity == chances[""][r.arm] for r in found
        )
    same = Counter((a.arm, b.arm) for a, b in zip(first, second, strict=True))
    assert (
        fits(same, {(a, b): chances[""][a] * chances[""][b] for a in ("blue", "red") for b in ("blue", "red")}) > 0.001
    ), "independent draws"


def test_a_bandit_by_context() -> None:
    bandit = ab(assign=ms.assign.epsilon_greedy(0.1, by=["device"]))
    route = router(
        bandit,
        snapshots={
            "colours": snapshot(bandit, {"phone": {"blue": 0.95, "red": 0.05}, "~": {"blue": 0.05, "red": 0.95}})
        },
    )
    for device, chances in (
        ("phone", {"blue": 0.95, "red": 0.05}),
        (None, {"blue": 0.05, "red": 0.95}),
        ("unknown", {"blue": 0.5, "red": 0.5}),
    ):
        found = [route.route(None, {"user": u, "device": device}) for u in USERS[:2000]]
        assert fits(Counter(r.arm for r in found), chances) > 0.001 and all(
            r.propensity == chances[r.arm] for r in found
        )


# Again, by SQL


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = world_in(tmp_path)
    yield made
    made.sql.close()
    made.state.close()


def test_sql_over_the_decisions_finds_every_arm_again(world: World) -> None:
    """Bit for bit, on the landed table, from the unit as text and what the phases say; odd units too."""
    test, bandit = (
        ab("test", layer="page", traffic=(0.0, 0.4), arms={"a": 1, "b'": 2, "c": 3}),
        ab("bandit", layer="page", traffic=(0.4, 0.9), assign=ms.assign.thompson()),
    )
    chances = {"": {"blue": 0.1 + 0.2, "red": 1 - (0.1 + 0.2)}}
    route = router(test, bandit, snapshots={"bandit": snapshot(bandit, chances, draw=3)})
    users = [*USERS[:2000], "", "łódź", "a:b", "'", "\n", "x" * 500]
    endpoint = shop(test, bandit)
    world.decide(endpoint, routed(route, users))
    arms = {"test": phases.weights(test), "bandit": chances[""]}
    place = sql(layer_salt("page"), "unit")
    cases = {
        name: pick_sql(sql(arm_salt(name, 1, draw), "unit"), arms[name]) for name, draw in (("test", 0), ("bandit", 3))
    }
    text = f"""select unit, experiment, arm, propensity,
          case when {place} < 0.4 then 'test' when {place} < 0.9 then 'bandit' end as their_experiment,
          case when {place} < 0.4 then {cases["test"]} when {place} < 0.9 then {cases["bandit"]} end as their_arm
        from d"""
    found = world.sql.query(text, {"d": world.lake.table("shop_decisions").snapshot()}).read_all().to_pylist()
    assert len(found) == len(users) and {r["experiment"] for r in found} == {"test", "bandit", None}
    assert [(r["experiment"], r["arm"]) for r in found] == [(r["their_experiment"], r["their_arm"]) for r in found]
    assert all(r["propensity"] == arms[r["experiment"]][r["arm"]] for r in found if r["experiment"])
    places = duckdb.sql(f"select {place} as p from u", connection=_with(pa.table({"unit": users}))).fetchall()
    assert [p.hex() for (p,) in places] == [bucket(layer_salt("page"), user).hex() for user in users]


def _with(units: pa.Table) -> Any:
    con = duckdb.connect()
    con.register("u", units)
    return con
