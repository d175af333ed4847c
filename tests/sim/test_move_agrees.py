"""Rows too far ahead, moved to the dead letters, beside a model in which they were dead letters from the start: any
order, any batches, killed anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import reference
import settled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from machines import Box
from things import NAMES, PARTITIONS, SECOND, T0, WINDOWS
from world import Died
from world import World as Simulated

from millstream.base.event import ARRIVED_AT, EVENT_ID, LATE, OFFSET, PARTITION, TIMESTAMP
from millstream.lake.dead import MOVED, dead_name
from millstream.lake.far import look
from millstream.lake.landing import SinkLimits
from millstream.lake.move import move, open_bound
from millstream.lake.positions import NEVER, app_id, time_id
from millstream.lake.sink import Sink
from millstream.lake.verify import verify
from millstream.log.port import Append

LATEST = T0 + 3600 * SECOND
FAR = T0 + 10**9 * SECOND
LATENESS = 5 * SECOND


@dataclass(frozen=True)
class Record:
    id: str | None
    arrived: int
    time: int
    good: bool

    @property
    def far(self) -> bool:
        return max(self.arrived, self.time) > LATEST


@dataclass
class Model:
    """What must be where, one record after the other. Moves: up to which offset each found the table, and from which on
    the log.
    """

    log: Sequence[Record]
    windows: Sequence[tuple[int, int]]
    moves: Sequence[tuple[int, int]] = ()
    verdicts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for below, low in self.moves:
            self.judge(0, below)
            held = [("dead" if v == "row" and self.log[o].far else v) for o, v in enumerate(self.verdicts)]
            self.verdicts = held[:low]
            self.judge(low, below, moved=True, letters={o for o, v in enumerate(held) if v == "dead"})
        self.judge(0, len(self.log))

    def judge(self, start: int, end: int, moved: bool = False, letters: Collection[int] = ()) -> None:
        """Offsets up to `end` that have no verdict yet, and none from before `start`."""
        for offset in range(max(start, len(self.verdicts)), end):
            record = self.log[offset]
            within = [window for first, window in self.windows if first <= offset][-1] * SECOND
            kept = [other for other, verdict in zip(self.log, self.verdicts, strict=False) if verdict == "row"]
            if not record.good or offset in letters:
                self.verdicts.append("dead")
            elif record.id and any(
                record.id == other.id and abs(record.arrived - other.arrived) <= within for other in kept
            ):
                self.verdicts.append("duplicate")
            else:
                self.verdicts.append("dead" if moved and record.far else "row")

    def all(self, verdict: str) -> list[int]:
        return [offset for offset, found in enumerate(self.verdicts) if found == verdict]

    def late(self) -> tuple[list[int], int]:
        """Rows that are late, and the newest time."""
        newest, late = NEVER, []
        for offset in self.all("row"):
            if (
                self.log[offset].time < newest - LATENESS
                and self.log[offset].arrived > self.log[offset].time + LATENESS
            ):
                late.append(offset)
            newest = max(newest, min(self.log[offset].time, self.log[offset].arrived))
        return late, newest


class World(Simulated):
    """The simulator's processes, with records that lie too far ahead and a doctor who moves them."""

    left = -1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sent_to: list[list[Record]] = [[] for _ in range(PARTITIONS)]
        self.moves: list[list[tuple[int, int]]] = [[] for _ in range(PARTITIONS)]
        self.seen = 0

    def _fault(self, point: str) -> None:
        self.left -= 1
        if self.left == 0:
            raise Died

    def append(self, partition: int, records: Sequence[Record]) -> None:
        for at, record in enumerate(records, len(self.sent_to[partition])):
            rows = pa.record_batch(
                {
                    "who": pa.array(NAMES[partition][:1]),
                    "n": pa.array([at if record.good else None], pa.int64()),
                    "known": pa.array([None], TIMESTAMP),
                    "ts": pa.array([record.time], TIMESTAMP),
                    EVENT_ID: pa.array([record.id], pa.string()),
                    ARRIVED_AT: pa.array([record.arrived], TIMESTAMP),
                }
            )
            self.log.append([Append("things", partition, self.binding.schema_id if record.good else self.loose, rows)])
        self.sent_to[partition] += records

    def drain(self, rows: int) -> None:
        Sink(self.log, self.schemas, self.tables, self.stream, limits=SinkLimits(rows=rows), clock=lambda: 0.0).drain()

    def repair(self, left: int = -1) -> None:
        """Move what lies too far ahead; killed at the `left`th call of the store."""
        self.left = left
        try:
            if self.tables.exists("things"):
                move(self.log, self.tables, self.stream, LATEST)
        finally:
            self.left = -1
            self.note()

    def note(self) -> None:
        """Where table and log stood at a commit that moved rows, which may have landed without an answer."""
        if self.tables.exists("things"):
            commits = self.tables.held["things"].commits
            for commit in commits[self.seen :]:
                if commit.metadata.get("by") == "move" and "ruling" in commit.metadata:
                    for p in range(PARTITIONS):
                        self.moves[p].append(
                            (commit.txns[app_id(self.binding.topic, p)], self.log.ends("things")[p].low)
                        )
            self.seen = len(commits)

    def forget(self, many: int) -> None:
        """Retention removes records that are written."""
        for p, part in enumerate(self.log.held.parts["things"]):
            stands = (
                (self.tables.table("things").position(app_id(self.binding.topic, p)) or 0)
                if self.tables.exists("things")
                else 0
            )
            part.low = max(part.low, min(part.low + many, stands))
            part.batches = [batch for batch in part.batches if batch.end > part.low]

    # -- what is there

    def check(self) -> None:
        for box in self.boxes:
            box.kill()
        report = verify(self.tables, self.log, self.stream)
        assert report.ok, report.words()
        assert report.records == sum(map(len, self.sent_to)) == report.rows + report.dead + report.duplicates
        table = self.tables.table("things")
        ruled = [m["ruling"] for m in table.metadata() if "first" in m.get("ruling", {})]
        kept = list[list[reference.Record]]()
        for p, records in enumerate(self.sent_to):
            model = Model(
                records,
                [(0, WINDOWS[0]), *((r["first"][str(p)], r["within_us"] // SECOND) for r in ruled)],
                self.moves[p],
            )
            rows = [
                row
                for batch in table.scan([PARTITION, OFFSET, LATE])
                for row in batch.to_pylist()
                if row[PARTITION] == p
            ]
            assert [row[OFFSET] for row in rows] == model.all("row"), "in the order of the log, each once"
            assert self.letters(p) == model.all("dead")
            assert (
                [row[OFFSET] for row in rows if row[LATE]],
                table.position(time_id(self.binding.topic, p)) or NEVER,
            ) == model.late()
            kept.append(
                [
                    reference.Record(records[at].id, records[at].arrived, True, records[at].time, at, NAMES[p][0])
                    for at in model.all("row")
                ]
            )
            stood = max((below for below, _ in self.moves[p]), default=0)
            assert not any(records[row[OFFSET]].far for row in rows if row[OFFSET] < stood)
        settled._features(self, Box(self), kept)

    def letters(self, partition: int) -> list[int]:
        held = (
            self.tables.table(dead_name("things")).scan([PARTITION, OFFSET])
            if self.tables.exists(dead_name("things"))
            else []
        )
        return sorted(row[OFFSET] for batch in held for row in batch.to_pylist() if row[PARTITION] == partition)


def record(id: int, arrived: int, behind: int, kind: int) -> Record:
    """Kinds: three of four are as they should be."""
    time = T0 + (arrived - behind) * SECOND
    return Record(
        f"id{id}" if id else None,
        FAR if kind in (1, 3) else T0 + arrived * SECOND,
        FAR + arrived if kind in (2, 3) else time,
        kind != 4,
    )


RECORDS = st.lists(
    st.builds(
        record,
        st.sampled_from([1, 1, 1, 2, 0]),
        st.integers(0, 30),
        st.integers(0, 12),
        st.sampled_from([0, 0, 0, 0, 0, 0, 1, 2, 2, 3, 4]),
    ),
    max_size=8,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, PARTITIONS - 1), RECORDS),
        st.tuples(st.just("drain"), st.integers(1, 6), st.none()),
        st.tuples(st.just("sink"), st.integers(0, 5), st.none()),
        st.tuples(st.just("update"), st.integers(0, 7), st.none()),
        st.tuples(st.just("forget"), st.integers(1, 6), st.none()),
        st.tuples(st.just("window"), st.sampled_from(WINDOWS), st.none()),
    ),
    max_size=10,
)


def run(world: World, steps: Sequence[tuple[str, int, Any]]) -> None:
    for name, number, records in steps:
        if name == "send":
            world.append(number, records)
        elif name == "drain":
            world.drain(number)
        elif name == "forget":
            world.forget(number)
        elif name == "sink":
            world.sink(number % 2, number // 2, 2, 0)
        elif name == "update":
            world.update(number % 2, number // 2, 0)
        else:
            world.window = number


@settings(max_examples=int(os.environ.get("MOVES", 300)), deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS, st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=3), STEPS)
def test_it_is_as_if_they_had_been_dead_letters_from_the_start(
    before: Any, kills: Sequence[tuple[int, bool]], after: Any
) -> None:
    world = World()
    run(world, before)
    for left, sink in kills:
        with suppress(Died):
            world.repair(left)
        if sink:
            world.sink(0, 2, 2, 0)
            world.drain(3)
            world.update(0, 1, 0)
    world.repair()
    run(world, after)
    world.drain(4)
    world.check()
    assert open_bound(world.tables.table("things"), world.binding.topic) is None
    world.repair()
    assert look(world.tables.table("things"), world.stream, LATEST) is None
    world.check()
    stands = world.tables.table("things").version
    world.repair()
    assert world.tables.table("things").version == stands, "a second one finds nothing"


def test_the_model_can_fail() -> None:
    """What was dropped for the sake of a moved row must be found again, or the comparison is worth nothing."""
    records = [record(1, 5, 0, 2), record(1, 9, 0, 0), record(1, 17, 0, 0), record(1, 20, 0, 0)]
    before, after, lost = (Model(records, [(0, 10)], moves) for moves in ([], [(4, 0)], [(4, 2)]))
    assert (before.all("row"), before.all("duplicate")) == ([0, 2], [1, 3])
    assert (after.all("row"), after.all("duplicate"), after.all("dead")) == ([1, 3], [2], [0])
    assert (lost.all("row"), lost.all("duplicate"), lost.all("dead")) == ([2], [1, 3], [0])
    world = World()
    world.append(0, records)
    world.drain(2)
    world.check()
    world.repair()
    world.check()
    letters = [
        row["error"] for batch in world.tables.table(dead_name("things")).scan(["error"]) for row in batch.to_pylist()
    ]
    assert len(letters) == 1 and letters[0].startswith(f'{MOVED}: event time "ts" is 2057-')
