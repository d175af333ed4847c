"""Look-ups in the online store: SQL for what is recent of a key, and what was read of its past kept while it cannot change."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

from millstream.declare.errors import NotFound
from millstream.features.definition import Definition
from millstream.features.online import HEAD_US, Answers, Bound, Found, Plan, Row, offsets_of
from millstream.features.state import stored
from millstream.features.window import SLOT_US, horizon_us

Run: TypeAlias = Any  # Connection.execute, whose overloads mypy cannot name shortly
_KEPT = 16_384
"""Keys of a definition whose past is kept: some hundred bytes each."""
_SLOTS = 256
_NOTHING: Row = (0,)
_STANDS = """
select generation, active, clock, era, settled, partition, next from generation left join position using (generation) where generation in ({})
"""


@dataclass(frozen=True)
class Stand:
    """Where a generation stands (see `features.port.Applied`), and before which moment nothing has changed since its era began."""

    offsets: Mapping[int, int]
    clock_us: int
    active: bool
    era: int
    settled_us: int

    @property
    def horizon_us(self) -> int:
        return horizon_us(self.clock_us, HEAD_US)


def stands_of(run: Run, generations: Sequence[str]) -> dict[str, Stand]:
    """Those of them that exist, in one statement."""
    made: dict[str, Stand] = {}
    for generation, active, clock, era, settled, partition, at in run(_STANDS.format(", ".join("?" * len(generations))), generations):
        stands = made.get(generation)
        if stands is None:
            stands = made[generation] = Stand({}, clock, bool(active), era, settled)
        if partition is not None:
            stands.offsets[partition] = at  # type: ignore[index]  # ours until it is returned
    return made


def stand(run: Run, generation: str) -> Stand | None:
    return stands_of(run, [generation]).get(generation)


def standing(run: Run, definition: Definition) -> Stand:
    """Raises NotFound."""
    found = stand(run, definition.generation)
    if found is None:
        raise _unknown(definition)
    return found


class Past:
    """What was read of the past, by key and bounds; the same for as long as the era."""

    def __init__(self, stands: Stand) -> None:
        self.era, self.settled_us = stands.era, stands.settled_us
        self.rows: dict[tuple[str, tuple[int, ...]], list[Row]] = {}

    def keep(self, of: tuple[str, tuple[int, ...]], rows: list[Row]) -> None:
        if len(self.rows) >= _KEPT:
            self.rows.clear()
        self.rows[of] = rows


class SqliteLookups:
    """Uses bound once; the answers of a request are from one snapshot.

    Nearly always that is one statement: each lets go of the interpreter's lock and waits for it again, which costs a busy server as
    much as SQLite does. When somebody has written since the last request, or the past of a key is not kept, it is a transaction.
    """

    def __init__(self, connection: Callable[[], sqlite3.Connection], errors: Callable[[], AbstractContextManager[None]], bounds: Sequence[Bound]) -> None:
        self._connection, self._errors = connection, errors
        self._bounds, self._queries = list(bounds), [Query(bound.definition) for bound in bounds]
        self._generations = list(dict.fromkeys(bound.definition.generation for bound in bounds))
        self.columns = tuple(name for bound in bounds for name in bound.answers.names)
        self._local = threading.local()
        self._ready: dict[int, _Ready] = {}

    def __call__(self, request: Mapping[str, Any], at_us: int) -> Found:
        keys = [bound.key(request) for bound in self._bounds]
        ready = self._ready.get(at_us // SLOT_US) or self._prepare(at_us)
        with self._errors():
            connection = self._connection()
            seen: _Seen | None = getattr(self._local, "seen", None)
            if seen is not None and seen.connection is connection:
                past = [one.rows.get((key, bounds)) if key is not None and bounds is not None else ()
                        for one, key, bounds in zip(seen.pasts, keys, ready.past, strict=True)]  # fmt: skip
                if None not in past:
                    rows = connection.execute(ready.text, (at_us, *keys, *ready.bounds)).fetchall()
                    if rows[0][0] == seen.change:
                        rows[0] = _NOTHING
                        recent = [[rows[at] for at in of] for of in ready.rows]
                        return self._found(connection.execute, seen, keys, at_us, recent, past)  # type: ignore[arg-type]
            return self._slow(connection, keys, at_us)

    def _slow(self, connection: sqlite3.Connection, keys: list[str | None], at_us: int) -> Found:
        run = connection.execute
        run("begin")
        try:
            seen = self._seen(connection)
            read = [_read(run, bound.answers.plan(at_us), query, past, key, at_us) if key is not None else ([], [])
                    for bound, query, past, key in zip(self._bounds, self._queries, seen.pasts, keys, strict=True)]  # fmt: skip
            return self._found(run, seen, keys, at_us, [recent for recent, _ in read], [past for _, past in read])
        finally:
            run("commit")

    def _found(self, run: Run, seen: _Seen, keys: list[str | None], at_us: int, recent: Sequence[Sequence[Row]], past: Sequence[Sequence[Row]]) -> Found:
        values: dict[str, Any] = {}
        reasons: dict[str, str] = {}
        for bound, query, key, new, old in zip(self._bounds, self._queries, keys, recent, past, strict=True):
            if key is None:
                bound.answers.nothing("null_key", values, reasons)
            else:
                bound.answers.answer(new, old, lambda text=query.ever, key=key: run(text, (key,)).fetchone() is not None, values, reasons)  # type: ignore[misc]
        late = () if at_us >= seen.exact_us else tuple(prefix for prefix, horizon in seen.horizons if at_us < horizon)
        return Found(values, reasons, seen.offsets, late)

    def _prepare(self, at_us: int) -> _Ready:
        if len(self._ready) >= _SLOTS:
            self._ready.clear()
        made = self._ready[at_us // SLOT_US] = _Ready.of(self._bounds, self._queries, at_us)
        return made

    def _seen(self, connection: sqlite3.Connection) -> _Seen:
        """The snapshot's, read again only when somebody has written since."""
        (change,) = connection.execute("select n from change").fetchone()
        kept: _Seen | None = getattr(self._local, "seen", None)
        if kept is not None and kept.change == change and kept.connection is connection:
            return kept
        stood = stands_of(connection.execute, self._generations)
        for bound in self._bounds:
            if bound.definition.generation not in stood:
                raise _unknown(bound.definition)
        before = [] if kept is None else kept.pasts
        made = self._local.seen = _Seen.of(change, connection, self._bounds, stood, before)
        return made


@dataclass(frozen=True)
class _Ready:
    """The statement of a slot: the number of the last change, then a row for what is recent of each window of each use.

    Attributes:
        text: Parameters: the moment, the keys, `bounds`.
        bounds: Of the recent stretches, use by use.
        rows: For each use, where the row of each window is; 0 where the window has nothing recent of its own.
        past: For each use, the bounds of what is past; None where nothing is.
    """

    text: str
    bounds: tuple[int, ...]
    rows: list[list[int]]
    past: list[tuple[int, ...] | None]

    @classmethod
    def of(cls, bounds: Sequence[Bound], queries: Sequence[Query], at_us: int) -> _Ready:
        width = max((query.width for query in queries), default=1)
        parts, numbers, rows, past = [f"select n{', null' * (width - 1)} from change"], list[int](), list[list[int]](), list[tuple[int, ...] | None]()
        for i, (bound, query) in enumerate(zip(bounds, queries, strict=True)):
            plan = bound.answers.plan(at_us)
            windows = query.windows(plan.shape, head=True, key=f"?{2 + i}", first=2 + len(bounds) + len(numbers), moment="?1", width=width)
            numbers += plan.bounds
            rows.append([len(parts) + sum(map(bool, windows[:n])) if window else 0 for n, window in enumerate(windows)])
            parts += filter(None, windows)
            past.append(plan.past_bounds if plan.past_until_us else None)
        return cls(" union all ".join(parts), tuple(numbers), rows, past)


@dataclass(frozen=True)
class _Seen:
    """What a snapshot says of all uses.

    Attributes:
        exact_us: From this moment on every use is exact.
        horizons: Prefix and horizon of each use.
        pasts: What is kept for each use.
    """

    change: int
    connection: sqlite3.Connection
    offsets: Mapping[str, Mapping[int, int]]
    exact_us: int
    horizons: list[tuple[str, int]]
    pasts: list[Past]

    @classmethod
    def of(cls, change: int, connection: sqlite3.Connection, bounds: Sequence[Bound], stood: Mapping[str, Stand], before: Sequence[Past]) -> _Seen:
        stands = [stood[bound.definition.generation] for bound in bounds]
        horizons = [(bound.prefix, one.horizon_us) for bound, one in zip(bounds, stands, strict=True)]
        pasts = [before[i] if before and before[i].era == one.era else Past(one) for i, one in enumerate(stands)]
        offsets = offsets_of(bounds, {g: one.offsets for g, one in stood.items()})
        return cls(change, connection, offsets, max((horizon for _, horizon in horizons), default=0), horizons, pasts)


class Query:
    """The statements of one definition: one text for each shape of a cover."""

    def __init__(self, definition: Definition) -> None:
        self._columns = stored(definition)
        self.width = len(self._columns)
        self._generation = definition.generation
        self._texts: dict[tuple[tuple[tuple[int, ...], ...], bool], str] = {}
        self.ever = f"select 1 from tile_{self._generation} where k = ? limit 1"

    def text(self, shape: tuple[tuple[int, ...], ...], *, head: bool) -> str:
        """One row a window; parameters: the moment, the key, bounds of the stretches; with a head, where it begins."""
        found = self._texts.get((shape, head))
        if found is None:
            nothing = f"select 0{', null' * (self.width - 1)}"
            windows = self.windows(shape, head=head, key="?2", first=3, moment="?1", width=self.width)
            found = self._texts[shape, head] = " union all ".join(window or nothing for window in windows)
        return found

    def windows(self, shape: tuple[tuple[int, ...], ...], *, head: bool, key: str, first: int, moment: str, width: int) -> list[str]:
        """For each window a SELECT of one row of `width` columns, or "" when there is nothing to ask.

        Args:
            first: Number of the first bound's parameter.
        """
        names = ", ".join(name for name, _, _ in self._columns)
        merged = ", ".join({"add": "sum", "least": "min", "greatest": "max"}[merge] + f"({name})" for name, merge, _ in self._columns)
        place, begins, made = first, first + 2 * sum(map(len, shape)), []
        for i, levels in enumerate(shape):
            stretches = []
            for level in levels:
                stretches.append(f"select {names} from tile_{self._generation} where k = {key} and level = {level} and b >= ?{place} and b < ?{place + 1}")
                place += 2
            if head and i == 0:
                stretches.append(f"select {names} from head_{self._generation} where k = {key} and t >= ?{begins} and t < {moment}")
            rest = ", null" * (width - self.width)
            made.append(f"select {merged}{rest} from ({' union all '.join(stretches)})" if stretches else "")
        return made


def look_up(run: Run, answers: Answers, query: Query, past: Past, key: str | None, at_us: int, values: dict[str, Any], reasons: dict[str, str]) -> None:
    """Add the answers of one key; `run` is inside a snapshot of `past`'s era."""
    if key is None:
        answers.nothing("null_key", values, reasons)
        return
    recent, older = _read(run, answers.plan(at_us), query, past, key, at_us)
    answers.answer(recent, older, lambda: run(query.ever, (key,)).fetchone() is not None, values, reasons)


def _read(run: Run, plan: Plan, query: Query, past: Past, key: str, at_us: int) -> tuple[list[Row], Sequence[Row]]:
    """What is recent, and what is past: kept from before, or read and kept."""
    older: Sequence[Row] = ()
    if plan.past_until_us:
        found = past.rows.get((key, plan.past_bounds))
        if found is None:
            found = run(query.text(plan.past_shape, head=False), (at_us, key, *plan.past_bounds)).fetchall()
            if plan.past_until_us <= past.settled_us:
                past.keep((key, plan.past_bounds), found)
        older = found
    return run(query.text(plan.shape, head=True), (at_us, key, *plan.bounds)).fetchall(), older


def _unknown(definition: Definition) -> NotFound:
    return NotFound(f'features "{definition.name}": the online store has no generation {definition.generation}; `millstream run {definition.name}` fills it')


__all__ = ["Past", "Query", "Run", "SqliteLookups", "Stand", "look_up", "stand", "standing"]
