"""What the console's SQL box and the verb `sql` let through: one SELECT over tables of the lake.

The first of two walls. It reads the text as sqlglot understands it and, lest DuckDB understand it otherwise, the bare
words as well. The second is the engine: an instance that can open no file but those of the tables named here, whatever
the text says.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from millstream.base.errors import DefinitionError, UsageError
from millstream.transform.parse import body, tables

if TYPE_CHECKING:
    from sqlglot import exp

# Table functions that make rows out of nothing but their arguments.
_ROWS = {"range", "generate_series", "unnest", "repeat_row"}
# Functions that reach outside the query: files, settings, the catalogue, SQL made of strings, memory addresses.
_REACH = re.compile(
    r"^(read_\w+|write_\w+|scan_\w+|\w+_scan\w*|glob|sniff_\w+|parquet_\w+|duckdb_\w+|pragma_\w+|pg_\w+|sql_auto_complete|query|query_table|json_execute\w*|json_serialize_plan"
    r"|getenv|getvariable|current_setting|set_config|nextval|currval|setseed|enable_\w+|disable_\w+|truncate_\w+|force_checkpoint|checkpoint|load_\w+|copy_\w+|export_\w+|import_\w+"
    r"|python_\w+|from_substrait\w*|shell|system|which_secret|add_\w+|test_\w+|seq_scan|index_scan|icu_calendar_names|has_\w+_privilege|txid_current|current_\w*schema\w*"
    r"|current_database|current_catalog|current_query|current_user|session_user|user|in_search_path|sleep|sleep_ms|allocator_flush|database_\w+|storage_info)$"
)
_WORD = re.compile(r'"?(\w+)"?\s*\(')
_LONGEST = 100_000


class Query(str):
    """A text that may be run: the statement, without a closing semicolon and what follows it.

    Attributes:
        tables: The lake's tables that it reads; give the engine these and no others.
    """

    __slots__ = ("tables",)
    tables: tuple[str, ...]


def read_only(text: str, known: Collection[str]) -> Query:
    """Check the text.

    Args:
        known: Names of the lake's tables.

    Raises:
        UsageError: It is not one SELECT (or WITH, FROM, DESCRIBE, SUMMARIZE) over these tables, with what was found.
    """
    if len(text) > _LONGEST:
        raise UsageError(f"the text is too long: {len(text)} characters; at most {_LONGEST}")
    if "\x00" in text or re.search(r"\bu&[\"']", text, re.IGNORECASE):
        raise UsageError('the text has characters that no query needs: a zero byte, or U&"..."')
    statement = _one(text)
    _functions(statement, text)
    query = Query(body(text))
    query.tables = _tables(statement, known)
    return query


def _one(text: str) -> exp.Expression:
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        found = [statement for statement in sqlglot.parse(text, dialect="duckdb") if statement is not None]
    except (SqlglotError, DefinitionError, RecursionError) as error:
        raise UsageError(
            f"the SQL does not parse: {str(error).splitlines()[0] if str(error) else 'it is too deep'}"
        ) from None
    if len(found) != 1:
        raise UsageError(f"write one SELECT; found {len(found)} statements")
    (statement,) = found
    if not isinstance(statement, exp.Query | exp.Describe | exp.Summarize):
        raise UsageError(f"only reading is allowed here: SELECT, WITH, FROM, DESCRIBE, SUMMARIZE; found {_first(text)}")
    if isinstance(statement, exp.Describe | exp.Summarize) and not isinstance(statement.this, exp.Table | exp.Query):
        raise UsageError(f"{_first(text)} what? Name a table, or write a SELECT after it")
    wrong = next(
        statement.find_all(
            exp.DML,
            exp.DDL,
            exp.Command,
            exp.Into,
            exp.Lock,
            exp.Copy,
            exp.Set,
            exp.Pragma,
            exp.Attach,
            exp.Detach,
            exp.Use,
        ),
        None,
    )
    if wrong is not None and not isinstance(wrong, exp.Query):
        raise UsageError(f"only reading is allowed here; found {type(wrong).__name__.upper()}")
    return statement


def _functions(statement: exp.Expression, text: str) -> None:
    from sqlglot import exp

    names = {
        node.name if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc) else node.sql_name()
        for node in statement.find_all(exp.Func)
    }
    plain = _without_strings(text)
    for name in sorted({name.lower() for name in names} | {match[1].lower() for match in _WORD.finditer(plain)}):
        if _REACH.match(name):
            raise UsageError(f"{name}() is not allowed here: a query sees the lake's tables and nothing else")
    for node in statement.find_all(exp.Table):
        if not isinstance(node.this, exp.Identifier):
            made = node.this
            name = (
                made.name
                if isinstance(made, exp.Anonymous)
                else made.sql_name()
                if isinstance(made, exp.Func)
                else type(made).__name__
            ).lower()
            if name.replace("generateseries", "generate_series") not in _ROWS:
                raise UsageError(
                    f"{name}() is not allowed in FROM; allowed: tables of the lake, {', '.join(sorted(_ROWS))}"
                )


def _without_strings(text: str) -> str:
    """The text with its string literals emptied, so that a word in a string is not a call; as it is, when it has
    anything that could make two parsers disagree where a string ends."""
    if re.search(r"\\|\$\$|\$\w+\$|--|/\*", text):
        return text
    return re.sub(r"'(?:[^']|'')*'", "''", text)


def _tables(statement: exp.Expression, known: Collection[str]) -> tuple[str, ...]:

    names = {name.lower(): name for name in known}
    used: dict[str, None] = {}
    for node in tables(statement):
        if node.args.get("db") or node.args.get("catalog"):
            raise UsageError(
                f'"{node.sql(dialect="duckdb")}": tables have no schema or catalogue here; write the name alone'
            )
        if node.name.lower() not in names:
            near = difflib.get_close_matches(node.name.lower(), list(names), 1)
            raise UsageError(
                f'there is no table "{node.name}"; '
                + (f'did you mean "{near[0]}"?' if near else f"known: {', '.join(sorted(known)) or 'none'}")
            )
        used[names[node.name.lower()]] = None
    return tuple(used)


def _first(text: str) -> str:
    word = re.search(r"[A-Za-z]+", re.sub(r"--[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL))
    return word[0].upper() if word else "nothing"
