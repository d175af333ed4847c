"""Functions of texts, parts of times, and casts."""

from __future__ import annotations

import re

from sqlglot import exp

from millstream.base.event import Kind
from millstream.lang.code import Code, Refused
from millstream.lang.nodes import Nodes

CASTS: dict[str, Kind] = {
    "int": "int64",
    "integer": "int64",
    "bigint": "int64",
    "double": "float64",
    "float": "float64",
    "boolean": "bool",
    "text": "string",
    "varchar": "string",
}


PARTS = {
    "year": "{}.year",
    "month": "{}.month",
    "day": "{}.day",
    "hour": "{}.hour",
    "minute": "{}.minute",
    "second": "{}.second",
    "dayofweek": "{}.isoweekday() % 7",
    "dow": "{}.isoweekday() % 7",
    "isodow": "{}.isoweekday()",
    "dayofyear": "_day({})",
}


class Texts(Nodes):
    """Each node as code."""

    def _like(self, node: exp.Like) -> Code:
        of, pattern = self._taken(self.compile(node.this), "string"), self.compile(node.expression)
        if of.kind != "string" or not (isinstance(node.expression, exp.Literal) and node.expression.is_string):
            raise Refused(node.sql("duckdb"), "like takes a string field and a literal pattern")
        regex = "".join(".*" if c == "%" else "." if c == "_" else re.escape(c) for c in node.expression.name)
        a = self._name()
        return Code(
            f"({of.sql} LIKE {pattern.sql})",
            f"(None if ({a} := {of.python}) is None else re.fullmatch({regex!r}, {a}, re.S) is not None)",
            "bool",
        )

    def _length(self, node: exp.Length) -> Code:
        return self._text(node, "length", "len({})", "int64")

    def _lower(self, node: exp.Lower) -> Code:
        return self._text(node, "lower", "_lower({})", "string")

    def _upper(self, node: exp.Upper) -> Code:
        return self._text(node, "upper", "_upper({})", "string")

    def _text(self, node: exp.Expression, function: str, python: str, kind: Kind) -> Code:
        of = self._taken(self.compile(node.this), "string")
        if of.kind not in ("string", None):
            raise Refused(f"{node.sql('duckdb')}  takes a string, and this is {of.kind}")
        return self._call(of, f"{function}({of.sql})", python, kind)

    def _dpipe(self, node: exp.DPipe) -> Code:
        left, right = (self._taken(self.compile(one), "string") for one in (node.this, node.expression))
        if {left.kind, right.kind} - {"string", None}:
            raise Refused(f"{node.sql('duckdb')}  joins what is not a string", "cast it: x::varchar")
        a, b = self._name(), self._name()
        return Code(
            f"({left.sql} || {right.sql})",
            f"(None if ({a} := {left.python}) is None or ({b} := {right.python}) is None else {a} + {b})",
            "string",
        )

    def _concat(self, node: exp.Concat) -> Code:
        parts = [self._taken(self.compile(n), "string") for n in node.expressions]
        if {p.kind for p in parts} - {"string", None}:
            raise Refused(f"{node.sql('duckdb')}  joins what is not a string", "cast it: x::varchar")
        texts = [f"coalesce({p.sql}, '')" for p in parts]
        return Code(f"({' || '.join(texts)})", "(" + " + ".join(f"({p.python} or '')" for p in parts) + ")", "string")

    def _extract(self, node: exp.Extract) -> Code:
        return self._part(node.name.lower(), node.expression)

    def _part(self, part: str, node: exp.Expression) -> Code:
        while isinstance(node, exp.Cast | exp.TsOrDsToDate):  # sqlglot wraps the argument of date functions
            node = node.this
        of = self._taken(self.compile(node), "timestamp")
        if (
            part not in PARTS
            or of.kind not in ("timestamp", "date")
            or (of.kind == "date" and part in ("hour", "minute", "second"))
        ):
            raise Refused(f"{part} of {of.kind}", f"parts of a time are {', '.join(PARTS)}")
        if of.kind == "date":
            return self._call(of, f"extract({part} from {of.sql})", PARTS[part], "int64")
        # By the microseconds since 1970, so that no zone of a session plays a part.
        return self._call(
            of,
            f"extract({part} from make_timestamp(epoch_us({of.sql})))",
            PARTS[part].replace("{}", "_utc({})"),
            "int64",
        )

    def _cast(self, node: exp.Cast) -> Code:
        of, to = self.compile(node.this), node.to.sql("duckdb").lower()
        kind = CASTS.get(to)
        of = self._taken(of, "bool") if kind == "bool" else of
        if kind and of.kind is None:
            return Code(f"NULL::{to}", "None", kind)
        if kind == of.kind and kind:
            return of
        if kind == "int64" and of.kind == "bool":
            return self._call(of, f"({of.sql})::bigint", "int({})", "int64")
        if kind == "int64" and of.kind == "float64":
            return self._call(of, f"try_cast({of.sql} as bigint)", "_int64(round({}))", "int64")
        if kind == "float64" and of.kind in ("int64", "bool"):
            return self._call(of, f"({of.sql})::double", "float({})", "float64")
        if kind == "bool" and of.kind == "int64":
            return self._call(of, f"({of.sql})::boolean", "{} != 0", "bool")
        if kind == "string" and of.kind in ("int64", "bool"):
            return self._call(of, f"({of.sql})::varchar", "str({}).lower()", "string")
        raise Refused(
            f"{node.sql('duckdb')}  casts {of.kind} to {to}",
            "casts go between whole numbers, doubles and booleans, and from whole numbers to varchar",
        )

    _trycast = _cast
