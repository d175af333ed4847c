"""Names: what one is made of, how long it may be, which words it cannot be; and the nearest word to one that is not
there.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

NAME = re.compile(r"[a-z][a-z0-9_]*")
FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
LONGEST = 100
"""Letters of a name: Hive's tables take 128, and `_decisions__dead` and suffixes of versions come behind it."""
LETTERS = "lower case letters, digits and _, beginning with a letter"
BECOMES = "names become folders, topics, tables and URLs"
SCHEDULES = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *"}
"""Cron lines that have a name."""

# Measured with DuckDB 2.0: `create table t("w" int)`, then `select w, max(w) from t where w > 1 group by w order by w`
# does not parse.
DUCKDB = frozenset(
    [
        "all",
        "analyse",
        "analyze",
        "and",
        "anti",
        "any",
        "array",
        "as",
        "asc",
        "asof",
        "asymmetric",
        "at",
        "authorization",
        "binary",
        "both",
        "by",
        "case",
        "cast",
        "check",
        "collate",
        "collation",
        "column",
        "concurrently",
        "constraint",
        "create",
        "cross",
        "default",
        "deferrable",
        "desc",
        "describe",
        "distinct",
        "do",
        "else",
        "end",
        "except",
        "false",
        "fetch",
        "for",
        "foreign",
        "freeze",
        "from",
        "full",
        "glob",
        "group",
        "having",
        "ilike",
        "in",
        "initially",
        "inner",
        "intersect",
        "into",
        "is",
        "isnull",
        "join",
        "lambda",
        "lateral",
        "leading",
        "left",
        "like",
        "limit",
        "natural",
        "not",
        "notnull",
        "null",
        "offset",
        "on",
        "only",
        "or",
        "order",
        "outer",
        "overlaps",
        "pivot",
        "pivot_longer",
        "pivot_wider",
        "placing",
        "positional",
        "primary",
        "qualify",
        "references",
        "returning",
        "right",
        "select",
        "semi",
        "show",
        "similar",
        "some",
        "summarize",
        "symmetric",
        "table",
        "tablesample",
        "then",
        "to",
        "trailing",
        "true",
        "union",
        "unique",
        "unpack",
        "unpivot",
        "using",
        "variadic",
        "verbose",
        "when",
        "where",
        "window",
        "with",
    ]
)
# Spark's strict non-reserved words, beyond those above.
SPARK = frozenset(["minus", "setminus"])


def dialect(word: str) -> str | None:
    """The dialect in which a column of this name does not parse, or None."""
    word = word.lower()
    return "DuckDB" if word in DUCKDB else "Spark" if word in SPARK else None


def unfit(name: str, *, letters: re.Pattern[str] = NAME) -> tuple[str, str] | None:
    """What is wrong with a name, and what to write; None when nothing is.

    >>> unfit("late"), unfit("Late")[0]
    (None, 'is not a name')
    """
    if not letters.fullmatch(name):
        allowed = LETTERS if letters is NAME else "letters of a to z, digits and _, beginning with a letter"
        return (
            "is not a name",
            (
                f"{allowed}:"
                f" {BECOMES if letters is NAME else 'fields become columns of tables, of Avro records and of Hive'}"
            ),
        )
    if len(name) > LONGEST:
        return (
            f"has {len(name)} letters",
            f"at most {LONGEST}: {BECOMES}, and some of these take no more with what is added to them",
        )
    return None


def nearest(word: str, names: Iterable[str]) -> str:
    """`did you mean "delay"?`, or nothing when no name is near."""
    found = near(word, names)
    return "" if found is None else f'did you mean "{found}"?'


def near(word: str, names: Iterable[str]) -> str | None:
    """The name nearest to one that is not there, or None when none is near."""
    names = list(names)
    return otherwise_cased(word, names) or next(iter(difflib.get_close_matches(word, names, 1)), None)


def otherwise_cased(word: str, names: Iterable[str]) -> str | None:
    """The name that differs from the word by letter case only, or None."""
    return next((name for name in names if name != word and name.lower() == word.lower()), None)


def choices(word: str, names: Iterable[str]) -> str:
    """How a message continues that has found no such name: the nearest one, else all there are.

    >>> choices("streem", ["streams", "tables"]), choices("x", ["streams", "tables"]), choices("x", [])
    ('did you mean "streams"?', 'there are streams, tables', 'there are none')
    """
    names = list(names)
    return nearest(word, names) or f"there are {', '.join(names) or 'none'}"


def counted(number: int, one: str, several: str = "") -> str:
    """A number of things.

    >>> counted(1, "record"), counted(2_000, "record"), counted(0, "query", "queries")
    ('1 record', '2,000 records', '0 queries')
    """
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def short(value: object, most: int = 80) -> str:
    """A value as a person would recognise it, cut where it is long."""
    text = f"the class {value.__name__}" if isinstance(value, type) else repr(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"
