"""What an engine may lack: how a suite of a port lets it, and holds it to it.

What a port promises, every engine keeps. What an engine may lack is a test with `@promise`; an engine that lacks it
says so, with the cause, in its `GAPS`, and then the test must fail: a gap that has closed is as much an error as one
that nobody named. The reference shows both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest


def promise(what: str) -> Callable[[Any], Any]:
    """Marks a test of a suite: an engine whose `GAPS` names `what` need not pass it."""

    def mark(test: Any) -> Any:
        test.promise = what
        return test

    return mark


def promises(suite: type) -> list[str]:
    """What an engine of a suite may lack, in the order of its tests."""
    return list(dict.fromkeys(test.promise for test in vars(suite).values() if hasattr(test, "promise")))


def lacking(request: pytest.FixtureRequest, engine: object) -> None:
    """For a fixture of a suite: where the engine lacks what the running test is about, the test has to fail."""
    what = getattr(request.function, "promise", None)
    cause = getattr(engine, "GAPS", {}).get(what)
    if cause:
        import pytest

        request.node.add_marker(pytest.mark.xfail(reason=f"{what}: {cause}", strict=True))
