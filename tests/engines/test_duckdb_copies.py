"""DuckDB over a lake that lies elsewhere: read once, right for ever, bounded, and never missing under a query."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pytest

from millstream.base.errors import ConfigError, Corrupt, Full, Unreachable, WorkFailed
from millstream.engines.duckdb.instance import Options
from millstream.engines.duckdb.sql import DuckDbSql
from millstream.engines.local.files import LocalFiles
from millstream.lake.port import Snapshot
from millstream.transform.contract import plant, rows

SUM = "select sum(a)::bigint as s from t"


class FarFiles(LocalFiles):
    """A folder that is reached through the port alone; remembers what was opened."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.opened: list[str] = []
        self.down = False

    @property
    def root(self) -> str:
        return "far://lake"

    def open(self, path: str) -> BinaryIO:
        if self.down:
            raise Unreachable("nobody is there")
        self.opened.append(path)
        return super().open(path)


class World:
    def __init__(self, folder: Path, url: str = "duckdb") -> None:
        self.folder, self.store = folder, FarFiles(str(folder))
        self.copies = folder / "scratch" / "copies"
        self.engine = DuckDbSql(url, folder / "scratch")

    def table(self, *files: pa.Table, name: str = "t", **more: Any) -> Snapshot:
        near = plant(self.folder, *files, name=name, **more)
        paths = tuple(f"far://lake/{Path(path).relative_to(self.folder)}" for path in near.files)
        return Snapshot(near.table, near.version, near.schema, paths, near.partitions, self.store)

    def sum(self, table: Snapshot) -> Any:
        return rows(self.engine.query(SUM, {"t": table}))[0]["s"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def ones(n: int, *, seed: int = 1) -> pa.Table:
    return pa.table({"a": [seed] * n})


def test_a_file_is_fetched_once(world: World) -> None:
    table = world.table(ones(2), ones(3))
    assert [world.sum(table) for _ in range(3)] == [5, 5, 5]
    assert sorted(world.store.opened) == ["t/part-0.parquet", "t/part-1.parquet"]
    again = DuckDbSql("duckdb", world.folder / "scratch")
    assert rows(again.query(SUM, {"t": table})) == [{"s": 5}] and len(world.store.opened) == 2, (
        "copies outlive the process"
    )
    again.close()


def test_only_tables_that_the_query_names_are_fetched(world: World) -> None:
    other = world.table(ones(2), name="other")
    assert rows(world.engine.query(SUM, {"t": world.table(ones(1)), "other": other})) == [{"s": 1}]
    assert world.store.opened == ["t/part-0.parquet"]


def test_partition_values_stay(world: World) -> None:
    schema = pa.schema([("a", pa.int64()), ("p", pa.int32())])
    table = world.table(ones(2), ones(3), schema=schema, partitions=({"p": "1"}, {"p": "2"}))
    assert rows(world.engine.query("select sum(a)::bigint as s from t where p = 2", {"t": table})) == [{"s": 3}]


def test_a_query_reaches_no_copy_but_its_own(world: World) -> None:
    secret, table = world.table(ones(1), name="secret"), world.table(ones(1))
    rows(world.engine.query("select * from secret", {"secret": secret}))
    (copy,) = world.copies.glob("*.parquet")
    with pytest.raises(WorkFailed):
        world.engine.query(f"select * from read_parquet('{copy}'), t", {"t": table}).read_all()


def test_copies_are_bounded_and_the_last_used_stay(tmp_path: Path) -> None:
    world = World(tmp_path, "duckdb:?copies=2KB")
    tables = [world.table(ones(5, seed=n), name=f"t{n}") for n in range(5)]
    for table in tables:
        world.sum(table)
    kept = sum(copy.stat().st_size for copy in world.copies.iterdir())
    assert 0 < kept <= 2 << 10
    before = len(world.store.opened)
    assert world.sum(tables[4]) == 20 and len(world.store.opened) == before
    assert world.sum(tables[0]) == 0 and len(world.store.opened) == before + 1


def test_a_query_that_needs_more_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    world = World(tmp_path, "duckdb:?copies=1KB")
    with pytest.raises(Full, match="copies may take"):
        world.sum(world.table(*(ones(5, seed=n) for n in range(8))))
    assert world.store.opened == []


def test_a_query_keeps_what_is_let_go_under_it(world: World) -> None:
    table = world.table(pa.table({"a": list(range(500_000))}), pa.table({"a": list(range(500_000))}))
    reader = world.engine.query("select a from t", {"t": table})
    for copy in world.copies.glob("*.parquet"):
        copy.unlink()
    assert sum(batch.num_rows for batch in reader) == 1_000_000
    assert not list((world.folder / "scratch").glob("query-*"))


def test_many_at_once_read_the_same(world: World) -> None:
    table = world.table(*(ones(100, seed=n) for n in range(12)))
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(world.sum(table))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [6600] * 6
    assert all(copy.suffix == ".parquet" for copy in world.copies.iterdir())


def test_a_file_that_went_is_named(world: World) -> None:
    table = world.table(ones(1))
    (world.folder / "t" / "part-0.parquet").unlink()
    with pytest.raises(Corrupt, match=r"part-0\.parquet is lost; millstream doctor"):
        world.sum(table)


def test_a_store_that_does_not_answer_is_something_to_wait_for(world: World) -> None:
    table = world.table(ones(1))
    world.store.down = True
    with pytest.raises(Unreachable):
        world.sum(table)
    world.store.down = False
    assert world.sum(table) == 1


def test_the_bound_is_an_option() -> None:
    assert Options.read("duckdb:?copies=3MB").copies_bytes == 3 << 20
    assert Options.read("duckdb:?copies=2GiB").copies_bytes == 2 << 30
    with pytest.raises(ConfigError, match="is not a size"):
        Options.read("duckdb:?copies=much")
