"""What stands for a noun that was declared wrongly, so that the rest of the module runs and tells its own mistakes, and no consequence of this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class Unmade:
    """Gives itself for whatever it is asked, and makes whatever is declared with it unmade too."""

    def __init__(self, withheld: set[str], name: str | None = None) -> None:
        """`name`: what it would have been called, "" when that cannot be known, None when it is no noun."""
        self._withheld, self._name = withheld, name
        if name is not None:
            withheld.add(name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *given: Any, **named: Any) -> Unmade:
        """As a decorator it withholds what the function would have been called."""
        if len(given) == 1 and hasattr(given[0], "__code__"):
            self._withheld.add(given[0].__name__)
        return self

    def __getitem__(self, key: Any) -> Unmade:
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __str__(self) -> str:
        return self._name or "unmade"


def unmade_in(value: Any) -> bool:
    """Whether a value is, or holds, something unmade; an event class whose fields are wrong is."""
    if isinstance(value, Unmade) or (isinstance(value, type) and getattr(value, "__unmade__", False)):
        return True
    if isinstance(value, Mapping):
        return any(map(unmade_in, value.values()))
    return isinstance(value, list | tuple) and any(map(unmade_in, value))
