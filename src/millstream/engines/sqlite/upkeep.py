"""What the log's file needs now and then: retention in small steps, and runs of small batches joined."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager

import pyarrow as pa

from millstream.engines.sqlite.records import Layouts, pack, unpack

STEP_BYTES = 5_000_000
SMALL_ROWS, JOINED_ROWS = 1_000, 10_000
Write = Callable[[], AbstractContextManager[sqlite3.Connection]]


def retire(write: Write, now_us: int) -> int:
    """Delete batches older than their topic's retention, never past what its readers have landed; batches deleted.

    At most 5 MB a transaction: 400 MB at once held the writers for 1.8 s and grew the WAL by as much.
    """
    deleted = 0
    while True:
        with write() as con:
            due = con.execute(
                """select b.id, b.topic, b.partition, b.end, length(b.data) from batch b join topic t on t.id = b.topic
                   left join mark m on m.topic = b.topic and m.partition = b.partition
                   where t.retention_us is not null and b.appended_us < ? - t.retention_us and (m.before is null or b.end <= m.before) order by b.id limit 500""",
                (now_us,),
            ).fetchall()
            size = 0
            for number, topic, partition, end, length in due:
                con.execute("delete from batch where id = ?", (number,))
                con.execute("update part set low = max(low, ?) where topic = ? and partition = ?", (end, topic, partition))
                deleted, size = deleted + 1, size + length
                if size > STEP_BYTES:
                    break
        if not due or (size <= STEP_BYTES and len(due) < 500):
            return deleted


def join_small(write: Write, layouts: Layouts) -> int:
    """Join runs of neighbouring small batches of one schema; offsets and arrival times stay. Batches joined."""
    joined = 0
    while True:
        with write() as con:
            run = _run(con)
            if len(run) < 2:
                return joined
            batches = [
                unpack(data, layouts.schema(con, layout), start, appended, 0, end - start).drop_columns(["_offset"])
                for _, _, _, start, end, _, layout, appended, data in run
            ]
            whole = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
            first, last = run[0], run[-1]
            con.executemany("delete from batch where id = ?", [(row[0],) for row in run])
            con.execute("insert into batch(topic, partition, start, end, schema, layout, appended_us, data) values (?, ?, ?, ?, ?, ?, ?, ?)",
                        (first[1], first[2], first[3], last[4], first[5], layouts.number(con, whole.schema), last[7], pack(whole)))  # fmt: skip
            joined += len(run)


def _run(con: sqlite3.Connection) -> list[tuple[int, int, int, int, int, int, int, int, bytes]]:
    """The first run worth joining: neighbours of one partition, schema and layout, small, and not the newest of their partition."""
    heads = con.execute(
        f"""select topic, partition, schema, layout, min(start), count(*) from batch where end - start < {SMALL_ROWS}
            group by topic, partition, schema, layout having count(*) >= 32 limit 1"""
    ).fetchone()
    if heads is None:
        return []
    topic, partition, schema, layout, start, _ = heads
    run: list[tuple[int, int, int, int, int, int, int, int, bytes]] = []
    rows = 0
    for row in con.execute(
        "select id, topic, partition, start, end, schema, layout, appended_us, data from batch where topic = ? and partition = ? and end > ? order by end",
        (topic, partition, start),
    ):
        same = row[5] == schema and row[6] == layout and row[4] - row[3] < SMALL_ROWS
        if same and rows < JOINED_ROWS and (not run or run[-1][4] == row[3]):
            run.append(row)
            rows += row[4] - row[3]
        elif len(run) >= 2:
            break
        else:
            run, rows = ([row], row[4] - row[3]) if same else ([], 0)
    return run if len(run) >= 2 else []
