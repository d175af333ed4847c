"""The code of the user's that a function reaches: itself, and the functions, classes and constants of its project's
folder that it names, and those that they name.

Read from the files, by the names in them: `helper(x)`, `helpers.g`, `from pkg.deep import h`, a base class, `partial(f,
2)`. Installed packages count by nothing. What no name shows (`getattr` by a computed name, a file that is opened) is
not seen.
"""

from __future__ import annotations

import ast
import inspect
import os
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from millstream.declare.names import Chain, Imports, bound_by_import, named, ours
from millstream.declare.parsed import parsed

_PLAIN = (bool, int, float, str, bytes, type(None))
_Def = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_files: dict[str, tuple[tuple[int, int], _File]] = {}


def reached(function: Callable[..., Any]) -> list[str]:
    """Texts, the function's own first, each once; an edit of anything else changes none of them."""
    try:
        inner = inspect.unwrap(function)
    except ValueError:
        inner = function
    walk = _Walk()
    walk.function(inner)
    walk.function(function)
    return walk.texts


class _File:
    """A module's text: which statements make each of its names."""

    def __init__(self, path: str, text: str) -> None:
        self.path, self.lines = path, text.splitlines()
        self.tree = parsed(text)
        self.makers: dict[str, list[ast.stmt]] = {}
        self.imports: Imports = {}
        self.stars: list[tuple[int, str]] = []
        for statement in _flat(self.tree.body):
            self._add(statement)

    def _add(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            self.imports |= bound_by_import(statement)
            self.stars += (
                [(statement.level, statement.module or "") for a in statement.names if a.name == "*"]
                if isinstance(statement, ast.ImportFrom)
                else []
            )
        elif isinstance(statement, _Def):
            self.makers.setdefault(statement.name, []).append(statement)
        else:
            for name in _changed(statement):
                self.makers.setdefault(name, []).append(statement)

    def text(self, node: ast.stmt | ast.expr) -> str:
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(d.lineno for d in decorators)])
        return "\n".join(self.lines[first - 1 : node.end_lineno])

    def at(self, code: types.CodeType) -> _Def | ast.Lambda | None:
        """The definition that was compiled to this."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == code.co_name:
                if min([node.lineno, *(d.lineno for d in node.decorator_list)]) == code.co_firstlineno:
                    return node
            elif isinstance(node, ast.Lambda) and code.co_name == "<lambda>" and node.lineno == code.co_firstlineno:
                return node
        return None


class _Module:
    """A module of the project: its file (a folder without `__init__.py` has none), its full name and the folder that
    names begin in.

    `live` are its values, where its importers import it too: what a function imports when it is called may be there or
    not.
    """

    def __init__(self, root: str, name: str, path: str | None, eager: bool = True) -> None:
        self.root, self.name, self.eager, self.file = root, name, eager, _parsed(path) if path else None
        self.package = name if path is None or os.path.basename(path) == "__init__.py" else name.rpartition(".")[0]
        held = sys.modules.get(name)
        same = path is not None and os.path.abspath(getattr(held, "__file__", None) or "") == path
        self.live: dict[str, Any] = vars(held) if eager and same and held is not None else {}

    def import_(self, name: str, level: int = 0, *, lazily: bool = False) -> _Module | None:
        """The project's module of this name, as an import here finds it."""
        if level:
            base = self.package.split(".") if self.package else []
            name = ".".join([*base[: len(base) - level + 1], *filter(None, [name])])
        path, eager = os.path.join(self.root, *name.split(".")), self.eager and not lazily
        for file in (os.path.join(path, "__init__.py"), path + ".py"):
            if os.path.isfile(file):
                return _Module(self.root, name, file, eager)
        return _Module(self.root, name, None, eager) if os.path.isdir(path) and name else None


class _Walk:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.seen: set[Any] = set()

    def function(self, function: Any) -> None:
        """A function that lives: the file of its code, and what its closure holds."""
        code = getattr(function, "__code__", None)
        if code is None or code in self.seen:
            return
        self.seen.add(code)
        path = os.path.abspath(code.co_filename)
        scope = getattr(function, "__globals__", {})
        file = _parsed(path)
        node = file.at(code) if file else None
        if file is None or node is None:
            self._bare(function, code, scope)
        else:
            name = str(scope.get("__name__", ""))
            up = name.count(".") + (os.path.basename(path) == "__init__.py")
            root = os.path.dirname(path)
            for _ in range(up):
                root = os.path.dirname(root)
            module = _Module(root, name, path)
            module.live = scope
            self.seen.add((path, node.lineno))
            self.texts.append(file.text(node))
            self._names(module, node)
        self._closure(function, code)

    def _closure(self, function: Any, code: types.CodeType) -> None:
        for name, cell in zip(code.co_freevars, getattr(function, "__closure__", None) or (), strict=False):
            try:
                value = cell.cell_contents
            except ValueError:  # not bound yet
                continue
            if _is_plain(value):
                self.texts.append(f"{name} = {value!r}")
            for one in vars(value).values() if isinstance(value, type) else (value,):
                if isinstance(one, types.FunctionType) and not _installed(one):
                    self.function(one)

    def _bare(self, function: Any, code: types.CodeType, scope: dict[str, Any]) -> None:
        """A function without a file (made at a prompt): its code, and what it names in its own scope."""
        self.texts.append(f"{code.co_code.hex()} {[c for c in code.co_consts if not isinstance(c, types.CodeType)]!r}")
        for inner in (c for c in code.co_consts if isinstance(c, types.CodeType)):
            self._bare(None, inner, scope)
        for name in sorted(set(code.co_names) & scope.keys()):
            value = scope[name]
            if _is_plain(value):
                self.texts.append(f"{name} = {value!r}")
            elif isinstance(value, types.FunctionType) and value.__code__.co_filename == code.co_filename:
                self.function(value)

    def _names(self, module: _Module, node: ast.AST) -> None:
        assert module.file is not None
        found, local = named(node, module.file.imports)
        for chain in sorted(found):
            self._chain(module, chain, local)

    def _chain(self, module: _Module, chain: Chain, local: Imports) -> None:
        """What `a.b.c` is, seen from a module."""
        made = module.file
        if made is None:
            return
        name, *rest = chain
        if (made.path, chain, local.get(name)) in self.seen:  # two modules may import a name from each other
            return
        self.seen.add((made.path, chain, local.get(name)))
        imported = local.get(name) or made.imports.get(name)
        if imported is not None:
            level, of, member = imported
            if member is None:
                self._member(module.import_(of, lazily=name in local), rest)
            else:
                self._from(module.import_(of, level, lazily=name in local), member, rest)
        # Besides an import: `try: from fast import f`, `except ImportError: f = None`
        if name in made.makers and name not in local:
            self._made(module, name)
        for level, of in made.stars if imported is None and name not in made.makers else ():
            star = module.import_(of, level)
            if star is not None and star.file is not None and (name in star.file.makers or name in star.file.imports):
                self._chain(star, chain, {})

    def _from(self, module: _Module | None, member: str, rest: list[str]) -> None:
        """`from module import member`: what it makes, or the module below it."""
        if module is None:
            return
        file = module.file
        if file is not None and (member in file.makers or member in file.imports):
            self._chain(module, (member, *rest), {})
            return
        below = module.import_(f"{module.name}.{member}" if module.name else member)
        if below is not None:
            self._member(below, rest)
        elif file is not None:
            self._chain(module, (member, *rest), {})  # by a star, perhaps

    def _member(self, module: _Module | None, rest: list[str]) -> None:
        """What `module.b.c` is; a module that is named alone may be used in any way, so all of it counts."""
        if module is None:
            return
        if rest:
            self._from(module, rest[0], rest[1:])
        elif module.file is not None and module.file.path not in self.seen:
            self.seen.add(module.file.path)
            self.texts.append("\n".join(module.file.lines))
            self._names(module, module.file.tree)

    def _made(self, module: _Module, name: str) -> None:
        assert module.file is not None
        if (module.file.path, name) in self.seen:
            return
        self.seen.add((module.file.path, name))
        makers = module.file.makers[name]
        value = _literal(makers, module.live.get(name, makers))
        if _is_plain(value) and not any(isinstance(m, _Def) for m in makers):
            self.texts.append(f"{name} = {value!r}")
            return
        for node in makers:
            if ours(node, module.file.imports) or (module.file.path, node.lineno) in self.seen:
                continue  # a noun: it is judged by its own fingerprint
            self.seen.add((module.file.path, node.lineno))
            self.texts.append(module.file.text(node))
            self._names(module, node)


def _parsed(path: str) -> _File | None:
    """By path, size and time of change; None when it is not valid Python that can be read."""
    try:
        stat = os.stat(path)
        key = (stat.st_mtime_ns, stat.st_size)
        if path not in _files or _files[path][0] != key:
            with open(path, encoding="utf-8") as file:
                _files[path] = key, _File(path, file.read())
    except (OSError, SyntaxError, ValueError):
        return None
    return _files[path][1]


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, those below `if` and `try` one by one."""
    for statement in body:
        if isinstance(statement, ast.If):
            yield from _flat([*statement.body, *statement.orelse])
        elif isinstance(statement, ast.Try):
            yield from _flat(
                [
                    *statement.body,
                    *(s for h in statement.handlers for s in h.body),
                    *statement.orelse,
                    *statement.finalbody,
                ]
            )
        else:
            yield statement


def _changed(statement: ast.stmt) -> set[str]:
    """Names that it assigns, or changes in place: `x = 1`, `x["a"] = 1`, `x.append(1)`."""
    found = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for node in ast.walk(statement):
        if isinstance(node, ast.Subscript | ast.Attribute) and (
            isinstance(node.ctx, ast.Store) or _is_call(statement, node)
        ):
            root: ast.expr = node
            while isinstance(root, ast.Subscript | ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name):
                found.add(root.id)
    return found


def _is_call(statement: ast.stmt, node: ast.expr) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) and statement.value.func is node


def _is_plain(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (type(value) is tuple and all(_is_plain(v) for v in value))


def _literal(makers: list[ast.stmt], otherwise: Any) -> Any:
    """The value as it is written, which no call can have changed; the other one when it is computed."""
    if len(makers) == 1 and isinstance(makers[0], ast.Assign | ast.AnnAssign) and makers[0].value is not None:
        try:
            return ast.literal_eval(makers[0].value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            pass
    return otherwise


def _installed(function: types.FunctionType) -> bool:
    return any(
        f"{os.sep}{name}{os.sep}" in function.__code__.co_filename for name in ("site-packages", "dist-packages")
    ) or (str(function.__globals__.get("__name__", "")).partition(".")[0] == "millstream")
