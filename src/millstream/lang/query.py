"""What a table's SQL says about itself: the tables it reads, its parameters, its comment header.

-- Flights of a day.                    (any other comment is the table's description)
-- @time ts
-- @key carrier, day
-- @incremental 1d lookback 2d          (or: append)
-- @schedule @daily
-- @lag 2h                             (features: a row is known this long after its time, or its bucket's end)
select ...
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from millstream.base.duration import micros, spell
from millstream.base.errors import DefinitionError, Place

if TYPE_CHECKING:
    from sqlglot import exp

# What sqlglot cannot parse is an error here, so its own warning beside it says nothing new.
logging.getLogger("sqlglot").setLevel(logging.ERROR)
WORDS = ("time", "key", "incremental", "schedule", "lag")
_INTERVAL = re.compile(r"(\S+?)(?:\s+lookback\s+(\S+))?")


@dataclass(frozen=True)
class Header:
    """The `-- @word value` lines at the top of a file. None: not said there."""

    time: str | None = None
    key: tuple[str, ...] | None = None
    incremental: str | None = None
    schedule: str | None = None
    lag_us: int | None = None
    doc: str = ""


@dataclass(frozen=True)
class Increment:
    """How an incremental table moves.

    Attributes:
        length_us: Of an interval, aligned to 1970 UTC; None appends, row by row, what one stream has new.
        lookback_us: How far before the newest interval done so far rows may still change.
    """

    length_us: int | None
    lookback_us: int = 0

    def floor(self, at_us: int) -> int:
        """Start of the interval that holds this moment."""
        assert self.length_us
        return at_us // self.length_us * self.length_us

    def ceil(self, at_us: int) -> int:
        """End of the last interval that has a moment before this one."""
        assert self.length_us
        return -(-at_us // self.length_us) * self.length_us

    def __str__(self) -> str:
        if self.length_us is None:
            return "append"
        return spell(self.length_us) + (f" lookback {spell(self.lookback_us)}" if self.lookback_us else "")


@lru_cache(maxsize=4096)
def increment(text: str) -> Increment:
    """Read "append", "1d" or "1d lookback 2d".

    >>> increment("1d lookback 2d")
    Increment(length_us=86400000000, lookback_us=172800000000)

    Raises:
        DefinitionError: It is none of them, or a length is not positive.
    """
    if text.strip() == "append":
        return Increment(None)
    match = _INTERVAL.fullmatch(text.strip())
    fix = 'write "append", or the length of an interval: "1d", "1h lookback 6h"'
    if match is None:
        raise DefinitionError(f'"{text}" does not say how a table is incremental', found=text, fix=fix, code="E131")
    length, lookback = micros(match[1]), micros(match[2]) if match[2] else 0
    if length <= 0 or lookback < 0:
        raise DefinitionError(f'"{text}": an interval has a length', found=text, fix=fix, code="E131")
    return Increment(length, lookback)


@lru_cache(maxsize=4096)
def header(text: str, file: str = "") -> Header:
    """Read the comment lines before the first line of SQL.

    Args:
        file: As the user names it, for errors.

    Raises:
        DefinitionError: An unknown or repeated word, or a word without a value.
    """
    said: dict[str, str] = {}
    lag_place: Place | None = None
    doc: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line and not line.startswith("--"):
            break
        comment = line.removeprefix("--").strip()
        if not comment.startswith("@"):
            doc.append(comment)
            continue
        word, _, value = comment[1:].partition(" ")
        place = Place(file, number) if file else None
        if word not in WORDS:
            raise DefinitionError(
                f'"@{word}" is not a word of a table\'s header', place=place, found=line, fix="use " + ", ".join(f"@{w}" for w in WORDS), code="E130"
            )
        if word in said or not value.strip():
            wrong = "is said twice" if word in said else "has no value"
            raise DefinitionError(f'"@{word}" {wrong}', place=place, found=line, fix=f"write one line  -- @{word} ...", code="E130")
        said[word] = value.strip()
        lag_place = place if word == "lag" else lag_place
    key = tuple(part.strip() for part in said["key"].split(",")) if "key" in said else None
    return Header(said.get("time"), key, said.get("incremental"), said.get("schedule"), _lag(said.get("lag"), lag_place), "\n".join(doc).strip())


def _lag(text: str | None, place: Place | None) -> int | None:
    try:
        return None if text is None else micros(text)
    except DefinitionError as error:
        raise DefinitionError(error.message, place=place, found=error.found, fix=error.fix, code=error.code) from None


@lru_cache(maxsize=4096)
def tree(sql: str, file: str = "") -> exp.Expression:
    """sqlglot's tree of the one statement in the text. Treat it as read-only: it is shared.

    Raises:
        DefinitionError: It does not parse, with the line; or it is not one query.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        found = [statement for statement in sqlglot.parse(sql, dialect="duckdb") if statement is not None]
    except SqlglotError as error:
        first: Mapping[str, Any] = next(iter(getattr(error, "errors", ())), {})
        place = Place(file, first.get("line") or 1, _column(first)) if file else None
        said = str(first.get("description") or error).splitlines()[0]
        raise DefinitionError(f"the SQL does not parse: {said}", place=place, found=_near(first) or " ".join(sql.split())[:100],
                              fix="it is DuckDB's dialect; one SELECT", code="E132") from None  # fmt: skip
    if len(found) != 1 or not isinstance(found[0], exp.Query):
        kinds = ", ".join(type(statement).__name__.upper() for statement in found) or "nothing"
        raise DefinitionError("a table is one SELECT", place=Place(file, 1) if file else None, found=kinds, fix="one SELECT; WITH for the steps", code="E132")
    if isinstance(found[0], exp.Select) and not found[0].expressions:
        raise DefinitionError(
            "the SELECT selects nothing", place=Place(file, 1) if file else None, found=" ".join(sql.split())[:100], fix="name its columns", code="E132"
        )
    return found[0]


def _column(error: Mapping[str, Any]) -> int:
    """Where the token that does not parse begins, from 1; the parser knows where it ends."""
    return max(error["col"] - len(error.get("highlight") or " ") + 1, 1) if error.get("col") else 0


def _near(error: Mapping[str, Any]) -> str:
    return " ".join(f"{error.get('start_context', '')}{error.get('highlight', '')}"[-60:].split())


@lru_cache(maxsize=4096)
def tokens(sql: str) -> tuple[str, ...]:
    """The words of the text without comments, layout, closing semicolons and the case of keywords: equal for texts that differ in nothing else."""
    kept = {
        "VAR",
        "STRING",
        "IDENTIFIER",
        "NUMBER",
        "RAW_STRING",
        "HEREDOC_STRING",
        "NATIONAL_STRING",
        "BYTE_STRING",
        "HEX_STRING",
        "BIT_STRING",
        "UNICODE_STRING",
    }
    return tuple(f"{token.token_type.name} {token.text if token.token_type.name in kept else token.text.upper()}" for token in _tokens(sql))


@lru_cache(maxsize=4096)
def body(sql: str) -> str:
    """The text from its first word to its last, so that it can stand in parentheses.

    >>> body("-- @time ts\\nselect 1; -- one")
    'select 1'
    """
    found = _tokens(sql)
    return sql[found[0].start : found[-1].end + 1] if found else ""


def _tokens(sql: str) -> list[Any]:
    import sqlglot
    from sqlglot.errors import TokenError
    from sqlglot.tokens import TokenType

    try:
        found = list(sqlglot.tokenize(sql, read="duckdb"))
    except TokenError as error:
        raise DefinitionError(
            f"the SQL does not parse: {error}", found=" ".join(sql.split())[:100], fix="close what is open: quotes, comments", code="E132"
        ) from None
    while found and found[-1].token_type == TokenType.SEMICOLON:
        found.pop()
    return found


@lru_cache(maxsize=4096)
def dependencies(sql: str, file: str = "") -> tuple[str, ...]:
    """Names of the tables that the query reads, in order of first use; names of its own CTEs are none.

    >>> dependencies("with a as (select * from departures) select * from a join arrivals using (flight_id)")
    ('departures', 'arrivals')
    """
    found = sorted(tables(tree(sql, file)), key=lambda node: int(node.this.meta.get("start") or 0))
    return tuple(dict.fromkeys(node.name.lower() for node in found))


def line_of(sql: str, name: str) -> int:
    """The line, from 1, on which the query first reads the table; 1 when it does not."""
    for node in tables(tree(sql)):
        if node.name.lower() == name:
            return int(node.this.meta.get("line") or 1)
    return 1


def tables(query: exp.Expression) -> Iterable[exp.Table]:
    """The nodes that read a table from outside the query. Table functions are none."""
    from sqlglot import exp

    for node in query.find_all(exp.Table, bfs=False):
        if isinstance(node.this, exp.Identifier) and not (node.db == "" and _is_cte(node)):
            yield node


def _is_cte(node: exp.Table) -> bool:
    """Whether a WITH around this place defines the name. A CTE sees those before it, and itself only when recursive."""
    from sqlglot import exp

    inside: exp.Expression = node
    around = node.parent
    while around is not None:
        within = around.args.get("with_") if not isinstance(around, exp.With) else None
        if isinstance(within, exp.With) and inside is not within and any(_same(cte, node) for cte in within.expressions):
            return True
        if isinstance(around, exp.With):
            earlier = around.expressions[: next(i for i, cte in enumerate(around.expressions) if cte is inside)]
            if any(_same(cte, node) for cte in (around.expressions if around.args.get("recursive") else earlier)):
                return True
        inside, around = around, around.parent
    return False


def _same(cte: exp.Expression, node: exp.Table) -> bool:
    return bool(cte.alias.lower() == node.name.lower())


@lru_cache(maxsize=4096)
def placeholders(sql: str) -> tuple[str, ...]:
    """Names of the `$name` parameters, sorted.

    >>> placeholders("select delay > $late_minutes from departures where ts < $end")
    ('end', 'late_minutes')
    """
    from sqlglot import exp

    found = {node.name for node in tree(sql).find_all(exp.Placeholder)} | {node.name for node in tree(sql).find_all(exp.Parameter)}
    return tuple(sorted(found))
