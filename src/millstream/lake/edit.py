"""Rows changed where they are: the files that hold them written again in their place, in one commit that says which
took the place of which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake.transaction import AddAction, RemoveAction

from millstream.base.points import reach
from millstream.lake import parquet
from millstream.lake.replace import batches_of, gone
from millstream.lake.scan import candidates

if TYPE_CHECKING:
    from millstream.lake.parquet import Written
    from millstream.lake.port import Txns
    from millstream.lake.table import LakeTable

Change = Callable[[pa.RecordBatch], pa.RecordBatch]


def edit(
    table: LakeTable,
    change: Change,
    bounds: Mapping[str, tuple[Any, Any]],
    files: Sequence[Written],
    txns: Txns,
    metadata: Mapping[str, Any],
) -> int:
    """See `Table.edit`. A file in which nothing changes is read and left; files that no commit names in the end are for
    the vacuum.
    """
    table.check(txns)
    actions: list[AddAction | RemoveAction] = [file.action() for file in files]
    edited: list[dict[str, Any]] = []
    for row in candidates(table, bounds):
        if all(change(batch) is batch for batch in batches_of(table, row)):
            continue
        written = parquet.write(
            table.files,
            table.name,
            table.schema,
            map(change, batches_of(table, row)),
            table.partition_by,
            place=row["path"],
        )
        # Rows leave or change with the old file, so it is news; the new ones hold nothing that a reader of additions
        # has to add.
        actions += [gone(table, row), *(file.action(data_change=False) for file in written)]
        edited.append({"from": row["path"], "into": [file.path for file in written]})
    reach("edit.files")
    return table.commit(actions, txns=txns, metadata={**metadata, "edited": edited})
