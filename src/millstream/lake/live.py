"""Whether a stream is fed while things happen, or holds a history that was loaded later: it decides whose clock its
labels and monitors follow.

The stamp of arrival tells as long as a door makes it. Where records bring their own, history looks as live as it once
was, so what counts is when the newest event came into the lake. Late events, duplicates and dead letters change nothing
in that.
"""

from __future__ import annotations

from typing import Any

from millstream.declare.stream import Stream
from millstream.lake.table import LakeTable

LEAST_US = 60_000_000
"""From a door to the lake takes some time, however small a stream's lateness is."""


def landed(table: LakeTable) -> tuple[int, int] | None:
    """The newest event that had happened by the time it was written, and when it was written, both in microseconds
    since 1970 UTC; None without one.
    """
    found = [
        (r.max_us, r.at_ms * 1000)
        for r in table.ranges()
        if r.rows and r.max_us is not None and r.max_us <= r.at_ms * 1000
    ]
    return max(found, default=None)


def in_time(table: LakeTable, within_us: int) -> bool:
    """Whether the newest event was written at most so long after it happened."""
    found = landed(table)
    return found is not None and found[1] - found[0] <= within_us


def live(table: LakeTable, stream: Stream[Any], *, arrived_later: bool) -> bool:
    """Whether the stream is fed while things happen.

    Args:
        arrived_later: Whether its newest record arrived, by its stamp, later than it happened.
    """
    return arrived_later and (stream.schema.arrival_time is None or in_time(table, max(stream.lateness_us, LEAST_US)))
