"""The suite that tables pass, whatever holds them: `TableContract`."""

from __future__ import annotations

from abc import abstractmethod

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from millstream.base.errors import Conflict, NotFound
from millstream.lake.contract import ROWS
from millstream.lake.port import Table, Tables


class TableContract:
    """`tables` holds nothing. What a sink, an updater and `verify` rest on."""

    @pytest.fixture
    @abstractmethod
    def tables(self) -> Tables:
        """An engine."""

    def put(self, table: Table, *numbers: int, **txns: tuple[int | None, int]) -> int:
        rows = pa.record_batch({"x": pa.array(numbers, pa.int64()), "name": pa.array([str(n) for n in numbers])})
        return table.land(table.write([rows]), txns=txns, metadata={"by": "test"})

    def numbers(self, table: Table) -> list[int]:
        return [n for batch in table.scan(["x"]) for n in batch.column(0).to_pylist()]

    def test_rows_and_positions_move_in_one_step(self, tables: Tables) -> None:
        table = tables.create("t", ROWS)
        assert tables.exists("t") and not tables.exists("u") and table.position("app") is None
        version = self.put(table, 1, 2, app=(None, 2))
        assert (
            table.version == version
            and table.position("app") == 2
            and table.txns() == {"app": 2}
            and self.numbers(table) == [1, 2]
        )
        other = tables.table("t")
        assert other.uuid == table.uuid and other.position("app") == 2 and self.numbers(other) == [1, 2]
        table.land([], txns={"app": (2, 1)}, metadata={})
        assert table.position("app") == 1, "a position may move back"
        with pytest.raises(NotFound):
            tables.table("u")

    def test_a_handle_stays_where_it_is(self, tables: Tables) -> None:
        table = tables.create("t", ROWS)
        before = tables.table("t")
        self.put(table, 1, app=(None, 1))
        assert self.numbers(before) == [] and before.position("app") is None and before.refresh().position("app") == 1

    def test_a_position_elsewhere_is_a_conflict(self, tables: Tables) -> None:
        table = tables.create("t", ROWS)
        self.put(table, 1, app=(None, 1))
        for wrong in (None, 0, 2):
            with pytest.raises(Conflict):
                self.put(table, 9, app=(wrong, 5))
        assert self.numbers(tables.table("t")) == [1]

    @pytest.mark.parametrize("after", [1, 0], ids=["moved", "named only"])
    def test_two_that_name_one_position_exclude_one_another(self, tables: Tables, after: int) -> None:
        """Also where one leaves it in its place: that is what a ruling rests on."""
        tables.create("t", ROWS).land([], txns={"app": (None, 0)}, metadata={})
        first, second = tables.table("t"), tables.table("t")
        self.put(first, 1, app=(0, after), one=(None, 1))
        with pytest.raises(Conflict):
            self.put(second, 2, app=(0, 1), two=(None, 1))
        assert self.numbers(tables.table("t")) == [1]

    def test_others_do_not(self, tables: Tables) -> None:
        tables.create("t", ROWS)
        first, second = tables.table("t"), tables.table("t")
        self.put(first, 1, one=(None, 1))
        self.put(second, 2, two=(None, 1))
        assert sorted(self.numbers(tables.table("t"))) == [1, 2] and tables.table("t").txns() == {"one": 1, "two": 1}

    def test_rows_are_edited_where_they_are(self, tables: Tables) -> None:
        table = tables.create("t", ROWS)
        for n in (0, 3, 6):
            self.put(table, n, n + 1, n + 2, app=(n or None, n + 3))
        before, seen = tables.table("t"), list[int]()

        def change(rows: pa.RecordBatch) -> pa.RecordBatch:
            numbers = rows.column(0).to_pylist()
            seen.extend(numbers)
            kept = rows.filter(pa.array([n not in (4, 6, 7, 8) for n in numbers]))
            return rows if kept.num_rows == rows.num_rows else kept

        more = table.write([pa.record_batch({"x": pa.array([9], pa.int64()), "name": ["9"]})])
        assert self.numbers(tables.table("t")) == list(range(9)), "only written"
        version = table.edit(
            change, {"x": (4, None)}, more, txns={"app": (9, 9), "other": (None, -(1 << 61))}, metadata={"by": "test"}
        )
        assert (table.version, table.position("other")) == (version, -(1 << 61)) and set(seen) >= set(range(3, 9))
        assert self.numbers(table) == self.numbers(tables.table("t")) == [0, 1, 2, 3, 5, 9], (
            "in their place, and others as they were"
        )
        assert self.numbers(before) == list(range(9)) and before.position("other") is None, "an older version stays"

    def test_nothing_to_edit_moves_positions_all_the_same(self, tables: Tables) -> None:
        table = tables.create("t", ROWS)
        self.put(table, 1, 2, app=(None, 2))
        table.edit(lambda rows: rows, {}, txns={"app": (2, 5)}, metadata={})
        assert table.position("app") == 5 and self.numbers(table) == [1, 2]

    def test_of_an_edit_and_another_commit_of_its_position_one_lands(self, tables: Tables) -> None:
        self.put(tables.create("t", ROWS), 1, 2, app=(None, 2))
        first, second = tables.table("t"), tables.table("t")
        self.put(first, 3, app=(2, 3))
        with pytest.raises(Conflict):
            second.edit(lambda rows: rows.slice(1), {}, txns={"app": (2, 2)}, metadata={})
        assert self.numbers(tables.table("t")) == [1, 2, 3]

    def test_of_two_edits_one_lands(self, tables: Tables) -> None:
        """Also where they name no position in common: rows would come twice."""
        self.put(tables.create("t", ROWS), 1, 2, app=(None, 2))
        first, second = tables.table("t"), tables.table("t")
        first.edit(lambda rows: rows.slice(1), {}, txns={"one": (None, 1)}, metadata={})
        with pytest.raises(Conflict):
            second.edit(lambda rows: rows.slice(0, 1), {}, txns={"two": (None, 1)}, metadata={})
        assert self.numbers(tables.table("t")) == [2]

    def test_what_is_only_written_is_not_there(self, tables: Tables) -> None:
        table = tables.create("t", ROWS)
        table.write([pa.record_batch({"x": pa.array([1], pa.int64()), "name": ["a"]})])
        assert self.numbers(tables.table("t")) == []

    def test_columns_come_later(self, tables: Tables) -> None:
        table = tables.create("t", ROWS)
        self.put(table, 1, app=(None, 1))
        wider = table.add_columns([pa.field("y", pa.float64()), pa.field("x", pa.int64())])
        assert (
            wider.schema.names == ["x", "name", "y"]
            and wider.add_columns([pa.field("y", pa.float64())]).version == wider.version
        )
        with pytest.raises(Conflict):
            self.put(table, 2, app=(1, 2))  # the handle has the old columns
        self.put(wider, 2, app=(1, 2))
        assert [row for batch in tables.table("t").scan(["x", "y"]) for row in batch.to_pylist()] == [
            {"x": 1, "y": None},
            {"x": 2, "y": None},
        ]

    def test_what_is_looked_for(self, tables: Tables) -> None:
        table = tables.create("t", ROWS)
        for n in range(4):
            self.put(table, n, n + 10, app=(n or None, n + 1))
        found = table.scan(["x"], {"x": (2, 3)}, (pc.field("x") >= 2) & (pc.field("x") <= 3))
        assert [n for batch in found for n in batch.column(0).to_pylist()] == [2, 3]
