"""Comparisons, conditions, and choices between values."""

from __future__ import annotations

from sqlglot import exp

from millstream.lang.code import Code, Refused
from millstream.lang.nodes import Nodes


class Logic(Nodes):
    """Each node as code."""

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
