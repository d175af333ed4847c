"""What has failed and waits: each stream, source, monitor, endpoint by itself, with its reason and its next try; its
neighbours continue.

It is kept in the state, since the parts of `up` are processes of their own: `show waiting`, `/readyz`, `/metrics`,
`doctor` and the console read it there.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from millstream.base.errors import Fenced, MillstreamError, Terminal, Unreachable
from millstream.base.secrets import hide
from millstream.base.theirs import pass_on
from millstream.base.waits import Waits
from millstream.state.port import State

if TYPE_CHECKING:
    from millstream.declare.stream import Stream
    from millstream.ports import Engines

log = logging.getLogger("millstream")
KIND = "trouble"
_UNKEPT = Waits()
"""What could not be kept, by part and name: said once, and again after it could."""
SINK, SOURCE, MONITOR, ALERTS, ASSET, OUTCOMES, EXPERIMENT, SCHEDULE = (
    "sink",
    "source",
    "monitor",
    "alerts",
    "asset",
    "outcomes",
    "experiment",
    "schedule",
)
ENDPOINT = "endpoint"
"""Parts of a project that fail by themselves; with a name each: of a stream, a file, a monitor, a table or model, an
endpoint or a model's version, an experiment.
"""
FIRST_S, MOST_S = 0.5, 30.0
"""Pauses between tries: they double from the first to the most, whatever the error: what a person has repaired resumes
soon.
"""
PACE = {MONITOR: (15.0, 600.0)}
"""The same of a part whose work may take minutes."""


@dataclass(frozen=True)
class Trouble:
    """One thing that waits. `since`, `at`, `next`: ISO moments of the first failure, the last one, and the next try
    ("": at the next run).
    """

    part: str
    name: str
    why: str
    since: str
    at: str
    next: str

    def __str__(self) -> str:
        return f"{self.part} {self.name}: {self.why}"


class Later(Unreachable):
    """It waits by a pace of its own. `again_s`: until its next try."""

    def __init__(self, message: str, again_s: float) -> None:
        super().__init__(message)
        self.again_s = again_s


class Watch:
    """The things of one part: each is tried when it is due, and what it raises is said once, kept, and costs the others
    nothing.
    """

    def __init__(self, state: State, part: str, waits: Waits | None = None) -> None:
        self.state, self.part, self.waits = state, part, waits or Waits()
        self._kept: set[str] | None = None

    def due(self, name: str) -> bool:
        """Whether it may be tried now."""
        return self.waits.due(name)

    def attempt(self, name: str, work: Callable[[], object]) -> bool:
        """Do the work if it is due: whether it was done."""
        if not self.due(name):
            return False
        try:
            work()
        except BaseException as error:
            pass_on(error)
            self.failed(name, error)
            return False
        self.well(name)
        return True

    def failed(self, name: str, error: BaseException) -> None:
        """It failed: said when it is news, kept, tried again later."""
        wait = self.waits.failed(name, said(error), error.again_s if isinstance(error, Later) else None)
        if wait.news:
            unknown = not isinstance(error, MillstreamError | OSError)
            log.error(
                "%s %s: %s; it waits, and is tried again",
                self.part,
                name,
                wait.why,
                exc_info=error if unknown else None,
            )
        keep(self.state, self.part, name, wait.why, wait.pause_s)
        self._names().add(name)

    def well(self, name: str) -> None:
        """It works."""
        if self.waits.well(name):
            log.warning("%s %s works again", self.part, name)
        if name in self._names():
            clear(self.state, self.part, name)
            self._names().discard(name)

    def only(self, names: Collection[str]) -> None:
        """Nothing but these waits: all others work, or are gone."""
        for name in {*self.waits.names(), *self._names()} - set(names):
            self.well(name)

    def _names(self) -> set[str]:
        """What was kept, by a process before this one too."""
        if self._kept is None:
            self._kept = names(self.state, self.part)
        return self._kept if self._kept is not None else set()


class Watches:
    """A watch for each part, made when it is first asked for."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._parts: dict[str, Watch] = {}

    def of(self, part: str) -> Watch:
        if part not in self._parts:
            self._parts[part] = Watch(self.state, part, Waits(*PACE.get(part, (FIRST_S, MOST_S))))
        return self._parts[part]

    def attempt(self, part: str, name: str, work: Callable[[], object]) -> bool:
        """As `Watch.attempt`, for a thing of this part."""
        return self.of(part).attempt(name, work)


def said(error: BaseException) -> str:
    """The error as it is shown: without secrets, and a library's own with its class."""
    return str(error) if isinstance(error, MillstreamError) else hide(f"{type(error).__name__}: {error}")


def alone(state: State, stream: str, work: Callable[[Callable[[], None]], None], stop: threading.Event) -> None:
    """Do the work until it returns or `stop`; what it raises is said once, kept for `show streams`, and tried again.

    Args:
        work: Calls what it is given once it works: the next failure is news again, and its first pause is short.
    """
    waits = Waits(FIRST_S, MOST_S)

    def well() -> None:
        if waits.well(stream):
            log.warning("the sink of %s works again", stream)
        clear(state, SINK, stream)

    while not stop.is_set():
        try:
            work(well)
            return
        except (
            BaseException
        ) as error:  # a panic of a library in Rust is not an Exception, and must not end the thread in silence
            wait, fenced = waits.failed(stream, said(error)), isinstance(error, Fenced)
            if wait.news:
                then = "it stops" if fenced else f"its next try is in {wait.pause_s:.1f} s"
                log.error(
                    "the sink of %s: %s; %s",
                    stream,
                    wait.why,
                    then,
                    exc_info=not isinstance(error, MillstreamError | OSError),
                )
            keep(state, SINK, stream, wait.why, None if fenced else wait.pause_s)
            if fenced:  # it would only take the stream back
                return
            stop.wait(wait.pause_s)


def keep(state: State, part: str, name: str, text: str, waits: float | None) -> None:
    """Why it stands still, for those who look on; `waits`: seconds until the next try, None: the next run is it."""
    now, key = datetime.now(UTC), f"{part}/{name}"
    try:
        last = state.get(KIND, key)
        since = last.value.get("since") if last is not None and last.value.get("why") else None
        following = "" if waits is None else (now + timedelta(seconds=waits)).isoformat()
        state.put(
            KIND, key, {"why": hide(text), "since": since or now.isoformat(), "at": now.isoformat(), "next": following}
        )
        _UNKEPT.well(key)
    except (MillstreamError, OSError) as error:  # a full disk, often the very reason
        if _UNKEPT.failed(key, str(error)).news:
            log.warning("the trouble of %s %s could not be kept: %s", part, name, error)


def clear(state: State, part: str, name: str) -> None:
    """It continues."""
    key = f"{part}/{name}"
    try:
        if state.get(KIND, key) is not None:
            state.delete(KIND, key)
        _UNKEPT.well(key)
    except (MillstreamError, OSError) as error:
        if _UNKEPT.failed(key, str(error)).news:
            log.warning("that %s %s works again could not be kept: %s", part, name, error)


def names(state: State, part: str) -> set[str] | None:
    """What waits of a part; None when the state does not tell now."""
    try:
        return {doc.key.partition("/")[2] for doc in state.list(KIND, prefix=f"{part}/") if doc.value.get("why")}
    except (MillstreamError, OSError):
        return None


def found(state: State) -> list[Trouble]:
    """All that waits, by part and name."""
    return [_read(doc.key, doc.value) for doc in state.list(KIND) if doc.value.get("why")]


def _read(key: str, value: Any) -> Trouble:
    part, _, name = key.partition("/")
    return Trouble(part, name, value["why"], value.get("since", value["at"]), value["at"], value["next"])


def why(ws: Engines, stream: Stream[Any]) -> str:
    """Why the stream's sink does not continue, with a way on; "" when it does, as far as is known."""
    from millstream.lake import gaps

    try:
        missing = gaps.find(ws.log, ws.lake, stream, damaged=False)
    except Terminal as error:  # as a topic that is another one now
        return of(ws.state, SINK, stream.name) or str(error)
    if missing:
        return (
            f"{'; '.join(map(str, missing))}; to continue without them:  millstream ingest --accept-loss {stream.name}"
        )
    return of(ws.state, SINK, stream.name)


def of(state: State, part: str, name: str) -> str:
    """Why it stood still at its last try; "" when it did not."""
    doc = state.get(KIND, f"{part}/{name}")
    return str(doc.value.get("why", "")) if doc else ""


def lines(troubles: Iterable[Trouble]) -> list[dict[str, str]]:
    """As rows for people and JSON."""
    return [
        {
            "part": t.part,
            "name": t.name,
            "why": t.why,
            "since": t.since[:19],
            "last try": t.at[:19],
            "next try": t.next[:19],
        }
        for t in troubles
    ]
