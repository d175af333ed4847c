"""Assignment: the same bits in Python and in SQL, even, and independent of neighbours."""

from __future__ import annotations

import hashlib

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.experiment.assign import arm_salt, bucket, even, layer_salt, pick, pick_sql, sql
from millstream.experiment.special import chi2_tail

con = duckdb.connect()
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@settings(max_examples=150, deadline=None)
@given(words, st.lists(words, min_size=1, max_size=20))
def test_sql_gives_the_same_bits(salt: str, units: list[str]) -> None:
    found = con.execute(f"select {sql(salt, 'u')} from unnest($units) t(u)", {"units": units}).fetchall()
    assert [row[0].hex() for row in found] == [bucket(salt, unit).hex() for unit in units]


def test_known_answer() -> None:
    """By the definition, with nothing of ours: the first 14 hex digits, less 3 bits, over 2**53."""
    assert bucket("layer/x", "u1") == (int(hashlib.sha256(b"layer/x:u1").hexdigest()[:14], 16) >> 3) / 2**53
    assert bucket("a", 5) == bucket("a", "5") and con.execute(f"select {sql('a', 'null')}").fetchone() == (None,)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.01, 1), min_size=1, max_size=5),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=10),
)
def test_sql_picks_the_same_arm(weights: list[float], places: list[float]) -> None:
    chances = {f"arm '{i}'": weight / sum(weights) for i, weight in enumerate(weights)}
    found = con.execute(f"select {pick_sql('p', chances)} from unnest($places) t(p)", {"places": places}).fetchall()
    assert [row[0] for row in found] == [pick(place, chances) for place in places]


def test_edges_of_the_line() -> None:
    chances = {"a": 0.25, "b": 0.75}
    assert [pick(p, chances) for p in (0.0, 0.2499999, 0.25, 0.9999999999999999)] == ["a", "a", "b", "b"]
    thirds = even(["a", "b", "c"])
    assert pick(1 - 2**-53, {k: v - 1e-17 for k, v in thirds.items()}) == "c"


def test_even_and_independent() -> None:
    """Two salts cut the same 20,000 units into 16 cells of even size: neither is skewed, nor do they know of each
    other.
    """
    units = [f"u{i}" for i in range(20_000)]
    cells = [0] * 16
    for unit in units:
        cells[int(4 * bucket(layer_salt("one"), unit)) * 4 + int(4 * bucket(arm_salt("two", 1), unit))] += 1
    statistic = sum((n - 1250) ** 2 / 1250 for n in cells)
    assert chi2_tail(statistic, 15) > 0.001
    # And the check would see a skew
    assert chi2_tail(sum((n - 1250) ** 2 / 1250 for n in [1400, *cells[1:]]), 15) < 0.01


def test_a_new_phase_or_snapshot_draws_anew() -> None:
    salts = [arm_salt("x", 1), arm_salt("x", 2), arm_salt("x", 1, 1), arm_salt("y", 1)]
    arms = [[pick(bucket(salt, f"u{i}"), even(["a", "b"])) for i in range(2000)] for salt in salts]
    for i in range(4):
        for j in range(i):
            assert sum(x == y for x, y in zip(arms[i], arms[j], strict=True)) / 2000 == pytest.approx(0.5, abs=0.05)
