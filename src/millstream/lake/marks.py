"""What the log is told about how far a table has come, apart from its sinks."""

from __future__ import annotations

from collections.abc import Mapping

from millstream.lake.positions import app_id
from millstream.log.port import Log


def lower(log: Log, stream: str, positions: Mapping[str, int]) -> None:
    """Have the log keep what a table is about to lose; a table of no stream is nobody's.

    Args:
        positions: App id -> where the table will stand.
    """
    topic = log.topic(stream)
    if topic is not None:
        log.retain(stream, before={p: positions.get(app_id(topic, p), 0) for p in range(topic.partitions)})
