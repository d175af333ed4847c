"""Schedules from seeds: made, played, and shrunk when they fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from things import CODES
from world import Step, World

ACTIONS: dict[str, tuple[int, Callable[[np.random.Generator], tuple[int, ...]]]] = {
    "send": (6, lambda r: (int(r.integers(0, 2)), *_codes(r, 6))),
    "post": (5, lambda r: (*r.integers(0, 2, 2).tolist(), *_codes(r, 5))),
    "write": (2, lambda r: tuple(_codes(r, 5))),
    "read": (3, lambda r: (int(r.integers(0, 2)),)),
    "commit": (2, lambda r: (int(r.integers(0, 4)), int(r.integers(0, 2)), *_codes(r, 4))),
    "sink": (14, lambda r: tuple(r.integers(0, 24, 4).tolist())),
    "update": (8, lambda r: tuple(r.integers(0, 24, 3).tolist())),
    "tick": (5, lambda r: (int(r.integers(0, 100)),)),
    "maintain": (4, lambda r: (int(r.integers(0, 2)),)),
    "kill": (1, lambda r: (int(r.integers(0, 2)),)),
    "store_fails": (3, lambda r: tuple(r.integers(0, 660, 3).tolist())),
    "late": (3, lambda r: ()),
    "clock": (2, lambda r: tuple(r.integers(0, 28, 3).tolist())),
    "release": (1, lambda r: ()),
    "redefine": (1, lambda r: (int(r.integers(0, 3)),)),
    "lose": (1, lambda r: tuple(r.integers(0, 8, 2).tolist())),
    "damage": (1, lambda r: tuple(r.integers(0, 8, 2).tolist())),
    "accept": (1, lambda r: ()),
    "set_aside": (1, lambda r: tuple(r.integers(0, 8, 2).tolist())),
    "cut": (1, lambda r: (int(r.integers(0, 8)),)),
}
ODD = ("redefine", "lose", "damage", "accept", "set_aside", "cut", "store_fails", "late", "clock", "release")


def _codes(random: np.random.Generator, most: int) -> list[int]:
    return list(random.integers(0, CODES, int(random.integers(1, most + 1))).tolist())


def schedule(seed: int) -> list[Step]:
    """30 to 60 steps of clients and two machines with doors, sinks and updaters; in half of all the odd things happen
    more often.
    """
    random = np.random.default_rng(seed)
    weights = np.array(
        [weight * (3 if name in ODD and seed % 2 else 1) for name, (weight, _) in ACTIONS.items()], float
    )
    names = random.choice(list(ACTIONS), int(random.integers(30, 61)), p=weights / weights.sum())
    return [(str(name), ACTIONS[str(name)][1](random)) for name in names]


def fails(steps: Sequence[Step]) -> str:
    """What is wrong with a schedule; "" when nothing is."""
    try:
        World().run(steps)
    except Exception as error:  # whatever no rule foresees is a finding
        return f"{type(error).__name__}: {error}"
    return ""


def shrunk(steps: Sequence[Step]) -> list[Step]:
    """A part of a failing schedule that still fails, from which no step can be taken."""
    held = list(steps)
    size = len(held) // 2
    while size:
        at = 0
        while at < len(held):
            fewer = held[:at] + held[at + size :]
            if fails(fewer):
                held = fewer
            else:
                at += size
        size //= 2
    return held


def shown(seed: int, steps: Sequence[Step], why: str) -> str:
    """A failing schedule for people: how to run it again, and its smallest part."""
    small = shrunk(steps)
    return (
        f"schedule {seed}: {why}\nagain:  python tests/sim/simulate.py --seed {seed}\nsmallest part, {fails(small)}:\n"
        + "\n".join(f"    {name}{numbers}" for name, numbers in small)
    )
