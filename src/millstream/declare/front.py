"""Keeps the nouns of `import millstream as ms` when rooms of the same names are imported."""

from __future__ import annotations

import sys
from types import ModuleType

TYPE_CHECKING = False  # see the package
if TYPE_CHECKING:
    from typing import Any


class Front(ModuleType):
    """A package whose exported names are not replaced by its submodules.

    The import system binds a submodule to its package under its name: `import millstream.features.define` anywhere
    would turn `ms.features(...)` into a module that cannot be called. Rooms are still found: `from
    millstream.features.define import define`.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in self.__dict__.get("__all__", ())):
            super().__setattr__(name, value)


def keep_nouns(package: str) -> None:
    """Make the package a `Front`, once it has said `__all__`."""
    sys.modules[package].__class__ = Front
