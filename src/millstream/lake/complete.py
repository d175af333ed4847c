"""A stream's history declared complete: no event up to a moment is missing, so what waits for such an event need not
wait.

A watermark follows from events, and the last events of a history have none behind them: the labels of its last days
would never be complete. An operator may know better than the events do, and says so once. The declaration is a commit
of the stream's table that names the position of every partition, as a ruling does: sinks at work exclude it, and it
holds exactly as long as nothing is written behind those positions. A record that comes later takes it back, since the
history was not complete.
"""

from __future__ import annotations

from typing import Any

from millstream.base.errors import Conflict, NotFound, UsageError
from millstream.declare.stream import Stream
from millstream.lake.judge import table_schema
from millstream.lake.port import Table, Tables
from millstream.lake.positions import APP, app_id, stored
from millstream.log.port import Log

UPTO = "millstream-complete/"
"""`millstream-complete/<topic uuid>` -> the moment up to which no event is missing, in microseconds."""
BY = "millstream-complete-by/"
"""`millstream-complete-by/<topic uuid>` -> the sum of all positions then: they only rise, so another sum is another
history.
"""
_TRIES = 20


def declare(log: Log, lake: Tables, stream: Stream[Any], upto_us: int) -> None:
    """Declare that no event of the stream up to this moment is missing; again is fine, with a later moment.

    Raises:
        NotFound: The stream has no topic: nothing was ever sent to it.
        UsageError: The log holds records that are not in the lake yet.
        Conflict: Sinks never left a gap to record it in.
    """
    topic = log.topic(stream.name)
    if topic is None:
        raise NotFound(f'stream "{stream.name}" has no topic in the log yet; nothing was ever sent to it')
    for _ in range(_TRIES):
        table = lake.table(stream.name) if lake.exists(stream.name) else lake.create(stream.name, table_schema(stream))
        at = {app_id(topic, p): stored(table, topic, p) for p in range(topic.partitions)}
        ends = log.ends(stream.name)
        waiting = sum(max(0, end.high - at[app_id(topic, p)]) for p, end in ends.items()) + sum(
            end.held for end in ends.values()
        )
        if waiting:
            raise UsageError(
                f'stream "{stream.name}" cannot be declared complete: {waiting:,} records of its log are not in the'
                " lake yet; `millstream ingest` writes them, and `millstream show streams` says what holds them up"
            )
        after = {**at, f"{UPTO}{topic.uuid}": upto_us, f"{BY}{topic.uuid}": sum(at.values())}
        try:
            table.land(
                [],
                txns={app: (table.position(app), to) for app, to in after.items()},
                metadata={
                    "by": "complete",
                    "topic": topic.uuid,
                    "complete": {"upto_us": upto_us, "positions": list(at.values())},
                },
            )
            return
        except Conflict:  # a sink committed: look again
            continue
    raise Conflict(
        f'stream "{stream.name}": other commits never left a gap to record that it is complete in; try again'
    )


def declared(table: Table) -> int | None:
    """The moment up to which the stream is complete on this handle, microseconds; None where nobody said so, or a
    record came since.
    """
    found = _declared(table)
    return None if found is None or not found[1] else found[0]


def taken_back(table: Table) -> bool:
    """Whether it was declared complete, and records came since."""
    found = _declared(table)
    return found is not None and not found[1]


def _declared(table: Table) -> tuple[int, bool] | None:
    """The moment, and whether it still holds."""
    txns = table.txns()
    said = [(at, app.removeprefix(UPTO)) for app, at in txns.items() if app.startswith(UPTO)]
    if not said:
        return None
    upto_us, topic = max(said)
    stands = sum(at for app, at in txns.items() if app.startswith(f"{APP}{topic}/"))
    return upto_us, stands == txns.get(f"{BY}{topic}")
