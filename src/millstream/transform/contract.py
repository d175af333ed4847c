"""What every engine of the sql port must do. Subclass `SqlContract` and give it `engine`."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millstream.base.errors import WorkFailed
from millstream.base.event import TIMESTAMP
from millstream.lake.port import Snapshot
from millstream.transform.port import Sql

NOON = datetime(2013, 3, 10, 12, tzinfo=UTC)
# What text could try in order to read, write or change what it was not given. `{secret}` and `{target}` are paths.
ATTACKS = (
    "select * from read_text('{secret}')",
    "select * from read_blob('{secret}')",
    "select * from read_csv('{secret}')",
    "select * from '{secret}'",
    "select * from read_parquet('{other}')",
    "select * from parquet_metadata('{other}')",
    "select * from glob('{folder}/*')",
    "select * from sniff_csv('{secret}')",
    "copy (select 1 as a) to '{target}'",
    "copy (select 1 as a) to '{file}' (format parquet, use_tmp_file false)",
    "explain analyze copy (select 1 as a) to '{file}' (format parquet, use_tmp_file false)",
    "export database '{target}'",
    "attach '{target}' as stolen",
    "create table kept as select 1",
    "insert into t values (1)",
    "drop view t",
    "install httpfs",
    "load httpfs",
    "set threads = 1",
    "set enable_external_access = true",
    "reset allowed_paths",
    "pragma threads = 1",
    "select * from read_parquet('http://127.0.0.1:9/x.parquet')",
    "call enable_logging(storage = 'file', storage_config = {{'path': '{target}'}})",
    "select * from enable_logging(storage = 'file', storage_config = {{'path': '{target}'}})",
    "select 1; drop view t",
    "with a as (select 1) insert into t select * from a",
    "select * from elsewhere",
    "",
)


class SqlContract:
    """The suite."""

    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[Sql]:
        """An engine with its scratch below `tmp_path / "scratch"`; closed after the test."""
        raise AssertionError("the subclass gives an engine")
        yield

    def plant(
        self,
        folder: Path,
        *files: pa.Table,
        schema: pa.Schema | None = None,
        partitions: tuple[Any, ...] = (),
        name: str = "t",
    ) -> Snapshot:
        """Parquet files written behind the engine's back, as a version of a table: on this machine, or where the
        subclass has its lake.
        """
        return plant(folder, *files, schema=schema, partitions=partitions, name=name)

    def scratch(self, folder: Path) -> list[Any]:
        """What lies in the engine's scratch."""
        return scratch(folder)

    # What a query sees

    def test_a_snapshot_is_read_file_by_file(self, engine: Sql, tmp_path: Path) -> None:
        snapshot = self.plant(tmp_path, pa.table({"a": [1, 2]}), pa.table({"a": [3]}))
        assert rows(engine.query("select sum(a)::bigint as s, count(*) as n from t", {"t": snapshot})) == [
            {"s": 6, "n": 3}
        ]

    def test_columns_that_older_files_lack_are_null_and_types_are_the_snapshots(
        self, engine: Sql, tmp_path: Path
    ) -> None:
        schema = pa.schema([("b", pa.string()), ("a", pa.int64()), ("ts", TIMESTAMP), ("l", pa.list_(pa.float64()))])
        new = pa.table({"a": [3], "b": ["x"], "ts": pa.array([NOON], TIMESTAMP), "l": [[0.5]]})
        snapshot = self.plant(tmp_path, pa.table({"a": pa.array([1], pa.int32())}), new, schema=schema)
        result = engine.query("select * from t order by a", {"t": snapshot}).read_all()
        assert result.schema.names == ["b", "a", "ts", "l"]
        assert result.schema.field("a").type == pa.int64()
        assert result.to_pylist() == [
            {"b": None, "a": 1, "ts": None, "l": None},
            {"b": "x", "a": 3, "ts": NOON, "l": [0.5]},
        ]

    def test_partition_values_come_from_the_log_not_from_paths(self, engine: Sql, tmp_path: Path) -> None:
        schema = pa.schema([("day", pa.date32()), ("a", pa.int64()), ("kind", pa.string())])
        partitions = (
            {"day": "2013-03-10", "kind": "it's"},
            {"day": None, "kind": "b"},
            {"day": "2013-03-10", "kind": "it's"},
        )
        snapshot = self.plant(
            tmp_path,
            pa.table({"a": [1]}),
            pa.table({"a": [2]}),
            pa.table({"a": [3]}),
            schema=schema,
            partitions=partitions,
        )
        result = rows(engine.query("select * from t order by a", {"t": snapshot}))
        assert [(row["day"], row["kind"]) for row in result] == [
            (date(2013, 3, 10), "it's"),
            (None, "b"),
            (date(2013, 3, 10), "it's"),
        ]
        assert rows(engine.query("select a from t where day >= date '2013-01-01' order by a", {"t": snapshot})) == [
            {"a": 1},
            {"a": 3},
        ]

    def test_a_table_without_files_is_empty_with_its_columns(self, engine: Sql) -> None:
        schema = pa.schema([("a", pa.int64()), ("ts", TIMESTAMP), ("s", pa.string())])
        result = engine.query("select *, 1 as one from t", {"t": Snapshot("t", 0, schema, ())}).read_all()
        assert result.num_rows == 0
        assert result.schema.types == [pa.int64(), TIMESTAMP, pa.string(), pa.int32()]

    def test_arrow_tables_and_readers_are_relations(self, engine: Sql) -> None:
        table = pa.table({"k": [1, 2], "v": ["a", "b"]})
        reader = pa.table({"k": [2, 3]}).to_reader()
        assert rows(engine.query("select v from kept join seen using (k)", {"kept": table, "seen": reader})) == [
            {"v": "b"}
        ]

    def test_names_need_no_care(self, engine: Sql, tmp_path: Path) -> None:
        snapshot = self.plant(tmp_path, pa.table({"order": [1], 'q"uote': [2], "Größe": [3]}), name="it's [a] dir")
        result = rows(engine.query('select "order", "q""uote", "Größe" from "group"', {"group": snapshot}))
        assert result == [{"order": 1, 'q"uote': 2, "Größe": 3}]

    def test_times_are_utc(self, engine: Sql) -> None:
        result = engine.query(
            "select timestamptz '2013-03-10 12:00' as a, cast(timestamp '2013-03-10 12:00' as timestamptz) as b, $t"
            " as c",
            {},
            {"t": NOON.astimezone()},
        ).read_all()
        assert result.schema.types == [TIMESTAMP] * 3
        assert result.to_pylist() == [{"a": NOON, "b": NOON, "c": NOON}]

    # Parameters

    def test_parameters_are_bound_with_their_types(self, engine: Sql) -> None:
        given: dict[str, Any] = {
            "i": 1,
            "big": 2**40,
            "f": 0.5,
            "s": "'; drop table t; --",
            "b": True,
            "t": NOON,
            "d": date(2013, 3, 10),
            "raw": b"\x00x",
            "n": None,
            "l": [1, 2],
            "words": ["a"],
            "dec": Decimal("1.50"),
            "span": timedelta(hours=1),
        }
        names = [name for name in given if name not in ("n", "span")]
        result = engine.query(
            f"select {', '.join('$' + name + ' as ' + name for name in names)}, $n is null as n, $t + $span as later",
            {},
            given,
        ).read_all()
        assert result.schema.field("i").type == result.schema.field("big").type == pa.int64()
        assert result.schema.field("f").type == pa.float64()
        assert result.schema.field("t").type == TIMESTAMP
        assert result.to_pylist() == [
            {**{name: given[name] for name in names}, "n": True, "later": NOON + timedelta(hours=1)}
        ]

    def test_parameters_nobody_asks_for_are_accepted(self, engine: Sql) -> None:
        assert rows(engine.query("select 1 as a", {}, {"late_minutes": 15})) == [{"a": 1}]

    def test_a_parameter_without_value_is_named(self, engine: Sql) -> None:
        with pytest.raises(WorkFailed, match=r"\$late_minutes"):
            engine.query("select $late_minutes", {}, {"other": 1})

    def test_a_time_without_a_zone_is_refused(self, engine: Sql) -> None:
        with pytest.raises(WorkFailed, match="zone"):
            engine.query("select $t", {}, {"t": datetime(2013, 3, 10)})

    # What it does not see

    @pytest.mark.parametrize("attack", ATTACKS)
    def test_text_reaches_nothing_it_was_not_given(self, engine: Sql, tmp_path: Path, attack: str) -> None:
        snapshot = self.plant(tmp_path, pa.table({"a": [1, 2]}))
        other = self.plant(tmp_path, pa.table({"a": [7]}), name="other")
        secret = tmp_path / "secret.csv"
        secret.write_text("password\n1234\n")
        before = {
            path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "scratch" not in path.parts
        }
        filled = attack.format(
            secret=secret, target=tmp_path / "made", other=other.files[0], file=snapshot.files[0], folder=tmp_path
        )
        with pytest.raises(WorkFailed):
            engine.query(filled, {"t": snapshot}).read_all()
        with pytest.raises(WorkFailed):
            engine.script(
                (
                    [filled or "copy (select 1) to 'x'"]
                    if not filled.startswith(("create", "drop", "select 1;"))
                    else ["load x"]
                ),
                "select * from t",
                {"t": snapshot},
            )
        assert {
            path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "scratch" not in path.parts
        } == before
        assert rows(engine.query("select count(*) as n from t", {"t": snapshot})) == [{"n": 2}]

    def test_python_variables_are_not_tables(self, engine: Sql) -> None:
        around = pa.table({"a": [1]})
        with pytest.raises(WorkFailed):
            engine.query("select * from around", {}).read_all()
        assert around.num_rows == 1

    # Errors and ends

    def test_the_engines_words_are_kept(self, engine: Sql) -> None:
        with pytest.raises(WorkFailed, match="dealy"):
            engine.query("select dealy from t", {"t": pa.table({"delay": [1]})})

    def test_an_error_in_mid_stream_is_work_failed(self, engine: Sql) -> None:
        sql = "select case when i < 3000000 then '1' else 'x' end::int as a from range(3000100) as r(i)"
        with pytest.raises(WorkFailed, match="x"):
            for _ in engine.query(sql, {}):
                pass

    def test_a_source_that_raises_is_work_failed(self, engine: Sql) -> None:
        def broken() -> Iterator[pa.RecordBatch]:
            yield pa.record_batch({"a": [1]})
            raise KeyError("the cat ate it")

        reader = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), broken())
        with pytest.raises(WorkFailed, match="the cat ate it"):
            engine.query("select sum(a) from t", {"t": reader}).read_all()

    def test_results_are_streamed(self, engine: Sql) -> None:
        started = time.monotonic()
        reader = engine.query("select i, hash(i) as h from range(20000000000) as r(i)", {})
        assert reader.read_next_batch().num_rows > 0
        del reader
        gc.collect()
        assert time.monotonic() - started < 10

    def test_what_was_dropped_is_nothing_to_the_next(self, engine: Sql, tmp_path: Path) -> None:
        # So many files that an engine looks for them with many hands
        snapshot = self.plant(tmp_path, *(pa.table({"a": [n]}) for n in range(40)))
        for _ in range(2):
            reader = engine.query("select a from t", {"t": snapshot})
            reader.read_next_batch()
            del reader
            gc.collect()
        assert rows(engine.query("select sum(a)::bigint as s from t", {"t": snapshot})) == [{"s": sum(range(40))}]

    def test_dropping_the_reader_clears_the_scratch(self, engine: Sql, tmp_path: Path) -> None:
        twice = (  # what is read once, an engine need not keep
            "select i from a where i <= (select max(i) from a) order by hash(i)"
        )
        reader = engine.script(["create table a as select i from range(300000) as r(i)"], twice, {})
        reader.read_next_batch()
        assert self.scratch(tmp_path)
        del reader
        gc.collect()
        assert self.scratch(tmp_path) == []

    def test_close_stops_what_runs(self, engine: Sql) -> None:
        failed: list[BaseException] = []

        def work() -> None:
            try:
                engine.query(
                    "select count(*) from range(1000000) a, range(1000000) b where (a.range * b.range) % 7 = 3", {}
                ).read_all()
            except WorkFailed as error:
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.2)
        engine.close()
        thread.join(10)
        assert not thread.is_alive()
        assert "closed" in str(failed[0])

    # Functions

    def test_a_function_is_given_the_batches_of_the_query(self, engine: Sql, tmp_path: Path) -> None:
        schema = pa.schema([("a", pa.int64()), ("s", pa.string()), ("ts", TIMESTAMP), ("l", pa.list_(pa.float64()))])
        snapshot = self.plant(
            tmp_path,
            *(pa.table({"a": [n], "s": [f"x{n}"], "ts": [NOON], "l": [[0.5]]}, schema=schema) for n in range(3)),
        )
        sql = (
            "select *, a::utinyint as small, sum(a) over () as huge, $by::decimal(9,2) as dec, day(ts) as d from t"
            " where a > 0 -- not the first"
        )
        expected = engine.query(sql, {"t": snapshot}, {"by": 2}).schema

        def shown(batch: pa.RecordBatch) -> pa.RecordBatch:
            told = pa.array([str(batch.schema.remove_metadata())] * batch.num_rows, pa.string())
            return batch.select(["a", "ts", "s", "l", "small"]).append_column("told", told)

        made = engine.map(sql, shown, {"t": snapshot}, {"by": 2}, what="it").read_all()
        assert made.schema.names == ["a", "ts", "s", "l", "small", "told"]
        assert made.schema.types == [
            pa.int64(),
            TIMESTAMP,
            pa.string(),
            pa.list_(pa.float64()),
            pa.uint8(),
            pa.string(),
        ]
        found = sorted(made.to_pylist(), key=lambda row: row["a"])
        assert found == [
            {"a": n, "ts": NOON, "s": f"x{n}", "l": [0.5], "small": n, "told": str(expected)} for n in (1, 2)
        ]

    def test_a_function_may_give_tables_batches_or_nothing(self, engine: Sql) -> None:
        def doubled(batch: pa.RecordBatch) -> pa.Table:
            return pa.concat_tables([pa.Table.from_batches([batch])] * 2)

        def ones(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
            for row in range(batch.num_rows):
                yield batch.slice(row, 1)

        def nothing(batch: pa.RecordBatch) -> list[pa.RecordBatch]:
            return []

        some = "select i::bigint as i from range(1000) as r(i)"
        assert sorted(engine.map(some, doubled, {}, what="it").read_all()["i"].to_pylist()) == sorted(
            [*range(1000)] * 2
        )
        assert sorted(engine.map(some, ones, {}, what="it").read_all()["i"].to_pylist()) == [*range(1000)]
        with pytest.raises(WorkFailed, match=r"it: .*columns are unknown"):
            engine.map(some, nothing, {}, what="it").read_all()

    def test_a_function_may_give_frames_or_rows(self, engine: Sql) -> None:
        def rows(batch: pa.RecordBatch) -> list[dict[str, int]]:
            return [{"i": n, "double": 2 * n} for n in batch["i"].to_pylist()]

        def frame(batch: pa.RecordBatch) -> Any:
            told = batch.to_pandas()
            return told[told["i"] % 2 == 0]  # its index has holes, and no name

        def grouped(batch: pa.RecordBatch) -> Any:
            return batch.to_pandas().assign(part=lambda told: told["i"] % 2).groupby("part").agg(least=("i", "min"))

        some = "select i::bigint as i from range(10) as r(i)"
        made = engine.map(some, rows, {}, what="it").read_all()
        assert sorted(made.to_pylist(), key=lambda row: row["i"]) == [{"i": n, "double": 2 * n} for n in range(10)]
        made = engine.map(some, frame, {}, what="it").read_all()
        assert made.schema.names == ["i"] and sorted(made["i"].to_pylist()) == [0, 2, 4, 6, 8]
        assert engine.map(some, grouped, {}, what="it").read_all().schema.names == ["part", "least"]

    def test_a_function_that_gives_no_rows_is_reported_with_its_place(self, engine: Sql) -> None:
        def forgetful(batch: pa.RecordBatch) -> None:
            batch.select(["i"])

        line = forgetful.__code__.co_firstlineno
        with pytest.raises(
            WorkFailed, match=rf'table "forgetful": its function gave None \(contract.py:{line}\); end it with  return'
        ):
            engine.map("select i from range(10) as r(i)", forgetful, {}, what='table "forgetful"').read_all()

    def test_a_function_of_no_rows_shows_its_columns(self, engine: Sql) -> None:
        def halved(batch: pa.RecordBatch) -> pa.RecordBatch:
            return pa.record_batch({"half": pa.array([n / 2 for n in batch["a"].to_pylist()], pa.float64())})

        made = engine.map(
            "select a from t", halved, {"t": pa.schema([("a", pa.int64())]).empty_table()}, what="it"
        ).read_all()
        assert (made.num_rows, made.schema.names, made.schema.types) == (0, ["half"], [pa.float64()])

    def test_a_function_that_raises_is_reported_with_its_line(self, engine: Sql) -> None:
        def picky(batch: pa.RecordBatch) -> pa.RecordBatch:
            if 150_000 in batch["i"].to_pylist():
                raise KeyError("the cat ate it")
            return batch

        line = picky.__code__.co_firstlineno + 2
        with pytest.raises(
            WorkFailed,
            match=rf'(?m)^table "picky": its function raised KeyError: .the cat ate it. \(contract.py:{line}\)$',
        ):
            engine.map("select i from range(200000) as r(i)", picky, {}, what='table "picky"').read_all()

    def test_a_functions_batches_are_all_alike(self, engine: Sql) -> None:
        def fickle(batch: pa.RecordBatch) -> pa.RecordBatch:
            return pa.record_batch({"b" if 150_000 in batch["i"].to_pylist() else "a": batch["i"]})

        def odd(batch: pa.RecordBatch) -> pa.RecordBatch:
            return pa.record_batch(
                {"a": batch["i"].cast(pa.string()) if 150_000 not in batch["i"].to_pylist() else batch["i"]}
            )

        some = "select i::bigint as i from range(200000) as r(i)"
        with pytest.raises(WorkFailed, match="it: its function gave the columns b"):
            engine.map(some, fickle, {}, what="it").read_all()
        assert engine.map(some, odd, {}, what="it").read_all()["a"].type == pa.string()

    def test_a_mistake_in_the_query_of_a_function_is_the_engines(self, engine: Sql) -> None:
        with pytest.raises(WorkFailed, match="dealy"):
            engine.map(
                "select dealy from t", lambda batch: batch, {"t": pa.table({"delay": [1]})}, what="it"
            ).read_all()

    # Scripts

    def test_a_script_has_tables_of_its_own(self, engine: Sql, tmp_path: Path) -> None:
        snapshot = self.plant(tmp_path, pa.table({"a": [1, 2, 3]}))
        steps = [
            "create table b as select a * $by as a from t",
            "create temp table c as select a from b where a > 10; insert into c values (99)",
        ]
        assert rows(engine.script(steps, "select sum(a)::bigint as s from c", {"t": snapshot}, {"by": 10})) == [
            {"s": 149}
        ]
        assert self.scratch(tmp_path) == []

    def test_scripts_do_not_meet(self, engine: Sql) -> None:
        one = engine.script(["create table x as select 1 as a"], "select a from x", {})
        two = engine.script(["create table x as select 2 as a"], "select a from x", {})
        assert (rows(two), rows(one)) == ([{"a": 2}], [{"a": 1}])

    def test_a_failing_script_leaves_nothing(self, engine: Sql, tmp_path: Path) -> None:
        with pytest.raises(WorkFailed, match="nowhere"):
            engine.script(
                ["create table x as select 1 as a", "insert into x select * from nowhere"], "select * from x", {}
            )
        assert self.scratch(tmp_path) == []

    # Descriptions

    def test_describe_says_what_query_gives(self, engine: Sql, tmp_path: Path) -> None:
        table = pa.table({"a": [1], "f": [0.5], "ts": pa.array([NOON], TIMESTAMP), "s": ["x"]})
        snapshot = self.plant(tmp_path, table)
        sql = (
            "select s, sum(a) as a, avg(f) as f, max(ts) as ts, date_trunc('day', ts) as day, $p as p, count(*) as n"
            " from t group by all order by s; -- end"
        )
        assert (
            engine.describe(sql, {"t": table.schema}, {"p": 1}) == engine.query(sql, {"t": snapshot}, {"p": 1}).schema
        )

    def test_describe_runs_nothing(self, engine: Sql) -> None:
        started = time.monotonic()
        assert engine.describe("select count(*) as n from range(1000000) a, range(1000000) b", {}).names == ["n"]
        assert time.monotonic() - started < 5

    def test_describe_knows_mistakes(self, engine: Sql) -> None:
        with pytest.raises(WorkFailed, match="dealy"):
            engine.describe("select dealy from t", {"t": pa.schema([("delay", pa.float64())])})

    # Together

    def test_threads_share_the_engine(self, engine: Sql, tmp_path: Path) -> None:
        wrong: list[Any] = []

        def work(number: int) -> None:
            snapshot = self.plant(tmp_path, pa.table({"a": list(range(number, number + 100))}), name=f"of-{number}")
            for _ in range(5):
                found = rows(engine.query("select sum(a)::bigint as s from t", {"t": snapshot}))
                if found != [{"s": sum(range(number, number + 100))}]:
                    wrong.append(found)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert wrong == []


def plant(
    folder: Path, *files: pa.Table, schema: pa.Schema | None = None, partitions: tuple[Any, ...] = (), name: str = "t"
) -> Snapshot:
    """Parquet files written behind the engine's back, as a version of a table."""
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, table in enumerate(files):
        pq.write_table(table, home / f"part-{number}.parquet")
        paths.append(str(home / f"part-{number}.parquet"))
    return Snapshot(name, 1, schema or files[0].schema, tuple(paths), partitions)


def rows(reader: pa.RecordBatchReader) -> list[dict[str, Any]]:
    return reader.read_all().to_pylist()


def scratch(folder: Path) -> list[Path]:
    """What lies in the scratch folder of an engine that has one on this machine."""
    return sorted((folder / "scratch").glob("*"))
