"""A world a test: an embedded log, a lake and a state store in one folder; and a server of processes that may be killed
in it, one a module.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lake_actors import Stage, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("actors"))
    yield made
    made.close()


@pytest.fixture
def stage(server: Stage, tmp_path: Path) -> Iterator[Stage]:
    server.folder = tmp_path
    yield server
    server.clear()
