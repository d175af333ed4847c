"""What came after a moment: the mirror image of a feature, and the same SQL for labels, rewards and performance.

An event counts for a row when the `on` columns are equal, `where` holds, and row moment < event time <= moment +
within. The join is on the keys and the slot of length `within`, so that a row meets at most two slots of events and a
hot key costs no cross product of its whole history; there is no range join, so the text runs on any engine of the sql
port.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from millstream.base.event import OFFSET, PARTITION, Kind
from millstream.declare.features import Aggregate
from millstream.declare.outcome import Outcome
from millstream.declare.stream import Stream
from millstream.features.state import grid_limit
from millstream.lang.expression import compile as compile_expression

SCALE = 6
"""Decimal places kept of a float that is summed: sums are exact integers, so no order of rows changes a label
(docs/feature-semantics.md, section 4).
"""


@dataclass(frozen=True)
class OutcomeSql:
    """A query for the outcome of each row of a spine.

    Attributes:
        sql: Selects `_row` and `outcome` from the relations `spine` (`_row`, `_t` and the `on` columns) and the
            stream's; one row for each of the spine, NULL where there is no label. The spine must hold mature rows only.
        kind: Of the outcome.
        stream: Name of the relation of events.
    """

    sql: str
    kind: Kind
    stream: str


def fields_of(stream: Stream[Any]) -> dict[str, Kind]:
    """Names and kinds of a stream's payload, as expressions over it are checked against."""
    return {field.name: field.kind for field in stream.schema.fields}


def meaning(outcome: Outcome) -> dict[str, Any]:
    """All that decides an outcome besides the data, as plain JSON: equal ones judge alike."""
    of = outcome.value
    value = [of.operation, of.expression, of.default, of.scale] if isinstance(of, Aggregate) else of
    return {
        "stream": outcome.stream.name,
        "on": list(outcome.on),
        "within_us": outcome.within_us,
        "where": outcome.where,
        "value": value,
        "otherwise": outcome.otherwise,
        "credit": outcome.credit,
    }


def outcome_sql(
    outcome: Outcome, params: Mapping[str, Any], *, spine: str = "spine", moments: tuple[int, int] | None = None
) -> OutcomeSql:
    """The query for this outcome.

    Args:
        moments: The least and the greatest `_t` of the spine in microseconds, when known: files of other times are then
            not read.

    Raises:
        DefinitionError: Its value or `where` does not fit the stream.
    """
    stream, fields = outcome.stream, fields_of(outcome.stream)
    value, kind, whole = _value(outcome, fields, params)
    time = stream.schema.event_time
    wanted = []
    if outcome.where is not None:
        wanted.append(
            compile_expression(
                outcome.where, fields, params, place=outcome.place, what=f"the outcome over {stream.name}"
            ).sql
        )
    if moments is not None:
        wanted.append(
            f'"{time}" > make_timestamptz({moments[0]}) and "{time}" <='
            f" make_timestamptz({moments[1] + outcome.within_us})"
        )
    chosen = f" where {' and '.join(f'({one})' for one in wanted)}" if wanted else ""
    keys = [f'"{name}"' for name in outcome.on]
    told = ", ".join(f"{key} as k{i}" for i, key in enumerate(keys))
    same = " and ".join(f"s.k{i} = e.k{i}" for i in range(len(keys)))
    w = outcome.within_us
    pairs = f"""select s.r, s.t as st, e.t, e.p, e.o, e.v
  from (select r, t, {", ".join(f"k{i}" for i in range(len(keys)))}, unnest([t // {w}, t // {w} + 1]) as slot
        from (select _row as r, epoch_us(_t) as t, {told} from {spine})) s
  join (select *, t // {w} as slot
        from (select {told}, epoch_us("{time}") as t, {PARTITION} as p, {OFFSET} as o, {value} as v
              from "{stream.name}"{chosen})) e
  on {same} and s.slot = e.slot where e.t > s.t and e.t <= s.t + {w}"""
    if outcome.credit != "all":
        order = "st desc, r desc" if outcome.credit == "last" else "st, r"
        pairs = (
            f"select * from (select *, row_number() over (partition by p, o order by {order}) as place from ({pairs}))"
            " where place = 1"
        )
    answer = _answer(outcome, kind, whole)
    sql = f"""select s._row, case when a.n > 0 then a.answer else {_literal(outcome.otherwise)} end as outcome
from {spine} s left join (
  select r, count(*) as n, {answer} as answer from ({pairs}) group by r
) a on s._row = a.r"""
    return OutcomeSql(sql, kind, stream.name)


def _value(outcome: Outcome, fields: Mapping[str, Kind], params: Mapping[str, Any]) -> tuple[str, Kind, bool]:
    """Its SQL, the kind of the outcome, and whether the values are integers."""
    of = outcome.value
    text = of if isinstance(of, str) else of.expression
    if text is None:
        return "1", "int64", True
    made = compile_expression(
        text,
        fields,
        params,
        place=outcome.place if isinstance(of, str) else of.place,
        what=f"the outcome over {outcome.stream.name}",
    )
    if isinstance(of, Aggregate) and made.kind == "bool":
        return f"cast({made.sql} as bigint)", "float64" if of.operation in ("mean", "variance") else "int64", True
    if isinstance(of, Aggregate) and of.operation != "count":
        kind = "float64" if of.operation in ("mean", "variance") else made.kind
        return made.sql, kind, made.kind == "int64"
    return (made.sql, "int64", False) if isinstance(of, Aggregate) else (made.sql, made.kind, False)


def _answer(outcome: Outcome, kind: Kind, whole: bool) -> str:
    of = outcome.value
    if isinstance(of, str):
        return "arg_min_null(v, {'t': t, 'p': p, 'o': o})"
    order = "{'t': t, 'p': p, 'o': o}"
    if of.operation == "count":
        return "count(v)"
    if of.operation in ("min", "max"):
        return f"{of.operation}(v)"
    if of.operation in ("first", "last"):
        return f"arg_{'min' if of.operation == 'first' else 'max'}(v, {order}) filter (where v is not null)"
    if of.operation == "sum" and kind == "int64":
        return "cast(sum(cast(v as hugeint)) as bigint)"
    places = 0 if whole else SCALE if of.scale is None else of.scale
    unit, limit = f"{10.0**places!r}::double", f"{grid_limit(places)!r}::double"
    q = f"case when abs(v) < {limit} then cast(floor(cast(v as double) * {unit} + 0.5) as hugeint) end"
    n = f"count({q})"
    if of.operation == "sum":
        answer = f"cast(sum({q}) as double) / {unit}"
    elif of.operation == "mean":
        answer = f"cast(sum({q}) as double) / (nullif({n}, 0)::double * {unit})"
    else:
        top = f"cast({n}::hugeint * sum(({q}) * ({q})) - sum({q}) * sum({q}) as double)"
        answer = f"case when {n} > 1 then {top} / ({n}::double * ({n} - 1)::double) / ({unit} * {unit}) end"
    return f"case when {n} = count(v) then {answer} end"  # a sum without those that are too large would be wrong


def _literal(value: bool | int | float | str | None) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"{value!r}::double" if isinstance(value, float) else str(value)
