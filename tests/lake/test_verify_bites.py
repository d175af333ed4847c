"""Verify finds what is planted: a gap, an overlap, a double, a lost row, a row in both places, and nothing in a good
table.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from lake_actors import World

from millstream.base.errors import NotFound
from millstream.base.event import EVENT_ID, OFFSET, PARTITION
from millstream.declare.stream import stream
from millstream.lake import checkpoint, deltalog, gaps, parquet, replace
from millstream.lake.contract import READINGS, Reading, proven, put, readings, rows_in
from millstream.lake.lineage import fold, ranges
from millstream.lake.positions import app_id
from millstream.lake.table import LakeTable
from millstream.lake.tally import MOST
from millstream.lake.verify import Report, verify
from millstream.log.envelope import topic_of
from millstream.log.port import Append


@pytest.fixture
def landed(world: World) -> World:
    """Four commits of partition 0, one of partition 1; two dead letters."""
    for n in range(0, 40, 10):
        put(world.log, world.schemas, 0, *range(n, n + 10), bad=[n + 4] if n in (0, 30) else [])
        world.drain()
    put(world.log, world.schemas, 1, 40, 41)
    world.drain()
    proven(world.lake, world.log)
    return world


def app(world: World, partition: int = 0) -> str:
    topic = world.log.topic("readings")
    assert topic is not None
    return app_id(topic, partition)


def table(world: World) -> LakeTable:
    return world.lake.table("readings")


def report(world: World) -> Report:
    found = verify(world.lake, world.log, READINGS)
    assert not found.ok
    return found


def like(row: dict[str, Any], held: LakeTable, **changed: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{**row, **changed}], schema=held.schema)


def said(world: World, start: int, end: int, **more: Any) -> dict[str, Any]:
    """Commit metadata as a sink writes it."""
    topic = world.log.topic("readings")
    assert topic is not None
    body = {
        "start": start,
        "end": end,
        "records": 0,
        "rows": 0,
        "dead": 0,
        "duplicates": 0,
        "late": 0,
        "schema_ids": [],
        **more,
    }
    return {"by": "sink", "topic": topic.uuid, "stream": "readings", "ranges": {"0": body}}


def rewrite(world: World, at: int, change: Any) -> None:
    """Put other rows in the place of the file that is the `at`th, as no news: nothing but the rows is different."""
    held = table(world)
    row = held.actions().to_pylist()[at]
    kept = change(pa.Table.from_batches(replace.batches_of(held, row)))
    written = parquet.write(held.files, held.name, held.schema, kept.to_batches(), place=row["path"])
    held.commit([*(file.action(data_change=False) for file in written), replace.gone(held, row, data_change=False)])


def test_a_good_table(landed: World) -> None:
    found = verify(landed.lake, landed.log, READINGS)
    assert (found.ok, found.records, found.rows, found.dead, found.duplicates, found.version) == (True, 42, 40, 2, 0, 5)
    assert found.gaps == found.overlaps == found.doubles == found.torn == []


def test_nothing_landed_yet(world: World) -> None:
    with pytest.raises(NotFound, match="no topic"):
        verify(world.lake, world.log, READINGS)
    put(world.log, world.schemas, 0, 1)
    assert verify(world.lake, world.log, READINGS) == Report("readings") and Report("readings").ok


@pytest.mark.parametrize("folded", [False, True])
def test_gap(landed: World, folded: bool) -> None:
    """A commit that begins past the stored position; and one that moves it and says nothing."""
    if folded:
        fold(landed.lake, table(landed))
    table(landed).append([], txns={app(landed): (40, 60)}, metadata=said(landed, 50, 60))
    assert report(landed).gaps == [{"partition": 0, "start": 40, "end": 50, "recorded": False, "version": 6}]
    table(landed).append([], txns={app(landed): (60, 65)})
    found = report(landed)
    assert found.gaps[1:] == [{"partition": 0, "start": 60, "end": 65, "recorded": False, "version": None}]
    assert (
        [one["why"] for one in found.torn] == ["the table stands past the log's end"]
        and not found.overlaps
        and not found.doubles
    )


def test_overlap(landed: World) -> None:
    table(landed).append([], txns={app(landed): (40, 45)}, metadata=said(landed, 37, 45))
    found = report(landed)
    assert found.overlaps == [{"partition": 0, "start": 37, "end": 40, "version": 6}] and not found.gaps


def test_the_position_fell_back(landed: World) -> None:
    table(landed).append([], txns={app(landed): (40, 33)})
    assert {"partition": 0, "start": 33, "end": 40, "version": None} in report(landed).overlaps


def test_double(landed: World) -> None:
    """The same row once more, in a commit of its own: the partition is out of order, and read again."""
    row = next(r for r in rows_in(table(landed)) if r["n"] == 12)
    table(landed).append([like(row, table(landed))])
    found = report(landed)
    assert found.doubles == [{"partition": 0, "offset": 12, "where": "table"}]
    assert [(one["start"], one["said"], one["found"], one["why"]) for one in found.torn] == [
        (10, 10, 11, "there are more rows")
    ]
    assert not found.gaps and not found.overlaps


def test_a_double_beside_its_row(landed: World) -> None:
    rewrite(landed, 1, lambda rows: pa.concat_tables([rows.slice(0, 3), rows.slice(2)]))
    assert report(landed).doubles == [{"partition": 0, "offset": 12, "where": "table"}]


def test_an_id_again(landed: World) -> None:
    """At an offset of its own, in a range that counts it; within the window only."""
    row = next(r for r in rows_in(table(landed)) if r["n"] == 12)
    put(landed.log, landed.schemas, 0, 90)
    landed.drain()
    rewrite(
        landed, -1, lambda rows: rows.set_column(rows.schema.get_field_index(EVENT_ID), EVENT_ID, pa.array(["id-12"]))
    )
    found = report(landed)
    assert found.doubles == [{"partition": 0, "offset": 40, "where": "table", "id": row[EVENT_ID]}] and not found.torn
    other = verify(landed.lake, landed.log, stream("readings", Reading, key="who", partitions=3, dedupe="who"))
    assert other.doubles == found.doubles, "each range by the rule that its commit names, whatever the stream says now"
    assert other.recomputed == 0 and other.not_recomputed == 43


def test_lost_row(landed: World) -> None:
    rewrite(landed, 2, lambda rows: pa.concat_tables([rows.slice(0, 4), rows.slice(5)]))
    found = report(landed)
    assert [
        (one["partition"], one["start"], one["end"], one["said"], one["found"], one["why"]) for one in found.torn
    ] == [(0, 20, 30, 10, 9, "rows are missing")]
    assert found.rows == 39 and not found.doubles


def test_a_row_in_the_place_of_another(landed: World) -> None:
    """As many rows as were counted; one has an offset that was a dead letter's."""
    rewrite(
        landed,
        0,
        lambda rows: rows.set_column(
            rows.schema.get_field_index(OFFSET), OFFSET, pa.array([0, 1, 2, 3, 4, 6, 7, 8, 9], pa.int64())
        ),
    )
    found = report(landed)
    assert [one["why"] for one in found.torn] == ["the rows are at other offsets"]
    assert found.doubles == [{"partition": 0, "offset": 4, "where": "table and quarantine"}]


def test_in_both_places(landed: World) -> None:
    dead = landed.lake.table("readings__dead")
    letter = rows_in(dead)[0]
    dead.append([like(letter, dead, **{OFFSET: 15})])
    found = report(landed)
    assert found.doubles == [{"partition": 0, "offset": 15, "where": "table and quarantine"}]
    assert [(one["start"], one["why"]) for one in found.torn] == [(10, "the dead letters are others")]


def test_a_letter_twice_and_one_lost(landed: World) -> None:
    dead = landed.lake.table("readings__dead")
    first, second = rows_in(dead)
    dead.replace([pa.RecordBatch.from_pylist([first, first], schema=dead.schema)])
    found = report(landed)
    assert found.doubles == [{"partition": 0, "offset": first[OFFSET], "where": "quarantine"}]
    assert [(one["start"], one["said"], one["found"]) for one in found.torn] == [(second[OFFSET] // 10 * 10, 1, 0)]


def test_a_letter_ahead_of_the_table_is_none_yet(landed: World) -> None:
    dead = landed.lake.table("readings__dead")
    dead.append([like(rows_in(dead)[0], dead, **{OFFSET: 40})])
    assert verify(landed.lake, landed.log, READINGS).ok


def test_rows_that_nobody_brought(landed: World) -> None:
    row = rows_in(table(landed))[0]
    table(landed).append([like(row, table(landed), **{OFFSET: 77}), like(row, table(landed), **{PARTITION: 9})])
    assert {one["why"] for one in report(landed).torn} == {
        "1 rows that no commit brought",
        "1 rows of a partition that the topic does not have",
    }


def test_counts_that_do_not_add_up(landed: World) -> None:
    table(landed).append([], txns={app(landed): (40, 42)}, metadata=said(landed, 40, 42, records=2, duplicates=1))
    put(landed.log, landed.schemas, 0, 98, 99)
    found = report(landed)
    assert [one["why"] for one in found.torn] == ["records read and records accounted for differ"]


def test_a_commit_cleaned_away_unfolded(landed: World) -> None:
    """By somebody who folds nothing: the range is not known any more, and so not proven."""
    checkpoint.make(table(landed))
    landed.lake.files.remove(deltalog.commit_path("readings", 2))
    found = report(landed)
    assert found.gaps == [{"partition": 0, "start": 10, "end": 20, "recorded": False, "version": 3}]


def test_an_accepted_loss_is_reported_and_no_fault(world: World) -> None:
    put(world.log, world.schemas, 0, *range(10))
    world.drain()
    put(world.log, world.schemas, 0, *range(10, 15))
    put(world.log, world.schemas, 0, *range(15, 20))
    lose(world, 15)
    gaps.accept(world.log, world.lake, READINGS, gaps.find(world.log, world.lake, READINGS))
    world.drain()
    found = verify(world.lake, world.log, READINGS)
    assert found.ok and found.rows == 15
    assert found.gaps == [{"partition": 0, "start": 10, "end": 15, "recorded": True, "version": 2}]
    assert fold(world.lake, world.lake.table("readings")) == 3
    assert [r.gap for r in ranges(world.lake.table("readings"))] == [None, (10, 15), None], "the gap is folded as well"
    assert verify(world.lake, world.log, READINGS) == found


def lose(world: World, before: int) -> None:
    """Retention passes the sink: partition 0 begins at `before`, at a batch's border."""
    with world.log._write() as con:
        con.execute("delete from batch where partition = 0 and end <= ?", (before,))
        con.execute("update part set low = ? where partition = 0", (before,))


def test_a_log_that_ends_before_the_table(world: World) -> None:
    """Restored from an older copy: it is said, and nobody waits for what the log lacks."""
    for n in (0, 10):
        put(world.log, world.schemas, 0, *range(n, n + 10))
    world.drain()
    with world.log._write() as con:
        con.execute("delete from batch where partition = 0 and start >= 10")
        con.execute("update part set high = 10 where partition = 0")
    found = report(world)
    assert (
        found.words() == ["partition 0, offsets [10, 20): the table stands past the log's end"]
        and found.recomputed == 10
    )


def test_a_report_is_bounded(landed: World) -> None:
    put(landed.log, landed.schemas, 2, *range(100, 100 + 3 * MOST))
    landed.drain()
    held = table(landed)
    held.append([pa.RecordBatch.from_pylist([r for r in rows_in(held) if r[PARTITION] == 2], schema=held.schema)])
    assert len(report(landed).doubles) == MOST


def test_a_window_of_dedupe_has_an_end(world: World) -> None:
    """The same id again after the window is a row, for sink and proof alike."""
    short = stream("readings", Reading, key="who", partitions=3, dedupe_within=timedelta(minutes=1))
    binding = topic_of(world.log, world.schemas, short)
    for minute in (0, 0.5, 2):
        at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
        rows = readings(1, 2).append_column("_arrived_at", pa.array([at, at], pa.timestamp("us", tz="UTC")))
        world.log.append([Append("readings", 0, binding.schema_id, rows)])
        world.drain(of=short)
    found = verify(world.lake, world.log, short)
    assert found.ok and (found.rows, found.duplicates) == (4, 2)
    longer = verify(world.lake, world.log, READINGS)
    assert longer.ok and longer.not_recomputed == 6, "a window that was changed makes no broken table"
