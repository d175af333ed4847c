"""Times: TIMESTAMPTZ is Spark's TIMESTAMP in a session whose zone is UTC, TIMESTAMP is TIMESTAMP_NTZ."""

from __future__ import annotations

import re

from sqlglot import exp

from millstream.engines.spark.kinds import NAIVE, TZ, is_time
from millstream.engines.spark.rules import Context, Node, literal, no, refused, rule, same, text

same(exp.CurrentDate, exp.CurrentTimestamp)
_UNITS = {"MICROSECOND": 1, "MILLISECOND": 1000, "SECOND": 10**6, "MINUTE": 6 * 10**7, "HOUR": 36 * 10**8, "DAY": 864 * 10**8, "WEEK": 7 * 864 * 10**8}
_PARTS = {
    "year": "year({0})", "month": "month({0})", "day": "dayofmonth({0})", "hour": "hour({0})", "minute": "minute({0})", "second": "second({0})",
    "dow": "(dayofweek({0}) - 1)", "dayofweek": "(dayofweek({0}) - 1)", "isodow": "(weekday({0}) + 1)", "doy": "dayofyear({0})", "dayofyear": "dayofyear({0})",
    "week": "weekofyear({0})", "weekofyear": "weekofyear({0})", "quarter": "quarter({0})", "isoyear": "extract(yearofweek from {0})",
    "microsecond": "cast(extract(second from {0}) * 1000000 as bigint)", "microseconds": "cast(extract(second from {0}) * 1000000 as bigint)",
}  # fmt: skip
_NODES = {
    exp.Year: "year", exp.Month: "month", exp.Day: "day", exp.DayOfMonth: "day", exp.Hour: "hour", exp.Minute: "minute", exp.Second: "second",
    exp.DayOfWeek: "dow", exp.DayOfWeekIso: "isodow", exp.DayOfYear: "doy", exp.Week: "week", exp.WeekOfYear: "week", exp.Quarter: "quarter",
}  # fmt: skip
_FORMATS = {"%Y": "yyyy", "%m": "MM", "%d": "dd", "%H": "HH", "%M": "mm", "%S": "ss", "%f": "SSSSSS", "%y": "yy", "%j": "DDD", "%I": "hh", "%p": "a", "%b": "MMM",
            "%B": "MMMM", "%a": "E", "%A": "EEEE", "%%": "%"}  # fmt: skip


def _micros(node: Node, kind: str) -> Node:
    return text("unix_micros({0})" if kind == TZ else "unix_micros(cast({0} as timestamp))", node)


def _part(node: Node, part: str, of: Node, context: Context) -> Node:
    if isinstance(of, exp.TsOrDsToDate):
        of = of.this
    kind = context.kind(of)
    if part.startswith("epoch"):
        if not is_time(kind):
            raise no(node, "take it of a time: epoch(ts)")
        return text("({0} / 1e6D)", _micros(of, kind))
    if part not in _PARTS or not (is_time(kind)):
        raise no(node, f"parts that travel are {', '.join(_PARTS)}, of a time")
    return text(f"cast({_PARTS[part]} as bigint)", of)


@rule(
    exp.Extract,
    what="extract(part from ts), date_part('part', ts)",
    becomes="`dow` counts Sunday as 0 and `second` is whole, as in DuckDB",
    typed=("expression",),
)
def extract(node: exp.Extract, context: Context) -> Node:
    return _part(node, node.name.lower(), node.expression, context)


@rule(*_NODES, what="year(ts), month(ts), dayofweek(ts) …", becomes="as `extract`", typed=("this",))
def part_of(node: Node, context: Context) -> Node:
    return _part(node, _NODES[type(node)], node.this, context)


@rule("date_part", what="date_part('hour', ts)", becomes="as `extract`")
def date_part(node: exp.Anonymous, context: Context) -> Node:
    part, of = node.expressions
    if not isinstance(part, exp.Literal):
        raise no(node, "name the part by a literal")
    return _part(node, part.name.lower(), of, context)


same(exp.TsOrDsToDate)


@rule("epoch_us", exp.TimeToUnix, what="epoch_us(ts), epoch(ts)", becomes="`unix_micros(ts)`, and by 1e6", typed=("this",))
def epoch(node: Node, context: Context) -> Node:
    of = node.expressions[0] if isinstance(node, exp.Anonymous) else node.this
    kind = context.kind(of)
    if not is_time(kind):
        raise no(node, "take it of a time: cast it to timestamptz first")
    return _micros(of, kind) if isinstance(node, exp.Anonymous) else text("({0} / 1e6D)", _micros(of, kind))


@rule(
    exp.UnixToTime,
    what="epoch_ms(ts), epoch_ms(ms), make_timestamp(us), to_timestamp(s)",
    becomes="`unix_micros(ts)` rounded; `timestamp_micros(us)`",
    typed=("this",),
)
def moment(node: exp.UnixToTime, context: Context) -> Node:
    scale, kind = node.args.get("scale"), context.kind(node.this)
    if scale is None:
        return text("timestamp_micros(cast(round({0} * 1e6D) as bigint))", node.this)
    if is_time(kind):  # epoch_ms of a time; half away from zero, as DuckDB rounds here and nowhere else
        return text("cast(round(cast({0} as decimal(20,0)) / 1000) as bigint)", _micros(node.this, kind))
    return text(f"cast(timestamp_{'micros' if scale.name == '6' else 'millis'}(cast({{0}} as bigint)) as timestamp_ntz)", node.this)


@rule("make_timestamptz", what="make_timestamptz(us)", becomes="`timestamp_micros(us)`")
def make_timestamptz(node: exp.Anonymous, context: Context) -> Node:
    if len(node.expressions) != 1:
        raise no(node, "make it of microseconds since 1970")
    return text("timestamp_micros(cast({0} as bigint))", *node.expressions)


@rule(exp.TimestampTrunc, exp.DateTrunc, what="date_trunc('day', ts)", becomes="the same; kept without a zone where it had none", typed=("this",))
def trunc(node: exp.TimestampTrunc, context: Context) -> Node:
    kind, unit = context.kind(node.this), (node.args["unit"].name or str(node.args["unit"])).upper()
    if unit not in ("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND") or not is_time(kind):
        raise no(node, "truncate a time to second, minute, hour, day, week, month, quarter or year")
    return text(f"date_trunc('{unit}', {{0}})" if kind == TZ else f"cast(date_trunc('{unit}', {{0}}) as timestamp_ntz)", node.this)


@rule(
    exp.DateDiff,
    what="date_diff('day', a, b)",
    becomes="by the bounds between them, as DuckDB counts: Spark's counts whole units",
    typed=("this", "expression"),
)
def diff(node: exp.DateDiff, context: Context) -> Node:
    unit = (node.args["unit"].name if node.args.get("unit") else "DAY").upper()
    left, right = context.kind(node.this), context.kind(node.expression)
    if not (is_time(left) and is_time(right)):
        raise no(node, "cast both sides to the same type of time")
    if unit == "DAY":
        return text("cast(datediff(cast({0} as date), cast({1} as date)) as bigint)", node.this, node.expression)
    if unit in ("YEAR", "MONTH"):
        months = "(year({0}) * 12 + month({0}) - year({1}) * 12 - month({1}))"
        return text(f"cast({months if unit == 'MONTH' else 'year({0}) - year({1})'} as bigint)", node.this, node.expression)
    if unit not in ("HOUR", "MINUTE", "SECOND", "MILLISECOND", "MICROSECOND"):
        raise no(node, "count days, or date_trunc both sides first")
    n = _UNITS[unit]
    return text(f"(({{0}} - pmod({{0}}, {n})) div {n} - ({{1}} - pmod({{1}}, {n})) div {n})", _micros(node.this, left), _micros(node.expression, right))


@rule(exp.Interval, what="interval 1 day", becomes="the same, of a literal; days and shorter, or months and years")
def interval(node: exp.Interval, context: Context) -> Node:
    unit = (node.args["unit"].name if node.args.get("unit") else "").upper().removesuffix("S")
    amount = node.this
    if not isinstance(amount, exp.Literal) or not amount.name.lstrip("-").isdigit():
        raise no(node, "multiply in microseconds: make_timestamptz(epoch_us(ts) + n * 86400000000)")
    if unit in ("YEAR", "MONTH", "QUARTER"):
        months = int(amount.name) * {"YEAR": 12, "QUARTER": 3, "MONTH": 1}[unit]
        return text(f"make_ym_interval(0, {months})")
    if unit not in _UNITS:
        raise no(node, "say it in days, hours, minutes, seconds or months")
    micros = int(amount.name) * _UNITS[unit]
    return text(f"make_dt_interval(0, 0, 0, cast({micros // 10**6}.{micros % 10**6:06d} as decimal(18,6)))" if micros >= 0 else
                f"(-make_dt_interval(0, 0, 0, cast({-micros // 10**6}.{-micros % 10**6:06d} as decimal(18,6))))")  # fmt: skip


@rule(
    exp.AtTimeZone,
    what="ts at time zone 'America/New_York'",
    becomes="by `convert_timezone`; a wall clock that comes twice is the later one, as in DuckDB",
    typed=("this",),
)
def at_zone(node: exp.AtTimeZone, context: Context) -> Node:
    kind = context.kind(node.this)
    if kind == TZ:
        return text("convert_timezone('UTC', {1}, cast({0} as timestamp_ntz))", node.this, node.args["zone"])
    if kind not in NAIVE:
        raise no(node, "take it of a time: ts::timestamptz at time zone …")
    first = text("convert_timezone({1}, 'UTC', {0})", node.this, node.args["zone"])
    later = "{0} + make_dt_interval(0, {3})"
    again = f"convert_timezone('UTC', {{1}}, {later}) = {{2}}"
    tries = " ".join(f"when {again} then {later}".replace("{3}", step) for step in ("1", "0, 30"))
    return text(f"cast((case {tries} else {{0}} end) as timestamp)", first, node.args["zone"], node.this)


@rule(exp.TimeToStr, what="strftime(ts, '%Y-%m-%d')", becomes="`date_format` with Java's letters", typed=("this",))
def strftime(node: exp.TimeToStr, context: Context) -> Node:
    pattern = node.args["format"]
    if not isinstance(pattern, exp.Literal) or not is_time(context.kind(node.this)):
        raise no(node, "take a literal format of a time")
    made = ""
    for directive, plain in re.findall("(%.)|([^%]+)", pattern.name):
        if directive and directive not in _FORMATS:
            raise no(node, f"{directive} is none of {' '.join(_FORMATS)}")
        made += _FORMATS[directive] if directive else "'" + plain.replace("'", "''") + "'"
    return text("date_format({0}, " + literal(made).replace("{", "{{").replace("}", "}}") + ")", node.this)


refused(exp.StrToTime, exp.StrToDate, "strptime", "try_strptime", what="strptime(s, f)", fix="cast ISO text: s::timestamp")
refused(
    "now", "age", "time_bucket", "date_sub", "to_days", "to_hours", "to_seconds", exp.LastDay, exp.DateBin, exp.Monthname, exp.DateAdd, exp.DateFromParts,
    what="now(), age, time_bucket, date_sub, last_day, to_days …", fix="use parameters for the clock; date_trunc, date_diff and intervals for the rest",
)  # fmt: skip
