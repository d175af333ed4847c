"""The collector as an ASGI application on a real log: what is answered is durable, what is wrong is named item by item."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import time
from collections.abc import Coroutine, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import millstream as ms
from millstream.base.errors import Busy, Full
from millstream.base.registry import engine
from millstream.ingest.collector import Collector, Limits
from millstream.ingest.doors import Doors, Machine
from millstream.ingest.form import EventForm
from millstream.ingest.split import array_items


class Sold(ms.Event):
    """Something was sold."""

    item: str
    price: float
    count: int = 1
    note: str | None = None
    ts: ms.EventTime


class Clicked(ms.Event):
    event_id: str
    ts: ms.EventTime


SOLD, CLICKED = ms.stream("sold", Sold, key="item"), ms.stream("clicked", Clicked, key="event_id")
KEPT = ms.stream("kept", Sold, key="item", dedupe=None)
NOW = datetime.now(UTC).isoformat()


class Flaky:
    """A log that refuses when told to, and counts its appends."""

    def __init__(self, log: Any) -> None:
        self._log, self.errors, self.appends, self.gate = log, list[Exception](), 0, threading.Event()
        self.gate.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def append(self, appends: Any) -> Any:
        self.gate.wait(20)
        if self.errors:
            raise self.errors.pop(0)
        self.appends += 1
        return self._log.append(appends)


class Served:
    """A collector, asked without a socket between."""

    def __init__(self, folder: Path, streams: Sequence[Any] = (), **options: Any) -> None:
        url = f"sqlite:{folder / 'log.db'}"
        self.schemas = engine("schemas", url)(url)
        self.log = Flaky(engine("log", url)(url, self.schemas))
        self.app = Collector(self.log, self.schemas, {s.name: s for s in streams or (SOLD, CLICKED, KEPT)}, **options)
        self.app.start()

    async def ask(
        self, body: bytes, path: str = "/v1/events/sold", method: str = "POST", chunk: int = 65_536, **headers: str
    ) -> tuple[int, Any, dict[bytes, bytes]]:
        scope = {"type": "http", "method": method, "path": path, "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]}
        parts = [body[at : at + chunk] for at in range(0, len(body), chunk)] or [b""]
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        told = dict(sent[0]["headers"])
        assert told[b"content-length"] == b"%d" % len(sent[1]["body"])
        found = json.loads(sent[1]["body"])
        if sent[0]["status"] not in (200, 207):
            assert set(found) == {"error"} and {"code", "message", "fix"} <= set(found["error"]), "every error has one shape"
            assert all(found["error"][name] for name in ("code", "message", "fix"))
        assert told.get(b"www-authenticate") == (b"Bearer" if sent[0]["status"] == 401 else None)
        return sent[0]["status"], found, told

    def post(self, body: Any, path: str = "/v1/events/sold", **options: Any) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return asyncio.run(self.ask(data, path, **options))[:2]

    def rows(self, topic: str = "sold") -> list[dict[str, Any]]:
        ends = self.log.ends(topic)
        reader = self.log.reader(topic, {p: end.low for p, end in ends.items()})
        found: list[dict[str, Any]] = []
        while any(reader.position(p) < end.high for p, end in ends.items()):
            found += [{**row, "p": piece.partition} for piece in reader.poll(100_000, timedelta(0)) for row in piece.rows.to_pylist()]
        reader.close()
        return found

    def close(self) -> None:
        self.log.gate.set()
        self.app.close()
        self.log.close()
        self.schemas.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    yield made
    made.close()


def sold(number: int, **more: Any) -> dict[str, Any]:
    return {"item": f"i{number}", "price": 1.5, "ts": NOW, **more}


@pytest.mark.parametrize("form", ["array", "lines", "lines with blanks", "one object", "gzip", "byte order mark"])
def test_events_are_durable_when_answered(served: Served, form: str) -> None:
    events = [sold(0)] if form == "one object" else [sold(i) for i in range(20)]
    lines = [json.dumps(e).encode() for e in events]
    body = {"array": json.dumps(events).encode(), "lines": b"\n".join(lines), "lines with blanks": b"\r\n\n".join(lines) + b"\n", "one object": json.dumps(events[0], indent=2).encode(),
            "byte order mark": b"\xef\xbb\xbf" + b"\n".join(lines),
            "gzip": gzip.compress(json.dumps(events[:9]).encode()[:-1] + b",") + gzip.compress(json.dumps(events[9:]).encode()[1:])}[form]  # fmt: skip
    options: dict[str, Any] = {"content_encoding": "gzip", "chunk": 50} if form == "gzip" else {}
    status, told = served.post(body, **options)
    assert (status, told["stream"], told["accepted"], told["repeated"]) == (200, "sold", len(events), 0)
    rows = served.rows()
    assert sorted(r["item"] for r in rows) == sorted(e["item"] for e in events)
    assert all(r["_offset"] < told["offsets"][str(r["p"])] for r in rows), "they lie below what the receipt says"
    assert len({r["_event_id"] for r in rows}) == len(events) and all(r["count"] == 1 for r in rows)
    assert abs((rows[0]["_arrived_at"] - datetime.now(UTC)).total_seconds()) < 20


def test_history_arrives_at_its_own_time(served: Served) -> None:
    served.post([sold(1, ts="2013-01-01T00:00:00+02:00")], millstream_replay="true")
    served.post([sold(2, ts="2013-01-01T00:00:00Z")])
    one, two = sorted(served.rows(), key=lambda r: r["item"])
    assert one["_arrived_at"] == one["ts"] == datetime(2012, 12, 31, 22, tzinfo=UTC) and two["_arrived_at"].year >= 2024


def test_each_item_has_its_result(served: Served) -> None:
    good = [sold(0), sold(5, note="x")]
    wrong = [
        (sold(1, price="1"), 'field "price" of Sold is "1" (text)', "send price as a number"),
        ({"item": "i2", "ts": NOW}, 'Sold needs the field "price"', "send price as"),
        (sold(3, prise=1), 'Sold has no field "prise"', 'did you mean "price"?'),
        (
            sold(4, ts="2013-01-01T00:00:00"),
            'field "ts" of Sold is "2013-01-01T00:00:00" (text), which has no time zone',
            "send ts with a zone: add Z, or an offset such as +02:00",
        ),
        (sold(4, ts="yesterday"), 'field "ts" of Sold is "yesterday" (text)', "send ts as a time in ISO 8601 with a zone"),
        (sold(4) | {"TS": "2013-01-01T00:00:00Z"}, 'Sold has no field "TS"', 'names are case-sensitive: send "ts"'),
        (sold(6, count=2**63), 'field "count" of Sold is 9223372036854775808', "a whole number"),
        (sold(7, ts=(datetime.now(UTC) + timedelta(days=2)).isoformat()), "ahead of the server's clock", "clock"),
        (sold(8, ts="0001-01-01T00:00:00+14:00"), "before the year 1", "clock"),
        ([], "Expected `object`, got `array`", "JSON object"),
    ]
    for lines in (False, True):
        items = [good[0], *(w[0] for w in wrong), good[1]]
        status, told = served.post("\n".join(map(json.dumps, items)).encode() if lines else items)
        assert (status, told["accepted"]) == (207, 2)
        errors = {e["index"]: e["error"] for e in told["errors"]}
        assert sorted(errors) == list(range(1, len(wrong) + 1))
        for at, (_, says, fix) in enumerate(wrong, 1):
            assert says in errors[at]["message"] and fix in errors[at]["fix"] and errors[at]["code"] == "invalid_event"
    assert sorted(r["item"] for r in served.rows()) == ["i0", "i0", "i5", "i5"]


def test_none_of_them(served: Served) -> None:
    status, told = served.post([{"item": 1}, {}])
    assert status == 422 and [e["index"] for e in told["error"]["errors"]] == [0, 1] and told["error"]["code"] == "invalid_events"
    assert served.rows() == []


@pytest.mark.parametrize("body", [b'[{"item": "a"', b"[1,", b'[{"item": "\xff", "price": 1}]'])
def test_a_body_that_is_no_json(served: Served, body: bytes) -> None:
    status, told = served.post(body)
    assert status in (400, 422) and ("JSON" in told["error"]["message"] or "UTF-8" in told["error"]["message"])


def test_invalid_utf8_costs_one_line(served: Served) -> None:
    good = json.dumps(sold(1)).encode()
    status, told = served.post(good + b"\n" + good.replace(b"i1", b"i\xff") + b"\n" + good)
    assert (status, told["accepted"], told["errors"][0]["index"]) == (207, 2, 1)
    assert "it is not valid UTF-8: byte 11 is 0xff" in told["errors"][0]["error"]["message"]


def test_nothing_at_all(served: Served) -> None:
    assert served.post(b"")[1] == served.post([])[1] == {"stream": "sold", "offsets": {}, "accepted": 0, "repeated": 0}


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"path": "/v1/events/nothing"}, 404, "no_stream"),
        ({"path": "/v1/events/"}, 404, "no_stream"),
        ({"method": "GET"}, 405, "method"),
        ({"content_encoding": "br"}, 415, "encoding"),
        ({"content_encoding": "gzip"}, 400, "gzip"),
        ({"content_length": "99000000"}, 413, "too_large"),
    ],
)
def test_a_request_that_is_wrong_as_a_whole(served: Served, options: dict[str, Any], status: int, code: str) -> None:
    found, told = served.post([sold(1)], **options)
    assert (found, told["error"]["code"]) == (status, code) and served.rows() == []


def test_bodies_have_a_bound_packed_or_not(tmp_path: Path) -> None:
    served = Served(tmp_path, limits=Limits(body_bytes=10_000))
    body = json.dumps([sold(1, note="n" * 20_000)]).encode()
    assert served.post(body, chunk=1_000)[0] == 413
    assert served.post(gzip.compress(body), content_encoding="gzip")[0] == 413, "a small body that unpacks to a large one"
    assert served.post(gzip.compress(b"[]")[:-4], content_encoding="gzip")[1]["error"]["message"] == "the gzip body is cut off"
    served.close()


@pytest.mark.parametrize("packed", [False, True])
def test_a_body_may_be_as_long_as_the_bound_and_no_byte_longer(tmp_path: Path, packed: bool) -> None:
    body = json.dumps([sold(1, note="n" * 5_000)]).encode()
    served = Served(tmp_path, limits=Limits(body_bytes=len(body)))
    pack = gzip.compress if packed else bytes
    more = {"content_encoding": "gzip"} if packed else {}
    assert [served.post(pack(sent), chunk=500, **more)[0] for sent in (body, body + b" ")] == [200, 413]
    served.close()


def test_events_of_ten_megabytes(served: Served) -> None:
    status, told = served.post([sold(1, note="n" * 9_900_000), sold(2, note="n" * 10_100_000), sold(3)])
    assert (status, told["accepted"], [e["index"] for e in told["errors"]]) == (207, 2, [1])
    assert "more than 10,000,000 bytes" in told["errors"][0]["error"]["message"]
    assert sorted((r["item"], len(r["note"] or "")) for r in served.rows()) == [("i1", 9_900_000), ("i3", 0)]


def test_tokens(tmp_path: Path) -> None:
    served = Served(tmp_path, token="secret")
    for headers in ({}, {"authorization": "Bearer secre"}, {"authorization": "secret"}, {"authorization": "Bearer sécret"}):
        status, told = served.post([sold(1)], **headers)
        assert status == 401 and "secret" not in json.dumps(told)
    assert served.post([sold(1)], path="/v1/events/nothing")[0] == 401, "without a token nobody learns the streams' names"
    assert served.post([sold(1)], authorization="Bearer secret")[0] == 200
    served.close()


def test_a_repeated_id_is_appended_again(served: Served) -> None:
    """Whether it repeats one that was kept is for the readers of the log: what was acknowledged is there for them to decide about."""
    served.post([sold(i, event_id=f"e{i}") for i in range(5)])
    status, again = served.post([sold(i, event_id=f"e{i}") for i in range(8)])
    assert (status, again["accepted"], again["repeated"]) == (200, 8, 0)
    assert sorted(r["_event_id"] for r in served.rows()) == sorted([f"e{i}" for i in range(5)] + [f"e{i}" for i in range(8)])


def test_an_empty_id_is_none(served: Served) -> None:
    for _ in range(2):
        assert served.post([sold(1, event_id=""), sold(2, event_id="")])[0] == 200
    assert len({r["_event_id"] for r in served.rows()}) == 4


def test_a_topic_that_is_refused_costs_the_others_nothing(served: Served) -> None:
    real, refused = served.log.append, list[str]()

    def full(appends: Any) -> Any:
        if any(append.topic == "kept" for append in appends):
            refused.append("kept")
            raise Full('"kept" holds more than its share')
        return real(appends)

    served.log.append = full  # type: ignore[method-assign]
    found: dict[str, int] = {}
    posts = [threading.Thread(target=lambda n=n: found.update({n: served.post([sold(1)], path=f"/v1/events/{n}")[0]})) for n in ("sold", "kept")]
    for post in posts:
        post.start()
    for post in posts:
        post.join()
    assert found == {"sold": 200, "kept": 429} and refused


def test_an_array_whose_items_cannot_be_told_apart_is_refused_whole(served: Served) -> None:
    """Two items with a quote lost swallow what stands between them: places would be wrong, and events taken for accepted."""
    good = [json.dumps(sold(n)).encode() for n in range(3)]
    lost = json.dumps(sold(9)).encode().replace(b'"i9"', b'i9"', 1)
    status, told = served.post(b"[" + b",".join([lost, *good, lost]) + b"]")
    assert status == 400 and told["error"]["code"] == "invalid_json" and served.rows() == []


@pytest.mark.parametrize(("text", "why"), [(b'"\xff1"', "no UTF-8"), (b"[" * 9_000 + b"]" * 9_000, "nested too deeply")])
def test_an_item_that_no_decoder_takes_harms_no_neighbour(served: Served, text: bytes, why: str) -> None:
    first, bad, last = (json.dumps(sold(n, note='a, "b" ]')).encode() for n in range(3))
    status, told = served.post(b"[" + b" , ".join([first, bad.replace(b'"i1"', text), last]) + b"]")
    assert (status, told["accepted"], [error["index"] for error in told["errors"]]) == (207, 2, [1])
    assert why in told["errors"][0]["error"]["message"] and sorted(row["item"] for row in served.rows()) == ["i0", "i2"]


@pytest.mark.parametrize(("body", "items"), [
    (b' [1, "a,]b" ,{"x": [1, {}], "y": "}"}, "\\"," ] ', [b"1", b'"a,]b"', b'{"x": [1, {}], "y": "}"}', b'"\\","']),
    (b'["\\\\", 2]', [b'"\\\\"', b"2"]), (b"[1]", [b"1"]), (b"[ ]", []), (b"[[1], [2]]", [b"[1]", b"[2]"]),
    (b"[1,,2]", None), (b"[1,]", None), (b"[1", None), (b"1]", None), (b'["a]', None), (b"[1]]", None), (b"[[1]", None), (b"[1],[2]", None), (b"[1] 2", None), (b"2 [1]", None), (b"", None),
])  # fmt: skip
def test_items_are_told_apart_by_brackets_and_quotes(body: bytes, items: list[bytes] | None) -> None:
    assert array_items(body) == items


def test_a_field_called_event_id_is_the_id(served: Served) -> None:
    for _ in range(2):
        assert served.post([{"event_id": "c1", "ts": NOW}], path="/v1/events/clicked")[0] == 200
    assert [(r["_event_id"], r["event_id"]) for r in served.rows("clicked")] == [("c1", "c1")] * 2


def test_a_stream_that_keeps_all_keeps_repeats(served: Served) -> None:
    for _ in range(2):
        assert served.post([sold(1, event_id="e1")], path="/v1/events/kept")[1]["repeated"] == 0
    assert len(served.rows("kept")) == 2


def test_requests_share_a_commit(served: Served) -> None:
    """While one append is under way the next gather."""

    async def all_at_once() -> list[Any]:
        served.log.gate.clear()
        waiting = [asyncio.create_task(served.ask(json.dumps([sold(i)]).encode())) for i in range(50)]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in waiting), "nothing is answered before it is durable"
        served.log.gate.set()
        return await asyncio.gather(*waiting)

    assert [status for status, _, _ in asyncio.run(all_at_once())] == [200] * 50
    assert served.log.appends <= 2 and len(served.rows()) == 50


def test_a_client_that_hangs_up_harms_nobody(served: Served) -> None:
    async def asked() -> int:
        served.log.gate.clear()
        gone, stays = (asyncio.create_task(served.ask(json.dumps([sold(i)]).encode())) for i in range(2))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0.01)
        served.log.gate.set()
        return (await stays)[0]

    assert asyncio.run(asked()) == 200 and {r["item"] for r in served.rows()} >= {"i1"}


def test_one_poisoned_event_harms_no_other(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests share columns; a value that none can hold costs its own event only."""
    real = EventForm.columns

    def columns(form: EventForm, events: Any) -> Any:
        if any(event.item == "i7" for event in events):
            raise OverflowError("never seen")
        return real(form, events)

    async def asked() -> list[Any]:
        served.log.gate.clear()
        first = asyncio.create_task(served.ask(json.dumps([sold(0)]).encode()))
        await asyncio.sleep(0.05)
        rest = [asyncio.create_task(served.ask(json.dumps([sold(i), sold(i + 1)]).encode())) for i in (2, 6)]
        await asyncio.sleep(0.05)
        served.log.gate.set()
        return await asyncio.gather(first, *rest)

    monkeypatch.setattr(EventForm, "columns", columns)
    whole, fine, part = (told[:2] for told in asyncio.run(asked()))
    assert (whole[0], fine[0], part[0]) == (200, 200, 207)
    assert [e["index"] for e in part[1]["errors"]] == [1] and part[1]["accepted"] == 1
    assert sorted(r["item"] for r in served.rows()) == ["i0", "i2", "i3", "i6"]
    assert served.post([sold(7)])[0] == 422


def test_behind(tmp_path: Path) -> None:
    """More than may wait is refused with a time to come back."""
    served = Served(tmp_path, limits=Limits(waiting_rows=10))

    async def asked() -> tuple[int, Any, dict[bytes, bytes]]:
        served.log.gate.clear()
        first = asyncio.create_task(served.ask(json.dumps([sold(i) for i in range(10)]).encode()))
        await asyncio.sleep(0.05)
        refused = await served.ask(json.dumps([sold(11)]).encode())
        served.log.gate.set()
        assert (await first)[0] == 200
        assert (await served.ask(json.dumps([sold(12)]).encode()))[0] == 200
        return refused

    status, told, headers = asyncio.run(asked())
    assert (status, told["error"]["code"], headers[b"retry-after"]) == (429, "behind", b"1")
    assert len(served.rows()) == 11
    served.close()


def test_a_full_or_busy_log(tmp_path: Path) -> None:
    served = Served(tmp_path, limits=Limits(retry_s=0.1))
    served.log.errors = [Busy("locked")]
    assert served.post([sold(1)])[0] == 200, "tried again for a while"
    served.log.errors = [Full("no room")] * 50
    status, told = served.post([sold(2)])
    assert (status, told["error"]["code"]) == (429, "full") and "no room" in told["error"]["message"]
    served.log.errors = [Busy("locked")] * 50
    assert served.post([sold(3)])[0] == 503
    served.log.errors = [ValueError("never seen")]
    status, told = served.post([sold(4)])
    assert status == 500 and "ValueError" in told["error"]["message"] and "never seen" not in json.dumps(told)
    served.log.errors = []
    assert served.post([sold(5)])[0] == 200, "the appender lives on"
    assert sorted(r["item"] for r in served.rows()) == ["i1", "i5"]
    served.close()


@pytest.mark.parametrize(
    ("error", "status", "word"),
    [(OSError(28, "No space left on device"), 429, "no space left"), (OSError(24, "Too many open files"), 503, "ulimit -n"), (OSError(27, "File too large"), 429, "ulimit -f"),
     (OSError(30, "Read-only file system"), 500, "read-only"), (OSError(5, "Input/output error"), 500, "check the disk")],
)  # fmt: skip
def test_what_a_disk_refuses_is_a_sentence(tmp_path: Path, caplog: pytest.LogCaptureFixture, error: OSError, status: int, word: str) -> None:
    served = Served(tmp_path)
    served.log.errors = [error]
    found, told = served.post([sold(1)])
    assert found == status and word in told["error"]["message"], told
    assert "Traceback" not in caplog.text and not any(record.exc_info for record in caplog.records)
    served.close()


def test_close_flushes_and_then_refuses(tmp_path: Path) -> None:
    served = Served(tmp_path)

    async def asked() -> list[int]:
        served.log.gate.clear()
        waiting = asyncio.create_task(served.ask(json.dumps([sold(1)]).encode()))
        await asyncio.sleep(0.05)
        closing: Coroutine[Any, Any, None] = asyncio.to_thread(served.app.close)
        task = asyncio.create_task(closing)
        await asyncio.sleep(0.05)
        served.log.gate.set()
        await task
        late = await served.ask(json.dumps([sold(2)]).encode())
        return [(await waiting)[0], late[0]]

    assert asyncio.run(asked()) == [200, 503]
    assert [r["item"] for r in served.rows()] == ["i1"]
    served.close()


def test_two_collectors_on_one_log(tmp_path: Path) -> None:
    one, two = Served(tmp_path), Served(tmp_path)

    def send(served: Served, start: int) -> None:
        for i in range(start, start + 20):
            assert served.post([sold(i)])[0] == 200

    threads = [threading.Thread(target=send, args=(served, start)) for served, start in ((one, 0), (two, 100))]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({r["item"] for r in one.rows()}) == 40 and time.monotonic() - began < 30
    one.close()
    two.close()


class Known(ms.Event):
    """A fact that became known later than it happened."""

    item: str
    known: ms.ArrivalTime | None = None
    ts: ms.EventTime


KNOWN, FAR = ms.stream("known", Known, key="item"), ms.stream("far", Sold, key="item", ahead="30d")


def far(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


@pytest.mark.parametrize("replay", ["true", "false"])
def test_an_arrival_far_ahead_is_refused_live_and_in_replay(tmp_path: Path, replay: str) -> None:
    made = Served(tmp_path, streams=(KNOWN,))
    items = [{"item": "a", "ts": NOW}, {"item": "b", "ts": NOW, "known": "2062-01-01T00:00:00Z"}, {"item": "c", "ts": NOW, "known": far(0.9)}]
    status, told = made.post(items, "/v1/events/known", millstream_replay=replay)
    assert (status, told["accepted"], [e["index"] for e in told["errors"]]) == (207, 2, [1])
    assert 'arrival time "known" is 2062' in told["errors"][0]["error"]["message"]
    made.close()


def test_how_far_ahead_is_the_streams_to_say(tmp_path: Path) -> None:
    made = Served(tmp_path, streams=(FAR, SOLD))
    assert made.post([sold(1, ts=far(29))], "/v1/events/far")[0] == 200
    assert made.post([sold(1, ts=far(31))], "/v1/events/far")[0] == 422
    assert made.post([sold(1, ts=far(2))])[0] == 422
    made.close()


def test_a_collector_whose_clock_is_behind_the_log_waits_and_says_so(tmp_path: Path) -> None:
    """A machine that starts in 2020 must not refuse every event of today for good, nor a sender believe it is at fault."""
    now, year = time.time_ns() // 1000, 365 * 86_400_000_000
    wall, steady = [now - 6 * year], [0]
    doors = Doors(None, newest=lambda topic: now, machine=Machine(lambda: wall[0], lambda: steady[0]))
    made = Served(tmp_path, doors=doors)
    status, told = made.post([sold(1)])
    assert (status, told["error"]["code"]) == (503, "clock") and "newest append" in told["error"]["message"] and not made.rows()
    restarted = Served(tmp_path, doors=Doors(None, newest=lambda topic: now, machine=Machine(lambda: now, lambda: 0)))
    assert restarted.post([sold(1)])[0] == 200
    restarted.close()
    made.close()
