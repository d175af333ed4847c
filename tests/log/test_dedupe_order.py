"""Dedupe is a pure function of the log's order: it equals the naive rule whatever the batches, restarts and windows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.log.dedupe import Deduper

Record = tuple[str | None, int]


def naive(records: list[Record], within: int) -> list[bool]:
    kept: dict[str, int] = {}
    clock, out = -(10**15), []
    for id_, arrived in records:
        clock = max(clock, arrived)
        double = id_ is not None and id_ in kept and clock - within <= kept[id_]
        out.append(not double)
        if id_ is not None and not double:
            kept[id_] = clock
    return out


def run(records: list[Record], cuts: list[int], within: int, deduper: Deduper | None = None) -> list[bool]:
    deduper = deduper or Deduper(within)
    edges = sorted({0, len(records), *(c for c in cuts if c <= len(records))})
    out: list[bool] = []
    for begin, end in pairwise(edges):
        part = records[begin:end]
        out += deduper.keep(3, pa.array([r[0] for r in part], pa.string()), np.array([r[1] for r in part], np.int64)).tolist()
    return out


# Few ids, jumping clocks and short windows: doubles within a batch, across batches, at the window's very edge.
RECORDS = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "", "aa", None]), st.integers(0, 12)), max_size=60)


@settings(max_examples=300, deadline=None)
@given(RECORDS, st.lists(st.integers(0, 60), max_size=20), st.integers(0, 6))
def test_equals_the_rule_whatever_the_batches(records: list[Record], cuts: list[int], within: int) -> None:
    assert run(records, cuts, within) == naive(records, within)


@settings(max_examples=100, deadline=None)
@given(RECORDS, st.integers(0, 60), st.integers(0, 6))
def test_a_reader_that_takes_over_decides_the_same(records: list[Record], at: int, within: int) -> None:
    """Preloaded from the beginning, as from any place a window before."""
    successor = Deduper(within)
    successor.preload(3, pa.array([r[0] for r in records[:at]], pa.string()), np.array([r[1] for r in records[:at]], np.int64))
    assert run(records[at:], [], within, successor) == naive(records, within)[at:]


@pytest.mark.parametrize("within", [2, 10])
def test_a_window_that_ends_inside_a_batch(within: int) -> None:
    """Kept at 0; in one batch a double at the window's edge, then a fresh one, then a double of that."""
    records: list[Record] = [("a", 0), ("a", within), ("a", within + 1), ("a", within + 2)]
    assert run(records, [1], within) == naive(records, within) == [True, False, True, False]


def test_partitions_know_nothing_of_one_another() -> None:
    deduper, ids, at = Deduper(10), pa.array(["a", "b"]), np.array([0, 0])
    assert deduper.keep(0, ids, at).all() and deduper.keep(1, ids, at).all() and not deduper.keep(0, ids, at).any()
    deduper.forget(0)
    assert deduper.keep(0, ids, at).all() and not deduper.keep(1, ids, at).any()


def test_ids_need_not_be_texts() -> None:
    deduper = Deduper(10)
    assert deduper.keep(0, pa.array([1, 2, 1]), np.zeros(3, np.int64)).tolist() == [True, True, False]
    assert deduper.keep(0, pa.array([3, None, 2, None]), np.zeros(4, np.int64)).tolist() == [True, True, False, True]


def test_memory_is_bounded_by_the_window() -> None:
    deduper, largest = Deduper(1_000), 0
    for batch in range(400):  # 100 ids a batch, 100 us a batch: ten batches are in the window
        ids = pa.array([f"{batch}-{n}" for n in range(100)])
        assert deduper.keep(0, ids, np.full(100, batch * 100)).all()
        largest = max(largest, deduper.bytes)
    assert largest <= 24 * 100 * (11 + 2 * 7) and not deduper.keep(0, ids, np.full(100, 399 * 100 + 1)).any()


@pytest.mark.parametrize("doubled", [1, 2, 7])
def test_many_ids(doubled: int) -> None:
    rng = np.random.default_rng(doubled)
    order = rng.permutation(np.repeat(np.arange(20_000), doubled))
    ids = pa.array([f"{n:x}-é" for n in order])
    deduper, keep = Deduper(10**9), []
    for at in range(0, len(ids), 3_000):
        keep.append(deduper.keep(0, ids.slice(at, 3_000), np.arange(at, min(at + 3_000, len(ids)))))
    _, firsts = np.unique(order, return_index=True)
    assert np.flatnonzero(np.concatenate(keep)).tolist() == sorted(firsts.tolist())
