"""One engine a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from millstream.base.registry import engine
from millstream.transform.port import Sql


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sql]:
    made: Sql = engine("sql", "duckdb")("duckdb:?threads=2", tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()
