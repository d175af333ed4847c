"""Blobs of Redis, without Redis: however events are cut into batches, a stretch of tiles merges to what all events
together say of it.
"""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import pytest

from millstream.base.errors import Corrupt
from millstream.engines.redis.blobs import GROUPS, MOMENTS, Layout, rewritten, together, touched
from millstream.engines.redis.lookups import cover
from millstream.features.contract import DAY, T0, batch, definition, some_rows
from millstream.features.lift import Lifted
from millstream.features.online import _MERGES, Answers
from millstream.features.state import PACKED, stored

OF = definition()
LAYOUT = Layout(OF)


def written(blobs: dict[tuple[int, int, str], bytes], rows: Any) -> None:
    lifted = Lifted(OF, rows)
    changed = together(
        [
            *(touched(LAYOUT, level, lifted.names, found) for level, found in enumerate(lifted.columns())),
            touched(LAYOUT, MOMENTS, lifted.names, lifted.moments(0)),
        ]
    )
    new, gained = rewritten(LAYOUT, changed, [blobs.get(name) for name in changed.blobs])
    for name, blob, more in zip(changed.blobs, new, gained, strict=True):
        assert len(blob) - len(blobs.get(name, b"")) == more * LAYOUT.words * 8
        blobs[name] = blob


def plainly(rows: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Rows of states, merged as the embedded engine merges."""
    merged = rows[0]
    for row in rows[1:]:
        merged = tuple(_MERGES[merge](a, b) for (_, merge, _), a, b in zip(stored(OF), merged, row, strict=True))
    return merged


def told(row: Any) -> list[Any]:
    """Pairs by their value only: their times are kept one higher."""
    return [
        value[16:] if kind == PACKED and value else value for (_, _, kind), value in zip(stored(OF), row, strict=True)
    ]


def test_any_cut_gives_the_same_rows() -> None:
    chance, blobs, at = random.Random(3), dict[tuple[int, int, str], bytes](), 0
    rows = [*some_rows(chance, 500), ("sa", 0, None, None), ("sa", 0, 0.0, 0), ("sb", 0, None, None)]
    whole = batch(OF, rows)
    while at < len(rows):
        n = chance.randrange(1, 60)
        written(blobs, whole.slice(at, n))
        at += n
    lifted = Lifted(OF, whole)
    levels = [*(found for _, found in lifted.tiles()), [(key, t, *states) for key, t, _, *states in lifted.heads(0)]]
    compared = 0
    for level, key in product(range(4), ("sa", "sb", "sc")):
        mine = [row for row in levels[level] if row[0] == key]
        for _ in range(40):
            low, high = sorted(chance.choice(mine)[1] + chance.choice([-1, 0, 1, GROUPS[level]]) for _ in range(2))
            pieces = [(blob, low, high) for (of, _, name), blob in sorted(blobs.items()) if (of, name) == (level, key)]
            want = [row[2:] for row in mine if low <= row[1] < high]
            found = LAYOUT.merged(pieces)
            assert told(found) == told(plainly(want)) if want else found == (0,)
            compared += bool(want)
    assert compared > 200


def test_a_cover_names_each_tile_of_a_plan_once() -> None:
    for at in (T0, T0 + 7, T0 + 5 * DAY + 123_456_789):
        plan = Answers(OF).plan(at)
        for shape, bounds, head in ((plan.shape, plan.bounds, plan.head), (plan.past_shape, plan.past_bounds, None)):
            found, asked = cover(shape, bounds, head=head), iter(bounds)
            assert len(set(found.groups)) == len(found.groups)
            for i, levels in enumerate(shape):
                want = [(level, b) for level in levels for b in range(next(asked), next(asked))]
                pieces = [(int(found.groups[p.blob][0]), int(found.groups[p.blob][2:]), p) for p in found.windows[i]]
                assert all(
                    group * GROUPS[level] <= p.low and (p.high or 0) <= (group + 1) * GROUPS[level]
                    for level, group, p in pieces
                )
                assert [
                    (level, b) for level, _, p in pieces if level != MOMENTS for b in range(p.low, p.high or 0)
                ] == want
            if head is not None:
                (last,) = [p for p in found.windows[head] if p.high is None]
                assert (
                    last.low == bounds[-1] and found.groups[last.blob] == f"{MOMENTS}:{bounds[-1] // GROUPS[MOMENTS]}"
                )


def test_a_blob_that_is_cut_is_noticed() -> None:
    blobs: dict[tuple[int, int, str], bytes] = {}
    rows = batch(OF, [("sa", T0, 1.0, 1)])
    written(blobs, rows)
    with pytest.raises(Corrupt):
        written({name: blob[:-1] for name, blob in blobs.items()}, rows)
