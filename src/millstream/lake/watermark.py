"""Up to when a stream's table is complete by the wall clock."""

from __future__ import annotations

import time
from typing import Any

import pyarrow.compute as pc

from millstream.base.event import ARRIVED_AT
from millstream.declare.stream import Stream
from millstream.lake.live import live
from millstream.lake.positions import app_id
from millstream.lake.table import LakeTable
from millstream.log.port import Log


def watermark_us(table: LakeTable, stream: Stream[Any] | None, log: Log) -> int | None:
    """Now, when all that is in the log was written to the lake and the stream is live; else None: history has no clock.
    In microseconds since 1970 UTC.
    """
    now_us = time.time_ns() // 1000
    topic = log.topic(table.name)
    if stream is None or topic is None:
        return None
    if any(end.high > (table.position(app_id(topic, p)) or 0) for p, end in log.ends(table.name).items()):
        return None
    bounds = table.actions()
    arrived, happened = (pc.max(bounds[f"max.{column}"]).as_py() for column in (ARRIVED_AT, stream.schema.event_time))
    return (
        now_us
        if arrived is not None and happened is not None and live(table, stream, arrived_later=arrived > happened)
        else None
    )
