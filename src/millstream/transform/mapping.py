"""A user's function over the batches of a query: its columns are those of the first batch it gives, and its mistakes are reported with their place.

Engines call it where their rows are: in this process, or on executors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import pyarrow as pa

from millstream.base.errors import WorkFailed
from millstream.base.theirs import pass_on, raised, where_of
from millstream.declare.table import ArrowFunction
from millstream.transform.given import NotRows, as_batches


def mapped(function: ArrowFunction, reader: pa.RecordBatchReader, what: str) -> pa.RecordBatchReader:
    """What the function gives for the reader's batches, one after the other, as it is read.

    Args:
        what: Whose function it is, for errors: `table "late"`.

    Raises:
        WorkFailed: It raised, or gave no batch at all, not even for one without rows.
    """
    batches = called(function, reader, what)
    first = next(batches, None)
    if first is None:
        return pa.RecordBatchReader.from_batches(columns(function, [empty(reader.schema)], what), [])
    return pa.RecordBatchReader.from_batches(first.schema, alike(chain([first], batches), first.schema, what))


def columns(function: ArrowFunction, samples: Iterable[pa.RecordBatch], what: str) -> pa.Schema:
    """The columns of the first batch that it gives for any of the samples."""
    first = next(called(function, samples, what), None)
    if first is None:
        raise WorkFailed(f"{what}: its function gave no batch, so its columns are unknown{_at(function)}; yield an empty one")
    return first.schema


def called(function: ArrowFunction, batches: Iterable[pa.RecordBatch], what: str) -> Iterator[pa.RecordBatch]:
    """Each batch handed to the function, and what it gave as batches (`given.py`)."""
    for batch in batches:
        try:
            yield from as_batches(function(batch))
        except GeneratorExit:  # whoever reads the batches has enough
            raise
        except NotRows as error:
            raise WorkFailed(f"{what}: its function gave {error.found}{_at(function)}; {error.fix}") from error.__cause__
        except BaseException as error:
            pass_on(error)
            raise WorkFailed(raised(f"{what}: its function", error, function)) from error


def _at(function: ArrowFunction) -> str:
    where = where_of(function)
    return f" ({where})" if where else ""


def alike(batches: Iterable[pa.RecordBatch], schema: pa.Schema, what: str) -> Iterator[pa.RecordBatch]:
    """The batches with their columns cast to `schema`, which all of them have."""
    for batch in batches:
        if batch.schema.names != schema.names:
            raise WorkFailed(
                f"{what}: its function gave the columns {', '.join(batch.schema.names)}, and those of its first batch are {', '.join(schema.names)}"
            )
        try:
            made = [column if column.type == field.type else column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
        except pa.ArrowException as error:
            raise WorkFailed(f"{what}: its function gave a batch that does not fit the columns of its first: {error}; give its columns their types") from error
        yield pa.RecordBatch.from_arrays(made, schema=schema)


def empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
