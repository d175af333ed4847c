"""For every test."""

from __future__ import annotations

import ast
import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from millstream.base import secrets

_PARSE, _ONE = ast.parse, threading.RLock()


def _alone(*args: Any, **named: Any) -> Any:
    """CPython 3.11 fails when two threads parse at a time (`declare/parsed.py`), and pytest parses what is imported."""
    with _ONE:
        collects = gc.isenabled()
        gc.disable()
        try:
            return _PARSE(*args, **named)
        finally:
            if collects:
                gc.enable()


ast.parse = _alone


@pytest.fixture(autouse=True)
def _nothing_is_kept() -> Iterator[None]:
    """A secret of one test is not hidden from the next."""
    before = dict(secrets._known)
    yield
    secrets._known.clear()
    secrets._known.update(before)
