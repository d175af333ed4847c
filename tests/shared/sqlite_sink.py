"""The suite of sinks over SQLite's log: who has files adds them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from millstream.engines.sqlite.log import SqliteLog
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.lake.contract import SinkContract
from millstream.log.port import Log, Schemas


class SqliteSinkContract(SinkContract):
    @pytest.fixture
    def schemas(self, tmp_path: Path) -> Schemas:
        return SqliteSchemas(f"sqlite:{tmp_path}/log.db")

    @pytest.fixture
    def log(self, tmp_path: Path, schemas: Schemas) -> Iterator[Log]:
        made = SqliteLog(f"sqlite:{tmp_path}/log.db", schemas)
        yield made
        made.close()
