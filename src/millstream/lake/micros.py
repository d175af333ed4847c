"""Times of nanoseconds as the microseconds that events and tables hold: cut, never rounded, so that no moment becomes a
later one; before 1970 too.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as is_

from millstream.lake.sound import with_items


def micros(column: pa.Array) -> pa.Array:
    """The column cut to microseconds, lists of times too; any other column as it is."""
    kind = column.type
    if is_.is_timestamp(kind) and kind.unit == "ns":
        return pc.floor_temporal(column, unit="microsecond").cast(pa.timestamp("us", tz=kind.tz))
    if is_.is_list(kind) and is_.is_timestamp(kind.value_type) and kind.value_type.unit == "ns":
        return with_items(column, micros(column.flatten()))
    return column
