"""Names of Millstream's own inside stored models. This module keeps its name: what is stored says `millstream.stored`,
and no room.

A model version outlives the layout of this package. So a class, function or module of Millstream that a model reaches
is stored as its own name, with the module where it was at the time as a hint; when it is not there any more, it is
looked for by its name. What was stored before, under a room's name, is found in the same way.
"""

from __future__ import annotations

import ast
import importlib
import io
import pickle
import re
from functools import lru_cache
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from millstream.declare.parsed import parsed

PACKAGE = __name__.partition(".")[0]
MOVED: dict[str, str] = {}
"""Module of an older version -> where its names are now. Needed only where a name alone does not tell;
`tests/train/test_stored_names.py` says so.
"""


def named(name: str, hint: str) -> Any:
    """What was stored under this name.

    Args:
        name: Qualified inside its module.
        hint: The module where it was.

    Raises:
        ImportError: Nothing has this name any more, or several have and none lies in a module of the hint's own name.
    """
    hint = MOVED.get(hint, hint)
    try:
        return _in(importlib.import_module(hint), name)
    except (ModuleNotFoundError, AttributeError):
        return _in(importlib.import_module(_found(name.partition(".")[0], hint)), name)


def module(hint: str) -> ModuleType:
    """A module of Millstream that was there; see `named`."""
    hint = MOVED.get(hint, hint)
    try:
        return importlib.import_module(hint)
    except ModuleNotFoundError:
        last = hint.rpartition(".")[2]
        places = [place for place, _ in _sources() if place.rpartition(".")[2] == last]
        return importlib.import_module(_only(places, f"the module {last}", hint))


def dumps(model: object) -> bytes:
    """A model with all that it reaches, as cloudpickle stores it, but for what is Millstream's."""
    import cloudpickle  # type: ignore[import-untyped,unused-ignore]

    class Pickler(cloudpickle.CloudPickler):  # type: ignore[misc,unused-ignore]
        def reducer_override(self, of: Any) -> Any:
            told = _stored_as(of)
            return super().reducer_override(of) if told is None else told

    file = io.BytesIO()
    Pickler(file).dump(model)
    return file.getvalue()


def loads(data: bytes) -> Any:
    """What `dumps` stored, or cloudpickle did in an older version."""
    return _Unpickler(io.BytesIO(data)).load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, place: str, name: str) -> Any:
        try:
            return super().find_class(place, name)
        except (ModuleNotFoundError, AttributeError):
            if not _ours(place):
                raise
            return named(name, place)


def _stored_as(of: Any) -> tuple[Any, ...] | None:
    """How an object of Millstream is stored; None for what is stored as usual."""
    if isinstance(of, ModuleType):
        return (module, (of.__name__,)) if of.__name__ == PACKAGE or _ours(of.__name__) else None
    if isinstance(of, type | FunctionType | BuiltinFunctionType):
        home, name = getattr(of, "__module__", None) or "", of.__qualname__
        return (named, (name, home)) if _ours(home) and "<" not in name and _is_there(of, home, name) else None
    kind = type(of)
    if _ours(kind.__module__) and "__reduce__" in kind.__dict__ and isinstance(told := of.__reduce__(), str):
        return named, (told, kind.__module__)
    return None


def _ours(place: str) -> bool:
    return place.startswith(f"{PACKAGE}.") and place != __name__


def _is_there(of: Any, home: str, name: str) -> bool:
    """Whether that name gives this very object: a class made while it runs has the name of what made it."""
    try:
        return _in(importlib.import_module(home), name) is of
    except (ImportError, AttributeError):
        return False


def _in(place: ModuleType, name: str) -> Any:
    of: Any = place
    for part in name.split("."):
        of = getattr(of, part)
    return of


def _found(name: str, hint: str) -> str:
    """The module that defines a name."""
    defines = re.compile(
        rf"^(?:class {re.escape(name)}\b|(?:async )?def {re.escape(name)}\b|{re.escape(name)}(?::[^=\n]+)? = )",
        re.MULTILINE,
    )
    return _only([place for place, text in _sources() if defines.search(text) and name in _top(text)], name, hint)


def _top(text: str) -> set[str]:
    """Names that a module's text defines, without those of its examples."""
    found = set[str]()
    for node in parsed(text).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            found.update(
                target.id
                for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
                if isinstance(target, ast.Name)
            )
    return found


def _only(places: list[str], what: str, hint: str) -> str:
    places = [place for place in places if _engine(place) == _engine(hint)]
    same = [place for place in places if place.rpartition(".")[2] == hint.rpartition(".")[2]]
    chosen = same if len(same) == 1 else places
    if len(chosen) != 1:
        where = f"is in {', '.join(chosen)}" if chosen else "is in none of its modules"
        raise ImportError(
            f"a stored model reaches {what}, which was in {hint} when it was trained, and {where} in this Millstream;"
            " train it again"
        )
    return chosen[0]


def _engine(place: str) -> bool:
    return place.startswith(f"{PACKAGE}.engines.")


@lru_cache(1)
def _sources() -> list[tuple[str, str]]:
    """The modules of Millstream and their texts. They are not imported: some need what is not installed."""
    root = Path(__file__).parent
    found = []
    for file in sorted(root.rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        if parts[-1] not in ("contract", "__main__"):
            found.append((".".join((PACKAGE, *(parts[:-1] if parts[-1] == "__init__" else parts))), file.read_text()))
    return found


__all__ = ["dumps", "loads", "module", "named"]
