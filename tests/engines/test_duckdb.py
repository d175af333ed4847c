"""DuckDB behind the sql port: the contract, and what is its own."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from millstream.base.errors import ConfigError, Corrupt, WorkFailed
from millstream.base.registry import engine as find
from millstream.engines.duckdb.instance import Bench, Instance, Options
from millstream.engines.duckdb.relations import type_name
from millstream.engines.duckdb.sql import DuckDbSql
from millstream.lake.port import Snapshot
from millstream.transform.contract import SqlContract, plant, rows, scratch


class TestDuckDb(SqlContract):
    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[DuckDbSql]:
        engine = DuckDbSql("duckdb:?threads=2&memory_limit=1GB", tmp_path / "scratch")
        yield engine
        engine.close()


def test_the_registry_finds_it() -> None:
    assert find("sql", "duckdb") is DuckDbSql
    assert find("sql", "duckdb:?threads=2") is DuckDbSql


@pytest.mark.parametrize("url", ["duckdb:?memory=1GB", "duckdb:?threads=two", "duckdb:?timeout=fast"])
def test_options_are_checked(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="compute"):
        DuckDbSql(url, tmp_path)


@pytest.mark.parametrize("on_disk", [False, True])
def test_no_progress_is_printed_between_the_lines_of_a_result(tmp_path: Path, on_disk: bool) -> None:
    instance = Bench(Options.read("duckdb"), tmp_path)._make(on_disk)
    assert instance.connection.execute("select current_setting('enable_progress_bar')").fetchone() == (False,)
    instance.clear()


def test_a_query_past_its_time_is_stopped(tmp_path: Path) -> None:
    engine = DuckDbSql("duckdb:?timeout=200ms", tmp_path)
    started = time.monotonic()
    with pytest.raises(WorkFailed, match=r"longer than 0\.2 s"):
        engine.query(
            "select count(*) from range(1000000) a, range(1000000) b where (a.range * b.range) % 7 = 3", {}
        ).read_all()
    assert time.monotonic() - started < 10
    assert rows(engine.query("select 1 as a", {})) == [{"a": 1}]
    engine.close()


def test_a_query_that_is_stopped_between_two_statements_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB forgets the interrupt: the query ran to its end, and whoever closed the engine waited."""
    engine, lock = DuckDbSql("duckdb", tmp_path), Instance.lock

    def closed(self: Instance, files: Sequence[str]) -> None:
        lock(self, files)
        engine.close()

    monkeypatch.setattr(Instance, "lock", closed)
    with pytest.raises(WorkFailed, match="closed"):
        engine.query("select 1 as one", {}).read_all()


def test_large_work_spills_and_leaves_nothing(tmp_path: Path) -> None:
    engine = DuckDbSql("duckdb:?threads=2&memory_limit=150MB", tmp_path / "scratch")
    reader = engine.query("select i, hash(i) as h from range(8000000) as r(i) order by h", {})
    assert reader.read_next_batch().num_rows
    assert any(path.is_file() for path in (tmp_path / "scratch").rglob("*"))
    assert sum(batch.num_rows for batch in reader) < 8_000_000
    assert scratch(tmp_path) == []
    engine.close()


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    ).stdout.strip()
    left, mine = tmp_path / f"query-{dead}-0", tmp_path / f"query-{os.getpid()}-x"
    for folder in (left, mine):
        folder.mkdir()
    DuckDbSql("duckdb", tmp_path).close()
    assert (left.exists(), mine.exists()) == (False, True)


def test_a_forked_child_is_told_instead_of_hanging(tmp_path: Path) -> None:
    code = f"""
import os, sys, pathlib
from millstream.base.errors import WorkFailed
from millstream.engines.duckdb.sql import DuckDbSql
engine = DuckDbSql("duckdb:?threads=1", pathlib.Path({str(tmp_path)!r}))
engine.query("select 1 as a", {{}}).read_all()
child = os.fork()
if child == 0:
    try:
        engine.query("select 41 + 1 as a", {{}})
    except WorkFailed as error:
        os._exit(0 if "forked" in str(error) else 1)
    os._exit(2)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_nested_and_odd_types_survive_a_file_that_lacks_some(tmp_path: Path) -> None:
    schema = pa.schema(
        [
            ("s", pa.struct([("x", pa.int64()), ("y", pa.string())])),
            ("l", pa.list_(pa.string())),
            ("d", pa.decimal128(10, 2)),
            ("m", pa.map_(pa.string(), pa.int64())),
            ("b", pa.binary()),
            ("f", pa.float32()),
        ]
    )
    full = pa.table(
        {
            "s": [{"x": 1, "y": "q"}],
            "l": [["a"]],
            "d": pa.array([Decimal("1.50")], pa.decimal128(10, 2)),
            "m": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
            "b": [b"1"],
            "f": pa.array([0.5], pa.float32()),
        },
        schema=schema,
    )
    engine = DuckDbSql("duckdb", tmp_path / "scratch")
    result = engine.query(
        "select * from t order by b nulls last", {"t": plant(tmp_path, full, full.select(["f"]), schema=schema)}
    ).read_all()
    assert result.to_pylist() == [
        full.to_pylist()[0],
        {"s": None, "l": None, "d": None, "m": None, "b": None, "f": 0.5},
    ]
    engine.close()


def test_a_type_without_a_name_is_an_error() -> None:
    with pytest.raises(WorkFailed, match="no type"):
        type_name(pa.month_day_nano_interval())


def test_many_partitions(tmp_path: Path) -> None:
    files = [pa.table({"a": [number]}) for number in range(300)]
    schema = pa.schema([("a", pa.int64()), ("p", pa.int32())])
    snapshot = plant(tmp_path, *files, schema=schema, partitions=tuple({"p": str(number)} for number in range(300)))
    engine = DuckDbSql("duckdb", tmp_path / "scratch")
    assert rows(engine.query("select count(*) as n, sum(a)::bigint as s from t where p >= 290", {"t": snapshot})) == [
        {"n": 10, "s": sum(range(290, 300))}
    ]
    engine.close()


def test_a_file_that_went_is_named(tmp_path: Path) -> None:
    engine = DuckDbSql("duckdb", tmp_path / "scratch")
    gone = str(tmp_path / "gone.parquet")
    with pytest.raises(Corrupt, match=r"gone\.parquet"):
        engine.query("select * from t", {"t": Snapshot("t", 1, pa.schema([("a", pa.int64())]), (gone,))}).read_all()
    engine.close()


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_reader_is_dropped_wherever_the_collector_runs(tmp_path: Path, on_disk: bool) -> None:
    """Also in a thread that holds the lock of the bench, or in one that such a thread waits for: it hung for ever."""
    engine = DuckDbSql("duckdb", tmp_path / "scratch")
    statements = ["create table kept as select 1 as a"] if on_disk else []
    text = "select * from kept, range(1000000)" if on_disk else "select * from range(1000000)"
    held = [engine.script(statements, text, {})]
    next(iter(held[0]))

    def collect() -> None:
        with engine._bench._lock:
            held.clear()
            gc.collect()

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive() and not engine._bench._working
    assert not [left for left in (tmp_path / "scratch").glob("query-*") if left.is_dir()]
    engine.close()
