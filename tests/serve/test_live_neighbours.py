"""An endpoint, a version or a definition of features that fails leaves the others at work; `/readyz` and `/metrics` say
which.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from given import engines
from live_server import ASKED, SPENT, ranking
from serve_fakes import FakeLog
from test_live_swap import Says, asks

import millstream as ms
from millstream.base.errors import Transient
from millstream.base.waits import Waits
from millstream.log.envelope import topic_of
from millstream.serve.live import Live
from millstream.serve.server import Server


def models() -> tuple[Any, Any, Any]:
    def good(train: ms.Train) -> object:
        raise AssertionError("not trained here")

    def bad(train: ms.Train) -> object:
        raise AssertionError("not trained here")

    on = ms.training_set("visits_set", at=ASKED, label=SPENT, features=[ASKED.fields("device")])
    return ms.model(on)(good), ms.model(on)(bad), on


def registered(tracking: Any, name: str, times: int = 1) -> None:
    for _ in range(times):
        run = tracking.start(name, {}, {})
        tracking.finish(run)
        number = tracking.register(name, run, {}).number
    tracking.alias(name, "champion", number)


async def get(app: Server, path: str, query: bytes = b"") -> tuple[int, bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "http", "method": "GET", "path": path, "query_string": query, "headers": []}, lambda: None, send)  # type: ignore[arg-type, return-value]
    return sent[0]["status"], sent[1]["body"]


def asked(app: Server, path: str, query: bytes = b"") -> tuple[int, Any]:
    import asyncio

    status, body = asyncio.run(get(app, path, query))
    return status, body.decode() if path == "/metrics" else json.loads(body)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad pickle kafka://u:secretpass1@h:1"),
        ModuleNotFoundError("No module named 'gone'"),
        MemoryError("m"),
    ],
)
def test_a_model_that_cannot_be_loaded_leaves_the_other_endpoints_ready(tmp_path: Path, error: Exception) -> None:
    """An error that is none of ours kept the whole server from starting."""
    good, bad, _ = models()
    loads = list[str]()

    def load(model: Any, version: int) -> Says:
        loads.append(model.name)
        if model.name == "bad":
            raise error
        return Says(0.5)

    made = engines(tmp_path, ms.endpoint("price", good["champion"]), ms.endpoint("risk", bad["champion"]), ranking())
    told = list[Any]()
    for name in ("good", "bad"):
        registered(made.tracking, name)
    live = Live(
        made,
        refresh_s=60,
        predictor=load,
        waiting=lambda: [("sink", "orders", "its topic was recreated")],
        failing=told.append,
    )
    now = [0.0]
    live._unbuilt_waits = Waits(1.0, 8.0, clock=lambda: now[0])
    live.start()
    assert live.decider("price").decide(asks(1))[0]["prediction"] == 0.5 and live.answering() == ["price", "rank"]
    with pytest.raises(Transient, match="cannot be loaded"):
        live.decider("risk").decide(asks(1))

    app = Server(live, FakeLog())  # type: ignore[arg-type]
    status, body = asked(app, "/readyz")
    assert (status, body["status"], body["endpoints"]) == (
        200,
        "degraded",
        ["price", "rank"],
    ) and "bad@1 cannot be loaded" in str(body["problems"])
    assert body["waiting"] == [{"part": "sink", "name": "orders", "why": "its topic was recreated"}]
    guarded = Server(live, FakeLog(), token="t0ken")  # type: ignore[arg-type]
    assert asked(guarded, "/readyz")[1]["waiting"] == [{"part": "sink", "name": "orders"}], (
        "the reason is for those who have the token"
    )
    assert asked(app, "/readyz", b"strict=1")[0] == 503 and asked(app, "/readyz", b"strict=maybe")[0] == 400
    assert (
        asked(app, "/readyz/price")[0] == 200
        and asked(app, "/readyz/risk")[0] == 503
        and asked(app, "/readyz/nope")[0] == 404
    )
    _, text = asked(app, "/metrics")
    assert (
        'millstream_endpoint_ready{endpoint="risk"} 0' in text
        and 'millstream_endpoint_ready{endpoint="price"} 1' in text
    )
    assert 'millstream_waiting{part="sink",name="orders"} 1' in text
    assert "secretpass1" not in json.dumps(body) + text

    for second in range(20):
        now[0] = float(second)
        live.refresh()
    assert loads.count("bad") == 5, "at 0, 1, 3, 7, 15"
    assert (
        set(told[-1]) == {"bad@1"} and "cannot be loaded" in told[-1]["bad@1"].why and told[-1]["bad@1"].pause_s == 8.0
    )
    registered(made.tracking, "bad")
    load_ok = live._load
    live._load = lambda model, version: Says(0.25) if model.name == "bad" else load_ok(model, version)
    live.refresh()
    assert live.answering() == ["price", "rank", "risk"] and not live.problems() and told[-1] == {}
    assert live.decider("risk").decide(asks(1))[0]["version"] == 2
    live.close()


@pytest.mark.parametrize("came_up", [True, False])
def test_a_version_that_comes_back_is_waited_for_as_for_the_first_time(tmp_path: Path, came_up: bool) -> None:
    """Whether it had answered before it was let go, or never did."""
    good, _, _ = models()
    loads, now, broken = list[float](), [0.0], [True]

    def load(model: Any, version: int) -> Says:
        if version == 1:
            loads.append(now[0])
            if broken[0]:
                raise ValueError("bad pickle")
        return Says(0.5)

    made = engines(tmp_path, ms.endpoint("price", good["champion"]))
    registered(made.tracking, "good")
    live = Live(made, refresh_s=60, predictor=load)
    live._unbuilt_waits = Waits(1.0, 8.0, clock=lambda: now[0])

    def refreshed(second: float) -> None:
        now[0] = second
        live.refresh()

    live.start()
    refreshed(1.0)
    broken[0] = not came_up
    refreshed(3.0)
    broken[0] = True
    registered(made.tracking, "good")  # version 2 is the champion, and the first is let go
    refreshed(4.0)
    assert live.decider("price").default.version == 2
    made.tracking.alias("good", "champion", 1)
    refreshed(20.0)
    refreshed(21.0)
    assert loads == [0.0, 1.0, 3.0, 20.0, 21.0]
    live.close()


def test_one_broken_arm_leaves_the_other_arm_and_the_default_at_work(tmp_path: Path) -> None:
    good, bad, _ = models()
    test = ms.experiment(
        "price_ab",
        arms={"a": good["champion"], "b": bad["champion"]},
        unit="visit_id",
        assign=ms.assign.ab(),
        reward=SPENT,
    )

    def load(model: Any, version: int) -> Says:
        if model.name == "bad":
            raise ValueError("bad pickle")
        return Says(0.5)

    made = engines(tmp_path, ms.endpoint("price", test, default=good["champion"]))
    for name in ("good", "bad"):
        registered(made.tracking, name)
    live = Live(made, refresh_s=60, predictor=load)
    live.start()
    answered = {"a": 0, "b": 0}
    for ask in asks(40):
        try:
            answered[live.decider("price").decide([ask])[0]["arm"]] += 1
        except Transient as error:
            assert "bad@1 cannot be loaded" in str(error)
    assert answered["a"] > 5 and answered["b"] == 0
    registered(made.tracking, "good")
    live.refresh()
    assert live.decider("price").default.version == 2, "a new champion of the default is not held up"
    live.close()


def test_an_endpoint_whose_topic_breaks_its_contract_is_the_only_one_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Topics were asked for in one go, before anything else."""
    good, bad, _ = models()
    made = engines(tmp_path, ms.endpoint("price", good["champion"]), ms.endpoint("risk", bad["champion"]))
    for name in ("good", "bad"):
        registered(made.tracking, name)
    from millstream.base.errors import Incompatible
    from millstream.serve import live as module

    broken = [True]

    def some(log: Any, schemas: Any, stream: Any) -> Any:
        if stream.name.startswith("risk") and broken[0]:
            raise Incompatible("the field n was int64")
        return topic_of(log, schemas, stream)

    monkeypatch.setattr(module, "topic_of", some)
    live = Live(made, refresh_s=60, predictor=lambda model, version: Says(0.5))
    live.start()
    assert (
        live.answering() == ["price"]
        and live.decider("price").decide(asks(1))
        and live.problems() == ["the field n was int64"]
    )
    with pytest.raises(Transient, match="the field n was int64"):
        live.binding("risk")
    broken[0] = False
    live.refresh()
    assert live.answering() == ["price", "risk"] and live.binding("risk")
    live.close()
