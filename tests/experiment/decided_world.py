"""A shop that decides by experiments, on a real lake: decisions as the server writes them, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from landing import landed

import millstream as ms
from millstream.base.registry import engine
from millstream.declare.stream import Stream
from millstream.experiment import outcomes
from millstream.experiment.learn import Snapshot
from millstream.experiment.phases import Phase
from millstream.experiment.route import Router
from millstream.lake.lake import Lake
from millstream.serve.decisions import decisions_stream
from millstream.state.port import State
from millstream.transform.port import Sql

HOUR, DAY = 3_600_000_000, 86_400_000_000
T0 = 1_357_000_000_000_000 // DAY * DAY
PARAMS = {"fee": 2}


class Visit(ms.Event):
    """A request."""

    user: str | None
    device: str
    price: float
    ts: ms.EventTime


class Buy(ms.Event):
    """A visitor paid."""

    decision_id: str
    user: str
    amount: float | None
    ts: ms.EventTime


class Complaint(ms.Event):
    """A visitor wrote."""

    user: str
    ts: ms.EventTime


buys = ms.stream("buys", Buy, key="decision_id")
complaints = ms.stream("complaints", Complaint, key="user")
bought = ms.outcome(buys, on="decision_id", within="6h", otherwise=False)
paid = ms.outcome(buys, on="decision_id", value=ms.agg.sum("amount"), within="6h")
calm = ms.outcome(complaints, on="user", value=ms.agg.count(), within="1d", otherwise=0).score("-outcome")
ARMS = {"blue": {"colour": "blue"}, "red": {"colour": "red"}}


def ab(name: str = "colours", **options: Any) -> Any:
    return ms.experiment(name, **{"arms": ARMS, "unit": "user", "assign": ms.assign.ab(), "reward": bought, **options})


def shop(*experiments: Any, name: str = "shop") -> Any:
    return ms.endpoint(name, list(experiments), request=Visit, default={"colour": "grey"})


@dataclass
class World:
    """An empty lake, an engine over it, and a state."""

    lake: Lake
    sql: Sql
    state: State

    def land(self, stream: Stream[Any], rows: Sequence[Mapping[str, Any]], *, upto: int | None = None) -> None:
        """Rows (`ts` in microseconds) as a sink lands them; the stream has then passed `upto`."""
        landed(self.lake, stream, rows, upto)

    def decide(self, endpoint: Any, rows: Sequence[Mapping[str, Any]]) -> None:
        self.land(decisions_stream(endpoint, PARAMS), rows)

    def refresh(self, endpoint: Any, params: Mapping[str, Any] = PARAMS) -> outcomes.Refreshed:
        return outcomes.refresh(endpoint, self.lake, self.sql, params)

    def rows(self, table: str, order: str = "decision_id") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (
            self.sql.query(f"select * from t order by {order}", {"t": self.lake.table(table).snapshot()})
            .read_all()
            .to_pylist()
        )
        return found

    def judged(self, endpoint: Any) -> dict[str, tuple[Any, Any]]:
        """Decision -> (outcome, reward)."""
        return {row["decision_id"]: (row["outcome"], row["reward"]) for row in self.rows(endpoint.outcomes)}


def world_in(folder: Path, sql: Sql | None = None) -> World:
    """`sql` may serve many worlds: an engine keeps its instances warm."""
    lake = Lake(engine("files", "file")(str(folder / "lake")))
    return World(
        lake,
        sql or engine("sql", "duckdb")("duckdb:?threads=2", folder / "scratch"),
        engine("state", "sqlite")(f"sqlite:{folder}/state.db"),
    )


def decision(
    name: str,
    at: int,
    arm: str | None = "blue",
    *,
    user: str | None = "u",
    experiment: str = "colours",
    phase: int = 1,
    **more: Any,
) -> dict[str, Any]:
    """One decision `at` microseconds after T0; outside experiments when it has no arm."""
    base = {
        "decision_id": name,
        "user": user,
        "unit": user,
        "device": "phone",
        "price": 10.0,
        "ts": T0 + at,
        "value": json.dumps(ARMS.get(arm or "")),
        "as_of": "{}",
    }
    routed = {"experiment": experiment, "phase": phase, "arm": arm, "propensity": 0.5} if arm else {}
    return {**base, **routed, **more}


def buy(name: str, at: int, amount: float | None = 5.0, user: str = "u") -> dict[str, Any]:
    return {"decision_id": name, "user": user, "amount": amount, "ts": T0 + at}


def routed(
    router: Router,
    users: Iterable[str],
    *,
    every_us: int = 60_000_000,
    first: int = 0,
    devices: Sequence[str] = ("phone", "desk"),
) -> list[dict[str, Any]]:
    """Decisions as the server would make and log them."""
    made = []
    for i, user in enumerate(users):
        request = {"user": user, "device": devices[i % len(devices)], "price": 10.0}
        found = router.route(None, request)
        row = decision(f"d{first + i:06}", (first + i) * every_us, None, user=user, device=request["device"])
        made.append(row if found is None else row | found._asdict())
    return made


def run(phases: Sequence[tuple[Any, Phase]], snapshots: Mapping[str, Snapshot] | None = None) -> Router:
    return Router([e for e, _ in phases], {e.name: p for e, p in phases}, snapshots)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)
