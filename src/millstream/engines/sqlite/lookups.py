"""Look-ups in the online store: SQL for what is recent of a key, and what was read of its past kept while it cannot
change.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

from millstream.base.errors import NotFound
from millstream.features.definition import Definition
from millstream.features.online import HEAD_US, Answers, Bound, Found, Past, Plan, Row, offsets_of
from millstream.features.state import stored
from millstream.features.window import SLOT_US, horizon_us

Run: TypeAlias = Any  # Connection.execute, whose overloads mypy cannot name shortly
Shape: TypeAlias = tuple[tuple[int, ...], ...]
Cut: TypeAlias = tuple[Shape, int]
"""A shape, and the window that the head belongs to."""
_SLOTS = 256
_NOTHING: Row = (0,)
_STANDS = """
select generation, active, clock, era, settled, partition, next
  from generation left join position using (generation) where generation in ({})
"""


@dataclass(frozen=True)
class Stand:
    """Where a generation stands (see `features.port.Applied`), and before which moment nothing has changed since its
    era began.
    """

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
    for generation, active, clock, era, settled, partition, at in run(
        _STANDS.format(", ".join("?" * len(generations))), generations
    ):
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


class SqliteLookups:
    """Uses bound once; the answers of a request are from one snapshot.

    Nearly always that is one statement: each lets go of the interpreter's lock and waits for it again, which costs a
    busy server as much as SQLite does. When somebody has written since the last request, or the past of a key is not
    kept, it is a transaction.
    """

    def __init__(
        self,
        connection: Callable[[], sqlite3.Connection],
        errors: Callable[[], AbstractContextManager[None]],
        bounds: Sequence[Bound],
    ) -> None:
        self._connection, self._errors = connection, errors
        self._bounds, self._queries = list(bounds), [Query(bound.definition) for bound in bounds]
        self._generations = list(dict.fromkeys(bound.definition.generation for bound in bounds))
        self.columns = tuple(name for bound in bounds for name in bound.answers.names)
        self._local = threading.local()
        self._ruled = any(bound.answers.ruled for bound in bounds)
        self._ready: dict[int | tuple[int, ...], _Ready] = {}
        self._texts: dict[tuple[Cut, ...], tuple[str, list[list[int]]]] = {}

    def __call__(self, request: Mapping[str, Any], at_us: int) -> Found:
        keys = [bound.key(request) for bound in self._bounds]
        slot, until = at_us // SLOT_US, [at_us] * len(keys)
        place: int | tuple[int, ...] = slot
        if self._ruled:
            until = [bound.answers.until_us(at_us) for bound in self._bounds]
            place = (slot, *(end // SLOT_US for end in until))
        ready = self._ready.get(place) or self._prepare(at_us, place)
        asked = (*until, *keys, *ready.bounds)
        with self._errors():
            connection = self._connection()
            run = connection.execute
            seen: _Seen | None = getattr(self._local, "seen", None)
            if seen is not None and seen.connection is connection:
                past = [one.of(key, bounds) for one, key, bounds in zip(seen.pasts, keys, ready.past, strict=True)]
                if None not in past:
                    rows = run(ready.text, asked).fetchall()
                    if rows[0][0] == seen.change:
                        return self._found(run, seen, keys, at_us, ready, rows, past)  # type: ignore[arg-type]
            run("begin")
            try:
                seen = self._seen(connection)
                read = [
                    _past(run, bound.answers.plan(at_us), query, one, key)
                    for bound, query, one, key in zip(self._bounds, self._queries, seen.pasts, keys, strict=True)
                ]
                return self._found(run, seen, keys, at_us, ready, run(ready.text, asked).fetchall(), read)
            finally:
                run("commit")

    def _found(
        self,
        run: Run,
        seen: _Seen,
        keys: list[str | None],
        at_us: int,
        ready: _Ready,
        rows: list[Row],
        past: Sequence[Sequence[Row]],
    ) -> Found:
        values: dict[str, Any] = {}
        reasons: dict[str, str] = {}
        rows[0] = _NOTHING
        for bound, query, key, at, old in zip(self._bounds, self._queries, keys, ready.rows, past, strict=True):
            if key is None:
                bound.answers.nothing("null_key", values, reasons)
            else:
                recent = [rows[i] for i in at]
                bound.answers.answer(
                    recent,
                    old,
                    lambda text=query.ever, key=key: run(text, (key,)).fetchone() is not None,  # type: ignore[misc]
                    values,
                    reasons,
                )
        late = () if at_us >= seen.exact_us else tuple(prefix for prefix, horizon in seen.horizons if at_us < horizon)
        return Found(values, reasons, seen.offsets, late)

    def _prepare(self, at_us: int, place: int | tuple[int, ...]) -> _Ready:
        if len(self._ready) >= _SLOTS:
            self._ready.clear()
        plans = [bound.answers.plan(at_us) for bound in self._bounds]
        shapes = tuple((plan.shape, plan.head) for plan in plans)
        if shapes not in self._texts:
            self._texts[shapes] = _text(self._queries, shapes)
        text, rows = self._texts[shapes]
        bounds = tuple(bound for plan in plans for bound in plan.bounds)
        made = self._ready[place] = _Ready(
            text, bounds, rows, [plan.past_bounds if plan.past_until_us else None for plan in plans]
        )
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
        text: Parameters: where the windows of each use end, the keys, `bounds`.
        bounds: Of the recent stretches, use by use.
        rows: For each use, where the row of each window is; 0 where the window has nothing recent of its own.
        past: For each use, the bounds of what is past; None where nothing is.
    """

    text: str
    bounds: tuple[int, ...]
    rows: list[list[int]]
    past: list[tuple[int, ...] | None]


def _text(queries: Sequence[Query], shapes: Sequence[Cut]) -> tuple[str, list[list[int]]]:
    """Of covers of these shapes, the text and the rows of a `_Ready`."""
    width = max((query.width for query in queries), default=1)
    many = len(queries)
    named = 2 * many + sum(2 * sum(map(len, shape)) + 1 for shape, _ in shapes)
    # All are named, asked or not
    parts, first, rows = ([f"select n{', null' * (width - 1)} from change where 1 or ?{named}"], 1 + 2 * many, [])
    for i, (query, (shape, head)) in enumerate(zip(queries, shapes, strict=True)):
        windows = query.windows(shape, head=head, key=f"?{1 + many + i}", first=first, moment=f"?{1 + i}", width=width)
        first += 2 * sum(map(len, shape)) + 1
        rows.append([len(parts) + sum(map(bool, windows[:n])) if window else 0 for n, window in enumerate(windows)])
        parts += filter(None, windows)
    return " union all ".join(parts), rows


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
    def of(
        cls,
        change: int,
        connection: sqlite3.Connection,
        bounds: Sequence[Bound],
        stood: Mapping[str, Stand],
        before: Sequence[Past],
    ) -> _Seen:
        stands = [stood[bound.definition.generation] for bound in bounds]
        horizons = [(bound.prefix, one.horizon_us) for bound, one in zip(bounds, stands, strict=True)]
        pasts = [
            before[i] if before and before[i].era == one.era else Past(one.era, one.settled_us)
            for i, one in enumerate(stands)
        ]
        offsets = offsets_of(bounds, {g: one.offsets for g, one in stood.items()})
        return cls(change, connection, offsets, max((horizon for _, horizon in horizons), default=0), horizons, pasts)


class Query:
    """The statements of one definition: one text for each shape of a cover."""

    def __init__(self, definition: Definition) -> None:
        self._columns = stored(definition)
        self.width = len(self._columns)
        self._generation = definition.generation
        self._texts: dict[tuple[Shape, int | None], str] = {}
        self.ever = f"select 1 from tile_{self._generation} where k = ? limit 1"

    def text(self, shape: Shape, *, head: int | None) -> str:
        """One row a window; parameters: where they end, the key, bounds of the stretches; with a head, where
        it begins.
        """
        found = self._texts.get((shape, head))
        if found is None:
            nothing = (  # all are named, asked or not
                f"select 0{', null' * (self.width - 1)} where 1 or"
                f" ?{(2 if head is None else 3) + 2 * sum(map(len, shape))}"
            )
            windows = self.windows(shape, head=head, key="?2", first=3, moment="?1", width=self.width)
            found = self._texts[shape, head] = " union all ".join(window or nothing for window in windows)
        return found

    def windows(self, shape: Shape, *, head: int | None, key: str, first: int, moment: str, width: int) -> list[str]:
        """For each window a SELECT of one row of `width` columns, or "" when there is nothing to ask.

        Args:
            head: The window that the head belongs to; None: it is not asked for.
            first: Number of the first bound's parameter.
        """
        names = ", ".join(name for name, _, _ in self._columns)
        merged = ", ".join(
            {"add": "sum", "least": "min", "greatest": "max"}[merge] + f"({name})" for name, merge, _ in self._columns
        )
        place, begins, made = first, first + 2 * sum(map(len, shape)), []
        for i, levels in enumerate(shape):
            stretches = []
            for level in levels:
                stretches.append(
                    f"select {names} from tile_{self._generation} where k = {key} and level = {level} and b >= ?{place}"
                    f" and b < ?{place + 1}"
                )
                place += 2
            if i == head:
                stretches.append(
                    f"select {names} from head_{self._generation} where k = {key} and t >= ?{begins} and t < {moment}"
                )
            rest = ", null" * (width - self.width)
            made.append(f"select {merged}{rest} from ({' union all '.join(stretches)})" if stretches else "")
        return made


def look_up(
    run: Run,
    answers: Answers,
    query: Query,
    past: Past,
    key: str | None,
    at_us: int,
    values: dict[str, Any],
    reasons: dict[str, str],
) -> None:
    """Add the answers of one key; `run` is inside a snapshot of `past`'s era."""
    if key is None:
        answers.nothing("null_key", values, reasons)
        return
    plan = answers.plan(at_us)
    recent: list[Row] = run(
        query.text(plan.shape, head=plan.head), (answers.until_us(at_us), key, *plan.bounds)
    ).fetchall()
    answers.answer(
        recent,
        _past(run, plan, query, past, key),
        lambda: run(query.ever, (key,)).fetchone() is not None,
        values,
        reasons,
    )


def _past(run: Run, plan: Plan, query: Query, past: Past, key: str | None) -> Sequence[Row]:
    """What is past of a key: kept from before, or read and kept."""
    bounds = plan.past_bounds if plan.past_until_us else None
    found = past.of(key, bounds)
    if found is None:
        found = run(query.text(plan.past_shape, head=None), (None, key, *plan.past_bounds)).fetchall()
        if plan.past_until_us <= past.settled_us:
            past.keep(str(key), plan.past_bounds, found)
    return found


def _unknown(definition: Definition) -> NotFound:
    return NotFound(
        f'features "{definition.name}": the online store has no generation {definition.generation}; `millstream run'
        f" {definition.name}` fills it"
    )


__all__ = ["Query", "Run", "SqliteLookups", "Stand", "look_up", "stand", "standing"]
