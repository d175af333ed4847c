"""What an engine says against a query, in our words: the name that is not there, and the nearest one that is.

Every profile's SQL is bound by DuckDB (docs/decisions/0014), so these are its messages. One that is not known here is kept as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from millstream.base.errors import DefinitionError
from millstream.base.words import choices
from millstream.transform.parse import dependencies, tree
from millstream.transform.pointed import pointed, without_point

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMN = re.compile(
    r'Referenced column "([^"]+)" not found|Values list "([^"]+)" does not have a column named "([^"]+)"|Column "([^"]+)" in \w+ list not found'
)
_TABLE = re.compile(r'Referenced table "([^"]+)" not found')
_FUNCTION = re.compile(r'Function with name "?(\w+)"? does not exist')
_MEANT = re.compile(r'Did you mean "([^"]+)"')
_ENGINE = re.compile(r"^(Binder|Catalog|Parser|Conversion|Invalid Input|Not implemented) Error: ", re.IGNORECASE)


@dataclass(frozen=True)
class Refusal:
    """Why a query cannot be run.

    Attributes:
        found: One sentence without a full stop.
        fix: The nearest name, or what there is; "" where nobody can tell.
        said: The engine's own words, on one line; "" where they are the sentence.
        line: In the text, from 1; None where the name is not found in it.
        column: In the line, from 1; 0 where the engine does not point at it.
    """

    found: str
    fix: str
    said: str
    line: int | None
    column: int = 0

    def __str__(self) -> str:
        at = f" at line {self.line}, column {self.column}" if self.column else ""
        return self.found + at + (f"; {self.fix}" if self.fix else "") + (f" (DuckDB: {self.said})" if self.said else "")


def refusal(message: str, sql: str, tables: Mapping[str, pa.Schema]) -> Refusal:
    """The engine's message in our words.

    Args:
        sql: The text that was refused, with its comments: lines are counted in it.
        tables: What the query reads.
    """
    point = pointed(message, sql)
    made = _refusal(without_point(message), sql, tables)
    return made if point is None else replace(made, line=point.line, column=point.column)


def _refusal(message: str, sql: str, tables: Mapping[str, pa.Schema]) -> Refusal:
    said = next((line.strip() for line in message.splitlines() if line.strip()), "the engine gives no reason")
    column, table, function = _COLUMN.search(said), _TABLE.search(said), _FUNCTION.search(said)
    if column is not None:
        name, of = column[1] or column[3] or column[4], column[2] or ""
        known = _columns(sql, of, tables)
        return Refusal(f'there is no column "{name}"' + (f' in "{of}"' if of else ""), choices(name, known) if known else "", said, _line(sql, name))
    if table is not None:
        known = _aliases(sql)
        return Refusal(f'the query reads no table or alias "{table[1]}"', choices(table[1], known) if known else "", said, _line(sql, table[1]))
    if function is not None:
        meant = _MEANT.search(message)
        return Refusal(f"there is no function {function[1]}()", f"did you mean {meant[1]}()?" if meant else "", said, _line(sql, function[1]))
    plain = _ENGINE.sub("", said).rstrip("!.")
    return Refusal(f"the query cannot be run: {plain}" if _ENGINE.match(said) else said, _advice(message), "", None)


def _advice(message: str) -> str:
    """What the engine says after its first line, unless it is a list of all that its functions take."""
    more = [line.strip() for line in message.splitlines()[1:] if line.strip()]
    return "" if not more or more[0].startswith("Candidate functions") else more[0]


def _columns(sql: str, of: str, tables: Mapping[str, pa.Schema]) -> list[str]:
    """Names of the columns of one table of the query, by its alias, or of all; none where what it reads is a query of its own."""
    from sqlglot import exp

    try:
        query = tree(sql)
        names = {node.alias_or_name.lower(): node.name.lower() for node in query.find_all(exp.Table)}
        read = [names[of.lower()]] if of.lower() in names else [] if of else list(dependencies(sql))
    except DefinitionError:
        read = list(tables)
    known = {name.lower(): schema for name, schema in tables.items()}
    return list(dict.fromkeys(column for name in read if name in known for column in known[name].names))


def _aliases(sql: str) -> list[str]:
    from sqlglot import exp

    try:
        return list(dict.fromkeys(node.alias_or_name for node in tree(sql).find_all(exp.Table, exp.Subquery) if node.alias_or_name))
    except DefinitionError:
        return []


def _line(sql: str, name: str) -> int | None:
    """Where the name stands first as a word of the query, comments and texts left out."""
    import sqlglot
    from sqlglot.errors import TokenError
    from sqlglot.tokens import TokenType

    try:
        found = [token for token in sqlglot.tokenize(sql, read="duckdb") if token.token_type != TokenType.STRING]
    except TokenError:
        return None
    return next((token.line for token in found if token.text.lower() == name.lower()), None)
