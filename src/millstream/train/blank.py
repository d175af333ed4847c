"""Columns that have no value in any training row, found while the rows are stored, and why where that is known.

A model learns nothing from such a column, and nobody sees it: an aggregate that is too large for an exact sum, or an
expression over a field that is never there, is NULL without an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from millstream.base.errors import WorkFailed
from millstream.features.state import grid_limit

if TYPE_CHECKING:
    from millstream.features.definition import Definition, Output, Value
    from millstream.lake.table import LakeTable
    from millstream.train.pinned import Use
    from millstream.transform.port import Sql


class Watched:
    """Rows on their way into the lake.

    Args:
        columns: To be looked at.
        part: The column that says a row's part of the split.
    """

    def __init__(self, rows: pa.RecordBatchReader, columns: Sequence[str], part: str) -> None:
        self._rows, self._part = rows, part
        self._blank = [name for name in columns if name in rows.schema.names]
        self._any = False

    def reader(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self._rows.schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for batch in self._rows:
            if self._blank:  # of most sets empty after the first batch
                trained = batch.filter(pc.equal(batch.column(self._part), "train"))
                self._any |= trained.num_rows > 0
                self._blank = [name for name in self._blank if trained.column(name).null_count == trained.num_rows]
            yield batch

    def blank(self) -> list[str]:
        """Columns that are NULL in every training row, once the rows have been read."""
        return self._blank if self._any else []


def reasons(columns: Sequence[str], uses: Sequence[Use], pinned: Mapping[str, LakeTable], sql: Sql) -> dict[str, str]:
    """Column -> why it is NULL everywhere; "" where that is not known: a column of the spine, or one that is
    derived.
    """
    found = dict.fromkeys(columns, "")
    for use in uses:
        answers = dict(zip(use.definition.columns, use.definition.answers(), strict=True))
        for column in columns:
            output = (
                answers.get(column.removeprefix(f"{use.prefix}__")) if column.startswith(f"{use.prefix}__") else None
            )
            if output is not None:
                found[column] = _why(use.definition, output[0], pinned[use.definition.stream], sql)
    return found


def _why(definition: Definition, output: Output, table: LakeTable, sql: Sql) -> str:
    value = None if output.value is None else definition.values[output.value]
    if value is None:
        return ""
    known, large = _counts(definition, value, table, sql)
    if known == 0:
        return f"no row of {definition.stream} has a value"
    if large and output.operation in ("sum", "mean", "variance"):
        return (
            f"{large:,} values of {definition.stream} are too large for an exact sum (too_large); give the aggregate a"
            " smaller scale="
        )
    return "no row counts at those moments"


def _counts(definition: Definition, value: Value, table: LakeTable, sql: Sql) -> tuple[int, int]:
    """How many rows that count have a value, and how many one that is too large; (-1, 0) where the engine
    cannot tell.
    """
    limit = "false" if value.scale is None else f"abs(x::double) >= {grid_limit(value.scale)!r}::double"
    chosen = f" where {definition.where.sql}" if definition.where else ""
    text = (
        f"select count(x) as known, count(*) filter ({limit}) as large from (select ({value.expression.sql}) as x from"
        f" t{chosen})"
    )
    try:
        (row,) = sql.query(text, {"t": table.snapshot()}).read_all().to_pylist()
    except WorkFailed:
        return -1, 0
    return int(row["known"]), int(row["large"])


def sentence(blank: Mapping[str, str]) -> str:
    """One line for people; "" when there is no such column.

    >>> sentence({"fee_sum": "no row of bookings has a value", "note": ""})
    'NULL in every training row: fee_sum (no row of bookings has a value), note'
    """
    told = [f"{name} ({why})" if why else name for name, why in blank.items()]
    return f"NULL in every training row: {', '.join(told)}" if told else ""
