"""What the log's file needs now and then: retention in small steps, and runs of small batches joined."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any, NamedTuple

import pyarrow as pa

from millstream.base.errors import Corrupt
from millstream.base.event import OFFSET
from millstream.engines.sqlite.records import Layouts, checksum, finished, pack, plain, unpack
from millstream.engines.sqlite.writing import INSERT, Write
from millstream.log.retention import LAKE, Stretch, removable

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


METAS = (
    "select id, start, end, schema, appended_us, length(data) from batch where topic = ? and partition = ? and end > ?"
    " order by end limit ?"
)


def retire(write: Write, now_us: int, tight: Callable[[], bool]) -> int:
    """Delete what retention no longer wants, never past what a reader still needs; batches deleted.

    At most 5 MB a transaction: 400 MB at once held the writers for 1.8 s and grew the WAL by as much.

    Args:
        tight: Whether the disk is nearly full; then topics without a retention give up what their readers have.
    """
    with write() as con:
        parts = con.execute(
            "select p.topic, p.partition, t.retention_us from part p join topic t on t.id = p.topic where p.low <"
            " p.high"
        ).fetchall()
    deleted = 0
    for topic, partition, retention_us in parts:
        more = True
        while more and (retention_us is not None or tight()):
            with write() as con:
                done, more = _step(con, topic, partition, now_us, retention_us)
            deleted += done
    return deleted


def marks_of(con: sqlite3.Connection, topic: int, partition: int) -> Mapping[str, int]:
    """Reader -> its mark."""
    return dict(con.execute("select reader, before from mark where topic = ? and partition = ?", (topic, partition)))


def unwritten(con: sqlite3.Connection) -> dict[str, int]:
    """Topic -> bytes of its batches that the lake does not have."""
    text = """select t.name, coalesce(sum(case when b.end > coalesce(m.before, 0) then length(b.data) end), 0)
        from topic t left join batch b on b.topic = t.id
        left join mark m on m.topic = b.topic and m.partition = b.partition and m.reader = ? group by t.id"""
    return dict(con.execute(text, (LAKE,)))


def _step(
    con: sqlite3.Connection, topic: int, partition: int, now_us: int, retention_us: int | None
) -> tuple[int, bool]:
    """Delete from the partition's beginning, so that what is left has no hole; how many, and whether there may be more.

    The marks are read in the transaction that deletes: a reader that moves its mark back keeps all that is there then.
    """
    metas = [_Meta(*row) for row in con.execute(METAS, (topic, partition, 0, _AT_ONCE))]
    upto = removable(
        (Stretch(b.end, b.appended_us) for b in metas),
        marks_of(con, topic, partition),
        now_us,
        retention_us,
        tight=True,
    )
    due: list[_Meta] = []
    size = 0
    for batch in metas:
        if upto is None or batch.end > upto or size >= STEP_BYTES:
            break
        due.append(batch)
        size += batch.size
    if due:
        con.executemany("delete from batch where id = ?", [(b.id,) for b in due])
        con.execute("update part set low = ? where topic = ? and partition = ?", (due[-1].end, topic, partition))
    return len(due), size >= STEP_BYTES or len(due) == _AT_ONCE


def join_small(write: Write, layouts: Layouts) -> int:
    """Join runs of neighbouring small batches of one schema; offsets and arrival times stay. Batches joined."""
    with write() as con:
        parts = con.execute(
            f"select topic, partition, min(start) from batch where end - start < {SMALL_ROWS} group by topic, partition"
        ).fetchall()
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
        fits = (
            bool(run)
            and run[-1].end == batch.start
            and run[0].schema_id == batch.schema_id
            and batch.end - run[0].start <= JOINED_ROWS
        )
        if run and not (small and fits):
            if len(run) >= FEW:
                yield run
            run = []
        if small:
            run.append(batch)
    if len(run) >= FEW:
        yield run


def _join(con: sqlite3.Connection, layouts: Layouts, topic: int, partition: int, run: list[_Meta]) -> int:
    """A batch that is damaged stays as it is: whoever reads it reports it, and its neighbours are joined without it."""
    read = [(b, _rows(con, layouts, b)) for b in run]
    intact = (list(part) for whole, part in groupby(read, lambda one: one[1] is not None) if whole)
    return sum(_replace(con, layouts, topic, partition, part) for part in intact if len(part) >= FEW)


def _rows(con: sqlite3.Connection, layouts: Layouts, b: _Meta) -> pa.RecordBatch | None:
    """None when they cannot be read."""
    layout, crc, data = con.execute("select layout, crc, data from batch where id = ?", (b.id,)).fetchone()
    try:
        rows = unpack(data, crc, layouts.schema(con, layout), b.end - b.start, f"batch {b.id}")
    except Corrupt:
        return None
    return finished([rows], [b.appended_us], b.start, b.schema_id).drop_columns([OFFSET])


def _replace(
    con: sqlite3.Connection, layouts: Layouts, topic: int, partition: int, part: list[tuple[_Meta, Any]]
) -> int:
    run = [b for b, _ in part]
    con.executemany("delete from batch where id = ?", [(b.id,) for b in run])
    at = run[0].start
    # A newer writer under the same schema may order or type a column otherwise: such neighbours stay apart.
    for _, same in groupby((rows for _, rows in part), lambda rows: str(rows.schema)):
        whole = plain(pa.concat_batches(list(same)))
        for rows, data in pack(whole):
            con.execute(
                INSERT,
                (
                    topic,
                    partition,
                    at,
                    at + rows,
                    run[0].schema_id,
                    layouts.number(con, whole.schema),
                    run[-1].appended_us,
                    checksum(data),
                    data,
                ),
            )
            at += rows
    return len(run)
