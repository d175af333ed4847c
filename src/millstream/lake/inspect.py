"""Whether the files of a table are as they were written, and what is wrong with those that are not, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from millstream.lake.parquet import GROUP_ROWS

if TYPE_CHECKING:
    from millstream.lake.table import LakeTable


def inspect(table: LakeTable, *, deep: bool) -> Iterator[tuple[str, str]]:
    """Path and fault of each file of this version that is not whole.

    Args:
        deep: Read every page, and compare its checksum. Files of an older Millstream have none; what cannot be decoded
            shows all the same.
    """
    for row in table.actions().select(["path", "size_bytes", "num_records"]).to_pylist():
        why = _fault(table, row["path"], row["size_bytes"], row["num_records"], deep)
        if why:
            yield row["path"], why


def _fault(table: LakeTable, path: str, size: int, rows: int | None, deep: bool) -> str:
    place = f"{table.name}/{path}"
    found = table.files.size(place)
    if found is None:
        return (
            "is missing: it was deleted or never copied; restore it from a copy; millstream doctor says whether the"
            " table can be repaired"
        )
    if found != size:
        return (
            f"is torn: it has {found} bytes, and its commit says {size}; restore it from a copy; millstream doctor says"
            " whether the table can be repaired"
        )
    try:
        with table.files.open(place) as file:
            held = pq.ParquetFile(file, page_checksum_verification=deep)
            if rows is not None and held.metadata.num_rows != rows:
                return f"has {held.metadata.num_rows} rows, and its commit says {rows}: another file has its name"
            for _ in held.iter_batches(batch_size=GROUP_ROWS) if deep else ():
                pass
    except (OSError, ValueError, pa.ArrowException) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        return f"is damaged: bits have changed since it was written ({text}); restore it from a copy"
    return ""
