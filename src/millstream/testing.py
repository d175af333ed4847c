"""The pytest plugin of a user's project: the fixture `lab`, a world with its own log, lake and clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from millstream.lab.lab import Lab

__all__ = ["Lab", "lab"]


def __getattr__(name: str) -> object:
    if name == "Lab":
        from millstream.lab.lab import Lab

        return Lab
    raise AttributeError(name)


@pytest.fixture
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """A fresh world for the project that the test file belongs to; nothing of the project's own data is touched."""
    from millstream.base.errors import DefinitionError
    from millstream.lab.lab import Lab

    try:
        made = Lab.of(Path(request.path), tmp_path)
    except DefinitionError as error:  # mistakes of the project, as `check` tells them
        pytest.fail(str(error), pytrace=False)
    with made:
        yield made


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Tests import the project's modules by name, as the modules import one another."""
    import sys

    for folder in Path(collector.path).parents if getattr(collector, "path", None) else ():
        if (folder / "millstream.toml").exists():
            if str(folder) not in sys.path:
                sys.path.insert(0, str(folder))
            return
