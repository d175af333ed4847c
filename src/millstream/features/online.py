"""The answer of a look-up: covers as parameters, states merged over stretches, finalised, and the reason of each NULL.

Pure: an engine fetches the merged states of each stretch (one row), the rest is here and the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from millstream.features.definition import Definition
from millstream.features.keys import encoder
from millstream.features.state import empty, finaliser, stored
from millstream.features.window import SLOT_US, Stretch, by_length, nested

HEAD_US = 7_200_000_000
"""How old a look-up's moment may be, beside the newest arrival applied: two hours. A store lets go of its copies of events once an hour."""
_COVERS = 4096

Row: TypeAlias = Sequence[Any]


@dataclass(frozen=True)
class Plan:
    """How to look a slot up.

    Attributes:
        shape: For each window, shortest first, the levels of the stretches that it adds. The head belongs to the first.
        bounds: low and high of each stretch, in the same order.
    """

    shape: tuple[tuple[int, ...], ...]
    bounds: tuple[int, ...]


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
            [(prefix + output.column(window), finaliser(definition, output, at)) for output in definition.outputs] for window in self.windows
        ]  # fmt: skip
        self.names = tuple(prefix + name for name in definition.columns)
        self._nothing = {prefix + output.column(window): empty(output) for output, window in definition.answers()}
        self._plans: dict[int, Plan] = {}

    def plan(self, at_us: int) -> Plan:
        """The cover of the windows of a moment; kept, since the moments of many requests fall into one slot."""
        slot = at_us // SLOT_US
        found = self._plans.get(slot)
        if found is None:
            if len(self._plans) >= _COVERS:
                self._plans.clear()
            found = self._plans[slot] = _plan(nested(slot, self.windows), slot)
        return found

    def answer(self, found: Sequence[Row | None], ever: Callable[[], bool], values: dict[str, Any], reasons: dict[str, str]) -> None:
        """Add the answers of one key.

        Args:
            found: For each window, shortest first, the merged states of what it adds; None where there is nothing.
            ever: Whether the store has seen the key at all; asked only when a window is empty.
        """
        row: Row = self._empty
        last: str | None = None
        rows = []
        for stretch in found:
            if stretch is not None and stretch[0]:
                row = self._merged(row, stretch) if row[0] else stretch
            rows.append(row)
        for row, outputs in zip(rows, self._by_window, strict=True):
            for name, finalise in outputs:
                value = values[name] = finalise(row)
                if value is None:
                    if row[0]:
                        reasons[name] = "no_value"
                    else:
                        last = last or ("outside_window" if rows[-1][0] or ever() else "never_seen")
                        reasons[name] = last

    def nothing(self, reason: str, values: dict[str, Any], reasons: dict[str, str]) -> None:
        """Add the answers of a key that cannot be looked up."""
        values.update(self._nothing)
        for name, value in self._nothing.items():
            if value is None:
                reasons[name] = reason

    def _merged(self, a: Row, b: Row) -> Row:
        return tuple([_MERGES[merge](x, y) for merge, x, y in zip(self._merges, a, b, strict=True)])


def _plan(covers: list[list[Stretch]], slot: int) -> Plan:
    shape = tuple(tuple(stretch.level for stretch in cover) for cover in covers)
    bounds = [bound for cover in covers for stretch in cover for bound in (stretch.low, stretch.high)]
    return Plan(shape, (*bounds, slot * SLOT_US))


def _least(a: Any, b: Any) -> Any:
    return b if a is None or (b is not None and b < a) else a


def _greatest(a: Any, b: Any) -> Any:
    return b if a is None or (b is not None and b > a) else a


_MERGES: dict[str, Callable[[Any, Any], Any]] = {"add": lambda a, b: a + b, "least": _least, "greatest": _greatest}


@dataclass(frozen=True)
class Found:
    """The features of one request, all from one snapshot of the store.

    Attributes:
        values: `<prefix>__<output>` -> value.
        reasons: The same -> why it is None.
        offsets: Stream -> partition -> next offset not applied; `<stream>/<prefix>` where one definition stands elsewhere than its
            stream's first (it was filled later). Shared between answers: do not change it.
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
