"""A declaration that a stream is complete: in a commit of its table, against sinks at work, and gone with the next
record.
"""

from __future__ import annotations

import pytest
from lake_actors import World

from millstream.base.errors import NotFound, UsageError
from millstream.declare.stream import stream
from millstream.lake import complete
from millstream.lake.contract import READINGS, Reading, put
from millstream.lake.lake import Lake
from millstream.lake.ruling import current
from millstream.lake.table import LakeTable
from millstream.lake.verify import verify

NOW = 1_800_000_000_000_000


def lake(world: World) -> Lake:
    return Lake(world.lake.files, now_us=lambda: NOW + 5)


def test_the_watermark_passes_to_the_declared_moment_and_back(world: World) -> None:
    put(world.log, world.schemas, 0, 1, 2)
    put(world.log, world.schemas, 1, 3)
    world.drain()
    before = lake(world).watermark(READINGS)
    assert before is not None and before < NOW
    complete.declare(world.log, world.lake, READINGS, NOW)
    table = world.lake.table("readings")
    assert table.metadata(table.version)["complete"]["upto_us"] == NOW
    assert lake(world).watermark(READINGS) == NOW, "without the lateness"
    assert complete.declared(table) == NOW and not complete.taken_back(table)
    assert verify(world.lake, world.log, READINGS).ok
    put(world.log, world.schemas, 2, 1)  # an old event, of a partition that had none
    world.drain()
    table = world.lake.table("readings")
    assert complete.declared(table) is None and complete.taken_back(table)
    assert lake(world).watermark(READINGS) == before
    complete.declare(world.log, world.lake, READINGS, NOW + 1)
    assert lake(world).watermark(READINGS) == NOW + 1


def test_no_watermark_passes_the_wall_clock(world: World) -> None:
    put(world.log, world.schemas, 0, 1)
    world.drain()
    complete.declare(world.log, world.lake, READINGS, NOW + 3_600_000_000)
    assert lake(world).watermark(READINGS) == NOW + 5


def test_what_waits_in_the_log_is_not_complete(world: World) -> None:
    put(world.log, world.schemas, 0, 1)
    world.drain()
    put(world.log, world.schemas, 1, 2, 3)
    with pytest.raises(
        UsageError, match='stream "readings" cannot be declared complete: 2 records of its log are not in the lake yet'
    ):
        complete.declare(world.log, world.lake, READINGS, NOW)
    with pytest.raises(NotFound, match='stream "other" has no topic'):
        complete.declare(world.log, world.lake, stream("other", Reading, key="who"), NOW)


def test_a_sink_that_commits_meanwhile_is_no_loser_and_the_declaration_looks_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(world.log, world.schemas, 0, 1)
    world.drain()
    whole, raced = LakeTable.land, list[int]()

    def land(self: LakeTable, *args: object, **options: object) -> int:
        if not raced and options.get("metadata", {}).get("by") == "complete":  # type: ignore[attr-defined]
            raced.append(1)
            put(world.log, world.schemas, 0, 2)
            world.drain()
        return whole(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(LakeTable, "land", land)
    complete.declare(world.log, world.lake, READINGS, NOW)
    table = world.lake.table("readings")
    assert raced and complete.declared(table) == NOW and table.rows() == 2
    topic = world.log.topic("readings")
    assert topic is not None and current(table, topic.uuid).number == 1, "it is not a ruling: no verdict changes"
