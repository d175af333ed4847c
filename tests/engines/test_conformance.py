"""Every engine has the methods and types that its port promises: `make check` judges the tuples below; the test checks
that no engine is left out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from millstream.declare.source import Source
from millstream.engines.airflow.orchestrator import AirflowOrchestrator
from millstream.engines.duckdb.sql import DuckDbSql
from millstream.engines.files.source import FileSource
from millstream.engines.hdfs.files import HdfsFiles
from millstream.engines.hive.catalog import HiveCatalog
from millstream.engines.kafka.log import KafkaLog
from millstream.engines.local.files import LocalFiles
from millstream.engines.local.orchestrator import LocalOrchestrator
from millstream.engines.local.sink import LocalSinks
from millstream.engines.mlflow.tracking import MlflowTracking
from millstream.engines.postgres.state import PostgresState
from millstream.engines.redis.online import RedisOnline
from millstream.engines.registry.schemas import RegistrySchemas
from millstream.engines.spark.sinks import SparkSinks
from millstream.engines.spark.sql import SparkSql
from millstream.engines.sqlite.log import SqliteLog
from millstream.engines.sqlite.online import SqliteOnline
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.engines.sqlite.state import SqliteState
from millstream.engines.sqlite.tracking import SqliteTracking
from millstream.features.port import OnlineStore
from millstream.ingest.port import SourceEngine
from millstream.lake.port import Catalog, Files, Sinks
from millstream.log.port import Log, Schemas
from millstream.ports import Engines
from millstream.run.port import Orchestrator
from millstream.run.workspace import Workspace
from millstream.state.port import State
from millstream.train.port import Tracking
from millstream.transform.port import Sql

LOG: tuple[Callable[[str, Schemas], Log], ...] = (SqliteLog, KafkaLog)
SCHEMAS: tuple[Callable[[str], Schemas], ...] = (SqliteSchemas, RegistrySchemas)
FILES: tuple[Callable[[str], Files], ...] = (LocalFiles, HdfsFiles)
CATALOG: tuple[Callable[[str], Catalog], ...] = (HiveCatalog,)
SQL: tuple[Callable[[str, Path], Sql], ...] = (DuckDbSql, SparkSql)
SINK: tuple[Callable[[str, Path], Sinks], ...] = (LocalSinks, SparkSinks)
ONLINE: tuple[Callable[[str], OnlineStore], ...] = (SqliteOnline, RedisOnline)
STATE: tuple[Callable[[str], State], ...] = (SqliteState, PostgresState)
ORCHESTRATOR: tuple[Callable[[str, Engines], Orchestrator], ...] = (LocalOrchestrator, AirflowOrchestrator)
TRACKING: tuple[Callable[[str, Path], Tracking], ...] = (MlflowTracking, SqliteTracking)
SOURCE: tuple[Callable[[Source, Path], SourceEngine], ...] = (FileSource,)


def built(workspace: Workspace) -> Engines:
    """What builds the engines is itself what rooms are handed."""
    return workspace


def test_no_engine_is_left_out() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for group, points in project["entry-points"].items():
        if group.startswith("millstream."):
            listed: tuple[Any, ...] = globals()[group.removeprefix("millstream.").upper()]
            assert set(points.values()) == {f"{engine.__module__}:{engine.__qualname__}" for engine in listed}, group
