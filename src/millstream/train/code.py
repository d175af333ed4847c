"""Which code made a version: the function's source with all of the user's that it reaches, and the commit of the folder."""

from __future__ import annotations

import hashlib
import inspect
import os
import subprocess
import sys
import types
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from millstream.declare.model import Model

LIBRARIES = ("millstream", "numpy", "lightgbm", "scikit-learn", "xgboost", "catboost", "torch", "pandas", "scipy")
_PLAIN = (bool, int, float, str, bytes, type(None))


def code_of(model: Model[Any]) -> str:
    """Hash (16 hex) of the function and of the functions, classes and constants of the user's own files that it names.

    Another model in the same file may change without this one going stale.
    """
    return hashlib.sha256("\n".join(_reached(model.function, {})).encode()).hexdigest()[:16]


def source_of(model: Model[Any]) -> str:
    """The function's text; "" when it has none (made at a prompt)."""
    return _source(model.function)


def commit_of(model: Model[Any]) -> str:
    """The git commit of the function's folder, with "+" when files differ from it; "" without git."""
    folder = os.path.dirname(os.path.abspath(getattr(model.function, "__code__", code_of.__code__).co_filename))
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return head + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def libraries() -> dict[str, str]:
    """Versions of those that are installed, and Python's."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _git(folder: str, *words: str) -> str:
    done = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, timeout=5, check=True)
    return done.stdout.strip()


def _source(of: Any) -> str:
    try:
        return inspect.getsource(of)
    except (OSError, TypeError):
        code = getattr(of, "__code__", None)
        return "" if code is None else f"{code.co_code.hex()} {code.co_consts!r}"


def _reached(function: Any, seen: dict[int, bool]) -> list[str]:
    """Sources, the function's first; each object once."""
    if id(function) in seen:
        return []
    seen[id(function)] = True
    texts = [_source(function)]
    code, scope = getattr(function, "__code__", None), getattr(function, "__globals__", {})
    home = os.path.dirname(code.co_filename) if code else ""
    for name in sorted(_names(code)) if code else ():
        value = scope.get(name)
        if isinstance(value, _PLAIN) and name in scope:
            texts.append(f"{name} = {value!r}")
        elif isinstance(value, types.FunctionType) and os.path.dirname(value.__code__.co_filename) == home:
            texts += _reached(value, seen)
        elif isinstance(value, type) and getattr(sys.modules.get(value.__module__), "__file__", None) and _near(value, home) and id(value) not in seen:
            seen[id(value)] = True
            texts.append(_source(value))
    return texts


def _names(code: types.CodeType) -> set[str]:
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return set(code.co_names).union(*(_names(c) for c in inner))


def _near(value: type, home: str) -> bool:
    return os.path.dirname(str(sys.modules[value.__module__].__file__)) == home
