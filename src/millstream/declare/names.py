"""Which names a piece of Python looks up outside of itself, as chains of attributes: `helpers.g(x)` is ("helpers", "g")
and ("x",).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TypeAlias

Chain: TypeAlias = tuple[str, ...]
Imports: TypeAlias = dict[str, tuple[int, str, str | None]]
"""Name -> (level of a relative import, module, what is taken from it; None for `import module`)."""
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_Scope = _Function | _Comprehension | ast.ClassDef


def bound_by_import(statement: ast.Import | ast.ImportFrom) -> Imports:
    """What an import binds. `import a.b` binds `a`; `import a.b as c` binds `a.b`."""
    if isinstance(statement, ast.Import):
        return {
            a.asname or a.name.partition(".")[0]: (0, a.name if a.asname else a.name.partition(".")[0], None)
            for a in statement.names
        }
    return {
        a.asname or a.name: (statement.level, statement.module or "", a.name) for a in statement.names if a.name != "*"
    }


def named(node: ast.AST, imports: Imports) -> tuple[set[Chain], Imports]:
    """Chains that a definition or statement looks up outside of itself, and what imports inside of it bind.

    Annotations are not looked at, nor are decorators of Millstream: their arguments are nouns, which have fingerprints
    of their own.
    """
    local: Imports = {}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Import | ast.ImportFrom) and not isinstance(node, ast.Module):
            local |= bound_by_import(inner)
    return set(_free(node, imports)), local


def ours(node: ast.AST, imports: Imports) -> bool:
    """Whether a statement only declares: `rows = ms.training_set(...)`."""
    value = getattr(node, "value", None)
    return (
        isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(value, ast.Call) and _is_ours(value.func, imports)
    )


def _is_ours(function: ast.expr, imports: Imports) -> bool:
    while isinstance(function, ast.Attribute | ast.Call):
        function = function.value if isinstance(function, ast.Attribute) else function.func
    return (
        isinstance(function, ast.Name) and imports.get(function.id, (0, "", None))[1].partition(".")[0] == "millstream"
    )


def _free(node: ast.AST, imports: Imports) -> Iterator[Chain]:
    """Of a scope: what it and the scopes inside of it look up, less what it binds (a class binds for nobody but its own
    body).
    """
    if isinstance(node, _Scope):
        for outer in _outside(node, imports):
            yield from _free(outer, imports)
        bound = _bound(node)
        for inner in _inside(node):
            shown = isinstance(node, ast.ClassDef) and isinstance(inner, _Scope)
            yield from (chain for chain in _free(inner, imports) if shown or chain[0] not in bound)
        return
    if (chain := _chain(node)) is not None:
        yield chain
        return
    for child in _children(node):
        yield from _free(child, imports)


def _chain(node: ast.AST) -> Chain | None:
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) else None


def _children(node: ast.AST) -> Iterator[ast.AST]:
    for name, _ in ast.iter_fields(node):
        if name not in ("annotation", "returns"):
            value = getattr(node, name)
            yield from (v for v in (value if isinstance(value, list) else [value]) if isinstance(v, ast.AST))


def _outside(node: _Scope, imports: Imports) -> Iterator[ast.AST]:
    """What is looked up where the scope stands: decorators, defaults, base classes."""
    if isinstance(node, _Comprehension):
        return
    yield from (d for d in getattr(node, "decorator_list", ()) if not _is_ours(d, imports))
    if isinstance(node, ast.ClassDef):
        yield from (*node.bases, *(k.value for k in node.keywords))
    else:
        yield from (*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None))


def _inside(node: _Scope) -> Iterator[ast.AST]:
    if isinstance(node, _Comprehension):
        yield from _children(node)
    else:
        yield from node.body if isinstance(node.body, list) else [node.body]


def _bound(node: _Scope) -> set[str]:
    """Names that are the scope's own. An import's are not: they lead to what is imported."""
    found: set[str] = set()
    if isinstance(node, _Function):
        a = node.args
        found = {one.arg for one in (*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg)))}
    elsewhere: set[str] = set()
    waiting = list(_inside(node))
    while waiting:
        one = waiting.pop()
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            found.add(one.id)
        elif isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.ExceptHandler):
            found |= {one.name} if one.name else set()
        elif isinstance(one, ast.Global | ast.Nonlocal):
            elsewhere |= set(one.names)
        if not isinstance(one, _Scope):
            waiting += list(ast.iter_child_nodes(one))
    return found - elsewhere
