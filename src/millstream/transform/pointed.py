"""Where in a query DuckDB points: `LINE 3: sum(fee) + ts` with a caret below, as line and column of the text that the
user wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from millstream.base.errors import DefinitionError
from millstream.transform.parse import body

_POINT = re.compile(r"^LINE (\d+): (.*)\n( *)\^", re.MULTILINE)
_CUT = "..."


class Point(NamedTuple):
    """A place in a text.

    Attributes:
        line, column: From 1.
    """

    line: int
    column: int


def placed(ask: Callable[[str], Any], sql: str, message: str) -> str:
    """The engine's message with the place that it is about. A statement that was parsed before it is bound has lost its
    text, so its errors have none: they are asked for again with the text, in an EXPLAIN, which runs nothing.
    """
    if _POINT.search(message):
        return message
    try:
        ask(f"explain\n{sql}")
    except Exception as error:  # the driver's own, which no room may name
        again = str(error)
        if message.partition("\n")[0] == again.partition("\n")[0] and (found := _POINT.search(again)):
            return f"{message}\n\nLINE {int(found[1]) - 1}: {found[2]}\n{found[3]}^"
    return message


def pointed(message: str, sql: str) -> Point | None:
    """Where the message points, in `sql`, of which the engine has had the body; None when it does not say."""
    found = _POINT.search(message)
    if found is None:
        return None
    try:
        before, _, _ = sql.partition(query := body(sql))
    except DefinitionError:  # what is not closed is handed over as it is
        before, query = "", sql
    lines, at = query.split("\n"), int(found[1])
    if not 1 <= at <= len(lines):
        return None
    shown, caret = found[2], len(found[3]) - len(f"LINE {at}: ")
    if shown.startswith(_CUT) and not lines[at - 1].startswith(_CUT):
        shown, caret = shown.removeprefix(_CUT), caret - len(_CUT)
    column = max(lines[at - 1].find(shown.removesuffix(_CUT)), 0) + caret + 1
    if at == 1:
        column += len(before.rpartition("\n")[2])
    return Point(before.count("\n") + at, max(column, 1))


def without_point(message: str) -> str:
    return _POINT.sub("", message).rstrip(" ^\n")
