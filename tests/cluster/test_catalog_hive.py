"""Lake tables by name: through HiveServer2 and the Spark Thrift Server, while commits continue, after upkeep, and with
the metastore away.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pymetastore.hive_metastore import ttypes
from running_cluster import brought

from millstream.base.errors import Conflict, Unreachable
from millstream.cluster import Cluster, ask
from millstream.engines.hdfs.files import HdfsFiles
from millstream.engines.hive.catalog import HiveCatalog
from millstream.engines.hive.metastore import Address, client
from millstream.engines.sqlite.log import SqliteLog
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.lake import compact
from millstream.lake.catalog import behind, publish
from millstream.lake.contract import READINGS, ROWS, CatalogContract, put, readings
from millstream.lake.lake import Lake
from millstream.lake.port import Catalog
from millstream.lake.sink import Sink
from millstream.log.envelope import topic_of


class Servers:
    """Questions in SQL to both servers; `lake` stands for the database that each reads."""

    def __init__(self, cluster: Cluster, database: str) -> None:
        brought(cluster, "hiveserver", "thriftserver")
        self.ports = [int(cluster.address(name).rpartition(":")[2]) for name in ("hiveserver", "thriftserver")]
        self.database = database

    def hive(self, sql: str) -> list[tuple[Any, ...]]:
        return ask.sql(self.ports[0], sql.replace("lake.", f"{self.database}_hive."))

    def spark(self, sql: str) -> list[tuple[Any, ...]]:
        return ask.sql(self.ports[1], sql.replace("lake.", f"{self.database}."))


@pytest.fixture
def servers(cluster: Cluster) -> Servers:
    return Servers(cluster, f"t{uuid.uuid4().hex[:8]}")


@pytest.fixture
def catalog(cluster: Cluster, servers: Servers) -> Iterator[HiveCatalog]:
    made = HiveCatalog(f"{cluster.address('hive')}/{servers.database}")
    yield made
    for name in (servers.database, f"{servers.database}_hive"):
        with client(Address.read(made.name)) as hive:
            if name in hive.get_all_databases():
                hive.drop_database(name, False, True)


@pytest.fixture
def lake(cluster: Cluster, servers: Servers) -> Lake:
    conf = cluster.environment("hdfs")["HADOOP_CONF_DIR"]
    return Lake(HdfsFiles(f"{cluster.address('hdfs')}/{uuid.uuid4()}?conf={conf}"))


class TestHive(CatalogContract):
    @pytest.fixture
    def catalog(self, catalog: HiveCatalog) -> Catalog:
        return catalog

    @pytest.fixture
    def lake(self, lake: Lake, servers: Servers) -> Lake:
        self.servers = servers
        return lake

    def found(self, table: str) -> list[list[tuple[int, str | None]]]:
        return [
            sorted(server(f"select x, name from lake.`{table}`")) for server in (self.servers.hive, self.servers.spark)
        ]


ODD = pa.schema(
    [
        ("Id", pa.int64()),
        ("at", pa.timestamp("us", "UTC")),
        ("day", pa.date32()),
        ("small", pa.int8()),
        ("ratio", pa.float32()),
        ("yes", pa.bool_()),
        ("price", pa.decimal128(10, 2)),
        ("raw", pa.binary()),
        ("list", pa.list_(pa.float32())),
        ("inner", pa.struct([("a", pa.int32()), ("B", pa.string())])),
    ]
)


def test_types_mean_the_same_to_both(lake: Lake, catalog: HiveCatalog, servers: Servers) -> None:
    row = {
        "Id": 1,
        "at": 1_704_164_645_678_901,
        "day": 19_724,
        "small": -3,
        "ratio": 0.5,
        "yes": True,
        "price": "12.25",
        "raw": b"\x00\xff",
        "list": [1.5, None],
        "inner": {"a": 7, "B": "b"},
    }
    arrays = [
        (
            pa.array([row[field.name]]).cast(field.type)
            if field.name == "price"
            else pa.array([row[field.name]], field.type)
        )
        for field in ODD
    ]
    lake.create("Odd.types", ODD).append(pa.table(arrays, schema=ODD))
    assert publish(lake, catalog) == {}
    asked = (
        "select id, cast(`at` as string), cast(day as string), small, ratio, yes, cast(price as string), hex(raw),"
        " `list`[0], size(`list`), `inner`.a, `inner`.b from lake.odd_types"
    )
    wanted = [(1, "2024-01-02 03:04:05.678901", "2024-01-02", -3, 0.5, True, "12.25", "00FF", 1.5, 2, 7, "b")]
    assert servers.hive(asked) == wanted
    assert servers.spark(asked) == wanted


def test_partition_columns_of_other_types_also_null(lake: Lake, catalog: HiveCatalog, servers: Servers) -> None:
    day, at = (
        pa.array([19_724, None, 19_725, 19_724], pa.date32()),
        pa.array([10**15 + 1, 10**15, None, 10**15 + 1], pa.timestamp("us", "UTC")),
    )
    table = pa.table(
        {"x": [1, 2, 3, 4], "day": day, "at": at, "no": pa.array([1, None, 3, 1]), "yes": [True, None, False, True]}
    )
    lake.create("parted", table.schema, partition_by=("day", "at", "no", "yes")).append(table)
    publish(lake, catalog)
    asked = (
        "select x, cast(day as string), cast(`at` as string), no, yes from lake.parted where no = 1 or no is null or"
        " yes = false order by x"
    )
    first, moment = ("2024-01-02", "2001-09-09 01:46:40.000001", 1, True), "2001-09-09 01:46:40"
    wanted = [(1, *first), (2, None, moment, None, None), (3, "2024-01-03", None, 3, False), (4, *first)]
    for server in (servers.hive, servers.spark):
        assert [
            tuple(v.removesuffix(".0") if isinstance(v, str) else v for v in row) for row in server(asked)
        ] == wanted


def test_what_others_have_there_is_left_alone_and_the_rest_is_told(
    lake: Lake, catalog: HiveCatalog, servers: Servers
) -> None:
    lake.create("mine", ROWS)
    lake.create("theirs", ROWS)
    with client(Address.read(catalog.name)) as hive:
        for name in (servers.database, f"{servers.database}_hive"):
            hive.create_database(ttypes.Database(name=name))
    ask.sql(servers.ports[0], f"create view {servers.database}_hive.theirs as select 7 as seven", rows=False)
    failed = publish(lake, catalog)
    assert (
        list(failed) == ["theirs"]
        and isinstance(failed["theirs"], Conflict)
        and "did not make" in str(failed["theirs"])
    )
    assert catalog.known(lake.files.root) == {"mine": 0}
    assert servers.hive("select * from lake.theirs") == [(7,)]


def test_hive_refuses_delta_and_says_where_to_look(lake: Lake, catalog: HiveCatalog, servers: Servers) -> None:
    lake.create("rows", ROWS).append(pa.table({"x": [1], "name": ["a"]}))
    publish(lake, catalog)
    with pytest.raises(OSError, match=rf"read.in.database.{servers.database}_hive"):
        ask.sql(servers.ports[0], f"select count(*) from {servers.database}.`rows`")


def test_a_table_whose_files_do_not_say_its_rows_is_for_spark_alone(
    lake: Lake, catalog: HiveCatalog, servers: Servers
) -> None:
    table = lake.create("rows", ROWS)
    table.append(pa.table({"x": [1], "name": ["a"]}))
    publish(lake, catalog)
    assert servers.hive("select x from lake.`rows`") == [(1,)]
    table.delta.alter.set_table_properties({"delta.enableDeletionVectors": "true"})
    assert publish(lake, catalog) == {}
    with pytest.raises(OSError, match=r"(?i)table not found"):
        servers.hive("select x from lake.`rows`")
    servers.spark("delete from lake.`rows` where x = 1")
    assert servers.spark("select x from lake.`rows`") == []


def test_readers_see_whole_commits_while_a_sink_and_upkeep_work(
    lake: Lake, catalog: HiveCatalog, servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each commit brings the next 100 numbers; compaction continues beside. A reader that saw half a version would see
    another count or sum.
    """
    monkeypatch.setattr(compact, "AT_LEAST", (4, 4, 4))
    schemas = SqliteSchemas(f"sqlite:{tmp_path}/log.db")
    log = SqliteLog(f"sqlite:{tmp_path}/log.db", schemas)
    topic_of(log, schemas, READINGS)
    sink, stop, failed = Sink(log, schemas, lake, READINGS), threading.Event(), list[BaseException]()

    def commit() -> None:
        try:
            for n in itertools.count(1):
                if stop.is_set():
                    return
                put(log, schemas, 0, *range(n * 100, n * 100 + 100))
                sink.drain()
                compact.compact(lake.table("readings"))
                publish(lake, catalog)
        except BaseException as error:
            failed.append(error)

    put(log, schemas, 0, *range(100))
    sink.drain()
    publish(lake, catalog)
    writer = threading.Thread(target=commit, daemon=True)
    writer.start()
    try:
        seen: dict[str, list[int]] = {"hive": [], "spark": []}
        for _ in range(8):
            for name, server in (("hive", servers.hive), ("spark", servers.spark)):
                ((rows, total),) = server("select count(*), sum(n) from lake.readings")
                assert rows % 100 == 0 and total == rows * (rows - 1) // 2
                seen[name].append(rows)
    finally:
        stop.set()
        writer.join()
        sink.close()
        log.close()
    assert not failed
    for counts in seen.values():
        assert counts == sorted(counts) and counts[-1] > counts[0]
    publish(lake, catalog)
    assert (
        servers.hive("select count(*) from lake.readings")
        == servers.spark("select count(*) from lake.readings")
        == [(lake.table("readings").rows(),)]
    )


def test_a_metastore_that_is_away_costs_a_delay(own_cluster: Cluster, tmp_path: Path) -> None:
    brought(own_cluster, "hive")
    conf = own_cluster.environment("hdfs")["HADOOP_CONF_DIR"]
    lake = Lake(HdfsFiles(f"{own_cluster.address('hdfs')}/away?conf={conf}"))
    catalog = HiveCatalog(own_cluster.address("hive"))
    table = lake.create("readings", readings().schema)
    publish(lake, catalog)
    own_cluster.kill("hive")
    table.append(readings(1, 2, 3))
    began = time.monotonic()
    with pytest.raises(Unreachable, match="does not answer"):
        publish(lake, catalog)
    assert time.monotonic() - began < 30
    own_cluster.restart("hive")
    assert behind(lake, catalog) == (["readings"], [])
    assert publish(lake, catalog) == {} and catalog.known(lake.files.root) == {"readings": 1}
