"""A project's Python modules: imported in name order, each at most once a load, and every failure reported as the
user's own mistake.

Never `importlib.reload`: a load forgets what earlier loads imported from the folder and imports it anew, so that no
half of an old module lives on in a new one.
"""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from millstream.base.errors import DefinitionError, DefinitionErrors, Place
from millstream.base.place import here, shorten
from millstream.base.theirs import pass_on
from millstream.base.words import nearest
from millstream.declare.collect import listening
from millstream.declare.missing import missing
from millstream.declare.unmade import Unmade

_loaded: dict[str, set[str]] = {}
"""Root -> the names of its modules, of the loads of this process."""


class _Failed(ImportError):
    """A module that has failed already was asked for again; its error is known."""


def files_of(root: Path) -> list[Path]:
    """The modules that declare: root-level, without `_x.py`, tests and pytest's own."""
    return sorted(
        p
        for p in root.glob("*.py")
        if not p.name.startswith(("_", "test_")) and p.name not in ("conftest.py", "setup.py")
    )


def run(root: Path) -> tuple[list[DefinitionError], list[Path]]:
    """Import the modules of the folder; their nouns go to whoever collects.

    Returns:
        Every mistake, and the modules that were not run to their end.
    """
    files = files_of(root)
    errors = [_hides(f) for f in files if _hides_something(f.stem)]
    names = [f.stem for f in files if not _hides_something(f.stem)]
    _forget(root, names)
    finder = _Finder(root, errors)
    with _importing(root, finder):
        for name in names:
            with suppress(_Failed):
                importlib.import_module(name)
    _loaded[str(root)] = set(names) | finder.seen
    return errors, [f for f in files if f.stem in finder.failed or f.stem not in names]


def _hides_something(name: str) -> bool:
    return name in sys.stdlib_module_names or name in ("millstream", "pytest")


def _hides(file: Path) -> DefinitionError:
    of = "the standard library" if file.stem in sys.stdlib_module_names else "a package"
    return DefinitionError(
        f'the module "{file.stem}" hides one of {of}',
        place=Place(shorten(str(file)), 1),
        found=file.name,
        fix=f"rename it, e.g. {file.stem}s.py: the project's folder is first on the path",
        code="E106",
    )


def _forget(root: Path, names: Sequence[str]) -> None:
    """Drop what this and other projects have imported, so that `import streams` means this folder's."""
    for other, known in _loaded.items():
        for name in known:
            sys.modules.pop(name, None)
        if other != str(root) and other in sys.path:
            sys.path.remove(other)
    _loaded.clear()
    for name in names:
        sys.modules.pop(name, None)
    if str(root) in sys.path:
        sys.path.remove(str(root))
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()


@contextmanager
def _importing(root: Path, finder: _Finder) -> Iterator[None]:
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    """Finds root-level modules of the folder (helpers `_x.py` too), before all other finders."""

    def __init__(self, root: Path, errors: list[DefinitionError]) -> None:
        self.root, self.errors = root, errors
        self.failed: set[str] = set()
        self.seen: set[str] = set()

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        file = self.root / f"{name}.py"
        if path is not None or "." in name or name in sys.stdlib_module_names:
            return None
        if not file.is_file():
            return self._misspelt(name)
        if name in self.failed:
            raise _Failed(name)
        self.seen.add(name)
        return spec_from_file_location(name, file, loader=_Loader(name, str(file), self))

    def _misspelt(self, name: str) -> ModuleSpec | None:
        """A module that nobody has, of nearly the name of one of the project's: that one is taken, and the mistake is
        reported once.
        """
        guess = nearest(name, (file.stem for file in files_of(self.root)))
        if not guess or any(finder.find_spec(name, None) for finder in sys.meta_path if finder is not self):
            return None
        self.seen.add(name)
        self.errors.append(
            DefinitionError(
                f'the module "{name}" is not there', place=here(), found=f"import {name}", fix=guess, code="E108"
            )
        )
        return ModuleSpec(name, _Meant(guess.split('"')[1]))


class _Meant(Loader):
    """Gives another module of the project."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        meant = importlib.import_module(self.name)
        stand_in = ModuleType(spec.name)
        stand_in.__dict__.update(
            {key: value for key, value in vars(meant).items() if not key.startswith("__") or key == "__getattr__"}
        )
        return stand_in

    def exec_module(self, module: ModuleType) -> None:
        """It has been run, under its own name."""


class _Loader(SourceFileLoader):
    """Runs a module from its source: a cached bytecode file is trusted by second and size, which a quick edit
    can keep.
    """

    def __init__(self, name: str, path: str, finder: _Finder) -> None:
        super().__init__(name, path)
        self.finder = finder

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    def exec_module(self, module: ModuleType) -> None:
        try:
            super().exec_module(module)
            if "__getattr__" not in vars(module):
                module.__getattr__ = partial(_unknown, module)  # type: ignore[method-assign]
        except _Failed:
            self.finder.failed.add(self.name)
            raise
        except BaseException as error:
            pass_on(error)
            self.finder.failed.add(self.name)
            if not self._follows(error):
                self.finder.errors += map(self._perhaps_a_script, _mistakes(error, self.finder.root, self.name))
            raise _Failed(self.name) from None

    def _follows(self, error: BaseException) -> bool:
        """A name that this module would have, had it been written right where it is imported: `from models import
        buyr`, and later `buyer`.
        """
        heard = listening()
        mistakes = [*self.finder.errors, *(heard.mistakes if heard is not None else ())]
        file = shorten(self.path)
        return isinstance(error, NameError) and any(
            mistake.code == "E196"
            and mistake.place is not None
            and mistake.place.file == file
            and mistake.fix == f'did you mean "{error.name}"?'
            for mistake in mistakes
        )

    def _perhaps_a_script(self, error: DefinitionError) -> DefinitionError:
        """With where scripts belong, when the module is one, as far as its text says."""
        if (
            error.code not in ("E107", "E108")
            or error.message == _DEEP
            or (
                not error.found.startswith(SystemExit.__name__)
                and re.search(rb"\bmillstream\b", self.get_data(self.path))
            )
        ):
            return error
        return DefinitionError(
            error.message, place=error.place, found=error.found, fix=f"{error.fix}; {_SCRIPTS}", code=error.code
        )


_DEEP = "an expression is nested too deeply for Python"
_SCRIPTS = (
    "or move it to a folder such as scripts/, if it is a script: each .py file beside millstream.toml is imported by"
    " every verb"
)


def _unknown(module: ModuleType, name: str) -> Any:
    """A name that a module of the project has not."""
    return missing(module.__name__, name, vars(module), f'the module "{module.__name__}"')


def _mistakes(error: BaseException, root: Path, module: str) -> list[DefinitionError]:
    """The user's mistake in an exception that a module's run ended with."""
    if isinstance(error, DefinitionErrors):
        return list(error.errors)
    lines = [
        (f.filename, f.lineno or 1)
        for f in traceback.extract_tb(error.__traceback__)
        if Path(f.filename).parent == root
    ]
    place = Place(shorten(lines[-1][0]), lines[-1][1]) if lines else None
    if isinstance(error, DefinitionError):
        return [
            (
                error
                if error.place
                else DefinitionError(error.message, place=place, found=error.found, fix=error.fix, code=error.code)
            )
        ]
    if isinstance(error, SyntaxError):
        where = Place(shorten(error.filename), error.lineno or 1) if error.filename else place
        return [
            DefinitionError(
                f"this is not valid Python: {error.msg}",
                place=where,
                found=(error.text or "").strip(),
                fix="correct the syntax",
                code="E107",
            )
        ]
    if isinstance(error, RecursionError) and "during compilation" in str(error):
        where = Place(shorten(str(root / f"{module}.py")), 1)
        return [DefinitionError(_DEEP, place=where, fix="split the longest one into several", code="E107")]
    if isinstance(error, ImportError | AttributeError) and "partially initialized module" in str(error):
        return [_circle(error, root, place)]
    if isinstance(error, TypeError) and Unmade.__name__ in str(error):
        return []  # it did something with what an earlier mistake, which is told, did not make
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError):
        return [
            DefinitionError(
                f'the module "{error.name}" is not there',
                place=place,
                found=said,
                fix="install it, or import what the project has",
                code="E108",
            )
        ]
    fix = f"run it by itself, in the project's folder, to see more: python -c 'import {module}'"
    return [
        DefinitionError("the module ends with an error", place=place, found=said, fix=_guess(error) or fix, code="E108")
    ]


def _guess(error: BaseException) -> str:
    """The nearest to a name that is not there, for a variable or an attribute."""
    if isinstance(error, NameError) and error.name and error.__traceback__ is not None:
        frame = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][-1]
        return nearest(error.name, {**frame.f_builtins, **frame.f_globals, **frame.f_locals})
    if isinstance(error, AttributeError) and error.name:
        return nearest(error.name, (name for name in dir(error.obj) if not name.startswith("_")))
    return ""


def _circle(error: Exception, root: Path, place: Place | None) -> DefinitionError:
    """Python's "partially initialized module", with the modules of the circle named."""
    walk: list[tuple[str, int]] = []
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>" and Path(frame.f_code.co_filename).parent == root:
            walk.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back  # type: ignore[assignment]
    walk.reverse()
    inner = [
        (f.filename, f.lineno or 1)
        for f in traceback.extract_tb(error.__traceback__)
        if f.name == "<module>" and Path(f.filename).parent == root
    ]
    walk += [step for step in inner if step not in walk]
    back = getattr(error, "name", None)
    start = next((i for i, (file, _) in enumerate(walk) if Path(file).stem == back), 0)
    chain = [f"{shorten(file)}:{line}" for file, line in walk[start:]]
    if walk:
        chain.append(shorten(walk[start][0]))
    return DefinitionError(
        "modules import one another in a circle",
        place=place,
        found=" -> ".join(chain),
        fix=(
            "imports go the way of the event: streams < features < models < live; for feedback read"
            " <endpoint>_decisions in a table's SQL"
        ),
        code="E105",
    )
