"""Windows, hops, covers (docs/feature-semantics.md, section 2), and what expiry may take."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from oracle import DAY, HOUR, MINUTE, definition
from oracle import start as naive_start

from millstream.base.errors import DefinitionError
from millstream.features.window import DAY as DAY_SLOTS
from millstream.features.window import LEVELS, SLOT_US, Stretch, by_length, cover, hop_us, horizon_us, nested, reach, start_slot

WINDOWS = [5 * MINUTE, 30 * MINUTE, 3 * HOUR, 11 * HOUR, 12 * HOUR, DAY, 7 * DAY, 11 * DAY, 12 * DAY, 14 * DAY, 60 * DAY]


def slots(stretches: Sequence[Stretch]) -> list[int]:
    return [slot for level, low, high in stretches for slot in range(low * LEVELS[level], high * LEVELS[level])]


def test_a_cover_is_exactly_the_stretch_and_small() -> None:
    chance = random.Random(1)
    for _ in range(3_000):
        low = chance.choice([0, 1, 11, 12, 287, 288, chance.randrange(5_000)])
        high = low + chance.choice([0, 1, 12, 13, 288, chance.randrange(4_000)])
        found = cover(low, high)
        assert sorted(slots(found)) == list(range(low, high))
        assert sum(h - lo for level, lo, h in found if level < 2) <= 22 + 46


def test_nested_covers_are_the_windows_and_read_no_tile_twice() -> None:
    chance = random.Random(2)
    for _ in range(300):
        windows = by_length(chance.sample([*WINDOWS, None], chance.randrange(1, 5)))
        slot = chance.randrange(0, 30 * DAY_SLOTS)
        seen: list[int] = []
        for window, stretches in zip(windows, nested(slot, windows), strict=True):
            seen += slots(stretches)
            assert sorted(seen) == list(range(start_slot(slot, window), slot)), (slot, windows)


def test_a_window_starts_where_the_rule_says() -> None:
    chance = random.Random(3)
    for _ in range(2_000):
        t, w = 400 * DAY + chance.randrange(40 * DAY), chance.choice(WINDOWS)
        s = start_slot(t // SLOT_US, w) * SLOT_US
        assert s == naive_start(t, w) == (t - w) // hop_us(w) * hop_us(w)
        assert w <= t - s < w + hop_us(w)
        if w >= HOUR:
            assert 12 * hop_us(w) <= w


def test_hops_by_length() -> None:
    assert [hop_us(w) for w in (12 * HOUR - 1, 12 * HOUR, 12 * DAY - 1, 12 * DAY)] == [5 * MINUTE, HOUR, HOUR, DAY]


@pytest.mark.parametrize(("wrong", "fix"), [("7m", "5m"), ("800m", "13h"), ("295h", "12d"), ("1s", "5m")])
def test_a_window_between_hops_is_an_error_with_its_fix(wrong: str, fix: str) -> None:
    with pytest.raises(DefinitionError, match="multiple of") as told:
        definition((wrong,))
    assert told.value.code == "E144" and f'"{fix}"' in str(told.value.fix)


def test_expiry_keeps_every_tile_that_a_later_look_up_asks_for() -> None:
    chance = random.Random(4)
    for _ in range(2_000):
        windows = chance.sample(WINDOWS, chance.randrange(1, 4))
        horizon = horizon_us(400 * DAY + chance.randrange(40 * DAY), 10 * MINUTE)
        first = reach(horizon, windows)
        at = horizon + chance.choice([0, 1, chance.randrange(HOUR), chance.randrange(3 * DAY)])
        for stretches in nested(at // SLOT_US, by_length(windows)):
            for level, low, _ in stretches:
                assert low >= (first[level] or 0), (windows, horizon, at)
    assert reach(10**15, [HOUR, None])[2] is None
