"""What all nouns share: a name, a kind, the place they were written at, and what they are made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from millstream.base.errors import Place
from millstream.base.place import here
from millstream.declare.collect import collect


@dataclass(frozen=True, eq=False, kw_only=True)
class Noun:
    """One declared thing of a project. Identity is the object; its name is unique in a project, over all kinds."""

    kind: ClassVar[str]
    name: str
    place: Place | None = field(default_factory=here, repr=False)
    doc: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        collect(self)

    def upstream(self) -> tuple[Noun, ...]:
        """The nouns this one is made from, in the order they are named."""
        return ()

    def __str__(self) -> str:
        return f'{self.kind} "{self.name}"'


@dataclass(frozen=True, kw_only=True)
class Term:
    """A part of a noun that remembers its own line (an aggregate, an outcome, a check), so that a mistake in a shared
    dictionary is not blamed on its first user."""

    place: Place | None = field(default_factory=here, repr=False, compare=False)
