"""What is rewritten before types are asked: constructs of DuckDB said in plainer DuckDB."""

from __future__ import annotations

from sqlglot import exp

from millstream.engines.spark.rules import REFERENCE, Entry, Node, no

BESIDE = "_beside"
REFERENCE += [
    Entry("order by x", "`ORDER BY x NULLS LAST`, said for each key: Spark puts NULL first"),
    Entry("order by all", "`ORDER BY 1, 2, …`"),
    Entry("f(x) filter (where c) over w", "`f(CASE WHEN c THEN x END) OVER w`"),
    Entry("histogram(x), histogram(x, bins), histogram_exact(x, values)", "a count by group in a subquery over the same rows; without group by only"),
    Entry("row_number() over ()", "in an order nobody asked for, by one task"),
    Entry("a asof join b on a.k = b.k and a.t >= b.t", "a join with the row of b whose next one (`LEAD` over k by t) comes after a.t"),
    Entry("a semi join b, a anti join b", "`LEFT SEMI JOIN`, `LEFT ANTI JOIN`"),
    Entry("from range(n) as r(i)", "`range(0, n)`"),
    Entry("using sample 10 percent (bernoulli, 7)", "`TABLESAMPLE … REPEATABLE (7)`: as many rows, other ones"),
    Entry("* exclude (a)", "`* EXCEPT (a)`"),
    Entry("union by name, * replace, columns(*), pivot, positional join, limit 10%", fix="name the columns; take row_number() for positions"),
    Entry("recursive CTEs, distinct on without order", fix="say the order; make the steps tables of their own"),
]


def plain(tree: Node, names: int) -> Node:
    """The tree, changed in place.

    Args:
        names: How many columns the query has, for `order by all`.
    """
    for node in list(tree.find_all(exp.Filter)):
        _filtered(node)
    for node in list(tree.find_all(exp.ArgMin, exp.ArgMax)):
        _by(node, None)
    for node in list(tree.find_all(exp.Anonymous)):
        if node.name.lower() in ("histogram", "histogram_exact"):
            _histogram(node)
    for node in list(tree.find_all(exp.Window)):
        _window(node)
    for node in list(tree.find_all(exp.Order)):
        if len(node.expressions) == 1 and node.expressions[0].this.name.upper() == "ALL" and isinstance(node.expressions[0].this, exp.Var):
            first = node.expressions[0]
            made = [
                exp.Ordered(this=exp.Literal.number(i), desc=first.args.get("desc"), nulls_first=first.args.get("nulls_first")) for i in range(1, names + 1)
            ]
            node.set("expressions", made)
    for node in list(tree.find_all(exp.Ordered)):
        node.set("nulls_first", bool(node.args.get("nulls_first")))
    for node in list(tree.find_all(exp.Join)):
        _joined(node)
    for select in tree.find_all(exp.Select):
        distinct = select.args.get("distinct")
        if distinct is not None and distinct.args.get("on") and not select.args.get("order"):
            raise no(select, "say which row: order by the keys and then by what decides", "keeps any row of each key")
    for node in tree.find_all(exp.With):
        if node.args.get("recursive"):
            raise no(node, "make the steps tables of their own")
    return tree


def _and(*parts: Node) -> Node:
    whole = exp.Paren(this=parts[0])
    for part in parts[1:]:
        whole = exp.And(this=whole, expression=exp.Paren(this=part))
    return whole


def _case(condition: Node, value: Node) -> Node:
    return exp.Case(ifs=[exp.If(this=condition, true=value)])


def _by(node: Node, condition: Node | None) -> None:
    """arg_max(v, o) passes over the rows without v; as arg_max_null with no order there, it needs no filter."""
    if node.args.get("count") or len(node.expressions) > 0:
        raise no(node, "take one value")
    value, order = node.this, node.expression
    there = exp.Not(this=exp.Is(this=value.copy(), expression=exp.Null()))
    parts = [there, condition] if condition is not None else [there]
    name = "arg_min_null" if isinstance(node, exp.ArgMin) else "arg_max_null"
    node.replace(exp.Anonymous(this=name, expressions=[value, _case(_and(*parts), order)]))


def _filtered(node: exp.Filter) -> None:
    condition, of = node.expression.this, node.this
    if isinstance(of, exp.ArgMin | exp.ArgMax):
        node.replace(of)
        _by(of, condition)
        return
    if isinstance(of, exp.Anonymous) and of.name.lower() in ("arg_min_null", "arg_max_null"):
        of.set("expressions", [of.expressions[0], _case(_and(condition), of.expressions[1])])
        node.replace(of)
        return
    if not isinstance(node.parent, exp.Window):
        return
    if not isinstance(of, exp.Count | exp.Sum | exp.Min | exp.Max | exp.Avg):
        raise no(node, "filter inside: sum(case when c then x end) over w", "is filtered over a window")
    counted = exp.Literal.number(1) if isinstance(of.this, exp.Star) or of.this is None else of.this
    of.set("this", _case(condition, counted))
    node.replace(of)


def _window(node: exp.Window) -> None:
    if isinstance(node.this, exp.RowNumber | exp.Rank) and not node.args.get("order") and not node.args.get("alias"):
        node.set("order", exp.Order(expressions=[exp.Ordered(this=exp.Null(), nulls_first=False)]))
    spec = node.args.get("spec")
    if spec is not None and spec.args.get("exclude"):
        raise no(node, "leave the frame whole")


def _histogram(node: exp.Anonymous) -> None:
    """Counted by group in a query of its own over the same rows; what is put into bins has its bin found first."""
    select = node.find_ancestor(exp.Select)
    if (
        select is None
        or not select.args.get("from_")
        or select.args.get("group")
        or len(node.expressions) > 2
        or not isinstance(node.parent, exp.Select | exp.Alias)
    ):
        raise no(node, "count by group, or ask for it in a select of its own without group by")
    value, *bins = node.expressions
    key = exp.Anonymous(this="_bin" if node.name.lower() == "histogram" else "_place", expressions=[value.copy(), bins[0].copy()]) if bins else value.copy()
    there = exp.Not(this=exp.Is(this=exp.Paren(this=value.copy()), expression=exp.Null()))
    inner = exp.select(exp.alias_(key, "k"), exp.alias_(exp.Count(this=exp.Star()), "n"))
    for part in ("from_", "joins"):
        if select.args.get(part):
            inner.set(part, [one.copy() for one in select.args[part]] if part == "joins" else select.args[part].copy())
    where = select.args.get("where")
    inner.set("where", exp.Where(this=_and(where.this.copy(), there) if where else there))
    inner.set("group", exp.Group(expressions=[exp.Literal.number(1)]))
    told = exp.Anonymous(this="_counted", expressions=[exp.column("k"), exp.column("n")])
    made = exp.select(exp.alias_(told, "m"), exp.alias_(exp.Max(this=exp.column("k")), "last")).from_(_named(inner))
    whole = exp.Anonymous(this="_filled", expressions=[exp.column("m"), exp.column("last"), bins[0].copy()]) if bins else exp.column("m")
    node.replace(exp.Subquery(this=exp.select(exp.alias_(whole, "m")).from_(_named(made))))
    if not any(_aggregates(item) for item in select.expressions):  # it was one row because of this aggregate
        for part in ("from_", "joins", "where"):
            select.set(part, None)


def _aggregates(node: Node) -> bool:
    """Whether an aggregate of this select is left in the expression."""
    if isinstance(node, exp.Subquery):
        return False
    named = isinstance(node, exp.Anonymous) and node.name.lower() in ("histogram", "histogram_exact")
    return isinstance(node, exp.AggFunc) or named or any(_aggregates(child) for child in node.iter_expressions())


def _named(query: Node) -> exp.Subquery:
    return exp.Subquery(this=query, alias=exp.TableAlias(this=exp.to_identifier("h")))


def _joined(node: exp.Join) -> None:
    method = str(node.args.get("method") or "").upper()
    if method == "POSITIONAL":
        raise no(node, "join by row_number()")
    if str(node.args.get("kind") or "").upper() in ("SEMI", "ANTI"):
        node.set("side", "LEFT")
    if method == "ASOF":
        _asof(node)


def _asof(node: exp.Join) -> None:
    right = node.this
    name = right.alias_or_name
    if node.args.get("using") or not name:
        raise no(node, "write on a.k = b.k and a.t >= b.t, with a name for each side")
    equal: list[Node] = []
    compared: list[Node] = []
    for part in node.args["on"].flatten() if isinstance(node.args["on"], exp.And) else [node.args["on"]]:
        part = part.unnest()
        (equal if isinstance(part, exp.EQ) else compared).append(part)
    if len(compared) != 1 or not isinstance(compared[0], exp.GT | exp.GTE | exp.LT | exp.LTE):
        raise no(node, "compare one pair: a.t >= b.t")
    if any(
        isinstance(item, exp.Star) or (isinstance(item, exp.Column) and isinstance(item.this, exp.Star) and item.table == name)
        for item in node.parent.expressions
    ):
        raise no(node, "name the columns instead of *")
    mine = [_side(part, name, node) for part in equal]
    here, there, flipped = *_side(compared[0], name, node), _is_of(compared[0].this, name)
    later = isinstance(compared[0], exp.LT | exp.LTE) != flipped  # the right side's moment is the later one
    strict = isinstance(compared[0], exp.GT | exp.LT)
    beside = exp.Window(
        this=(exp.Lag if later else exp.Lead)(this=there.copy()),
        partition_by=[of.copy() for _, of in mine],
        order=exp.Order(expressions=[exp.Ordered(this=there.copy(), nulls_first=False)]),
        over="OVER",
    )
    inner = right.copy()
    inner.set("alias", exp.TableAlias(this=exp.to_identifier(name, quoted=True)))
    made = exp.select(exp.Star(), exp.alias_(beside, BESIDE)).from_(inner)
    node.set("this", exp.Subquery(this=made, alias=exp.TableAlias(this=exp.to_identifier(name, quoted=True))))
    node.set("method", None)
    next_one = exp.column(BESIDE, name, quoted=True)
    # The row of the right side lies on this side of the moment, the one beside it does not.
    outside = ((exp.GTE if strict else exp.GT) if later else (exp.LTE if strict else exp.LT))(this=here.copy(), expression=next_one)
    none = exp.Is(this=next_one.copy(), expression=exp.Null())
    node.set("on", _and(node.args["on"], exp.Or(this=none, expression=outside)))


def _side(part: Node, name: str, node: exp.Join) -> tuple[Node, Node]:
    """The left and the right table's side of a comparison."""
    sides = (part.this, part.expression)
    if _is_of(sides[1], name) and not _is_of(sides[0], name):
        return sides
    if _is_of(sides[0], name) and not _is_of(sides[1], name):
        return sides[1], sides[0]
    raise no(node, "compare a column of one side with one of the other, each by its table's name")


def _is_of(side: Node, name: str) -> bool:
    columns = list(side.find_all(exp.Column))
    return bool(columns) and all(column.table.lower() == name.lower() for column in columns)
