"""Operators, casts and numbers."""

from __future__ import annotations

from sqlglot import exp

from millstream.engines.spark.kinds import (
    FLOATS,
    NAIVE,
    TZ,
    is_decimal,
    is_list,
    is_number,
    is_time,
    is_whole,
    spark_type,
)
from millstream.engines.spark.rules import Context, Node, no, refused, rule, same, text

same(
    exp.Paren,
    exp.Literal,
    exp.Boolean,
    exp.Null,
    exp.Column,
    exp.Identifier,
    exp.Alias,
    exp.And,
    exp.Or,
    exp.Not,
    exp.Is,
    exp.EQ,
    exp.NEQ,
    exp.LT,
    exp.LTE,
    exp.GT,
    exp.GTE,
    exp.NullSafeEQ,
    exp.NullSafeNEQ,
    exp.In,
    exp.Case,
    exp.If,
    exp.Coalesce,
    exp.Nullif,
    exp.Mul,
    exp.Neg,
    exp.Tuple,
    exp.BitwiseOr,
    exp.Exists,
    exp.Between,
    exp.Exp,
    exp.Ln,
    exp.Sqrt,
    exp.Abs,
    exp.Sign,
    exp.Var,
    exp.DataType,
    exp.DataTypeParam,
)


def _whole_operands(node: exp.Binary, context: Context) -> bool:
    return is_whole(context.kind(node.this)) and is_whole(context.kind(node.expression))


def _huge(node: exp.Binary, context: Context) -> bool:
    return "HUGEINT" in (context.kind(node.this), context.kind(node.expression))


@rule(
    exp.Div,
    what="a / b",
    becomes="on doubles, and by zero infinite or NaN: `CASE WHEN b = 0 THEN a * power(b, -1) ELSE a / b END`",
)
def div(node: exp.Div, context: Context) -> Node:
    over = node.expression
    safe = isinstance(over, exp.Nullif | exp.Literal) and over.name not in ("0", "0.0", "0e0")
    if safe:
        return text("(cast({0} as double) / cast({1} as double))", node.this, over)
    return text(
        "(case when {1} = 0 then cast({0} as double) * power(cast({1} as double), -1) else cast({0} as double) /"
        " cast({1} as double) end)",
        node.this,
        over,
    )


@rule(exp.IntDiv, what="a // b", becomes="`a DIV b`; exact in 128 bits; on integers only", typed=("this", "expression"))
def intdiv(node: exp.IntDiv, context: Context) -> Node:
    if not _whole_operands(node, context):
        raise no(
            node,
            "divide whole numbers: cast(x as bigint) // n, or floor(x / n)",
            "divides what may not be a whole number",
        )
    if _huge(node, context):
        exact = "cast(({0} - {0} % {1}) / {1} as decimal(38,0))"
        return text(
            exact, text("cast({0} as decimal(38,0))", node.this), text("cast({0} as decimal(38,0))", node.expression)
        )
    return text("({0} div {1})", node.this, node.expression)


@rule(exp.Mod, what="a % b", becomes="the same; on doubles by zero NaN", typed=("this", "expression"))
def mod(node: exp.Mod, context: Context) -> Node:
    if _whole_operands(node, context) or (
        is_decimal(context.kind(node.this)) and not {context.kind(node.expression)} & set(FLOATS)
    ):
        return text("({0} % {1})", node.this, node.expression)
    if is_number(context.kind(node.this)) and is_number(context.kind(node.expression)):
        return text("(case when {1} = 0 then double('NaN') * {0} else {0} % {1} end)", node.this, node.expression)
    raise no(node, "cast both sides: x::bigint % n", "takes the rest of a value of unknown type")


@rule(
    exp.Add,
    exp.Sub,
    what="a + b, a - b",
    becomes="the same for numbers; a date plus an interval is a time; a list or text is refused",
    typed=("this", "expression"),
)
def add(node: exp.Binary, context: Context) -> Node:
    left, right = context.kind(node.this), context.kind(node.expression)
    sign = "+" if isinstance(node, exp.Add) else "-"
    if left == "DATE" and right == "INTERVAL":
        return text(f"(cast({{0}} as timestamp_ntz) {sign} {{1}})", node.this, node.expression)
    if left == "INTERVAL" and right == "DATE":
        return text(f"({{0}} {sign} cast({{1}} as timestamp_ntz))", node.this, node.expression)
    if left == right == "DATE":
        return text("datediff({0}, {1})", node.this, node.expression)
    if (
        is_time(left)
        and is_time(right)
        and not isinstance(node.parent, exp.LT | exp.LTE | exp.GT | exp.GTE | exp.Between)
    ):
        raise no(
            node,
            "write epoch_us(a) - epoch_us(b), or date_diff('hour', b, a)",
            "makes an interval, which is not a value of a table",
        )
    if is_list(left) or is_list(right) or "VARCHAR" in (left, right):
        raise no(node, "use || for lists and text")
    return node


@rule(exp.Pow, what="a ^ b, a ** b, power(a, b)", becomes="`power(a, b)`: in Spark ^ is exclusive or")
def pow_(node: exp.Pow, context: Context) -> Node:
    return text("power({0}, {1})", node.this, node.expression)


@rule(
    exp.BitwiseAnd,
    what="a & b",
    becomes="the same; in 128 bits a mask 2^n - 1 is `pmod(a, 2^n)`",
    typed=("this", "expression"),
)
def bit_and(node: exp.BitwiseAnd, context: Context) -> Node:
    if not _huge(node, context):
        return node
    mask = (
        int(node.expression.name) if isinstance(node.expression, exp.Literal) and node.expression.name.isdigit() else -1
    )
    if mask < 1 or mask & (mask + 1):
        raise no(node, "mask 128 bits with 2^n - 1, or cast to bigint first")
    return text(f"pmod({{0}}, cast({mask + 1} as decimal(38,0)))", node.this)


@rule(
    exp.BitwiseRightShift,
    what="a >> n",
    becomes="`shiftright(a, n)`; in 128 bits a division rounded down",
    typed=("this",),
)
def shift_right(node: exp.BitwiseRightShift, context: Context) -> Node:
    if not isinstance(node.expression, exp.Literal) or not 0 <= int(node.expression.name) < 64 + 64 * (
        context.kind(node.this) == "HUGEINT"
    ):
        raise no(node, "shift by a literal below the width")
    if context.kind(node.this) != "HUGEINT":
        return text("shiftright({0}, {1})", node.this, node.expression)
    unit = f"cast({1 << int(node.expression.name)} as decimal(38,0))"
    return text(
        f"cast(({{0}} - pmod({{0}}, {unit})) / {unit} as decimal(38,0))", text("cast({0} as decimal(38,0))", node.this)
    )


refused(
    exp.BitwiseLeftShift,
    exp.BitwiseXor,
    exp.BitwiseNot,
    what="a << n, xor(a, b), ~a",
    fix="multiply by a power of two, or compute it with + - *",
)


@rule(exp.DPipe, what="a || b", becomes="the same for text and lists", typed=("this", "expression"))
def pipe(node: exp.DPipe, context: Context) -> Node:
    for side in (node.this, node.expression):
        kind = context.kind(side)
        if (
            kind not in ("VARCHAR", "BLOB")
            and not is_list(kind)
            and not (kind in ("", '"NULL"') or is_whole(kind) or kind == "BOOLEAN" or kind == "DATE")
        ):
            raise no(
                side,
                "cast to varchar what is written alike in both: a whole number, a boolean, a date; strftime(ts, …), or"
                " x::decimal(18,2)",
                "is written as text differently",
            )
    return text("concat({0}, {1})", node.this, node.expression)


@rule(
    exp.Floor,
    exp.Ceil,
    what="floor(x), ceil(x)",
    becomes="kept a double, since Spark's BIGINT ends at 2^63",
    typed=("this",),
)
def floor(node: exp.Floor, context: Context) -> Node:
    name, kind = type(node).__name__.lower(), context.kind(node.this)
    if kind in FLOATS:
        return text(
            f"(case when abs({{0}}) < 4503599627370496 then cast({name}({{0}}) as double) else {{0}} end)", node.this
        )
    if is_whole(kind):
        return node.this
    if is_decimal(kind):
        return text(f"{name}({{0}})", node.this)
    raise no(node, f"cast it: {name}(x::double)", "rounds a value of unknown type")


@rule(
    exp.Round,
    what="round(x), round(x, n)",
    becomes=(
        "the same to a whole number, and for decimals; a double by a literal n from -22 to 22 as DuckDB does it, since"
        " Spark rounds its shortest text"
    ),
    typed=("this",),
)
def round_(node: exp.Round, context: Context) -> Node:
    kind, decimals = context.kind(node.this), node.args.get("decimals")
    if is_whole(kind) and (decimals is None or isinstance(decimals, exp.Literal)):
        return node.this
    if is_whole(kind) and _places(decimals) is not None:
        return text(f"round({{0}}, {_places(decimals)})", node.this)
    if is_decimal(kind) and (decimals is None or isinstance(decimals, exp.Literal)):
        return text("round({0}, {1})", node.this, decimals or exp.Literal.number(0))
    if kind in FLOATS and decimals is None:
        return text("round({0})", node.this)
    if kind == "DOUBLE" and (digits := _places(decimals)) is not None:
        return text(_scaled(digits), node.this)
    fix = (
        "write a literal number from -22 to 22: round(x::double, 2)" if kind in FLOATS else "cast it: round(x::double)"
    )
    raise no(node, fix, "is rounded another way in Spark")


def _places(decimals: Node | None) -> int | None:
    """A literal number of decimals whose power of ten is an exact double."""
    value = decimals.this if (below := isinstance(decimals, exp.Neg)) else decimals
    if not isinstance(value, exp.Literal) or value.is_string or not value.name.isdigit() or int(value.name) > 22:
        return None
    return -int(value.name) if below else int(value.name)


def _scaled(digits: int) -> str:
    """round(double, digits) as DuckDB 2 does it: scaled, to a whole number, and back; at a half, what scaling has lost
    decides.

    The lambdas name a value that is used more than once. The loss is exact: a product in two doubles (Dekker, 1971).
    """
    scale = 10.0 ** abs(digits)
    if digits < 0:
        made = (
            f"transform(array(round(x / {scale!r}D) * {scale!r}D), y -> case when abs(y) < double('Infinity') then y"
            " else x end)"
        )
        return f"element_at(transform(array({{0}}), x -> element_at({made}, 1)), 1)"
    high = scale * 134217729.0 - (scale * 134217729.0 - scale)
    low = scale - high
    lost = f"(((h * {high!r}D - y) + h * {low!r}D) + (x - h) * {high!r}D) + (x - h) * {low!r}D"
    half = f"element_at(transform(array(x * 134217729D - (x * 134217729D - x)), h -> ({lost}) * sign(y) < 0), 1)"
    near = f"case when abs(y) % 1D = 0.5D and {half} then y - sign(y) * 0.5D else round(y) end / {scale!r}D"
    made = f"transform(array(x * {scale!r}D), y -> case when abs(y) < double('Infinity') then {near} else x end)"
    return f"element_at(transform(array({{0}}), x -> element_at({made}, 1)), 1)"


@rule(exp.IsNan, what="isnan(x)", becomes="the same, and NULL of NULL")
def is_nan(node: exp.IsNan, context: Context) -> Node:
    return text("(case when {0} is not null then isnan({0}) end)", node.this)


@rule("signbit", what="signbit(x)", becomes="`x < 0 OR (x = 0 AND power(x, -1) < 0)`", typed=("expressions",))
def signbit(node: exp.Anonymous, context: Context) -> Node:
    return text("({0} < 0 or ({0} = 0 and power({0}, -1) < 0))", *node.expressions)


@rule("round_even", what="round_even(x, 0)", becomes="`rint(x)`, halves to the even neighbour", typed=("expressions",))
def round_even(node: exp.Anonymous, context: Context) -> Node:
    of, places = node.expressions
    if places.name != "0" or context.kind(of) not in FLOATS:
        raise no(node, "round a double to a whole number: round_even(x::double, 0)")
    return text("rint({0})", of)


@rule(exp.Log, what="log(x), log(b, x)", becomes="`log10(x)`: Spark's log is the natural one")
def log(node: exp.Log, context: Context) -> Node:
    return text("log({0}, {1})", node.this, node.expression) if node.expression else text("log10({0})", node.this)


@rule(exp.Greatest, exp.Least, what="greatest(a, b), least(a, b)", becomes="the same; NULLs are passed over in both")
def greatest(node: exp.Greatest, context: Context) -> Node:
    parts = [node.this, *node.expressions]
    holes = ", ".join(f"{{{i}}}" for i in range(len(parts)))
    return text(f"{type(node).__name__.lower()}({holes})", *parts) if len(parts) > 1 else node.this


@rule(
    "isfinite",
    exp.IsInf,
    what="isfinite(x), isinf(x)",
    becomes="`abs(x) < double('Infinity')`, where NaN is the greatest in both",
)
def finite(node: Node, context: Context) -> Node:
    inf = isinstance(node, exp.IsInf)
    return text(f"(abs({{0}}) {'=' if inf else '<'} double('Infinity'))", node.this if inf else node.expressions[0])


@rule(
    exp.Cast,
    exp.TryCast,
    what="cast(x as t), x::t, try_cast(x as t)",
    becomes="to the type of the same meaning; doubles round to even and decimals half up, as DuckDB does",
    typed=("this",),
)
def cast(node: exp.Cast, context: Context) -> Node:
    kind, to = context.kind(node.this), node.to.sql("duckdb").upper()
    verb, of = "try_cast" if isinstance(node, exp.TryCast) else "cast", spark_type(node.to)
    whole = of in ("TINYINT", "SMALLINT", "INT", "BIGINT", "DECIMAL(38,0)", "DECIMAL(20,0)") and not to.startswith(
        "DECIMAL"
    )
    if whole and kind in FLOATS:
        # Spark truncates, and takes 2^63 for 2^63 - 1.
        return text(
            f"{verb}((case when rint({{0}}) = 9.223372036854775808E18D then 1E39D else rint({{0}}) end) as {of})",
            node.this,
        )
    if whole and is_decimal(kind):
        return text(f"{verb}(round({{0}}) as {of})", node.this)
    if whole and kind == "VARCHAR":
        # DuckDB reads '1.5' and '1e3' as whole numbers too.
        return text(
            f"coalesce(try_cast({{0}} as {of}), {verb}(round({verb}({{0}} as decimal(38,10))) as {of}))", node.this
        )
    if of in ("DOUBLE", "FLOAT") and kind == "VARCHAR":
        # Java reads '1d' and '1f' as numbers.
        return text(f"{verb}(case when {{0}} rlike '[0-9.][dDfF]\\\\s*$' then '' else {{0}} end as {of})", node.this)
    if of == "STRING":
        if (
            kind in FLOATS
            or kind == TZ
            or kind in NAIVE
            or is_list(kind)
            or kind.startswith(("STRUCT", "MAP", "INTERVAL", "BLOB"))
            or not kind
        ):
            raise no(
                node,
                "write a time by strftime(ts, '%Y-%m-%d'), a number as a decimal: x::decimal(18,2)::varchar",
                f"writes {kind or 'a value of unknown type'} as text, which the engines do differently",
            )
        return text(f"{verb}({{0}} as string)", node.this)
    if is_time(to) or to in ("TIMESTAMPTZ", "TIMESTAMP"):
        if kind == "VARCHAR" and not (isinstance(node.this, exp.Literal) or verb == "cast"):
            return text(
                "try_cast(case when {0} rlike '^\\\\s*[0-9]{{4,}}-[0-9]{{1,2}}-[0-9]{{1,2}}' then {0}"
                f" end as {of})",
                node.this,
            )
        if is_whole(kind) or kind in FLOATS:
            raise no(node, "use make_timestamptz(us)", "casts a number to a time")
    return text(f"{verb}({{0}} as {of})", node.this)
