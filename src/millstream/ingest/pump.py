"""From sources to the log: splits merged by event time, each batch committed by its split's fenced writer with its
position.

A kill at any point loses nothing and doubles nothing: data and position are one transaction. The merge goes in steps:
every open split has a batch in hand, and a step takes from each what lies up to the earliest end among them. So no
stream is ahead of another by more than a batch; files that are not sorted by time keep their own order.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa

from millstream.base.errors import Fenced, MillstreamError, WorkFailed
from millstream.base.secrets import hide
from millstream.base.waits import Waits
from millstream.declare.source import Source
from millstream.ingest.doors import Doors
from millstream.ingest.port import SourceEngine, Standing
from millstream.ingest.reading import Reading, split_name
from millstream.log.envelope import Binding, raw_appends, split_appends, topic_of
from millstream.log.port import Log, Schemas

BATCH_ROWS = 50_000
IN_HAND_ROWS = 1_000_000
POLL_S = 1.0
MOVES = 3
"""How often files may be renamed while it is kept where they are."""
Told = Callable[..., None]
log = logging.getLogger("millstream.ingest")
PATIENCE_S = 30.0
"""How long the end of a file that is being written is waited for."""


@dataclass
class Counts:
    """What a pump did. What fails costs its own split or source only; every other was read.

    Attributes:
        rows, bad: Records committed: events, and what could not be read as one.
        by_stream: Rows by stream.
        commits: Transactions.
        failed: Split -> why the rest of it could not be read; or a source's name -> why none of its splits could be
            looked at.
        faults: Split -> what a person must hear of what was read: a file of which no record is good, a line that was
            taken too early.
        held: Splits that stopped at `until_us`.
        unended: Splits whose last record may still be being written; it was left.
        empty: Splits that were read for the first time, and in which no record is.
    """

    rows: int = 0
    bad: int = 0
    commits: int = 0
    by_stream: dict[str, int] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    held: int = 0
    unended: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


def pump(
    log: Log,
    schemas: Schemas,
    sources: Sequence[tuple[Source, SourceEngine]],
    *,
    until_us: int | None = None,
    report: Told | None = None,
    stop: threading.Event | None = None,
    doors: Doors | None = None,
) -> Counts:
    """Bring everything that the sources hold now into the log.

    Args:
        until_us: Stop each split before its first event at or after this event time; the next call continues there.
        report: Called as `report(bytes done, bytes in all, note)` after each step.
        stop: Ends it after the step under way.
        doors: The clocks that times are held against; this machine's by default.

    Raises after the last step, when all that can be read was pumped:
        ClockWrong: The clock cannot be trusted, for the streams that are named; none of their records was committed.
        Corrupt, Recreated, NotFound, UsageError: Splits whose rest cannot be read.
        Fenced: Another process pumps the same split now.
        Full, Busy: The log takes nothing at the moment; calling again continues where it stopped.
        WorkFailed: What nobody foresaw.
    """
    counts = pump_all(log, schemas, sources, until_us=until_us, report=report, stop=stop, doors=doors)
    if not counts.failed:
        return counts
    first, *more = counts.failed.values()
    if not more:
        raise first
    kind = type(first) if isinstance(first, MillstreamError) else WorkFailed
    raise kind(
        f"{1 + len(more)} files could not be read to their end, all others were; " + "; ".join(reasons(counts))
    ) from first


def reasons(counts: Counts) -> list[str]:
    """Why what failed did, each reason once: a folder that nobody may read is one, however many files it has."""
    return list(dict.fromkeys(_named(name, error) for name, error in counts.failed.items()))


def _named(name: str, error: Exception) -> str:
    """With its class where it is a library's, and with the whole path of its file: two folders may have one of the same
    name.
    """
    text = str(error) if isinstance(error, MillstreamError) else hide(f"{type(error).__name__}: {error}")
    source, slash, split = name.partition("/")
    where = split if slash else f'source "{source}"'
    return text if where in text else f"{where}: {text}"


def pump_all(
    log: Log,
    schemas: Schemas,
    sources: Sequence[tuple[Source, SourceEngine]],
    *,
    until_us: int | None = None,
    report: Told | None = None,
    stop: threading.Event | None = None,
    doors: Doors | None = None,
) -> Counts:
    """As `pump`, but splits that cannot be read are in the counts, and nothing is raised for them."""
    stop, doors, counts, patience = stop or threading.Event(), doors or Doors(log), Counts(), PATIENCE_S
    while not stop.is_set():
        made = _Pump(log, schemas, sources, until_us, report, stop, doors)
        if made.waits_s and patience > 0:  # first, so that last lines keep their place among their neighbours'
            stop.wait(min(made.waits_s, patience))
            patience -= made.waits_s
            continue
        _add(counts, made.run())
        counts.unended = made.unended() if until_us is None and not stop.is_set() else []
        if not counts.unended or patience <= 0:
            break
    return counts


def _add(counts: Counts, more: Counts) -> None:
    counts.rows, counts.bad, counts.commits, counts.held = (
        counts.rows + more.rows,
        counts.bad + more.bad,
        counts.commits + more.commits,
        more.held,
    )
    for name, rows in more.by_stream.items():
        counts.by_stream[name] = counts.by_stream.get(name, 0) + rows
    counts.failed, counts.faults = more.failed, counts.faults | more.faults
    counts.empty = [*counts.empty, *more.empty]


def follow(
    logs: Log,
    schemas: Schemas,
    sources: Sequence[tuple[Source, SourceEngine]],
    stop: threading.Event,
    *,
    poll_s: float = POLL_S,
    doors: Doors | None = None,
    watch: Watches | None = None,
) -> None:
    """Pump until told to stop, looking for new splits and more of old ones every `poll_s` seconds.

    What cannot be read is said once, and tried again after a pause that doubles: each split and each source by itself,
    the others continue.

    Args:
        watch: Keeps what waits; without one it is in the log only.
    """
    doors, watch = doors or Doors(logs), watch or InTheLog()
    while not stop.is_set():
        made = _Pump(logs, schemas, sources, None, None, stop, doors, watch.due)
        counts = made.run()
        for name, error in counts.failed.items():
            watch.failed(name, error)
        watch.only({*counts.failed, *made.left})
        for fault in counts.faults.values():
            log.error("%s", fault)
        stop.wait(poll_s)


class Watches(Protocol):
    """Receives what fails, and says when it is tried again. Names are those of splits and sources, as in
    `Counts.failed`.
    """

    def due(self, name: str) -> bool:
        """Whether it may be tried now."""
        ...

    def failed(self, name: str, error: BaseException) -> None: ...

    def only(self, names: Collection[str]) -> None:
        """All others are well, or gone."""
        ...


class InTheLog:
    """Says it in the log, once."""

    def __init__(self) -> None:
        self.waits = Waits()

    def due(self, name: str) -> bool:
        return self.waits.due(name)

    def failed(self, name: str, error: BaseException) -> None:
        if self.waits.failed(name, str(error)).news:
            log.error("%s: %s", name, error, exc_info=None if isinstance(error, MillstreamError) else error)

    def only(self, names: Collection[str]) -> None:
        for name in set(self.waits.names()) - set(names):
            self.waits.well(name)


class _Pump:
    def __init__(
        self,
        log: Log,
        schemas: Schemas,
        sources: Sequence[tuple[Source, SourceEngine]],
        until_us: int | None,
        report: Told | None,
        stop: threading.Event | None,
        doors: Doors,
        due: Callable[[str], bool] = lambda name: True,
    ) -> None:
        self.log, self.until_us, self.report, self.stop, self._due = log, until_us, report, stop, due
        self.counts = Counts()
        self.bytes_done = self.bytes_all = 0
        self.waiting: list[Reading] = []
        self._kept: dict[str, str] = {}
        self.open: list[Reading] = []
        self.left = set[str]()
        """What failed before, and is not to be tried yet."""
        self._doors = doors
        self._bindings: dict[str, Binding] = {}
        self._looked: list[tuple[Source, SourceEngine, Sequence[Standing]]] = []
        for source, engine in sources:
            if due(source.name):
                with self._alone(source.name):
                    self._bindings[source.into.name] = topic_of(log, schemas, source.into)
                    self._looked.append((source, engine, standings(log, source, engine)))
            else:
                self.left.add(source.name)
        self.waits_s = max((s.waits_s for _, _, found in self._looked for s in found if s.error is None), default=0.0)

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """What is raised is noted as the failure of this split or source, and the others continue."""
        try:
            yield
        except Exception as error:
            self.counts.failed[name] = error

    def _begin(self) -> None:
        """Keep what moved under its new name, and see which splits have something to read, and from when."""
        for source, engine, found in self._looked:
            with self._alone(source.name):
                found = self._moved(source, engine, found)
                for s in found:
                    if s.moved_from is None:  # else it moves on while it is looked at: next time
                        self._look(source, engine, s)
        # Splits are opened when the merge comes to their first event, so a folder of a thousand days is read a few
        # files at a time.
        self.waiting.sort(key=lambda s: s.first_us)

    def _moved(self, source: Source, engine: SourceEngine, found: Sequence[Standing]) -> Sequence[Standing]:
        """How the splits stand once what moved is kept under its new name."""
        for _ in range(MOVES):
            if not any(s.moved_from for s in found):
                break
            before = self.log.positions(split_name(source, ""))
            for s in engine.look(by_split(source, before)):
                if s.moved_from:
                    self._keep(source, s, before)
            found = standings(self.log, source, engine)
        return found

    def _keep(self, source: Source, moved: Standing, before: Mapping[str, str]) -> None:
        """The position under its new name. Whoever reads the file under its old one is fenced first, and must not have
        continued since.
        """
        assert moved.position is not None and moved.moved_from is not None
        names = dict.fromkeys(split_name(source, split) for split in (moved.moved_from, moved.split))
        writers = {name: self.log.writer(name) for name in names}
        try:
            for name, writer in writers.items():
                if writer.position != self._kept.get(name, before.get(name)):
                    raise Fenced(f'split "{name}" is being read by another process; this one must stop')
            name = split_name(source, moved.split)
            writers[name].commit([], moved.position)
            self._kept[name] = moved.position
        finally:
            for writer in writers.values():
                writer.close()

    def _look(self, source: Source, engine: SourceEngine, standing: Standing) -> None:
        name = split_name(source, standing.split)
        if standing.size is not None:
            self.bytes_done, self.bytes_all = self.bytes_done + standing.done, self.bytes_all + standing.size
        if standing.error is not None:
            self.counts.failed[name] = standing.error
        if standing.error is not None or standing.idle:
            return
        if not self._due(name):
            self.left.add(name)
            return
        split = Reading(
            name, standing.split, source, engine, self._bindings[source.into.name], self._doors.of(source.into)
        )
        split.done_bytes = standing.done
        with self._alone(name):
            if split.peek(standing.position):
                self.waiting.append(split)

    def unended(self) -> list[str]:
        """Splits whose rest was left because it may still be being written."""
        left = [
            (source, s)
            for source, engine, _ in self._looked
            if source.name not in self.counts.failed
            for s in standings(self.log, source, engine)
        ]
        return [s.split for source, s in left if s.waits_s and split_name(source, s.split) not in self.counts.failed]

    def run(self) -> Counts:
        self._begin()
        try:
            while (self.open or self.waiting) and not (self.stop and self.stop.is_set()):
                self._step()
        finally:
            for split in self.open:
                split.close()
        return self.counts

    def _step(self) -> None:
        """Open what is due, then commit from each open split what lies up to the earliest end."""
        if not self.open:
            self._open_next()
        self._fill()
        horizon = min((split.last_us for split in self.open), default=None)
        while self.waiting and (horizon is None or self.waiting[0].first_us <= horizon):
            self._open_next()
            self._fill()
            horizon = min((split.last_us for split in self.open), default=None)
        if horizon is None:
            return
        for split in sorted(self.open, key=lambda s: int(s.times[s.taken]) if s.taken < len(s.times) else -(2**62)):
            self._commit(split, horizon)
        if self.report:
            self.report(
                self.bytes_done,
                self.bytes_all,
                "" if horizon < 0 else str(np.datetime64(horizon, "us"))[:16].replace("T", " "),
            )

    def _open_next(self) -> None:
        split = self.waiting.pop(0)
        with self._alone(split.name):
            split.open(self.log, max(1_000, min(BATCH_ROWS, IN_HAND_ROWS // (len(self.open) + 1))))
            self.open.append(split)

    def _fill(self) -> None:
        for split in list(self.open):
            with self._alone(split.name):
                if split.fill():
                    continue
                self._ended(split)
            self._leave(split)

    def _ended(self, split: Reading) -> None:
        if not split.new or split.good:
            return
        if split.dead:
            which = (
                "its only one is a dead letter"
                if split.dead == 1
                else f"all {split.dead:,} are dead letters; the first"
            )
            self.counts.faults[split.name] = (
                f"no record of {split.split} is good: {which}: {split.why}; write the corrected records to a new file,"
                " since these have been read"
            )
        elif split.read:
            self.counts.empty.append(split.split)

    def _leave(self, split: Reading) -> None:
        self.open.remove(split)
        with self._alone(split.name):
            split.close()

    def _commit(self, split: Reading, horizon_us: int) -> None:
        rows = split.upto(horizon_us)
        held = self.until_us is not None and rows > split.upto(self.until_us - 1)
        if self.until_us is not None:
            rows = min(rows, split.upto(self.until_us - 1))
        if rows > split.taken or (not held and rows == len(split.times)):
            with self._alone(split.name):
                self._write(split, rows)
            if split.name in self.counts.failed:  # what was taken may not be in the log: it is read again from there
                self._leave(split)
                return
        if held:
            self.counts.held += 1
            self._leave(split)

    def _write(self, split: Reading, rows: int) -> None:
        fault = split.batch.fault if split.batch is not None and rows == len(split.times) else ""
        taken, bad, position = split.take(rows)
        assert split.writer is not None
        split.writer.commit([*split_appends(split.binding, taken), *raw_appends(split.binding, bad)], position)
        if fault:
            self.counts.faults[split.name] = fault
        self._counted(split, taken.num_rows, bad, position)

    def _counted(self, split: Reading, rows: int, bad: pa.RecordBatch, position: str) -> None:
        counts, stream = self.counts, split.source.into.name
        counts.rows, counts.bad = counts.rows + rows, counts.bad + bad.num_rows
        if rows or bad.num_rows:
            counts.commits += 1
            counts.by_stream[stream] = counts.by_stream.get(stream, 0) + rows
        split.good, split.dead = split.good + rows, split.dead + bad.num_rows
        if bad.num_rows and not split.why:
            split.why = str(bad.column("error")[0])
        size = split.engine.size(split.split, position)
        if size:
            self.bytes_done += size[0] - split.done_bytes
            split.done_bytes = size[0]


def standings(log: Log, source: Source, engine: SourceEngine) -> Sequence[Standing]:
    """How the splits of a source stand now."""
    return engine.look(by_split(source, log.positions(split_name(source, ""))))


def by_split(source: Source, positions: Mapping[str, str]) -> dict[str, str]:
    """The source's positions, as the log keeps them, by split."""
    prefix = split_name(source, "")
    return {name.removeprefix(prefix): position for name, position in positions.items()}
