"""The answer of a look-up: covers as parameters, states merged over stretches, finalised, and the reason of each NULL.

Pure: an engine fetches the merged states of each stretch (one row), the rest is here and the same for all.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from millstream.features.definition import Definition
from millstream.features.keys import encoder
from millstream.features.state import empty, finaliser, stored, too_large
from millstream.features.window import HOUR, LEVELS, SLOT_US, Stretch, by_length, nested, start_slot

HEAD_US = 7_200_000_000
"""How old a look-up's moment may be, beside the newest arrival applied: two hours. A store lets go of its copies of
events once an hour.
"""
SETTLED_US = 3_600_000_000
"""Events seldom come later than this. What a look-up reads of tiles older than PAST_SLOTS, a store may keep until one
does.
"""
PAST_SLOTS = 3 * HOUR
_COVERS = 4096
_KEPT = 16_384
"""Keys of a definition whose past is kept: some hundred bytes each."""

NEVER_SEEN, NONE_IN_REACH = "never_seen", "none_in_reach"
"""Why a key has no value at all: it never had an event; or it has none within the longest window, and older ones are
not kept online.
"""

Row: TypeAlias = Sequence[Any]


@dataclass(frozen=True)
class Plan:
    """How to look a slot up: in two halves, since what is past is the same for an hour and for every request of a key.

    Attributes:
        shape: For each window, shortest first, the levels of the recent stretches that it adds.
        bounds: low and high of each recent stretch, in the same order; then where the head begins.
        head: The first window that the events of the head belong to, the first one as a rule. Those before it are
            empty: they begin after the last row that is known.
        past_shape, past_bounds: The same of the hours and days that end PAST_SLOTS ago or earlier; no head.
        past_until_us: Where the last of them ends; 0 when there are none.
    """

    shape: tuple[tuple[int, ...], ...]
    bounds: tuple[int, ...]
    past_shape: tuple[tuple[int, ...], ...]
    past_bounds: tuple[int, ...]
    past_until_us: int
    head: int = 0


class Answers:
    """Turns states into answers, for one definition and the names its columns go by."""

    def __init__(self, definition: Definition, prefix: str = "") -> None:
        self.definition = definition
        self.windows = by_length(definition.windows_us)
        columns = stored(definition)
        at = {name: i for i, (name, _, _) in enumerate(columns)}
        self._merges = [merge for _, merge, _ in columns]
        self._empty: Row = tuple(0 if merge == "add" else None for merge in self._merges)
        self._by_window = [
            [
                (prefix + output.column(window), finaliser(definition, output, at), too_large(definition, output, at))
                for output in definition.outputs
            ]
            for window in self.windows
        ]
        self.names = tuple(prefix + name for name in definition.columns)
        self._nothing = {prefix + output.column(window): empty(output) for output, window in definition.answers()}
        self._windows = tuple(self.windows)
        # Without a window over all time the store forgets what is older than the longest: the key may well have had
        # events then.
        self._unknown = NEVER_SEEN if None in self._windows else NONE_IN_REACH
        self.ruled = definition.ruled

    def until_us(self, at_us: int) -> int:
        """Where the windows of a moment end: events before this count."""
        return self.definition.until_us(at_us) if self.ruled else at_us

    def plan(self, at_us: int) -> Plan:
        """The cover of the windows of a moment."""
        slot = at_us // SLOT_US
        return _plan(self._windows, slot, self.definition.until_us(at_us) // SLOT_US if self.ruled else slot)

    def answer(
        self,
        found: Sequence[Row],
        past: Sequence[Row],
        ever: Callable[[], bool],
        values: dict[str, Any],
        reasons: dict[str, str],
    ) -> None:
        """Add the answers of one key.

        Args:
            found: For each window, shortest first, the merged states of what is recent of it; a count of 0 or None
                where there is nothing.
            past: The same of what is past, or empty.
            ever: Whether the store has seen the key at all; asked only when a window is empty.
        """
        row: Row = self._empty
        last: str | None = None
        rows = []
        for i, stretch in enumerate(found):
            if stretch[0]:
                row = self._merged(row, stretch) if row[0] else stretch
            if past and past[i][0]:
                row = self._merged(row, past[i]) if row[0] else past[i]
            rows.append(row)
        for row, outputs in zip(rows, self._by_window, strict=True):
            for name, finalise, large in outputs:
                value = values[name] = finalise(row)
                if value is None:
                    if row[0]:
                        reasons[name] = "too_large" if large(row) else "no_value"
                    else:
                        last = last or ("outside_window" if rows[-1][0] or ever() else self._unknown)
                        reasons[name] = last

    def nothing(self, reason: str, values: dict[str, Any], reasons: dict[str, str]) -> None:
        """Add the answers of a key that cannot be looked up."""
        values.update(self._nothing)
        for name, value in self._nothing.items():
            if value is None:
                reasons[name] = reason

    def _merged(self, a: Row, b: Row) -> Row:
        # A row may be wider
        return tuple([_MERGES[merge](x, y) for merge, x, y in zip(self._merges, a, b, strict=False)])


@lru_cache(_COVERS)
def _plan(windows: tuple[int | None, ...], slot: int, last: int) -> Plan:
    """Kept, since the moments of many requests fall into one slot, and many definitions have the same windows. `last`:
    the slot in which they end.
    """
    covers = nested(slot, windows, last)
    head = next((i for i, window in enumerate(windows) if start_slot(slot, window) <= last), len(windows))
    until = (slot - PAST_SLOTS) // HOUR * HOUR
    recent, past = zip(*(_cut(cover, until) for cover in covers), strict=True)
    end = max((stretch.high * LEVELS[stretch.level] for cover in past for stretch in cover), default=0)
    return Plan(_levels(recent), (*_bounds(recent), last * SLOT_US), _levels(past), _bounds(past), end * SLOT_US, head)


def _cut(cover: list[Stretch], until: int) -> tuple[list[Stretch], list[Stretch]]:
    """What is recent of a cover, and the hours and days that end at the slot `until` or earlier."""
    recent, past = [], []
    for level, low, high in cover:
        at = low if level == 0 else min(max(low, until // LEVELS[level]), high)
        past += [Stretch(level, low, at)] if low < at else []
        recent += [Stretch(level, at, high)] if at < high else []
    return recent, past


def _levels(covers: Sequence[list[Stretch]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(stretch.level for stretch in cover) for cover in covers)


def _bounds(covers: Sequence[list[Stretch]]) -> tuple[int, ...]:
    return tuple(bound for cover in covers for stretch in cover for bound in (stretch.low, stretch.high))


def _least(a: Any, b: Any) -> Any:
    return b if a is None or (b is not None and b < a) else a


def _greatest(a: Any, b: Any) -> Any:
    return b if a is None or (b is not None and b > a) else a


_MERGES: dict[str, Callable[[Any, Any], Any]] = {"add": operator.add, "least": _least, "greatest": _greatest}


class Past:
    """What a store was asked of the past, by key and bounds; the same for as long as its era, in which no event came
    that is older than `settled_us`.
    """

    def __init__(self, era: int, settled_us: int) -> None:
        self.era, self.settled_us = era, settled_us
        self._rows: dict[tuple[str, tuple[int, ...]], Sequence[Row]] = {}

    def of(self, key: str | None, bounds: tuple[int, ...] | None) -> Sequence[Row] | None:
        """None when it must be read."""
        return () if key is None or bounds is None else self._rows.get((key, bounds))

    def keep(self, key: str, bounds: tuple[int, ...], rows: Sequence[Row]) -> None:
        if len(self._rows) >= _KEPT:
            self._rows.clear()
        self._rows[key, bounds] = rows


@dataclass(frozen=True)
class Found:
    """The features of one request, all from one snapshot of the store.

    Attributes:
        values: `<prefix>__<output>` -> value.
        reasons: The same -> why it is None.
        offsets: Stream -> partition -> next offset not applied; `<stream>/<prefix>` where one definition stands
            elsewhere than its stream's first (it was filled later). Shared between answers: do not change it.
        inexact: Prefixes whose moment is older than the store keeps apart.
    """

    values: dict[str, Any]
    reasons: dict[str, str]
    offsets: Mapping[str, Mapping[int, int]]
    inexact: tuple[str, ...] = ()


Use: TypeAlias = tuple[Definition, Sequence[str], str]
"""A definition, the request's columns in the order of its key, and the prefix of its columns."""


class Bound:
    """One use, compiled."""

    def __init__(self, definition: Definition, columns: Sequence[str], prefix: str) -> None:
        self.definition, self.prefix = definition, prefix
        self.answers = Answers(definition, f"{prefix}__")
        self.key = encoder(columns)


def offsets_of(bounds: Sequence[Bound], stood: Mapping[str, Mapping[int, int]]) -> dict[str, Mapping[int, int]]:
    """Positions by stream, for `Found.offsets`; `stood` is by generation."""
    made: dict[str, Mapping[int, int]] = {}
    for bound in bounds:
        at, stream = stood[bound.definition.generation], bound.definition.stream
        if made.setdefault(stream, at) != at:
            made[f"{stream}/{bound.prefix}"] = at
    return made
