"""An online store in memory: tiles and heads as dictionaries. It passes `OnlineContract`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from millstream.base.errors import Conflict, NotFound
from millstream.features.definition import Definition
from millstream.features.lift import Lifted
from millstream.features.online import HEAD_US, Answers, Bound, Found, Row, Use, offsets_of
from millstream.features.port import Applied, Apply, Lookup
from millstream.features.state import stored
from millstream.features.window import horizon_us, reach

STEP_US = 3_600_000_000
"""How far the horizon moves between two expiries."""
_MERGES: dict[str, Callable[[Any, Any], Any]] = {"add": lambda a, b: a + b, "least": min, "greatest": max}


@dataclass
class State:
    """The data of a generation: of each key, tiles by (level, slot) and events by (time, tie)."""

    merges: list[str]
    tiles: dict[str, dict[tuple[int, int], Row]] = field(default_factory=dict)
    heads: dict[str, dict[tuple[int, int], Row]] = field(default_factory=dict)

    def add(self, key: str, level: int, slot: int, row: Row) -> None:
        held = self.tiles.setdefault(key, {})
        before = held.get((level, slot))
        held[level, slot] = row if before is None else self.merged([before, row])

    def merged(self, rows: Sequence[Row]) -> Row:
        """All of them as one; a count of 0 where there are none."""
        made = []
        for merge, column in zip(self.merges, zip(*rows, strict=True), strict=True) if rows else ():
            there = [value for value in column if value is not None]
            found = there[0] if there else None
            for value in there[1:]:
                found = _MERGES[merge](found, value)
            made.append(found)
        return made or (0,)

    def stretch(self, key: str, level: int, low: int, high: int) -> list[Row]:
        return [row for (at, slot), row in self.tiles.get(key, {}).items() if at == level and low <= slot < high]


@dataclass
class Generation:
    state: State
    offsets: dict[int, int] = field(default_factory=dict)
    clock_us: int = 0
    active: bool = False
    ruling: str = ""
    expired_us: int = 0
    filler: tuple[object, object] | None = None
    """The store and the thread that fill."""
    begun: bool = False
    beside: State | None = None
    """What is filled while another answers."""


@dataclass
class Held:
    """What outlives a process."""

    generations: dict[str, Generation] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.RLock)


class MemoryOnline:
    """One process's hold on a store.

    Args:
        fault: Called with "apply" or "applied" where a store may fail; raises what it raises.
    """

    def __init__(self, held: Held | None = None, fault: Callable[[str], None] = lambda point: None) -> None:
        self.held, self.fault = held or Held(), fault

    # generations

    def create(self, definition: Definition) -> None:
        with self.held.lock:
            self.held.generations.setdefault(definition.generation, Generation(_empty(definition)))

    def applied(self, generation: str) -> Applied | None:
        with self.held.lock:
            held = self.held.generations.get(generation)
            return None if held is None else Applied(dict(held.offsets), held.clock_us, held.active, held.ruling)

    def generations(self) -> list[str]:
        return sorted(self.held.generations)

    def drop(self, generation: str) -> None:
        with self.held.lock:
            self.held.generations.pop(generation, None)

    def close(self) -> None:
        """What this process was filling, another may fill."""
        with self.held.lock:
            for held in self.held.generations.values():
                held.filler = None if held.filler and held.filler[0] is self else held.filler

    # filling

    def load(self, definition: Definition, tiles: pa.RecordBatchReader, heads: pa.RecordBatchReader) -> None:
        names = [name for name, _, _ in stored(definition)]
        with self._filling(definition) as state:
            for batch in tiles:
                for key, level, slot, *row in _rows(batch, ["key", "level", "b", *names]):
                    state.add(key, level, slot, row)
            for batch in heads:
                _copy(state, Lifted(definition, batch), 0)

    @contextmanager
    def _filling(self, definition: Definition) -> Iterator[State]:
        with self.held.lock:
            self.create(definition)
            held = self.held.generations[definition.generation]
            if held.filler not in (None, self._me()):
                raise Conflict(f"generation {definition.generation} is filled by another")
            held.filler, state = self._me(), _empty(definition)
            if held.active:
                held.beside = state
            else:
                held.state, held.begun = state, True
        try:
            yield state
        except BaseException:
            held.filler = None
            raise

    def _me(self) -> tuple[object, object]:
        return self, threading.current_thread()

    def activate(self, generation: str, offsets: Mapping[int, int], clock_us: int, ruling: str = "") -> None:
        with self.held.lock:
            held = self.held.generations.get(generation)
            if held is None:
                raise NotFound(f"no generation {generation}")
            if held.beside is not None and held.filler == self._me():
                held.state, held.beside = held.beside, None
            elif held.active or (held.begun and held.filler != self._me()):
                raise Conflict(f"generation {generation} is filled already, or by another")
            held.offsets, held.clock_us, held.active, held.ruling, held.filler, held.begun = (
                dict(offsets),
                clock_us,
                True,
                ruling,
                None,
                False,
            )

    # updating

    def apply(self, applies: Sequence[Apply]) -> None:
        self.fault("apply")
        with self.held.lock:
            moved = {one.definition.generation: dict(self._ready(one).offsets) for one in applies}
            for one in applies:
                at = moved[one.definition.generation]
                if at.get(one.partition, 0) != one.start:
                    raise Conflict(
                        f"partition {one.partition}: the store stands at {at.get(one.partition, 0)}, the update begins"
                        f" at {one.start}"
                    )
                at[one.partition] = one.end
            for one in applies:
                self._merge(self.held.generations[one.definition.generation], one)
        self.fault("applied")

    def _ready(self, one: Apply) -> Generation:
        held = self.held.generations.get(one.definition.generation)
        if held is None or not held.active or held.ruling != one.ruling:
            raise Conflict("the generation is not filled, or counted under another ruling")
        return held

    def _merge(self, held: Generation, one: Apply) -> None:
        held.offsets[one.partition] = one.end
        held.clock_us = max(held.clock_us, one.clock_us)
        if one.events.num_rows:
            lifted = Lifted(one.definition, one.events)
            for level, rows in lifted.tiles():
                for key, slot, *row in rows:
                    held.state.add(key, level, slot, row)
            _copy(held.state, lifted, horizon_us(held.clock_us, HEAD_US))

    def expire(self, definition: Definition) -> int:
        with self.held.lock:
            held = self.held.generations.get(definition.generation)
            horizon = 0 if held is None else horizon_us(held.clock_us, HEAD_US)
            if held is None or horizon - held.expired_us < STEP_US:
                return 0
            first, dropped = reach(horizon, definition.windows_us), 0
            for tiles in held.state.tiles.values():
                old = [(level, slot) for level, slot in tiles if slot < (first[level] or 0)]
                dropped += len([tiles.pop(at) for at in old])
            for events in held.state.heads.values():
                dropped += len([events.pop(at) for at in [at for at in events if at[0] < horizon]])
            held.expired_us = horizon
            return dropped

    # reading

    def lookup(self, definition: Definition, keys: Sequence[str | None], at_us: Sequence[int]) -> list[Lookup]:
        answers = Answers(definition)
        with self.held.lock:
            held = self._known(definition)
            return [self._look(held, answers, key, at) for key, at in zip(keys, at_us, strict=True)]

    def reader(self, uses: Sequence[Use]) -> MemoryReader:
        return MemoryReader(self, [Bound(*use) for use in uses])

    def _known(self, definition: Definition) -> Generation:
        if definition.generation not in self.held.generations:
            raise NotFound(f"no generation {definition.generation}")
        return self.held.generations[definition.generation]

    def _look(self, held: Generation, answers: Answers, key: str | None, at_us: int) -> Lookup:
        values: dict[str, Any] = {}
        reasons: dict[str, str] = {}
        if key is None:
            answers.nothing("null_key", values, reasons)
        else:
            plan, state = answers.plan(at_us), held.state
            head = [row for (t, _), row in state.heads.get(key, {}).items() if plan.bounds[-1] <= t < at_us]
            recent = _windows(state, key, plan.shape, plan.bounds, head)
            past = _windows(state, key, plan.past_shape, plan.past_bounds, []) if plan.past_until_us else ()
            answers.answer(recent, past, lambda: bool(state.tiles.get(key)), values, reasons)
        return Lookup(values, reasons, dict(held.offsets), at_us >= horizon_us(held.clock_us, HEAD_US))


class MemoryReader:
    def __init__(self, store: MemoryOnline, bounds: Sequence[Bound]) -> None:
        self._store, self._bounds = store, bounds
        self.columns = tuple(name for bound in bounds for name in bound.answers.names)

    def __call__(self, request: Mapping[str, Any], at_us: int) -> Found:
        with self._store.held.lock:
            held = {bound.definition.generation: self._store._known(bound.definition) for bound in self._bounds}
            looks = [
                self._store._look(held[bound.definition.generation], bound.answers, bound.key(request), at_us)
                for bound in self._bounds
            ]
            offsets = offsets_of(self._bounds, {generation: dict(one.offsets) for generation, one in held.items()})
        late = tuple(bound.prefix for bound, look in zip(self._bounds, looks, strict=True) if not look.exact)
        values = {name: value for look in looks for name, value in look.values.items()}
        return Found(values, {name: why for look in looks for name, why in look.reasons.items()}, offsets, late)


def _empty(definition: Definition) -> State:
    return State([merge for _, merge, _ in stored(definition)])


def _rows(batch: pa.RecordBatch, names: Sequence[str]) -> Iterator[Sequence[Any]]:
    return zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def _copy(state: State, events: Lifted, since_us: int) -> None:
    for key, t, tie, *row in events.heads(since_us):
        state.heads.setdefault(key, {})[t, tie] = row


def _windows(
    state: State, key: str, shape: Sequence[Sequence[int]], bounds: Sequence[int], head: list[Row]
) -> list[Row]:
    """Of each window, shortest first, what its stretches add; the head belongs to the first."""
    made, at = list[Row](), 0
    for levels in shape:
        rows = [] if made else list(head)
        for level in levels:
            rows += state.stretch(key, level, bounds[at], bounds[at + 1])
            at += 2
        made.append(state.merged(rows))
    return made
