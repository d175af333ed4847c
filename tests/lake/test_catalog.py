"""What a catalog is told of the lake, with one that only remembers; Hive's own suite is
tests/cluster/test_catalog_hive.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from millstream.base.errors import Conflict, Incompatible, NotFound, Unreachable
from millstream.engines.local.files import LocalFiles
from millstream.lake import pins
from millstream.lake.catalog import behind, listing, publish
from millstream.lake.contract import ROWS, CatalogContract
from millstream.lake.lake import Lake
from millstream.lake.port import Catalog, Listing


class Memory:
    """A catalog whose readers read the files that it was told of, and nothing else."""

    name = "memory"

    def __init__(self) -> None:
        self.told: dict[str, Listing] = {}
        self.away = False
        self.refuses = ""

    def known(self, root: str) -> Mapping[str, int]:
        if self.away:
            raise Unreachable("memory does not answer")
        return {name: one.snapshot.version for name, one in self.told.items() if one.root == root}

    def tell(self, listing: Listing) -> None:
        name = listing.snapshot.table
        if name == self.refuses:
            raise Incompatible(f'table "{name}": no')
        if name in self.told and self.told[name].root != listing.root:
            raise Conflict(f'table "{name}" is another\'s')
        self.told[name] = listing

    def forget(self, root: str, table: str) -> None:
        if table in self.told and self.told[table].root == root:
            del self.told[table]

    def close(self) -> None: ...


class TestMemory(CatalogContract):
    @pytest.fixture
    def catalog(self) -> Catalog:
        self.memory = Memory()
        return self.memory

    @pytest.fixture
    def lake(self, tmp_path: Path) -> Lake:
        return Lake(LocalFiles(str(tmp_path / "lake")))

    def found(self, table: str) -> list[list[tuple[int, str | None]]]:
        told = self.memory.told[table].snapshot
        rows = []
        for i, file in enumerate(told.files):
            for row in pq.ParquetFile(file).read().to_pylist():
                row |= told.partitions[i] if told.partitions else {}
                rows.append((row["x"], row.get("name")))
        return [sorted(rows)]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(LocalFiles(str(tmp_path / "lake")))


def some(lake: Lake, name: str) -> None:
    lake.create(name, ROWS).append(pa.table({"x": [1], "name": ["a"]}))


def test_the_version_that_a_catalog_names_is_pinned_and_the_one_before_let_go(lake: Lake) -> None:
    some(lake, "rows")
    catalog = Memory()
    publish(lake, catalog)
    assert pins.pinned(lake.files, "rows") == {1: ["memory@1"]}
    lake.table("rows").pin(1, "somebody else")
    some(lake, "rows")
    assert behind(lake, catalog) == (["rows"], [])
    publish(lake, catalog)
    assert pins.pinned(lake.files, "rows") == {1: ["somebody else"], 2: ["memory@2"]}


def test_a_catalog_that_is_away_is_made_up_for(lake: Lake) -> None:
    some(lake, "rows")
    catalog = Memory()
    catalog.away = True
    with pytest.raises(Unreachable):
        publish(lake, catalog)
    some(lake, "rows")
    lake.create("more", ROWS)
    catalog.away = False
    assert publish(lake, catalog) == {}
    assert catalog.known(lake.files.root) == {"rows": 2, "more": 0}


def test_a_table_that_is_refused_does_not_stop_the_others_and_keeps_what_is_named(lake: Lake) -> None:
    for name in ("a", "b", "c"):
        some(lake, name)
    catalog = Memory()
    publish(lake, catalog)
    catalog.refuses = "b"
    for name in ("a", "b", "c"):
        some(lake, name)
    assert list(publish(lake, catalog)) == ["b"]
    assert catalog.known(lake.files.root) == {"a": 2, "b": 1, "c": 2}
    assert set(pins.pinned(lake.files, "b")) == {1, 2}


def test_only_some_tables_are_looked_at(lake: Lake) -> None:
    some(lake, "a")
    some(lake, "b")
    catalog = Memory()
    publish(lake, catalog, only=["b"])
    assert catalog.known(lake.files.root) == {"b": 1}


def test_a_table_dropped_in_between_is_passed_over(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    some(lake, "rows")

    def gone(name: str) -> None:
        raise NotFound(name)

    monkeypatch.setattr(lake, "table", gone)
    assert publish(lake, Memory()) == {}


def test_rows_that_files_alone_do_not_say(lake: Lake) -> None:
    some(lake, "rows")
    assert listing(lake.table("rows")).plain
    DeltaTable(f"{lake.files.root}/rows").alter.set_table_properties({"delta.enableDeletionVectors": "true"})
    assert not listing(lake.table("rows")).plain
