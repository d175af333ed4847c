"""A small project whose assets run by two timetables and by hand: two streams from files, three tables, features, a
training set, a model.
"""

from __future__ import annotations

import csv
from pathlib import Path

CODE = """
import numpy as np

import millstream as ms
from millstream import agg


class Ride(ms.Event):
    ride: str
    rider: str
    km: float
    ts: ms.EventTime


class Tip(ms.Event):
    ride: str
    rider: str
    cents: int
    ts: ms.EventTime


rides = ms.stream("rides", Ride, key="rider", dedupe="ride")
tips = ms.stream("tips", Tip, key="rider", dedupe="ride")
for s in (rides, tips):
    ms.source(s, ms.read.files(f"data/{s.name}*.csv"))
riders = ms.features("riders", rides, key="rider", windows=["7d"], aggregates={"n": agg.count(), "km": agg.sum("km")})
ms.table("days", "select ts::date as day, count(*) as n, sum(km) as km from rides group by 1", schedule="@daily")
ms.table("weeks", "select date_trunc('week', day) as week, sum(n) as n from days group by 1", schedule="0 4 * * 1")
ms.table("long", "select ride, km, ts from rides where km > 5")
tipped = ms.outcome(tips, on="ride", within="30m", otherwise=False)
tip_set = ms.training_set("tip_set", at=rides, label=tipped, until="2026-01-20",
                          features=[rides.fields("km"), riders], split=ms.by_time(valid="1h", test="1h"))


class Mean:
    def __init__(self, p):
        self.p = p

    def predict(self, X):
        return np.full(len(X), self.p)


@ms.model(tip_set, metrics=["brier"])
def tips_model(train, *, shift: float = 0.0):
    return Mean(float(train.y.mean()) + shift)
"""


def project(folder: Path, rows: int = 600) -> Path:
    """The project in a new folder, with files of so many rides."""
    (folder / "data").mkdir(parents=True)
    (folder / "millstream.toml").write_text('[project]\nname = "rides"\n', encoding="utf-8")
    (folder / "taxi.py").write_text(CODE, encoding="utf-8")
    files(folder / "data", 0, rows)
    return folder


def files(folder: Path, first: int, rows: int) -> None:
    """Rides one a minute, the first of them `first` minutes into 2026; every third is tipped ten minutes later."""
    with (folder / f"rides-{first}.csv").open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(
            [
                ["ride", "rider", "km", "ts"],
                *([f"t{i}", f"r{i % 7}", i % 11, at(i)] for i in range(first, first + rows)),
            ]
        )
    with (folder / f"tips-{first}.csv").open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(
            [
                ["ride", "rider", "cents", "ts"],
                *([f"t{i}", f"r{i % 7}", i % 500, at(i + 10)] for i in range(first, first + rows, 3)),
            ]
        )


def at(minute: int) -> str:
    """The moment so many minutes into 2026."""
    return f"2026-01-{1 + minute // 1440:02d}T{minute // 60 % 24:02d}:{minute % 60:02d}:00Z"
