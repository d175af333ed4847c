"""The HTTP face by its own: every reply, every refusal, in the one shape."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from serve_fakes import FakeLive, FakeLog, FakeReader, Fixed, live

from millstream.base.errors import ClockWrong, ConfigError, Full
from millstream.http.access import guard
from millstream.http.wire import reply
from millstream.serve import server
from millstream.serve.backend import Limits
from millstream.serve.decide import Arm, Decider
from millstream.serve.server import Server

ASK = {"flight_id": "f1", "carrier": "UA", "distance": 100.0, "ts": "2013-11-01T12:00:00Z"}


class Reply:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body
        self.json: Any = json.loads(body) if headers.get("content-type") == "application/json" else None


async def call(
    app: Server,
    path: str,
    body: Any = None,
    method: str | None = None,
    headers: dict[str, str] | None = None,
    chunks: list[bytes] | None = None,
) -> Reply:
    raw = chunks or [b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()]
    parts, got = list(raw), list[Any]()

    async def receive() -> dict[str, Any]:
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message: Any) -> None:
        got.append(message)

    name, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method or ("GET" if body is None and chunks is None else "POST"),
        "path": name,
        "query_string": query.encode(),
        "headers": [(k.encode(), v.encode()) for k, v in (headers or {}).items()],
    }
    await app(scope, receive, send)
    sent = {k.decode(): v.decode() for k, v in got[0]["headers"]}
    assert int(sent["content-length"]) == len(got[1]["body"])
    return Reply(got[0]["status"], sent, got[1]["body"])


def story(
    test: Callable[[Server, FakeLog, FakeLive], Awaitable[None]], behind: FakeLive | None = None, **options: Any
) -> None:
    async def run() -> None:
        log, made = FakeLog(), behind or live()
        app = Server(made, log, **options)  # type: ignore[arg-type]
        await app.start()
        await test(app, log, made)
        await app.stop()
        assert made.closed

    asyncio.run(run())


def test_an_answer_is_a_recorded_decision() -> None:
    async def test(app: Server, log: FakeLog, behind: FakeLive) -> None:
        reply = await call(app, "/v1/predict/late", ASK)
        assert reply.status == 200
        assert {k: reply.json[k] for k in ("prediction", "model", "version", "arm", "value")} == {
            "prediction": 0.5,
            "model": "trees",
            "version": 3,
            "arm": None,
            "value": None,
        }
        (row,) = log.rows()
        assert (
            row["decision_id"] == reply.json["decision_id"]
            and row["flight_id"] == "f1"
            and row["ts"].isoformat() == "2013-11-01T12:00:00+00:00"
        )
        assert row["latency_us"] > 0

    story(test)


def test_the_time_to_answer_is_counted_by_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(1000.0, 0.25)
    monkeypatch.setattr(server, "time", SimpleNamespace(perf_counter=lambda: next(clock)))

    async def test(app: Server, log: FakeLog, behind: FakeLive) -> None:
        for n in range(3):
            await call(app, "/v1/predict/late", ASK)
            assert app.meter.latency["late"].sum_s == 0.25 * (n + 1)

    story(test)


def test_an_array_is_answered_in_its_order() -> None:
    async def test(app: Server, log: FakeLog, behind: FakeLive) -> None:
        reply = await call(app, "/v1/predict/late", [{**ASK, "distance": float(n)} for n in range(50)])
        assert [a["prediction"] for a in reply.json] == [float(n) for n in range(50)]
        assert {r["decision_id"]: r["distance"] for r in log.rows()} == {
            a["decision_id"]: a["prediction"] for a in reply.json
        }

    story(test, live(Fixed(lambda row: row["distance"])))


def test_features_are_looked_up_derived_and_explained() -> None:
    reads = FakeReader({"UA": 12.5})
    arm = Arm(
        model="trees",
        version=1,
        predictor=Fixed(lambda row: row["half"]),
        reads=reads,
        derive={"half": lambda r: (r["left__delay_3h"] or 0) / 2},
    )
    made = live()
    made.deciders["late"] = Decider("late", made.deciders["late"].form, {}, None, {}, arm)

    async def test(app: Server, log: FakeLog, behind: FakeLive) -> None:
        known = await call(app, "/v1/predict/late?explain=1", ASK)
        assert known.json["prediction"] == 6.25 and known.json["features"] == {
            "left__delay_3h": 12.5,
            "left__flights_3h": 1,
        }
        assert known.json["as_of"] == {"departures": {"0": 0}}
        unseen = await call(app, "/v1/predict/late?explain=1", {**ASK, "carrier": "??"})
        assert unseen.status == 200 and unseen.json["reasons"] == {"left__delay_3h": "never_seen"}
        reads.inexact = ("left",)
        old = await call(app, "/v1/predict/late?explain=true", ASK)
        assert old.json["reasons"] == {"left": "inexact"} and old.json["inexact"] == ["left"]
        assert (await call(app, "/v1/predict/late", ASK)).json["inexact"] == ["left"], "also when nobody asked why"
        assert "inexact" not in known.json and "inexact" not in unseen.json
        assert "features" not in (await call(app, "/v1/predict/late?explain=0", ASK)).json

    story(test, made)


@pytest.mark.parametrize(
    ("path", "body", "method", "status", "code"),
    [
        ("/v1/predict/late", {"flight_id": "f"}, None, 422, "invalid_request"),
        ("/v1/predict/late", b"{", None, 400, "invalid_request"),
        ("/v1/predict/nobody", ASK, None, 404, "no_endpoint"),
        ("/v1/predict/late", None, "GET", 405, "method"),
        ("/elsewhere", None, None, 404, "not_found"),
        ("/healthz", ASK, "POST", 405, "method"),
        ("/v1/predict/late", b" " * 2_000, None, 413, "too_large"),
        ("/v1/predict/late?explain=yes", ASK, None, 400, "query"),
        ("/v1/predict/late?explian=1", ASK, None, 400, "query"),
        ("/v1/predict/late", [ASK] * 9, None, 413, "too_many"),
    ],
)
def test_every_refusal_has_one_shape(path: str, body: Any, method: str | None, status: int, code: str) -> None:
    async def test(app: Server, log: FakeLog, behind: FakeLive) -> None:
        reply = await call(app, path, body, method)
        assert reply.status == status and reply.json["error"]["code"] == code
        assert reply.json["error"]["message"] and reply.json["error"]["fix"] and set(reply.json) == {"error"}
        assert not log.rows()

    story(test, limits=Limits(body_bytes=1_500, requests=8))


def test_a_body_in_pieces_and_one_too_long_in_pieces() -> None:
    async def test(app: Server, log: FakeLog, behind: FakeLive) -> None:
        whole = json.dumps(ASK).encode()
        assert (await call(app, "/v1/predict/late", chunks=[whole[:10], whole[10:]], method="POST")).status == 200
        assert (await call(app, "/v1/predict/late", chunks=[b"x" * 400] * 9, method="POST")).status == 413

    story(test, limits=Limits(body_bytes=1_000))


def test_a_model_that_raises_is_a_500_and_the_server_lives(caplog: pytest.LogCaptureFixture) -> None:
    def predict(row: Any) -> float:
        if row["carrier"] == "bad":
            raise ValueError("no such leaf")
        return 0.25

    async def test(app: Server, log: FakeLog, behind: FakeLive) -> None:
        reply = await call(app, "/v1/predict/late", {**ASK, "carrier": "bad"})
        assert reply.status == 500 and reply.json["error"]["code"] == "model_failed"
        assert "trees@3 raised ValueError: no such leaf" in reply.json["error"]["message"]
        assert "no such leaf" in caplog.text and not log.rows()
        assert (await call(app, "/v1/predict/late", ASK)).json["prediction"] == 0.25

    story(test, live(Fixed(predict)))


def test_no_answer_when_the_decision_cannot_be_recorded() -> None:
    async def test(app: Server, log: FakeLog, behind: FakeLive) -> None:
        log.refuse = lambda: Full("below the floor")
        app.recorder("late")._retry_s = 0.05
        reply = await call(app, "/v1/predict/late", ASK)
        assert reply.status == 429 and reply.headers["retry-after"] == "1" and not log.rows()

    story(test)


def test_a_model_without_a_version_is_not_ready() -> None:
    made = live()
    made.deciders["late"] = Decider(
        "late", made.deciders["late"].form, {}, None, {}, Arm(missing='model "trees" has no version')
    )
    made.trouble = ['model "trees" has no version']

    async def test(app: Server, log: FakeLog, behind: FakeLive) -> None:
        assert (await call(app, "/v1/predict/late", ASK)).status == 503
        ready = await call(app, "/readyz")
        assert ready.status == 503 and "trees" in ready.json["error"]["message"]
        assert (await call(app, "/healthz")).json == {"status": "ok"}

    story(test, made)


@pytest.mark.parametrize("trouble", [[], ["features of orders: no answer"]])
@pytest.mark.parametrize("waits", [[], [("sink", "orders", "its topic was recreated")]])
def test_what_answers_is_ready_and_degraded_by_any_trouble_or_wait(
    trouble: list[str], waits: list[tuple[str, str, str]]
) -> None:
    made = live()
    made.answering = made.names  # type: ignore[method-assign]
    made.trouble, made.waits = trouble, waits

    async def test(app: Server, log: FakeLog, behind: FakeLive) -> None:
        ready = await call(app, "/readyz")
        assert ready.status == 200 and ready.json == {
            "status": "degraded" if trouble or waits else "ready",
            "endpoints": ["late"],
            "problems": trouble,
            "waiting": [{"part": part, "name": name, "why": why} for part, name, why in waits],
        }
        assert (await call(app, "/readyz?strict=1")).status == (503 if trouble else 200)

    story(test, made)


@pytest.mark.parametrize("names", [True, False])
def test_nothing_is_ready_while_the_log_takes_no_write(names: bool) -> None:
    """A collector without endpoints too."""
    made = live()
    if not names:
        made.deciders.clear()
    made.refused, made.trouble = "no space left on its disk", ["no space left on its disk"]

    async def test(app: Server, log: FakeLog, behind: FakeLive) -> None:
        ready = await call(app, "/readyz")
        assert (
            ready.status == 503
            and ready.json["error"]["code"] == "not_ready"
            and "no space left" in ready.json["error"]["message"]
        )
        made.refused, made.trouble = "", []
        assert (await call(app, "/readyz")).status == 200

    story(test, made)


def test_a_request_waits_for_what_was_sent_before_it() -> None:
    async def test(app: Server, log: FakeLog, behind: FakeLive) -> None:
        after = {"millstream-after": "departures:0=3,1=4;arrivals:0=1"}
        late = await call(app, "/v1/predict/late", ASK, headers=after)
        assert late.status == 503 and late.json["error"]["code"] == "behind" and late.headers["retry-after"]
        asked = asyncio.create_task(call(app, "/v1/predict/late", ASK, headers=after))
        await asyncio.sleep(0.02)
        assert not asked.done()
        behind.applied |= {"departures": {0: 3, 1: 9}, "arrivals": {0: 1}}
        assert (await asked).status == 200
        wrong = await call(app, "/v1/predict/late", ASK, headers={"millstream-after": "departures"})
        assert wrong.status == 400 and wrong.json["error"]["code"] == "after"

    story(test, limits=Limits(wait_s=0.1))


def test_a_mounted_application_takes_its_own_paths_only() -> None:
    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await reply(send, 418, b"{}")

    async def test(app: Server, log: FakeLog, behind: FakeLive) -> None:
        assert [(await call(app, path)).status for path in ("/v1/events/orders", "/healthz", "/elsewhere")] == [
            418,
            200,
            404,
        ]

    story(test, mounts={"/v1/events/": mounted})


def test_a_token_is_asked_for() -> None:
    async def test(app: Server, log: FakeLog, behind: FakeLive) -> None:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "s3cret"}):
            refused = await call(app, "/v1/predict/late", ASK, headers=headers)
            assert refused.status == 401 and refused.headers["www-authenticate"] == "Bearer"
        assert (await call(app, "/metrics")).status == 401 and (await call(app, "/healthz")).status == 200
        known = {"authorization": "Bearer s3cret"}
        assert (await call(app, "/v1/predict/late", ASK, headers=known)).status == 200
        assert "www-authenticate" not in (await call(app, "/v1/predict/nobody", ASK, headers=known)).headers

    story(test, token="s3cret")


def test_beyond_loopback_only_with_a_token() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.7", "example.org"):
        with pytest.raises(ConfigError, match="token"):
            guard(host, None, "serve")
        guard(host, "s3cret", "serve")
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        guard(host, None, "serve")


def test_metrics_in_prometheus_text() -> None:
    async def test(app: Server, log: FakeLog, behind: FakeLive) -> None:
        await call(app, "/v1/predict/late", ASK)
        await call(app, "/v1/predict/late", {})
        await call(app, "/v1/predict/none", ASK)
        text = (await call(app, "/metrics")).body.decode()
        assert 'millstream_requests_total{endpoint="late",status="200"} 1' in text
        assert 'millstream_requests_total{endpoint="late",status="422"} 1' in text
        # A name that callers invent is not a label
        assert 'millstream_requests_total{endpoint="",status="404"} 1' in text
        assert (
            'millstream_request_seconds_bucket{endpoint="late",le="+Inf"} 2' in text
            and "millstream_in_flight 0" in text
        )
        assert r'millstream_updater_lag{stream="a \"b\""} 3' in text
        assert 'millstream_decisions_total{endpoint="late",arm="",model="trees@3"} 1' in text

    story(test)


def test_more_at_once_than_the_limit_are_turned_away() -> None:
    async def test(app: Server, log: FakeLog, behind: FakeLive) -> None:
        log.pause_s = 0.05
        statuses = [r.status for r in await asyncio.gather(*(call(app, "/v1/predict/late", ASK) for _ in range(10)))]
        assert sorted(set(statuses)) == [200, 503] and statuses.count(200) == 4 == len(log.rows())

    story(test, limits=Limits(in_flight=4))


def test_stopping_answers_what_is_in_flight() -> None:
    async def test(app: Server, log: FakeLog, behind: FakeLive) -> None:
        log.pause_s = 0.05
        asked = [asyncio.create_task(call(app, "/v1/predict/late", ASK)) for _ in range(5)]
        await asyncio.sleep(0.01)
        await app.stop()
        assert [(await a).status for a in asked] == [200] * 5 and len(log.rows()) == 5
        assert (await call(app, "/v1/predict/late", ASK)).status == 503

    story(test)


def test_what_is_mounted_gets_its_own_paths() -> None:
    async def collector(scope: Any, receive: Any, send: Any) -> None:
        from millstream.http.wire import reply

        await reply(send, 202, b"{}")

    async def test(app: Server, log: FakeLog, behind: FakeLive) -> None:
        assert (await call(app, "/v1/events/departures", b"[]")).status == 202

    story(test, mounts={"/v1/events": collector})


def test_a_request_of_the_far_future_is_refused_and_nothing_is_recorded() -> None:
    """One decision of 9999 would blind the monitors of the endpoint."""

    async def test(app: Server, log: FakeLog, behind: FakeLive) -> None:
        for body in ({**ASK, "ts": "9999-12-31T00:00:00Z"}, [ASK, {**ASK, "ts": "2099-01-01T00:00:00Z"}]):
            reply = await call(app, "/v1/predict/late", body)
            assert (
                reply.status == 422
                and reply.json["error"]["field"] == "ts"
                and "more than 1d ahead of the server's clock" in reply.json["error"]["message"]
            )
        assert not log.rows()
        soon = (datetime.now(UTC) + timedelta(hours=23)).isoformat()
        assert (await call(app, "/v1/predict/late", {**ASK, "ts": soon})).status == 200

    story(test)


def test_a_server_whose_clock_is_wrong_waits_and_says_so() -> None:
    made = live()
    wrong: list[str] = ["this machine's clock shows 2020"]

    def now() -> int:
        if wrong:
            raise ClockWrong(wrong[0])
        return 1_760_000_000_000_000

    made.deciders["late"] = dataclasses.replace(made.deciders["late"], now_us=now)

    async def test(app: Server, log: FakeLog, behind: FakeLive) -> None:
        reply = await call(app, "/v1/predict/late", ASK)
        assert (
            (reply.status, reply.json["error"]["code"]) == (503, "clock")
            and "2020" in reply.json["error"]["message"]
            and reply.headers["retry-after"] == "30"
        )
        wrong.clear()
        assert (await call(app, "/v1/predict/late", ASK)).status == 200

    story(test, made)
