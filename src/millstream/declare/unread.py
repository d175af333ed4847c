"""Which definitions of a module were not read, because it or what it imports ended with an error: their names, off its
text.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from millstream.declare.parsed import parsed

NOUNS = ("stream", "table", "features", "training_set", "model", "experiment", "endpoint")
"""Declarations whose first argument, or whose function, is the name."""


def declared_in(file: Path) -> list[str]:
    """Names that the module's text declares, as far as it spells them out; none where it is not valid Python."""
    try:
        tree = parsed(file.read_bytes())
    except (SyntaxError, ValueError):
        return []
    return list(dict.fromkeys(name for node in ast.walk(tree) for name in _names(node)))


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef):
        yield from (
            node.name
            for decorator in node.decorator_list
            if isinstance(decorator, ast.Call) and _noun(decorator) in ("model", "table")
        )
    if isinstance(node, ast.Call) and _noun(node) in NOUNS and node.args:
        first = node.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield first.value


def _noun(call: ast.Call) -> str:
    """`ms.stream` -> "stream"."""
    return call.func.attr if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) else ""
