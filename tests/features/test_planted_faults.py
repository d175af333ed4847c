"""Does the property test bite? Each of these faults, planted one at a time, must be found by the check that looks at
its reader.
"""

from __future__ import annotations

import inspect
import sqlite3
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from worlds import CHECKS, world

from millstream.base.registry import engine
from millstream.engines.sqlite import lookups
from millstream.engines.sqlite import online as sqlite_online
from millstream.features import events, fill, lift, offline, online, tiles

BUDGET_S, WORLDS = 60.0, 10
"""The property test makes about as many worlds in a run, and larger ones."""
_SOURCES: dict[Any, str] = {}


@dataclass(frozen=True)
class Fault:
    """A piece of text in a module's function that is replaced by a wrong one, and the check that must see it."""

    name: str
    check: str
    where: Any
    right: str
    wrong: str
    windows: tuple[str, ...] = ("30m", "7d")
    raises: type[BaseException] | None = None

    def plant(self, patch: pytest.MonkeyPatch) -> None:
        owner, function = self.where
        made = getattr(owner, function)
        if isinstance(made, str):
            assert self.right in made, f"{self.name}: the text is not there any more"
            patch.setattr(owner, function, made.replace(self.right, self.wrong))
            return
        text = textwrap.dedent(inspect.getsource(made))
        assert self.right in text, f"{self.name}: the text is not there any more"
        space: dict[str, Any] = {}
        module = inspect.getmodule(made)
        assert module is not None
        exec(
            compile(
                "from __future__ import annotations\n" + text.replace(self.right, self.wrong), f"<{self.name}>", "exec"
            ),
            vars(module),
            space,
        )
        patch.setattr(owner, function, space[function])


T, S = tiles.Tiling, sqlite_online.SqliteOnline
FAULTS = [
    # the offline reader
    Fault("a tile is seen a slot too early", "known", (T, "tiles"), "z + 1 as vis", "z as vis"),
    Fault(
        "an hour is seen whole or not at all",
        "known",
        (T, "tiles"),
        "greatest(vis, (b // 12 + 1) * 12)",
        "(b // 12 + 1) * 12",
    ),
    Fault(
        "a day is seen whole or not at all",
        "known",
        (T, "tiles"),
        "greatest(vis, (b // 24 + 1) * 288)",
        "(b // 24 + 1) * 288",
    ),
    Fault(
        "the tail forgets the window's start",
        "known",
        (T, "tail"),
        '_start(w) if self.late and w is not None else ""',
        '""',
        ("30m", "5m"),
    ),
    Fault("an event of the very moment counts", "event", (T, "tail"), "nulls first", "nulls last"),
    Fault(
        "arrival is not asked for",
        "known",
        (offline._Plan, "_use"),
        'self.mode == "known" and clock',
        "False and clock",
    ),
    Fault(
        "an event of the future is known before it happens",
        "known",
        (T, "events"),
        "greatest(known, t) as known",
        "known",
    ),
    Fault(
        "the tie of a last is reversed", "event", (tiles, "ORDER"), "_partition::hugeint", "(2 - _partition)::hugeint"
    ),
    Fault("minus zero stays minus zero", "event", (tiles, "_lifted"), "then {raw} + 0.0::double", "then {raw}"),
    Fault(
        "a value at the grid's limit is left out in silence",
        "event",
        (tiles, "_lifted"),
        "abs({raw}) >= {limit}",
        "abs({raw}) > {limit}",
    ),
    Fault(
        "values too large for a sum are left out of it",
        "event",
        (T, "lift"),
        'f"count(g{i})"',
        '"count(null::boolean)"',
    ),
    Fault(
        "halves are rounded to even",
        "event",
        (tiles, "_lifted"),
        "floor({raw} * {unit}::double + 0.5::double)",
        "round_even({raw} * {unit}::double, 0)",
    ),
    Fault(
        "a long window starts a slot too early",
        "event",
        (T, "covered"),
        "{window_us // SLOT_US}",
        "{window_us // SLOT_US + 1}",
    ),
    Fault(
        "a hop of hours below twelve days and a half",
        "event",
        (tiles, "hop_us"),
        "12 * _DAY_US",
        "15 * _DAY_US",
        ("14d",),
    ),
    Fault(
        "what is at a logged position was seen",
        "online",
        (offline._Plan, "_chunk"),
        "x._offset < bounds.upto",
        "x._offset <= bounds.upto",
    ),
    # the online reader
    Fault("the moment itself is inside", "online", (lookups.Query, "windows"), "t < {moment}", "t <= {moment}"),
    Fault(
        "what is kept of the past outlives a late event",
        "online",
        (S, "_apply"),
        "states.oldest_us() < stands.settled_us or",
        "",
    ),
    Fault(
        "a replayed batch is applied",
        "online",
        (S, "_apply"),
        "if at != one.start:",
        "if at < one.start:",
        raises=AssertionError,
    ),
    Fault(
        "the head is let go two hours early",
        "online",
        (S, "_apply"),
        "horizon_us(clock, HEAD_US)",
        "horizon_us(clock, HEAD_US) + 7_200_000_000",
    ),
    Fault(
        "slots expire early",
        "online",
        (sqlite_online, "reach"),
        "max(0, (min(horizon - slots, end) - _HOUR_US) // SLOT_US)",
        "max(0, (min(horizon - slots, end) + _HOUR_US) // SLOT_US)",
        ("3h",),
    ),
    Fault(
        "hours expire early",
        "online",
        (sqlite_online, "reach"),
        "(min(horizon - hours, end) - _HOUR_US - _DAY_US) // _HOUR_US",
        "min(horizon - hours, end) // _HOUR_US + 1",
        ("7d",),
    ),
    Fault(
        "days expire early",
        "online",
        (sqlite_online, "reach"),
        "(horizon - max(finite) - _DAY_US) // _DAY_US",
        "(horizon - max(finite)) // _DAY_US + 1",
        ("14d",),
    ),
    Fault(
        "a shorter window is left out of the longer one",
        "online",
        (online.Answers, "answer"),
        "self._merged(row, stretch) if row[0] else stretch",
        "stretch",
    ),
    Fault("times are packed with the low byte first", "online", (lift, "_pack"), '("t", ">i8")', '("t", "<i8")'),
    Fault(
        "where is true when it is NULL",
        "online",
        (events, "events_of"),
        "evaluate(definition.where, rows), False",
        "evaluate(definition.where, rows), True",
    ),
    Fault(
        "rounding is numpy's",
        "online",
        (lift, "_counting"),
        "np.floor(raw * 10.0**value.scale + 0.5)",
        "np.rint(raw * 10.0**value.scale)",
    ),
    Fault("a square loses its middle limb's carry", "online", (lift, "_square"), "(ll >> 36) + ", ""),
    # filling
    Fault(
        "a filled tile without a value sums to NULL",
        "filled",
        (fill, "_stored"),
        "coalesce({part.name}, 0::hugeint)",
        "{part.name}",
        raises=sqlite3.IntegrityError,
    ),
    Fault(
        "a fill stands one record further",
        "filled",
        (fill, "landed"),
        ": at for",
        ": at + 1 for",
        raises=AssertionError,
    ),
    Fault(
        "a fill leaves the head out",
        "filled",
        (fill._Fill, "_raw"),
        "t >= {self.recent}",
        "t >= {self.recent + 24 * SLOT_US}",
    ),
    Fault(
        "a fill loses the sign of sums",
        "filled",
        (fill, "_stored"),
        "{whole} >> {bits * i}",
        "abs({whole}) >> {bits * i}",
    ),
]


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    made = engine("sql", "duckdb")("duckdb:?threads=2", tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_found(fault: Fault, sql: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fault.plant(monkeypatch)
    until = time.monotonic() + BUDGET_S
    for seed in range(WORLDS):
        assert time.monotonic() < until, f"not found in {seed} worlds and {BUDGET_S:g} s"
        try:
            if CHECKS[fault.check](world(seed, keys=15, windows=fault.windows), sql, tmp_path):
                return
        except Exception as error:
            assert fault.raises is not None and isinstance(error, fault.raises), (
                f"the fault is not a program: {error!r}"
            )
            return
    pytest.fail(f"not found in {WORLDS} worlds")
