"""The finaliser and the states of tiles against Python's integers; and what leaves 128 bits is not a variance in both
readers.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from oracle import Row, Stored, definition, spine, table

import millstream as ms
from millstream.base.registry import engine
from millstream.engines.sqlite.online import SqliteOnline
from millstream.features.events import events_of
from millstream.features.lift import Lifted, _square
from millstream.features.offline import offline
from millstream.features.port import Apply
from millstream.features.state import double, finaliser, pack, sql_double, stored

T0 = 1_700_000_000_000_000


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    made = engine("sql", "duckdb")("duckdb:?threads=2", tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


def integers(n: int, bits: int) -> list[int]:
    chance = random.Random(bits)
    return [
        chance.choice([-1, 1]) * (chance.getrandbits(chance.randrange(1, bits + 1)) + chance.choice([0, 0, 1]))
        for _ in range(n)
    ]


def test_a_double_of_an_integer_is_the_nearest_below_85_bits_and_the_same_in_sql_beyond(sql: Any) -> None:
    small, large = integers(5_000, 84), integers(5_000, 126)
    small += [sign * (2**k + d) for k in range(84) for d in (-1, 0, 1) for sign in (1, -1)]
    assert all(double(x) == float(x) for x in small)
    assert all(abs(Fraction(double(x)) - x) <= Fraction(math.ulp(float(x))) for x in large)
    rows = pa.table({"i": range(len(small + large)), "x": [str(x) for x in small + large]})
    found = (
        sql.query(f"select {sql_double('cast(x as hugeint)')} as d from n order by i", {"n": rows})
        .read_all()["d"]
        .to_pylist()
    )
    assert [a.hex() for a in found] == [double(x).hex() for x in small + large]


def test_squares_in_limbs_are_exact() -> None:
    values = [0, 1, 2**27 - 1, 2**27, 2**36, 2**53 - 1, *(abs(x) for x in integers(2_000, 53) if abs(x) < 2**53)]
    zero, one, two = _square(np.array(values, np.int64))
    assert [int(a) + (int(b) << 36) + (int(c) << 72) for a, b, c in zip(zero, one, two, strict=True)] == [
        v * v for v in values
    ]
    assert all(0 <= int(limb) < 2**38 for limb in np.concatenate([zero, one])), "2**25 of them fit 63 bits"


def test_a_pair_orders_by_time_then_tie() -> None:
    pairs = [(t, tie) for t in (0, 1, 255, 256, T0, 2**62) for tie in (0, 1, 2**47, 2**47 + 5, 2**60)]
    assert sorted(pairs) == [p for p, _ in sorted(((pair, pack(*pair, -1.5)) for pair in pairs), key=lambda x: x[1])]


def test_states_finalise_to_the_exact_value() -> None:
    """Mean and variance of any values on the grid: the exact fraction, rounded at most three times."""
    chance = random.Random(4)
    d = definition(())
    at = {name: i for i, (name, _, _) in enumerate(stored(d))}
    outputs = {o.name: finaliser(d, o, at) for o in d.outputs}
    for _ in range(60):
        n = chance.choice([1, 2, 3, 50])
        values = [round(chance.choice([chance.uniform(-1, 1), chance.uniform(-8e9, 8e9), 0.1]), 6) for _ in range(n)]
        rows = [Row("a", 1, v, None, T0 + i, T0, 0, i) for i, v in enumerate(values)]
        frame = Lifted(d, events_of(d, batch(rows), 0))
        (state,) = [row[2:] for level, tiles in frame.tiles() for row in tiles if level == 2]
        q = [math.floor(v * 1e6 + 0.5) for v in values]
        assert outputs["s"](state) == double(sum(q)) / 1e6
        exact = Fraction(sum(q), n * 10**6)
        mean = outputs["m"](state)
        assert mean is not None and (math.isclose(mean, exact, rel_tol=4e-16) or exact == 0)
        spread = outputs["var"](state)
        if n > 1:
            assert spread is not None and math.isclose(
                spread, Fraction(n * sum(x * x for x in q) - sum(q) ** 2, n * (n - 1) * 10**12), rel_tol=8e-16
            )
        else:
            assert spread is None


def batch(rows: list[Row]) -> pa.RecordBatch:
    return table(rows).combine_chunks().to_batches()[0]


def test_what_leaves_the_exact_integers_is_no_variance_in_both_readers(sql: Any, tmp_path: Path) -> None:
    """n * sum of squares >= 9 * 10**37 with the largest q there is: at 1,050 values it holds, at 1,060 it does not."""
    largest = 9 * 10**15 - 1
    fits = next(n for n in range(1_000, 3_000) if (n + 1) ** 2 * largest**2 >= 9 * 10**37)
    d = definition(("3h",), aggregates={"var": ms.agg.variance("n")})
    store = SqliteOnline(str(tmp_path / "online.db"))
    store.create(d)
    store.activate(d.generation, {}, 0)
    rows = [Row("a", 1, None, largest * (1 if i % 2 else -1), T0 + i, T0, 0, i) for i in range(fits + 1)]
    store.apply([Apply(d, 0, 0, fits, T0, events_of(d, batch(rows[:fits]), 0))])
    moment = T0 + 10_000
    online = store.lookup(d, ["sa"], [moment])[0].values["var_3h"]
    asked = [(d, ("k",), "p")]
    (found,) = (
        offline(sql, Stored(readings=table(rows[:fits])), spine([(("a",), moment)]), asked, "event")
        .read_all()
        .to_pylist()
    )
    assert online == found["p__var_3h"] is not None
    store.apply([Apply(d, 0, fits, fits + 1, T0, events_of(d, batch(rows[fits:]), 0))])
    found = store.lookup(d, ["sa"], [moment])[0]
    assert found.values["var_3h"] is None and found.reasons == {"var_3h": "too_large"}
    (row,) = (
        offline(sql, Stored(readings=table(rows)), spine([(("a",), moment)]), asked, "event").read_all().to_pylist()
    )
    assert row["p__var_3h"] is None
