"""The scalar subset of SQL, node by node: each becomes a type, DuckDB's text and Python's text with the same meaning.

Rules that both sides keep: NULL goes through everything but `is null`, `coalesce`, `case`, `and`, `or`, `least`,
`greatest`. Division by zero, logarithms of what has none, integers beyond 64 bits and doubles that are not finite are
NULL. Booleans are 0 and 1 in arithmetic. Times are UTC.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlglot import exp

from millstream.base.event import Kind
from millstream.base.sql import quoted
from millstream.base.words import nearest
from millstream.lang.expression import OUTSIDE, UNTYPED


class Refused(ValueError):
    """The text is outside the subset: what was found, and the fix."""

    def __init__(self, found: str, fix: str = "", *, missing: str = "", code: str = "E117") -> None:
        super().__init__(found)
        self.found, self.fix, self.missing, self.code = found, fix, missing, "E111" if missing else code


@dataclass(frozen=True)
class Code:
    """One node: `python` is an expression over the row `r`; None is NULL. `kind` None is the literal NULL.

    `loose` is SQL that may still be NaN or infinite where `sql` is NULL. Sums, differences and products carry both
    through to the end, so they take their operands loose: engines evaluate what a guard tests and what it gives apart,
    and guards inside guards double that. `take` is a bare UNTYPED column's place in `Compiler.takes`; the code takes it
    for a number.
    """

    sql: str
    python: str
    kind: Kind | None
    loose: str = ""
    take: int | None = None


NUMBERS = ("int64", "float64")
COMPARED: dict[type[exp.Expression], tuple[str, str]] = {
    exp.EQ: ("=", "=="),
    exp.NEQ: ("<>", "!="),
    exp.LT: ("<", "<"),
    exp.LTE: ("<=", "<="),
    exp.GT: (">", ">"),
    exp.GTE: (">=", ">="),
}
ARITHMETIC: dict[type[exp.Expression], str] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*"}
MOST = 1.7976931348623157e308
MOST_DIGITS = 22
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


class Compiler:
    """Compiles one expression; `used` are the columns met, in order, and `takes` what UNTYPED ones are taken for."""

    def __init__(self, fields: Mapping[str, Kind], params: Mapping[str, Any]) -> None:
        self.fields, self.params = fields, params
        self.cased = {name.lower(): name for name in fields}
        self.used: dict[str, None] = {}
        self.takes: list[tuple[str, Kind]] = []
        self._names = 0

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

    # leaves

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
            made = _finite(
                f"cast({sql} as double)",
                f"({a} - 0.0 if ({a} := r[{field!r}]) is not None and {a} - {a} == 0 else None)",
            )
            return replace(made, take=len(self.takes) - 1)
        if kind == "float64":
            a = self._name()
            return _finite(sql, f"({a} - 0.0 if ({a} := r[{field!r}]) is not None and {a} - {a} == 0 else None)")
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
        return [_as(part, kind) for part in parts], kind

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

    # arithmetic

    def _arithmetic(self, node: exp.Expression, sign: str) -> Code:
        left, right = self._number(node.this), self._number(node.expression)
        a, b = self._name(), self._name()
        if left.kind == right.kind == "int64":
            # Computed in 128 bits, so that what leaves 64 is NULL and no error.
            sql = f"try_cast(({left.sql})::hugeint {sign} ({right.sql})::hugeint as bigint)"
            return Code(
                sql,
                f"(None if ({a} := {left.python}) is None or ({b} := {right.python}) is None else _int64({a} {sign}"
                f" {b}))",
                "int64",
            )
        sql = f"({left.loose or _double(left)} {sign} {right.loose or _double(right)})"
        return _finite(
            sql,
            f"(None if ({a} := {left.python}) is None or ({b} := {right.python}) is None else _finite(float({a}) {sign}"
            f" float({b})))",
        )

    def _div(self, node: exp.Div) -> Code:
        left, right = self._number(node.this), self._number(node.expression)
        a, b = self._name(), self._name()
        sql = f"({left.loose or _double(left)} / nullif({_double(right)}, 0))"
        return _finite(
            sql,
            f"(None if ({a} := {left.python}) is None or not ({b} := {right.python}) else _divide(float({a}),"
            f" float({b})))",
        )

    def _intdiv(self, node: exp.IntDiv) -> Code:
        return self._whole(node, "//", "_truncate")

    def _mod(self, node: exp.Mod) -> Code:
        return self._whole(node, "%", "_remainder")

    def _whole(self, node: exp.Expression, sign: str, function: str) -> Code:
        left, right = self._number(node.this), self._number(node.expression)
        if left.kind == "float64" or right.kind == "float64":
            raise Refused(f"{node.sql('duckdb')}  divides numbers that are not whole", "cast them: x::int")
        a, b = self._name(), self._name()
        sql = f"try_cast(({left.sql})::hugeint {sign} nullif(({right.sql})::hugeint, 0) as bigint)"
        return Code(
            sql,
            f"(None if ({a} := {left.python}) is None or not ({b} := {right.python}) else _int64({function}({a},"
            f" {b})))",
            "int64",
        )

    def _neg(self, node: exp.Neg) -> Code:
        of = self._number(node.this)
        a = self._name()
        if of.kind == "float64":
            return Code(
                f"(-({of.sql}))",
                f"(None if ({a} := {of.python}) is None else -{a})",
                "float64",
                f"(-({of.loose or of.sql}))",
            )
        return Code(
            f"try_cast(-(({of.sql})::hugeint) as bigint)",
            f"(None if ({a} := {of.python}) is None else _int64(-{a}))",
            "int64",
        )

    def _abs(self, node: exp.Abs) -> Code:
        of = self._number(node.this)
        sql = f"abs({of.sql})" if of.kind == "float64" else f"try_cast(abs(({of.sql})::hugeint) as bigint)"
        return self._call(of, sql, "abs({})" if of.kind == "float64" else "_int64(abs({}))", of.kind)

    def _floor(self, node: exp.Floor) -> Code:
        of = self._number(node.this)
        return of if of.kind == "int64" else self._call(of, f"floor({of.sql})", "_floor({})", "float64")

    def _ceil(self, node: exp.Ceil) -> Code:
        of = self._number(node.this)
        return of if of.kind == "int64" else self._call(of, f"ceil({of.sql})", "_ceil({})", "float64")

    def _round(self, node: exp.Round) -> Code:
        of = self._number(node.this)
        decimals = node.args.get("decimals")
        if decimals is None:
            return of if of.kind == "int64" else self._call(of, f"round({of.sql})", "_round({})", "float64")
        digits = _digits(node, decimals)
        if of.kind == "int64":
            # In 128 bits, so that what leaves 64 is NULL and no error.
            return (
                of
                if digits >= 0
                else self._call(
                    of, f"try_cast(round(({of.sql})::hugeint, {digits}) as bigint)", f"_tens({{}}, {-digits})", "int64"
                )
            )
        return self._call(of, f"round({of.sql}, {digits})", f"_round_to({{}}, {digits})", "float64")

    def _pow(self, node: exp.Pow) -> Code:
        left, right = self._number(node.this), self._number(node.expression)
        a, b = self._name(), self._name()
        sql = f"power({_double(left)}, {_double(right)})"
        return _finite(
            sql,
            f"(None if ({a} := {left.python}) is None or ({b} := {right.python}) is None else _power(float({a}),"
            f" float({b})))",
        )

    def _exp(self, node: exp.Exp) -> Code:
        of = self._number(node.this)
        return self._call(of, finite_sql(f"exp({_double(of)})"), "_exp({})", "float64")

    def _ln(self, node: exp.Ln) -> Code:
        of = self._number(node.this)
        return self._call(
            of, f"ln(nullif(greatest({_double(of)}, 0::double), 0))", "(math.log({}) if {} > 0 else None)", "float64"
        )

    def _sqrt(self, node: exp.Sqrt) -> Code:
        of = self._number(node.this)
        return self._call(
            of,
            f"sqrt(case when {_double(of)} >= 0 then {_double(of)} end)",
            "(math.sqrt({}) if {} >= 0 else None)",
            "float64",
        )

    # truth

    def _compare(self, node: exp.Expression, sql: str, python: str) -> Code:
        left, right = self._pair(self.compile(node.this), self.compile(node.expression), node)
        a, b = self._name(), self._name()
        return Code(
            f"({left.sql} {sql} {right.sql})",
            f"(None if ({a} := {left.python}) is None or ({b} := {right.python}) is None else {a} {python} {b})",
            "bool",
        )

    def _between(self, node: exp.Between) -> Code:
        low = exp.GTE(this=node.this.copy(), expression=node.args["low"].copy())
        high = exp.LTE(this=node.this.copy(), expression=node.args["high"].copy())
        return self.compile(exp.And(this=low, expression=high))

    def _and(self, node: exp.And) -> Code:
        left, right = self._truth(node.this), self._truth(node.expression)
        a, b = self._name(), self._name()
        python = (
            f"(False if ({a} := {left.python}) is False or ({b} := {right.python}) is False else None if {a} is None or"
            f" {b} is None else True)"
        )
        return Code(f"({left.sql} AND {right.sql})", python, "bool")

    def _or(self, node: exp.Or) -> Code:
        left, right = self._truth(node.this), self._truth(node.expression)
        a, b = self._name(), self._name()
        python = (
            f"(True if ({a} := {left.python}) is True or ({b} := {right.python}) is True else None if {a} is None or"
            f" {b} is None else False)"
        )
        return Code(f"({left.sql} OR {right.sql})", python, "bool")

    def _not(self, node: exp.Not) -> Code:
        of = self._truth(node.this)
        return self._call(of, f"(NOT {of.sql})", "not {}", "bool")

    def _is(self, node: exp.Is) -> Code:
        of, right = self.compile(node.this), node.expression
        if isinstance(right, exp.Null):
            # Named: Python warns of a literal beside `is`
            return Code(f"({of.sql} IS NULL)", f"(({self._name()} := {of.python}) is None)", "bool")
        of = self._taken(of, "bool") if isinstance(right, exp.Boolean) else of
        if isinstance(right, exp.Boolean) and of.kind in ("bool", None):
            return Code(
                f"(({of.sql}) IS NOT DISTINCT FROM {str(bool(right.this)).upper()})",
                f"(({self._name()} := {of.python}) is {bool(right.this)})",
                "bool",
            )
        raise Refused(node.sql("duckdb"), "write is null, is true or is false")

    def _nullsafeeq(self, node: exp.NullSafeEQ) -> Code:
        left, right = self._pair(self.compile(node.this), self.compile(node.expression), node)
        return Code(f"({left.sql} IS NOT DISTINCT FROM {right.sql})", f"({left.python} == {right.python})", "bool")

    def _nullsafeneq(self, node: exp.NullSafeNEQ) -> Code:
        left, right = self._pair(self.compile(node.this), self.compile(node.expression), node)
        return Code(f"({left.sql} IS DISTINCT FROM {right.sql})", f"({left.python} != {right.python})", "bool")

    def _in(self, node: exp.In) -> Code:
        if not node.expressions:
            raise Refused(f"{node.sql('duckdb')}  asks a query", "name the values: x in (1, 2)")
        parts = [exp.EQ(this=node.this.copy(), expression=value.copy()) for value in node.expressions]
        whole: exp.Expression = parts[0]
        for part in parts[1:]:
            whole = exp.Or(this=whole, expression=part)
        return self.compile(whole)

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

    # choice

    def _case(self, node: exp.Case) -> Code:
        branches = []
        for one in node.args.get("ifs", []):
            asked = exp.EQ(this=node.this.copy(), expression=one.this.copy()) if node.this else one.this
            branches.append((self._truth(asked), self.compile(one.args["true"])))
        default = self.compile(node.args["default"]) if node.args.get("default") else Code("NULL", "None", None)
        (*values, default), kind = self._alike([*(value for _, value in branches), default], node, truths=True)
        sql = (
            "CASE "
            + " ".join(f"WHEN {asked.sql} THEN {v.sql}" for (asked, _), v in zip(branches, values, strict=True))
            + f" ELSE {default.sql} END"
        )
        python = (
            "("
            + " ".join(f"{v.python} if {asked.python} else" for (asked, _), v in zip(branches, values, strict=True))
            + f" {default.python})"
        )
        return Code(sql, python, kind)

    def _if(self, node: exp.If) -> Code:
        return self._case(
            exp.Case(
                ifs=[exp.If(this=node.this.copy(), true=node.args["true"].copy())],
                default=node.args["false"].copy() if node.args.get("false") else None,
            )
        )

    def _coalesce(self, node: exp.Coalesce) -> Code:
        parts, kind = self._alike([self.compile(n) for n in [node.this, *node.expressions]], node, truths=True)
        names = [self._name() for _ in parts]
        python = (
            "("
            + " ".join(f"{n} if ({n} := {p.python}) is not None else" for n, p in zip(names, parts, strict=True))
            + " None)"
        )
        return Code(f"coalesce({', '.join(p.sql for p in parts)})", python, kind)

    def _nullif(self, node: exp.Nullif) -> Code:
        left, right = self._pair(self.compile(node.this), self.compile(node.expression), node)
        a = self._name()
        return Code(
            f"nullif({left.sql}, {right.sql})",
            f"(None if ({a} := {left.python}) == {right.python} else {a})",
            left.kind,
        )

    def _greatest(self, node: exp.Greatest) -> Code:
        return self._extreme(node, "greatest")

    def _least(self, node: exp.Least) -> Code:
        return self._extreme(node, "least")

    def _extreme(self, node: exp.Expression, sql: str) -> Code:
        parts, kind = self._alike([self.compile(n) for n in [node.this, *node.expressions]], node)
        return Code(f"{sql}({', '.join(p.sql for p in parts)})", f"_{sql}({', '.join(p.python for p in parts)})", kind)

    # strings and times

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

    # inside

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
                left, right = _moment(left, node, time == "date"), _moment(right, node, time == "date")
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
                _MOMENTS if kinds == {"date", "timestamp"} else "cast one side, or compare what is of one type",
            )
        return next(iter(kinds), None)


_MOMENTS = (
    "a date is not a moment: write the moment with its time, 2026-01-05T00:00:00Z in [params] or '2026-01-05T00:00:00Z'"
    " here"
)


def literal(value: Any) -> Code:
    """A typed constant; text is quoted by its own rules, never pasted."""
    if isinstance(value, bool):
        return Code(str(value).upper(), str(value), "bool")
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise Refused(f"{value} does not fit into 64 bits")
        return Code(f"({value})::bigint", f"({value})", "int64")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Refused(f"{value} is not a finite number")
        text = repr(value)
        return Code(_e(text), f"({text})", "float64")
    if isinstance(value, str):
        return Code("'" + value.replace("'", "''") + "'", repr(value), "string")
    if isinstance(value, datetime):
        try:
            moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        except OverflowError:
            raise Refused(
                f"{value} lies outside the years 1 to 9999 of UTC", "write a moment that UTC has: '2013-11-01T12:00Z'"
            ) from None
        us = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        return Code(f"make_timestamptz({us})", f"datetime.fromisoformat({moment.isoformat()!r})", "timestamp")
    if isinstance(value, date):
        return Code(f"DATE '{value.isoformat()}'", f"date.fromisoformat({value.isoformat()!r})", "date")
    raise Refused(f"{value!r} is not a number, string, boolean or time")


def finite_sql(sql: str) -> str:
    """NaN and infinities as NULL. NaN is greater than every number, in DuckDB as in Spark."""
    return f"case when abs({sql}) <= {MOST!r} then {sql} end"


def _digits(node: exp.Expression, decimals: exp.Expression) -> int:
    """The literal number of decimals; powers of ten are exact doubles so far."""
    value = decimals.this if (below := isinstance(decimals, exp.Neg)) else decimals
    if (
        not isinstance(value, exp.Literal)
        or value.is_string
        or not value.name.isdigit()
        or int(value.name) > MOST_DIGITS
    ):
        raise Refused(
            f"{node.sql('duckdb')}  rounds to an unknown number of decimals",
            f"write a number from -{MOST_DIGITS} to {MOST_DIGITS}: round(x, 2)",
        )
    return -int(value.name) if below else int(value.name)


def _finite(sql: str, python: str) -> Code:
    return Code(f"({finite_sql(sql)})", python, "float64", sql)


def _double(of: Code) -> str:
    return of.sql if of.kind == "float64" else f"({of.sql})::double"


def _e(number: str) -> str:
    """A double for DuckDB, which reads 1.5 as a decimal."""
    return number if "e" in number else f"{number}e0"


def _as(of: Code, kind: Kind | None) -> Code:
    if kind == "float64" and of.kind in ("int64", "bool"):
        whole = re.fullmatch(r"\((-?\d+)\)", of.python)
        return Code(f"({of.sql})::double", repr(float(whole[1])) if whole else f"_float({of.python})", kind)
    if kind == "int64" and of.kind == "bool":
        return Code(f"({of.sql})::bigint", f"_whole({of.python})", kind)
    return of


def _moment(of: Code, node: exp.Expression, day: bool) -> Code:
    """A text beside a time, as a time: it must be a literal, so that it is checked now."""
    if of.kind != "string":
        return of
    try:
        text = ast.literal_eval(of.python)
        moment = date.fromisoformat(text) if day else datetime.fromisoformat(text)
    except (ValueError, SyntaxError, TypeError):
        example = "2013-11-01" if day else "2013-11-01T12:00Z"
        raise Refused(
            f"{node.sql('duckdb')}  compares a time with a string", f"write the time as '{example}'"
        ) from None
    return literal(moment)
