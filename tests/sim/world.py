"""Clients, a log, a lake, sinks, updaters, retention, an operator and their accidents, in one process: the real rules over engines in memory.

A schedule is a list of steps, each a name and small numbers; a step that makes no sense where it stands does nothing, so any part of a schedule is
a schedule. `World.check` ends with everything healed and drained, and compares with the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
from memory_log import MemoryLog
from memory_rest import MemoryOnline, MemorySchemas
from memory_table import MemoryTables
from reference import Record, Window, expected

from millstream.declare.errors import Conflict, Damaged, Fenced, Full, MillstreamError, Transient, Truncated
from millstream.declare.event import ARRIVED_AT, EVENT_ID, OFFSET, PARTITION, TIMESTAMP
from millstream.declare.features import agg, features
from millstream.declare.stream import Stream, stream
from millstream.features.define import define
from millstream.features.events import events_of
from millstream.features.port import Apply
from millstream.features.state import PARTITION_BITS
from millstream.features.updater import Updater
from millstream.lake import aside, gaps, points, ruling
from millstream.lake.contract import Loose, Reading
from millstream.lake.dead import SET_ASIDE, dead_name
from millstream.lake.landing import SinkLimits
from millstream.lake.positions import app_id
from millstream.lake.ruling import Rule, stamp
from millstream.lake.sink import Sink
from millstream.lake.verify import verify
from millstream.log.avro import avro_schema
from millstream.log.envelope import topic_of
from millstream.log.port import RAW, RAW_SCHEMA_ID, Append

SECOND = 1_000_000
T0 = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * SECOND
PARTITIONS = 2
WINDOWS = (10, 4, 25)
"""Seconds; the first is what a schedule begins with."""


class Died(BaseException):
    """In the place of a killed process."""


class Wrong(AssertionError):
    """Something is not as the rules say."""


def things(window: int) -> Stream[Any]:
    return stream("things", Reading, key="who", partitions=PARTITIONS, dedupe_within=f"{window}s", lateness="5s", retention="20s")


STREAMS = {window: things(window) for window in WINDOWS}
COUNT = define(features("counted", STREAMS[WINDOWS[0]], key="who", windows=["1h"], aggregates={"n": agg.count()}), {})
Step = tuple[str, tuple[int, ...]]


@dataclass
class World:
    """All that outlives a process, and the processes."""

    now: int = T0
    window: int = WINDOWS[0]
    trouble: dict[str, list[BaseException]] = field(default_factory=dict)
    sinks: dict[int, Sink] = field(default_factory=dict)
    updaters: dict[int, Updater] = field(default_factory=dict)
    die_at: str = ""

    def __post_init__(self) -> None:
        self.log = MemoryLog(clock=lambda: self.now)
        self.schemas, self.tables, self.store = MemorySchemas(), MemoryTables(fault=self._fault), MemoryOnline()
        self.binding = topic_of(self.log, self.schemas, self.stream)
        self.loose = self.schemas.register("loose", avro_schema(Loose.__schema__), "none")
        self.records: list[list[Record]] = [[] for _ in range(PARTITIONS)]
        self.lost: list[set[int]] = [set() for _ in range(PARTITIONS)]
        self.aside: list[set[int]] = [set() for _ in range(PARTITIONS)]
        self.given_up: list[set[int]] = [set() for _ in range(PARTITIONS)]
        self.writers: list[Any] = []
        self.sent = 0

    @property
    def stream(self) -> Stream[Any]:
        return STREAMS[self.window]

    def run(self, steps: Sequence[Step]) -> None:
        """Take the steps, then check. Raises Wrong, or what no rule foresees."""
        end = points.watch(self._reached)
        try:
            for name, numbers in steps:
                getattr(self, name)(*numbers)
            self.check()
        finally:
            end()

    def _fault(self, point: str) -> None:
        waiting = self.trouble.get(point)
        if waiting:
            raise waiting.pop(0)

    def _reached(self, point: str) -> None:
        if point == self.die_at:
            self.die_at = ""
            raise Died(point)

    # -- clients and collectors ------------------------------------------------------------------------------------------

    def send(self, partition: int, *codes: int) -> None:
        """One append. A code says a record: id (of a few; 0 is none, 1 the empty one), how its arrival lies from now, and whether it is good."""
        self._append(self._batch(partition, codes))

    def pump(self, who: int, partition: int, *codes: int) -> None:
        """A fenced writer of a source commits; an older one of the same split must not."""
        if who == 0 or not self.writers:
            self.writers.append(self.log.writer("file"))
        writer = self.writers[min(who, len(self.writers)) - 1] if who else self.writers[-1]
        records, appends = self._batch(partition, codes)
        try:
            writer.commit(appends, str(self.sent))
        except Fenced:
            return
        if writer is not self.writers[-1]:
            raise Wrong("a writer that was taken over has written")
        self.records[partition] += records

    def _append(self, batch: tuple[list[Record], list[Append]]) -> None:
        records, appends = batch
        self.log.append(appends)
        self.records[appends[0].partition] += records

    def _batch(self, partition: int, codes: Sequence[int]) -> tuple[list[Record], list[Append]]:
        """Records of these codes, and as few appends as hold them in their order."""
        partition %= PARTITIONS
        records, appends = [], []
        for kind, group in groupby(codes, lambda code: min(code // 84 % 8, 2)):
            made = [self._record(code, good=kind == 2, raw=kind == 0) for code in group]
            records += made
            numbers, arrived = range(self.sent - len(made), self.sent), [record.arrived for record in made]
            if kind == 0:
                rows = pa.record_batch([pa.array([b"?"] * len(made)), pa.array(["no JSON"] * len(made)), pa.array([f"x:{n}" for n in numbers])], schema=RAW)
            else:
                rows = pa.record_batch({"who": pa.array(["w"] * len(made)), "n": pa.array([n if kind == 2 else None for n in numbers], pa.int64()),
                                        "ts": pa.array(arrived, TIMESTAMP), EVENT_ID: pa.array([record.id for record in made], pa.string()),
                                        ARRIVED_AT: pa.array(arrived, TIMESTAMP)})  # fmt: skip
            appends.append(Append("things", partition, (RAW_SCHEMA_ID, self.loose, self.binding.schema_id)[kind], rows))
        return records, appends

    def _record(self, code: int, good: bool, raw: bool) -> Record:
        self.sent += 1
        name, shift = code % 7, code // 7 % 12
        # Half live; else up to a minute of history, or a clock that runs ahead.
        arrived = self.now if raw or shift < 6 else self.now + (-3, -8, -11, -30, -60, 9)[shift - 6] * SECOND
        return Record(None if raw or name == 0 else "" if name == 1 else f"id{name}", arrived, good)

    # -- sinks -----------------------------------------------------------------------------------------------------------

    def sink(self, who: int, work: int, rows: int, die: int) -> None:
        """A sink reads, lands or drains, and may die on the way; it opens when it is not there."""
        who %= 2
        self.die_at = ("", "", "", "sink.read", "sink.quarantined", "sink.files", "sink.committed", "append.files")[die % 8]
        try:
            if who not in self.sinks:
                self.sinks[who] = Sink(self.log, self.schemas, self.tables, self.stream, limits=SinkLimits(rows=1 + rows % 9), clock=lambda: self.now / SECOND)
            sink = self.sinks[who]
            if work % 3 == 0:
                sink._read(timedelta(0))
            elif work % 3 == 1:
                sink._land()
            else:
                sink.step()
        except (Died, Transient, OSError, Conflict, Fenced, Truncated, Damaged):
            self.sinks.pop(who, None)
        finally:
            self.die_at = ""

    def kill(self, who: int) -> None:
        self.sinks.pop(who % 2, None)

    def store_fails(self, where: int, how: int, times: int) -> None:
        """The next calls fail: before anything, or after the commit is there."""
        error = (OSError(5, "I/O error"), Full("no space left"), OSError(28, "No space left on device"), Transient("no answer"))[how % 4]
        self.trouble.setdefault(("write", "land", "landed")[where % 3], []).extend([error] * (1 + times % 3))

    # -- updaters --------------------------------------------------------------------------------------------------------

    def update(self, who: int, work: int, after: int) -> None:
        """An updater takes a step, `after` seconds of its own clock later, and may be killed."""
        who %= 2
        try:
            if who not in self.updaters:
                self._fill()
                self.updaters[who] = Updater(self.log, self.schemas, self.store, [COUNT], self.stream, lake=self.tables, max_rows=3, **self._clocks())  # type: ignore[arg-type]
            updater = self.updaters[who]
            updater.step()
            if updater.forgotten or work % 4 == 0:
                del self.updaters[who]
        except (Truncated, Fenced, Damaged, Conflict, Transient, OSError):
            self.updaters.pop(who, None)
            self._let_go()

    def _clocks(self) -> dict[str, Any]:
        return {"clock": lambda: self.now / SECOND, "wall_us": lambda: self.now}

    def _let_go(self) -> None:
        """As `serve/updates.py`: what waits for records that the log has removed is filled again, unless the sink waits for them too."""
        stands = self.store.applied(COUNT.generation)
        if stands is None or gaps.find(self.log, self.tables, self.stream, damaged=False):
            return
        if any(stands.offsets.get(p, 0) < end.low for p, end in self.log.ends("things").items()):
            self.store.drop(COUNT.generation)

    def _fill(self) -> None:
        """As `features/fill.py`: from the table, at its positions."""
        if self.store.applied(COUNT.generation) is not None:
            return
        table = self.tables.table("things") if self.tables.exists("things") else None
        self.store.create(COUNT)
        self.store.activate(COUNT.generation, {}, 0, stamp(Rule.of(self.stream), table, self.binding.topic.uuid))
        if table is None:
            return
        for p in range(PARTITIONS):
            at = table.position(app_id(self.binding.topic, p)) or 0
            rows = list(table.scan(table.schema.names, where=pa.compute.field(PARTITION) == p))
            if at:
                held = events_of(COUNT, pa.concat_batches(rows) if rows else pa.RecordBatch.from_pylist([], schema=table.schema), p)
                self.store.apply([Apply(COUNT, p, 0, at, 0, held, self.store.held[COUNT.generation].ruling)])

    # -- time, upkeep and the operator -----------------------------------------------------------------------------------

    def tick(self, seconds: int) -> None:
        self.now += (1 + seconds % 15) * SECOND

    def maintain(self) -> None:
        before = self.log.ends("things")
        self.log.maintain()
        for p, end in self.log.ends("things").items():
            if end.low > before[p].low and end.low > self._stands(p):
                raise Wrong(f"retention removed [{before[p].low}, {end.low}) of partition {p}, and the table stands at {self._stands(p)}")

    def _stands(self, partition: int) -> int:
        return (self.tables.table("things").position(app_id(self.binding.topic, partition)) or 0) if self.tables.exists("things") else 0

    def redefine(self, to: int) -> None:
        """The project changes: what is opened from now on has another window."""
        self.window = WINDOWS[to % len(WINDOWS)]

    def lose(self, partition: int, many: int) -> None:
        """The log loses records from its beginning, whoever needs them: a disk, or a person."""
        partition %= PARTITIONS
        part = self.log.held.parts["things"][partition]
        upto = min(part.high, part.low + 1 + many % 4)
        self.lost[partition] |= set(range(part.low, upto))
        part.batches, part.low = [b for b in part.batches if b.end > upto], upto

    def damage(self, partition: int, which: int) -> None:
        """A stored batch cannot be read any more."""
        partition %= PARTITIONS
        batches = self.log.held.parts["things"][partition].batches
        if batches:
            batch = batches[which % len(batches)]
            batch.damaged = True
            self.lost[partition] |= set(range(batch.start, batch.end))

    def accept(self) -> None:
        found = gaps.find(self.log, self.tables, self.stream)
        if found:
            with suppress(Conflict, OSError, Transient):
                gaps.accept(self.log, self.tables, self.stream, found)

    def set_aside(self, partition: int, ahead: int) -> None:
        partition %= PARTITIONS
        offset = self._stands(partition) + ahead % 3
        try:
            aside.set_aside(self.log, self.tables, self.stream, partition, offset)
        except (MillstreamError, OSError):
            return

    def cut(self, many: int) -> None:
        """A power cut took the newest commits; the doctor says so to the log, and cuts. Nothing that the log has removed since can be among them."""
        if not self.tables.exists("things"):
            return
        self.sinks.clear()
        self.updaters.clear()
        commits = self.tables.held["things"].commits
        keep = max(1, len(commits) - 1 - many % 2)
        stands: dict[str, int] = {}
        for commit in commits[:keep]:
            stands.update(commit.txns)
        before = {p: stands.get(app_id(self.binding.topic, p), 0) for p in range(PARTITIONS)}
        ends = self.log.ends("things")
        if all(at >= ends[p].low for p, at in before.items()):
            self.lower(before)
            self.tables.cut("things", keep)
            self.trouble.clear()  # a doctor who fails comes again until all were told
            self.heard()

    def heard(self) -> None:
        ruling.amend(self.tables, self.binding.topic, "the table was cut back")

    def lower(self, before: dict[int, int]) -> None:
        self.log.retain("things", before=before)

    # -- the end ---------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Heal, drain, and compare with the reference."""
        self.trouble.clear()
        self.die_at = ""
        self.sinks.clear()
        self.updaters.clear()
        self._drain()
        found = verify(self.tables, self.log, self.stream)
        if not found.ok:
            raise Wrong(f"verify: {found.words()[:5]}")
        wanted = [self._expected(p) for p in range(PARTITIONS)]
        self._compare("rows", "things", [rows for rows, _, _ in wanted])
        self._compare("dead letters", dead_name("things"), [dead for _, dead, _ in wanted], self.given_up)
        if found.duplicates != sum(len(doubles) for _, _, doubles in wanted):
            raise Wrong(f"{found.duplicates} duplicates are counted, and there are {sum(len(d) for _, _, d in wanted)}")
        self._features([rows for rows, _, _ in wanted])

    def _drain(self) -> None:
        for _ in range(200):
            try:
                sink = Sink(self.log, self.schemas, self.tables, self.stream, clock=lambda: self.now / SECOND)
                sink.drain()
                return
            except (Truncated, Damaged):
                self.accept()
        raise Wrong("the stream is stuck")

    def _expected(self, partition: int) -> tuple[set[int], set[int], set[int]]:
        table = self.tables.table("things") if self.tables.exists("things") else None
        ruled = [m["ruling"] for m in table.metadata() if "ruling" in m] if table else []
        windows = [Window(0, WINDOWS[0] * SECOND), *(Window(r["first"][str(partition)], r["within_us"]) for r in ruled if "first" in r)]
        given_up = self.given_up[partition] = {o for r in (table.ranges() if table else []) if r.gap and r.partition == partition for o in range(*r.gap)}
        if given_up - self.lost[partition]:
            raise Wrong(f"partition {partition}: {sorted(given_up - self.lost[partition])} were given up, and the log had them")
        return expected(self.records[partition], windows, given_up, self._set_aside(partition))

    def _set_aside(self, partition: int) -> set[int]:
        """What operators set aside: the rulings that say so, and letters of those that a cut has taken away, which stand."""
        said = set(aside.asides(self.tables.table("things"), self.binding.topic, partition).tolist()) if self.tables.exists("things") else set()
        if self.tables.exists(dead_name("things")):
            for batch in self.tables.table(dead_name("things")).scan([PARTITION, OFFSET, "error"]):
                said |= {row[OFFSET] for row in batch.to_pylist() if row[PARTITION] == partition and row["error"] == SET_ASIDE}
        return said

    def _compare(self, what: str, name: str, wanted: Sequence[set[int]], beside: Sequence[set[int]] = ()) -> None:
        """`beside`: what may be there or not; a record that was judged before it was given up has its letter."""
        found: list[list[int]] = [[] for _ in range(PARTITIONS)]
        if self.tables.exists(name):
            for batch in self.tables.table(name).scan([PARTITION, OFFSET]):
                for p, offset in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
                    if not beside or offset not in beside[p]:
                        found[p].append(offset)
        for p in range(PARTITIONS):
            if sorted(found[p]) != sorted(wanted[p]):
                lost, more = sorted(wanted[p] - set(found[p])), sorted(set(found[p]) - wanted[p])
                doubled = sorted({o for o in found[p] if found[p].count(o) > 1})
                raise Wrong(f"{what} of partition {p}: lost {lost}, too many {more}, doubled {doubled}")

    def _features(self, wanted: Sequence[set[int]]) -> None:
        for _ in range(50):
            try:
                self._fill()
                updater = Updater(self.log, self.schemas, self.store, [COUNT], self.stream, lake=self.tables, max_rows=5, **self._clocks())  # type: ignore[arg-type]
                updater.drain()
                if not updater.forgotten:
                    break
            except (Truncated, Damaged):
                self._let_go()
                if self.store.applied(COUNT.generation) is not None:
                    self.store.drop(COUNT.generation)  # it waits for a record that is damaged behind the sink's back
        held = self.store.held.get(COUNT.generation)
        if held is None:
            raise Wrong("the features never become whole")
        if held.clock_us > self.now:
            raise Wrong(f"the clock of the features is {(held.clock_us - self.now) / SECOND} s ahead of the wall clock")
        ties = held.ties
        for p in range(PARTITIONS):
            counted = [tie & ((1 << PARTITION_BITS) - 1) for tie in ties if tie >> PARTITION_BITS == p]
            if sorted(counted) != sorted(wanted[p]):
                more = sorted(set(counted) - wanted[p])
                doubled = sorted({o for o in counted if counted.count(o) > 1})
                raise Wrong(f"features, partition {p}: lost {sorted(wanted[p] - set(counted))}, too many {more}, counted twice {doubled}")


ACTIONS: dict[str, tuple[int, Callable[[np.random.Generator], tuple[int, ...]]]] = {
    "send": (10, lambda r: (int(r.integers(0, 2)), *r.integers(0, 84 * 8, int(r.integers(1, 7))).tolist())),
    "pump": (3, lambda r: (int(r.integers(0, 4)), int(r.integers(0, 2)), *r.integers(0, 84 * 8, int(r.integers(1, 5))).tolist())),
    "sink": (14, lambda r: tuple(r.integers(0, 24, 4).tolist())),
    "update": (8, lambda r: tuple(r.integers(0, 24, 3).tolist())),
    "tick": (5, lambda r: (int(r.integers(0, 15)),)),
    "maintain": (4, lambda r: ()),
    "kill": (1, lambda r: (int(r.integers(0, 2)),)),
    "store_fails": (2, lambda r: tuple(r.integers(0, 12, 3).tolist())),
    "redefine": (1, lambda r: (int(r.integers(0, 3)),)),
    "lose": (1, lambda r: tuple(r.integers(0, 8, 2).tolist())),
    "damage": (1, lambda r: tuple(r.integers(0, 8, 2).tolist())),
    "accept": (1, lambda r: ()),
    "set_aside": (1, lambda r: tuple(r.integers(0, 8, 2).tolist())),
    "cut": (1, lambda r: (int(r.integers(0, 8)),)),
}
ODD = ("redefine", "lose", "damage", "accept", "set_aside", "cut", "store_fails")


def schedule(seed: int) -> list[Step]:
    """30 to 60 steps of two clients, two sinks and two updaters; in half of all the odd things happen more often."""
    random = np.random.default_rng(seed)
    weights = np.array([weight * (3 if name in ODD and seed % 2 else 1) for name, (weight, _) in ACTIONS.items()], float)
    names = random.choice(list(ACTIONS), int(random.integers(30, 61)), p=weights / weights.sum())
    return [(str(name), ACTIONS[str(name)][1](random)) for name in names]


def fails(steps: Sequence[Step]) -> str:
    """What is wrong with a schedule; "" when nothing is."""
    try:
        World().run(steps)
    except Exception as error:  # whatever no rule foresees is a finding
        return f"{type(error).__name__}: {error}"
    return ""


def shrunk(steps: Sequence[Step]) -> list[Step]:
    """A part of a failing schedule that still fails, from which no step can be taken."""
    held = list(steps)
    size = len(held) // 2
    while size:
        at = 0
        while at < len(held):
            fewer = held[:at] + held[at + size :]
            if fails(fewer):
                held = fewer
            else:
                at += size
        size //= 2
    return held


def shown(seed: int, steps: Sequence[Step], why: str) -> str:
    """A failing schedule for people: how to run it again, and its smallest part."""
    small = shrunk(steps)
    return f"schedule {seed}: {why}\nagain:  python tests/sim/simulate.py --seed {seed}\nsmallest part, {fails(small)}:\n" + "\n".join(
        f"    {name}{numbers}" for name, numbers in small
    )
