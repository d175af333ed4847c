"""Faults planted in the rules, one at a time: each was there once, or is a step away. The simulator must find
them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import planted_time
import pyarrow as pa
import pytest
import world
from memory_log import MemoryLog

from millstream.base.errors import Conflict, Transient
from millstream.features import updater
from millstream.lake import aside, batch, gaps, landing, lineage, ruling
from millstream.lake import judge as judging
from millstream.lake.batch import Batcher
from millstream.lake.dead import Quarantine
from millstream.lake.landing import Landing
from millstream.lake.positions import app_id
from millstream.lake.sink import Sink
from millstream.log import retention
from millstream.log.dedupe import NEVER, Deduper

Plant = Callable[[pytest.MonkeyPatch], None]


class Naive:
    """A deduper over lists, into which each fault below puts its own `double`."""

    empty_is_an_id = False
    remembers_duplicates = False

    def __init__(self, within_us: int, **more: Any) -> None:
        self.within = within_us
        self.kept: dict[int, list[tuple[str, int]]] = {}
        self.clock: dict[int, int] = {}

    def begin(self, partition: int, earlier: Any = None, *, at_start: bool = False) -> None:
        found = [] if earlier is None or at_start else list(earlier(-NEVER, NEVER))
        self.kept[partition] = [
            (id_, at)
            for ids, arrived in found
            for id_, at in zip(ids.to_pylist(), arrived.tolist(), strict=True)
            if id_
        ]
        self.clock[partition] = max((at for _, at in self.kept[partition]), default=-NEVER)

    def resume(self, partition: int, earlier: Any) -> None: ...

    def settled(self, partition: int) -> None: ...

    def forget(self, partition: int) -> None:
        self.kept.pop(partition, None)

    def keep(self, partition: int, ids: pa.Array, arrived_us: Any) -> np.ndarray:
        if partition not in self.kept:
            self.begin(partition)
        out = []
        for id_, at in zip(ids.to_pylist(), np.asarray(arrived_us).tolist(), strict=True):
            self.clock[partition] = max(self.clock[partition], at)
            real = id_ is not None and (id_ != "" or self.empty_is_an_id)
            double = real and self.double(partition, id_, at)
            out.append(not double)
            if real and (self.remembers_duplicates or not double):
                self.kept[partition].append((id_, at))
        return np.array(out, np.bool_)

    def double(self, partition: int, id_: str, at: int) -> bool:
        return any(id_ == other and abs(at - then) <= self.within for other, then in self.kept[partition])


def deduper(kind: type[Naive]) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(batch, "Deduper", kind)
        patch.setattr(updater, "Deduper", kind)

    return plant


class ByTheLargest(Naive):
    """By the largest arrival seen, as it was before this rule."""

    def double(self, partition: int, id_: str, at: int) -> bool:
        then = max((then for other, then in self.kept[partition] if other == id_), default=None)
        return then is not None and self.clock[partition] - self.within <= then


class OneSide(Naive):
    def double(self, partition: int, id_: str, at: int) -> bool:
        return any(id_ == other and at - then <= self.within for other, then in self.kept[partition])


class OnlyTheLast(Naive):
    """One arrival an id."""

    def double(self, partition: int, id_: str, at: int) -> bool:
        last = [then for other, then in self.kept[partition] if other == id_][-1:]
        return any(abs(at - then) <= self.within for then in last)


class Chains(Naive):
    remembers_duplicates = True


class Empty(Naive):
    empty_is_an_id = True


class Open(Naive):
    """The window's edge does not count."""

    def double(self, partition: int, id_: str, at: int) -> bool:
        return any(id_ == other and abs(at - then) < self.within for other, then in self.kept[partition])


class AnyPartition(Naive):
    """One memory for all partitions, as if their order were one."""

    def double(self, partition: int, id_: str, at: int) -> bool:
        return any(
            id_ == other and abs(at - then) <= self.within for kept in self.kept.values() for other, then in kept
        )


def dead_keep(patch: pytest.MonkeyPatch) -> None:
    """The id of a dead letter makes duplicates."""
    real = Batcher._take

    def take(self: Batcher, made: Any, judged: Any, *args: Any) -> None:
        dead = judged.rows.filter(pa.array(~judged.good))
        if self.deduper and dead.num_rows:
            self.deduper.keep(
                made.partition, dead.column("_event_id"), dead.column("_arrived_at").cast(pa.int64()).to_numpy()
            )
        real(self, made, judged, *args)

    patch.setattr(Batcher, "_take", take)


def dead_count(patch: pytest.MonkeyPatch) -> None:
    """Features count what the table does not have."""
    real = judging.judge

    def judge(stream: Any, rows: pa.RecordBatch, schema_id: int) -> Any:
        found = real(stream, rows, schema_id)
        return replace(found, good=np.full(rows.num_rows, schema_id != 0))

    patch.setattr(updater, "judge", judge)


def no_take_over(patch: pytest.MonkeyPatch) -> None:
    """A successor knows no earlier ids."""
    patch.setattr(batch, "earlier", lambda *args: lambda low, high: [])


def keeps_half_a_batch(patch: pytest.MonkeyPatch) -> None:
    """Ids of a batch that could not be made are remembered."""
    real = Batcher.make

    def make(self: Batcher, *args: Any) -> Any:
        made = real(self, *args)
        self.warm |= {args[0]}
        return made

    def start_over(self: Batcher) -> None:
        self.ready.clear()

    patch.setattr(Batcher, "make", make)
    patch.setattr(Batcher, "forget", lambda self, partition: self.ready.pop(partition, None))
    patch.setattr(Batcher, "start_over", start_over)


def judged_again(patch: pytest.MonkeyPatch) -> None:
    """Recorded verdicts do not stand."""
    patch.setattr(Quarantine, "recorded", lambda self, *args: np.empty(0, np.int64))


def a_failed_write_is_done(patch: pytest.MonkeyPatch) -> None:
    """What could not be written is dropped, as if it were the records' fault."""
    real = Landing._append

    def append(self: Landing, batches: Mapping[int, Any]) -> Any:
        try:
            return real(self, batches)
        except OSError:
            for one in batches.values():
                one.rows, one.duplicates = [], one.duplicates + sum(rows.num_rows for rows in one.rows)
            return real(self, batches)

    patch.setattr(Landing, "_append", append)


def asides_unheard(patch: pytest.MonkeyPatch) -> None:
    """The updater counts what was set aside."""
    patch.setattr(updater, "asides", lambda *args: np.empty(0, np.int64))


def no_amendments(patch: pytest.MonkeyPatch) -> None:
    """A gap or a record set aside changes nothing for those who counted it."""
    patch.setattr(updater.Updater, "_stamp", lambda self: ruling.stamp(self._rule, None, ""))


def letters_by_position(patch: pytest.MonkeyPatch) -> None:
    """Whether somebody else recorded verdicts is told by the quarantine's position, which may stand still."""
    patch.setattr(batch, "letters_id", app_id)


def unmarked(patch: pytest.MonkeyPatch) -> None:
    """What nobody has said anything about is wanted by nobody."""
    patch.setattr(retention, "needed", lambda marks: min([mark for mark in marks.values() if mark] or [NEVER]))


def marks_only_rise(patch: pytest.MonkeyPatch) -> None:
    real = MemoryLog.retain

    def retain(
        self: MemoryLog, topic: str, *, before: Mapping[int, int], reader: str = retention.LAKE, uuid: str | None = None
    ) -> None:
        stands = {p: part.marks.get(reader, 0) for p, part in enumerate(self.held.parts[topic])}
        real(self, topic, before={p: max(at, stands[p]) for p, at in before.items()}, reader=reader, uuid=uuid)

    patch.setattr(MemoryLog, "retain", retain)


def marks_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    """The log hears a position that is not durable yet."""
    real = Landing._append

    def append(self: Landing, batches: Mapping[int, Any]) -> Any:
        self.log.retain(self.stream.name, before={p: one.end for p, one in batches.items()})
        return real(self, batches)

    patch.setattr(Landing, "_append", append)


def by_age_alone(patch: pytest.MonkeyPatch) -> None:
    """As Kafka's own retention goes."""
    patch.setattr(retention, "needed", lambda marks: NEVER)


def unlowered(patch: pytest.MonkeyPatch) -> None:
    """A doctor who cuts a table and leaves the log's marks where they were."""
    patch.setattr(world.World, "lower", lambda self, before: None)


def unclaimed(patch: pytest.MonkeyPatch) -> None:
    """Letters under way outlive a cut, which took the ruling that they were written by."""
    patch.setattr(world.World, "claim", lambda self: None)


def unheard(patch: pytest.MonkeyPatch) -> None:
    """A doctor who cuts a ruling away and says so to nobody, and rulings that are told apart by their number."""
    patch.setattr(world.World, "heard", lambda self: None)
    patch.setattr(ruling, "secrets", SimpleNamespace(randbits=lambda bits: 7))


def unasked(patch: pytest.MonkeyPatch) -> None:
    """A sink continues over a gap by itself."""
    real = Landing._begin

    def begin(self: Landing, partition: int) -> int:
        low = self.log.ends(self.stream.name)[partition].low
        if self.start(partition) < low:
            self.batcher.forget(partition)
            return low
        return real(self, partition)

    patch.setattr(Landing, "_begin", begin)


def rulings_unread(patch: pytest.MonkeyPatch) -> None:
    """A sink continues by its own rule, whatever has been ruled since."""
    patch.setattr(Landing, "_agree", lambda self: 0)
    patch.setattr(updater.Updater, "_stamp", lambda self: ruling.stamp(self._rule, None, ""))


def rulings_without_positions(patch: pytest.MonkeyPatch) -> None:
    """A ruling that names no partition excludes no sink that is at work."""
    real = ruling.moves

    def moves(*args: Any) -> dict[str, Any]:
        return {app: move for app, move in real(*args).items() if not app.startswith("millstream/")}

    for room in (landing, gaps, ruling, aside):
        patch.setattr(room, "moves", moves)


def widened_past_a_ruling(patch: pytest.MonkeyPatch) -> None:
    """Adding a column takes a newer handle, and nobody looks at what was ruled in between."""

    def widen(self: Sink, extra: Any) -> None:
        self.table = self.table.add_columns(extra)
        if self._let_go() or not self.buffer:
            raise Conflict("another sink landed while a column was added")

    patch.setattr(Sink, "_widen", widen)


def tried_again_as_it_is(patch: pytest.MonkeyPatch) -> None:
    """After an unknown outcome the batch is committed again, wherever the table stands now."""
    patch.setattr(Landing, "_let_go", lambda self: 0)


def an_updater_without_memory(patch: pytest.MonkeyPatch) -> None:
    """An updater that takes over knows no earlier ids."""
    patch.setattr(updater.Updater, "_remember", lambda self, deduper, partition, start: deduper.begin(partition))


def an_early_answer(patch: pytest.MonkeyPatch) -> None:
    """Positions move although the store has refused the events."""
    real = updater.Updater._apply

    def apply(self: updater.Updater, applies: list[Any]) -> Any:
        try:
            return real(self, applies)
        except Transient:
            return real(self, [replace(one, events=one.events.slice(0, 0)) for one in applies])

    patch.setattr(updater.Updater, "_apply", apply)


def a_gap_unrecorded(patch: pytest.MonkeyPatch) -> None:
    """Positions move over an accepted gap, and no commit names it."""
    real = lineage.of
    patch.setattr(lineage, "of", lambda commit: [one for one in real(commit) if not one.gap])


FAULTS: dict[str, Plant] = {
    "duplicates by the largest arrival seen": deduper(ByTheLargest),
    "duplicates on one side of the window": deduper(OneSide),
    "one arrival an id": deduper(OnlyTheLast),
    "duplicates that keep": deduper(Chains),
    "an empty id is an id": deduper(Empty),
    "the window's edge is outside": deduper(Open),
    "ids of another partition": deduper(AnyPartition),
    "dead letters keep their ids": dead_keep,
    "features count dead letters": dead_count,
    "a successor knows no earlier ids": no_take_over,
    "half a batch is remembered": keeps_half_a_batch,
    "recorded verdicts do not stand": judged_again,
    "a failed write is the record's fault": a_failed_write_is_done,
    "the updater does not hear of records set aside": asides_unheard,
    "amendments change nothing for features": no_amendments,
    "two workers' letters told apart by a position": letters_by_position,
    "what nobody has registered for is wanted by nobody": unmarked,
    "marks only rise": marks_only_rise,
    "marks before the commit": marks_before_the_commit,
    "retention by age alone": by_age_alone,
    "a cut table, and marks as they were": unlowered,
    "a ruling that was cut away": unheard,
    "a gap that nobody accepted": unasked,
    "rulings that nobody reads": rulings_unread,
    "rulings that name no partition": rulings_without_positions,
    "a ruling that came while a column was added": widened_past_a_ruling,
    "an unknown outcome is tried again as it is": tried_again_as_it_is,
    "an updater that takes over knows no earlier ids": an_updater_without_memory,
    "a refused update moves the position": an_early_answer,
    "an accepted gap that no commit names": a_gap_unrecorded,
    **planted_time.FAULTS,
}


def check_naive(records: Iterable[tuple[str, int]], within: int) -> list[bool]:
    """The faultless `Naive` beside the real deduper, so that a plant fails for its fault and for nothing else."""
    held = list(records)
    ids, arrived = pa.array([id_ for id_, _ in held], pa.string()), np.array([at for _, at in held], np.int64)
    found: list[bool] = (Naive(within).keep(0, ids, arrived) == Deduper(within).keep(0, ids, arrived)).tolist()
    return found
