"""What the checks need to know of a text, remembered by its hash so that an unchanged text is parsed once and never
again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from millstream.base.errors import Place
from millstream.base.event import Kind
from millstream.lang.cache import Cache, digest
from millstream.lang.expression import UNTYPED
from millstream.lang.expression import compile as compile_expression
from millstream.lang.query import dependencies, placeholders, tree


@dataclass(frozen=True)
class Query:
    """What a query reads and gives. `columns` is None when a star hides them."""

    reads: tuple[str, ...]
    params: tuple[str, ...]
    columns: tuple[str, ...] | None


def query(sql: str, file: str, cache: Cache) -> Query:
    """Raises DefinitionError when the text is not a query."""
    key = digest("query", sql)
    known = cache.get(key)
    if known is None:
        parsed: Any = tree(sql, file)
        names = [str(name).lower() for name in parsed.named_selects]
        columns = None if "*" in names or "" in names or parsed.is_star else names
        known = [dependencies(sql, file), placeholders(sql), columns]
        cache.put(key, known)
    reads, params, columns = known
    return Query(tuple(reads), tuple(params), None if columns is None else tuple(columns))


def kind_of(
    text: str,
    fields: Mapping[str, Kind],
    params: Mapping[str, Any],
    cache: Cache,
    *,
    place: Place | None,
    what: str,
    truth: bool = False,
) -> Kind:
    """The type of an expression. Raises DefinitionError when it is wrong."""
    key = digest(
        "expression",
        text,
        sorted(fields.items()),
        sorted(params.items(), key=lambda item: item[0]),
        isinstance(fields, Anything),
        truth,
    )
    known = cache.get(key)
    if known is None:
        known = compile_expression(text, fields, params, place=place, what=what, truth=truth).kind
        cache.put(key, known)
    return cast(Kind, known)


class Anything(dict[str, Kind]):
    """Fields of a table that has not been built: any name may be there, and is taken for what the expression
    asks for.
    """

    def __missing__(self, name: str) -> Kind:
        return UNTYPED

    def __contains__(self, name: object) -> bool:
        return True
