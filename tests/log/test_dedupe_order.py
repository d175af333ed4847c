"""Dedupe is a pure function of the log: it equals the naive rule whatever the order of arrivals, the batches, restarts,
windows and memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.log import dedupe, kept
from millstream.log.dedupe import Deduper, Earlier

Record = tuple[str | None, int]


def naive(records: list[Record], within: int) -> list[bool]:
    """A record repeats one that was kept before it, arrived no further than the window away, on either side."""
    seen: list[Record] = []
    out = []
    for id_, arrived in records:
        double = bool(id_) and any(id_ == other and abs(arrived - at) <= within for other, at in seen)
        out.append(not double)
        if id_ and not double:
            seen.append((id_, arrived))
    return out


def run(records: list[Record], cuts: list[int], within: int, deduper: Deduper | None = None) -> list[bool]:
    deduper = deduper or Deduper(within)
    edges = sorted({0, len(records), *(c for c in cuts if c <= len(records))})
    out: list[bool] = []
    for begin, end in pairwise(edges):
        part = records[begin:end]
        out += deduper.keep(
            3, pa.array([r[0] for r in part], pa.string()), np.array([r[1] for r in part], np.int64)
        ).tolist()
        deduper.settled(3)
    return out


def stored(records: list[Record], keep: list[bool]) -> Earlier:
    """The rows of a table, as a successor asks for them."""
    held = [record for record, good in zip(records, keep, strict=True) if good]

    def earlier(low: int, high: int) -> Iterable[tuple[pa.Array, np.ndarray]]:
        found = [record for record in held if low <= record[1] < high]
        for at in range(0, len(found), 2):
            some = found[at : at + 2]
            yield pa.array([r[0] for r in some], pa.string()), np.array([r[1] for r in some], np.int64)

    return earlier


# Few ids, clocks that jump both ways and short windows: doubles within a batch, across batches, at the window's very
# edges.
RECORDS = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "", "aa", None]), st.integers(0, 24)), max_size=60)


@settings(max_examples=300, deadline=None)
@given(RECORDS, st.lists(st.integers(0, 60), max_size=20), st.integers(0, 6), st.sampled_from([0, 100, 1 << 20]))
def test_equals_the_rule_whatever_the_batches_and_the_memory(
    records: list[Record], cuts: list[int], within: int, memory: int
) -> None:
    assert run(records, cuts, within, Deduper(within, memory_bytes=memory)) == naive(records, within)


@settings(max_examples=200, deadline=None)
@given(RECORDS, st.integers(0, 60), st.lists(st.integers(0, 60), max_size=20), st.integers(0, 6))
def test_a_reader_that_takes_over_decides_the_same(
    records: list[Record], at: int, cuts: list[int], within: int
) -> None:
    """From the rows that its predecessor kept, asked for as far back as its batches reach."""
    expected = naive(records, within)
    for margin in (0, dedupe._MARGIN_US):
        successor = Deduper(within, memory_bytes=100)
        successor.begin(3, stored(records[:at], expected[:at]))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dedupe, "_MARGIN_US", margin)
            assert run(records[at:], cuts, within, successor) == expected[at:]


@settings(max_examples=100, deadline=None)
@given(RECORDS, st.integers(0, 6))
def test_what_is_let_go_is_read_again(records: list[Record], within: int) -> None:
    """One record a batch, and everything let go that the last two epochs did not ask for."""
    expected, deduper = naive(records, within), Deduper(within, memory_bytes=100)
    stored_so_far: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dedupe, "_EPOCHS", 2)
        patch.setattr(dedupe, "_MARGIN_US", 2)
        deduper.begin(
            3, lambda low, high: stored(records[: len(stored_so_far)], stored_so_far)(low, high), at_start=True
        )
        for id_, arrived in records:
            stored_so_far += deduper.keep(3, pa.array([id_], pa.string()), [arrived]).tolist()
            deduper.settled(3)
    assert stored_so_far == expected


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([("a", 8), ("a", 0), ("a", 16)], [True, False, False]),  # both lie within 10 of the one that was kept
        ([("a", 0), ("a", 20), ("a", 10)], [True, True, False]),  # between two that were kept
        ([("a", 0), ("a", 21), ("a", 10), ("a", 11)], [True, True, False, False]),
        ([("a", 30), ("a", 0), ("a", 41), ("a", 11), ("a", 22)], [True, True, True, True, False]),
        ([("a", 0), ("a", 9), ("a", 18), ("a", 27)], [True, False, True, False]),  # a duplicate keeps nothing
    ],
)
@pytest.mark.parametrize("cuts", [[], [1], [1, 2, 3, 4]])
def test_arrivals_that_run_backwards(records: list[Record], expected: list[bool], cuts: list[int]) -> None:
    assert run(records, cuts, 10) == naive(records, 10) == expected


def test_partitions_know_nothing_of_one_another() -> None:
    deduper, ids, at = Deduper(10), pa.array(["a", "b"]), np.array([0, 0])
    assert deduper.keep(0, ids, at).all() and deduper.keep(1, ids, at).all() and not deduper.keep(0, ids, at).any()
    deduper.forget(0)
    assert deduper.keep(0, ids, at).all() and not deduper.keep(1, ids, at).any()


def test_ids_need_not_be_texts() -> None:
    deduper = Deduper(10)
    assert deduper.keep(0, pa.array([1, 2, 1]), np.zeros(3, np.int64)).tolist() == [True, True, False]
    assert deduper.keep(0, pa.array([3, None, 2, None]), np.zeros(4, np.int64)).tolist() == [True, True, False, True]


def test_memory_is_bounded() -> None:
    """Ids beyond the bound are in files; memory is the bound and the filters."""
    deduper = Deduper(10**12, memory_bytes=240_000)
    for batch in range(200):
        assert deduper.keep(
            batch % 4, pa.array([f"{batch}-{n}" for n in range(1_000)]), np.full(1_000, batch * 100)
        ).all()
    ids = 200_000
    assert deduper.bytes <= 240_000 + 1.3 * ids and deduper.disk_bytes >= 24 * (ids - 10_000)
    for batch in range(200):
        assert not deduper.keep(
            batch % 4, pa.array([f"{batch}-{n}" for n in range(1_000)]), np.full(1_000, batch * 100)
        ).any()


def test_what_no_batch_asks_for_is_let_go() -> None:
    deduper, held = Deduper(1_000, memory_bytes=10_000), 0
    deduper.begin(0, lambda low, high: [], at_start=True)
    for batch in range(3_000):  # 100 ids a batch, 100 us a batch: ten batches are in the window
        assert deduper.keep(0, pa.array([f"{batch}-{n}" for n in range(100)]), np.full(100, batch * 100)).all()
        deduper.settled(0)
        held = max(held, deduper.bytes + deduper.disk_bytes)
    assert held <= 30 * 100 * (32 + 10) * 2


def test_one_record_of_long_ago_asks_for_its_neighbourhood() -> None:
    day = 86_400_000_000
    asked: list[tuple[int, int]] = []

    def earlier(low: int, high: int) -> Iterable[tuple[pa.Array, np.ndarray]]:
        asked.append((low, high))
        return []

    deduper = Deduper(day)
    deduper.begin(0, earlier)
    for now in range(20_000 * day, 20_020 * day, day // 10):
        deduper.keep(0, pa.array(["a", "b"]), np.array([now, now + 5]))
        deduper.settled(0)
    assert len(asked) <= 4, "the table is not asked anew by each batch"
    asked.clear()
    deduper.keep(0, pa.array(["a", "b"]), np.array([16_000 * day, 20_020 * day]))
    assert sum(high - low for low, high in asked) <= 20 * day


def test_one_id_at_a_thousand_times() -> None:
    """A constant in the id column: kept once a window; each look-up bisects."""
    deduper, rng = Deduper(0, memory_bytes=10_000), np.random.default_rng(0)
    arrived = rng.integers(0, 5_000, 40_000)
    keep = np.concatenate(
        [deduper.keep(0, pa.array(["x"] * 1_000), arrived[at : at + 1_000]) for at in range(0, len(arrived), 1_000)]
    )
    _, firsts = np.unique(arrived, return_index=True)
    assert np.flatnonzero(keep).tolist() == sorted(firsts.tolist())


def test_ids_of_one_first_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second hash tells them apart, in memory and in files."""
    real = dedupe.hashes
    monkeypatch.setattr(dedupe, "hashes", lambda ids: (real(ids)[0] % np.uint64(3), real(ids)[1]))
    for memory in (1 << 20, 100):
        deduper = Deduper(5, memory_bytes=memory)
        records: list[Record] = [(f"id{n % 50}", (n * 7) % 90) for n in range(300)]
        assert run(records, list(range(0, 300, 7)), 5, deduper) == naive(records, 5)


@pytest.mark.parametrize("doubled", [1, 2, 7])
def test_many_ids(doubled: int) -> None:
    rng = np.random.default_rng(doubled)
    order = rng.permutation(np.repeat(np.arange(20_000), doubled))
    ids = pa.array([f"{n:x}-é" for n in order])
    deduper, keep = Deduper(10**9, memory_bytes=100_000), []
    for at in range(0, len(ids), 3_000):
        keep.append(deduper.keep(0, ids.slice(at, 3_000), np.arange(at, min(at + 3_000, len(ids)))))
    _, firsts = np.unique(order, return_index=True)
    assert np.flatnonzero(np.concatenate(keep)).tolist() == sorted(firsts.tolist())


def test_a_partition_that_nothing_was_read_of_has_nothing_to_let_go() -> None:
    deduper = Deduper(5)
    deduper.settled(3)
    deduper.forget(3)
    assert (
        deduper.keep(3, pa.array(["a"]), np.array([1])).all()
        and not deduper.keep(3, pa.array(["a"]), np.array([1])).any()
    )


def test_the_filter_lets_few_pass() -> None:
    rng = np.random.default_rng(1)
    first, second = np.sort(rng.integers(0, 2**64, 100_000, np.uint64)), rng.integers(0, 2**64, 100_000, np.uint64)
    bloom, arrived = kept._bloom(first, second), np.zeros(100_000, np.int64)
    assert len(kept._Wanted(first, second, arrived, 0).may(bloom)) == 100_000
    others = rng.integers(0, 2**64, (2, 100_000), np.uint64)
    assert len(kept._Wanted(others[0], others[1], arrived, 0).may(bloom)) < 3_000


@pytest.mark.parametrize("hashes", ["even", "few", "crowded", "ends", "one"])
def test_places_in_a_file_are_those_of_a_bisection(hashes: str) -> None:
    rng = np.random.default_rng(2)
    column = {
        "even": lambda: rng.integers(0, 2**64, 50_000, np.uint64),
        "few": lambda: rng.choice(rng.integers(0, 2**64, 3, np.uint64), 5_000),
        "crowded": lambda: np.concatenate(
            [rng.integers(2**63, 2**63 + 10**6, 5_000, np.uint64), rng.integers(0, 2**64, 5_000, np.uint64)]
        ),
        "ends": lambda: np.array([0, 0, 1, 2**64 - 2, 2**64 - 1, 2**64 - 1], np.uint64),
        "one": lambda: np.array([7], np.uint64),
    }[hashes]()
    column = np.sort(column)
    ids = np.sort(
        np.concatenate(
            [
                column,
                column[column > 0] - np.uint64(1),
                rng.integers(0, 2**64, 5_000, np.uint64),
                np.array([0, 2**64 - 1], np.uint64),
            ]
        )
    )
    assert (kept._places(column, ids) == np.searchsorted(column, ids)).all()


@pytest.mark.parametrize("spilled", [False, True])
def test_what_arrived_at_the_bound_itself_is_not_let_go(spilled: bool) -> None:
    held, one = kept.KeptIds(), np.array([1], np.uint64)
    held.add(one, one, np.array([10]))
    if spilled:
        held.spill()
    held.drop(10)
    assert held.look(one, one, np.array([15]), 5).all()
    held.drop(11)
    assert not held.look(one, one, np.array([15]), 5).any()


@pytest.mark.parametrize(
    ("sizes", "largest", "files"),
    [
        ([100] * 5, 500, [500]),
        ([100] * 5, 499, [100] * 5),
        ([500, 100, 100, 100, 100], 10_000, [900]),
        ([501, 100, 100, 100, 100], 10_000, [501, 100, 100, 100, 100]),
    ],
)
def test_files_of_about_one_size_become_one_until_it_would_be_too_large(
    sizes: list[int], largest: int, files: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "LARGEST_IDS", largest)
    held, rng = kept.KeptIds(), np.random.default_rng(4)
    for size in sizes:
        held.add(rng.integers(0, 2**64, size, np.uint64), rng.integers(0, 2**64, size, np.uint64), np.arange(size))
        held.spill()
    assert [len(run) for run in held._files] == files


def test_files_are_joined_in_little_memory_and_hold_what_was_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_PIECE", 100)
    rng, held, wanted = np.random.default_rng(3), kept.KeptIds(), list[np.ndarray[Any, Any]]()
    for turn in range(3 * kept.FANOUT):
        first, second = rng.integers(0, 2**64, 700, np.uint64), rng.integers(0, 2**64, 700, np.uint64)
        arrived = np.arange(turn * 700, turn * 700 + 700)
        held.add(first, second, arrived)
        wanted.append(np.stack([first, second, arrived.astype(np.uint64)]))
        held.drop(turn * 700 - 4_000)
        held.spill()
    assert len(held._files) < kept.FANOUT and len(held) < 12_000
    whole = np.concatenate(wanted, axis=1)
    order = np.argsort(whole[0])
    found = held.look(whole[0][order], whole[1][order], whole[2][order].astype(np.int64), 0)
    assert found[whole[2][order] >= np.uint64(3 * kept.FANOUT * 700 - 4_700)].all()
    assert not held.look(whole[0][order], whole[1][order] + np.uint64(1), whole[2][order].astype(np.int64), 0).any()
