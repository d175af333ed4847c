"""A look at a table: per column its type, nulls, distinct values, quantiles, histogram, top values.

One scan counts; a sample of the rows guesses where quantiles lie and which values are frequent; a second scan counts
exactly at the places so found. So quantiles, histograms and shares are exact up to the step of the grid, whatever the
sample missed. Columns with few values are counted value by value. A profile is a small JSON document that drift
compares later: `quantiles` at even steps for numbers and times, `shares` for categories.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.types as is_
from numpy.typing import NDArray

from millstream.base.errors import UsageError
from millstream.base.sql import quoted
from millstream.base.words import choices
from millstream.lake.port import Snapshot
from millstream.transform.column import BINS, STEPS, TOP, Column, Histogram, Kind, Profile, merge, spelled
from millstream.transform.port import Relation, Sql

__all__ = ["Column", "Histogram", "Profile", "kind_of", "merge", "profile"]

_AT_ONCE = 32  # columns a scan: more of them are counted in the next one
_SAMPLE = 200_000  # rows: a share of 1/256 in it is off by 1/7000
_FEW = TOP + TOP // 4  # by the estimate of distinct values, which is off by some per cent
_GRID = np.arange(STEPS + 1) / STEPS
_BULK = STEPS // 128
Floats: TypeAlias = NDArray[np.float64]


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
        raise UsageError(f'there is no column "{wrong[0]}"; {choices(wrong[0], known)}')
    fields = [known[name] for name in columns or known]
    source, version = (relation.table, relation.version) if isinstance(relation, Snapshot) else ("", None)
    total = _count(sql, relation)
    if sample is not None and sample < total:
        names = ", ".join(quoted(f.name) for f in fields) or "1"
        relation = sql.query(
            f"select {names} from t using sample reservoir({int(sample)} rows) repeatable (7)", {"t": relation}
        ).read_all()
    found: list[Column] = []
    rows = _count(sql, relation)
    for start in range(0, len(fields), _AT_ONCE):
        found += _scan(sql, relation, fields[start : start + _AT_ONCE], rows)
    return Profile(source, version, rows, total, tuple(found))


def _count(sql: Sql, relation: Relation) -> int:
    if isinstance(relation, pa.Table):
        return int(relation.num_rows)
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


@dataclass(frozen=True)
class _Seen:
    """What is known of a column before the second scan.

    Attributes:
        few: Its values can be counted one by one.
        top: Values worth counting, ascending.
        places: Numbers where a quantile may lie, ascending; with them `atoms`, which many rows share.
        bulk: What lies between is shown, when the tails are long.
    """

    field: pa.Field
    kind: Kind
    filled: int
    known: int
    distinct: int
    low: Any
    high: Any
    mean: float | None
    std: float | None
    few: bool
    top: Sequence[Any] = ()
    places: Sequence[float] = ()
    atoms: frozenset[float] = frozenset()
    bulk: tuple[float, float] = (0.0, 0.0)


def _scan(sql: Sql, relation: Relation, fields: Sequence[pa.Field], rows: int) -> list[Column]:
    kinds = [kind_of(f.type) for f in fields]
    values = ", ".join(
        f"{_value(f.name, kind)} as v{i}, {quoted(f.name)} as c{i}"
        for i, (f, kind) in enumerate(zip(fields, kinds, strict=True))
    )
    source = f"(select {values} from t)"
    first = ", ".join(part for i, kind in enumerate(kinds) for part in _first(i, kind))
    one = sql.query(f"select {first} from {source}", {"t": relation}).read_all().to_pylist()[0]
    seen = [_seen(i, f, kind, one) for i, (f, kind) in enumerate(zip(fields, kinds, strict=True))]
    many = [i for i, column in enumerate(seen) if column.known and not column.few]
    for i, drawn in _sample(sql, relation, source, many, [column.known for column in seen], rows):
        seen[i] = _guessed(seen[i], drawn)
    asked: dict[str, Any] = {}
    second = [part for i, column in enumerate(seen) for part in _second(i, column, asked)]
    two = (
        sql.query(f"select {', '.join(second)} from {source}", {"t": relation}, asked).read_all().to_pylist()[0]
        if second
        else {}
    )
    return [_made(i, column, rows, two, asked) for i, column in enumerate(seen)]


def _seen(i: int, f: pa.Field, kind: Kind, one: Mapping[str, Any]) -> _Seen:
    filled = int(one[f"n{i}"])
    if kind == "other":
        return _Seen(f, kind, filled, 0, 0, None, None, None, None, False)
    known, distinct = int(one[f"k{i}"]), int(one[f"d{i}"])
    return _Seen(
        f,
        kind,
        filled,
        known,
        distinct,
        one[f"lo{i}"],
        one[f"hi{i}"],
        one.get(f"m{i}"),
        one.get(f"s{i}"),
        distinct <= _FEW,
    )


def _sample(
    sql: Sql, relation: Relation, source: str, many: Sequence[int], known: Sequence[int], rows: int
) -> Iterator[tuple[int, pa.ChunkedArray]]:
    """Values of each column of `many`, without NULL; a column that has few of them is drawn again, from those alone."""
    if not many:
        return
    told = ", ".join(f"v{i}" for i in many)
    drawn = sql.query(f"select {told} from {source}{_at_random(rows)}", {"t": relation}).read_all()
    for i in many:
        values = drawn.column(f"v{i}").drop_null()
        if len(values) < min(known[i], _SAMPLE // 4):  # and so never none
            again = f"select v{i} from (select v{i} from {source} where v{i} is not null){_at_random(known[i])}"
            values = sql.query(again, {"t": relation}).read_all().column(0)
        yield i, values


def _at_random(rows: int) -> str:
    return f" using sample {100 * _SAMPLE / rows:.6f} percent (bernoulli, 7)" if rows > _SAMPLE else ""


def _guessed(column: _Seen, drawn: pa.ChunkedArray) -> _Seen:
    counted = drawn.value_counts()
    counts = counted.field("counts").to_numpy(zero_copy_only=False)
    most = np.argsort(-counts, kind="stable")[:TOP]
    top = sorted(counted.field("values").take(pa.array(most)).to_pylist())
    if column.kind == "category":
        return replace(column, top=top)
    numbers = np.sort(drawn.to_numpy())
    # The value that a share of the sample does not exceed, so that it is one there is.
    places = numbers[np.maximum(np.ceil(_GRID * len(numbers)).astype(int) - 1, 0)]
    often = counted.field("values").take(pa.array(most[counts[most] > max(1, len(numbers) // (4 * STEPS))])).to_pylist()
    atoms = frozenset({column.low, column.high, *often})
    return replace(
        column,
        top=top,
        places=sorted({*places.tolist(), *atoms}),
        atoms=atoms,
        bulk=(float(places[_BULK]), float(places[-1 - _BULK])),
    )


def _value(name: str, kind: Kind) -> str:
    column = quoted(name)
    if kind == "number":
        return f"case when isfinite({column}::double) then {column}::double + 0.0 end"
    if kind == "time":
        return f"epoch_us({column}::timestamptz)::double"
    return f"{column}::varchar" if kind == "category" else column


def _first(i: int, kind: Kind) -> Iterable[str]:
    yield f"count(c{i}) as n{i}"
    if kind == "other":
        return
    yield from (
        f"count(v{i}) as k{i}",
        f"approx_count_distinct(v{i}) as d{i}",
        f"min(v{i}) as lo{i}",
        f"max(v{i}) as hi{i}",
    )
    if kind != "category":
        yield from (f"avg(v{i}) as m{i}", f"stddev_samp(v{i}) as s{i}")


def _second(i: int, column: _Seen, asked: dict[str, Any]) -> Iterable[str]:
    if not column.known:
        return
    if column.few:
        yield f"histogram(v{i}) as t{i}"
        return
    asked[f"top{i}"] = [value for value in column.top if value != ""]  # DuckDB counts under '' what is not asked for
    yield f"histogram_exact(v{i}, $top{i}) as t{i}"
    if "" in column.top:
        yield f"count(*) filter (where v{i} = '') as z{i}"
    if column.kind != "category":
        bins = _bins(column.low, column.high, column.bulk, whole=is_.is_integer(column.field.type))
        # Just below an atom and up to it: a value that many rows share is then a jump of its own.
        edges = {*column.places, *bins, *(float(np.nextafter(at, -np.inf)) for at in column.atoms)}
        asked[f"edge{i}"] = sorted(edges)
        yield f"histogram(v{i}, $edge{i}) as e{i}"


def _bins(low: float, high: float, bulk: tuple[float, float], *, whole: bool) -> list[float]:
    """Upper ends of the display's bins, the first one the lower end of all: around the bulk when the tails are long."""
    bulk_low, bulk_high = bulk
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
    return [
        float(np.nextafter(low, -np.inf)),
        *(2 * (low / 2 + (high / 2 - low / 2) * step / BINS) for step in range(1, BINS)),
        high,
    ]


def _made(i: int, column: _Seen, rows: int, two: Mapping[str, Any], asked: Mapping[str, Any]) -> Column:
    f, kind, known = column.field, column.kind, column.known
    base = Column(
        f.name, str(f.type), kind, rows, rows - column.filled, column.filled - known if kind != "other" else 0
    )
    if not known:
        return base
    counted = [
        (value, int(count))
        for value, count in (two[f"t{i}"] if column.few else two[f"t{i}"][: len(asked[f"top{i}"])])
        if count
    ]
    if f"z{i}" in two:
        counted.append(("", int(two[f"z{i}"])))
    most = sorted(
        ((_text(value, f.type, kind), count) for value, count in counted), key=lambda pair: (-pair[1], pair[0])
    )
    complete = sum(count for _, count in counted) == known and len(most) <= TOP
    distinct = len(most) if column.few or complete else min(max(column.distinct, len(most)), known)
    if not complete:  # of names and continuous numbers the rarer values say nothing
        most = [pair for pair in most[:TOP] if pair[1] > max(1, known // (10_000 if kind == "category" else 1_000))]
    base = replace(base, distinct=distinct, low=column.low, high=column.high, top=tuple(most), complete=complete)
    if kind == "category":
        return base
    places, counts = (
        _counted(sorted(counted)) if column.few else (asked[f"edge{i}"], [int(count) for _, count in two[f"e{i}"]])
    )
    quantiles = even(places, counts, known)
    bulk = (quantiles[_BULK], quantiles[-1 - _BULK]) if column.few else column.bulk
    bins = _bins(column.low, column.high, bulk, whole=is_.is_integer(f.type))
    return replace(
        base,
        mean=_finite(column.mean),
        std=_finite(column.std),
        quantiles=quantiles,
        histogram=_binned(bins, places, counts),
    )


def _finite(value: float | None) -> float | None:
    """None for what is beyond a double."""
    return value if value is not None and math.isfinite(value) else None


def _counted(values: Sequence[tuple[float, int]]) -> tuple[list[float], list[int]]:
    """Edges and counts between them of values that are all known: each is an edge, with nothing just below it."""
    pairs = [pair for at, count in values for pair in ((float(np.nextafter(at, -np.inf)), 0), (at, count))]
    return [at for at, _ in pairs], [count for _, count in pairs]


def _binned(bins: Sequence[float], edges: Sequence[float], counts: Sequence[int]) -> Histogram:
    """The display's histogram of counts whose edges are no coarser than its bins."""
    into = np.searchsorted(bins, edges, side="left")  # a count lies below its edge
    summed = np.bincount(into, weights=np.asarray(counts[: len(edges)], float), minlength=len(bins) + 1)
    return Histogram(
        bins[0], bins[-1], tuple(int(count) for count in summed[1 : len(bins)]), int(summed[0]), int(summed[len(bins)])
    )


def even(edges: Sequence[float], counts: Sequence[int], known: int) -> tuple[float, ...]:
    """Quantiles at even steps, from exact counts between edges.

    Args:
        edges: Ascending. A value that many rows share has the edge just below it too.
        counts: In (-inf, first edge], (first, second], ...
    """
    upto = np.cumsum(np.asarray(counts[: len(edges)], float))
    places = np.asarray(edges, float)
    above = np.append(places[1:], np.inf)
    # Nothing lies between it and the edge before
    sharp = np.append(True, np.nextafter(places[1:], -np.inf) <= places[:-1])
    # What lies up to "just below v" is drawn on a line up to v
    ends = np.where(np.append(sharp[1:], False), above, places)
    made = []
    for step in range(STEPS + 1):
        wanted = max(step * known / STEPS, 0.5)  # the lowest row counts as the quantile 0
        at = min(int(np.searchsorted(upto, wanted - 1e-9 * known, side="left")), len(places) - 1)
        if sharp[at]:  # it falls on the value itself
            made.append(float(places[at]))
        else:  # between two values: on the line through them
            share = (wanted - upto[at - 1]) / (upto[at] - upto[at - 1])
            # In halves, whose difference is a double whatever the two are.
            made.append(float(places[at - 1] + (ends[at] / 2 - places[at - 1] / 2) * min(max(share, 0.0), 1.0) * 2))
    return tuple(made)


def _text(value: Any, type_: pa.DataType, kind: Kind) -> str:
    if kind == "time":
        return spelled(value)
    if isinstance(value, float) and not is_.is_floating(type_) and value.is_integer():
        return str(int(value))
    return str(value)
