"""The local disk passes the suite of the files port; with SQLite beside it, that of sinks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from millstream.declare.registry import engine
from millstream.engines.local.files import LocalFiles
from millstream.engines.sqlite.log import SqliteLog
from millstream.engines.sqlite.schemas import SqliteSchemas
from millstream.lake.contract import FilesContract, SinkContract
from millstream.lake.port import Files
from millstream.log.port import Log, Schemas


class TestLocalFiles(FilesContract):
    @pytest.fixture
    def files(self, tmp_path: Path) -> Iterator[Files]:  # type: ignore[override]
        yield LocalFiles(f"file:{tmp_path}/deep/lake")

    def again(self, files: Files) -> Files:
        return LocalFiles(files.root)


class TestSinkOfSqliteAndLocalFiles(SinkContract):
    @pytest.fixture
    def schemas(self, tmp_path: Path) -> Schemas:  # type: ignore[override]
        return SqliteSchemas(f"sqlite:{tmp_path}/log.db")

    @pytest.fixture
    def log(self, tmp_path: Path, schemas: Schemas) -> Iterator[Log]:  # type: ignore[override]
        made = SqliteLog(f"sqlite:{tmp_path}/log.db", schemas)
        yield made
        made.close()

    @pytest.fixture
    def files(self, tmp_path: Path) -> Files:  # type: ignore[override]
        return LocalFiles(str(tmp_path / "lake"))


def test_found_by_url(tmp_path: Path) -> None:
    assert engine("files", str(tmp_path)) is engine("files", f"file:{tmp_path}") is LocalFiles
    assert LocalFiles(f"file://{tmp_path}").root == str(tmp_path)
