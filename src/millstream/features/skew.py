"""Logged look-ups beside what offline says: of a stream at the same positions, so that both readers have the same
events; of a table by its rule.

A row of a table counts from when it is known, whatever version answered, so the newest version is the judge: a row that
was missing when the look-up was served, or has other values by now, is a difference. Equality is in bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from millstream.base.event import ARRIVED_AT
from millstream.base.sql import quoted
from millstream.features.fill import landed
from millstream.features.offline import Use, offline

if TYPE_CHECKING:
    from millstream.lake.lake import Lake
    from millstream.lang.expression import Expression
    from millstream.transform.port import Sql

EXAMPLES = 20
PAST_US = 300_000_000
"""A look-up is for a moment in the past if it was asked for more than five minutes later: the delays of requests and of
updaters are shorter.
"""


@dataclass(frozen=True)
class Difference:
    """A value that the two readers do not agree on."""

    row: int
    column: str
    online: float | int | str | None
    offline: float | int | str | None


@dataclass(frozen=True)
class Compared:
    """What was compared.

    Attributes:
        rows: Look-ups compared, in at least one column.
        values: Pairs of values compared.
        differ: Column -> how many of them differ in a bit; only those that do.
        inexact: Values left out because the look-up's moment was older than the store keeps apart, as it said itself.
        ahead: Look-ups left out because they had seen records that have not landed in the lake yet, or say nothing of
            what they had seen.
        look_ahead: Values of look-ups for a moment in the past (`PAST_US`) that are not what was known at that moment:
            they count events that arrived after it, as training never does.
        examples: Some that differ.
        seen: Generation of a definition over a table -> version that answered (-1: none) -> the latest moment (us) that
            it answered for.
    """

    rows: int = 0
    values: int = 0
    differ: Mapping[str, int] = field(default_factory=dict)
    inexact: int = 0
    ahead: int = 0
    look_ahead: int = 0
    examples: Sequence[Difference] = ()
    seen: Mapping[str, Mapping[int, int]] = field(default_factory=dict)

    def __add__(self, other: Compared) -> Compared:
        differ = {c: self.differ.get(c, 0) + other.differ.get(c, 0) for c in {**self.differ, **other.differ}}
        examples = [*self.examples, *other.examples][:EXAMPLES]
        seen = {g: _latest(self.seen.get(g, {}), other.seen.get(g, {})) for g in {**self.seen, **other.seen}}
        look_ahead = self.look_ahead + other.look_ahead
        return Compared(
            self.rows + other.rows,
            self.values + other.values,
            differ,
            self.inexact + other.inexact,
            self.ahead + other.ahead,
            look_ahead,
            examples,
            seen,
        )


def compare(
    sql: Sql,
    lake: Lake,
    logged: pa.Table,
    uses: Sequence[Use],
    columns: Iterable[str],
    derived: Mapping[str, Expression] | None = None,
) -> Compared:
    """Compare logged look-ups with the offline reader.

    Args:
        logged: `_row` (unique), `_t`, `_arrived_at` (of the look-up), the key columns, `as_of` and `reasons` as an
            endpoint logs them, and the logged values.
        columns: Which of the uses' columns to compare: those that were logged.
        derived: Columns that are computed of the look-up's fields and of the features: offline by SQL, of what offline
            says.
    """
    asked = [name for name in columns if name in logged.column_names]
    placed = _placed(lake, logged["as_of"].unique().to_pylist(), uses)
    found = Compared(ahead=logged.num_rows)
    if placed:
        part = sql.query(
            "select l.* from l join wanted w on l.as_of = w.as_of", {"l": logged, "wanted": pa.table({"as_of": placed})}
        ).read_all()
        found += Compared(ahead=-part.num_rows, seen=_seen(sql, part, uses)) + _compared(
            sql, lake, part, uses, asked, "as_of", _computable(derived or {}, logged, asked)
        )
        found += Compared(look_ahead=_look_ahead(sql, lake, part, uses, asked))
    return found


def _look_ahead(sql: Sql, lake: Lake, logged: pa.Table, uses: Sequence[Use], columns: Iterable[str]) -> int:
    """Values of look-ups for a past moment that differ from what was known at that moment."""
    past = sql.query(
        f"select * from l where epoch_us({quoted(ARRIVED_AT)}) - epoch_us(_t) > {PAST_US}", {"l": logged}
    ).read_all()
    live = [use for use in uses if use[0].live]  # a row of a table counts by its rule, whenever it is asked for
    names = {f"{prefix}__{output}" for definition, _, prefix in live for output in definition.columns}.intersection(
        columns
    )
    return sum(_compared(sql, lake, past, live, sorted(names), None).differ.values()) if past.num_rows and names else 0


def _latest(one: Mapping[int, int], other: Mapping[int, int]) -> dict[int, int]:
    return {version: max(one.get(version, 0), other.get(version, 0)) for version in {**one, **other}}


def _seen(sql: Sql, logged: pa.Table, uses: Sequence[Use]) -> dict[str, dict[int, int]]:
    """The versions of tables that answered, and until when."""
    tables = [(definition, prefix) for definition, _, prefix in uses if not definition.live]
    found: dict[str, dict[int, int]] = {definition.generation: {} for definition, _ in tables}
    rows = (
        sql.query("select as_of, max(epoch_us(_t))::bigint as latest from l group by as_of", {"l": logged})
        .read_all()
        .to_pylist()
        if tables
        else []
    )
    for row in rows:
        said = msgspec.json.decode(row["as_of"])
        for definition, prefix in tables:
            at = said.get(f"{definition.stream}/{prefix}", said.get(definition.stream)) or {}
            versions = found[definition.generation]
            versions[at.get("0", -1)] = max(versions.get(at.get("0", -1), 0), row["latest"])
    return found


def _placed(lake: Lake, texts: Iterable[str | None], uses: Sequence[Use]) -> list[str]:
    """The texts of positions that offline can go back to: what had been seen of streams is in the lake, and the tables
    are there.
    """
    sources = dict.fromkeys((definition.stream, definition.live, prefix) for definition, _, prefix in uses)
    stands = {stream: landed(lake.table(stream)) if lake.exists(stream) else {} for stream, live, _ in sources if live}
    if any(not live and not lake.exists(stream) for stream, live, _ in sources):
        return []
    found = []
    for text in texts:
        said = msgspec.json.decode(text) if text else {}
        for stream, live, prefix in sources:
            at = said.get(f"{stream}/{prefix}", said.get(stream))
            if live and (at is None or any(stands[stream].get(int(p), 0) < end for p, end in at.items())):
                break
        else:
            found += [text] if text else []
    return found


def _compared(
    sql: Sql,
    lake: Lake,
    logged: pa.Table,
    uses: Sequence[Use],
    columns: Sequence[str],
    as_of: str | None,
    derived: Mapping[str, Expression] | None = None,
) -> Compared:
    """`as_of`: the column of positions to go back to; None: to what was known at the moments."""
    keys = dict.fromkeys(column for _, key, _ in uses for column in key)
    said = offline(sql, lake, logged.select(["_row", "_t", "as_of", *keys]), uses, as_of=as_of).read_all()
    tables = {"l": logged, "o": _derive(sql, logged, said.select(["_row", *columns]), derived or {})}
    of = {f"{prefix}__{output}": prefix for definition, _, prefix in uses for output in definition.columns}
    exact = {name: _exact([of[name]]) for name in columns}
    exact |= {
        name: _exact([of[column] for column in expression.columns if column in of])
        for name, expression in (derived or {}).items()
    }
    columns = list(exact)
    differs = {name: f"({exact[name]} and {_differs(name, logged.schema.field(name).type)})" for name in columns}
    counts = [
        f"count(*) filter (where {exact[name]}) as n{i}, count(*) filter (where {differs[name]}) as d{i}"
        for i, name in enumerate(columns)
    ]
    some = " or ".join(exact.values()) or "false"
    row = sql.query(
        f"select count(*) as n, count(*) filter (where {some}) as rows, {', '.join(counts) or '0'} from l join o using"
        " (_row)",
        tables,
    ).read_all()
    told = row.to_pylist()[0]
    differ = {name: told[f"d{i}"] for i, name in enumerate(columns) if told[f"d{i}"]}
    compared = sum(told[f"n{i}"] for i in range(len(columns)))
    examples: list[Difference] = []
    for name in differ:
        if len(examples) < EXAMPLES:
            shown = sql.query(
                f"select _row, l.{quoted(name)}, o.{quoted(name)} from l join o using (_row) where {differs[name]}"
                " order by _row limit 5",
                tables,
            )
            examples += [
                Difference(row, name, online, off)
                for row, online, off in zip(*(c.to_pylist() for c in shown.read_all().columns), strict=True)
            ]
    return Compared(told["rows"], compared, differ, told["n"] * len(columns) - compared, examples=examples[:EXAMPLES])


def _computable(derived: Mapping[str, Expression], logged: pa.Table, columns: Sequence[str]) -> dict[str, Expression]:
    """Those that were logged, with all that they read."""
    there = {*logged.column_names, *columns}
    return {
        name: expression
        for name, expression in derived.items()
        if name in logged.column_names and there.issuperset(expression.columns)
    }


def _derive(sql: Sql, logged: pa.Table, said: pa.Table, derived: Mapping[str, Expression]) -> pa.Table:
    """What offline says, with the columns that are computed of it and of the look-up's own fields."""
    if not derived:
        return said
    own = dict.fromkeys(
        column for expression in derived.values() for column in expression.columns if column not in said.column_names
    )
    fields = "".join(f", l.{quoted(column)}" for column in own)
    made = ", ".join(f"{expression.sql} as {quoted(name)}" for name, expression in derived.items())
    kept = ", ".join(map(quoted, said.column_names))
    return sql.query(
        f"select {kept}, {made} from (select o.*{fields} from o join l using (_row))", {"l": logged, "o": said}
    ).read_all()


def _exact(prefixes: Iterable[str]) -> str:
    """That the look-up called none of these features inexact."""
    said = [f"not contains(coalesce(l.reasons, ''), '\"{prefix}\":\"inexact\"')" for prefix in dict.fromkeys(prefixes)]
    return f"({' and '.join(said)})" if said else "true"


def _differs(name: str, kind: pa.DataType) -> str:
    """In a bit: NULL equals NULL, and 0.0 is not -0.0."""
    a, b = f"l.{quoted(name)}", f"o.{quoted(name)}"
    if not pa.types.is_floating(kind):
        return f"{a} is distinct from {b}"
    return f"({a} is distinct from {b} or ({a} = 0 and signbit(cast({a} as double)) <> signbit(cast({b} as double))))"
