"""The lab of a user's tests: a world of its own, a clock, both readers, stubs behind the real decide path, and no look into the future."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from millstream.base.errors import NotFound, UsageError, WorkFailed
from millstream.lab.lab import Lab
from millstream.serve.decisions import all_streams

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
TOML = '[project]\nname = "shop"\n[params]\nbig = 20\n'
SHOP = '''
import millstream as ms
from millstream import agg, assign


class Visit(ms.Event):
    """Somebody looks at a page."""
    visit_id: str
    user: str
    page: str
    ts: ms.EventTime


class Order(ms.Event):
    """Somebody has paid."""
    order_id: str
    visit_id: str
    user: str
    kind: str
    price: float
    ts: ms.EventTime


class Loaded(ms.Event):
    """A fact with its own time of arrival."""
    user: str
    came: ms.ArrivalTime
    ts: ms.EventTime


visits = ms.stream("visits", Visit, key="user", dedupe="visit_id")
orders = ms.stream("orders", Order, key="user", dedupe="order_id", lateness="5m")
loaded = ms.stream("loaded", Loaded, key="user")
totals = ms.table("totals", "select user, max(price) as top, max(price) > $big as big from orders group by user",
                  key="user")
rewards = ms.table("rewards", "select count(*) as n, sum(reward) as reward from shop_outcomes")
paid = ms.table("paid", "select v.user, v.ts, o.price from visits v left join orders o using (visit_id)",
                time="ts", lag="1m")
sales = ms.table("sales", "select user, ts, price from orders where kind = 'sale'", time="ts", lag="5m")
hasty_sales = ms.table("hasty_sales", "select user, ts, price from orders where kind = 'sale'", time="ts", lag="1m")
before = ms.table("before", "select v.visit_id, o.ts, o.price from visits v"
                            " join orders o on o.user = v.user and o.ts < v.ts", time="ts", lag="5m")

spend = ms.features("spend", orders, key="user", windows=["1h", "7d"], where="kind = 'sale'",
                    aggregates={"n": agg.count(), "sum": agg.sum("price"), "big": agg.mean("price > $big"),
                                "last": agg.last("price")})
seen = ms.features("seen", visits, key="page", windows=["1h"], aggregates={"n": agg.count()})
sold = ms.features("sold", sales, key="user", windows=["1h"], aggregates={"price": agg.sum("price")})
arrived = ms.features("arrived", loaded, key="user", windows=["1h"], aggregates={"n": agg.count()})
never = ms.features("never", orders, key="user", windows=["1h"], where="price > 1e12",
                    aggregates={"sum": agg.sum("price")})
ever = ms.features("ever", totals, key="user", aggregates={"top": agg.last("top")}, timeless=True)
hasty = ms.features("hasty", hasty_sales, key="user", windows=["1h"], aggregates={"price": agg.sum("price")})
own = ms.features("own", before, key="visit_id", windows=["7d"], aggregates={"n": agg.count()})
foretold = ms.features("foretold", paid, key="user", windows=["1h"], aggregates={"price": agg.sum("price")})

bought = ms.outcome(orders, on="visit_id", within="1h", otherwise=False)
price = ms.outcome(orders, on="visit_id", within="1h", value="price")
good = ms.training_set("good", at=visits, label=bought, features=[visits.fields("page"), spend, seen, sold],
                       derive={"share": "spend__sum_1h / spend__sum_7d"})
priced = ms.training_set("priced", at=visits, label=price, features=[spend["sum_1h"]])
late = ms.training_set("late", at=visits, label=bought, features=[spend["n_1h"]])
timeless_set = ms.training_set("timeless_set", at=visits, label=bought, features=[ever])
future_set = ms.training_set("future_set", at=visits, label=bought, features=[foretold])
hasty_set = ms.training_set("hasty_set", at=visits, label=bought, features=[hasty])
own_set = ms.training_set("own_set", at=visits, label=bought, features=[own])
nobody = ms.training_set("nobody", at=visits, label=bought, features=[spend], where="user = 'x' and user = 'y'")
empty_set = ms.training_set("empty_set", at=visits, label=bought, features=[spend, never])


@ms.model(good)
def buyer(train: ms.Train) -> object: raise AssertionError("not trained here")


@ms.model(good)
def other(train: ms.Train) -> object: raise AssertionError("not trained here")


test = ms.experiment("test", arms={"a": buyer["champion"], "b": other["champion"]}, unit="user",
                     assign=assign.ab(0.5, 0.5), reward=bought)
shop = ms.endpoint("shop", test, default=buyer["champion"])
'''


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("shop")
    (made / "millstream.toml").write_text(TOML)
    (made / "shop.py").write_text(SHOP)
    (made / "tests").mkdir()
    return made


@pytest.fixture
def shop_lab(root: Path, tmp_path: Path) -> Iterator[Lab]:
    with Lab.of(root / "tests" / "test_shop.py", tmp_path) as made:
        yield made


def noun(lab: Lab, name: str) -> Any:
    return lab.project[name]


def order(lab: Lab, n: int, at: datetime, **more: Any) -> Any:
    values = {"order_id": f"o{n}", "visit_id": f"v{n}", "user": "ada", "kind": "sale", "price": 10.0, "ts": at} | more
    return noun(lab, "orders").event(**values)


def visit(lab: Lab, n: int, at: datetime, **more: Any) -> Any:
    return noun(lab, "visits").event(**({"visit_id": f"v{n}", "user": "ada", "page": "home", "ts": at} | more))


def ago(minutes: float) -> datetime:
    return NOON - timedelta(minutes=minutes)


def test_nothing_of_the_project_is_touched(root: Path, shop_lab: Lab) -> None:
    before = sorted(root.rglob("*"))
    shop_lab.send(noun(shop_lab, "orders"), order(shop_lab, 1, ago(30)))
    shop_lab.at(NOON)
    assert shop_lab.features(noun(shop_lab, "spend"), user="ada")["n_1h"] == 1
    assert shop_lab.rows(noun(shop_lab, "totals")) == [{"user": "ada", "top": 10.0, "big": False}]
    assert [p for p in sorted(root.rglob("*")) if "__pycache__" not in p.parts] == [p for p in before if "__pycache__" not in p.parts]


def test_a_file_of_no_project_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"millstream\.toml"):
        Lab.of(tmp_path / "test_x.py", tmp_path)


def test_events_arrive_at_their_time_and_the_clock_only_goes_forward(shop_lab: Lab) -> None:
    spend, orders = noun(shop_lab, "spend"), noun(shop_lab, "orders")
    shop_lab.send(orders, order(shop_lab, 1, ago(50)), order(shop_lab, 2, ago(10)), order(shop_lab, 3, NOON))
    shop_lab.at(ago(30))
    assert shop_lab.features(spend, user="ada")["n_1h"] == 1, "what is ahead of the clock has not arrived"
    shop_lab.at("2024-05-01T12:00")
    assert shop_lab.features(spend, user="ada")["n_1h"] == 2, "the moment itself is excluded"
    shop_lab.send(orders, order(shop_lab, 4, ago(5)))
    assert shop_lab.features(spend, user="ada")["n_1h"] == 3, "what has happened already arrives just now"
    shop_lab.at(NOON + timedelta(microseconds=1))
    assert shop_lab.features(spend, user="ada")["n_1h"] == 4
    with pytest.raises(UsageError, match="only goes forward"):
        shop_lab.at(NOON)
    with pytest.raises(UsageError, match="no time"):
        shop_lab.at("noon")


def test_without_a_clock_it_stands_after_the_newest_event(shop_lab: Lab) -> None:
    shop_lab.send(noun(shop_lab, "orders"), order(shop_lab, 1, ago(5)), order(shop_lab, 2, NOON))
    assert shop_lab.features(noun(shop_lab, "spend"), user="ada")["n_1h"] == 2


def test_an_event_may_say_itself_when_it_arrived(shop_lab: Lab) -> None:
    loaded = noun(shop_lab, "loaded")
    shop_lab.send(loaded, loaded.event(user="ada", ts=ago(20), came=ago(5)))
    shop_lab.at(ago(10))
    assert shop_lab.features(noun(shop_lab, "arrived"), user="ada") == {"n_1h": 0}
    shop_lab.at(NOON)
    assert shop_lab.features(noun(shop_lab, "arrived"), user="ada") == {"n_1h": 1}


def test_what_is_sent_and_asked_wrongly_is_refused(shop_lab: Lab) -> None:
    orders, spend = noun(shop_lab, "orders"), noun(shop_lab, "spend")
    with pytest.raises(UsageError, match="takes Order, and was given Visit"):
        shop_lab.send(orders, visit(shop_lab, 1, NOON))
    with pytest.raises(UsageError, match=r"Order\.price is 'dear'"):
        shop_lab.send(orders, order(shop_lab, 1, NOON, price="dear"))
    with pytest.raises(UsageError, match="have the key user; found page"):
        shop_lab.features(spend, page="home")
    with pytest.raises(UsageError, match='no stream "elsewhere"'):
        shop_lab.send(replace(orders, name="elsewhere"), order(shop_lab, 1, NOON))


def test_features_of_unknown_and_null_keys_are_the_same(shop_lab: Lab) -> None:
    shop_lab.send(noun(shop_lab, "orders"), order(shop_lab, 1, ago(5)))
    shop_lab.at(NOON)
    spend = noun(shop_lab, "spend")
    assert shop_lab.features(spend, user="bob") == shop_lab.features(spend, user=None)
    assert shop_lab.features(spend.on("page"), page="ada") == shop_lab.features(spend, user="ada"), "a use has the key of its columns"


def test_features_of_tables_are_as_of_the_table(shop_lab: Lab) -> None:
    orders = noun(shop_lab, "orders")
    shop_lab.send(orders, order(shop_lab, 1, ago(50), price=3.0), order(shop_lab, 2, ago(40), kind="gift"), order(shop_lab, 3, NOON, price=5.0))
    shop_lab.at(ago(30))
    assert shop_lab.features(noun(shop_lab, "sold"), user="ada") == {"price_1h": 3.0}
    assert shop_lab.features(noun(shop_lab, "ever"), user="ada") == {"top": 10.0}
    shop_lab.at(NOON + timedelta(minutes=8))
    assert shop_lab.features(noun(shop_lab, "sold"), user="ada") == {"price_1h": 8.0}


def test_readers_that_differ_in_a_bit_fail_the_test(shop_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    shop_lab.send(noun(shop_lab, "orders"), order(shop_lab, 1, ago(5), price=0.3))
    shop_lab.at(NOON)
    store = shop_lab.world.online
    look = store.lookup

    def wrong(*given: Any) -> Any:
        return [replace(found, values={**found.values, "sum_1h": 0.1 + 0.2}) for found in look(*given)]

    monkeypatch.setattr(store, "lookup", wrong)
    with pytest.raises(AssertionError, match=r"sum_1h: online 0\.30000000000000004, offline 0\.3"):
        shop_lab.features(noun(shop_lab, "spend"), user="ada")


def test_rows_of_tables_and_streams(shop_lab: Lab) -> None:
    orders = noun(shop_lab, "orders")
    assert shop_lab.rows(noun(shop_lab, "totals")) == []
    shop_lab.send(orders, order(shop_lab, 1, ago(50)), order(shop_lab, 2, ago(40), price=30.0, user="bob"), order(shop_lab, 1, ago(30)))
    assert shop_lab.rows(noun(shop_lab, "totals")) == [{"user": "ada", "top": 10.0, "big": False}, {"user": "bob", "top": 30.0, "big": True}]
    assert [(row["order_id"], row["ts"]) for row in shop_lab.rows(orders)] == [("o1", ago(50)), ("o2", ago(40))], "doubles are dropped"
    shop_lab.send(orders, order(shop_lab, 3, ago(20), price=40.0))
    assert [row["top"] for row in shop_lab.rows(noun(shop_lab, "totals"))] == [40.0, 30.0], "and made again of what is new"


def test_training_rows_mature_with_the_clock(shop_lab: Lab) -> None:
    visits, orders, good, priced = (noun(shop_lab, n) for n in ("visits", "orders", "good", "priced"))
    shop_lab.send(visits, visit(shop_lab, 1, ago(60)), visit(shop_lab, 2, ago(50)))
    shop_lab.send(orders, order(shop_lab, 0, ago(70), price=4.0), order(shop_lab, 1, ago(30)), order(shop_lab, 5, ago(58), user="bob"))
    shop_lab.at(ago(1))
    assert shop_lab.training_rows(good) == [], "an hour and the lateness have not passed"
    shop_lab.at(NOON + timedelta(minutes=5, seconds=1))
    (first,) = shop_lab.training_rows(good)
    assert (first["visit_id"], first["label"], first["_t"], first["_split"]) == ("v1", True, ago(60), "train")
    assert (first["spend__n_1h"], first["spend__sum_1h"], first["share"], first["seen__n_1h"]) == (1, 4.0, 1.0, 0)
    shop_lab.at(NOON + timedelta(hours=1))
    assert [row["label"] for row in shop_lab.training_rows(good)] == [True, False]
    assert [(row["visit_id"], row["label"]) for row in shop_lab.training_rows(priced)] == [("v1", 10.0)], "no order, no price"


def test_a_decision_is_routed_looked_up_and_recorded(shop_lab: Lab) -> None:
    shop = noun(shop_lab, "shop")
    with pytest.raises(UsageError, match=r'"buyer", which has no version.*lab\.stub\(buyer, 0\.5\)'):
        shop_lab.predict(shop, visit(shop_lab, 1, NOON))
    shop_lab.stub(noun(shop_lab, "buyer"), 0.25)
    shop_lab.stub(noun(shop_lab, "other"), lambda row: row["spend__n_1h"] + (row["share"] or 0.0))
    shop_lab.send(noun(shop_lab, "orders"), order(shop_lab, 1, ago(100), price=30.0), order(shop_lab, 2, ago(5), user="bob"))
    decisions = [shop_lab.predict(shop, visit(shop_lab, n, NOON, user=user)) for n, user in enumerate(["ada", "bob", "cyd", "dan", "eve"])]
    assert {d.arm for d in decisions} == {"a", "b"} and all(d.experiment == "test" and d.phase == 1 and d.propensity == 0.5 for d in decisions)
    for decision, user in zip(decisions, ["ada", "bob", "cyd", "dan", "eve"], strict=True):
        assert decision.features is not None
        assert decision.features["spend__n_1h"] == (1 if user == "bob" else 0) and decision.features["spend__n_7d"] == (1 if user in ("ada", "bob") else 0)
        if decision.arm == "a":
            assert decision.prediction == decision.value == 0.25 and decision.model == "buyer"
    recorded = shop_lab.rows(all_streams(shop_lab.world.project)["shop_decisions"])
    assert {r["decision_id"]: (r["arm"], r["spend__n_7d"], r["ts"]) for r in recorded} == {
        d.decision_id: (d.arm, (d.features or {})["spend__n_7d"], NOON) for d in decisions
    }
    assert {r["unit"] for r in recorded} == {"ada", "bob", "cyd", "dan", "eve"}


def test_decisions_are_judged_when_their_outcome_is_mature(shop_lab: Lab) -> None:
    shop = noun(shop_lab, "shop")
    for name in ("buyer", "other"):
        shop_lab.stub(noun(shop_lab, name), 0.5)
    assert shop_lab.rows(shop) == []
    said = {user: shop_lab.predict(shop, visit(shop_lab, n, NOON, user=user)) for n, user in enumerate(["ada", "bob"])}
    shop_lab.send(noun(shop_lab, "orders"), order(shop_lab, 1, NOON + timedelta(minutes=20), visit_id="v1", user="bob"))
    shop_lab.at(NOON + timedelta(minutes=64))
    assert shop_lab.rows(shop) == [], "an hour and the lateness of five minutes have not passed"
    shop_lab.at(NOON + timedelta(minutes=66))
    judged = {row["decision_id"]: row for row in shop_lab.rows(shop)}
    assert {user: judged[d.decision_id]["reward"] for user, d in said.items()} == {"ada": 0.0, "bob": 1.0}
    assert shop_lab.rows(noun(shop_lab, "rewards")) == [{"n": 2, "reward": 1.0}], "tables may read them too"


def test_a_stub_may_change_its_mind_or_fail(shop_lab: Lab) -> None:
    shop, buyer, other = (noun(shop_lab, n) for n in ("shop", "buyer", "other"))
    for model in (buyer, other):
        shop_lab.stub(model, 0.5)
    assert shop_lab.predict(shop, visit(shop_lab, 1, NOON)).prediction == 0.5
    for model in (buyer, other):
        shop_lab.stub(model, 0.75)
    assert shop_lab.predict(shop, visit(shop_lab, 2, NOON)).prediction == 0.75
    for model in (buyer, other):
        shop_lab.stub(model, lambda row: 1 / 0)
    with pytest.raises(WorkFailed, match="ZeroDivisionError"):
        shop_lab.predict(shop, visit(shop_lab, 3, NOON))
    with pytest.raises(UsageError, match="takes Visit, and was given Order"):
        shop_lab.predict(shop, order(shop_lab, 1, NOON))


def test_features_of_a_request_are_those_of_a_training_row(shop_lab: Lab) -> None:
    """The two ends of the promise: what an endpoint looks up at a moment is what a training row of that moment gets later."""
    shop, good = noun(shop_lab, "shop"), noun(shop_lab, "good")
    for name in ("buyer", "other"):
        shop_lab.stub(noun(shop_lab, name), 0.5)
    shop_lab.send(noun(shop_lab, "orders"), *(order(shop_lab, n, ago(7 * n), price=n / 3, user="ada" if n % 3 else "bob") for n in range(1, 40)))
    asked = [visit(shop_lab, n, ago(60 - 13 * n), user=("ada", "bob")[n % 2], page="home") for n in range(5)]
    said: list[Any] = []
    for ask in asked:
        said.append(shop_lab.predict(shop, ask))
        shop_lab.send(noun(shop_lab, "visits"), ask)
    shop_lab.at(NOON + timedelta(days=1))
    rows = {row["visit_id"]: row for row in shop_lab.training_rows(good)}
    assert len(rows) == 5
    for ask, decision in zip(asked, said, strict=True):
        assert {name: rows[ask.visit_id][name] for name in decision.features} == dict(decision.features)


def test_an_honest_set_has_no_leak(shop_lab: Lab) -> None:
    proof = shop_lab.assert_no_leak(noun(shop_lab, "good"), tries=45)
    assert proof.rows >= 45 and proof.changes > 40 and proof.unfilled == ()


def test_a_timeless_table_that_is_not_timeless_is_a_leak(shop_lab: Lab) -> None:
    with pytest.raises(AssertionError) as found:
        shop_lab.assert_no_leak(noun(shop_lab, "timeless_set"), tries=40)
    told = str(found.value)
    assert '"timeless_set" looks into the future: "ever__top"' in told
    assert "row      2024-" in told and "visit_id=" in told
    assert "event    orders: Order(order_id=" in told
    assert 'fix      "totals" is taken for timeless, and is not' in told


def test_a_table_made_of_the_future_is_a_leak(shop_lab: Lab) -> None:
    with pytest.raises(
        AssertionError,
        match=r'(?s)"foretold__price_1h" depends.*event    orders: .*fix      a row of "paid" counts from its time \+ 1m on \(its time is "ts"\)',
    ):
        shop_lab.assert_no_leak(noun(shop_lab, "future_set"), tries=200)


def test_a_lag_shorter_than_the_lateness_is_a_leak_through_the_table(shop_lab: Lab) -> None:
    with pytest.raises(
        AssertionError, match=r'(?s)"hasty__price_1h" depends.*event    orders: .*arrived .*fix      a row of "hasty_sales".*declare a longer lag'
    ):
        shop_lab.assert_no_leak(noun(shop_lab, "hasty_set"), tries=80)


def test_a_table_made_of_the_row_s_own_event_is_found(shop_lab: Lab) -> None:
    """Training finds the visit in the table, joined with what was before it; a request finds nothing, as its visit is in no table yet."""
    with pytest.raises(AssertionError) as found:
        shop_lab.assert_no_leak(noun(shop_lab, "own_set"), tries=40)
    told = str(found.value)
    assert 'training_set "own_set" sees what no request can see: "own__n_7d" depends on the event of the row itself' in told
    assert "row      2024-" in told and "visits: Visit(visit_id=" in told and "0 for a request" in told
    assert 'fix      "before" is made of "visits", the stream that is predicted for' in told


def test_late_events_taken_for_known_are_a_leak(shop_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine itself is under the check as well: here it is made to count by event time only."""
    from millstream.features import offline

    real = offline.offline
    monkeypatch.setattr(offline, "offline", lambda *given, **named: real(*given, **(named | {"mode": "event"})))
    with pytest.raises(AssertionError, match=r'(?s)"spend__n_1h" depends.*arrived 20.*please report it'):
        shop_lab.assert_no_leak(noun(shop_lab, "late"), tries=40)


def test_what_is_not_proven_is_said(shop_lab: Lab) -> None:
    with pytest.raises(AssertionError, match="nothing is proven"):
        shop_lab.assert_no_leak(noun(shop_lab, "nobody"), tries=20)
    with pytest.warns(UserWarning, match="nothing is proven of never__sum_1h: no random world"):
        proof = shop_lab.assert_no_leak(noun(shop_lab, "empty_set"), tries=20)
    assert proof.unfilled == ("never__sum_1h",)
