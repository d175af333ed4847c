"""One random log with everything that makes verdicts hard, on real engines; every consumer of it beside the reference
of the simulator.

Arrivals run backwards and reach months back, ids repeat within and beyond the window, some records are dead; the window
changes on the way, records are set aside, some are lost and given up; sinks of every kind take turns in the middle of
batches, and so does the feature updater.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from reference import Record, Window, expected

from millstream.base.errors import Truncated
from millstream.base.event import ARRIVED_AT, EVENT_ID, OFFSET, PARTITION, TIMESTAMP
from millstream.base.registry import engine
from millstream.declare.features import agg, features
from millstream.declare.stream import Stream, stream
from millstream.engines.sqlite.online import SqliteOnline
from millstream.features.define import define
from millstream.features.fill import current, fill
from millstream.features.keys import encode
from millstream.features.updater import Updater
from millstream.lake import aside, gaps, ruling
from millstream.lake.contract import Loose, Reading
from millstream.lake.dead import dead_name
from millstream.lake.lake import Lake
from millstream.lake.port import Files
from millstream.lake.positions import app_id
from millstream.lake.verify import verify
from millstream.log.avro import avro_schema
from millstream.log.envelope import topic_of
from millstream.log.port import RAW, RAW_SCHEMA_ID, Append, Log, Schemas

SECOND = 1_000_000
NOW = 1_767_225_600 * SECOND
"""The first of January 2026: no arrival is later."""
PARTITIONS = 2
WINDOWS = (600, 60, 7200)
"""Seconds; the first is what a world begins with."""


def things(window: int) -> Stream[Any]:
    return stream("things", Reading, key="who", partitions=PARTITIONS, dedupe_within=f"{window}s", lateness="5s")


STREAMS = {window: things(window) for window in WINDOWS}
COUNT = define(features("counted", STREAMS[WINDOWS[0]], key="who", windows=["1h"], aggregates={"n": agg.count()}), {})


@dataclass
class RulesWorld:
    """A log, a lake, features, and the kinds of sinks that take turns.

    Attributes:
        sinks: Kind -> a sink of (stream, rows a batch), with `drain` and `close`.
        lose: Removes a partition's records below an offset, whoever needs them, and maybe some more.
    """

    log: Log
    schemas: Schemas
    files: Files
    folder: Path
    sinks: Mapping[str, Callable[[Stream[Any], int], Any]]
    lose: Callable[[int, int], None]
    random: random.Random
    window: int = WINDOWS[0]
    sent: int = 0
    given_up: list[set[int]] = field(default_factory=lambda: [set() for _ in range(PARTITIONS)])
    aside: list[set[int]] = field(default_factory=lambda: [set() for _ in range(PARTITIONS)])
    records: list[list[Record]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])

    def __post_init__(self) -> None:
        self.lake = Lake(self.files)
        self.binding = topic_of(self.log, self.schemas, self.stream)
        self.loose = self.schemas.register("loose", avro_schema(Loose.__schema__), "none")
        self.sql = engine("sql", "duckdb")("duckdb:?threads=1", self.folder / "scratch")
        self.store = SqliteOnline(f"sqlite:{self.folder}/online.db")

    def close(self) -> None:
        self.sql.close()
        self.store.close()

    @property
    def stream(self) -> Stream[Any]:
        return STREAMS[self.window]

    # -- what happens
    # ----------------------------------------------------------------------------------------------------

    def play(self, turns: int) -> None:
        """So many turns of everybody, in an order that the seed decides."""
        for turn in range(turns):
            for partition in range(PARTITIONS):
                for _ in range(self.random.randrange(1, 4)):
                    self.send(partition, self.random.randrange(1, 40))
            self.update()
            self.random.choice([self.land, self.land, self.land, self.redefine, self.set_aside, self.give_up])()
            if turn % 2:
                self.land()

    def send(self, partition: int, many: int) -> None:
        kind = self.random.choice(["good"] * 8 + ["loose", "raw"])
        records = [self._record(kind) for _ in range(many)]
        numbers, arrived = range(self.sent, self.sent + many), [record.arrived for record in records]
        self.sent += many
        if kind == "raw":
            rows = pa.record_batch(
                [pa.array([b"?"] * many), pa.array(["no JSON"] * many), pa.array([f"x:{n}" for n in numbers])],
                schema=RAW,
            )
        else:
            rows = pa.record_batch(
                {
                    "who": pa.array(["w"] * many),
                    "n": pa.array([n if kind == "good" else None for n in numbers], pa.int64()),
                    "ts": pa.array([NOW - SECOND - n for n in numbers], TIMESTAMP),
                    EVENT_ID: pa.array([record.id for record in records], pa.string()),
                    ARRIVED_AT: pa.array(arrived, TIMESTAMP),
                }
            )
        schema = {"raw": RAW_SCHEMA_ID, "loose": self.loose, "good": self.binding.schema_id}[kind]
        self.log.append([Append("things", partition, schema, rows)])
        self.records[partition] += records

    def _record(self, kind: str) -> Record:
        name = self.random.choice([None, "", *(f"id{n}" for n in range(40))])
        back = self.random.choice(
            [self.random.randrange(60), self.random.randrange(8_000), self.random.randrange(200 * 86_400)]
        )
        return Record(None if kind == "raw" else name, NOW - back * SECOND, kind == "good")

    def land(self) -> None:
        """A sink of some kind takes over and lands all there is, in batches of some size."""
        kind = self.random.choice(sorted(self.sinks))
        sink = self.sinks[kind](self.stream, self.random.choice([7, 50, 1_000]))
        try:
            sink.drain()
        finally:
            sink.close()

    def update(self) -> None:
        """An updater takes over and takes a few steps: it is ahead of the sink, or behind it."""
        self._fill()
        updater = Updater(
            self.log,
            self.schemas,
            self.store,
            [COUNT],
            self.stream,
            lake=self.lake,
            max_rows=self.random.choice([5, 40]),
        )
        try:
            for _ in range(self.random.randrange(8)):
                updater.step()
        finally:
            updater.close()

    def _fill(self) -> None:
        """As `serve/updates.py`: what was never filled, and what counted by rules that no longer hold."""
        if self.lake.exists("things") and not current(self.lake, self.store, COUNT, self.stream):
            fill(self.sql, self.lake, self.store, COUNT, self.stream)

    def redefine(self) -> None:
        """The project changes; whoever comes first says so, sink or updater."""
        self.window = self.random.choice(WINDOWS)

    def set_aside(self) -> None:
        """An operator takes the record at which the sink stands, or one after it, out."""
        partition = self.random.randrange(PARTITIONS)
        offset = self._stands(partition) + self.random.randrange(3)
        if self.lake.exists("things") and offset < len(self.records[partition]):
            aside.set_aside(self.log, self.lake, self.stream, partition, offset)
            self.aside[partition].add(offset)

    def give_up(self) -> None:
        """The log loses some records that the sink does not have yet; it stops there, and the operator gives
        them up.
        """
        partition = self.random.randrange(PARTITIONS)
        stands = self._stands(partition)
        upto = stands + self.random.randrange(1, 5)
        if upto >= len(self.records[partition]):
            return
        self.lose(partition, upto)
        low = self.log.ends("things")[partition].low
        try:
            self.land()
        except Truncated as error:
            assert "--accept-loss things" in str(error)
        found = gaps.find(self.log, self.lake, self.stream)
        assert [(g.partition, g.start, g.end) for g in found] == [(partition, self._stands(partition), low)]
        gaps.accept(self.log, self.lake, self.stream, found)
        self.given_up[partition] |= set(range(found[0].start, found[0].end))
        stood = self.store.applied(COUNT.generation)
        if stood is not None and stood.offsets.get(partition, 0) < low:
            fill(self.sql, self.lake, self.store, COUNT, self.stream)

    def _stands(self, partition: int) -> int:
        return (
            (self.lake.table("things").position(app_id(self.binding.topic, partition)) or 0)
            if self.lake.exists("things")
            else 0
        )

    # -- what must be true
    # -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """All that was sent is a row, a dead letter, a duplicate or given up, by the reference; `verify` and the
        features agree.
        """
        self.land()
        wanted = [self._expected(p) for p in range(PARTITIONS)]
        assert self._offsets("things") == [sorted(rows) for rows, _, _ in wanted]
        assert self._offsets(dead_name("things")) == [sorted(dead) for _, dead, _ in wanted]
        report = verify(self.lake, self.log, self.stream)
        assert report.ok, report.words()
        assert report.duplicates == sum(len(doubles) for _, _, doubles in wanted)
        counted = self._counted()
        assert counted == sum(len(rows) for rows, _, _ in wanted)

    def _expected(self, partition: int) -> tuple[set[int], set[int], set[int]]:
        metadata = [
            self.lake.table("things").metadata(version) for version in range(self.lake.table("things").version + 1)
        ]
        ruled = [told for one in metadata if (told := one.get("ruling")) is not None and "first" in told]
        windows = [
            Window(0, WINDOWS[0] * SECOND),
            *(Window(told["first"][str(partition)], told["within_us"]) for told in ruled),
        ]
        return expected(self.records[partition], windows, self.given_up[partition], self.aside[partition])

    def _offsets(self, name: str) -> Sequence[list[int]]:
        found: list[list[int]] = [[] for _ in range(PARTITIONS)]
        if self.lake.exists(name):
            for batch in self.lake.table(name).scan([PARTITION, OFFSET]):
                for partition, offset in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
                    found[partition].append(offset)
        return [sorted(offsets) for offsets in found]

    def _counted(self) -> Any:
        for _ in range(3):
            self._fill()
            updater = Updater(self.log, self.schemas, self.store, [COUNT], self.stream, lake=self.lake, max_rows=40)
            try:
                updater.drain()
            finally:
                updater.close()
            stands = self.store.applied(COUNT.generation)
            if stands is not None and stands.ruling == ruling.stamp(
                ruling.Rule.of(self.stream), self.lake.table("things"), self.binding.topic.uuid
            ):
                break
        (found,) = self.store.lookup(COUNT, [encode(("w",))], [NOW])
        return found.values["n_1h"]
