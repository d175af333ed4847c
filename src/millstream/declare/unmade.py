"""What stands for a noun that was declared wrongly, so that the rest of the module runs and tells its own mistakes, and
no consequence of this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millstream.declare.collect import Collection


class Unmade:
    """Gives itself for whatever it is asked, and makes whatever is declared with it unmade too."""

    def __init__(self, heard: Collection, name: str | None = None, *, follows: bool = False) -> None:
        """`name`: what it would have been called, "" when that cannot be known, None when it is not a noun. `follows`:
        from another's mistake.
        """
        self._heard, self._name, self._follows = heard, name, follows
        if name is not None:
            self._withhold(name)

    def _withhold(self, name: str) -> None:
        self._heard.withheld.add(name)
        if self._follows and name and name not in self._heard.unchecked:
            self._heard.unchecked.append(name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *given: Any, **named: Any) -> Unmade:
        """As a decorator it withholds what the function would have been called."""
        if len(given) == 1 and hasattr(given[0], "__code__"):
            self._withhold(given[0].__name__)
        return self

    def __getitem__(self, key: Any) -> Unmade:
        return self

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (UnmadeClass,)

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __str__(self) -> str:
        return self._name or "unmade"


class UnmadeClass:
    """The base of a class whose base is not there: of it, too, nothing can be said."""

    __unmade__ = True


def unmade_in(value: Any) -> bool:
    """Whether a value is, or holds, something unmade; an event class whose fields are wrong is."""
    if isinstance(value, Unmade) or (isinstance(value, type) and getattr(value, "__unmade__", False)):
        return True
    if isinstance(value, Mapping):
        return any(map(unmade_in, value.values()))
    return isinstance(value, list | tuple) and any(map(unmade_in, value))
