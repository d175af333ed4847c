"""A query of a user over the lake: checked, read-only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from millstream.base.errors import UsageError, WorkFailed

if TYPE_CHECKING:
    import pyarrow as pa

    from millstream.run.workspace import Workspace


def ask(ws: Workspace, query: str, limit: int | None = None) -> pa.Table:
    """A checked, read-only query over the lake; at most `limit` rows are fetched.

    Raises:
        UsageError: It is not one query, it reaches outside the lake, or it asks for what is not there.
        WorkFailed: It failed on the data.
    """
    import pyarrow as pa

    from millstream.transform.guard import read_only

    text = read_only(query, ws.lake.names())
    snapshots = {name: ws.lake.table(name).snapshot() for name in text.tables}
    try:
        reader = ws.sql.query(text, snapshots, ws.project.params)
    except WorkFailed as error:
        raise _refused(ws, text, {name: snapshot.schema for name, snapshot in snapshots.items()}) or error from None
    batches, rows = [], 0
    try:
        for batch in reader:
            batches.append(batch)
            rows += batch.num_rows
            if limit is not None and rows >= limit:
                break
    finally:
        reader.close()
    found = pa.Table.from_batches(batches, reader.schema)
    return found if limit is None else found.slice(0, limit)


def _refused(ws: Workspace, text: str, schemas: Mapping[str, pa.Schema]) -> UsageError | None:
    """The mistake in a query that failed; None when there is none, so that it failed on the data."""
    from millstream.transform.refused import refusal

    try:
        ws.sql.describe(text, schemas, ws.project.params)
    except WorkFailed as error:
        return UsageError(str(refusal(str(error), text, schemas)))
    return None
