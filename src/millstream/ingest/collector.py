"""Events over HTTP: a bare ASGI application that answers when they are durable.

    POST /v1/events/{stream}        a JSON array of events, or one event a line (NDJSON); Content-Encoding: gzip is fine
    Authorization: Bearer TOKEN     where the server wants one
    Millstream-Replay: true         history: each event arrived at its own time, not now

An event is its class as JSON. Beside its fields it may carry `event_id`: the same id sent again counts once everywhere
after the log. It is appended each time: whether it is a duplicate depends on what was kept before it, which other
collectors and sources write too, so only the reader of the log can tell. Answers:

    200  every event is durable: {"stream", "offsets": {partition: end}, "accepted", "repeated": 0}. All of them lie
        below `offsets`.
    207  some are; the others are in "errors": [{"index", "error": {"code", "message", "fix"}}]. Fix and send those
        again.
    422  none is, each for a reason of its own: {"error": {"code", "message", "fix", "errors": [...]}}
    400 401 404 405 413 415   the request as a whole is wrong; nothing was taken: {"error": {"code", "message", "fix"}}
    429 503  not now; Retry-After says when. Send the same request again, with the same ids.

A field that the class does not have is refused: its value would be lost, and a misspelt optional field would silently
be NULL. An event time or arrival time further ahead of the server's clock than the stream's `ahead` (a day by default)
is refused, for history too: a wrong clock would carry the watermark off. While the server's own clock cannot be
trusted, every request gets 503 with the code "clock".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import msgspec

from millstream.base.duration import spell
from millstream.base.errors import ClockWrong, Full, MillstreamError, Transient
from millstream.base.moments import LAST_US, moment_of, spelled
from millstream.base.storage import refused
from millstream.base.words import counted, nearest
from millstream.declare.stream import Stream
from millstream.http.access import authorise
from millstream.http.wire import Receive, Refused, Scope, Send, encode, headers_of, read_body, refuse, reply
from millstream.ingest.append import Appender, Ticket
from millstream.ingest.doors import DoorClock, Doors, quietly
from millstream.ingest.form import UNREAD, BadEvent, EventForm, not_utf8
from millstream.log.envelope import Binding, topic_of
from millstream.log.port import Log, Schemas

log = logging.getLogger("millstream.collector")
PREFIX = "/v1/events/"
_SPACE = b" \t\r\n"
_FIRST = datetime(1, 1, 2, tzinfo=UTC)  # a day's room for zones


@dataclass(frozen=True)
class Limits:
    """Bounds; beyond them a request is refused, never queued without end.

    Attributes:
        body_bytes: Of a body, unpacked.
        event_bytes: Of one event.
        waiting_rows, waiting_bytes: Of what waits for the log.
        retry_s: How long an append that the log refuses for the moment is tried again.
    """

    body_bytes: int = 32_000_000
    event_bytes: int = 10_000_000
    waiting_rows: int = 200_000
    waiting_bytes: int = 128_000_000
    retry_s: float = 5.0


@dataclass
class _Intake:
    """A stream that takes events over HTTP."""

    binding: Binding
    form: EventForm
    door: DoorClock
    times: Mapping[str, Any]
    """The fields of event time and arrival time, each with what gets it of an event."""


@dataclass
class _Taken:
    """What a body holds, judged. `index` is the place in the body of each of `events`."""

    events: list[Any]
    index: Sequence[int]
    errors: dict[int, BadEvent]
    offsets: dict[int, int] = field(default_factory=dict)


class Collector:
    """The application; mount it at `/v1/events`. `start` before the first request, `close` after the last: both block.

    Args:
        streams: Those with a source `ms.read.http()`, by name.
        token: What every request must bear; None for any.
        doors: The clocks that times are held against; this machine's by default.
    """

    def __init__(
        self,
        log: Log,
        schemas: Schemas,
        streams: Mapping[str, Stream[Any]],
        *,
        token: str | None = None,
        limits: Limits | None = None,
        doors: Doors | None = None,
    ) -> None:
        self._doors = doors or Doors(log)
        self._log, self._schemas, self._streams = log, schemas, streams
        self._token = token
        self.limits = limits or Limits()
        self._appender: Appender | None = None
        self._intakes: dict[str, _Intake] = {}

    def start(self) -> None:
        """Make the topics, register the classes, and start the appending thread.

        Raises:
            Incompatible: A class breaks the contract with what is in the log.
        """
        self._intakes = {name: self._intake(stream) for name, stream in self._streams.items()}
        self._appender = Appender(self._log, retry_s=self.limits.retry_s)
        self._appender.start()

    def close(self) -> None:
        """Append what waits; requests after that get 503."""
        appender, self._appender = self._appender, None
        if appender is not None:
            appender.close()

    def _intake(self, stream: Stream[Any]) -> _Intake:
        form = EventForm(stream.schema, zoned=True, ids=True, closed=True)
        times = {
            name: attrgetter(name)
            for name in (stream.schema.event_time, stream.schema.arrival_time)
            if name is not None
        }
        return _Intake(topic_of(self._log, self._schemas, stream), form, self._doors.of(stream), times)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            status, body = await self._answer(scope, receive)
        except Refused as error:
            await refuse(send, error)
        except Exception as error:
            await refuse(send, _refusal(error))
        else:
            await reply(send, status, encode(body))

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, Mapping[str, Any]]:
        headers = headers_of(scope)
        authorise(headers, self._token)
        name = scope["path"].removeprefix(PREFIX)
        intake = self._intakes.get(name)
        if intake is None:
            those = ", ".join(self._intakes) or "none"
            fix = (
                nearest(name, self._intakes)
                or f"those that do: {those}; another needs  ms.source({name}, ms.read.http())"
            )
            raise Refused(404, "no_stream", f'no stream "{name}" takes events over HTTP', fix)
        if scope["method"] != "POST":
            raise Refused(
                405,
                "method",
                f"{scope['method']} {scope['path']} means nothing",
                "POST events as a JSON array, or one a line",
            )
        # A byte order mark: some programs put one before UTF-8
        body = (await read_body(receive, headers, self.limits.body_bytes, "events")).removeprefix(b"\xef\xbb\xbf")
        if intake.door.due:
            await asyncio.to_thread(quietly, intake.door)
        taken = self._judge(intake, body)
        if taken.events:
            await self._append(intake, taken, len(body), headers.get(b"millstream-replay", b"").lower() == b"true")
        return _receipt(name, taken)

    async def _append(self, intake: _Intake, taken: _Taken, size: int, replay: bool) -> None:
        appender = self._appender
        if appender is None:
            raise Refused(
                503,
                "stopping",
                "the collector is stopping",
                "send the same request again, to another server",
                retry_after_s=1,
            )
        if (appender.rows + len(taken.events) > self.limits.waiting_rows and appender.rows) or (
            appender.bytes + size > self.limits.waiting_bytes and appender.bytes
        ):
            raise Refused(
                429,
                "behind",
                f"{counted(appender.rows, 'event waits', 'events wait')} for the log",
                "send the same request again a little later",
                retry_after_s=1,
            )
        loop = asyncio.get_running_loop()
        ticket = Ticket(intake.binding, intake.form, taken.events, size, replay, loop.create_future(), loop)
        appender.put(ticket)
        offsets = await ticket.done
        for at, why in ticket.wrong.items():
            taken.errors[taken.index[at]] = BadEvent(why, "send a value that the field's type can hold")
        if len(ticket.wrong) < len(taken.events):
            for partition, end in offsets.items():
                taken.offsets[partition] = max(end, taken.offsets.get(partition, 0))
        taken.events = (
            [event for at, event in enumerate(taken.events) if at not in ticket.wrong] if ticket.wrong else taken.events
        )

    def _judge(self, intake: _Intake, body: bytes) -> _Taken:
        try:
            events = self._whole(intake.form, body)
            taken = _Taken(events, range(len(events)), {})
        except UNREAD:
            taken = self._each(intake.form, body)
        if len(body) > self.limits.event_bytes:
            self._refuse_large(taken, self._items(intake.form, body))
        self._refuse_wrong_clocks(intake, taken)
        return taken

    def _refuse_wrong_clocks(self, intake: _Intake, taken: _Taken) -> None:
        now, ahead = intake.door.now_us(), intake.binding.stream.ahead_us
        latest = _moment(now + ahead)
        for name, of in intake.times.items():
            given = [time for time in map(of, taken.events) if time is not None]
            if not given or (max(given) <= latest and min(given) >= _FIRST):
                continue

            def why(event: Any, name: str = name, of: Any = of) -> BadEvent:
                what = "event" if name == intake.form.schema.event_time else "arrival"
                how = (
                    f"more than {spell(ahead)} ahead of the server's clock ({spelled(now)})"
                    if of(event) > latest
                    else "before the year 1"
                )
                return BadEvent(
                    f'{what} time "{name}" is {of(event).isoformat()}, {how}', "correct the sender's clock", name
                )

            self._drop(taken, lambda at, event, of=of: of(event) is not None and not _FIRST <= of(event) <= latest, why)

    @staticmethod
    def _whole(form: EventForm, body: bytes) -> list[Any]:
        events: list[Any] = form.array(body) if body.lstrip(_SPACE)[:1] == b"[" else form.lines(body)
        return events

    def _each(self, form: EventForm, body: bytes) -> _Taken:
        """The good of a body of which something is wrong."""
        taken = _Taken([], [], {})
        index: list[int] = []
        for at, raw in enumerate(self._items(form, body)):
            try:
                taken.events.append(form.one(raw))
                index.append(at)
            except BadEvent as error:
                taken.errors[at] = error
        taken.index = index
        return taken

    @staticmethod
    def _items(form: EventForm, body: bytes) -> list[bytes]:
        if body.lstrip(_SPACE)[:1] != b"[":
            lines = [line for line in body.split(b"\n") if line.strip(_SPACE)]
            return [body] if _one_object(body) else lines
        try:
            return form.items(body)
        except BadEvent as error:
            raise Refused(400, "invalid_json", not_utf8(body) or error.message, error.fix) from None

    def _refuse_large(self, taken: _Taken, items: Sequence[bytes]) -> None:
        limit = self.limits.event_bytes
        large = {at for at, item in enumerate(items) if len(item) > limit}
        self._drop(
            taken,
            lambda at, event: taken.index[at] in large,
            lambda event: BadEvent(
                f"the event has more than {limit:,} bytes",
                "send it smaller, or keep what is large elsewhere and send its name",
            ),
        )

    @staticmethod
    def _drop(taken: _Taken, wrong: Any, why: Any) -> None:
        kept = [at for at, event in enumerate(taken.events) if not wrong(at, event)]
        out = set(range(len(taken.events))).difference(kept)
        taken.errors.update({taken.index[at]: why(taken.events[at]) for at in sorted(out)})
        taken.events, taken.index = [taken.events[at] for at in kept], [taken.index[at] for at in kept]


def collector(
    log: Log,
    schemas: Schemas,
    streams: Mapping[str, Stream[Any]],
    *,
    token: str | None = None,
    limits: Limits | None = None,
) -> Collector:
    """A started collector."""
    made = Collector(log, schemas, streams, token=token, limits=limits)
    made.start()
    return made


def _one_object(body: bytes) -> bool:
    """Whether the body is a single JSON object, written over several lines."""
    try:
        msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        return True
    except UNREAD:
        return False


def _moment(us: int) -> datetime:
    """As late as a datetime can be, at most."""
    return moment_of(min(us, LAST_US))


def _none(number: int) -> str:
    return "the event was not taken" if number == 1 else f"none of {number:,} events was taken; the first"


def _receipt(name: str, taken: _Taken) -> tuple[int, Mapping[str, Any]]:
    errors = [
        {"index": at, "error": {"code": "invalid_event", "message": e.message, "fix": e.fix}}
        for at, e in sorted(taken.errors.items())
    ]
    accepted = len(taken.events)
    if errors and not accepted:
        raise Refused(
            422,
            "invalid_events",
            f"{_none(len(errors))}: {errors[0]['error']['message']}",  # type: ignore[index]
            taken.errors[errors[0]["index"]].fix,  # type: ignore[index]
            details={"errors": errors},
        )
    body: dict[str, Any] = {
        "stream": name,
        "offsets": {str(p): end for p, end in sorted(taken.offsets.items())},
        "accepted": accepted,
        "repeated": 0,
    }
    if errors:
        body["errors"] = errors
    return (207 if errors else 200), body


def _refusal(error: Exception) -> Refused:
    """What the log says, as an answer; what nobody foresaw is a 500 that names its class and no more."""
    if isinstance(error, Full):
        return Refused(429, "full", str(error), "send more slowly, or free disk space", retry_after_s=5)
    if isinstance(error, ClockWrong):
        return Refused(
            503, "clock", str(error), "send the same request again once the server's clock is right", retry_after_s=30
        )
    if isinstance(error, Transient):
        return Refused(503, "unavailable", str(error), "send the same request again", retry_after_s=1)
    if isinstance(error, OSError) and (known := refused(error, None, "append events")) is not None:
        return _refusal(known)
    log.error(
        "the collector could not answer: %s", error, exc_info=None if isinstance(error, MillstreamError) else error
    )
    if isinstance(error, MillstreamError):
        return Refused(500, "log", str(error), "fix what is named; nothing of this request is known to be durable")
    return Refused(500, "internal", f"{type(error).__name__} while answering", "the server's log has the traceback")
