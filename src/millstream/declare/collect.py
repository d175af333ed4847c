"""Who is listening while a project loads.

A noun made inside `collecting()` joins the collection; outside it a noun is a plain object with no side effect, so
notebook cells can be run again and tests hold no global state.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millstream.declare.noun import Noun

_listening: ContextVar[list[Noun] | None] = ContextVar("millstream_collector", default=None)


@contextmanager
def collecting() -> Iterator[list[Noun]]:
    """A list that every noun declared inside the block is appended to, in order of declaration."""
    nouns: list[Noun] = []
    token = _listening.set(nouns)
    try:
        yield nouns
    finally:
        _listening.reset(token)


def collect(noun: Noun) -> None:
    """Hand a new noun to whoever listens; nobody listening is fine."""
    nouns = _listening.get()
    if nouns is not None:
        nouns.append(noun)
