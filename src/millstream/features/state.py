"""What a tile keeps, how tiles merge, and the one finaliser.

Every stored column merges by adding, least or greatest, each commutative and associative in bits, so any order of
events, batches, threads and tiles gives the same answer. Sums are exact integers in limbs, because no store here has
integers of 128 bits:

    c           events                                     add
    n<i>        values of expression i that count          add
    o<i>        values too large for an exact sum          add
    s<i>_0,1    sum of q, limbs of 32 bits                 add
    x<i>_0..2   sum of q squared, limbs of 36 bits         add
    mn<i> mx<i> least and greatest raw double              least, greatest
    f<i> l<i>   (event time, tie, value) packed: first, last   least, greatest

q is floor(value * 10**scale + 0.5), or the value itself for integers. Limbs need not be normal: what counts is their
weighted sum. A sum, mean or variance over a value that is too large for the integers of its scale is NULL: a sum of the
others would be wrong.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from millstream.features.definition import Definition, Output, Value

VERSION = 2
"""Of this layout; part of every generation's fingerprint."""
LIMIT = 9e15
"""|value| * 10**scale must stay below it."""
MOST = 9e37
"""Below it n times the sum of squares must stay, as a product of doubles: Spark has integers of 38 digits, and no
division of them that is exact.
"""
PARTITION_BITS = 47
"""A tie of two events of one microsecond is broken by partition << 47 | offset."""
PACKED = pa.binary(24)
_PAIR = struct.Struct(">qqd")
_NEEDS: dict[str, tuple[str, ...]] = {
    "count": ("n",),
    "sum": ("n", "o", "s"),
    "mean": ("n", "o", "s"),
    "variance": ("n", "o", "s", "x"),
    "min": ("mn",),
    "max": ("mx",),
    "first": ("f",),
    "last": ("l",),
}
_LIMBS = {"s": 2, "x": 3}
Merge = Literal["add", "least", "greatest"]
_MERGE: dict[str, Merge] = {"mn": "least", "mx": "greatest", "f": "least", "l": "greatest"}


@dataclass(frozen=True)
class Part:
    """One state: "c", or "n", "o", "s", "x", "mn", "mx", "f", "l" of value `value`."""

    kind: str
    value: int = -1

    @property
    def name(self) -> str:
        return self.kind if self.value < 0 else f"{self.kind}{self.value}"

    @property
    def columns(self) -> tuple[str, ...]:
        """As stored."""
        limbs = _LIMBS.get(self.kind)
        return tuple(f"{self.name}_{i}" for i in range(limbs)) if limbs else (self.name,)

    @property
    def merge(self) -> Merge:
        return _MERGE.get(self.kind, "add")

    @property
    def type(self) -> pa.DataType:
        return pa.float64() if self.kind in ("mn", "mx") else PACKED if self.kind in ("f", "l") else pa.int64()


def parts(definition: Definition) -> tuple[Part, ...]:
    """The states that the outputs need, in a fixed order."""
    needed = {
        (output.value, kind)
        for output in definition.outputs
        if output.value is not None
        for kind in _NEEDS[output.operation]
    }
    return (
        Part("c"),
        *(
            Part(k, i)
            for i in range(len(definition.values))
            for k in ("n", "o", "s", "x", "mn", "mx", "f", "l")
            if (i, k) in needed
        ),
    )


def stored(definition: Definition) -> list[tuple[str, Merge, pa.DataType]]:
    """The stored columns: name, how it merges, type."""
    return [(column, part.merge, part.type) for part in parts(definition) for column in part.columns]


def grid_limit(scale: int) -> float:
    """Values of at least this size have no exact sum of that scale."""
    return LIMIT / 10.0**scale


def pack(time_us: int, tie: int, value: float) -> bytes:
    """A pair whose order as bytes is the order of (time, tie); neither may be negative."""
    return _PAIR.pack(time_us, tie, value)


_EXACT = 2**53


def double(x: int) -> float:
    """The integer as a double, by the same three exact steps in every engine (their own casts from 128 bits round
    differently).

    >>> double(-(2**53) - 1) == float(-(2**53) - 1), double(3 * 2**90 + 1) == float(3 * 2**90 + 1)
    (True, True)
    """
    if -_EXACT <= x <= _EXACT:
        return float(x)  # which is what the three steps give
    return (float(x >> 64) * 4294967296.0 + float((x >> 32) & 0xFFFFFFFF)) * 4294967296.0 + float(x & 0xFFFFFFFF)


def sql_double(x: str) -> str:
    """The same in SQL, for a HUGEINT."""
    high, middle, low = (
        f"cast(cast({part} as bigint) as double)"
        for part in (f"({x}) >> 64", f"(({x}) >> 32) & 4294967295", f"({x}) & 4294967295")
    )
    return f"(({high} * 4294967296.0::double + {middle}) * 4294967296.0::double + {low})"


def finaliser(
    definition: Definition, output: Output, at: dict[str, int]
) -> Callable[[Sequence[Any]], float | int | None]:
    """A function from a merged row of stored columns to the output.

    Args:
        at: Stored column -> its place in the row.
    """
    default, i = output.default, output.value
    if i is None:
        return _counting(at["c"], default)
    if output.operation == "count":
        return _counting(at[f"n{i}"], default)
    fallback = None if default is None else float(default)
    if output.operation in ("min", "max"):
        return _plain(at[f"{'mn' if output.operation == 'min' else 'mx'}{i}"], fallback)
    if output.operation in ("first", "last"):
        return _packed(at[f"{output.operation[0]}{i}"], fallback)
    n, o, s, unit = at[f"n{i}"], at[f"o{i}"], at[f"s{i}_0"], _unit(definition.values[i])
    if output.operation == "variance":
        return _variance(n, o, s, at[f"x{i}_0"], unit, fallback)

    def total(row: Sequence[Any]) -> float | None:
        if row[o]:
            return None
        return double((row[s + 1] << 32) + row[s]) / unit if row[n] else fallback

    def mean(row: Sequence[Any]) -> float | None:
        if row[o]:
            return None
        return double((row[s + 1] << 32) + row[s]) / (float(row[n]) * unit) if row[n] else fallback

    return total if output.operation == "sum" else mean


def _counting(place: int, default: float | int | None) -> Callable[[Sequence[Any]], int]:
    if not default:
        return lambda row: row[place]
    return lambda row: row[place] or int(default)


def _plain(place: int, fallback: float | None) -> Callable[[Sequence[Any]], float | None]:
    if fallback is None:
        return lambda row: row[place]
    return lambda row: fallback if row[place] is None else row[place]


def _packed(place: int, fallback: float | None) -> Callable[[Sequence[Any]], float | None]:
    value = struct.Struct(">d").unpack_from
    return lambda row: fallback if row[place] is None else value(row[place], 16)[0]


def _variance(
    n: int, o: int, s: int, x: int, unit: float, fallback: float | None
) -> Callable[[Sequence[Any]], float | None]:
    square = unit * unit

    def variance(row: Sequence[Any]) -> float | None:
        count, squares = row[n], (row[x + 2] << 72) + (row[x + 1] << 36) + row[x]
        if row[o] or float(count) * double(squares) >= MOST:
            return None
        if count < 2:
            return fallback
        total = (row[s + 1] << 32) + row[s]
        return double(count * squares - total * total) / float(count * (count - 1)) / square

    return variance


def too_large(definition: Definition, output: Output, at: dict[str, int]) -> Callable[[Sequence[Any]], bool]:
    """A function that says of a merged row without an answer whether that is because of values beyond the
    exact range.
    """
    if f"o{output.value}" not in at or output.operation not in ("sum", "mean", "variance"):
        return lambda row: False
    n, o = at[f"n{output.value}"], at[f"o{output.value}"]
    return lambda row: bool(row[o]) or (output.operation == "variance" and row[n] > 1)


def _unit(value: Value) -> float:
    assert value.scale is not None
    return 10.0**value.scale


def empty(output: Output) -> float | int | None:
    """The answer where nothing counts."""
    if output.operation == "count":
        return int(output.default or 0)
    return None if output.default is None else float(output.default)


def sql_output(definition: Definition, output: Output, column: Callable[[str], str]) -> str:
    """The finaliser in SQL, over merged states with 128-bit sums: `column("s0")` names one."""
    i, missing = output.value, empty(output)
    fallback = "null" if missing is None else repr(missing)
    if output.operation == "count":
        counted = f"cast({column('c' if i is None else f'n{i}')} as bigint)"
        return f"coalesce(nullif({counted}, 0), {fallback})"
    assert i is not None
    if output.operation in ("min", "max", "first", "last"):
        kind = {"min": "mn", "max": "mx", "first": "f", "last": "l"}[output.operation]
        return f"cast(coalesce({column(f'{kind}{i}')}, {fallback}) as double)"
    n, s, unit = column(f"n{i}"), column(f"s{i}"), _unit(definition.values[i])
    large = f"{column(f'o{i}')} > 0"
    if output.operation == "sum":
        found, least = f"{sql_double(s)} / {unit!r}::double", 1
    elif output.operation == "mean":
        found, least = f"{sql_double(s)} / (cast({n} as double) * {unit!r}::double)", 1
    else:
        numerator = f"{n}::hugeint * {column(f'x{i}')} - {s} * {s}"
        found, least = (
            (
                f"{sql_double(numerator)} / cast(cast({n} as bigint) * (cast({n} as bigint) - 1) as double) /"
                f" {unit * unit!r}::double"
            ),
            2,
        )
        large += f" or cast({n} as double) * {sql_double(column(f'x{i}'))} >= {MOST!r}::double"
    return f"case when {large} then null when {n} >= {least} then {found} else {fallback} end"
