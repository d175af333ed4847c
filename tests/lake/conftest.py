"""A world a test: an embedded log, a lake and a state store in one folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lake_actors import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()
