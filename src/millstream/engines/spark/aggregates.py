"""Aggregates and windows."""

from __future__ import annotations

from sqlglot import exp

from millstream.engines.spark.kinds import FLOATS, SMALL, WIDE, is_decimal, is_whole
from millstream.engines.spark.rules import Context, Node, no, refused, rule, same, text

same(
    exp.Count, exp.Distinct, exp.Filter, exp.Where, exp.Window, exp.WindowSpec, exp.Ordered, exp.Order, exp.RowNumber, exp.Rank, exp.DenseRank, exp.Lag, exp.Lead,
    exp.FirstValue, exp.LastValue, exp.Ntile, exp.NthValue, exp.PercentRank, exp.CumeDist, exp.IgnoreNulls, exp.RespectNulls, exp.Stddev, exp.StddevSamp,
    exp.StddevPop, exp.Variance, exp.VariancePop, exp.Corr, exp.CovarSamp, exp.CovarPop, exp.LogicalAnd, exp.LogicalOr, exp.ApproxDistinct, exp.CountIf,
)  # fmt: skip


@rule(exp.Sum, what="sum(x)", becomes="of BIGINT in DECIMAL(38,0), where DuckDB counts in 128 bits", typed=("this",))
def sum_(node: exp.Sum, context: Context) -> Node:
    of = node.this.expressions[0] if isinstance(node.this, exp.Distinct) else node.this
    word = "distinct " if isinstance(node.this, exp.Distinct) else ""
    kind = context.kind(node.this) or context.kind(of)
    if kind == "BOOLEAN":
        return text(f"sum({word}cast({{0}} as bigint))", of)
    if kind in WIDE:
        return text(f"sum({word}cast({{0}} as decimal(38,0)))", of)
    if kind in FLOATS:
        return text(f"sum({word}cast({{0}} as double))", of)
    if kind in SMALL or is_decimal(kind):
        return text(f"sum({word}{{0}})", of)
    raise no(node, "cast it: sum(x::bigint), sum(x::double)", "adds values of unknown type")


@rule(exp.Avg, what="avg(x)", becomes="`avg(cast(x as double))`; the last bits of an average of doubles are no one's", typed=("this",))
def avg(node: exp.Avg, context: Context) -> Node:
    kind = context.kind(node.this)
    if is_whole(kind) or kind in FLOATS or is_decimal(kind) or kind == "BOOLEAN":
        return text("avg(cast({0} as double))" if kind != "BOOLEAN" else "avg(cast(cast({0} as int) as double))", node.this)
    raise no(node, "average numbers: avg(x::double)", "averages values of unknown type")


@rule(exp.Min, exp.Max, what="min(x), max(x)", becomes="the same; NaN is the greatest in both")
def least(node: exp.Min, context: Context) -> Node:
    if node.expressions or node.args.get("count"):
        raise no(node, "take one value")
    return text(f"{type(node).__name__.lower()}({{0}})", node.this)


@rule(
    "arg_min_null", "arg_max_null", what="arg_min(v, o), arg_max(v, o)", becomes="`min_by`, `max_by` over the rows whose v is not NULL; arg_min_null over all"
)
def by(node: exp.Anonymous, context: Context) -> Node:
    return text(f"{'min' if 'min' in node.name.lower() else 'max'}_by({{0}}, {{1}})", *node.expressions)


@rule(exp.PercentileCont, exp.Median, what="quantile_cont(x, q), median(x)", becomes="`percentile(x, q)`, equal up to the last bit", typed=("this",))
def quantile(node: exp.PercentileCont, context: Context) -> Node:
    kind = context.kind(node.this)
    if not (is_whole(kind) or kind in FLOATS or is_decimal(kind)):
        raise no(node, "take it of numbers: quantile_cont(x::double, q)")
    return text("percentile(cast({0} as double), {1})", node.this, node.expression or exp.Literal.number("0.5"))


@rule(exp.PercentileDisc, what="quantile_disc(x, q)", becomes="`percentile_disc(q) WITHIN GROUP (ORDER BY x)`", typed=("this",))
def quantile_disc(node: exp.PercentileDisc, context: Context) -> Node:
    if context.kind(node.this) not in FLOATS and not is_whole(context.kind(node.this)):
        raise no(node, "take it of numbers: quantile_disc(x::double, q)")
    return text("percentile_disc({1}) within group (order by {0})", node.this, node.expression)


@rule(
    exp.ArrayAgg, what="list(x), list(x order by k)", becomes="`collect_list` of structs, so that NULL stays; in the order of x or of one key; NULL for no row"
)
def list_(node: exp.ArrayAgg, context: Context) -> Node:
    of = node.this
    if isinstance(of, exp.Distinct):
        raise no(node, "use list(x order by x) over a select distinct")
    if isinstance(of, exp.Order):
        orders = of.expressions
        if any(order.args.get("desc") for order in orders):
            raise no(node, "order it ascending")
        keys = ", ".join(f"{{{i + 1}}}" for i in range(len(orders)))
        nulls = ", ".join(f"{{{i + 1}}} is null" for i in range(len(orders)))
        made = f"transform(array_sort(collect_list(struct(struct({nulls}, {keys}) as k, {{0}} as v))), s -> s.v)"
        return text(f"case when count(*) > 0 then {made} end", of.this, *(order.this for order in orders))
    return text("case when count(*) > 0 then transform(collect_list(struct({0} as v)), s -> s.v) end", of)


@rule("_bin", "_place")
def bin_(node: exp.Anonymous, context: Context) -> Node:
    """The number of a value's bin by a search by halves, or its place in a list, from 1; none of them is 1 more than there are."""
    value, bins = node.expressions
    if node.name == "_place":
        return text("coalesce(nullif(cast(array_position({1}, {0}) as int), 0), size({1}) + 1)", value, bins)
    halves = ", ".join(str(1 << power) for power in reversed(range(16)))
    step = "case when p + s <= size({1}) and element_at({1}, p + s) < {0} then p + s else p end"
    return text(f"(aggregate(array({halves}), 0, (p, s) -> {step}) + 1)", value, bins)


@rule("_counted")
def counted(node: exp.Anonymous, context: Context) -> Node:
    """A map of values and their counts."""
    return text("case when count(*) > 0 then map_from_entries(array_sort(collect_list(struct({0}, {1})))) end", *node.expressions)


@rule("_filled")
def filled(node: exp.Anonymous, context: Context) -> Node:
    """Each bin with its count, 0 too, and what is in none if there is any."""
    counts, last, bins = node.expressions
    rest = {"DOUBLE[]": "double('Infinity')", "VARCHAR[]": "''"}.get(context.kind(bins))
    if rest is None:
        raise no(bins, "list doubles or texts: [1.0::double, 2.0]", "are not bins that travel")
    each = "transform(sequence(1, size({2})), i -> coalesce(try_element_at({0}, i), 0))"
    more = f"map_from_arrays({{2}} || array({rest}), {each} || array(try_element_at({{0}}, size({{2}}) + 1)))"
    return text(f"case when {{0}} is null then null when {{1}} > size({{2}}) then {more} else map_from_arrays({{2}}, {each}) end", counts, last, bins)


@rule(exp.GroupConcat, what="string_agg(s, d order by k)", becomes="`listagg(s, d) WITHIN GROUP (ORDER BY k)`; without an order it is refused")
def string_agg(node: exp.GroupConcat, context: Context) -> Node:
    if not isinstance(node.this, exp.Order):
        raise no(node, "say the order: string_agg(s, ',' order by s)", "joins in no order")
    keys = node.this.expressions
    holes = ", ".join(f"{{{i + 2}}}" for i in range(len(keys)))
    return text(f"listagg({{0}}, {{1}}) within group (order by {holes})", node.this.this, node.args.get("separator") or exp.Literal.string(","), *keys)


refused(
    exp.First, exp.Last, exp.AnyValue, exp.Mode, what="first(x), last(x), any_value(x), mode(x)",
    fix="say which one: arg_min(x, t), arg_max(x, t), min(x)",
)  # fmt: skip
refused(
    "product", "entropy", "kurtosis", "skewness", "approx_quantile", "favg", "fsum", "geomean", exp.Kurtosis, exp.Skewness,
    exp.ApproxQuantile, what="product, entropy, kurtosis, skewness, approx_quantile", fix="count by group, or take quantile_cont",
)  # fmt: skip
