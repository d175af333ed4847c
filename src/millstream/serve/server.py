"""The HTTP face: predictions, health, metrics, and whatever else is mounted (the collector of events).

POST /v1/predict/{endpoint}     one request, or an array of them; ?explain=1 adds features and reasons
GET  /healthz /metrics
GET  /readyz                    ready when an endpoint answers; ?strict=1 when all do; /readyz/{endpoint} of one
*    /v1/events/...             the collector, when it is mounted
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from millstream.base.errors import NotFound, Transient
from millstream.base.secrets import hide
from millstream.base.words import choices
from millstream.http.access import authorise, bears, guard
from millstream.http.server import run as run_server
from millstream.http.wire import (
    JSON,
    TEXT,
    App,
    Receive,
    Refused,
    Scope,
    Send,
    encode,
    headers_of,
    read_body,
    refusal,
    refuse,
    reply,
)
from millstream.log.port import Log
from millstream.serve.backend import Limits, Serves
from millstream.serve.decide import answer
from millstream.serve.meter import Meter
from millstream.serve.record import Recorder
from millstream.serve.request import BadRequest

log = logging.getLogger("millstream.serve")
PREDICT, AFTER, READY_OF = "/v1/predict/", b"millstream-after", "/readyz/"
EVENTS = "/v1/events"
ROUTES = (
    ("POST", f"{EVENTS}/STREAM"),
    ("POST", f"{PREDICT}ENDPOINT"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/readyz/ENDPOINT"),
    ("GET", "/metrics"),
)
"""All of them, as docs/reference/http.md says them."""
LOOK_AGAIN_S = 0.002
_YES, _NO = frozenset(("1", "true")), frozenset(("0", "false"))


def wants_explanation(query: bytes) -> bool:
    """Whether `?explain=1` (or true) is there.

    >>> wants_explanation(b""), wants_explanation(b"explain=true"), wants_explanation(b"explain=0")
    (False, True, False)

    Raises:
        Refused: It says anything else: what is misspelt would else be ignored in silence.
    """
    if not query:
        return False
    name, _, value = query.decode("latin-1").partition("=")
    if name != "explain" or value not in _YES | _NO:
        raise Refused(
            400, "query", f"?{query.decode('latin-1')[:100]} means nothing here", "leave it out, or say ?explain=1"
        )
    return value in _YES


@dataclass
class Server:
    """An ASGI application. Uvicorn runs it; so can any other server."""

    live: Serves
    log: Log
    token: str | None = None
    mounts: Mapping[str, App] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    durable: bool = True
    meter: Meter = field(default_factory=Meter)
    recorders: dict[str, Recorder] = field(default_factory=dict)
    draining: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            path = scope["path"]
            if path.startswith(PREDICT):
                await self._answer(scope, receive, send, path[len(PREDICT) :])
            else:
                await self._other(scope, receive, send, path)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.start()
                except Exception as error:
                    log.exception("the server cannot start")
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def start(self) -> None:
        """Build what is behind, and one recorder an endpoint."""
        await asyncio.to_thread(self.live.start)
        for name in self.live.names():
            with contextlib.suppress(Transient):  # one whose topic cannot be had; the others answer
                self.recorder(name)

    async def stop(self) -> None:
        """Flush the decisions still waiting, then let everything go."""
        self.draining = True
        for recorder in self.recorders.values():
            await recorder.close()
        await asyncio.to_thread(self.live.close)

    def recorder(self, endpoint: str) -> Recorder:
        if endpoint not in self.recorders:
            self.recorders[endpoint] = Recorder(
                self.log,
                self.live.binding(endpoint),
                durable=self.durable,
                report=lambda rows, seconds: self.meter.appended(endpoint, seconds),
            )
        return self.recorders[endpoint]

    async def _answer(self, scope: Scope, receive: Receive, send: Send, name: str) -> None:
        began, status, meter = time.perf_counter(), 500, self.meter
        meter.in_flight += 1
        try:
            async with asyncio.timeout(self.limits.answer_s):
                body = await self._predict(scope, receive, name, began)
            status = 200
            await reply(send, 200, body)
        except Exception as error:
            refused = _refusal(error)
            status = refused.status
            if status >= 500 and not isinstance(error, Refused):
                # A store that is away says all
                log.error("%s: %s", name, refused, exc_info=None if isinstance(error, Transient) else error)
            await refuse(send, refused)
        finally:
            meter.in_flight -= 1
            meter.answered(name if name in self.recorders else "", status, time.perf_counter() - began)

    async def _predict(self, scope: Scope, receive: Receive, name: str, began: float) -> bytes:
        headers = headers_of(scope)
        self._admit(scope, headers)
        explained = wants_explanation(scope["query_string"])
        decider = self.live.decider(name)
        recorder = self.recorder(name)
        requests, array = decider.form.decode(await read_body(receive, headers, self.limits.body_bytes, "requests"))
        if len(requests) > self.limits.requests:
            raise Refused(
                413,
                "too_many",
                f"{len(requests)} requests in one body; at most {self.limits.requests}",
                "send them in several bodies",
            )
        after = headers.get(AFTER)
        if after:
            await self._until(parse_after(after.decode("latin-1")))
        rows = decider.decide(requests, began)
        await recorder.put(rows)
        for row in rows:
            self.meter.decided(name, row["arm"] or "", f"{row['model']}@{row['version']}" if row["model"] else "")
        explain = self.live.features(name) if explained else ()
        answers = [answer(row, explain) for row in rows]
        return encode(answers if array else answers[0])

    def _admit(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        if scope["method"] != "POST":
            raise Refused(405, "method", f"{scope['method']} {scope['path']} means nothing", "POST a request as JSON")
        authorise(headers, self.token)
        if self.draining:
            raise Refused(
                503, "stopping", "the server is stopping", "send the request again, to another server", retry_after_s=1
            )
        if self.meter.in_flight > self.limits.in_flight:
            raise Refused(
                503,
                "overloaded",
                f"{self.meter.in_flight} requests are being answered",
                "send the request again a little later",
                retry_after_s=1,
            )

    async def _until(self, after: Mapping[str, Mapping[int, int]]) -> None:
        """Wait until the features have applied these positions."""
        deadline, pause = time.perf_counter() + self.limits.wait_s, LOOK_AGAIN_S / 4
        while behind := self.live.behind(after):
            if time.perf_counter() > deadline:
                raise Refused(
                    503,
                    "behind",
                    f"the features have not applied what was sent before within {self.limits.wait_s:g} s: {behind}",
                    "send the request again; if it stays so, see millstream_updater_lag on /metrics",
                    retry_after_s=1,
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, 10 * LOOK_AGAIN_S)

    async def _other(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        try:
            for prefix, mounted in self.mounts.items():
                if path.startswith(prefix):
                    await mounted(scope, receive, send)
                    return
            if path not in ("/healthz", "/readyz", "/metrics") and not path.startswith(READY_OF):
                raise Refused(404, "not_found", f"nothing is at {path}", f"there are {self._routes()}")
            if scope["method"] not in ("GET", "HEAD"):
                raise Refused(405, "method", f"{scope['method']} {path} means nothing", f"GET {path}")
            if path == "/metrics":
                authorise(headers_of(scope), self.token)
                await reply(send, 200, self.meter.text(self.live.gauges()).encode(), [TEXT])
            elif path == "/healthz":
                await reply(send, 200, encode({"status": "ok"}))
            elif path.startswith(READY_OF):
                await self._ready_of(send, path[len(READY_OF) :])
            else:
                await self._ready(send, scope)
        except Refused as error:
            await refuse(send, error)

    def _routes(self) -> str:
        names = {f"{PREDICT}ENDPOINT": f" ({', '.join(self.live.names()) or 'none is declared'})"}
        there = [route for route in ROUTES if EVENTS in self.mounts or not route[1].startswith(EVENTS)]
        return ", ".join(f"{method} {path}{names.get(path, '')}" for method, path in there)

    async def _ready(self, send: Send, scope: Scope) -> None:
        """Ready is what has an endpoint that answers: one that does not must not take the others from a load balancer.
        `?strict=1`: all of them.

        Nothing is ready while the log takes no write: neither an event nor a decision would be durable.

        No token is needed, but whoever has none is not told why other parts of the project wait.
        """
        query = scope["query_string"]
        if query not in (b"", b"strict=1", b"strict=0"):
            raise Refused(
                400, "query", f"?{query.decode('latin-1')[:100]} means nothing here", "leave it out, or say ?strict=1"
            )
        problems = ["the server is stopping"] if self.draining else self.live.problems()
        names, answering = self.live.names(), self.live.answering()
        if problems and (self.draining or query == b"strict=1" or self.live.refuses() or (names and not answering)):
            raise Refused(503, "not_ready", "; ".join(problems), "wait, or fix what is named", retry_after_s=1)
        known = bears(headers_of(scope), self.token)
        waiting = [
            {"part": part, "name": name} | ({"why": why} if known else {}) for part, name, why in self.live.waiting()
        ]
        told = {
            "status": "degraded" if problems or waiting else "ready",
            "endpoints": answering,
            "problems": [hide(p) for p in problems],
            "waiting": waiting,
        }
        await reply(send, 200, encode(told), [JSON])

    async def _ready_of(self, send: Send, name: str) -> None:
        if name not in self.live.names():
            raise Refused(404, "no_endpoint", f'no endpoint "{name}"', choices(name, self.live.names()))
        if self.draining or name not in self.live.answering():
            raise Refused(
                503,
                "not_ready",
                f'endpoint "{name}" does not answer: {"; ".join(self.live.problems()) or "the server is stopping"}',
                "wait, or fix what is named",
                retry_after_s=1,
            )
        await reply(send, 200, encode({"status": "ready", "endpoints": [name]}), [JSON])


def _refusal(error: Exception) -> Refused:
    if isinstance(error, BadRequest):
        return Refused(
            422 if error.field or "is not JSON" not in str(error) else 400,
            "invalid_request",
            str(error),
            error.fix,
            details={"field": error.field} if error.field else None,
        )
    if isinstance(error, NotFound):
        return Refused(404, "no_endpoint", str(error), "check the endpoint's name")
    if isinstance(error, TimeoutError):
        return Refused(
            503,
            "timeout",
            "the answer took too long; nothing was answered, the decision may have been recorded",
            "send the same request again",
            retry_after_s=1,
        )
    return refusal(error)


def parse_after(text: str) -> dict[str, dict[int, int]]:
    """`stream:partition=end,...;stream2:...` -> stream -> partition -> end.

    >>> parse_after("departures:0=12,3=40;arrivals:1=7")
    {'departures': {0: 12, 3: 40}, 'arrivals': {1: 7}}
    """
    try:
        parts = (one.split(":", 1) for one in text.split(";") if one.strip())
        return {
            name.strip(): {int(p): int(end) for p, end in (pair.split("=") for pair in ends.split(",") if pair)}
            for name, ends in parts
        }
    except ValueError:
        raise Refused(
            400,
            "after",
            f"the header Millstream-After says {text[:80]!r}",
            "write stream:partition=end,...;stream2:... as a receipt gives it",
        ) from None


def run(
    app: Server, *, host: str = "127.0.0.1", port: int = 8600, started: Callable[[str], None] | None = None
) -> None:
    """Serve until SIGTERM or Ctrl-C: stop listening, answer what is in flight, flush the decisions, return.

    Args:
        port: 0 takes a free one.
        started: Called with the address once it accepts connections.

    Raises:
        ConfigError: The host is reachable by others and there is no token.
    """
    guard(host, app.token, "serve")
    run_server(
        app,
        host,
        port,
        started,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=app.limits.drain_s,
    )
