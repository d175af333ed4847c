"""Logged look-ups beside what offline says of the same positions: both readers then have the same events, so equality is in bits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from millstream.features.fill import landed
from millstream.features.offline import Use, offline
from millstream.features.tiles import quoted

if TYPE_CHECKING:
    from millstream.lake.lake import Lake
    from millstream.transform.port import Sql

EXAMPLES = 20


@dataclass(frozen=True)
class Difference:
    """A value that the two readers do not agree on."""

    row: int
    column: str
    online: float | int | None
    offline: float | int | None


@dataclass(frozen=True)
class Compared:
    """What was compared.

    Attributes:
        rows: Look-ups compared, in at least one column.
        values: Pairs of values compared.
        differ: Column -> how many of them differ in a bit; only those that do.
        inexact: Values left out because the look-up's moment was older than the store keeps apart, as it said itself.
        ahead: Look-ups left out because they had seen records that have not landed in the lake yet, or say nothing of what they had seen.
        examples: Some that differ.
    """

    rows: int = 0
    values: int = 0
    differ: Mapping[str, int] = field(default_factory=dict)
    inexact: int = 0
    ahead: int = 0
    examples: Sequence[Difference] = ()

    def __add__(self, other: Compared) -> Compared:
        differ = {c: self.differ.get(c, 0) + other.differ.get(c, 0) for c in {**self.differ, **other.differ}}
        examples = [*self.examples, *other.examples][:EXAMPLES]
        return Compared(self.rows + other.rows, self.values + other.values, differ, self.inexact + other.inexact, self.ahead + other.ahead, examples)


def compare(sql: Sql, lake: Lake, logged: pa.Table, uses: Sequence[Use], columns: Iterable[str]) -> Compared:
    """Compare logged look-ups with the offline reader.

    Args:
        logged: `_row` (unique), `_t`, the key columns, `as_of` and `reasons` as an endpoint logs them, and the logged values.
        columns: Which of the uses' columns to compare: those that were logged.
    """
    asked = [name for name in columns if name in logged.column_names]
    placed = _placed(lake, logged["as_of"].unique().to_pylist(), uses)
    found = Compared(ahead=logged.num_rows)
    for versions, texts in placed.items():
        part = sql.query("select l.* from l join wanted w on l.as_of = w.as_of", {"l": logged, "wanted": pa.table({"as_of": texts})}).read_all()
        found += Compared(ahead=-part.num_rows) + _compared(sql, lake, part, uses, asked, dict(versions))
    return found


def _placed(lake: Lake, texts: Iterable[str | None], uses: Sequence[Use]) -> dict[tuple[tuple[str, int], ...], list[str]]:
    """The positions that offline can go back to, by the versions of the tables among the sources."""
    sources = dict.fromkeys((definition.stream, definition.live, prefix) for definition, _, prefix in uses)
    stands = {stream: landed(lake.table(stream)) if lake.exists(stream) else {} for stream, live, _ in sources if live}
    found: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for text in texts:
        said = msgspec.json.decode(text) if text else {}
        versions: dict[str, int] = {}
        for stream, live, prefix in sources:
            at = said.get(f"{stream}/{prefix}", said.get(stream))
            if at is None or (live and any(stands[stream].get(int(p), 0) < end for p, end in at.items())) or not (live or at):
                break
            if not live:
                versions[stream] = at["0"]
        else:
            assert text is not None or not sources
            found.setdefault(tuple(versions.items()), []).append(text or "")
    return found


def _compared(sql: Sql, lake: Lake, logged: pa.Table, uses: Sequence[Use], columns: Sequence[str], versions: Mapping[str, int]) -> Compared:
    keys = dict.fromkeys(column for _, key, _ in uses for column in key)
    said = offline(sql, lake, logged.select(["_row", "_t", "as_of", *keys]), uses, as_of="as_of", versions=versions).read_all()
    tables = {"l": logged, "o": said.select(["_row", *columns])}
    of = {f"{prefix}__{output}": prefix for definition, _, prefix in uses for output in definition.columns}
    exact = {name: f"not contains(coalesce(l.reasons, ''), '\"{of[name]}\":\"inexact\"')" for name in columns}
    differs = {name: f"({exact[name]} and {_differs(name)})" for name in columns}
    counts = [f"count(*) filter (where {exact[name]}) as n{i}, count(*) filter (where {differs[name]}) as d{i}" for i, name in enumerate(columns)]
    some = " or ".join(exact.values()) or "false"
    row = sql.query(f"select count(*) as n, count(*) filter (where {some}) as rows, {', '.join(counts) or '0'} from l join o using (_row)", tables).read_all()
    told = row.to_pylist()[0]
    differ = {name: told[f"d{i}"] for i, name in enumerate(columns) if told[f"d{i}"]}
    compared = sum(told[f"n{i}"] for i in range(len(columns)))
    examples: list[Difference] = []
    for name in differ:
        if len(examples) < EXAMPLES:
            shown = sql.query(f"select _row, l.{quoted(name)}, o.{quoted(name)} from l join o using (_row) where {differs[name]} order by _row limit 5", tables)
            examples += [Difference(row, name, online, off) for row, online, off in zip(*(c.to_pylist() for c in shown.read_all().columns), strict=True)]
    return Compared(told["rows"], compared, differ, told["n"] * len(columns) - compared, 0, examples[:EXAMPLES])


def _differs(name: str) -> str:
    """In a bit: NULL equals NULL, and 0.0 is not -0.0."""
    a, b = f"l.{quoted(name)}", f"o.{quoted(name)}"
    return f"({a} is distinct from {b} or ({a} = 0 and signbit(cast({a} as double)) <> signbit(cast({b} as double))))"
