"""A query of DuckDB's dialect as Spark's text. No JVM: DuckDB binds, the rules rewrite, what they do not know is
refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from millstream.base.errors import WorkFailed
from millstream.engines.spark import aggregates, functions, operators, times
from millstream.engines.spark.binder import Binder
from millstream.engines.spark.desugar import plain
from millstream.engines.spark.kinds import quoted, spark_type
from millstream.engines.spark.rules import (
    NAMED,
    REFERENCE,
    RULES,
    SAME,
    TYPED,
    Context,
    Dialect,
    Node,
    Refused,
    no,
    rule,
    same,
    text,
)
from millstream.engines.spark.values import Args, marked

__all__ = ["REFERENCE", "Query", "aggregates", "functions", "operators", "statements", "times", "translate"]

same(
    exp.Select,
    exp.From,
    exp.Group,
    exp.Having,
    exp.Limit,
    exp.Offset,
    exp.With,
    exp.CTE,
    exp.TableAlias,
    exp.Subquery,
    exp.Values,
    exp.Qualify,
)
same(exp.Cube, exp.Rollup, exp.GroupingSets)
_ROWS = 250_000  # of a task that counts a range


@dataclass(frozen=True)
class Query:
    """Attributes:
    sql: Spark's text, with markers `:name`.
    args: What they are bound to.
    names, kinds: Columns of the result, with DuckDB's types.
    schema: The same in Arrow.
    """

    sql: str
    args: Args
    names: list[str]
    kinds: list[str]
    schema: pa.Schema

    def cast(self, columns: Sequence[str]) -> list[str]:
        """Expressions that give these columns of Spark's result DuckDB's types."""
        return [f"cast({column} as {spark_type(kind)})" for column, kind in zip(columns, self.kinds, strict=True)]


def statements(sql: str) -> list[Node]:
    """The statements of a text.

    Raises:
        WorkFailed: It does not parse.
    """
    try:
        return [node for node in sqlglot.parse(sql, dialect="duckdb") if node is not None]
    except SqlglotError as error:
        raise WorkFailed(f"the SQL does not parse: {str(error).splitlines()[0]}") from None


def translate(sql: str, binder: Binder, tables: Iterable[str]) -> Query:
    """Args:
        tables: Names that may be read.

    Raises:
        WorkFailed: DuckDB finds a mistake, or something has no equal in Spark.
    """
    names, kinds, schema = binder.bound(sql)
    trees = statements(sql)
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        raise Refused(f"a query is one SELECT; found {' '.join(sql.split())[:120]}")
    tree = plain(trees[0].copy(), len(names))
    known = {name.lower() for name in tables} | {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if isinstance(table.this, exp.Identifier) and (table.db or table.name.lower() not in known):
            raise Refused(f"there is no table {table.sql('duckdb')}; there are {', '.join(sorted(known)) or 'none'}")
    context = Context(params=binder.params)
    _learn(tree, binder, context)
    made = _travel(tree, context)
    return Query(made.sql(Dialect, identify=True), context.args, names, kinds, schema)


def _learn(tree: Node, binder: Binder, context: Context) -> None:
    """Ask for the types that the rules want, select by select."""
    wanted: dict[int, tuple[exp.Select, list[Node]]] = {}
    for node in tree.walk():
        named = isinstance(node, exp.Anonymous) and node.name.lower() in NAMED
        for argument in ("expressions",) if named else TYPED.get(type(node), ()):
            value = node.args.get(argument)
            select = node.find_ancestor(exp.Select)
            if select is not None and value is not None:
                operands = value if isinstance(value, list) else [value]
                wanted.setdefault(id(select), (select, []))[1].extend(
                    o for o in operands if not isinstance(o, exp.Star | exp.Distinct | exp.Order)
                )
                for operand in operands:
                    if isinstance(operand, exp.Distinct | exp.Order):
                        inner = operand.expressions[0] if isinstance(operand, exp.Distinct) else operand.this
                        wanted[id(select)][1].append(inner)
    for select, nodes in wanted.values():
        running = [node for node in nodes if node.find(exp.Window)]
        counted = [node for node in nodes if node.find(exp.AggFunc) and node not in running]
        flat = [node for node in nodes if not node.find(exp.AggFunc) and not node.find(exp.Window)]
        for group in (flat, counted, running):
            for node, kind in zip(group, binder.kinds(select, group), strict=True):
                context.learn(node, kind)


def _travel(node: Node, context: Context) -> Node:
    for key, value in list(node.args.items()):
        if isinstance(value, exp.Expression):
            made = _travel(value, context)
            if made is not value:
                node.set(key, made)
        elif isinstance(value, list):
            for place, item in enumerate(value):
                if isinstance(item, exp.Expression):
                    made = _travel(item, context)
                    if made is not item:
                        made.parent, made.arg_key, made.index = node, key, place
                        value[place] = made
    kind = context.kinds.get(id(node))
    rewrite = NAMED.get(node.name.lower()) if isinstance(node, exp.Anonymous) else RULES.get(type(node))
    if rewrite is None:
        if type(node) in SAME:
            return node
        raise no(node, "write it with what docs/reference/spark-sql.md lists, or make the table in Arrow")
    parent, made = node.parent, rewrite(node, context)
    if made is not node:
        made.parent = parent
        if kind is not None:
            context.learn(made, kind)
    return made


@rule(exp.Placeholder, exp.Parameter, what="$name", becomes="`:name`, bound, with a cast to its type")
def parameter(node: Node, context: Context) -> Node:
    if node.name not in context.marked:
        context.marked[node.name] = marked(node.name, context.params[node.name], context.args)
    return text(context.marked[node.name].replace("{", "{{").replace("}", "}}"))


@rule(exp.Join, what="joins", becomes="the same")
def join(node: exp.Join, context: Context) -> Node:
    if node.args.get("method") or isinstance(node.this, exp.Lateral | exp.Unnest):
        raise no(node, "unnest in the select list, and join what comes of it")
    return node


@rule(exp.Union, exp.Intersect, exp.Except, what="union, intersect, except", becomes="the same, by position")
def union(node: exp.Union, context: Context) -> Node:
    if node.args.get("by_name"):
        raise no(node, "name the same columns in the same order on both sides, and leave out BY NAME")
    return node


@rule(exp.Table, what="from t", becomes="the same; of table functions only range(n)")
def table(node: exp.Table, context: Context) -> Node:
    if node.args.get("sample") or node.args.get("pivots") or node.args.get("joins"):
        raise no(node, "sample by `using sample 10 percent (bernoulli, 7)` at the end")
    if isinstance(node.this, exp.Identifier):
        return node
    alias = node.args.get("alias")
    name = alias.name if alias else "range"
    columns = [column.name for column in alias.columns] if alias and alias.columns else ["range"]
    return text(f"{{0}} as {quoted(name)}({', '.join(map(quoted, columns))})", node.this)


def _rows(node: exp.GenerateSeries, context: Context) -> Node:
    start, end = node.args["start"], node.args["end"]
    if not isinstance(node.parent, exp.Table):
        return functions.series(node, context)
    if not node.args.get("is_end_exclusive") or node.args.get("step"):
        raise no(node, "use range(a, b)")
    both = isinstance(start, exp.Literal) and isinstance(end, exp.Literal)
    parts = max(1, min(100_000, (int(end.name) - int(start.name)) // _ROWS)) if both else 8
    return text(f"range({{0}}, {{1}}, 1, {parts})", start, end)


RULES[exp.GenerateSeries] = _rows


@rule(exp.TableSample, what="using sample", becomes="`TABLESAMPLE`")
def sample(node: exp.TableSample, context: Context) -> Node:
    select = node.parent
    method = (node.args["method"].name if node.args.get("method") else "").upper()
    seed = node.args.get("seed")
    if (
        not isinstance(select, exp.Select)
        or select.args.get("joins")
        or select.args.get("where")
        or select.args.get("group")
        or seed is None
    ):
        raise no(node, "sample a whole table, with a seed: select … from t using sample 10 percent (bernoulli, 7)")
    source = select.args["from_"]
    if method == "BERNOULLI" and node.args.get("percent"):
        share = f"tablesample ({node.args['percent'].name} percent) repeatable ({seed.name})"
    elif node.args.get("size"):
        share = ""
        select.set("order", exp.Order(expressions=[exp.Ordered(this=text(f"rand({seed.name})"), nulls_first=False)]))
        select.set("limit", exp.Limit(expression=exp.Literal.number(node.args["size"].name)))
    else:
        raise no(node, "say bernoulli or reservoir")
    if share:
        inner = exp.Subquery(this=exp.select("*").from_(source.this.copy()))
        source.set("this", text(f"{{0}} {share}", inner))
    return text("")


@rule(exp.Star, what="*", becomes="`*`, `* EXCEPT (a)`")
def star(node: exp.Star, context: Context) -> Node:
    if node.args.get("replace") or node.args.get("rename"):
        raise no(node, "name the columns")
    return node
