"""The window of mature decisions ends at the newest that has come."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
from watch_fakes import scene_in

import millstream as ms
from millstream import agg
from millstream.base.event import TIMESTAMP
from millstream.watch import expect
from millstream.watch.performance import performance

DAY = 86_400_000_000
NOW = 1_357_000_000_000_000


class Ask(ms.Event):
    ask_id: str
    ts: ms.EventTime


class Bought(ms.Event):
    ask_id: str
    ts: ms.EventTime


ASKED, BOUGHT = ms.stream("asked", Ask, key="ask_id"), ms.stream("bought", Bought, key="ask_id")
SPENT = ms.outcome(BOUGHT, on="ask_id", within="1h", otherwise=False)
RANKING = ms.experiment(
    "ranking", arms={"a": "a", "b": "b"}, unit="ask_id", assign=ms.assign.ab(0.5, 0.5), reward=SPENT
)
RANK = ms.endpoint("rank", RANKING, default="a", request=Ask)


def outcomes(*times: int) -> pa.Table:
    mature = [(t, float(i % 2), 0.1 + 0.8 * (i % 2)) for i, t in enumerate(times)]
    return pa.table(
        {
            "ts": pa.array([t for t, _, _ in mature], TIMESTAMP),
            "outcome": [y for _, y, _ in mature],
            "prediction": [p for _, _, p in mature],
        }
    )


def test_one_decision_of_9999_does_not_empty_the_window(tmp_path: Path) -> None:
    made = scene_in(tmp_path, ASKED, RANK, wall_us=lambda: NOW)
    table = outcomes(*(NOW - DAY + i for i in range(200)))
    made.engines.lake.create(RANK.outcomes, table.schema).append(table)
    check = ms.expect.performance(SPENT, "auc >= 0.5", window="2d")
    before = performance(check, RANK, made)
    made.engines.lake.table(RANK.outcomes).append(outcomes(253_402_214_400_000_000))
    after = performance(check, RANK, made)
    assert before.status == after.status == "ok" and after.details == before.details and after.details["rows"] == 200


def test_predictions_that_are_no_numbers_are_a_violation(tmp_path: Path) -> None:
    """A model that began to answer NaN has no auc; that is bad news, not too few data."""
    made = scene_in(tmp_path, ASKED, RANK, wall_us=lambda: NOW)
    table = outcomes(*(NOW - DAY + i for i in range(200)))
    said = [
        float("nan") if i in (3, 70) else float("inf") if i == 9 else p
        for i, p in enumerate(table["prediction"].to_pylist())
    ]
    table = table.set_column(2, "prediction", pa.array(said, from_pandas=False))
    made.engines.lake.create(RANK.outcomes, table.schema).append(table)
    found = performance(ms.expect.performance(SPENT, "auc >= 0.5", window="2d"), RANK, made)
    assert (found.status, found.value, found.message) == (
        "violated",
        None,
        "3 of 200 predictions with a mature outcome are NaN or infinite; auc >= 0.5",
    )


def test_features_whose_clock_is_in_2062_are_not_called_fresh(tmp_path: Path) -> None:
    seen = ms.features("seen", ASKED, key="ask_id", windows=["1h"], aggregates={"n": agg.count()})
    stands: dict[str, Any] = {"clock_us": NOW + 36 * 365 * DAY}
    store = SimpleNamespace(applied=lambda generation: SimpleNamespace(active=True, **stands))
    made = scene_in(tmp_path, ASKED, wall_us=lambda: NOW, online=store)
    found = expect.fresh(ms.expect.fresh("1h"), seen, made)
    assert found.status == "unknown" and "ahead of the clock" in found.message
    stands["clock_us"] = NOW - 60_000_000
    assert expect.fresh(ms.expect.fresh("1h"), seen, made).status == "ok"
