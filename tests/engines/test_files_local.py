"""The local disk passes the suite of the files port; with SQLite beside it, that of sinks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_sink import SqliteSinkContract

from millstream.base.registry import engine
from millstream.engines.local.files import LocalFiles
from millstream.lake.contract import FilesContract
from millstream.lake.port import Files


class TestLocalFiles(FilesContract):
    @pytest.fixture
    def files(self, tmp_path: Path) -> Iterator[Files]:
        yield LocalFiles(f"file:{tmp_path}/deep/lake")

    def again(self, files: Files) -> Files:
        return LocalFiles(files.root)


class TestSinkOfSqliteAndLocalFiles(SqliteSinkContract):
    @pytest.fixture
    def files(self, tmp_path: Path) -> Files:
        return LocalFiles(str(tmp_path / "lake"))


def test_found_by_url(tmp_path: Path) -> None:
    assert engine("files", str(tmp_path)) is engine("files", f"file:{tmp_path}") is LocalFiles
    assert LocalFiles(f"file://{tmp_path}").root == str(tmp_path)
