"""Rows to float64: numbers as they are, strings as codes of a vocabulary frozen in the version; NULL and unseen are
NaN, and counted.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from millstream.base.errors import Corrupt, UsageError
from millstream.base.event import Kind
from millstream.base.moments import EPOCH

Floats: TypeAlias = NDArray[np.float64]
FORMAT = 1
_EXACT = 2**53
_DAY0 = date(1970, 1, 1)


@dataclass(frozen=True)
class Column:
    """One column of the matrix.

    Attributes:
        kind: "number", "bool", "category", "timestamp" (seconds since 1970 UTC) or "date" (days since 1970).
        vocabulary: The categories, sorted; the code is the place.
    """

    name: str
    kind: str
    vocabulary: tuple[str, ...] = ()


class Encoder:
    """Frozen with the version. `row` reuses nothing, so threads may share it; `unseen` and `nulls` count by column
    since it was loaded.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.names = tuple(c.name for c in columns)
        self.categorical = [i for i, c in enumerate(columns) if c.kind == "category"]
        self.numeric = [i for i, c in enumerate(columns) if c.kind != "category"]
        self.unseen: Counter[str] = Counter()
        self.nulls: Counter[str] = Counter()
        self._pack = struct.Struct(f"{len(columns)}d").pack
        self._take = itemgetter(*self.names) if len(columns) > 1 else lambda row: (row[self.names[0]],)
        self._codes = [
            (i, columns[i].name, {word: float(code) for code, word in enumerate(columns[i].vocabulary)})
            for i in self.categorical
        ]
        self._times = [(i, columns[i].kind) for i in range(len(columns)) if columns[i].kind in ("timestamp", "date")]

    @classmethod
    def fit(cls, rows: pa.Table, names: Sequence[str]) -> Encoder:
        """Kinds by the columns' Arrow types, vocabularies from these rows (the train part, never the others).

        Raises:
            UsageError: A column has a type no matrix can hold.
        """
        return cls([_column(rows, name) for name in names])

    def matrix(self, rows: pa.Table) -> Floats:
        """[rows, columns], C order.

        Raises:
            UsageError: A column is missing.
        """
        out = np.empty((rows.num_rows, len(self.columns)), dtype=np.float64)
        for i, column in enumerate(self.columns):
            if column.name not in rows.column_names:
                raise UsageError(
                    f'the rows have no column "{column.name}", which the model was trained with; they have'
                    f" {', '.join(rows.column_names)}"
                )
            out[:, i] = self._values(column, rows.column(column.name))
        return out

    def row(self, values: Mapping[str, Any]) -> Floats:
        """[columns] of one request: its fields, features and derived columns by name; None is NULL. About 3 us for 40
        columns.

        Raises:
            UsageError: A column is missing, or holds what is not a number.
        """
        try:
            taken = list(self._take(values))
        except KeyError as error:
            raise UsageError(
                f"the row has no {error.args[0]!r}, which the model was trained with; a value that is not known is None"
            ) from None
        for i, name, codes in self._codes:
            word = taken[i]
            code = codes.get(word if isinstance(word, str) else str(word)) if word is not None else None
            if code is None:
                (self.nulls if word is None else self.unseen)[name] += 1
                code = math.nan
            taken[i] = code
        if self._times:
            self._moments(taken)
        try:
            return np.frombuffer(self._pack(*taken), dtype=np.float64)
        except struct.error:
            return self._with_nulls(taken)

    def _with_nulls(self, taken: list[Any]) -> Floats:
        for i, value in enumerate(taken):
            if value is None:
                self.nulls[self.names[i]] += 1
                taken[i] = math.nan
        try:
            return np.frombuffer(self._pack(*taken), dtype=np.float64)
        except struct.error:
            wrong = next(i for i, value in enumerate(taken) if not isinstance(value, int | float))
            raise UsageError(
                f'"{self.names[wrong]}" is {taken[wrong]!r}, and the model was trained with a number there'
            ) from None

    def _moments(self, taken: list[Any]) -> None:
        for i, kind in self._times:
            value = taken[i]
            if value is not None:
                taken[i] = (value - EPOCH).total_seconds() if kind == "timestamp" else float((value - _DAY0).days)

    def _values(self, column: Column, values: pa.ChunkedArray) -> Floats:
        self.nulls[column.name] += values.null_count
        if column.kind == "category":
            words = values.cast(pa.string())
            codes = pc.index_in(words, pa.array(column.vocabulary, pa.string()), skip_nulls=True)
            self.unseen[column.name] += codes.null_count - values.null_count
            values = codes
        elif column.kind == "timestamp":
            values = _seconds(values.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()))
        elif column.kind == "date":
            values = values.cast(pa.date32()).cast(pa.int32())
        numbers = pc.cast(values, pa.float64(), safe=False)
        return np.asarray(
            numbers.to_numpy() if numbers.null_count == 0 else pc.fill_null(numbers, math.nan).to_numpy(),
            dtype=np.float64,
        )

    def to_json(self) -> str:
        """What `from_json` reads."""
        return json.dumps(
            {
                "format": FORMAT,
                "columns": [{"name": c.name, "kind": c.kind, "vocabulary": list(c.vocabulary)} for c in self.columns],
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> Encoder:
        told = json.loads(text)
        if told.get("format") != FORMAT:
            raise Corrupt(f"the encoder has format {told.get('format')!r}, and this Millstream reads {FORMAT}")
        return cls([Column(c["name"], c["kind"], tuple(c["vocabulary"])) for c in told["columns"]])


def _seconds(micros: pa.ChunkedArray) -> pa.ChunkedArray:
    """Microseconds / 10^6, rounded once, as `timedelta.total_seconds` does: beyond 2^53 (before 1685, after 2255) a
    double of the microseconds is rounded itself.
    """
    seconds = pc.divide(micros.cast(pa.float64(), safe=False), 1e6)
    beyond = pc.fill_null(pc.greater(pc.abs(micros), _EXACT), False)
    if not pc.any(beyond).as_py():
        return seconds
    once = pa.array([value / 1_000_000 for value in micros.filter(beyond).to_pylist()], pa.float64())
    return pc.replace_with_mask(seconds.combine_chunks(), beyond.combine_chunks(), once)


def kind_of(arrow: pa.DataType) -> Kind | None:
    """Which of Millstream's kinds an Arrow type is; None when it is none."""
    if pa.types.is_dictionary(arrow):
        arrow = arrow.value_type
    for kind, fits in _KINDS.items():
        if any(test(arrow) for test in fits):
            return kind
    return None


_KINDS: dict[Kind, tuple[Any, ...]] = {
    "bool": (pa.types.is_boolean,),
    "int64": (pa.types.is_integer,),
    "float64": (pa.types.is_floating, pa.types.is_decimal),
    "string": (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
    "timestamp": (pa.types.is_timestamp,),
    "date": (pa.types.is_date,),
    "binary": (pa.types.is_binary, pa.types.is_large_binary),
}
_FORMS = {
    "bool": "bool",
    "int64": "number",
    "float64": "number",
    "string": "category",
    "timestamp": "timestamp",
    "date": "date",
}


def _column(rows: pa.Table, name: str) -> Column:
    arrow = rows.schema.field(name).type
    form = _FORMS.get(kind_of(arrow) or "")
    if form is None:
        raise UsageError(
            f'column "{name}" is {arrow}, which no matrix can hold; leave it out, or derive a number or a string'
            " from it"
        )
    if form != "category":
        return Column(name, form)
    words = pc.unique(rows.column(name).cast(pa.string())).drop_null().to_pylist()
    return Column(name, form, tuple(sorted(words)))
