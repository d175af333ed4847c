"""A small world to train in: requests, a stream of facts before them, answers after them, on a real lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from landing import landed

import millstream as ms
from millstream.base.registry import engine
from millstream.declare.stream import Stream
from millstream.lake.lake import Lake
from millstream.transform.port import Sql

HOUR, DAY = 3_600_000_000, 86_400_000_000
T0 = 1_357_000_000_000_000 // DAY * DAY
PARAMS = {"late_minutes": 15}


class Ask(ms.Event):
    """A request."""

    ride: str
    city: str | None
    distance: float | None
    ts: ms.EventTime


class Done(ms.Event):
    """What became of it."""

    ride: str
    city: str | None
    delay: float | None
    ts: ms.EventTime


asked = ms.stream("asked", Ask, key="ride")
done = ms.stream("done", Done, key="ride")
late = ms.outcome(done, on="ride", value="delay > $late_minutes", within="6h")
city_done = ms.features(
    "city_done", done, key="city", windows=["1d"], aggregates={"rides": ms.agg.count(), "delay": ms.agg.mean("delay")}
)


@dataclass
class World:
    """An empty lake and an engine over it."""

    lake: Lake
    sql: Sql

    def land(self, stream: Stream[Any], rows: Sequence[Mapping[str, Any]], *, upto: int | None = None) -> None:
        """Rows of a stream (`ts` in microseconds) as its sink lands them; the stream has then passed `upto`."""
        landed(self.lake, stream, rows, upto)

    def rows(self, table: str, version: int | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (
            self.sql.query('select * from t order by "_row"', {"t": self.lake.table(table).snapshot(version)})
            .read_all()
            .to_pylist()
        )
        return found


def world_in(folder: Path, sql: Sql | None = None) -> World:
    """`sql` may serve many worlds: an engine keeps its instances warm."""
    return World(
        Lake(engine("files", "file")(str(folder / "lake"))),
        sql or engine("sql", "duckdb")("duckdb:?threads=2", folder / "scratch"),
    )


def ask(ride: str, at: int, city: str | None = "ams", distance: float | None = 1.0) -> dict[str, Any]:
    return {"ride": ride, "city": city, "distance": distance, "ts": T0 + at}


def answer(ride: str, at: int, delay: float | None = 20.0, city: str | None = "ams") -> dict[str, Any]:
    return {"ride": ride, "city": city, "delay": delay, "ts": T0 + at}


def traffic(rides: int, days: int, seed: int = 3) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rides whose delay grows with the distance and differs by city, each answered within three hours."""
    random = np.random.default_rng(seed)
    at = np.sort(random.integers(0, days * DAY, rides))
    cities, distances = random.choice(["ams", "ber", "cdg"], rides), random.exponential(8.0, rides).round(3)
    delays = (distances * 1.5 + np.where(cities == "ber", 8.0, 0.0) + random.normal(0, 6, rides)).round(2)
    answered = at + random.integers(HOUR // 6, 3 * HOUR, rides)
    asks = [ask(f"r{i}", int(at[i]), str(cities[i]), float(distances[i])) for i in range(rides)]
    return asks, [answer(f"r{i}", int(answered[i]), float(delays[i]), str(cities[i])) for i in np.argsort(answered)]
