"""Columns, parameters and constants of an expression, and how operands get a common type."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlglot import exp

from millstream.base.event import Kind
from millstream.base.sql import quoted
from millstream.base.words import nearest
from millstream.lang.code import NO_MOMENT, NUMBERS, Code, Refused, as_kind, finite, literal, moment
from millstream.lang.expression import UNTYPED


class Nodes(ABC):
    """What the nodes of an expression share: columns, parameters, and how operands get a common type. `used` are the
    columns met, in order, and `takes` what UNTYPED ones are taken for."""

    def __init__(self, fields: Mapping[str, Kind], params: Mapping[str, Any]) -> None:
        self.fields, self.params = fields, params
        self.cased = {name.lower(): name for name in fields}
        self.used: dict[str, None] = {}
        self.takes: list[tuple[str, Kind]] = []
        self._names = 0

    @abstractmethod
    def compile(self, node: exp.Expression) -> Code:
        """Any node."""

    def _column(self, node: exp.Column) -> Code:
        field = node.name if node.name in self.fields else self.cased.get(node.name.lower(), "")
        if node.table or not field:
            raise Refused(f'no field "{node.sql("duckdb")}"', missing=node.name)
        kind = self.fields[field]
        self.used.setdefault(field)
        sql = quoted(field)
        if kind == UNTYPED:
            self.takes.append((field, "float64"))
            a = self._name()
            made = finite(
                f"cast({sql} as double)",
                f"({a} - 0.0 if ({a} := r[{field!r}]) is not None and {a} - {a} == 0 else None)",
            )
            return replace(made, take=len(self.takes) - 1)
        if kind == "float64":
            a = self._name()
            return finite(sql, f"({a} - 0.0 if ({a} := r[{field!r}]) is not None and {a} - {a} == 0 else None)")
        return Code(sql, f"r[{field!r}]", "string" if kind == "enum" else kind)

    def _taken(self, of: Code, kind: Kind) -> Code:
        """A bare UNTYPED column as of this kind; any other code as it is."""
        if of.take is None:
            return of
        field, _ = self.takes[of.take]
        self.takes[of.take] = field, kind
        return Code(quoted(field), f"r[{field!r}]", kind)

    def _alike(
        self, parts: list[Code], node: exp.Expression, *, truths: bool = False
    ) -> tuple[list[Code], Kind | None]:
        """Parts of one kind. UNTYPED columns take that of the others where it is not a number; `truths`: where it is a
        boolean too.
        """
        known = {part.kind for part in parts if part.take is None} - {None}
        if len(known) == 1 and not known <= {*NUMBERS, *(() if truths else ("bool",))}:
            parts = [self._taken(part, next(iter(known))) for part in parts]  # type: ignore[arg-type]
        kind = self._common(parts, node)
        return [as_kind(part, kind) for part in parts], kind

    def _parameter(self, node: exp.Expression) -> Code:
        name = node.name or str(node.this)
        if name not in self.params:
            fix = nearest(name, self.params) or f"[params] of millstream.toml has {', '.join(self.params) or 'nothing'}"
            raise Refused(f"there is no parameter ${name}", fix, code="E135")
        return literal(self.params[name])

    _placeholder = _parameter

    def _literal(self, node: exp.Literal) -> Code:
        if node.is_string:
            return literal(node.name)
        return literal(int(node.name) if re.fullmatch(r"\d+", node.name) else float(node.name))

    def _boolean(self, node: exp.Boolean) -> Code:
        return literal(bool(node.this))

    def _null(self, node: exp.Null) -> Code:
        return Code("NULL", "None", None)

    def _paren(self, node: exp.Paren) -> Code:
        return self.compile(node.this)

    def _name(self) -> str:
        self._names += 1
        return f"t{self._names}"

    def _call(self, of: Code, sql: str, python: str, kind: Kind | None) -> Code:
        """`python` has {} where the value stands, which is not NULL there."""
        x = self._name()
        return Code(sql, f"(None if ({x} := {of.python}) is None else {python.replace('{}', x)})", kind)

    def _number(self, node: exp.Expression) -> Code:
        of = self.compile(node)
        if of.kind == "bool":
            return self._call(of, f"({of.sql})::bigint", "int({})", "int64")
        if of.kind is None:
            return Code("NULL::bigint", "None", "int64")
        if of.kind not in NUMBERS:
            raise Refused(f"{node.sql('duckdb')}  is {of.kind}, and arithmetic takes numbers")
        return of

    def _truth(self, node: exp.Expression) -> Code:
        of = self._taken(self.compile(node), "bool")
        if of.kind not in ("bool", None):
            raise Refused(f"{node.sql('duckdb')}  is {of.kind}, and a condition is wanted", "compare it with something")
        return of if of.kind else Code("NULL::boolean", "None", "bool")

    def _pair(self, left: Code, right: Code, node: exp.Expression) -> tuple[Code, Code]:
        for time in ("timestamp", "date"):
            if {left.kind, right.kind} == {time, "string"}:
                left, right = moment(left, node, time == "date"), moment(right, node, time == "date")
        (left, right), _ = self._alike([left, right], node)
        return left, right

    def _common(self, parts: list[Code], node: exp.Expression) -> Kind | None:
        kinds = {p.kind for p in parts} - {None}
        if kinds <= {"int64", "float64", "bool"} and len(kinds) > 1:
            return "float64" if "float64" in kinds else "int64"
        if len(kinds) > 1 or kinds & {"binary", "list"}:
            raise Refused(
                f"{node.sql('duckdb')}  {'mixes' if len(kinds) > 1 else 'compares'}"
                f" {' and '.join(sorted(k for k in kinds if k))}",
                NO_MOMENT if kinds == {"date", "timestamp"} else "cast one side, or compare what is of one type",
            )
        return next(iter(kinds), None)
