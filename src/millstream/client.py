"""The client of a Millstream server: send events, ask for decisions, have features wait for what was sent before.

    client = Client("http://127.0.0.1:8600")
    receipt = client.send(arrivals, [Arrival(...)])
    decision = client.predict(late, Scheduled(...), after=receipt)

Calls block. Connections are kept open and shared by threads. What may succeed later (429, 503, a broken connection) is tried
again with the same event ids until `retry_for` has passed, so a retried event counts once.
"""

from __future__ import annotations

import gzip
import http.client
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import msgspec

from millstream.base.errors import Conflict, Full, MillstreamError, NotFound, Terminal, Transient, Unreachable, UsageError, WorkFailed
from millstream.base.words import counted, short
from millstream.declare.endpoint import Endpoint
from millstream.declare.event import Event
from millstream.declare.stream import Stream
from millstream.ingest.form import BadEvent
from millstream.ingest.objects import Objects, same_class

E = TypeVar("E", bound=Event)
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)
EVENTS_A_REQUEST = 5_000
BYTES_A_REQUEST = 8_000_000
REQUESTS_A_BODY = 500
_GZIP_FROM = 64_000
_IDLE_S = 30.0
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Receipt:
    """Where events went.

    Attributes:
        offsets: Partition -> end: the events sent lie below these.
        accepted: Events that are durable, those answered from memory among them.
        repeated: 0: an id sent again is appended again, and counts once everywhere after the log.
    """

    stream: str
    offsets: Mapping[int, int]
    accepted: int = 0
    repeated: int = 0


@dataclass(frozen=True)
class Decision(Generic[V_co]):
    """An endpoint's answer.

    Attributes:
        prediction: Of the model; a mapping by label for several; None where the arm is a value.
        value: The arm's value, or the prediction of a model's endpoint.
        propensity: Probability with which this arm was chosen; None outside experiments.
        as_of: Stream -> partition -> the first offset that the features had not seen.
        inexact: Prefixes of features that were looked up for a moment too old to be exact; empty for nearly all.
        features, reasons: The columns looked up and why some are NULL, when asked for with `explain=True`.
    """

    decision_id: str
    prediction: Any
    value: V_co
    experiment: str | None
    phase: int | None
    arm: str | None
    propensity: float | None
    model: str | None
    version: int | None = None
    as_of: Mapping[str, Any] = field(default_factory=dict)
    features: Mapping[str, Any] | None = None
    reasons: Mapping[str, str] | None = None
    inexact: Sequence[str] = ()


class Client:
    """Sends events to a server and asks it for decisions. One client may be shared by threads.

    Args:
        url: Of the server, e.g. "http://127.0.0.1:8600".
        token: What it asks for; never shown.
        history: What is sent is history: each event arrived at its own time.
        timeout: Of one answer.
        retry_for: How long a call is tried again while the server cannot answer it; zero for never.
    """

    def __init__(self, url: str, token: str | None = None, *, history: bool = False, timeout: timedelta = timedelta(seconds=30),
                 retry_for: timedelta = timedelta(seconds=30)) -> None:  # fmt: skip
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f'"{url}" is not an address of a server; write e.g. http://127.0.0.1:8600')
        self.url, self.history = url.rstrip("/"), history
        self._pool = _Pool(parts.scheme, parts.hostname, parts.port, timeout.total_seconds())
        self._base, self._retry_s = parts.path.rstrip("/"), retry_for.total_seconds()
        self._pack = parts.hostname not in ("localhost", "127.0.0.1", "::1")  # a loopback is faster than gzip
        self._objects: dict[type[Event], Objects] = {}
        self._headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def send(self, stream: Stream[E], events: Iterable[E] | E, *, ids: Sequence[str] | None = None) -> Receipt:
        """Make events durable in the log; all of them, or an error says which are not.

        Args:
            events: Of the stream's class; one may stand alone.
            ids: One a event: sent again under the same id, an event counts once. Made here when left out, so that this
                call's own retries count once too.

        Raises:
            UsageError: An event is of another class than the stream's, or holds a value of another type than its class says (nothing was sent), or the
                server refused some for what they are; the others are durable. It says which event, counted from 0, what is wrong with it and what to give instead.
            NotFound: No such stream takes events over HTTP.
            Transient: The server could not take them for `retry_for`; sending again is safe under the same ids.
        """
        _check_noun(stream, Stream, "send", "stream")
        events = _listed(events, "events")
        for event in {type(event): event for event in events}.values():
            same_class(stream.schema, event, f'stream "{stream.name}"')
        own = "event_id" in stream.schema.names()
        named: Sequence[str | None]
        if ids is not None:
            if isinstance(ids, str):
                raise UsageError(f'ids is a list of ids, and was given the text "{ids}"; write ids=["{ids}"]')
            if len(ids) != len(events):
                raise UsageError(f"{counted(len(events), 'event')} and {counted(len(ids), 'id')}; give one id an event")
            if own:
                raise UsageError(f'the events of "{stream.name}" have a field event_id, which is their id; leave ids out')
            named = ids
        else:
            head = f"{time.time_ns() // 1_000_000:012x}7{os.urandom(6).hex()}"
            named = [None] * len(events) if own else [f"{head}{number:07x}" for number in range(len(events))]
        offsets: dict[int, int] = {}
        accepted = repeated = before = 0
        headers = {"millstream-replay": "true"} if self.history else {}
        for body in _bodies(self._jsons(events, "event"), named):
            told = self._post(f"/v1/events/{stream.name}", body, headers)
            if told.get("errors"):
                first = told["errors"][0]
                raise UsageError(f'{counted(len(told["errors"]), "event")} for "{stream.name}" {"was" if len(told["errors"]) == 1 else "were"} refused, {told["accepted"]} of the same request {"is" if told["accepted"] == 1 else "are"} durable; '
                                 f'the first, number {before + first["index"]}: {first["error"]["message"]}; {first["error"]["fix"]}')  # fmt: skip
            accepted, repeated = accepted + told["accepted"], repeated + told["repeated"]
            before += body.count(b"\n") + 1
            offsets.update({int(p): max(end, offsets.get(int(p), 0)) for p, end in told["offsets"].items()})
        return Receipt(stream.name, offsets, accepted, repeated)

    def predict(self, endpoint: Endpoint[E, V], request: E, *, after: Receipt | Sequence[Receipt] | None = None, explain: bool = False) -> Decision[V]:
        """Ask for one decision.

        Args:
            after: Answer when the features have applied these.
            explain: Bring the features too.

        Raises:
            UsageError: The request is refused for its class, or for what it holds.
            NotFound: No such endpoint.
            WorkFailed: The model raised.
            Transient: The server could not answer for `retry_for`. Asked again, it makes another decision.
        """
        self._check(endpoint, "predict", [request])
        told = self._post(_path(endpoint, explain), self._jsons([request], "request")[0], _after(after))
        return _decision(endpoint, told)

    def predict_many(self, endpoint: Endpoint[E, V], requests: Iterable[E], *, after: Receipt | Sequence[Receipt] | None = None,
                     explain: bool = False) -> list[Decision[V]]:  # fmt: skip
        """Ask for decisions in their order, many in a request; raises as `predict`."""
        requests = _listed(requests, "requests")
        self._check(endpoint, "predict_many", requests)
        found: list[Decision[V]] = []
        bodies = self._jsons(requests, "request")
        for start in range(0, len(bodies), REQUESTS_A_BODY):
            body = b"[" + b",".join(bodies[start : start + REQUESTS_A_BODY]) + b"]"
            told = self._post(_path(endpoint, explain), body, _after(after))
            found += [_decision(endpoint, one) for one in told]
        return found

    @staticmethod
    def _check(endpoint: Endpoint[Any, Any], call: str, requests: Sequence[Any]) -> None:
        """That what is asked is an endpoint, and each request one of its class."""
        _check_noun(endpoint, Endpoint, call, "endpoint")
        asked = endpoint.event
        if asked is None:
            return
        for request in {type(request): request for request in requests}.values():
            same_class(asked.__schema__, request, f'endpoint "{endpoint.name}"')

    def _jsons(self, events: Sequence[Event], what: str) -> list[bytes]:
        """As their class says.

        Raises:
            BadEvent: One holds something else; it says which, and what to give instead.
        """
        made = []
        for number, event in enumerate(events):
            try:
                made.append(self._json(event))
            except BadEvent as error:
                raise BadEvent(f"{what}s[{number}]: {error.message}" if len(events) > 1 else error.message, error.fix, error.field) from None
        return made

    def _json(self, event: Event) -> bytes:
        kind = type(event)
        if not isinstance(event, Event):
            raise UsageError(f"a {kind.__name__} is not an event; make one of the stream's class")
        objects = self._objects.get(kind)
        if objects is None:
            objects = self._objects[kind] = Objects(kind.__schema__)
        return objects.json(event)

    def close(self) -> None:
        """Close idle connections; the client may be used again."""
        self._pool.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Any:
        headers = {**self._headers, **headers}
        if self._pack and len(body) > _GZIP_FROM and path.startswith("/v1/events/"):
            body, headers["content-encoding"] = gzip.compress(body, 1), "gzip"
        deadline, pause = time.monotonic() + self._retry_s, 0.05
        while True:
            try:
                return self._once(path, body, headers)
            except Transient as error:
                wait = max(pause * (0.5 + random.random()), float(getattr(error, "retry_after_s", 0.0)))
                if time.monotonic() + wait > deadline:
                    raise
                time.sleep(wait)
                pause = min(pause * 2, 2.0)

    def _once(self, path: str, body: bytes, headers: Mapping[str, str]) -> Any:
        status, told, data = self._pool.exchange("POST", self._base + path, body, headers)
        try:
            found = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = None
        if status in (200, 207) and found is not None:
            return found
        raise _error(status, told, found, f"{self.url}{path}")


class _Pool:
    """Connections to one server, kept open between calls and shared by threads."""

    def __init__(self, scheme: str, host: str, port: int | None, timeout_s: float) -> None:
        self._lock, self._idle = threading.Lock(), list[tuple[float, http.client.HTTPConnection]]()
        self._where = f"{host}:{port or (443 if scheme == 'https' else 80)}"
        self._connect: Callable[[], http.client.HTTPConnection]
        if scheme == "https":
            context = ssl.create_default_context()
            self._connect = lambda: http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
        else:
            self._connect = lambda: http.client.HTTPConnection(host, port, timeout=timeout_s)

    def exchange(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of the answer.

        Raises:
            Unreachable: There is no answer.
        """
        connection = self._take()
        try:
            if connection.sock is None:
                connection.connect()
                connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # type: ignore[attr-defined]
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            data = answer.read()
            told = answer.headers
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unreachable(f"{self._where} gives no answer: {error or type(error).__name__}; is the server running (millstream up)?") from error
        if answer.will_close:
            connection.close()
        else:
            with self._lock:
                self._idle.append((time.monotonic(), connection))
        return answer.status, dict(told.items()), data

    def _take(self) -> http.client.HTTPConnection:
        with self._lock:
            while self._idle:
                since, connection = self._idle.pop()
                if time.monotonic() - since < _IDLE_S:  # one idle for longer may be closed at the other end
                    return connection
                connection.close()
        return self._connect()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()


def _bodies(events: Sequence[bytes], ids: Sequence[str | None]) -> list[bytes]:
    """Encoded events one a line, in bodies of a size that servers take."""
    bodies: list[bytes] = []
    lines: list[bytes] = []
    size = 0
    for line, name in zip(events, ids, strict=True):
        if name is not None:
            line = b'%b,"event_id":%b}' % (line[:-1], _encode(name))
        if lines and (len(lines) == EVENTS_A_REQUEST or size + len(line) > BYTES_A_REQUEST):
            bodies.append(b"\n".join(lines))
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    return [*bodies, b"\n".join(lines)] if lines else bodies


def _check_noun(noun: Any, kind: type[Any], call: str, word: str) -> None:
    if not isinstance(noun, kind):
        raise UsageError(f"{call} takes the {word} that ms.{word}(...) returned, and was given {short(noun)}; import it from the project's module")


def _listed(given: Any, what: str) -> list[Any]:
    """What is given, as a list; an event that stands alone, as a list of one."""
    if isinstance(given, Event):
        return [given]
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise UsageError(f"{what} are a list of events, and {short(given)} is none; write [event, ...]")
    return list(given)


def _path(endpoint: Endpoint[Any, Any], explain: bool) -> str:
    return f"/v1/predict/{endpoint.name}" + ("?explain=1" if explain else "")


def _after(after: Receipt | Sequence[Receipt] | None) -> dict[str, str]:
    """Receipts as a header: `stream:partition=end,...;stream2:...`; of several of one stream the furthest."""
    ends: dict[str, dict[int, int]] = {}
    receipts = (after,) if after is None or isinstance(after, Receipt | str) else after
    for receipt in receipts if after is not None else ():
        if not isinstance(receipt, Receipt):
            raise UsageError(f"after= takes what send returned, a Receipt or a list of them, and was given {short(receipt)}")
        known = ends.setdefault(receipt.stream, {})
        known.update({p: max(end, known.get(p, 0)) for p, end in receipt.offsets.items()})
    text = ";".join(f"{name}:" + ",".join(f"{p}={end}" for p, end in sorted(offsets.items())) for name, offsets in ends.items() if offsets)
    return {"millstream-after": text} if text else {}


_DECIDED = {f.name for f in Decision.__dataclass_fields__.values()}


def _decision(endpoint: Endpoint[Any, V], told: Mapping[str, Any]) -> Decision[V]:
    known = {name: told.get(name) for name in _DECIDED}
    if known["prediction"] is None and known["model"] is not None and known["value"] is not None:
        known["prediction"] = known["value"]  # a model of several labels
    if known["value"] is None:
        known["value"] = known["prediction"]
    known["inexact"] = tuple(known["inexact"] or ())
    return Decision(**known)  # type: ignore[arg-type]


def _error(status: int, headers: Mapping[str, str], found: Any, where: str) -> MillstreamError:
    said = found.get("error", {}) if isinstance(found, dict) else {}
    text = f"{where} answered {status}: {said.get('message', 'no reason given')}" + (f"; {said['fix']}" if said.get("fix") else "")
    kinds: dict[int, type[MillstreamError]] = {
        400: UsageError, 401: UsageError, 404: NotFound, 405: UsageError, 409: Conflict, 413: UsageError, 415: UsageError, 422: UsageError,
        429: Full, 502: Unreachable, 503: Transient, 504: Unreachable,
    }  # fmt: skip
    if said.get("code") == "model_failed":
        return WorkFailed(text)
    error = kinds.get(status, Terminal)(text)
    wait = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    if wait.isdecimal() and isinstance(error, Transient):
        error.retry_after_s = int(wait)  # type: ignore[attr-defined]
    return error


__all__ = ["BadEvent", "Client", "Decision", "Receipt"]
