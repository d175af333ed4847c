"""The simulator's engines in memory pass the ports' suites; so does the lake's table over files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_log import MemoryLog
from memory_online import MemoryOnline
from memory_schemas import MemorySchemas
from memory_table import MemoryTables

from millstream.engines.local.files import LocalFiles
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.features.contract import OnlineContract
from millstream.features.port import OnlineStore
from millstream.lake.lake import Lake
from millstream.lake.port import Tables
from millstream.lake.table_contract import TableContract
from millstream.log.contract import SCHEMA, LogContract, SchemasContract
from millstream.log.port import Log, Schemas


class TestMemoryLog(LogContract):
    @pytest.fixture
    def log(self) -> Iterator[Log]:
        yield MemoryLog()

    @pytest.fixture
    def schema_id(self, tmp_path: Path) -> int:
        return SqliteSchemas(f"sqlite:{tmp_path / 'schemas.db'}").register("t", SCHEMA)

    def again(self, log: Log) -> Log:
        assert isinstance(log, MemoryLog)
        return MemoryLog(log.held)


class TestMemorySchemas(SchemasContract):
    @pytest.fixture
    def schemas(self) -> Schemas:
        return MemorySchemas()

    def again(self, schemas: Schemas) -> Schemas:
        assert isinstance(schemas, MemorySchemas)
        return MemorySchemas(schemas.texts)


class TestMemoryOnline(OnlineContract):
    @pytest.fixture
    def store(self) -> OnlineStore:
        return MemoryOnline()

    def again(self, store: OnlineStore) -> OnlineStore:
        assert isinstance(store, MemoryOnline)
        return MemoryOnline(store.held)


class TestMemoryTable(TableContract):
    @pytest.fixture
    def tables(self) -> Tables:
        return MemoryTables()


class TestLakeTable(TableContract):
    @pytest.fixture
    def tables(self, tmp_path: Path) -> Tables:
        return Lake(LocalFiles(str(tmp_path / "lake")))
