"""Keys stay with their partitions: the vectorised hash equals a plain one, and its values are fixed for ever."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.log.hashing import hashes
from millstream.log.partition import partition

MASK = (1 << 64) - 1


def mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def plain(text: str | None) -> int:
    if text is None:
        return mix(0x6E756C6C)
    raw = text.encode()
    return mix(
        (sum((byte + 1) * pow(0x9E3779B97F4A7C15, place, 1 << 64) for place, byte in enumerate(raw)) + len(raw)) & MASK
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=40)), min_size=1, max_size=30), st.integers(0, 3))
def test_texts_hash_as_said(texts: list[str | None], skip: int) -> None:
    column = pa.array(texts, pa.string()).slice(min(skip, len(texts)))
    assert hashes([column]).tolist() == [plain(t) for t in texts[skip:]]


def test_values_are_fixed_for_ever() -> None:
    """Another value here moves keys to other partitions: order and dedupe of every existing log would break."""
    assert (
        hashes([pa.array(["", "UA", "né"])]).tolist()
        == [0, 5057630117639510817, 5651090934830138517]
        == [plain(""), plain("UA"), plain("né")]
    )
    assert (
        hashes([pa.array(["UA"]), pa.array([7])]).tolist()
        == [10442201904916642729]
        == [mix((plain("UA") * 31 + mix(7)) & MASK)]
    )


def test_values_longer_than_a_piece() -> None:
    long = "é0123456789" * 50_000
    assert hashes([pa.array(["a", long, "UA", long[:-1]])]).tolist() == [
        plain("a"),
        fast(long),
        plain("UA"),
        fast(long[:-1]),
    ]


def fast(text: str) -> int:
    raw, total, power = text.encode(), 0, 1
    for byte in raw:
        total, power = total + (byte + 1) * power, power * 0x9E3779B97F4A7C15 & MASK
    return mix((total + len(raw)) & MASK)


def test_a_value_hashes_the_same_in_every_arrow_type() -> None:
    texts = ["UA", "EWR", None, "UA"]
    for kind in (pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())):
        assert hashes([pa.array(texts, pa.string()).cast(kind)]).tolist() == hashes([pa.array(texts)]).tolist()
    assert hashes([pa.array([1, 2], pa.int32())]).tolist() == hashes([pa.array([1, 2], pa.int64())]).tolist()
    assert hashes([pa.array([0.0])]).tolist() == hashes([pa.array([-0.0])]).tolist()
    assert len(set(hashes([pa.array([dt.date(2013, 1, 1), dt.date(2013, 1, 2)])]).tolist())) == 2


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.text("ab", max_size=3), st.integers(0, 3)), max_size=50), st.integers(1, 7))
def test_rows_are_parted_in_their_order(keys: list[tuple[str, int]], count: int) -> None:
    rows = pa.record_batch(
        {
            "a": pa.array([k[0] for k in keys], pa.string()),
            "b": pa.array([k[1] for k in keys], pa.int64()),
            "n": pa.array(range(len(keys)), pa.int64()),
        }
    )
    parts = partition(rows, ["a", "b"], count)
    assert len(parts) == count and sorted(n for p in parts if p is not None for n in p.column("n").to_pylist()) == list(
        range(len(keys))
    )
    home: dict[tuple[str, int], int] = {}
    for place, part in enumerate(parts):
        assert part is None or part.num_rows
        for record in part.to_pylist() if part is not None else []:
            assert home.setdefault((record["a"], record["b"]), place) == place
        assert part is None or part.column("n").to_pylist() == sorted(part.column("n").to_pylist())


def test_keys_spread() -> None:
    rows = pa.record_batch({"k": pa.array([f"flight-{n}" for n in range(40_000)])})
    sizes = [p.num_rows if p is not None else 0 for p in partition(rows, ["k"], 8)]
    assert max(sizes) < 1.1 * 5_000 and min(sizes) > 0.9 * 5_000
