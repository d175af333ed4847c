"""Clients, doors, a log, a lake, sinks, updaters, retention, an operator and their accidents, in one process: the real
rules over engines in memory.

A schedule is a list of steps, each a name and small numbers; a step that makes no sense where it stands does nothing,
so any part of a schedule is a schedule. `World.check` ends with everything healed and drained, and compares with the
reference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
from machines import SLACK, Box, Wrong
from memory_log import MemoryLog, Slow, Stored
from memory_online import MemoryOnline
from memory_schemas import MemorySchemas
from memory_table import Late, MemoryTables
from reference import Record
from settled import settle
from things import (
    COUNT,
    LOOSE_KIND,
    PARTITIONS,
    RAW_KIND,
    SECOND,
    STREAMS,
    T0,
    WINDOWS,
    LooseThing,
    Sent,
    columns,
    made,
    raw,
)

from millstream.base import points
from millstream.base.errors import Conflict, Damaged, Fenced, Full, MillstreamError, Transient, Truncated
from millstream.base.event import ARRIVED_AT, EVENT_ID, PARTITION, TIMESTAMP
from millstream.declare.stream import Stream
from millstream.features.contract import filled
from millstream.features.events import events_of
from millstream.features.fill import current
from millstream.features.lift import schema
from millstream.features.updater import Updater
from millstream.lake import aside, gaps, ruling
from millstream.lake.dead import Quarantine
from millstream.lake.lake import Lake
from millstream.lake.landing import SinkLimits
from millstream.lake.positions import app_id
from millstream.lake.ruling import Rule, stamp
from millstream.lake.sink import Sink
from millstream.log import dedupe
from millstream.log.avro import avro_schema
from millstream.log.envelope import topic_of
from millstream.log.port import RAW_SCHEMA_ID, Append

Step = tuple[str, tuple[int, ...]]
DEATHS = ("", "", "", "sink.read", "sink.quarantined", "sink.files", "sink.committed", "append.files")
TROUBLE = ("write", "torn", "written", "land", "landed", "append", "appended", "retain", "poll", "apply", "applied")
# Made where they are raised: an exception that is raised again keeps what it went through, and with it whole worlds.
Fault = Callable[[], Exception]
BROKER: tuple[Fault, ...] = (lambda: Full("no space left"), lambda: Transient("no answer"))
DISK: tuple[Fault, ...] = (lambda: OSError(5, "I/O error"), lambda: OSError(28, "No space left on device"), *BROKER)


def hashes(ids: pa.Array) -> tuple[Any, Any]:
    """In the place of the hash of ids, which takes a tenth of a schedule: of a few rows a dictionary is quicker."""
    found = [hash(("id", one)) & 0xFFFFFFFFFFFFFFFF for one in ids.to_pylist()]
    made = np.array(found, np.uint64)
    return made, made


dedupe.hashes = hashes


class Died(BaseException):
    """In the place of a killed process."""


class SimTables(MemoryTables):
    """With the lake's watermark, by the simulator's clock."""

    def __init__(self, fault: Callable[[str], None], now_us: Callable[[], int]) -> None:
        super().__init__(fault=fault)
        self._now_us = now_us

    def _complete(self, table: Any) -> None: ...

    def watermark(self, stream: Stream[Any]) -> int | None:
        return Lake.watermark(self, stream)  # type: ignore[arg-type]


@dataclass
class World:
    """All that outlives a process, and the machines."""

    now: int = T0
    window: int = WINDOWS[0]
    trouble: dict[str, list[Fault]] = field(default_factory=dict)
    die_at: str = ""

    def __post_init__(self) -> None:
        self.log = MemoryLog(clock=lambda: self.now)
        self.schemas, self.tables, self.store = (
            MemorySchemas(),
            SimTables(self._fault, lambda: self.now),
            MemoryOnline(),
        )
        self.binding = topic_of(self.log, self.schemas, self.stream)
        self.loose = self.schemas.register("loose", avro_schema(LooseThing.__schema__), "none")
        self.records: list[list[Record]] = [[] for _ in range(PARTITIONS)]
        self.lost: list[set[int]] = [set() for _ in range(PARTITIONS)]
        self.given_up: list[set[int]] = [set() for _ in range(PARTITIONS)]
        self.sent: list[Sent] = []
        self.lines: list[Sent] = []
        self.writers: list[Any] = []
        self.released: dict[str, int] = {}
        self.newest: list[tuple[int, int | None]] = [(self.now, None)]
        """When the log's newest append that is not released changed, and to what."""
        self.latest_us = self.now
        """The latest that the wall clock of a machine has shown to an updater."""
        self.boxes = [Box(self, fault=self._fault) for _ in range(2)]

    @property
    def stream(self) -> Stream[Any]:
        return STREAMS[self.window]

    def run(self, steps: Sequence[Step]) -> None:
        """Take the steps, then check. Raises Wrong, or what no rule foresees."""
        end = points.watch(self._reached)
        try:
            for name, numbers in steps:
                getattr(self, name)(*numbers)
                self._look()
            settle(self)
        finally:
            end()

    def box(self, who: int) -> Box:
        return self.boxes[who % 2]

    def _fault(self, point: str) -> None:
        waiting = self.trouble.get(point)
        if waiting:
            raise waiting.pop(0)()

    def _reached(self, point: str) -> None:
        if point == self.die_at:
            self.die_at = ""
            raise Died(point)

    def _look(self) -> None:
        """What a door may know."""
        newest = self.log.newest("things")
        newest = None if newest is None or newest <= self.released.get("things", 0) else newest
        if newest != self.newest[-1][1]:
            self.newest.append((self.now, newest))

    # -- clients, doors and writers that have none
    # -----------------------------------------------------------------------

    def post(self, who: int, replay: int, *codes: int) -> None:
        """A request to the HTTP door of a machine."""
        self.box(who).post([self._made(code, code // 7 % PARTITIONS) for code in codes], bool(replay % 2))

    def write(self, *codes: int) -> None:
        """A file grows."""
        self.lines += [self._made(code, code // 7 % PARTITIONS) for code in codes]

    def read(self, who: int) -> None:
        """A machine reads the file."""
        self.box(who).read(self.lines)

    def send(self, partition: int, *codes: int) -> None:
        """A writer that knows no door, in another language: it appends whatever it has."""
        self.log.append(self._appends(partition, codes))
        self.noted(True)

    def commit(self, who: int, partition: int, *codes: int) -> None:
        """A fenced writer of a source commits; an older one of the same split must not."""
        if who == 0 or not self.writers:
            self.writers.append(self.log.writer("file"))
        writer = self.writers[min(who, len(self.writers)) - 1] if who else self.writers[-1]
        try:
            writer.commit(self._appends(partition, codes), str(len(self.sent)))
        except Fenced:
            return
        if writer is not self.writers[-1]:
            raise Wrong("a writer that was taken over has written")
        self.noted(True)

    def _made(self, code: int, partition: int) -> Sent:
        self.sent.append(made(len(self.sent), code, partition, self.now))
        return self.sent[-1]

    def _appends(self, partition: int, codes: Sequence[int]) -> list[Append]:
        """As few appends as hold things of these codes in their order."""
        partition %= PARTITIONS
        appends = []
        for kind, group in groupby(codes, lambda code: min(code // 84 % 8, 2)):
            sent = [self._made(code, partition) for code in group]
            if kind == RAW_KIND:
                rows = raw(sent)
            else:
                ids, arrived = (
                    pa.array([one.id for one in sent], pa.string()),
                    pa.array([self._arrived(one, True, self.now) for one in sent], TIMESTAMP),
                )
                tags = {"tag": pa.array([str(one.number) for one in sent])} if kind == LOOSE_KIND else {}
                rows = pa.record_batch({**columns(sent), **tags, EVENT_ID: ids, ARRIVED_AT: arrived})
            appends.append(Append("things", partition, (RAW_SCHEMA_ID, self.loose, self.binding.schema_id)[kind], rows))
        return appends

    def _arrived(self, one: Sent, replay: bool, stamp_us: int) -> int:
        return stamp_us if not replay else one.happened if one.known is None else one.known

    def noted(self, replay: bool) -> list[tuple[Sent, bool]]:
        """Take down what is new in the log, as the reference will want it: the things, and whether each is there as a
        bad record.

        Args:
            replay: Things come with their own arrival.
        """
        found = list[tuple[Sent, bool]]()
        for p, part in enumerate(self.log.held.parts["things"]):
            for batch in part.batches:
                if batch.start < len(self.records[p]):
                    continue
                for one, dead in self._read_back(batch):
                    arrived = (
                        batch.at_us if batch.schema_id == RAW_SCHEMA_ID else self._arrived(one, replay, batch.at_us)
                    )
                    self.records[p].append(Record(one.id, arrived, not dead, one.happened, one.number, one.who))
                    found.append((one, dead))
        self._look()
        return found

    def _read_back(self, batch: Stored) -> list[tuple[Sent, bool]]:
        if batch.schema_id == RAW_SCHEMA_ID:
            return [(self.sent[json.loads(text)["n"]], True) for text in batch.rows.column("raw").to_pylist()]
        if batch.schema_id == self.loose:
            return [(self.sent[int(number)], True) for number in batch.rows.column("tag").to_pylist()]
        return [(self.sent[number], False) for number in batch.rows.column("n").to_pylist()]

    # -- sinks
    # -----------------------------------------------------------------------------------------------------------

    def sink(self, who: int, work: int, rows: int, die: int) -> None:
        """A sink reads, lands or drains, and may die on the way; it opens when it is not there."""
        box, self.die_at = self.box(who), DEATHS[die % len(DEATHS)]
        try:
            if box.sink is None:
                box.sink = Sink(
                    box.log,
                    self.schemas,
                    self.tables,
                    self.stream,
                    limits=SinkLimits(rows=1 + rows % 9),
                    clock=lambda: self.now / SECOND,
                )
            if work % 3 == 0:
                box.sink._read(timedelta(0))
            elif work % 3 == 1:
                box.sink._land()
            else:
                box.sink.step()
        except (Died, Transient, OSError, Conflict, Fenced, Truncated, Damaged):
            box.sink = None
        finally:
            self.die_at = ""

    def kill(self, who: int) -> None:
        self.box(who).kill()

    def store_fails(self, where: int, how: int, times: int) -> None:
        """The next calls fail: before anything, in the middle, or after the commit is there; or they are slow."""
        point = TROUBLE[where % len(TROUBLE)]
        errors: Sequence[Fault] = DISK if where % len(TROUBLE) < 5 else BROKER
        error = Slow if point == "poll" and how % 2 else errors[how % len(errors)]
        self.trouble.setdefault(point, []).extend([error] * (1 + times % 3))

    def late(self) -> None:
        """What a slow disk had under way is there now; when nothing is, the next commit will be."""
        if any(held.late for held in self.tables.held.values()):
            self.tables.arrive()
        else:
            self.trouble.setdefault("land", []).append(lambda: Late("no answer yet"))

    # -- updaters
    # --------------------------------------------------------------------------------------------------------

    def update(self, who: int, work: int, after: int) -> None:
        """An updater takes a step, and may be killed."""
        self.move(self.box(who), kill=work % 4 == 0, die=after % 8 == 0)

    def move(self, box: Box, *, kill: bool = False, die: bool = False) -> None:
        try:
            box.let_go()
            if box.updater is None:
                self.latest_us = max(self.latest_us, box.wall())
                if not current(self.tables, box.store, COUNT, self.stream) and not self.fill(box, die):
                    return
                box.updater = Updater(
                    box.log,
                    self.schemas,
                    box.store,
                    [COUNT],
                    self.stream,
                    lake=self.tables,
                    max_rows=3,
                    clock=lambda: self.now / SECOND,
                    wall_us=box.wall,
                    beyond_us=box.updates._beyond_us([COUNT]),
                )
            self.latest_us = max(self.latest_us, box.wall())
            box.updater.step()
            if box.updater.forgotten or box.updater.beyond or kill:
                box.updater = None
        except (Truncated, Fenced, Damaged, Conflict, Transient, OSError) as error:
            box.updater = None
            if isinstance(error, Truncated) and not gaps.find(self.log, self.tables, self.stream, damaged=False):
                box.updates._fill_behind("things", [COUNT])

    def fill(self, box: Box, die: bool = False) -> bool:
        """As `features/fill.py`: from the table, at its positions; False when the filler died before it was whole. What
        answers until then stays.
        """
        table = self.tables.table("things") if self.tables.exists("things") else None
        rows = list(table.scan(table.schema.names)) if table is not None else []
        events = [
            events_of(COUNT, batch.filter(pa.compute.field(PARTITION) == p), p)
            for batch in rows
            for p in range(PARTITIONS)
        ]
        together = pa.Table.from_batches(events, schema(COUNT)).combine_chunks().to_batches()
        box.store.load(
            COUNT, *filled(COUNT, together[0] if together else pa.RecordBatch.from_pylist([], schema(COUNT)))
        )
        if die:
            box.kill()
            return False
        arrived = max((at for batch in rows for at in batch.column(ARRIVED_AT).cast(pa.int64()).to_pylist()), default=0)
        offsets = {
            p: at
            for p in range(PARTITIONS)
            if table is not None and (at := table.position(app_id(self.binding.topic, p)))
        }
        box.store.activate(
            COUNT.generation,
            offsets,
            self.capped(max(0, arrived), box),
            stamp(Rule.of(self.stream), table, self.binding.topic.uuid),
        )
        return True

    def capped(self, clock_us: int, box: Box) -> int:
        return min(clock_us, box.wall())

    # -- time, upkeep and the operator
    # -----------------------------------------------------------------------------------

    def tick(self, seconds: int) -> None:
        self.now += (1 + seconds % 15) * SECOND if seconds < 90 else 61 * SECOND

    def clock(self, who: int, to: int, again: int) -> None:
        """Somebody sets the wall clock of a machine."""
        self.box(who).set(to, bool(again % 2))

    def release(self) -> None:
        """As `doctor --release`: the newest append lies ahead of a clock that is right, so its own was wrong."""
        newest = self.log.newest("things")
        if newest is not None and newest - self.now > SLACK:
            self.released["things"] = newest

    def maintain(self, who: int = 0) -> None:
        before = self.log.ends("things")
        self.box(who).log.maintain()
        for p, end in self.log.ends("things").items():
            if end.low > before[p].low and end.low > self.stands(p):
                raise Wrong(
                    f"retention removed [{before[p].low}, {end.low}) of partition {p}, and the table stands at"
                    f" {self.stands(p)}"
                )

    def stands(self, partition: int) -> int:
        return (
            (self.tables.table("things").position(app_id(self.binding.topic, partition)) or 0)
            if self.tables.exists("things")
            else 0
        )

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
        offset = self.stands(partition) + ahead % 3
        try:
            aside.set_aside(self.log, self.tables, self.stream, partition, offset)
        except (MillstreamError, OSError):
            return

    def cut(self, many: int) -> None:
        """A power cut took the newest commits; the doctor says so to the log, and cuts. Nothing that the log has
        removed since can be among them.
        """
        if not self.tables.exists("things"):
            return
        for box in self.boxes:
            box.kill()
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
            self.claim()
            self.heard()

    def claim(self) -> None:
        Quarantine(self.tables, "things", self.binding.topic.uuid).claim(self.binding.topic)

    def heard(self) -> None:
        ruling.amend(self.tables, self.binding.topic, "the table was cut back")

    def lower(self, before: Mapping[int, int]) -> None:
        self.log.retain("things", before=before)
