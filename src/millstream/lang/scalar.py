"""The scalar subset of SQL, node by node: each becomes a type, DuckDB's text and Python's text with the same meaning.

Rules that both sides keep: NULL goes through everything but `is null`, `coalesce`, `case`, `and`, `or`, `least`,
`greatest`. Division by zero, logarithms of what has none, integers beyond 64 bits and doubles that are not finite are
NULL. Booleans are 0 and 1 in arithmetic. Times are UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp

from millstream.lang.arithmetic import Arithmetic
from millstream.lang.code import Code, Refused
from millstream.lang.expression import OUTSIDE
from millstream.lang.logic import Logic
from millstream.lang.texts import Texts

COMPARED: dict[type[exp.Expression], tuple[str, str]] = {
    exp.EQ: ("=", "=="),
    exp.NEQ: ("<>", "!="),
    exp.LT: ("<", "<"),
    exp.LTE: ("<=", "<="),
    exp.GT: (">", ">"),
    exp.GTE: (">=", ">="),
}
ARITHMETIC: dict[type[exp.Expression], str] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*"}
PART_NODES: dict[str, str] = {
    "Year": "year",
    "Month": "month",
    "Day": "day",
    "DayOfMonth": "day",
    "Hour": "hour",
    "Minute": "minute",
    "Second": "second",
    "DayOfWeek": "dayofweek",
    "DayOfWeekIso": "isodow",
    "DayOfYear": "dayofyear",
}


class Compiler(Arithmetic, Logic, Texts):
    """Compiles one expression; see `Nodes`."""

    def whole(self, node: exp.Expression, truth: bool) -> Code:
        """The root of an expression."""
        made = self.compile(node)
        return self._taken(made, "bool") if truth else made

    def compile(self, node: exp.Expression) -> Code:
        if type(node) in COMPARED:
            return self._compare(node, *COMPARED[type(node)])
        if type(node) in ARITHMETIC:
            return self._arithmetic(node, ARITHMETIC[type(node)])
        name = type(node).__name__
        if name in PART_NODES:
            return self._part(PART_NODES[name], node.this)
        method: Callable[[Any], Code] | None = getattr(self, f"_{name.lower()}", None)
        if method is None:
            raise Refused(
                f"{node.sql('duckdb')}  {OUTSIDE}",
                "use arithmetic, comparisons, and/or/not, case, coalesce, abs, power, round, least, greatest …",
            )
        return method(node)
