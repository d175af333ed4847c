"""The suite that every source passes: subclass `SourceContract` and give it a source that holds known records."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import pyarrow as pa
import pytest

from millstream.base.event import ARRIVED_AT, EVENT_ID
from millstream.ingest.port import Batch, SourceEngine
from millstream.log.port import RAW


def read_all(
    engine: SourceEngine, split: str, position: str | None = None, max_rows: int = 50_000
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str | None]:
    """Rows, bad records, and the position after them."""
    rows, bad = list[dict[str, Any]](), list[dict[str, Any]]()
    for batch in engine.read(split, position, max_rows):
        rows += batch.rows.to_pylist()
        bad += batch.bad.to_pylist()
        position = batch.position
    return rows, bad, position


class SourceContract:
    """The engine's first split holds at least 20 records, good and planted bad ones between each other, and does not
    change.
    """

    @pytest.fixture
    @abstractmethod
    def engine(self) -> SourceEngine:
        """An engine whose first split is as the class says."""

    @abstractmethod
    def again(self, engine: SourceEngine) -> SourceEngine:
        """A second engine of the same source, as another process would make it."""

    @abstractmethod
    def planted(self) -> tuple[int, int]:
        """How many good and how many bad records the first split holds."""

    def whole(self, engine: SourceEngine) -> tuple[str, list[dict[str, Any]], list[dict[str, Any]]]:
        split = engine.splits()[0]
        rows, bad, _ = read_all(engine, split)
        return split, rows, bad

    def test_nothing_is_lost(self, engine: SourceEngine) -> None:
        _, rows, bad = self.whole(engine)
        assert (len(rows), len(bad)) == self.planted()

    def test_splits_keep_their_names(self, engine: SourceEngine) -> None:
        assert list(engine.splits()) == list(engine.splits()) == list(self.again(engine).splits())

    def test_reading_again_gives_the_same(self, engine: SourceEngine) -> None:
        split, rows, bad = self.whole(engine)
        for size in (1, 3, 7, 1_000):
            assert read_all(self.again(engine), split, None, size)[:2] == (rows, bad)

    def test_ids_are_unique_and_found_again(self, engine: SourceEngine) -> None:
        split, rows, _ = self.whole(engine)
        ids = [row[EVENT_ID] for row in rows]
        assert len(set(ids)) == len(ids) and None not in ids
        for name in ids:
            where = engine.locate(split, name)
            assert where is None or where.startswith(split)
        assert engine.locate(split, "an id of nobody") is None

    def test_any_batch_is_a_place_to_continue_from(self, engine: SourceEngine) -> None:
        """After a crash another engine continues from any committed position, with batches of another size."""
        split, rows, bad = self.whole(engine)
        seen = seen_bad = 0
        for batch in engine.read(split, None, 3):
            seen, seen_bad = seen + batch.rows.num_rows, seen_bad + batch.bad.num_rows
            more, more_bad, _ = read_all(self.again(engine), split, batch.position, 5)
            assert (more, more_bad) == (rows[seen:], bad[seen_bad:])

    def test_a_batch_can_be_taken_in_part(self, engine: SourceEngine) -> None:
        split, rows, bad = self.whole(engine)
        start = start_bad = 0
        for batch in engine.read(split, None, 6):
            counts = [batch.after(n)[0] for n in range(batch.rows.num_rows + 1)]
            assert counts == sorted(counts) and counts[-1] == batch.bad.num_rows
            for n in range(batch.rows.num_rows + 1):
                taken_bad, position = batch.after(n)
                more, more_bad, _ = read_all(engine, split, position)
                assert (more, more_bad) == (rows[start + n :], bad[start_bad + taken_bad :])
            assert batch.after(batch.rows.num_rows) == (batch.bad.num_rows, batch.position)
            start, start_bad = start + batch.rows.num_rows, start_bad + batch.bad.num_rows

    def test_batches_are_as_large_as_asked(self, engine: SourceEngine) -> None:
        split = engine.splits()[0]
        for size in (1, 4):
            batches = list(engine.read(split, None, size))
            assert all(batch.rows.num_rows + batch.bad.num_rows <= size for batch in batches)

    def test_at_the_end_there_is_nothing_more(self, engine: SourceEngine) -> None:
        split = engine.splits()[0]
        _, _, position = read_all(engine, split)
        assert list(engine.read(split, position)) == []

    def test_a_look_says_how_a_split_stands(self, engine: SourceEngine) -> None:
        """What is idle gives nothing; what moved would be kept first, and nothing has moved here."""
        split = engine.splits()[0]
        (new,) = [standing for standing in engine.look({}) if standing.split == split]
        assert (new.position, new.moved_from, new.error, new.idle) == (None, None, None, False)
        _, _, position = read_all(engine, split)
        assert position is not None
        (read,) = [standing for standing in self.again(engine).look({split: position}) if standing.split == split]
        assert (read.position, read.moved_from, read.error) == (position, None, None) and read.done == (read.size or 0)

    def test_rows_are_of_the_event(self, engine: SourceEngine) -> None:
        batches: list[Batch] = list(engine.read(engine.splits()[0], None, 5))
        first = batches[0].rows.schema
        assert {EVENT_ID, ARRIVED_AT} <= set(first.names)
        for batch in batches:
            assert batch.rows.schema.equals(first) and batch.bad.schema.equals(RAW)
            assert first.field(EVENT_ID).type == pa.string() and batch.rows.column(ARRIVED_AT).null_count == 0

    def test_bad_records_are_kept_and_explained(self, engine: SourceEngine) -> None:
        _, _, bad = self.whole(engine)
        for record in bad:
            assert isinstance(record["raw"], bytes) and record["raw"]
            assert record["origin"] and record["error"].startswith(record["origin"])

    def test_progress_ends_at_the_whole(self, engine: SourceEngine) -> None:
        split = engine.splits()[0]
        _, _, position = read_all(engine, split)
        begin, end = engine.size(split, None), engine.size(split, position)
        if begin is not None and end is not None:
            assert begin[0] == 0 and end[0] == end[1] == begin[1]
