"""Named moments of a commit at which a process may die: `sink.files`, `sink.committed`, `compact.files` ...

Production code only says where it is. A fault test hangs a kill, a stop or an error there. At those of `GUARDED`,
right before work begins or becomes visible, a job that another has taken the place of raises Fenced (`run/claim.py`).
"""

from __future__ import annotations

from collections.abc import Callable

GUARDED = frozenset({"asset.begins", "commit.ready", "model.ready", "features.ready", "asset.made"})
_handlers: list[Callable[[str], None]] = []


def reach(point: str) -> None:
    """The work of this process has come to `point`."""
    for handler in _handlers:
        handler(point)


def watch(handler: Callable[[str], None]) -> Callable[[], None]:
    """Call `handler(point)` at every point from now on.

    Returns:
        A function that ends it.
    """
    _handlers.append(handler)
    return lambda: _handlers.remove(handler)
