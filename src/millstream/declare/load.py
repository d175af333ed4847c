"""`load`: a folder becomes a Project, or every mistake in it is reported together."""

from __future__ import annotations

import linecache
from collections.abc import Collection, Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from millstream.base.errors import DefinitionError, DefinitionErrors, NotFound, Place
from millstream.base.place import caller, shorten
from millstream.base.theirs import INSTALLED
from millstream.base.words import near
from millstream.declare.collect import collecting, listening
from millstream.declare.known import settle
from millstream.declare.modules import run
from millstream.declare.noun import Noun
from millstream.declare.project import Project
from millstream.declare.strays import strays
from millstream.declare.table import Table
from millstream.declare.toml import FILE as FILE
from millstream.declare.toml import said
from millstream.declare.unread import declared_in
from millstream.lang.query import header

if TYPE_CHECKING:
    from millstream.declare.validate import Checked

CLASSES = ("E112", "E120", "E121", "E122", "E123")
"""Codes of mistakes in a class of events."""


def find(path: str | Path = ".") -> Path:
    """The folder with `millstream.toml`, at the path or above it.

    Raises:
        NotFound: There is none.
    """
    start = Path(path).resolve()
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            return folder
    raise NotFound(f"no {FILE} in {start} or above it; begin with: millstream init")


class Bind(Protocol):
    """Asks an engine which tables' SQL does not fit what it reads: table -> its mistakes. `skip`: names that are not to
    be looked at.
    """

    def __call__(self, project: Project, skip: Collection[str]) -> Mapping[str, Sequence[DefinitionError]]: ...


def load(path: str | Path = ".", *, cache: Path | None = None, bind: Bind | None = None) -> Project:
    """Load the project at or above a folder: its modules in name order, its `tables/*.sql`, and check all of it.

    Loading again is safe: what an earlier load imported is forgotten first.

    Args:
        cache: A folder in which the checks remember texts already judged; None judges all anew.
        bind: Asked when there is a mistake, since a wrong column in a table's SQL may be the cause of it; without an
            engine, `strays` sees the plain ones.

    Raises:
        NotFound: No project there.
        DefinitionErrors: Every mistake, in order of file and line.
    """
    from millstream.declare.validate import validate
    from millstream.lang.cache import Cache

    _refuse_nested()
    project, errors, whole = read(find(path))
    with Cache(cache) as known:
        found = validate(project, whole, known)
        unfit = (bind or strays)(project, found.wrong | found.doubted) if errors or found.errors else {}
        if unfit:
            found = validate(project, whole, known, unfit)
    errors = [*errors, *found.errors, *(error for mistakes in unfit.values() for error in mistakes)]
    if errors:
        raise DefinitionErrors(
            sorted({str(error): error for error in errors}.values(), key=_order), _unchecked(project, found, unfit)
        )
    return project


def _refuse_nested() -> None:
    """Raises DefinitionError when a module of a project that is being loaded opens a project: its own would load that
    module again, without end.
    """
    if listening() is None:
        return
    frame = caller()
    # As click, through which a verb is called
    while frame is not None and frame.f_code.co_filename.startswith(INSTALLED):
        frame = frame.f_back
    file, number = (frame.f_code.co_filename, frame.f_lineno) if frame else ("", 0)
    raise DefinitionError(
        "a project is opened while the module is being loaded as part of one",
        place=Place(shorten(file), number) if file else None,
        found=linecache.getline(file, number).strip(),
        code="E197",
        fix=(
            'modules of a project only declare: move what uses it below  if __name__ == "__main__":,  into a function,'
            " or to a folder such as scripts/, which is not imported"
        ),
    )


def _unchecked(project: Project, found: Checked, unfit: Collection[str]) -> list[str]:
    """What was made and not checked, what was not made, and what stands in text that was not run; in order of
    declaration, as far as there is one.
    """
    from millstream.declare.validate import below

    return list(dict.fromkeys([*below(project, {*(found.wrong & found.doubted), *unfit}), *project.unchecked]))


def read(root: Path) -> tuple[Project, list[DefinitionError], bool]:
    """The project as far as it can be read, the mistakes on the way, and whether all of it was read."""
    settings, errors = said(root)
    name = settings.get("project", {}).get("name", "")
    with collecting() as nouns:
        wrong, unread = run(root)
    errors += wrong + nouns.mistakes
    with collecting() as more:
        errors += _tables(root, nouns, nouns.withheld)
    project = Project(
        root, str(name) or root.name, settings.get("params", {}), [*nouns, *more], withheld=nouns.withheld
    )
    project.unchecked = [
        *nouns.unchecked,
        *(name for file in unread for name in declared_in(file) if name not in {*project.by_name, *nouns.withheld}),
    ]
    settle(project.by_name)
    return project, errors, not unread and "" not in nouns.withheld


def _tables(root: Path, nouns: Sequence[Noun], withheld: Container[str]) -> list[DefinitionError]:
    """Give tables without a body their file's text, and make a table of every other file."""
    errors: list[DefinitionError] = []
    declared = {noun.name: noun for noun in reversed(nouns) if isinstance(noun, Table)}
    there = set[str]()
    for file in sorted((root / "tables").glob("*.sql")):
        told, text = shorten(str(file)), file.read_text(encoding="utf-8")
        there.add(file.stem)
        try:
            words = header(text, told)
        except DefinitionError as error:
            errors.append(error)
            continue
        noun = declared.get(file.stem)
        if noun is None and file.stem in withheld:
            continue
        if noun is None:
            Table(
                name=file.stem,
                sql=text,
                file=told,
                time=words.time,
                key=words.key or (),
                incremental=words.incremental,
                schedule=words.schedule,
                lag_us=words.lag_us,
                doc=words.doc,
                place=Place(told, 1),
            )
            continue
        errors += _merge(noun, text, told, file)
    for noun in declared.values():
        if (
            noun.name not in there
            and noun.sql is None
            and noun.function is None
            and noun.contents is None
            and noun.scoring is None
        ):
            meant = near(noun.name, there - declared.keys())
            perhaps = f'call it "{meant}", if it is tables/{meant}.sql; else ' if meant else ""
            errors.append(
                DefinitionError(
                    f'table "{noun.name}" has no body',
                    place=noun.place,
                    found=f"no tables/{noun.name}.sql",
                    fix=f'{perhaps}write tables/{noun.name}.sql, or give the SQL: ms.table(name, "select ...")',
                    code="E134",
                )
            )
    return errors


def _merge(noun: Table, text: str, told: str, file: Path) -> list[DefinitionError]:
    """A table that both Python and a file speak of: the text is the file's; a word may be said in one of them only."""
    if noun.sql is not None or noun.function is not None or noun.contents is not None or noun.scoring is not None:
        return [
            DefinitionError(
                f'table "{noun.name}" has two bodies',
                place=noun.place,
                found=f"{noun.place} and {told}",
                fix="keep one of them",
                code="E134",
            )
        ]
    words, errors = header(text, told), []
    values: dict[str, Any] = {"sql": text, "file": told, "doc": noun.doc or words.doc}
    for word in ("time", "key", "incremental", "schedule", "lag"):
        field = "lag_us" if word == "lag" else word
        in_python, in_file = getattr(noun, field), getattr(words, field)
        in_python = None if in_python in ((), "") else in_python
        if in_python is not None and in_file is not None:
            errors.append(
                DefinitionError(
                    f'table "{noun.name}": {word} is said twice',
                    place=noun.place,
                    found=f"here and in {told}",
                    fix="keep one of them",
                    code="E134",
                )
            )
        # Of two, one is taken: what is wrong with the other is a part of that mistake
        values[field] = in_python if in_file is None else in_file
    values["key"] = values["key"] or ()
    for name, value in values.items():
        # The noun stays the object that other nouns refer to; this is the one moment at which it is completed.
        object.__setattr__(noun, name, value)
    return errors


def _order(error: DefinitionError) -> tuple[bool, str, int]:
    """Classes of events first, since much else follows from them; then by file and line."""
    return (error.code not in CLASSES, *((error.place.file, error.place.line) if error.place else ("", 0)))
