"""Arithmetic and functions of numbers."""

from __future__ import annotations

from sqlglot import exp

from millstream.lang.code import Code, Refused, digits, double, finite, finite_sql
from millstream.lang.nodes import Nodes


class Arithmetic(Nodes):
    """Each node as code."""

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
        sql = f"({left.loose or double(left)} {sign} {right.loose or double(right)})"
        return finite(
            sql,
            f"(None if ({a} := {left.python}) is None or ({b} := {right.python}) is None else _finite(float({a}) {sign}"
            f" float({b})))",
        )

    def _div(self, node: exp.Div) -> Code:
        left, right = self._number(node.this), self._number(node.expression)
        a, b = self._name(), self._name()
        sql = f"({left.loose or double(left)} / nullif({double(right)}, 0))"
        return finite(
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
        places = digits(node, decimals)
        if of.kind == "int64":
            # In 128 bits, so that what leaves 64 is NULL and no error.
            return (
                of
                if places >= 0
                else self._call(
                    of, f"try_cast(round(({of.sql})::hugeint, {places}) as bigint)", f"_tens({{}}, {-places})", "int64"
                )
            )
        return self._call(of, f"round({of.sql}, {places})", f"_round_to({{}}, {places})", "float64")

    def _pow(self, node: exp.Pow) -> Code:
        left, right = self._number(node.this), self._number(node.expression)
        a, b = self._name(), self._name()
        sql = f"power({double(left)}, {double(right)})"
        return finite(
            sql,
            f"(None if ({a} := {left.python}) is None or ({b} := {right.python}) is None else _power(float({a}),"
            f" float({b})))",
        )

    def _exp(self, node: exp.Exp) -> Code:
        of = self._number(node.this)
        return self._call(of, finite_sql(f"exp({double(of)})"), "_exp({})", "float64")

    def _ln(self, node: exp.Ln) -> Code:
        of = self._number(node.this)
        return self._call(
            of, f"ln(nullif(greatest({double(of)}, 0::double), 0))", "(math.log({}) if {} > 0 else None)", "float64"
        )

    def _sqrt(self, node: exp.Sqrt) -> Code:
        of = self._number(node.this)
        return self._call(
            of,
            f"sqrt(case when {double(of)} >= 0 then {double(of)} end)",
            "(math.sqrt({}) if {} >= 0 else None)",
            "float64",
        )
