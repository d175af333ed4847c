"""The client against a real collector in a process of its own, and against a server that answers as it is told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from collecting_server import LANDED, Landed

import millstream as ms
from millstream.base.errors import Full, NotFound, Terminal, Transient, Unreachable, UsageError, WorkFailed
from millstream.base.registry import engine
from millstream.client import Client, Decision, Receipt
from millstream.log.dedupe import Deduper


class Ask(ms.Event):
    unit: str
    ts: ms.EventTime


ENDPOINT: Any = ms.endpoint(
    "rank",
    ms.experiment(
        "ab", arms={"a": "one", "b": "two"}, unit="unit", assign=ms.assign.ab(0.5, 0.5), reward=ms.outcome(LANDED, on="flight_id", within="1h", value="delay")
    ),
    default="one",
    request=Ask,
)
NOW = datetime.now(UTC)
NO_WAIT = timedelta(0)


def landed(number: int, carrier: str = "UA") -> Landed:
    return Landed(flight_id=f"f{number}", carrier=carrier, origin="EWR", dest="IAH", distance=1.5, delay=-2.0, gate=number, ts=NOW)


@contextmanager
def collecting(folder: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, str(Path(__file__).parent / "collecting_server.py"), str(folder), *options]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        yield child.stdout.readline().strip(), child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def in_order(folder: Path, *partitions: int) -> list[dict[str, Any]]:
    url = f"sqlite:{folder / 'log.db'}"
    schemas = engine("schemas", url)(url)
    log = engine("log", url)(url, schemas)
    ends = {p: end for p, end in log.ends("landed").items() if p in partitions}
    reader = log.reader("landed", {p: end.low for p, end in ends.items()})
    found: list[dict[str, Any]] = []
    while any(reader.position(p) < end.high for p, end in ends.items()):
        found += [row for piece in reader.poll(100_000, timedelta(0)) for row in piece.rows.to_pylist()]
    for one in (reader, log, schemas):
        one.close()
    return found


def stored(folder: Path) -> list[dict[str, Any]]:
    return in_order(folder, *range(LANDED.partitions))


def test_sending_to_a_real_server(tmp_path: Path) -> None:
    with collecting(tmp_path) as (url, _), Client(url) as client:
        receipt = client.send(LANDED, [landed(i) for i in range(12_000)])
        assert (receipt.stream, receipt.accepted, receipt.repeated) == ("landed", 12_000, 0)
        again = client.send(LANDED, [landed(0)], ids=["x"]), client.send(LANDED, [landed(0)], ids=["x"])
        assert [r.accepted for r in again] == [1, 1]
        assert client.send(LANDED, []) == Receipt("landed", {})
        with Client(url, history=True) as replaying:
            replaying.send(LANDED, [Landed(**{**vars(landed(99_999)), "ts": datetime(2013, 1, 1, tzinfo=UTC)})])
        with pytest.raises(UsageError, match="ahead of the server's clock"):
            client.send(LANDED, [landed(1), Landed(**{**vars(landed(2)), "ts": datetime(2999, 1, 1, tzinfo=UTC)})])
        other = ms.stream("other", Landed, key="flight_id")
        with pytest.raises(NotFound, match='no stream "other" takes events'):
            client.send(other, [landed(1)])
        rows = stored(tmp_path)
    assert sum(receipt.offsets.values()) == 12_000 and len(rows) == 12_004
    assert Counter(r["flight_id"] for r in rows)["f0"] == 3
    old = next(r for r in rows if r["flight_id"] == "f99999")
    assert old["_arrived_at"] == old["ts"] == datetime(2013, 1, 1, tzinfo=UTC)
    assert vars(landed(7)).items() <= next(r for r in rows if r["flight_id"] == "f7").items()


def test_threads_share_a_client(tmp_path: Path) -> None:
    with collecting(tmp_path) as (url, _), Client(url) as client:
        threads = [threading.Thread(target=lambda at=at: [client.send(LANDED, [landed(at * 100 + i)]) for i in range(20)]) for at in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({r["flight_id"] for r in stored(tmp_path)}) == 80


@pytest.mark.fault
def test_collector_committed(tmp_path: Path) -> None:
    """Killed after the commit and before the answer: the retry at another collector has the same id, so dedupe counts it once."""
    with collecting(tmp_path, "kill") as (url, child), Client(url, retry_for=NO_WAIT) as client:
        client.send(LANDED, [landed(0)])
        ids = [f"id-{i}" for i in range(10)]
        events = [landed(i, "die" if i == 5 else "UA") for i in range(10)]
        with pytest.raises(Unreachable):
            client.send(LANDED, events, ids=ids)
        assert child.wait() == -signal.SIGKILL
    with collecting(tmp_path) as (url, _), Client(url) as client:
        client.send(LANDED, events, ids=ids)
    rows = [r for r in stored(tmp_path) if r["_event_id"].startswith("id-")]
    assert len(rows) == 20, "the log has both"

    once: Counter[str] = Counter()
    deduper = Deduper(LANDED.dedupe_within_us)
    for partition in range(LANDED.partitions):
        found = in_order(tmp_path, partition)
        arrived = np.array([int(row["_arrived_at"].timestamp() * 1e6) for row in found], np.int64)
        kept = deduper.keep(partition, pa.array([row["_event_id"] for row in found], pa.string()), arrived)
        once.update(row["_event_id"] for row, keep in zip(found, kept, strict=True) if keep)
    assert {once[name] for name in ids} == {1}, "each counts once after the log"


@contextmanager
def answering(*answers: tuple[int, Any] | Callable[[Any], tuple[int, Any]]) -> Iterator[tuple[str, list[tuple[str, dict[str, str], bytes]]]]:
    """A server that gives these answers in turn, the last for ever; and what it was asked."""
    asked: list[tuple[str, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            answer = answers[min(len(asked), len(answers)) - 1]
            status, told = answer(body) if callable(answer) else answer
            data = told if isinstance(told, bytes) else json.dumps(told).encode()
            if status == 0:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            if status in (429, 503):
                self.send_header("retry-after", "0")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def receipt_of(body: bytes) -> tuple[int, Any]:
    return 200, {"stream": "landed", "offsets": {"0": 5}, "accepted": len(body.splitlines()), "repeated": 0}


ERROR = {"error": {"code": "x", "message": "the reason", "fix": "the fix"}}


@pytest.mark.parametrize("first", [(429, ERROR), (503, ERROR), (502, b"<html>"), (0, b"")])
def test_what_may_succeed_later_is_sent_again_under_the_same_ids(first: tuple[int, Any]) -> None:
    with answering(first, first, receipt_of) as (url, asked), Client(url) as client:
        assert client.send(LANDED, [landed(1), landed(2)]).accepted == 2
    bodies = {body for _, _, body in asked}
    assert len(asked) == 3 and len(bodies) == 1
    ids = [json.loads(line)["event_id"] for line in bodies.pop().splitlines()]
    assert len(set(ids)) == 2 and ids == sorted(ids)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(400, "x", UsageError), (401, "token", UsageError), (404, "x", NotFound), (413, "x", UsageError), (422, "x", UsageError), (429, "x", Full), (503, "x", Transient),
     (500, "internal", Terminal), (500, "model_failed", WorkFailed), (418, "x", Terminal)],
)  # fmt: skip
def test_errors_are_of_the_tree(status: int, code: str, kind: type[Exception]) -> None:
    with answering((status, {"error": {**ERROR["error"], "code": code}})) as (url, asked), Client(url, token="secret", retry_for=NO_WAIT) as client:
        with pytest.raises(kind, match="the reason; the fix") as caught:
            client.send(LANDED, [landed(1)])
        assert "secret" not in str(caught.value) + repr(client) and asked[0][1]["authorization"] == "Bearer secret"
    assert len(asked) == 1


def test_nobody_there() -> None:
    with Client("http://127.0.0.1:9", retry_for=NO_WAIT) as client, pytest.raises(Unreachable, match=r"127\.0\.0\.1:9 gives no answer.*millstream up"):
        client.send(LANDED, [landed(1)])
    with pytest.raises(UsageError, match="no address of a server"):
        Client("localhost:8600")


DECIDED = {"decision_id": "d1", "prediction": None, "value": "one", "experiment": "ab", "phase": 1, "arm": "a", "propensity": 0.5, "model": None, "version": None,
           "as_of": {"landed": {"0": 7}}}  # fmt: skip


def test_a_decision_and_what_it_waits_for() -> None:
    with answering((200, DECIDED)) as (url, asked), Client(url) as client:
        after = [Receipt("landed", {0: 5, 3: 1}), Receipt("landed", {0: 9}), Receipt("other", {1: 2}), Receipt("empty", {})]
        decision = client.predict(ENDPOINT, Ask(unit="u1", ts=NOW), after=after)
        client.predict(ENDPOINT, Ask(unit="u1", ts=NOW), explain=True)
    assert decision == Decision("d1", None, "one", "ab", 1, "a", 0.5, None, None, {"landed": {"0": 7}})
    path, headers, body = asked[0]
    assert path == "/v1/predict/rank" and headers["millstream-after"] == "landed:0=9,3=1;other:1=2"
    assert json.loads(body) == {"unit": "u1", "ts": NOW.isoformat().replace("+00:00", "Z")}
    assert asked[1][0].endswith("?explain=1") and "millstream-after" not in asked[1][1]


def test_a_models_prediction_is_its_value() -> None:
    scalar = {**DECIDED, "prediction": 0.25, "value": None, "model": "trees", "version": 3}
    several = {**DECIDED, "prediction": None, "value": {"late": 0.5, "lost": 0.1}, "model": "trees", "version": 3}
    with answering((200, scalar), (200, several)) as (url, _), Client(url) as client:
        one, two = (client.predict(ENDPOINT, Ask(unit="u", ts=NOW)) for _ in range(2))
    assert one.prediction == one.value == 0.25 and two.prediction == two.value == {"late": 0.5, "lost": 0.1}


def test_many_decisions_in_their_order() -> None:
    def answer(body: bytes) -> tuple[int, Any]:
        return 200, [{**DECIDED, "decision_id": one["unit"]} for one in json.loads(body)]

    with answering(answer) as (url, asked), Client(url) as client:
        found = client.predict_many(ENDPOINT, [Ask(unit=f"u{i}", ts=NOW) for i in range(1_200)])
        assert client.predict_many(ENDPOINT, []) == []
    assert [d.decision_id for d in found] == [f"u{i}" for i in range(1_200)] and len(asked) == 3


def test_part_of_a_request_refused() -> None:
    told = {"stream": "landed", "offsets": {}, "accepted": 1, "repeated": 0, "errors": [{"index": 1, "error": ERROR["error"]}]}
    with (
        answering((207, told)) as (url, _),
        Client(url) as client,
        pytest.raises(UsageError, match=r"1 event .* was refused, 1 of the same request is durable; .*number 1"),
    ):
        client.send(LANDED, [landed(1), landed(2)])


def test_ids_are_one_an_event() -> None:
    class Own(ms.Event):
        event_id: str
        ts: ms.EventTime

    with answering(receipt_of) as (url, asked), Client(url) as client:
        with pytest.raises(UsageError, match="2 events and 1 ids"):
            client.send(LANDED, [landed(1), landed(2)], ids=["a"])
        own = ms.stream("landed", Own, key="event_id")
        with pytest.raises(UsageError, match="have a field event_id"):
            client.send(own, [Own(event_id="a", ts=NOW)], ids=["b"])
        client.send(own, [Own(event_id="a", ts=NOW)])
    assert [json.loads(body)["event_id"] for _, _, body in asked] == ["a"]


def test_a_refused_event_of_a_later_request_has_its_number_among_all() -> None:
    def answer(body: bytes) -> tuple[int, Any]:
        lines = body.count(b"\n") + 1
        errors = {"errors": [{"index": 0, "error": ERROR["error"]}]} if lines == 1 else {}
        return 207 if errors else 200, {"stream": "landed", "offsets": {}, "accepted": lines - len(errors), "repeated": 0, **errors}

    with answering(answer) as (url, _), Client(url) as client, pytest.raises(UsageError, match=r"the first, number 2: the reason; the fix"):
        client.send(LANDED, [landed(i, "x" * 3_000_000) for i in range(3)])


def test_large_sends_are_split_by_bytes() -> None:
    with answering(receipt_of) as (url, asked), Client(url) as client:
        client.send(LANDED, [landed(i, "x" * 3_000_000) for i in range(5)])
    assert [len(body.splitlines()) for _, _, body in asked] == [2, 2, 1]
