"""Whether whoever asks for a name can do without it: `hasattr`, `getattr` with a default, or an attribute inside a
`try` that catches its absence.

Such a name is not a mistake of the project that loads. What is merely written down, `ms.strem`, is one.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator
from dis import opname
from types import CodeType, FrameType

from millstream.base.place import caller
from millstream.declare.parsed import parsed

_WRITTEN = {"LOAD_ATTR": "AttributeError", "LOAD_METHOD": "AttributeError", "IMPORT_FROM": "ImportError"}
"""What Python runs for `ms.x`, `ms.x()` and `from m import x` -> what it raises; all other ways are calls of a function
that has an answer for that.
"""
_ANY = {"Exception", "BaseException"}
_SCOPES = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda


def forgiven() -> bool:
    """Whether the nearest caller outside Millstream does without the name that it asks for."""
    frame = caller()
    if frame is None:
        return False
    raised = _WRITTEN.get(opname[frame.f_code.co_code[max(0, frame.f_lasti)]])
    return raised is None or any(_catches(frame, {raised, *_ANY}) for frame in _within_module(frame))


def _within_module(frame: FrameType | None) -> Iterator[FrameType]:
    """It, and those that called it, up to the module that is being run."""
    while frame is not None:
        yield frame
        frame = None if frame.f_code.co_name == "<module>" else frame.f_back


def _catches(frame: FrameType, errors: set[str]) -> bool:
    """Whether the line that the frame runs stands where one of these errors is caught."""
    try:
        tree = parsed("".join(linecache.getlines(frame.f_code.co_filename)))
    except (SyntaxError, ValueError):
        return False
    scope = tree if frame.f_code.co_name == "<module>" else _scope(tree, frame.f_code)
    return scope is not None and any(_names(node) & errors for node in _own(scope) if _holds(node, frame.f_lineno))


def _scope(tree: ast.AST, code: CodeType) -> ast.AST | None:
    """The function or class whose code it is; a decorated one begins with its decorators."""
    for node in ast.walk(tree):
        if (
            isinstance(node, _SCOPES)
            and getattr(node, "name", "<lambda>") == code.co_name
            and _first_line(node) == code.co_firstlineno
        ):
            return node
    return None


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """What stands in it, without what stands in functions and classes of its own."""
    for node in ast.iter_child_nodes(scope):
        if not isinstance(node, _SCOPES):
            yield node
            yield from _own(node)


def _holds(node: ast.AST, line: int) -> bool:
    body = node.body if isinstance(node, ast.Try | ast.TryStar | ast.With) else []
    return bool(body) and body[0].lineno <= line <= (body[-1].end_lineno or 0)


def _names(node: ast.AST) -> set[str]:
    """The errors that a `try`, or `with suppress(...)`, catches."""
    if isinstance(node, ast.With):
        calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
        return {
            name for call in calls if "suppress" in _named(call.func) for given in call.args for name in _named(given)
        }
    handlers = node.handlers if isinstance(node, ast.Try | ast.TryStar) else []
    return {name for handler in handlers for name in (_named(handler.type) if handler.type else _ANY)}


def _named(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Tuple):
        return {name for one in node.elts for name in _named(one)}
    return {node.id} if isinstance(node, ast.Name) else {node.attr} if isinstance(node, ast.Attribute) else set()
