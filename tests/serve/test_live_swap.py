"""Versions, phases and values behind an endpoint, swapped while it answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from given import engines
from live_server import ASKED, SPENT, Ask, ranking

import millstream as ms
from millstream.base.errors import ClockWrong, NotFound, Transient
from millstream.base.moments import moment_of
from millstream.experiment import phases
from millstream.experiment.assign import bucket
from millstream.ingest.doors import Doors, Machine
from millstream.serve.live import Live
from millstream.serve.request import BadRequest


class Says:
    """A predictor without features."""

    definitions: tuple[Any, ...] = ()
    derive: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, value: float) -> None:
        self.value = value

    def predict_row(self, row: Any) -> float:
        return self.value


def asks(n: int) -> list[dict[str, Any]]:
    return [{"visit_id": f"v{i}", "device": "desk", "weight": 0.0, "ts": None} for i in range(n)]


@pytest.fixture
def values(tmp_path: Path) -> Iterator[Live]:
    made = Live(engines(tmp_path, ranking()), refresh_s=60)
    made.start()
    yield made
    made.close()


def test_value_arms_by_their_weights_and_default_when_stopped(values: Live) -> None:
    rows = values.decider("rank").decide(asks(400))
    shares = {arm: sum(r["arm"] == arm for r in rows) / 400 for arm in ("cheap", "new")}
    assert shares["cheap"] == pytest.approx(0.25, abs=0.07) and sum(shares.values()) == 1
    assert {r["arm"]: (r["value"], r["propensity"]) for r in rows} == {
        "cheap": ('"cheap"', 0.25),
        "new": ('{"order":["n","m"]}', 0.75),
    }
    assert all(
        r["experiment"] == "ranking" and r["phase"] == 1 and r["unit"] == r["visit_id"] and r["prediction"] is None
        for r in rows
    )
    phases.stop("ranking", values._engines.state)
    values.refresh()
    (row,) = values.decider("rank").decide(asks(1))
    assert (row["arm"], row["value"], row["model"], row["unit"]) == (None, '"popular"', None, "v0")
    phases.ship("ranking", "new", values._engines.state)
    values.refresh()
    assert {r["arm"] for r in values.decider("rank").decide(asks(50))} == {"new"}


def test_units_outside_the_traffic_get_the_default(tmp_path: Path) -> None:
    made = Live(engines(tmp_path, ranking(layer="pages", traffic=(0.0, 0.5))), refresh_s=60)
    made.start()
    rows = made.decider("rank").decide(asks(300))
    from millstream.experiment.assign import layer_salt

    assert all((row["arm"] is not None) == (bucket(layer_salt("pages"), row["visit_id"]) < 0.5) for row in rows)
    made.close()


def test_a_new_champion_is_swapped_in_and_a_broken_one_is_not(tmp_path: Path) -> None:
    on = ms.training_set("visits_set", at=ASKED, label=SPENT, features=[ASKED.fields("device")])
    model = ms.model(on)(_plain)
    made = engines(tmp_path, ms.endpoint("price", model["champion"]))
    tracking = made.tracking

    def load(model: Any, version: int) -> Says:
        if version == 3:
            raise NotFound("its files are gone")
        return Says(version / 10)

    live = Live(made, refresh_s=60, predictor=load)
    live.start()
    assert "no version" in live.problems()[0]
    with pytest.raises(Transient, match="millstream run"):
        live.decider("price").decide(asks(1))
    for number in (1, 2, 3):
        run = tracking.start(model.name, {}, {})
        tracking.finish(run)
        tracking.register(model.name, run, {})
        tracking.alias(model.name, "champion", number)
        held = live._deciders["price"]
        live.refresh()
        (row,) = live.decider("price").decide(asks(1))
        assert (row["model"], row["version"], row["prediction"]) == (model.name, min(number, 2), min(number, 2) / 10)
        if number == 2:
            assert held.decide(asks(1))[0]["version"] == 1, "a request that began with the old one ends with it"
    assert live.problems() == ["its files are gone"] and live.gauges()["millstream_model_version"][1]
    live.close()


def _plain(train: ms.Train) -> object:
    raise AssertionError("not trained here")


def test_an_unknown_endpoint_names_the_known(values: Live) -> None:
    with pytest.raises(NotFound, match="rank"):
        values.decider("nope")
    assert Ask.__schema__.event_time == "ts"


def test_an_endpoint_judges_by_its_doors_clock_and_its_spines_bound(tmp_path: Path) -> None:
    far = ms.stream("planned", Ask, key="visit_id", ahead="30d")
    model = ms.model(ms.training_set("planned_set", at=far, label=SPENT, features=[far.fields("device")]))(_plain)
    day, wall, newest = 86_400_000_000, [1_760_000_000_000_000], [0]
    doors = Doors(None, newest=lambda topic: newest[0], machine=Machine(lambda: wall[0], lambda: wall[0]))
    live = Live(
        engines(tmp_path, ranking(), ms.endpoint("price", model["champion"], default=0.0), doors=doors), refresh_s=60
    )
    live.start()

    def ask(endpoint: str, days: float) -> Any:
        return live.decider(endpoint).decide([{**asks(1)[0], "ts": moment_of(wall[0] + round(days * day))}])

    assert ask("rank", 0.9) and live.decider("rank").decide(asks(1))[0]["ts"] == moment_of(wall[0])
    with pytest.raises(BadRequest, match="more than 1d ahead") as caught:
        ask("rank", 1.1)
    assert caught.value.field == "ts"
    assert live.decider("price").ahead_us == 30 * day
    wall[0] += 3600_000_000
    newest[0] = wall[0] + 2 * day
    live.refresh()
    with pytest.raises(ClockWrong):
        ask("rank", 0)
    live.close()


@pytest.mark.parametrize("follows", [False, True])
def test_a_version_is_said_to_be_ready_by_the_process_that_answers_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, follows: bool
) -> None:
    live = Live(
        engines(tmp_path, ranking()), refresh_s=60, predictor=(lambda model, version: Says(1.0)) if follows else None
    )
    live._registered = lambda model, version: Says(1.0)  # type: ignore[method-assign]
    live._load = live._load if follows else live._registered
    caplog.set_level("INFO", "millstream")
    live._built(SimpleNamespace(name="linear"), 1)  # type: ignore[arg-type]
    assert ("linear@1 is ready" in caplog.text) is not follows
