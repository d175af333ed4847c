"""Records that a sink cannot have any more: found, accepted once, and recorded.

Records leave the log before they were written when its retention was forced, when its file was restored from an older
copy, or when a batch is damaged. The sink stops there and says so. Continuing without them is the operator's decision,
once for the ranges that were shown: one commit moves the positions over them, says so in its lineage, and is a ruling,
since features may have counted such a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from millstream.base.errors import Damaged, NotFound, Recreated
from millstream.declare.stream import Stream
from millstream.lake.judge import table_schema
from millstream.lake.port import Table, Tables
from millstream.lake.positions import app_id, stored, topics_of
from millstream.lake.ruling import Rule, current, moves, record_of
from millstream.log.port import Log, Topic

GONE, DAMAGED = "they left the log before they were written to the lake", "the log's stored batch is damaged"


@dataclass(frozen=True)
class Gap:
    """Offsets [start, end) of a partition, which begin where its table stands. `why` is `GONE` or `DAMAGED`."""

    partition: int
    start: int
    end: int
    why: str

    def __str__(self) -> str:
        return f"partition {self.partition}, offsets [{self.start}, {self.end}): {self.why}"


def find(log: Log, lake: Tables, stream: Stream[Any], *, damaged: bool = True) -> list[Gap]:
    """What keeps the stream's sink from continuing, by partition.

    Args:
        damaged: Look for damaged batches too, which reads the next record of each partition.

    Raises:
        NotFound: The stream has no topic.
    """
    topic = _topic(log, stream)
    table = lake.table(stream.name) if lake.exists(stream.name) else None
    found = []
    for partition, ends in sorted(log.ends(stream.name).items()):
        at = 0 if table is None else stored(table, topic, partition)
        if at < ends.low:
            found.append(Gap(partition, at, ends.low, GONE))
        elif damaged and at < ends.high and (end := _damage(log, topic, partition, at)) is not None:
            found.append(Gap(partition, at, end, DAMAGED))
    return found


def _damage(log: Log, topic: Topic, partition: int, at: int) -> int | None:
    """Where the damage ends that begins at this offset; None when there is none."""
    reader = log.reader(topic.name, {partition: at})
    try:
        reader.poll(1, timedelta(0))
    except Damaged as error:
        return error.end
    finally:
        reader.close()
    return None


def accept(log: Log, lake: Tables, stream: Stream[Any], gaps: Sequence[Gap]) -> None:
    """Continue without these records: one commit, which says so.

    Raises:
        Conflict: A position is not where a gap begins any more: look again.
        Recreated: The table was filled from another topic of this name.
    """
    topic = _topic(log, stream)
    table = lake.table(stream.name) if lake.exists(stream.name) else lake.create(stream.name, table_schema(stream))
    if others := topics_of(table.txns()) - {topic.uuid}:
        raise Recreated(
            f'table "{stream.name}" was filled from another topic of that name ({", ".join(sorted(others))})'
        )
    rule, ruling = Rule.of(stream), current(table, topic.uuid)
    txns = moves(table, topic, rule.fingerprint, ruling.amended + 1)
    for gap in gaps:
        app = app_id(topic, gap.partition)
        at = table.position(app)
        txns[app] = (None if at is None and not gap.start else gap.start, gap.end)
    table.check(txns)
    nothing = {
        "records": 0,
        "rows": 0,
        "dead": 0,
        "duplicates": 0,
        "late": 0,
        "checksum": 0,
        "schema_ids": [],
        "ruling": ruling.number + 1,
    }
    ranges = {
        str(gap.partition): {"start": gap.start, "end": gap.end, "gap": [gap.start, gap.end], "why": gap.why, **nothing}
        for gap in gaps
    }
    said = record_of(ruling.number + 1, rule, table, topic, "records were given up")
    table.land(
        [],
        txns=txns,
        metadata={"by": "sink", "topic": topic.uuid, "stream": stream.name, "ranges": ranges, "ruling": said},
    )
    log.retain(stream.name, before={gap.partition: gap.end for gap in gaps}, uuid=topic.uuid)


def _topic(log: Log, stream: Stream[Any]) -> Topic:
    topic = log.topic(stream.name)
    if topic is None:
        raise NotFound(f'stream "{stream.name}" has no topic in the log; nothing was ever sent')
    return topic


def recorded(table: Table) -> list[Gap]:
    """Gaps that were accepted, by partition and start."""
    return [Gap(r.partition, *r.gap, "accepted") for r in table.ranges() if r.gap is not None]
