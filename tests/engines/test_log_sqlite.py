"""SQLite passes the suites of the log and of the schema store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from millstream.engines.sqlite.log import SqliteLog
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.log.contract import SCHEMA, LogContract, SchemasContract
from millstream.log.port import Log, Schemas


class TestSqliteLog(LogContract):
    @pytest.fixture
    def log(self, tmp_path: Path) -> Iterator[Log]:
        url = f"sqlite:{tmp_path}/log.db"
        self.opened = [SqliteLog(url, SqliteSchemas(url))]
        yield self.opened[0]
        for log in self.opened:
            log.close()

    @pytest.fixture
    def schema_id(self, tmp_path: Path) -> int:
        return SqliteSchemas(f"sqlite:{tmp_path}/log.db").register("t", SCHEMA)

    def again(self, log: Log) -> Log:
        path = self.opened[0].path
        self.opened.append(SqliteLog(str(path), SqliteSchemas(str(path))))
        return self.opened[-1]


class TestSqliteSchemas(SchemasContract):
    @pytest.fixture
    def schemas(self, tmp_path: Path) -> Schemas:
        self.url = f"sqlite:{tmp_path}/log.db"
        return SqliteSchemas(self.url)

    def again(self, schemas: Schemas) -> Schemas:
        return SqliteSchemas(self.url)
