"""Joined slices are the same records in the same order, and no larger than they may be."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.log import slices
from millstream.log.port import Slice
from millstream.log.slices import joined


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 2), st.integers(0, 3)), max_size=30))
def test_records_and_schemas_stay_as_they_were(told: list[tuple[int, int, int]]) -> None:
    pieces, at = list[Slice](), 0
    for rows, schema_id, holes in told:
        batch = pa.RecordBatch.from_pydict(
            {"_offset": pa.array(range(at, at + rows), pa.int64()), "v": pa.array([str(schema_id)] * rows, pa.string())}
        )
        pieces.append(Slice("t", 0, at, at + rows + holes, schema_id, batch))
        at += rows + holes
    made = list(joined(pieces))
    wanted = [(offset, piece.schema_id) for piece in pieces for offset in piece.rows.column("_offset").to_pylist()]
    assert [
        (offset, piece.schema_id) for piece in made for offset in piece.rows.column("_offset").to_pylist()
    ] == wanted
    assert all(one.schema_id != two.schema_id for one, two in pairwise(made)), "neighbours of one schema are one"
    assert all(
        piece.start <= piece.rows.column("_offset")[0].as_py() and piece.rows.column("_offset")[-1].as_py() < piece.end
        for piece in made
    )


def test_large_slices_stay_apart() -> None:
    batch = pa.RecordBatch.from_pydict({"_offset": pa.array(range(40_000), pa.int64())})
    pieces = [Slice("t", 0, 0, 40_000, 1, batch), Slice("t", 0, 40_000, 80_000, 1, batch)]
    assert [piece.rows.num_rows for piece in joined(pieces)] == [40_000, 40_000] and slices.MOST_ROWS < 80_000


def test_slices_are_joined_up_to_the_most_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "MOST_ROWS", 10)
    pieces, at = list[Slice](), 0
    for rows in (4, 6, 1, 9, 1, 11, 2):
        pieces.append(
            Slice(
                "t",
                0,
                at,
                at + rows,
                1,
                pa.RecordBatch.from_pydict({"_offset": pa.array(range(at, at + rows), pa.int64())}),
            )
        )
        at += rows
    assert [piece.rows.num_rows for piece in joined(pieces)] == [10, 10, 1, 11, 2]
