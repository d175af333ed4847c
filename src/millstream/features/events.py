"""Records of a stream as a definition's events: keys encoded, `where` applied, each value computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millstream.base.event import OFFSET
from millstream.features.definition import Definition
from millstream.features.keys import encode_batch
from millstream.features.lift import schema, ties
from millstream.lang.expression import Expression

_TYPES = {"int64": pa.int64(), "bool": pa.bool_(), "float64": pa.float64()}


def events_of(definition: Definition, rows: pa.RecordBatch, partition: int) -> pa.RecordBatch:
    """The events among these records of one partition.

    Args:
        rows: The stream's columns and `_offset`; duplicates and dead letters are gone.

    Returns:
        Columns of `lift.schema`.
    """
    assert definition.time is not None
    good = pc.greater_equal(rows.column(definition.time).cast(pa.int64()), 0)
    for column in definition.key:
        if rows.column(column).null_count:
            good = pc.and_(good, rows.column(column).is_valid())
    if definition.where is not None:
        good = pc.and_(good, pc.fill_null(evaluate(definition.where, rows), False))
    if not pc.all(good).as_py():
        rows = rows.filter(good)
    key = encode_batch([rows.column(column) for column in definition.key])
    values = [_number(value.expression, evaluate(value.expression, rows)) for value in definition.values]
    tied = ties(partition, rows.column(OFFSET).to_numpy())
    return pa.RecordBatch.from_arrays(
        [key, rows.column(definition.time).cast(pa.int64()), pa.array(tied), *values], schema=schema(definition)
    )


def evaluate(expression: Expression, rows: pa.RecordBatch) -> pa.Array:
    """The expression of every row. A bare column costs nothing; of one column, each distinct value is computed once."""
    columns = expression.columns
    if len(columns) == 1 and expression.text.strip().strip('"') == columns[0]:
        return rows.column(columns[0])
    kind = _TYPES.get(expression.kind)
    if not columns:
        return pa.repeat(pa.scalar(_of(expression, {}), kind), rows.num_rows)
    if len(columns) == 1:
        (column,) = columns
        coded = rows.column(column).dictionary_encode(null_encoding="encode")
        of_each = pa.array([_of(expression, {column: value}) for value in coded.dictionary.to_pylist()], kind)
        return of_each.take(coded.indices)
    found = zip(*(rows.column(column).to_pylist() for column in columns), strict=True)
    return pa.array([_of(expression, dict(zip(columns, values, strict=True))) for values in found], kind)


def _of(expression: Expression, row: Mapping[str, Any]) -> Any:
    return expression.evaluate(row)


def _number(expression: Expression, column: pa.Array) -> pa.Array:
    if expression.kind in ("int64", "bool"):
        return column.cast(pa.int64())
    if expression.kind == "float64":
        return column.cast(pa.float64())
    # Counted only: whatever is there counts as one.
    return pa.array(np.zeros(len(column)), mask=np.asarray(column.is_null()))
