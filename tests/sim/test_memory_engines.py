"""The simulator's engines in memory pass the ports' suites; so does the lake's table over files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_log import MemoryLog
from memory_table import MemoryTables

from millstream.engines.local.files import LocalFiles
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.lake.contract import TableContract
from millstream.lake.lake import Lake
from millstream.lake.port import Tables
from millstream.log.contract import SCHEMA, LogContract
from millstream.log.port import Log


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


class TestMemoryTable(TableContract):
    @pytest.fixture
    def tables(self) -> Tables:
        return MemoryTables()


class TestLakeTable(TableContract):
    @pytest.fixture
    def tables(self, tmp_path: Path) -> Tables:
        return Lake(LocalFiles(str(tmp_path / "lake")))
