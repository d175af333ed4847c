"""Features over tables: as of a version, ordered by value where rows share a microsecond, and timeless."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from oracle import DAY, HOUR, MINUTE, Row, Stored, ageless, definition, naive, same, settled, spine, table

from millstream.base.registry import engine
from millstream.engines.sqlite.online import SqliteOnline
from millstream.features.fill import fill
from millstream.features.keys import encode
from millstream.features.offline import offline

T0 = 19_700 * DAY + 7 * HOUR
PLAIN = {n: a for n, a in __import__("oracle").ALL.items() if n not in ("ck", "ns", "nvar", "nmx", "nl", "pos")}


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    made = engine("sql", "duckdb")("duckdb:?threads=2", tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


def rows(chance: random.Random, n: int) -> list[Row]:
    """Many share a microsecond, also with the newest of all."""
    times = [T0 - 1, T0 - 1, T0 - 2 * MINUTE, T0 - 12 * MINUTE, T0 - HOUR, T0 - 6 * DAY, T0 - 9 * DAY]
    return [
        Row(
            chance.choice("ab"),
            1,
            chance.choice([None, 0.5, -0.0, -2.0, -7.25, 3.0, 1e12]),
            None,
            chance.choice(times),
            T0,
        )
        for _ in range(n)
    ]


@pytest.mark.parametrize("chunk_rows", [25, 10**6])
def test_a_table_is_as_of_its_version_in_both_readers(sql: Any, tmp_path: Path, chunk_rows: int) -> None:
    """Also beside positions that a look-up logged: they are the version's."""
    made, d = rows(random.Random(1), 60), definition(("30m", "7d"), source=settled, aggregates=PLAIN)
    lake: Any = Stored(settled=table(made).drop_columns(["_event_id", "_arrived_at", "_partition", "_offset"]))
    store = SqliteOnline(str(tmp_path / "online.db"))
    assert fill(sql, lake, store, d, settled, chunk_rows=chunk_rows) == 60
    looks = [((k,), t) for k in "abz" for t in (T0 - 1, T0, T0 + 1, T0 + 3 * MINUTE, T0 + HOUR)]
    online = store.lookup(d, [encode(k) for k, _ in looks], [t for _, t in looks])
    texts = [json.dumps({"settled": {str(p): n for p, n in found.offsets.items()}}) for found in online]
    known = (
        offline(sql, lake, spine(looks), [(d, ("k",), "p")], chunk_rows=chunk_rows)
        .read_all()
        .sort_by("_row")
        .to_pylist()
    )
    placed = (
        offline(sql, lake, spine(looks, as_of=texts), [(d, ("k",), "p")], as_of="as_of", versions={"settled": 7})
        .read_all()
        .sort_by("_row")
        .to_pylist()
    )
    assert all(found.exact and found.offsets == {0: 7} for found in online)
    for (key, t), found, a, b in zip(looks, online, known, placed, strict=True):
        for w in d.windows_us:
            for name, value in naive(d, made, key, t, w, lambda r: True).items():
                got = (found.values[name], a[f"p__{name}"], b[f"p__{name}"])
                assert all(same(g, value) for g in got), (key, t, name, value, got)
    store.close()


def test_what_is_timeless_has_always_been_true(sql: Any, tmp_path: Path) -> None:
    made = [Row(k, 1, v, None, 0, T0) for k, v in [("a", 2.0), ("a", -0.5), ("b", None), ("a", None)]]
    d = definition((), source=ageless, aggregates=PLAIN)
    lake: Any = Stored(ageless=table(made).select(["k", "v"]))
    store = SqliteOnline(str(tmp_path / "online.db"))
    fill(sql, lake, store, d, ageless)
    looks = [((k,), t) for k in "abz" for t in (T0, 10 * DAY)]
    online = store.lookup(d, [encode(k) for k, _ in looks], [t for _, t in looks])
    found = offline(sql, lake, spine(looks), [(d, ("k",), "p")]).read_all().sort_by("_row").to_pylist()
    for (key, t), one, row in zip(looks, online, found, strict=True):
        want = naive(d, made, key, t, None, lambda r: True)
        assert one.exact and all(same(one.values[n], v) and same(row[f"p__{n}"], v) for n, v in want.items()), (
            key,
            t,
            want,
            one.values,
            row,
        )
    store.close()


def test_a_stream_of_which_nothing_has_landed_is_filled_with_nothing(sql: Any, tmp_path: Path) -> None:
    from oracle import readings

    d, store = definition(), SqliteOnline(str(tmp_path / "online.db"))
    assert fill(sql, Stored(), store, d, readings) == 0  # type: ignore[arg-type]
    applied = store.applied(d.generation)
    assert applied is not None and applied.active and applied.offsets == {}
    store.close()


def test_an_integer_and_its_string_are_different_keys(sql: Any) -> None:
    """Keys have a type (docs/feature-semantics.md, section 1): a spine of strings finds nothing in events keyed by
    integers, and does not fail on what is not a number.
    """
    made = [Row("5", 5, 1.0, None, T0 - 1, T0 - 1)]
    d = definition(("3h",), key=("i",))
    asked = pa.table({"_row": [0, 1], "_t": pa.array([T0, T0], pa.timestamp("us", tz="UTC")), "i": ["5", "x"]})
    found = offline(sql, Stored(readings=table(made)), asked, [(d, ("i",), "p")]).read_all()
    assert found["p__c_3h"].to_pylist() == [0, 0] and encode(["5"]) != encode([5])
