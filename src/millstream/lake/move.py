"""Rows that lie too far ahead, moved to the dead letters: the one verb that edits the past of a stream's table.

Afterwards table, dead letters, `_late` flags and watermark are what they would be had these records been dead letters
from the start, as far as the log still holds the records that were dropped for their sake (`unkept.py`). Three commits,
each of which the next `move` finds where it was killed:

1. The bound, in a commit of the stream's table. It is decided once: whatever is done later is done by it.
2. The letters. From now on each of these records is dead for whoever judges it, and a row as long as the third is
   missing.
3. Rows, flags, times and counts in one commit, which is a ruling (`ruling.py`): it names every position, so no sink
   commits beside it, sinks begin again with fresh memory, and features are filled again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millstream.base.errors import Conflict, NotFound, Recreated, Truncated
from millstream.base.event import ARRIVED_AT, ENVELOPE, EVENT_ID, OFFSET, PARTITION
from millstream.base.moments import spelled
from millstream.base.points import reach
from millstream.declare.stream import Stream
from millstream.lake import far
from millstream.lake.dead import DEAD, MOVED, Quarantine, dead_name
from millstream.lake.far import BEYOND, Ints, micros
from millstream.lake.moving import Plan, changed, plan
from millstream.lake.port import Table, Tables
from millstream.lake.positions import app_id, letters_id, stored, time_id, topics_of
from millstream.lake.ruling import Rule, current, moves
from millstream.lake.shown import as_json
from millstream.lake.unkept import Again, Part, Unread, again
from millstream.log.port import Log, Topic

_TRIES = 20


@dataclass(frozen=True)
class Moved:
    """What was done.

    Attributes:
        rows: Rows that are dead letters now.
        buried: Records that had been dropped as duplicates of those, lie too far ahead as well, and are dead letters
            now.
        found: Records that had been dropped as duplicates of those, and are rows now.
        doubled: Rows that repeat one of those, and are duplicates now.
        flags: Rows whose `_late` is otherwise now.
        unread: Where records that were dropped cannot be judged again.
    """

    bound_us: int
    rows: int = 0
    buried: int = 0
    found: int = 0
    doubled: int = 0
    flags: int = 0
    unread: tuple[Unread, ...] = ()

    def __str__(self) -> str:
        def many(count: int, one: str, more: str) -> str:
            return f"{count:,} {one if count == 1 else more}"

        said = [f"{many(self.rows, 'row', 'rows')} later than {spelled(self.bound_us)} moved to the dead letters"]
        said += (
            [f"{many(self.found, 'record', 'records')} that had been dropped as duplicates of them written"]
            if self.found
            else []
        )
        said += [f"{many(self.buried, 'duplicate', 'duplicates')} of them moved as well"] if self.buried else []
        said += (
            [f"{many(self.doubled, 'row', 'rows')} dropped that repeat a record written now"] if self.doubled else []
        )
        said += [f"_late set anew in {many(self.flags, 'row', 'rows')}"] if self.flags else []
        return "; ".join([*said, *(f"not judged again: {one}" for one in self.unread)])


def open_bound(table: Table, topic: Topic) -> int | None:
    """The bound of a move that was begun and not finished; None when there is none."""
    return table.position(f"{BEYOND}{topic.uuid}") or None


def move(log: Log, tables: Tables, stream: Stream[Any], latest_us: int) -> Moved | None:
    """Move the rows later than `latest_us` to the dead letters; what a killed one had begun is finished, by its own
    bound. None when there is nothing to do.

    Sinks may run; where they commit too fast for it, it gives up and says so.

    Raises:
        NotFound: The stream has no topic, or no table.
        Recreated: The table was filled from another topic of this name.
        Corrupt: The table is not what its commits say it is.
        Conflict: Sinks never left a gap.
    """
    topic = log.topic(stream.name)
    if topic is None:
        raise NotFound(f'stream "{stream.name}" has no topic in the log; nothing was ever sent')
    failure: Exception | None = None
    for _ in range(_TRIES):
        table = tables.table(stream.name)
        if others := topics_of(table.txns()) - {topic.uuid}:
            raise Recreated(
                f'table "{stream.name}" was filled from another topic of that name ({", ".join(sorted(others))})'
            )
        try:
            bound = _bound(table, stream, topic, latest_us)
            return None if bound is None else _Move(log, tables, table, stream, topic, bound).done()
        except (Conflict, Truncated) as error:  # somebody else committed, or retention passed: look again
            failure = error
    raise Conflict(
        f'stream "{stream.name}": other commits never left a gap to move its rows in; stop its sinks and try again'
    ) from failure


def _bound(table: Table, stream: Stream[Any], topic: Topic, latest_us: int) -> int | None:
    """The bound, recorded; None when no row lies beyond it."""
    app = f"{BEYOND}{topic.uuid}"
    if found := table.position(app):
        return found
    if next(far.beyond(table, stream, latest_us, [OFFSET]), None) is None:
        return None
    table.land(
        [],
        txns={app: (table.position(app), latest_us)},
        metadata={"by": "move", "topic": topic.uuid, "bound_us": latest_us},
    )
    reach("move.bound")
    return latest_us


class _Move:
    """One try, from one handle."""

    def __init__(
        self, log: Log, tables: Tables, table: Table, stream: Stream[Any], topic: Topic, bound_us: int
    ) -> None:
        self.log, self.table, self.stream, self.topic, self.bound_us = log, table, stream, topic, bound_us
        self.rule = Rule.of(stream)
        self.dead = Quarantine(tables, stream.name, topic.uuid)
        self.letters = self._letters(tables)
        self.ends = log.ends(stream.name)
        self.stands = {p: stored(table, topic, p) for p in range(topic.partitions)}
        self.said = [r for r in table.ranges() if r.topic == topic.uuid]

    def done(self) -> Moved:
        """Bring it to its end. Raises Conflict where another look is needed."""
        judged = {part.partition: (part, self._again(part)) for p in self.stands if len((part := self._part(p)).moved)}
        self._bury(judged)
        plans = {p: self._plan(part, found) for p, (part, found) in judged.items()}
        self._commit(plans)
        reach("move.committed")
        results = [found for _, found in judged.values()]
        return Moved(
            self.bound_us,
            sum(len(part.moved) for part, _ in judged.values()),
            sum(len(found.buried) for found in results),
            sum(0 if one.found is None else one.found.num_rows for one in plans.values()),
            sum(len(found.doubled) for found in results),
            sum(len(one.flip) for one in plans.values()),
            tuple(one for found in results for one in found.unread),
        )

    # -- looking
    # ---------------------------------------------------------------------------------------------------------

    def _letters(self, tables: Tables) -> Mapping[int, tuple[Ints, Ints]]:
        """Offsets of the dead letters of each partition, and of those of them that were moved there."""
        found: dict[int, tuple[list[Ints], list[Ints]]] = {}
        if tables.exists(dead_name(self.stream.name)):
            letters = tables.table(dead_name(self.stream.name))
            for batch in letters.scan([PARTITION, OFFSET, "error"], where=pc.field("topic") == self.topic.uuid):
                partitions, offsets = batch.column(PARTITION).to_numpy(), batch.column(OFFSET).to_numpy()
                ours = pc.fill_null(pc.starts_with(batch.column("error"), MOVED), False).to_numpy(zero_copy_only=False)
                for p in np.unique(partitions).tolist():
                    every, moved = found.setdefault(p, ([], []))
                    every.append(offsets[partitions == p])
                    moved.append(offsets[(partitions == p) & ours])
        return {
            p: (np.unique(np.concatenate(every)), np.unique(np.concatenate(moved)))
            for p, (every, moved) in found.items()
        }

    def _dead(self, partition: int) -> tuple[Ints, Ints]:
        """The same of one partition, where they are in force."""
        every, ours = self.letters.get(partition, (np.empty(0, np.int64), np.empty(0, np.int64)))
        return every[every < self.stands[partition]], ours[ours < self.stands[partition]]

    def _part(self, partition: int) -> Part:
        found = [
            rows.column(OFFSET).to_numpy()
            for rows in far.beyond(self.table, self.stream, self.bound_us, [OFFSET], partition)
        ]
        moved = np.unique(np.concatenate([np.empty(0, np.int64), *found]))
        said = [r for r in self.said if r.partition == partition]
        return Part(
            partition, said, self.ends[partition].low, self.ends[partition].high, self._dead(partition)[0], moved
        )

    def _again(self, part: Part) -> Again:
        columns = {r.id_column for r in part.said if r.id_column is not None and r.id_column in self.table.schema.names}
        rows = (
            list(far.beyond(self.table, self.stream, self.bound_us, [OFFSET, *sorted(columns)], part.partition))
            if columns
            else []
        )
        return again(self.log, self.table, self.stream, part, rows, self.bound_us)

    def _plan(self, part: Part, found: Again) -> Plan:
        """What was buried for this move and is not counted yet: letters of now, and those of a try that was killed."""
        buried = np.array([judged.rows.column(OFFSET)[at].as_py() for judged, at in found.buried], np.int64)
        return plan(self.table, self.stream, part, found, np.union1d(buried, self._dead(part.partition)[1]))

    # -- committing
    # ------------------------------------------------------------------------------------------------------

    def _bury(self, judged: Mapping[int, tuple[Part, Again]]) -> None:
        """Write the letters that are not there yet."""
        letters, said = list[pa.RecordBatch](), dict[str, Any]()
        for p, (part, found) in judged.items():
            mine = [*self._rows(part), *([self._records(p, found)] if found.buried else [])]
            if count := sum(batch.num_rows for batch in mine):
                letters, said[str(p)] = (
                    letters + mine,
                    {"start": int(part.moved[0]), "end": self.stands[p], "dead": count},
                )
        if not letters:
            return
        txns: dict[str, tuple[int | None, int]] = {}
        for p in map(int, said):
            app, count = app_id(self.topic, p), letters_id(self.topic, p)
            stands, counted = self.dead.position(app), self.dead.position(count)
            # As far as its partition is written: were the table cut back, whoever writes it again asks here which
            # records are dead.
            txns |= {app: (stands, max(stands or 0, self.stands[p])), count: (counted, (counted or 0) + 1)}
        self.dead.land(letters, txns, {"by": "move", "topic": self.topic.uuid, "ranges": said})

    def _rows(self, part: Part) -> list[pa.RecordBatch]:
        """Letters of the rows that are moved, except those that a killed try has written."""
        wanted = np.setdiff1d(part.moved, part.letters)
        if not len(wanted):
            return []
        columns = self.table.schema.names
        found = far.beyond(self.table, self.stream, self.bound_us, columns, part.partition)
        rows = [
            batch.filter(pa.array(np.isin(batch.column(OFFSET).to_numpy(), wanted))).select(columns) for batch in found
        ]
        return [
            self._letter(
                part.partition, batch, [as_json(batch, at, tuple(ENVELOPE)) for at in range(batch.num_rows)], None
            )
            for batch in rows
            if batch.num_rows
        ]

    def _records(self, partition: int, found: Again) -> pa.RecordBatch:
        """Letters of records that had been dropped."""
        rows = pa.concat_batches([judged.rows.slice(at, 1) for judged, at in found.buried])
        raws = [judged.raw(at) for judged, at in found.buried]
        return self._letter(partition, rows, [raw for raw, _ in raws], [origin for _, origin in raws])

    def _letter(
        self, partition: int, rows: pa.RecordBatch, raw: Sequence[bytes], origin: Sequence[str | None] | None
    ) -> pa.RecordBatch:
        many, times = (
            rows.num_rows,
            (micros(rows, self.stream.schema.event_time).tolist(), micros(rows, ARRIVED_AT).tolist()),
        )
        whys = [
            far.why(self.stream, happened, arrived, self.bound_us) for happened, arrived in zip(*times, strict=True)
        ]
        errors = [
            f"{MOVED}: {why} (later than {spelled(self.bound_us)}); correct the time and send the record again"
            for why in whys
        ]
        columns = {
            "error": pa.array(errors, pa.string()),
            "raw": pa.array(raw, pa.binary()),
            "origin": pa.nulls(many, pa.string()) if origin is None else pa.array(origin, pa.string()),
            "topic": pa.array([self.topic.uuid] * many, pa.string()),
            EVENT_ID: rows.column(EVENT_ID),
            ARRIVED_AT: rows.column(ARRIVED_AT),
            PARTITION: pa.array([partition] * many, ENVELOPE[PARTITION]),
            OFFSET: rows.column(OFFSET),
            "rule": pa.array([self.rule.fingerprint] * many, pa.int64()),
        }
        return pa.RecordBatch.from_arrays(
            [columns[name].cast(DEAD.field(name).type) for name in DEAD.names], schema=DEAD
        )

    def _commit(self, plans: Mapping[int, Plan]) -> None:
        """Rows, flags, times and counts, and the ruling that they are so."""
        found = current(self.table, self.topic.uuid)
        app = f"{BEYOND}{self.topic.uuid}"
        txns: dict[str, tuple[int | None, int]] = {
            **moves(self.table, self.topic, found.rule, found.amended + 1),
            app: (self.bound_us, 0),
        }
        for p, one in plans.items():
            txns[time_id(self.topic, p)] = (self.table.position(time_id(self.topic, p)), one.newest_us)
        why = f"rows later than {spelled(self.bound_us)} were moved to the dead letters"
        said = {"number": found.number + 1, "why": why, "rule": found.rule, "bound_us": self.bound_us}
        metadata = {
            "by": "move",
            "topic": self.topic.uuid,
            "ruling": said,
            "restated": [r.restated_as() for one in plans.values() for r in one.restated],
        }
        if not plans:
            self.table.land([], txns=txns, metadata=metadata)
            return
        files = self.table.write([rows for one in plans.values() for rows in one.last_rows()])
        bounds = {OFFSET: (min(one.first for one in plans.values()), None)}
        self.table.edit(lambda rows: changed(rows, plans), bounds, files, txns=txns, metadata=metadata)
