"""A look at a table: per column its type, nulls, distinct values, quantiles, histogram, top values; computed by the engine in two scans.

The first scan counts, and guesses quantiles and top values with sketches; the second counts exactly at the places so found. So
quantiles, histograms and shares are exact up to the step of the grid, whatever the sketches got wrong. A profile is a small JSON
document that drift compares later: `quantiles` at even steps for numbers and times, `shares` for categories.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as is_

from millstream.declare.errors import UsageError
from millstream.lake.port import Snapshot
from millstream.transform.column import BINS, STEPS, TOP, Column, Histogram, Kind, Profile, merge, spelled
from millstream.transform.port import Relation, Sql

__all__ = ["Column", "Histogram", "Profile", "kind_of", "merge", "profile"]

_AT_ONCE = 32  # columns a scan: more of them are counted in the next one


def profile(sql: Sql, relation: Relation, columns: Sequence[str] | None = None, sample: int | None = None) -> Profile:
    """Profile a version of a table, or Arrow data.

    Args:
        relation: A snapshot or a table; a reader is read into memory, since it is looked at twice.
        columns: Only these, in this order; None is all.
        sample: Look at so many random rows; None at all of them.

    Raises:
        UsageError: A column is not there.
        WorkFailed: The engine refused, e.g. for want of memory.
    """
    if isinstance(relation, pa.RecordBatchReader):
        relation = relation.read_all()
    known = {field.name: field for field in relation.schema}
    wrong = [name for name in columns or () if name not in known]
    if wrong:
        raise UsageError(f'there is no column "{wrong[0]}"; there are {", ".join(known)}')
    fields = [known[name] for name in (columns or known)]
    source, version = (relation.table, relation.version) if isinstance(relation, Snapshot) else ("", None)
    total = _count(sql, relation)
    if sample is not None and sample < total:
        names = ", ".join(_name(f.name) for f in fields) or "1"
        relation = sql.query(f"select {names} from t using sample reservoir({int(sample)} rows) repeatable (7)", {"t": relation}).read_all()
    found: list[Column] = []
    rows = _count(sql, relation)
    for start in range(0, len(fields), _AT_ONCE):
        found += _scan(sql, relation, fields[start : start + _AT_ONCE], rows)
    return Profile(source, version, rows, total, tuple(found))


def _count(sql: Sql, relation: Relation) -> int:
    return int(sql.query("select count(*) as n from t", {"t": relation}).read_all()["n"][0].as_py())


def kind_of(kind: pa.DataType) -> Kind:
    """How a column of this type is looked at."""
    if is_.is_dictionary(kind):
        return kind_of(kind.value_type)
    if is_.is_integer(kind) or is_.is_floating(kind) or is_.is_decimal(kind):
        return "number"
    if is_.is_timestamp(kind) or is_.is_date(kind):
        return "time"
    if is_.is_string(kind) or is_.is_large_string(kind) or is_.is_boolean(kind) or str(kind) == "string_view":
        return "category"
    return "other"


def _scan(sql: Sql, relation: Relation, fields: Sequence[pa.Field], rows: int) -> list[Column]:
    kinds = [kind_of(f.type) for f in fields]
    values = ", ".join(f"{_value(f.name, kind)} as v{i}, {_name(f.name)} as c{i}" for i, (f, kind) in enumerate(zip(fields, kinds, strict=True)))
    source = f"(select {values} from t)"
    grid = [step / STEPS for step in range(STEPS + 1)]
    first = ", ".join(part for i, kind in enumerate(kinds) for part in _first(i, kind))
    one = sql.query(f"select {first} from {source}", {"t": relation}, {"grid": grid}).read_all().to_pylist()[0]
    asked: dict[str, Any] = {}
    second = [part for i, (f, kind) in enumerate(zip(fields, kinds, strict=True)) for part in _second(i, kind, f.type, one, asked)]
    two = sql.query(f"select {', '.join(second)} from {source}", {"t": relation}, asked).read_all().to_pylist()[0] if second else {}
    return [_made(i, f, kind, rows, one, two, asked) for i, (f, kind) in enumerate(zip(fields, kinds, strict=True))]


def _value(name: str, kind: Kind) -> str:
    quoted = _name(name)
    if kind == "number":
        return f"case when isfinite({quoted}::double) then {quoted}::double + 0.0 end"
    if kind == "time":
        return f"epoch_us({quoted}::timestamptz)::double"
    return f"{quoted}::varchar" if kind == "category" else quoted


def _first(i: int, kind: Kind) -> Iterable[str]:
    yield f"count(c{i}) as n{i}"
    if kind == "other":
        return
    yield from (
        f"count(v{i}) as k{i}",
        f"approx_count_distinct(v{i}) as d{i}",
        f"min(v{i}) as lo{i}",
        f"max(v{i}) as hi{i}",
        f"approx_top_k(v{i}, {TOP}) as t{i}",
    )
    if kind != "category":
        yield from (f"avg(v{i}) as m{i}", f"stddev_samp(v{i}) as s{i}", f"approx_quantile(v{i}, $grid::float[]) as q{i}")


def _second(i: int, kind: Kind, type_: pa.DataType, one: Mapping[str, Any], asked: dict[str, Any]) -> Iterable[str]:
    if not one[f"n{i}"] or kind == "other" or not one[f"k{i}"]:
        return
    asked[f"top{i}"] = sorted(set(one[f"t{i}"]) - {None})
    yield f"histogram_exact(v{i}, $top{i}) as t{i}"
    if kind == "category":
        return
    low, high = one[f"lo{i}"], one[f"hi{i}"]
    edges = sorted({low, high, *(q for q in one[f"q{i}"] if low <= q <= high)})
    # Just below an edge and up to it: a value that many rows share is then a jump of its own.
    asked[f"edge{i}"] = [at for edge in edges for at in (float(np.nextafter(edge, -np.inf)), edge)]
    asked[f"bin{i}"] = _bins(low, high, one[f"q{i}"], whole=is_.is_integer(type_))
    yield f"histogram(v{i}, $edge{i}) as e{i}"
    yield f"histogram(v{i}, $bin{i}) as h{i}"


def _bins(low: float, high: float, quantiles: Sequence[float], *, whole: bool) -> list[float]:
    """Upper ends of the display's bins, the first one the lower end of all: around the bulk when the tails are long."""
    bulk_low, bulk_high = quantiles[STEPS // 128], quantiles[-1 - STEPS // 128]
    if bulk_high > bulk_low and high - low > 3 * (bulk_high - bulk_low):
        reach = 0.25 * (bulk_high - bulk_low)
        low, high = max(low, bulk_low - reach), min(high, bulk_high + reach)
    if whole:
        low, high = math.floor(low), math.ceil(high)
        width = max(1, math.ceil((high - low + 1) / BINS))
        return [low - 1 + width * step + 0.0 for step in range(math.ceil((high - low + 1) / width) + 1)]
    if high <= low:
        pad = abs(low) * 1e-9 or 0.5
        return [float(np.nextafter(low, -np.inf)), low + pad]
    return [float(np.nextafter(low, -np.inf)), *(low + (high - low) * step / BINS for step in range(1, BINS)), high]


def _made(i: int, f: pa.Field, kind: Kind, rows: int, one: Mapping[str, Any], two: Mapping[str, Any], asked: Mapping[str, Any]) -> Column:
    filled = int(one[f"n{i}"])
    base = Column(f.name, str(f.type), kind, rows, rows - filled)
    if kind == "other" or not filled:
        return base
    known = int(one[f"k{i}"])
    odd = filled - known
    if not known:
        return Column(f.name, str(f.type), kind, rows, rows - filled, odd)
    counted = two[f"t{i}"][: len(asked[f"top{i}"])]
    top = sorted(((_text(value, f.type, kind), int(count)) for value, count in counted if count), key=lambda pair: (-pair[1], pair[0]))
    complete = sum(count for _, count in top) == known
    distinct = len(top) if complete else min(max(int(one[f"d{i}"]), len(top)), known)
    if not complete:  # of names and continuous numbers the rarer values say nothing
        top = [pair for pair in top if pair[1] > max(1, known // (10_000 if kind == "category" else 1_000))]
    if kind == "category":
        return Column(f.name, str(f.type), kind, rows, rows - filled, odd, distinct, one[f"lo{i}"], one[f"hi{i}"], top=tuple(top), complete=complete)
    quantiles = even(asked[f"edge{i}"], [count for _, count in two[f"e{i}"]], known)
    bins, counts = asked[f"bin{i}"], [int(count) for _, count in two[f"h{i}"]]
    histogram = Histogram(bins[0], bins[-1], tuple(counts[1 : len(bins)]), counts[0], sum(counts[len(bins) :]))
    return Column(f.name, str(f.type), kind, rows, rows - filled, odd, distinct, one[f"lo{i}"], one[f"hi{i}"], one[f"m{i}"], one[f"s{i}"],
                  quantiles, histogram, tuple(top), complete)  # fmt: skip


def even(edges: Sequence[float], counts: Sequence[int], known: int) -> tuple[float, ...]:
    """Quantiles at even steps, from exact counts between edges.

    Args:
        edges: Ascending, in pairs: just below a value, and the value.
        counts: In (-inf, first edge], (first, second], ...
    """
    upto = np.cumsum(np.asarray(counts[: len(edges)], float))
    places = np.asarray(edges, float)
    made = []
    for step in range(STEPS + 1):
        wanted = max(step * known / STEPS, 0.5)  # the lowest row counts as the quantile 0
        at = min(int(np.searchsorted(upto, wanted - 1e-9 * known, side="left")), len(places) - 1)
        if at % 2 or at == 0:  # it falls on the value itself
            made.append(float(places[at]))
        else:  # between two values: on the line through them
            share = (wanted - upto[at - 1]) / (upto[at] - upto[at - 1])
            made.append(float(places[at - 1] + (places[at + 1] - places[at - 1]) * min(max(share, 0.0), 1.0)))
    return tuple(made)


def _text(value: Any, type_: pa.DataType, kind: Kind) -> str:
    if kind == "time":
        return spelled(value)
    if isinstance(value, float) and not is_.is_floating(type_) and value.is_integer():
        return str(int(value))
    return str(value)


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
