"""Functions of text, lists and structs."""

from __future__ import annotations

from sqlglot import exp

from millstream.base.letters import LOWER, UPPER
from millstream.engines.spark.kinds import is_list, is_whole
from millstream.engines.spark.rules import Context, Node, no, refused, rule, same, text

same(exp.Contains, exp.StartsWith, exp.EndsWith, exp.Replace, exp.MD5, exp.Dot, exp.PropertyEQ, exp.Struct, exp.Repeat)


@rule(
    exp.Lower,
    exp.Upper,
    what="lower(s), upper(s)",
    becomes="letter by letter beyond ASCII, by DuckDB's table: Java makes 'SS' of 'ß'",
)
def case(node: exp.Lower, context: Context) -> Node:
    name = type(node).__name__.lower()
    letters = LOWER if name == "lower" else UPPER
    each = f"translate({{0}}, '{''.join(map(chr, letters))}', '{''.join(map(chr, letters.values()))}')"
    return text(f"(case when octet_length({{0}}) = length({{0}}) then {name}({{0}}) else {each} end)", node.this)


@rule(
    exp.Length,
    exp.ArraySize,
    what="length(s), len(l)",
    becomes="`length` of text, in characters; `size` of a list",
    typed=("this",),
)
def length(node: exp.Length, context: Context) -> Node:
    kind = context.kind(node.this)
    if is_list(kind):
        return text("cast(size({0}) as bigint)", node.this)
    if kind != "VARCHAR" and not isinstance(node.this, exp.Literal | exp.Cast):
        raise no(node, "cast it: length(x::varchar)", "measures a value of unknown type")
    return text("cast(length({0}) as bigint)", node.this)


@rule(
    exp.Concat,
    what="concat(a, b)",
    becomes="`concat(coalesce(a, ''), coalesce(b, ''))`: NULL is passed over",
    typed=("expressions",),
)
def concat(node: exp.Concat, context: Context) -> Node:
    for part in node.expressions:
        if context.kind(part) not in ("VARCHAR", '"NULL"', "BOOLEAN", "DATE") and not is_whole(context.kind(part)):
            raise no(part, "cast it to varchar first", "is written as text differently")
    holes = ", ".join(f"coalesce(cast({{{i}}} as string), '')" for i in range(len(node.expressions)))
    return text(f"concat({holes})", *node.expressions)


@rule(
    exp.Like,
    exp.ILike,
    what="s like p, s ilike p",
    becomes="the same, with backslashes of a literal pattern doubled: in Spark they escape",
)
def like(node: exp.Like, context: Context) -> Node:
    verb = "like" if isinstance(node, exp.Like) else "ilike"
    pattern = node.expression
    if isinstance(pattern, exp.Literal):
        return text(f"({{0}} {verb} {{1}})", node.this, exp.Literal.string(pattern.name.replace("\\", "\\\\")))
    return text(f"({{0}} {verb} replace({{1}}, '\\\\', '\\\\\\\\'))", node.this, pattern)


refused(
    exp.Escape,
    exp.SimilarTo,
    exp.Glob,
    what="like … escape, similar to, glob",
    fix="use like without escape, or regexp_matches",
)


@rule(
    exp.RegexpLike,
    what="regexp_matches(s, p)",
    becomes="`s rlike p`; Java's regular expressions, so keep to what RE2 and Java share",
)
def regexp(node: exp.RegexpLike, context: Context) -> Node:
    if node.args.get("flag"):
        raise no(node, "put the option into the pattern: '(?i)…'")
    return text("({0} rlike {1})", node.this, node.expression)


@rule(
    exp.RegexpReplace,
    what="regexp_replace(s, p, r, 'g')",
    becomes="`regexp_replace(s, p, r)`; without 'g' DuckDB replaces the first only: refused",
)
def regexp_replace(node: exp.RegexpReplace, context: Context) -> Node:
    flags = node.args.get("modifiers")
    put = node.args.get("replacement")
    if (
        not isinstance(flags, exp.Literal)
        or flags.name != "g"
        or not isinstance(put, exp.Literal)
        or {"\\", "$"} & set(put.name)
    ):
        raise no(node, "say 'g', and a literal replacement without \\1")
    return text("regexp_replace({0}, {1}, {2})", node.this, node.expression, put)


@rule(
    exp.RegexpExtract,
    what="regexp_extract(s, p, n)",
    becomes="the same; without n the whole match, which is Spark's group 0",
)
def regexp_extract(node: exp.RegexpExtract, context: Context) -> Node:
    return text(
        "regexp_extract({0}, {1}, {2})", node.this, node.expression, node.args.get("group") or exp.Literal.number(0)
    )


@rule(
    exp.Substring,
    what="substring(s, start, n)",
    becomes="the same from a literal start of 1 or more; others are refused",
)
def substring(node: exp.Substring, context: Context) -> Node:
    start, count = node.args.get("start"), node.args.get("length")
    if not isinstance(start, exp.Literal) or int(start.name) < 1 or isinstance(count, exp.Neg):
        raise no(node, "start at a literal of 1 or more", "counts from 0 or from the end differently")
    return text("substring({0}, {1}" + (", {2})" if count else ")"), node.this, start, *([count] if count else []))


@rule(
    exp.Left, exp.Right, what="left(s, n), right(s, n)", becomes="the same for a literal n; a negative one is refused"
)
def left(node: exp.Left, context: Context) -> Node:
    if not isinstance(node.expression, exp.Literal):
        raise no(node, "take a literal number of characters")
    return text(f"{type(node).__name__.lower()}({{0}}, {{1}})", node.this, node.expression)


@rule(exp.SplitPart, what="split_part(s, d, n)", becomes="the same for a literal n of 1 or more")
def split_part(node: exp.SplitPart, context: Context) -> Node:
    part = node.args.get("part_index")
    if not isinstance(part, exp.Literal) or int(part.name) < 1:
        raise no(node, "take a literal part of 1 or more")
    return text("split_part({0}, {1}, {2})", node.this, node.args["delimiter"], part)


@rule(exp.Split, what="string_split(s, d)", becomes="`split(s, d)` with the delimiter taken literally")
def split(node: exp.Split, context: Context) -> Node:
    return text("split({0}, concat('\\\\Q', {1}, '\\\\E'))", node.this, node.expression)


@rule(exp.StrPosition, what="strpos(s, t), position(t in s)", becomes="`instr(s, t)`")
def strpos(node: exp.StrPosition, context: Context) -> Node:
    return text("cast(instr({0}, {1}) as bigint)", node.this, node.args["substr"])


@rule(exp.Trim, what="trim(s), ltrim(s), rtrim(s)", becomes="the same, of spaces; other characters are refused")
def trim(node: exp.Trim, context: Context) -> Node:
    if node.expression:
        raise no(node, "trim spaces only, or use regexp_replace")
    where = {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(str(node.args.get("position") or "").upper(), "trim")
    return text(f"{where}({{0}})", node.this)


@rule(exp.Hex, exp.LowerHex, what="hex(b)", becomes="the same", typed=("this",))
def hex_(node: exp.Hex, context: Context) -> Node:
    return text("hex({0})" if isinstance(node, exp.Hex) else "lower(hex({0}))", node.this)


@rule(exp.SHA2, what="sha256(s)", becomes="`sha2(s, 256)`")
def sha(node: exp.SHA2, context: Context) -> Node:
    return text("sha2({0}, 256)", node.this)


@rule(
    "hash",
    what="hash(x)",
    becomes="`xxhash64`, not negative: other numbers than DuckDB's; good for dealing rows out, not to be stored",
)
def hash_(node: exp.Anonymous, context: Context) -> Node:
    holes = ", ".join(f"{{{i}}}" for i in range(len(node.expressions)))
    return text(f"cast(pmod(xxhash64({holes}), 9223372036854775807) as decimal(20,0))", *node.expressions)


@rule(
    "md5_number_lower",
    what="md5_number_lower(s)",
    becomes="the same number: the last eight bytes of `md5`, the least of them first",
)
def md5_number(node: exp.Anonymous, context: Context) -> Node:
    digits = ", ".join(f"substring(md5({{0}}), {at}, 2)" for at in range(31, 16, -2))
    return text(f"cast(conv(concat({digits}), 16, 10) as decimal(20,0))", *node.expressions)


@rule("row", what="row(a, b)", becomes="`named_struct('_1', a, '_2', b)`")
def row(node: exp.Anonymous, context: Context) -> Node:
    holes = ", ".join(f"'_{i + 1}', {{{i}}}" for i in range(len(node.expressions)))
    return text(f"named_struct({holes})", *node.expressions)


@rule(exp.Array, what="[a, b]", becomes="`array(a, b)`")
def array(node: exp.Array, context: Context) -> Node:
    holes = ", ".join(f"{{{i}}}" for i in range(len(node.expressions)))
    return text(f"array({holes})", *node.expressions)


@rule(exp.ToMap, what="map {'a': 1}", becomes="`map('a', 1)`")
def to_map(node: exp.ToMap, context: Context) -> Node:
    if not isinstance(node.this, exp.Struct):
        raise no(node, "write it out: map {'a': 1, 'b': 2}")
    pairs = [side for pair in node.this.expressions for side in (pair.this, pair.expression)]
    return text(f"map({', '.join(f'{{{i}}}' for i in range(len(pairs)))})", *pairs)


@rule(
    exp.GenerateSeries,
    what="range(a, b)",
    becomes="`sequence(a, b - 1)`, and empty when a >= b: Spark's would count down",
)
def series(node: exp.GenerateSeries, context: Context) -> Node:
    if not node.args.get("is_end_exclusive") or node.args.get("step"):
        raise no(node, "use range(a, b)")
    whole = text("cast({0} as bigint)", node.args["start"]), text("cast({0} as bigint)", node.args["end"])
    return text(
        "(case when {0} < {1} then sequence({0}, {1} - 1) when {0} >= {1} then cast(array() as array<bigint>) end)",
        *whole,
    )


@rule(exp.Explode, what="unnest(l)", becomes="`explode(l)`, one in a select list")
def explode(node: exp.Explode, context: Context) -> Node:
    return text("explode({0})", node.this)


@rule(exp.ArraySort, what="list_sort(l)", becomes="`array_sort(l)`: NULL last in both")
def list_sort(node: exp.ArraySort, context: Context) -> Node:
    if node.expression or node.args.get("asc"):
        raise no(node, "sort ascending: list_sort(l)")
    return text("array_sort({0})", node.this)


@rule(exp.ArrayContains, what="list_contains(l, x)", becomes="`array_contains(l, x)`")
def list_contains(node: exp.ArrayContains, context: Context) -> Node:
    return text(
        "(case when {0} is not null and {1} is not null then coalesce(array_contains({0}, {1}), false) end)",
        node.this,
        node.expression,
    )


@rule(
    exp.Bracket,
    what="l[i], m[k], s['f']",
    becomes="`try_element_at(l, i)`: NULL outside; a field of a struct by its name",
    typed=("this",),
)
def bracket(node: exp.Bracket, context: Context) -> Node:
    kind, at = context.kind(node.this), node.expressions[0]
    if kind.startswith("STRUCT") and isinstance(at, exp.Literal) and at.is_string:
        return text("{0}.`" + at.name.replace("`", "``") + "`", node.this)
    if kind.startswith("STRUCT") and isinstance(at, exp.Literal):  # a row's, by place
        return text(f"{{0}}.`_{int(at.name) + 1}`", node.this)
    if kind.startswith("MAP"):
        return text("try_element_at({0}, {1})", node.this, at)
    if is_list(kind) and isinstance(at, exp.Literal) and len(node.expressions) == 1:  # sqlglot counts from 0
        return text(f"try_element_at({{0}}, {int(at.name) + 1})", node.this)
    raise no(node, "take an element by a literal number, a field by its name")


refused(exp.Slice, what="s[1:3], l[1:3]", fix="use substring(s, 1, 3); of a list take elements by a literal number")
refused(
    "typeof",
    "printf",
    "format",
    exp.Transform,
    exp.Lambda,
    exp.Reverse,
    exp.Rand,
    exp.Uuid,
    "random",
    "list_distinct",
    "list_aggregate",
    what="typeof, printf, lambdas, reverse, random …",
    fix="leave it to a table that is made in Arrow (@ms.table), or write it with what this page lists",
)
