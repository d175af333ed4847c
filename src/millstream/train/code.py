"""Which code made a version: the function's source with all of the user's that it reaches, and the commit of the
folder.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from millstream.declare.model import Model
from millstream.declare.reached import reached

LIBRARIES = ("millstream", "numpy", "lightgbm", "scikit-learn", "xgboost", "catboost", "torch", "pandas", "scipy")


def code_of(model: Model[Any]) -> str:
    """Hash (16 hex) of the function and of what it reaches in its project (`declare.reached`).

    Another model in the same file may change without this one going stale.
    """
    return hashlib.sha256("\n".join(reached(model.function)).encode()).hexdigest()[:16]


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
        return ""
