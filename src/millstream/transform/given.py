"""What a function of a table gives, as Arrow batches: those, a table, a frame of pandas or of any library that speaks
Arrow, or rows as dicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

FIX = (
    "give rows: a pyarrow RecordBatch or Table, a frame of pandas or Polars, a list of dicts; or yield several of these"
)


class NotRows(Exception):
    """What the function gave is not rows.

    Args:
        found: What it gave, for the message.
        fix: What to give instead.
    """

    def __init__(self, found: str, fix: str = FIX) -> None:
        super().__init__(found)
        self.found, self.fix = found, fix


def as_batches(made: Any) -> Iterator[pa.RecordBatch]:
    """The rows, batch by batch. What is iterable and none of the others is taken for a sequence of them.

    Raises:
        NotRows: It is, or has in it, nothing of the kind.
    """
    if (whole := _whole(made)) is not None:
        yield from whole
    elif made is None:
        raise NotRows("None", f"end it with  return ...; {FIX}")
    elif isinstance(made, Mapping | str | bytes) or not isinstance(made, Iterable):
        raise NotRows(_named(made))
    else:
        for part in made:
            if (batches := _whole(part)) is None:
                raise NotRows(f"{_named(part)} among its batches")
            yield from batches


def _whole(made: Any) -> Iterable[pa.RecordBatch] | None:
    """The batches of one thing that has columns, at least one; None when it is not such a thing."""
    if isinstance(made, pa.RecordBatch):
        return [made]
    try:
        table = _table(made)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise NotRows(f"{_named(made)} that Arrow cannot take: {error}", "give each column one type") from error
    if table is None:
        return None
    return table.to_batches() or [
        pa.RecordBatch.from_arrays([pa.array([], field.type) for field in table.schema], schema=table.schema)
    ]


def _table(made: Any) -> pa.Table | None:
    if isinstance(made, pa.Table):
        return made
    if _is_pandas(made):
        # An index that has a name is a column (what `groupby` gives); one without is only how pandas counts rows.
        frame = made.reset_index() if any(name is not None for name in made.index.names) else made
        return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    if hasattr(made, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(made).read_all()
    if isinstance(made, list | tuple) and made and all(isinstance(row, Mapping) for row in made):
        return pa.Table.from_pylist(list(made))
    return None


def _is_pandas(made: Any) -> bool:
    kind = type(made)
    return kind.__module__.partition(".")[0] == "pandas" and hasattr(made, "columns") and hasattr(made, "index")


def _named(made: Any) -> str:
    if made is None:
        return "None"
    kind = type(made)
    module = kind.__module__.partition(".")[0]
    return f"a value of type {kind.__name__}" if module == "builtins" else f"a {kind.__name__} of {module}"
