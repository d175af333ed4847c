"""The SQL of `stream.latest()` and `stream.history()`: a table's contents from a stream of changes.

Changes of one key are ordered by (event time, partition, offset), the order that features use. A row whose `op` is
"delete" closes its key; a class without a field `op` knows no deletes.
"""

from __future__ import annotations

from millstream.base.event import OFFSET, PARTITION
from millstream.base.sql import quoted
from millstream.declare.stream import Contents


def sql(contents: Contents) -> str:
    """A query over the stream's table."""
    stream = contents.stream
    time, fields = stream.schema.event_time, stream.schema.names()
    key = ", ".join(map(quoted, stream.key))
    order = f"{quoted(time)}, {quoted(PARTITION)}, {quoted(OFFSET)}"
    columns = ", ".join(map(quoted, fields))
    lives = f"{quoted('op')} is distinct from 'delete'" if "op" in fields else "true"
    if contents.form == "latest":
        down = ", ".join(f"{part} desc" for part in order.split(", "))
        return f"""select {columns} from (
  select *, row_number() over (partition by {key} order by {down}) as "_nth" from {quoted(stream.name)}
) where "_nth" = 1 and {lives}"""
    # A version that another one replaced in the same instant was never seen by anyone.
    return f"""select {columns}, "valid_from", "valid_to" from (
  select *, {quoted(time)} as "valid_from",
    lead({quoted(time)}) over (partition by {key} order by {order}) as "valid_to"
  from {quoted(stream.name)}
) where {lives} and ("valid_to" is null or "valid_to" > "valid_from")"""
