"""For every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from millstream.base import secrets


@pytest.fixture(autouse=True)
def _nothing_is_kept() -> Iterator[None]:
    """A secret of one test is not hidden from the next."""
    before = dict(secrets._known)
    yield
    secrets._known.clear()
    secrets._known.update(before)
