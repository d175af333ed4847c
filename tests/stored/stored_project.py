"""The project whose stored things are kept: a shop that has one of each kind of noun, small enough to be an archive.

`write` writes it as it was first; `changed` is the edit that makes a second version of an event and a second ruling.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2026, 1, 1, tzinfo=UTC)
CHANGED = START + timedelta(days=18)
LIVE = START + timedelta(days=20)
"""What comes from here on comes over HTTP."""
FAR = "2100-01-01T00:00:00Z"
CUSTOMERS = [f"c{i}" for i in range(30)]
ALL = """{
    "n": agg.count(), "paid": agg.count("coupon"), "total": agg.sum("amount", default=0),
    "mean": agg.mean("amount > $big"), "least": agg.min("amount"), "most": agg.max("amount"),
    "spread": agg.variance("amount"), "first": agg.first("amount"), "last": agg.last("amount")}"""

FILES = {
    "millstream.toml": '[project]\nname = "kept"\n\n[params]\nbig = 60\n',
    "streams.py": (
        '''
from datetime import date
from typing import Literal

import millstream as ms
from millstream import expect


class Visit(ms.Event):
    """Somebody opens the shop."""

    visit_id: str
    customer: str
    device: Literal["phone", "desk"]
    ts: ms.EventTime


class Order(ms.Event):
    """Somebody has paid."""

    order_id: str
    customer: str
    amount: float = ms.field(doc="euros")
    coupon: str | None = None
    ts: ms.EventTime


class Note(ms.Event):
    """A field of each kind."""

    note_id: str
    text: str | None
    size: int
    ok: bool
    day: date
    raw: bytes
    score: float
    tags: list[str]
    seen: ms.ArrivalTime
    ts: ms.EventTime


class Ping(ms.Event):
    """Nothing but a number."""

    n: int
    ts: ms.EventTime


class Customer(ms.Change):
    """A row of a database."""

    customer: str
    age: int


visits = ms.stream("visits", Visit, key="customer", dedupe="visit_id")
orders = ms.stream("orders", Order, key="customer", dedupe="order_id", dedupe_within="12h", lateness="10m")
notes = ms.stream("notes", Note, key="note_id", dedupe="note_id", ahead="1d", partitions=2)
pings = ms.stream("pings", Ping, key="n", partitions=1, retention="3650d")
customers = ms.stream("customers", Customer, key="customer", partitions=2)

for s in (visits, orders, notes):
    ms.source(s, ms.read.files(f"data/{s.name}*.{'jsonl' if s is notes else 'csv'}"))
ms.source(customers, ms.read.files("data/customers.jsonl"))
for s in (visits, orders, notes, pings):
    ms.source(s, ms.read.http())

ms.monitor(orders, expect.rows("amount > 0"), expect.not_null("amount"), expect.volume(1), expect.contract(0.5),
           expect.fresh("1d"), name="orders_well")
ms.monitor(orders, expect.rows("amount > 30"), severity="page", name="orders_large")
ms.monitor(orders, expect.volume(1000), name="orders_late")
'''
    ),
    "tables/customer_days.sql": (
        "-- @key customer, day\nselect customer, date_trunc('day', ts) as day, count(*) as orders, sum(amount) as"
        " spend, max(amount) > $big as big from orders group by all\n"
    ),
    "tables/visit_days.sql": (
        "-- @time day\n-- @incremental 1d lookback 2d\nselect customer, date_trunc('day', ts) as day, count(*) as"
        " visits from visits where ts >= $start and ts < $end group by all\n"
    ),
    "tables/order_lines.sql": (
        "-- @incremental append\nselect order_id, customer, amount * 100 as cents, ts from orders\n"
    ),
    "tables.py": (
        '''
import pyarrow as pa
import pyarrow.compute as pc
from streams import customers, orders

import millstream as ms


@ms.table(orders, time="ts", incremental="append")
def priced(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Orders with their tax."""
    tax = pc.multiply(batch["amount"], 0.19)
    return pa.record_batch({"order_id": batch["order_id"], "ts": batch["ts"], "tax": tax})


customers_now = ms.table("customers_now", customers.latest())
customers_then = ms.table("customers_then", customers.history())
'''
    ),
    "features.py": (
        f"""
from streams import orders, visits
from tables import customers_now

import millstream as ms
from millstream import agg

spend = ms.features("spend", orders, key="customer", windows=["1d", "7d"], aggregates={ALL})
habit = ms.features("habit", visits, key="customer", windows=["7d"], aggregates={{"visits": agg.count()}},
                    where="device = 'phone'")
ever = ms.features("ever", visits, key="customer",
                   aggregates={{"visits": agg.count(), "phone": agg.last("device = 'phone'")}})
days = ms.features("days", ms.table("visit_days", lag="1h"), key="customer", windows=["7d"],
                   aggregates={{"busy": agg.max("visits")}})
person = ms.features("person", customers_now, key="customer", timeless=True, aggregates={{"age": agg.last("age")}})
"""
    ),
    "models.py": (
        '''
from types import SimpleNamespace

import numpy as np
from features import days, ever, habit, person, spend
from streams import Order, orders, visits

import millstream as ms
from millstream import agg

will_buy = ms.outcome(orders, on="customer", within="2h", otherwise=False)
will_spend = ms.outcome(orders, on="customer", within="2h", value=agg.sum("amount"), otherwise=0.0)
visit_set = ms.training_set("visit_set", at=visits, label=will_buy,
                            features=[visits.fields("device"), spend, habit, ever, days, person],
                            derive={"habitual": "spend__n_7d / habit__visits_7d"}, until="2026-01-20",
                            split=ms.by_time(valid="2d", test="4d"))
both_set = ms.training_set("both_set", at=visits, label={"buys": will_buy, "spends": will_spend},
                           features=[spend["total_7d"], habit], until="2026-01-20")


class Logistic:
    """Logistic regression in NumPy: stored by value, with all that it is made of."""

    def __init__(self, X: np.ndarray, y: np.ndarray, ridge: float) -> None:
        self.mean, self.scale = np.nanmean(X, axis=0), np.nanstd(X, axis=0) + 1e-9
        A, self.w = self.columns(X), np.zeros(X.shape[1] + 1)
        for _ in range(20):
            p = 1 / (1 + np.exp(-A @ self.w))
            slope, bend = A.T @ (p - y) + ridge * self.w, (A.T * (p * (1 - p))) @ A + ridge * np.eye(len(self.w))
            self.w -= np.linalg.solve(bend, slope)

    def columns(self, X: np.ndarray) -> np.ndarray:
        return np.column_stack([np.ones(len(X)), np.nan_to_num((X - self.mean) / self.scale)])

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.predict_proba(X)[:, 1] > 0.5

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        p = 1 / (1 + np.exp(-self.columns(X) @ self.w))
        return np.column_stack([1 - p, p])


@ms.model(visit_set, metrics=["auc", "brier"], promote_if="auc >= champion.auc")
def buyer(train: ms.Train, *, ridge: float = 1.0) -> object:
    if ridge < 0:
        raise ValueError("no ridge is below zero")
    return Logistic(np.asarray(train.X), np.asarray(train.y), ridge)


@ms.model(visit_set, metrics=["auc"])
def linear(train: ms.Train, *, c: float = 0.1) -> object:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    steps = SimpleImputer(keep_empty_features=True), StandardScaler(), LogisticRegression(C=c)
    return make_pipeline(*steps).fit(train.X, train.y)


@ms.model(visit_set, metrics=["auc"])
def trees(train: ms.Train, *, rounds: int = 5) -> object:
    from lightgbm import LGBMClassifier

    trees = LGBMClassifier(n_estimators=rounds, num_leaves=4, verbose=-1, deterministic=True, num_threads=1)
    return trees.fit(train.X, train.y)


class Reached:
    """It holds nouns: a stream with its event's schema, fields and places; features; a set, with all its parts."""

    def __init__(self, share: float) -> None:
        self.share, self.stream, self.features = share, orders, spend
        self.outcome, self.event, self.set = will_buy, Order, visit_set

    def said(self) -> dict[str, object]:
        """What the nouns say of themselves now."""
        schema = self.stream.schema
        return {"stream": self.stream.name, "key": list(self.stream.key), "dedupe": self.stream.dedupe,
                "lateness_us": self.stream.lateness_us,
                "fields": [[f.name, f.kind, f.nullable, f.role, f.doc] for f in schema.fields],
                "required": schema["order_id"].default is not schema["coupon"].default,
                "place": [self.stream.place.file.rpartition("/")[2], self.stream.place.line],
                "columns": list(self.features.columns()),
                "on": list(self.outcome.on), "within_us": self.outcome.within_us, "event": self.event.__name__,
                "same": type(orders) is type(self.stream) and self.stream.event is self.event}

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        assert orders.schema.event_time == "ts" and self.features.columns()
        assert self.outcome.stream.name == self.stream.name
        p = np.clip(self.share + 0.001 * np.nan_to_num(X[:, 1]), 0, 1)
        return np.column_stack([1 - p, p])

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.predict_proba(X)[:, 1] > 0.5


class Reaches(Reached):
    """And by its globals the package itself."""

    def said(self) -> dict[str, object]:
        return {**super().said(), "is_event": issubclass(self.event, ms.Event), "agg": agg.count() == agg.count()}


@ms.model(visit_set, metrics=["auc"])
def reaches(train: ms.Train) -> object:
    return Reaches(float(np.mean(train.y)))


@ms.model(visit_set, metrics=["auc"])
def as_before(train: ms.Train) -> object:
    """Stored as versions were before they named no room."""
    return Reached(float(np.mean(train.y)) / 2)


def share_of(X: np.ndarray) -> np.ndarray:
    return np.clip(0.2 + 0.01 * np.nan_to_num(X[:, 1]), 0, 1)


@ms.model(visit_set, metrics=["brier"], output="predict")
def plain(train: ms.Train) -> object:
    return SimpleNamespace(predict=share_of)


class Framed:
    def __init__(self, frame: object) -> None:
        self.dtypes = [str(dtype) for dtype in frame.dtypes]

    def predict(self, X: object) -> np.ndarray:
        return np.where(X["device"].astype(str) == "phone", 0.75, 0.25)


@ms.model(visit_set, metrics=["brier"], input="frame", output="predict")
def framed(train: ms.Train) -> object:
    return Framed(train.X)


class Two:
    def __init__(self, y: np.ndarray) -> None:
        self.means = np.mean(y, axis=0)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.tile(self.means, (len(X), 1))


@ms.model(both_set, output="predict")
def both(train: ms.Train) -> object:
    return Two(np.asarray(train.y))


scored = ms.table("scored", buyer["champion"].over(visits))
'''
    ),
    "live.py": (
        """
from models import both, buyer, linear, reaches, trees, visit_set, will_buy
from streams import Visit

import millstream as ms
from millstream import assign, expect

score = will_buy.score("1 - power(prediction - outcome, 2)")
arms = {"buyer": buyer["champion"], "linear": linear["champion"]}
ab = ms.experiment("ab", arms=arms, unit="customer", assign=assign.ab(0.3, 0.7), reward=score,
                   guardrails={"buys": will_buy}, layer="model", traffic=(0.0, 0.4))
normal = ms.experiment("normal", arms=arms, unit="visit_id", assign=assign.thompson(floor=0.05), reward=score,
                       layer="model", traffic=(0.4, 0.7))
greedy = ms.experiment("greedy", arms=arms, unit="visit_id", assign=assign.epsilon_greedy(0.2, by=["device"]),
                       reward=score, layer="model", traffic=(0.7, 1.0))
banner_ab = ms.experiment("banner_ab", arms={"off": False, "on": {"text": "hello", "size": 3}}, unit="customer",
                          assign=assign.ab(), reward=will_buy)
beta = ms.experiment("beta", arms={"red": "#f00", "blue": "#00f", "grey": None}, unit="visit_id",
                     assign=assign.thompson(), reward=will_buy)

offer = ms.endpoint("offer", [ab, normal, greedy], default=trees["latest"])
banner = ms.endpoint("banner", banner_ab, default=False, request=Visit)
tile = ms.endpoint("tile", beta, default="#fff", request=Visit)
pair = ms.endpoint("pair", both["champion"])
held = ms.endpoint("held", reaches[1])

ms.monitor(offer, expect.drift(visit_set, tolerance=0.9, window="30d"), expect.skew(), name="offer_data")
ms.monitor(offer, expect.performance(will_buy, "auc >= 0.99", window="30d"), name="offer_good")
"""
    ),
}
FIRST = {
    "    coupon: str | None = None\n": "",
    'dedupe="order_id", dedupe_within="12h"': 'dedupe="order_id"',
    'dedupe="note_id", ahead="1d"': 'dedupe="note_id", ahead="36500d"',
}
"""Text of streams.py -> what stood there first."""


def write(folder: Path) -> None:
    """The project as it was first, with the data of its first 18 days; no table yet, and nothing that is served."""
    (folder / "tables").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "millstream.toml").write_text(FILES["millstream.toml"])
    text = FILES["streams.py"]
    for now, first in FIRST.items():
        assert text.count(now) == 1, now
        text = text.replace(now, first)
    (folder / "streams.py").write_text(text)
    said = history()
    _csv(folder / "data" / "visits.csv", [row for row in said["visits"] if row["ts"] < CHANGED])
    _csv(folder / "data" / "orders.csv", _odd([row for row in said["orders"] if row["ts"] < CHANGED]))
    (folder / "data" / "notes.jsonl").write_text("\n".join(_notes()) + "\n")
    (folder / "data" / "customers.jsonl").write_text("\n".join(map(json.dumps, _customers())) + "\n")


def changed(folder: Path) -> None:
    """The whole project: a field more, another window, a nearer bound; and the data of two more days, with the new
    field.
    """
    for name, text in FILES.items():
        (folder / name).write_text(text)
    said = history()
    _csv(folder / "data" / "visits_2.csv", [row for row in said["visits"] if CHANGED <= row["ts"] < LIVE])
    rows = [
        row | {"coupon": "ten" if i % 3 == 0 else ""}
        for i, row in enumerate(said["orders"])
        if CHANGED <= row["ts"] < LIVE
    ]
    _csv(folder / "data" / "orders_2.csv", rows)


def history() -> dict[str, list[dict[str, Any]]]:
    """Three weeks: who has a phone buys more often."""
    dice, said = random.Random(11), {"visits": list[dict[str, Any]](), "orders": list[dict[str, Any]]()}
    moment, number = START, 0
    while moment < LIVE + timedelta(days=2):
        moment += timedelta(seconds=round(dice.expovariate(1 / 1300)))
        number += 1
        customer, device = dice.choice(CUSTOMERS), dice.choice(["phone", "desk"])
        said["visits"].append({"visit_id": f"v{number}", "customer": customer, "device": device, "ts": moment})
        if dice.random() < (0.6 if device == "phone" else 0.2):
            later = moment + timedelta(seconds=round(dice.uniform(60, 6000)))
            said["orders"].append(
                {"order_id": f"o{number}", "customer": customer, "amount": round(dice.uniform(1, 99), 2), "ts": later}
            )
    said["orders"].sort(key=lambda row: row["ts"])
    return said


def _odd(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With a row twice, one that comes two hours late, and two that cannot be read."""
    late = {
        "order_id": "late",
        "customer": rows[20]["customer"],
        "amount": 5.0,
        "ts": rows[20]["ts"] - timedelta(hours=2),
    }
    return [
        *rows[:21],
        late,
        rows[10],
        {**rows[21], "order_id": "bad1", "amount": "much"},
        {**rows[22], "order_id": "bad2", "ts": "yesterday"},
        *rows[21:],
    ]


def _csv(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = [",".join(rows[0]), *(",".join(spelled(value) for value in row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def spelled(value: Any) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else str(value)


def note(i: int, **more: Any) -> dict[str, Any]:
    moment = spelled(START + timedelta(hours=i))
    return {
        "note_id": f"n{i}",
        "text": None if i % 4 == 0 else f"<b>note</b> \u20ac {i}",
        "size": 10**12 + i,
        "ok": i % 2 == 0,
        "day": "2026-01-02",
        "raw": "AAH/",
        "score": i / 3,
        "tags": ["a", "b"][: i % 3],
        "seen": moment,
        "ts": moment,
        **more,
    }


def _notes() -> list[str]:
    rows = [note(i) for i in range(1, 40)]
    far = note(99, ts=FAR, seen=FAR)
    return [
        *map(json.dumps, rows),
        json.dumps(note(50, size="large")),
        '{"note_id": "n51", "text"',
        json.dumps(far),
        json.dumps(rows[4]),
    ]


def _customers() -> list[Mapping[str, Any]]:
    rows = [
        {"op": "insert", "committed_at": spelled(START + timedelta(minutes=i)), "customer": c, "age": 20 + i}
        for i, c in enumerate(CUSTOMERS)
    ]
    rows += [
        {"op": "update", "committed_at": spelled(START + timedelta(days=9, minutes=i)), "customer": c, "age": 60 + i}
        for i, c in enumerate(CUSTOMERS[:5])
    ]
    return [*rows, {"op": "delete", "committed_at": spelled(START + timedelta(days=10)), "customer": "c29", "age": 49}]
