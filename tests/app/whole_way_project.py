"""A shop in one folder: visits, purchases within the hour, two models, an A/B test; small enough to go the whole way in
a test.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2026, 1, 1, tzinfo=UTC)
LIVE = START + timedelta(days=4)
END = LIVE + timedelta(days=1)

FILES = {
    "millstream.toml": '[project]\nname = "shop"\n',
    "streams.py": (
        '''
import millstream as ms

class Visit(ms.Event):
    """Somebody opens the shop."""
    visit_id: str
    user: str
    device: str
    ts: ms.EventTime

class Purchase(ms.Event):
    """A visit became a sale."""
    visit_id: str
    user: str
    price: float
    ts: ms.EventTime

visits = ms.stream("visits", Visit, key="user", dedupe="visit_id", lateness="1m")
purchases = ms.stream("purchases", Purchase, key="user", dedupe="visit_id", lateness="1m")
for s in (visits, purchases):
    ms.source(s, ms.read.files(f"data/{s.name}.csv"))
    ms.source(s, ms.read.http())
ms.monitor(purchases, ms.expect.rows("price > 0"), ms.expect.contract())
'''
    ),
    "features.py": (
        """
import millstream as ms
from millstream import agg
from streams import purchases, visits

bought = ms.features("bought", purchases, key="user", windows=["1h", "2d"],
                     aggregates={"times": agg.count(), "spend": agg.sum("price"), "top": agg.max("price")})
came = ms.features("came", visits, key="user", windows=["2d"],
                   aggregates={"times": agg.count(), "last": agg.last("device = 'phone'")})
"""
    ),
    "models.py": (
        """
import millstream as ms
from features import bought, came
from streams import purchases, visits

buys = ms.outcome(purchases, on="visit_id", within="1h", otherwise=False)
buy_set = ms.training_set("buy_set", at=visits, label=buys, until="2026-01-05",
                          features=[visits.fields("device"), bought, came],
                          derive={"share": "bought__times_2d / came__times_2d"},
                          split=ms.by_time(valid="12h", test="12h"))

def fit(train, c):
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.impute import SimpleImputer
    return make_pipeline(SimpleImputer(keep_empty_features=True), LogisticRegression(C=c)).fit(train.X, train.y)

@ms.model(buy_set, metrics=["auc", "brier"], promote_if="auc >= champion.auc")
def keen(train: ms.Train, *, c: float = 1.0) -> object:
    return fit(train, c)

@ms.model(buy_set, metrics=["auc", "brier"], promote_if="auc >= champion.auc")
def shy(train: ms.Train, *, c: float = 0.0001) -> object:
    return fit(train, c)
"""
    ),
    "live.py": (
        """
import millstream as ms
from millstream import assign, expect
from models import buy_set, buys, keen, shy

score = buys.score("1 - power(prediction - outcome, 2)")
arms = {"keen": keen["champion"], "shy": shy["champion"]}
buy_ab = ms.experiment("buy_ab", arms=arms, unit="user", assign=assign.ab(0.5, 0.5), reward=score, layer="model",
                       traffic=(0.0, 0.6))
buy_bandit = ms.experiment("buy_bandit", arms=arms, unit="user", assign=assign.thompson(floor=0.05), reward=score,
                           layer="model", traffic=(0.6, 0.9))
buy = ms.endpoint("buy", [buy_ab, buy_bandit], default=keen["champion"])
ms.monitor(buy, expect.skew(), expect.drift(buy_set, tolerance=0.5, window="2d"))
ms.monitor(buy, expect.performance(buys, "auc >= 0.5", window="2d"))
"""
    ),
    "tables/user_days.sql": (
        "-- @time day\nselect user, date_trunc('day', ts) as day, count(*) as visits from visits group by all\n"
    ),
}


def history(seed: int = 7) -> dict[str, list[dict[str, Any]]]:
    """Five days: who has a phone buys more often, and who has bought buys again."""
    dice, said = random.Random(seed), {"visits": list[dict[str, Any]](), "purchases": list[dict[str, Any]]()}
    users = [(f"u{i}", dice.choice(["phone", "desk"]), dice.random() * 0.5) for i in range(40)]
    moment, number = START, 0
    while moment < END:
        moment += timedelta(seconds=dice.expovariate(1 / 150))
        user, device, keen = dice.choice(users)
        number += 1
        said["visits"].append({"visit_id": f"v{number}", "user": user, "device": device, "ts": moment})
        if dice.random() < keen + (0.2 if device == "phone" else 0.0):
            later = moment + timedelta(seconds=dice.uniform(20, 2400))
            said["purchases"].append(
                {"visit_id": f"v{number}", "user": user, "price": round(dice.uniform(1, 90), 2), "ts": later}
            )
    said["purchases"].sort(key=lambda row: row["ts"])
    return said


def write(folder: Path, said: dict[str, list[dict[str, Any]]]) -> None:
    """The project, with what happened before LIVE in its files."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "data").mkdir()
    for name, rows in said.items():
        before = [row for row in rows if row["ts"] < LIVE]
        lines = [
            ",".join(before[0]),
            *(",".join(str(v.isoformat() if isinstance(v, datetime) else v) for v in row.values()) for row in before),
        ]
        (folder / "data" / f"{name}.csv").write_text("\n".join(lines) + "\n")
