"""The feature updaters of a serving process: every wanted definition filled once, then moved on, one thread a
stream.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from millstream.base.errors import Conflict, Fenced, MillstreamError, Transient, Truncated
from millstream.base.secrets import hide
from millstream.base.waits import Waits
from millstream.declare.stream import Stream
from millstream.declare.table import Table
from millstream.features.definition import Definition
from millstream.ingest.doors import wall_us
from millstream.lake import gaps
from millstream.log.envelope import topic_of

if TYPE_CHECKING:
    from millstream.ports import Engines

log = logging.getLogger("millstream.serve")
NEVER = 1 << 62
TABLES_S = 5.0
"""Between two looks at the versions of tables that features are made of."""
CORRECT_S = 3600.0
"""Between two fills because of the clock: two machines whose clocks differ would take turns for ever."""


@dataclass
class _Worker:
    """The thread of one stream, and the definitions it moves on."""

    generations: frozenset[str]
    thread: threading.Thread
    stop: threading.Event = field(default_factory=threading.Event)
    trouble: str = ""


class Updates:
    """Keeps the online store up with the log.

    Args:
        run: False when another process runs the updaters; then nothing is filled or moved here, only looked at.
        wall_us: The wall clock, in microseconds since 1970 UTC; the store's clock never passes it.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        engines: Engines,
        *,
        run: bool = True,
        wall_us: Callable[[], int] = wall_us,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engines, self._run, self._wall_us, self._clock = engines, run, wall_us, clock
        self._corrected: dict[str, float] = {}  # generation -> when it was filled again because of its clock
        self._doors = engines.doors
        self._wanted: dict[str, Definition] = {}
        self._workers: dict[str, _Worker] = {}
        self._lock = threading.Lock()
        self._filling: dict[str, threading.Lock] = {}
        self._looked = -TABLES_S
        self._waits = Waits(clock=clock)
        self._apart: dict[str, frozenset[str]] = {}  # stream -> definitions that are moved on each by itself

    def want(self, definition: Definition) -> None:
        """Keep this definition alive from now on."""
        self._wanted.setdefault(definition.generation, definition)

    def ready(self, definitions: Iterable[Definition]) -> None:
        """Fill what was never filled, and again what counted by rules that no longer hold. Blocks for as long as that
        takes.

        Raises:
            Transient: It is another process's work, and not done yet.
        """
        from millstream.features.fill import current

        engines = self._engines
        for definition in definitions:
            if not self._run:
                applied = engines.online.applied(definition.generation)
                if applied is None or not applied.active:
                    raise Transient(f'features "{definition.name}" are not filled yet')
            elif not current(engines.lake, engines.online, definition, self._source(definition)):
                with self._one(definition):
                    if not current(engines.lake, engines.online, definition, self._source(definition)):
                        self._fill(definition)

    def _source(self, definition: Definition) -> Stream[Any] | Table:
        return self._engines.project.streams.get(definition.stream) or Table(name=definition.stream)

    def _fill(self, definition: Definition) -> None:
        """Fill it; what it answers until then stays."""
        from millstream.features.fill import fill

        source = self._source(definition)
        if isinstance(source, Stream):
            topic_of(self._engines.log, self._engines.schemas, source)
        log.info("filling features %s from the lake", definition.name)
        fill(self._engines.compute, self._engines.lake, self._engines.online, definition, source, wall_us=self._wall_us)

    def _one(self, definition: Definition) -> threading.Lock:
        """Held while a definition is filled: its thread and a refresh may both find that it must be."""
        with self._lock:
            return self._filling.setdefault(definition.generation, threading.Lock())

    def refresh(self) -> None:
        """Start a thread for each stream whose wanted definitions changed."""
        if not self._run:
            return
        self._follow_tables()
        groups = self._groups()
        for key in set(self._workers) - set(groups):
            self._halt(self._workers.pop(key))
        for key, (stream, definitions) in groups.items():
            worker = self._workers.get(key)
            moved = worker.generations if worker is not None and worker.thread.is_alive() else frozenset()
            filled = [d for d in definitions if d.generation in moved or self._filled(d)]
            wanted = frozenset(d.generation for d in filled)
            if not filled or (worker is not None and worker.generations == wanted and worker.thread.is_alive()):
                continue
            self._halt(worker)
            self._workers[key] = self._started(stream, filled, wanted)

    def _groups(self) -> dict[str, tuple[str, list[Definition]]]:
        """What one thread moves on: the definitions of a stream, which then read it once; each alone where one of them
        has stopped the others.
        """
        groups: dict[str, tuple[str, list[Definition]]] = {}
        for stream, definitions in self._by_stream().items():
            if self._apart.get(stream) == frozenset(d.generation for d in definitions):
                groups |= {f"{stream}/{d.generation}": (stream, [d]) for d in definitions}
            else:
                self._apart.pop(stream, None)
                groups[stream] = (stream, definitions)
        return groups

    def _filled(self, definition: Definition) -> bool:
        """Whether it is filled, by now; one that cannot be waits alone, and its neighbours are moved on."""
        name = definition.generation
        if not self._waits.due(name):
            return False
        try:
            self.ready([definition])
        except Exception as error:
            ours = isinstance(error, MillstreamError)
            why = str(error) if ours else hide(f"{type(error).__name__}: {error}")
            if self._waits.failed(name, why).news:
                log.warning(
                    "features %s cannot be filled: %s; they are tried again",
                    definition.name,
                    why,
                    exc_info=None if ours else error,
                )
            return False
        self._waits.well(name)
        return True

    def _follow_tables(self) -> None:
        """Fill again what is made of a table that was rebuilt, whoever built it: definitions that only an older model
        pinned are in no run.
        """
        if self._clock() - self._looked < TABLES_S:
            return
        self._looked = self._clock()
        for definition in list(self._wanted.values()):
            if definition.live or not self._engines.lake.exists(definition.stream):
                continue
            try:
                self.ready([definition])
            except Conflict:
                pass  # a run fills it
            except MillstreamError as error:
                log.warning("features %s: %s", definition.name, error)

    def _by_stream(self) -> dict[str, list[Definition]]:
        found: dict[str, list[Definition]] = {}
        for definition in list(self._wanted.values()):
            if definition.stream in self._engines.project.streams:
                found.setdefault(definition.stream, []).append(definition)
        return found

    def _started(self, stream: str, definitions: list[Definition], wanted: frozenset[str]) -> _Worker:
        worker = _Worker(wanted, threading.Thread(name=f"update-{stream}", daemon=True))
        worker.thread = threading.Thread(
            target=self._move, args=(stream, definitions, worker), name=f"update-{stream}", daemon=True
        )
        worker.thread.start()
        return worker

    def _move(self, stream: str, definitions: list[Definition], worker: _Worker) -> None:
        """Run an updater; when it fails, begin again at the stored positions, or from the lake where the log no longer
        holds them.
        """
        from millstream.features.updater import Updater

        engines, gap, waits = self._engines, False, Waits()
        while not worker.stop.is_set():
            try:
                self._fill_beyond(stream, definitions)
                self.ready(definitions)
                with closing(
                    Updater(
                        engines.log,
                        engines.schemas,
                        engines.online,
                        definitions,
                        engines.project.streams[stream],
                        lake=engines.lake,
                        folder=engines.folder / "scratch",
                        wall_us=self._wall_us,
                        beyond_us=self._beyond_us(definitions),
                    )
                ) as updater:
                    if not gap:  # which the first step would come to again
                        worker.trouble = ""
                    try:
                        updater.step()
                        worker.trouble, gap = "", False
                        waits.well(stream)
                        updater.run(worker.stop)
                    except Truncated as error:
                        if gaps.find(engines.log, engines.lake, engines.project.streams[stream], damaged=False):
                            raise  # the sink stands there too: nothing has these records, and the operator decides
                        log.warning("the features of %s are filled again: %s", stream, error)
                        self._fill_behind(stream, definitions)
            except Fenced as error:
                log.error("the feature updater of %s stops: %s", stream, error)
                worker.trouble = str(error)
                worker.stop.wait()
            except (
                BaseException
            ) as error:  # a panic of a library in Rust is not an Exception, and must not end the thread in silence
                wait = waits.failed(stream, hide(str(error)))
                if wait.news:
                    log.warning(
                        "the feature updater of %s begins again: %s",
                        stream,
                        error,
                        exc_info=not isinstance(error, MillstreamError),
                    )
                worker.trouble = wait.why
                gap = isinstance(error, Truncated)
                # It may be of one of them only
                if len(definitions) > 1 and not isinstance(error, Transient | Truncated | OSError):
                    self._apart[stream] = frozenset(d.generation for d in self._by_stream()[stream])
                worker.stop.wait(wait.pause_s)

    def _fill_behind(self, stream: str, definitions: list[Definition]) -> None:
        """Fill again what waits for records that the log has removed. They had landed before, so a fill has them."""
        ends = self._engines.log.ends(stream)
        for definition in definitions:
            stands = self._engines.online.applied(definition.generation)
            if stands is not None and any(
                stands.offsets.get(partition, 0) < end.low for partition, end in ends.items()
            ):
                with self._one(definition):
                    self._fill(definition)

    def _fill_beyond(self, stream: str, definitions: list[Definition]) -> None:
        """Fill again what stands far ahead of the wall clock: that clock had jumped, and what came since was taken for
        old.

        Raises:
            ClockWrong: It may be this machine's clock that is wrong.
        """
        limit = self._wall_us() + self._beyond_us(definitions)
        stands = {d.generation: self._engines.online.applied(d.generation) for d in definitions}
        far = [d for d in definitions if (at := stands[d.generation]) is not None and at.clock_us > limit]
        if not far:
            return
        door = self._doors.of(self._engines.project.streams[stream])
        door.refresh()
        door.now_us()
        for definition in far:
            log.warning("the features %s are filled again: their clock is ahead of the wall clock", definition.name)
            with self._one(definition):
                self._fill(definition)
            self._corrected[definition.generation] = self._clock()

    def _beyond_us(self, definitions: list[Definition]) -> int:
        """How far the clock of these may be ahead of the wall clock."""
        from millstream.features.updater import BEYOND_US

        lately = self._clock() - CORRECT_S
        return NEVER if any(self._corrected.get(d.generation, lately) > lately for d in definitions) else BEYOND_US

    def _halt(self, worker: _Worker | None) -> None:
        if worker is not None:
            worker.stop.set()
            worker.thread.join()

    def problems(self) -> list[str]:
        """Updaters that are in trouble now, and definitions that cannot be filled."""
        moved = [
            f"features of {key.partition('/')[0]}: {worker.trouble}"
            for key, worker in self._workers.items()
            if worker.trouble
        ]
        names = {d.generation: d.name for d in self._wanted.values()}
        return [
            *dict.fromkeys(moved),
            *(f"features {names[g]} cannot be filled: {self._waits.why(g)}" for g in self._waits.names() if g in names),
        ]

    def troubled(self) -> set[str]:
        """Streams whose features are not kept up to date now, as a whole or in part."""
        unfilled = {d.stream for d in self._wanted.values() if self._waits.why(d.generation)}
        return unfilled | {key.partition("/")[0] for key, worker in self._workers.items() if worker.trouble}

    def behind(self, after: Mapping[str, Mapping[int, int]]) -> str:
        """Which of these positions are not applied, in words; streams that no feature reads are never waited for."""
        for definition in list(self._wanted.values()):
            ends = after.get(definition.stream)
            if not ends:
                continue
            applied = self._engines.online.applied(definition.generation)  # each time: a fill may put it further back
            if applied is None or not applied.active:
                return f"{definition.name} is being filled"
            for partition, end in ends.items():
                if applied.offsets.get(partition, 0) < end:
                    return (
                        f"{definition.name} stands at {applied.offsets.get(partition, 0)} of {end} of"
                        f" {definition.stream}/{partition}"
                    )
        return ""

    def lag(self) -> dict[str, int]:
        """Stream -> records that the definition furthest behind has not applied."""
        found: dict[str, int] = {}
        for stream, definitions in self._by_stream().items():
            if self._engines.log.topic(stream) is None:
                continue
            ends: Any = self._engines.log.ends(stream)
            for definition in definitions:
                applied = self._engines.online.applied(definition.generation)
                offsets = applied.offsets if applied else {}
                behind = sum(max(0, end.high - max(end.low, offsets.get(p, 0))) for p, end in ends.items())
                found[stream] = max(found.get(stream, 0), behind)
        return found

    def close(self) -> None:
        """Stop every thread."""
        for worker in self._workers.values():
            worker.stop.set()
        for worker in self._workers.values():
            worker.thread.join()
