"""What the log's file needs now and then: retention in small steps, and runs of small batches joined."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import NamedTuple

import pyarrow as pa

from millstream.declare.event import OFFSET
from millstream.engines.sqlite.records import Layouts, checksum, finished, pack, plain, unpack
from millstream.engines.sqlite.writing import INSERT, Write

STEP_BYTES = 5_000_000
SMALL_ROWS, JOINED_ROWS, FEW = 1_000, 10_000, 8
_AT_ONCE, _JOIN_AT_ONCE = 500, 100


class _Meta(NamedTuple):
    """A stored batch, without its bytes."""

    id: int
    start: int
    end: int
    schema_id: int
    appended_us: int
    size: int


METAS = "select id, start, end, schema, appended_us, length(data) from batch where topic = ? and partition = ? and end > ? order by end limit ?"


def retire(write: Write, now_us: int, tight: Callable[[], bool]) -> int:
    """Delete what retention no longer wants, never past what a registered reader still needs; batches deleted.

    At most 5 MB a transaction: 400 MB at once held the writers for 1.8 s and grew the WAL by as much.

    Args:
        tight: Whether the disk is nearly full; then topics without a retention give up what their readers have landed.
    """
    with write() as con:
        parts = con.execute(
            """select p.topic, p.partition, t.retention_us, min(m.before) from part p join topic t on t.id = p.topic
               left join mark m on m.topic = p.topic and m.partition = p.partition
               where p.low < p.high group by p.topic, p.partition"""
        ).fetchall()
    deleted = 0
    for topic, partition, retention_us, landed in parts:
        while True:
            if retention_us is not None:
                horizon, limit = now_us - retention_us, landed
            elif landed is not None and tight():
                horizon, limit = now_us, landed
            else:
                break
            with write() as con:
                done, more = _step(con, topic, partition, horizon, limit)
            deleted += done
            if not more:
                break
    return deleted


def _step(con: sqlite3.Connection, topic: int, partition: int, horizon: int, limit: int | None) -> tuple[int, bool]:
    """Delete from the partition's beginning, so that what is left has no hole; how many, and whether there may be more."""
    due: list[_Meta] = []
    size = 0
    for row in con.execute(METAS, (topic, partition, 0, _AT_ONCE)):
        batch = _Meta(*row)
        if batch.appended_us >= horizon or (limit is not None and batch.end > limit):
            break
        due.append(batch)
        size += batch.size
        if size >= STEP_BYTES:
            break
    if due:
        con.executemany("delete from batch where id = ?", [(b.id,) for b in due])
        con.execute("update part set low = ? where topic = ? and partition = ?", (due[-1].end, topic, partition))
    return len(due), size >= STEP_BYTES or len(due) == _AT_ONCE


def join_small(write: Write, layouts: Layouts) -> int:
    """Join runs of neighbouring small batches of one schema; offsets and arrival times stay. Batches joined."""
    with write() as con:
        parts = con.execute(f"select topic, partition, min(start) from batch where end - start < {SMALL_ROWS} group by topic, partition").fetchall()
    joined = 0
    for topic, partition, start in parts:
        at: int | None = start
        while at is not None:
            with write() as con:
                metas = [_Meta(*row) for row in con.execute(METAS, (topic, partition, at, _JOIN_AT_ONCE))]
                for run in _runs(metas):
                    joined += _join(con, layouts, topic, partition, run)
            at = metas[-1].end if len(metas) == _JOIN_AT_ONCE else None
    return joined


def _runs(metas: list[_Meta]) -> Iterator[list[_Meta]]:
    """Neighbours worth joining: small, of one schema, and several."""
    run: list[_Meta] = []
    for batch in metas:
        small = batch.end - batch.start < SMALL_ROWS
        fits = bool(run) and run[-1].end == batch.start and run[0].schema_id == batch.schema_id and batch.end - run[0].start <= JOINED_ROWS
        if run and not (small and fits):
            if len(run) >= FEW:
                yield run
            run = []
        if small:
            run.append(batch)
    if len(run) >= FEW:
        yield run


def _join(con: sqlite3.Connection, layouts: Layouts, topic: int, partition: int, run: list[_Meta]) -> int:
    batches = []
    for b in run:
        layout, crc, data = con.execute("select layout, crc, data from batch where id = ?", (b.id,)).fetchone()
        rows = unpack(data, crc, layouts.schema(con, layout), b.end - b.start, f"batch {b.id}")
        batches.append(finished([rows], [b.appended_us], b.start, b.schema_id).drop_columns([OFFSET]))
    con.executemany("delete from batch where id = ?", [(b.id,) for b in run])
    at = run[0].start
    # A newer writer under the same schema may order or type a column otherwise: such neighbours stay apart.
    for _, same in groupby(batches, lambda rows: str(rows.schema)):
        whole = plain(pa.concat_batches(list(same)))
        for rows, data in pack(whole):
            con.execute(
                INSERT, (topic, partition, at, at + rows, run[0].schema_id, layouts.number(con, whole.schema), run[-1].appended_us, checksum(data), data)
            )
            at += rows
    return len(run)
