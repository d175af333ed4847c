"""Who is listening while a project loads.

A noun made inside `collecting()` joins the collection; outside it a noun is a plain object with no side effect, so
notebook cells can be run again and tests hold no global state. So with mistakes: a listener gets them, else they are
raised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from millstream.base.errors import DefinitionError, DefinitionErrors

if TYPE_CHECKING:
    from millstream.declare.noun import Noun


class Collection(list["Noun"]):
    """Nouns in order of declaration.

    Attributes:
        mistakes: Of declarations that made no noun.
        withheld: Names of what was not made; "" when one of them is not known.
        unchecked: Those of them that have no mistake of their own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mistakes: list[DefinitionError] = []
        self.withheld: set[str] = set()
        self.unchecked: list[str] = []


_listening: ContextVar[Collection | None] = ContextVar("millstream_collector", default=None)


@contextmanager
def collecting() -> Iterator[Collection]:
    """A list that every noun declared inside the block is appended to, in order of declaration."""
    nouns = Collection()
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


def listening() -> Collection | None:
    """Whoever listens."""
    return _listening.get()


def refuse(mistakes: Sequence[DefinitionError]) -> Collection:
    """Hand mistakes to whoever listens. Raises them when nobody does."""
    nouns = _listening.get()
    if nouns is None:
        raise mistakes[0] if len(mistakes) == 1 else DefinitionErrors(mistakes)
    nouns.mistakes += mistakes
    return nouns
