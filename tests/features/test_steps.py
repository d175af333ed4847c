"""Logged positions as steps: one comparison of integers says whether a look-up had seen an event; and offline
asks it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pytest
from oracle import DAY, Row, Stored, definition, naive, same, spine, table

from millstream.base.registry import engine
from millstream.features.offline import offline
from millstream.features.steps import steps_of

T0 = 19_700 * DAY


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    made = engine("sql", "duckdb")("duckdb:?threads=2", tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


def positions(chance: random.Random, n: int) -> list[dict[int, int]]:
    """Of two stores, each of which only grows, and of one that began anew."""
    stores, made = [{0: 0, 1: 0}, {0: 3, 2: 1}], []
    for _ in range(n):
        store = chance.choice(stores)
        p = chance.randrange(3)
        store[p] = store.get(p, 0) + chance.choice([0, 1, 4])
        made.append(dict(store))
        if chance.random() < 0.1:
            store.clear()
    return made


@pytest.mark.parametrize("seed", range(20))
def test_an_event_was_seen_if_its_step_is_not_the_greater(seed: int) -> None:
    chance = random.Random(seed)
    found = positions(chance, 30)
    texts = [json.dumps({"s/other": {"0": 99}, "s": at}) for at in found]
    made = steps_of([*texts, None, json.dumps({"another": {"0": 1}})], ["s/mine", "s"])
    place = {row["as_of"]: (row["chain"], row["step"]) for row in made.steps.to_pylist()}
    assert set(place) == set(texts) and {chain for chain, _ in place.values()} == set(range(made.chains))
    for text, at in zip(texts, found, strict=True):
        chain, step = place[text]
        for p in range(4):
            bounds = sorted(
                (b["upto"], b["step"]) for b in made.bounds.to_pylist() if (b["chain"], b["partition"]) == (chain, p)
            )
            assert bounds == sorted(bounds, key=lambda b: b[1]), "later bounds lie further"
            for offset in range(30):
                first = next((s for upto, s in bounds if offset < upto), None)
                assert (first is not None and first <= step) == (offset < at.get(p, 0)), (text, p, offset)


def test_an_entry_of_ones_own_goes_before_the_streams() -> None:
    text = json.dumps({"s": {"0": 5}, "s/mine": {"0": 2}})
    assert [b["upto"] for b in steps_of([text], ["s/mine", "s"]).bounds.to_pylist()] == [2]
    assert [b["upto"] for b in steps_of([text], ["s/other", "s"]).bounds.to_pylist()] == [5]
    assert steps_of([None], ["s"]).chains == 0


def before(at: Mapping[int, int], row: Row) -> bool:
    return row.offset < at.get(row.partition, 0)


def test_offline_goes_back_to_positions_of_several_stores(sql: Any) -> None:
    """More chains than one, a stream that a look-up says nothing of, and a use that stood elsewhere than the stream's
    first.
    """
    chance = random.Random(8)
    rows = [
        Row(
            chance.choice("ab"),
            1,
            chance.choice([None, 0.5, -1.5]),
            None,
            T0 - chance.randrange(8 * DAY),
            T0 + DAY,
            p,
            o,
        )
        for p in range(3)
        for o in range(20)
    ]
    found = positions(chance, 25)
    texts: list[str | None] = [json.dumps({"readings": at, "readings/q": {"1": 7}}) for at in found]
    texts[3] = json.dumps({"elsewhere": {"0": 5}})
    texts[7] = None
    looks = [((chance.choice("ab"),), T0 - chance.choice([0, 1, DAY])) for _ in found]
    d = definition(("30m", "7d"))
    asked = offline(
        sql,
        Stored(readings=table(rows)),
        spine(looks, as_of=texts),
        [(d, ("k",), "p"), (d, ("k",), "q")],
        as_of="as_of",
    )
    for i, row in enumerate(asked.read_all().sort_by("_row").to_pylist()):
        said = {} if i in (3, 7) else found[i]
        own = {} if i in (3, 7) else {1: 7}
        for prefix, at in (("p", said), ("q", own)):
            for w in d.windows_us:
                for name, value in naive(d, rows, looks[i][0], looks[i][1], w, partial(before, at)).items():
                    assert same(row[f"{prefix}__{name}"], value), (i, prefix, name)
