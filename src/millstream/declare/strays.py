"""Tables whose SQL names a column that nothing it reads has: the cause of what their features then lack, reported where
it is.

Without an engine only what is plain is seen: each relation has known columns, and the name is none of theirs and none
that the query makes. So it is asked only when there is a mistake that it may explain; `check` and the verbs ask the
engine, which sees all (`run/binding.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from millstream.base.errors import DefinitionError, Place
from millstream.base.event import ARRIVED_AT, EVENT_ID
from millstream.base.words import choices
from millstream.declare.stream import Stream
from millstream.declare.table import Table
from millstream.declare.validate_data import columns_of
from millstream.lang.cache import Cache
from millstream.lang.query import dependencies, tree

if TYPE_CHECKING:
    from sqlglot import exp

    from millstream.declare.project import Project

_ENVELOPE = (EVENT_ID, ARRIVED_AT, "_offset")
_WORDS = {"all", "rowid", "filename"}
"""Names that are not columns of anybody."""


def strays(project: Project, skip: Collection[str]) -> Mapping[str, Sequence[DefinitionError]]:
    """Table -> its mistakes, in order of making; what reads a table that is wrong is not judged. `skip`: names that are
    not looked at.
    """
    wrong: dict[str, list[DefinitionError]] = {}
    for name in project.graph.order():
        table = project.by_name.get(name)
        if isinstance(table, Table) and table.sql is not None and name not in skip:
            try:
                found = list(_strays(table, project, {*skip, *wrong}))
            except DefinitionError:  # the declaration's own checks say it
                continue
            if found:
                wrong[name] = found
    return wrong


def _strays(table: Table, project: Project, skip: Collection[str]) -> Iterator[DefinitionError]:
    sql, file = table.sql or "", table.file or ""
    known = _known(dependencies(sql, file), project, skip)
    if known is None:
        return
    for name, line in _stray(tree(sql, file), {column.lower() for column in known}).items():
        place = Place(file, line) if file else table.place
        yield DefinitionError(
            f"{table}: its SQL does not fit what it reads",
            place=place,
            found=f'there is no column "{name}"',
            fix=choices(name, known),
            code="E138",
        )


def _known(reads: Sequence[str], project: Project, skip: Collection[str]) -> list[str] | None:
    """The columns of what a query reads; None where those of one are not known."""
    found: list[str] = []
    for name in reads:
        noun = project.by_name.get(name)
        if name in skip or not isinstance(noun, Stream | Table):
            return None
        columns = columns_of(noun, Cache(None))
        if not isinstance(columns, dict):
            return None
        found += [*columns, *(_ENVELOPE if isinstance(noun, Stream) else ())]
    return found


def _stray(query: exp.Expression, known: set[str]) -> dict[str, int]:
    """Names of columns that are neither known nor made by the query (an alias, a column list, a parameter of a lambda),
    with their lines.
    """
    from sqlglot import exp

    made = {one.alias.lower() for one in query.find_all(exp.Alias)}
    made |= {column.name.lower() for one in query.find_all(exp.TableAlias) for column in one.args.get("columns") or ()}
    made |= {parameter.name.lower() for one in query.find_all(exp.Lambda) for parameter in one.expressions}
    relations = {
        one.alias_or_name.lower() for kind in (exp.Table, exp.Subquery, exp.CTE) for one in query.find_all(kind)
    }
    # Else a field of a struct
    named = [
        one
        for one in query.find_all(exp.Column)
        if not one.is_star and (not one.table or one.table.lower() in relations)
    ]
    strange = [
        (one.name, int(one.this.meta.get("line") or 1))
        for one in named
        if one.name.lower() not in known | made | relations | _WORDS
    ]
    return dict(sorted(strange, key=lambda found: found[1], reverse=True))  # the first line of each is kept
