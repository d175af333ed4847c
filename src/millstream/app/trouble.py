"""Streams that are stuck: each waits by itself, with its reason and its next try, and its neighbours go on."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from millstream.declare.errors import Fenced, MillstreamError, Transient
from millstream.declare.port import State

if TYPE_CHECKING:
    from millstream.app.workspace import Workspace
    from millstream.declare.stream import Stream

log = logging.getLogger("millstream")
KIND = "sink"
_UNLIKE = re.compile(r"[0-9a-f-]*\d[0-9a-f-]*")
"""What differs from try to try in the same error: names of files, numbers."""
FIRST_S, MOST_S, TERMINAL_S = 0.5, 30.0, 10.0
"""Pauses between tries: they double from the first to the most; what a person must decide about is tried again at one pace."""


def alone(state: State, stream: str, work: Callable[[], None], stop: threading.Event) -> None:
    """Do the work until it returns or `stop`; what it raises is said once, kept for `show streams`, and tried again."""
    pause, said = FIRST_S, ""
    while not stop.is_set():
        try:
            work()
            return
        except BaseException as error:  # a panic of a library in Rust is no Exception, and must not end the thread in silence
            waits = pause if isinstance(error, Transient | OSError) else TERMINAL_S
            text = str(error) if isinstance(error, MillstreamError) else f"{type(error).__name__}: {error}"
            if _UNLIKE.sub("", text) != said:
                log.error("the sink of %s: %s; its next try is in %.1f s", stream, text, waits, exc_info=not isinstance(error, MillstreamError | OSError))
            said = _UNLIKE.sub("", text)
            keep(state, stream, text, waits)
            if isinstance(error, Fenced):  # it would only take the stream back
                log.error("the sink of %s stops", stream)
                return
            stop.wait(waits)
            pause = min(MOST_S, 2 * pause)


def keep(state: State, stream: str, text: str, waits: float) -> None:
    """Why it stands still, for `show streams` and `doctor`; `waits`: seconds until the next try."""
    now = datetime.now(UTC)
    try:
        state.put(KIND, stream, {"why": text, "at": now.isoformat(), "next": (now + timedelta(seconds=waits)).isoformat()})
    except (MillstreamError, OSError) as error:  # a full disk, often the very reason
        log.warning("the trouble of %s could not be kept: %s", stream, error)


def clear(state: State, stream: str) -> None:
    """It goes on."""
    if (found := state.get(KIND, stream)) is not None and found.value.get("why"):
        state.put(KIND, stream, {"why": ""})


def why(ws: Workspace, stream: Stream[Any]) -> str:
    """Why the stream's sink does not go on, with a way on; "" when it does, as far as is known."""
    from millstream.lake import gaps

    if missing := gaps.find(ws.log, ws.lake, stream, damaged=False):
        return f"{'; '.join(map(str, missing))}; to continue without them:  millstream ingest --accept-loss {stream.name}"
    return of(ws.state, stream.name)


def of(state: State, stream: str) -> str:
    """Why the stream's sink stood still at its last try; "" when it did not."""
    found = state.get(KIND, stream)
    return str(found.value.get("why", "")) if found else ""
