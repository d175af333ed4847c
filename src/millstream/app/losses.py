"""What an operator decides about a stream: that records which are gone are given up, that one is set aside, that its
history is complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from millstream.base.errors import Conflict, NotFound, UsageError
from millstream.base.moments import spelled
from millstream.base.words import choices
from millstream.lake import aside, gaps
from millstream.lake.complete import declare
from millstream.lake.gaps import Gap
from millstream.run import trouble
from millstream.serve.decisions import all_streams

if TYPE_CHECKING:
    from millstream.declare.stream import Stream
    from millstream.run.workspace import Workspace

_TRIES = 5


def accept(ws: Workspace, names: Iterable[str]) -> list[tuple[str, Sequence[Gap]]]:
    """Give up, once, the records that keep these streams from continuing; stream -> what was given up, which may be
    nothing.

    Raises:
        NotFound: No such stream, or nothing was ever sent to it.
        Conflict: Sinks never left a gap to record it in.
    """
    chosen = [(name, _stream(ws, name)) for name in dict.fromkeys(names)]
    return [(name, _accept(ws, stream)) for name, stream in chosen]


def _accept(ws: Workspace, stream: Stream[Any]) -> Sequence[Gap]:
    for _ in range(_TRIES):
        found = gaps.find(ws.log, ws.lake, stream)
        try:
            if found:
                gaps.accept(ws.log, ws.lake, stream, found)
                trouble.clear(ws.state, trouble.SINK, stream.name)
            return found
        except Conflict:  # a sink of another partition committed
            continue
    raise Conflict(f'stream "{stream.name}": its sink commits all the time; try again')


def set_aside(ws: Workspace, name: str, record: str) -> None:
    """Make a record (PARTITION:OFFSET) of a stream a dead letter.

    Raises:
        UsageError: It is not written so, or is not a record that the stream waits for.
        NotFound: No such stream or record.
    """
    partition, colon, offset = record.partition(":")
    if not (colon and record.isascii() and partition.isdecimal() and offset.isdecimal()):
        raise UsageError(f'"{record}" names no record; write PARTITION:OFFSET, e.g. 0:1234')
    aside.set_aside(ws.log, ws.lake, _stream(ws, name), int(partition), int(offset))


def streams_of(ws: Workspace, names: Iterable[str]) -> list[Stream[Any]]:
    """Raises NotFound where there is none of a name."""
    return [_stream(ws, name) for name in dict.fromkeys(names)]


def complete(ws: Workspace, names: Iterable[str]) -> list[tuple[str, str]]:
    """Declare the history of these streams complete up to now; stream -> the moment, for people.

    Raises:
        NotFound: No such stream, or nothing was ever sent to it.
        UsageError: Records of its log are not in the lake yet.
        ClockWrong: This machine's clock cannot be trusted, so nobody knows when now is.
    """
    done = []
    for stream in streams_of(ws, names):
        now_us = ws.doors.of(stream).now_us()
        declare(ws.log, ws.lake, stream, now_us)
        done.append((stream.name, spelled(now_us)))
    return done


def _stream(ws: Workspace, name: str) -> Stream[Any]:
    streams = all_streams(ws.project)
    if name not in streams:
        raise NotFound(f'no stream "{name}"; {choices(name, streams)}')
    return streams[name]
