"""Checkpoints: what makes opening a table cheap, and the start of its log once older commits are cleaned away."""

from __future__ import annotations

from millstream.base.points import reach
from millstream.lake import deltalog
from millstream.lake.commit import asked
from millstream.lake.table import LakeTable

EVERY = 25
"""Commits between two checkpoints, when somebody maintains the table (6 ms a commit, against 55 ms with none:
docs/exactly-once.md, section 16).
"""
OVERDUE = 200
"""Commits after which a sink makes one itself."""


def age(table: LakeTable) -> int:
    """Commits since the newest checkpoint."""
    return table.version - max(
        (v for v in deltalog.checkpoints(table.files, table.name) if v <= table.version), default=0
    )


def make(table: LakeTable) -> None:
    """Write a checkpoint of this version, and sync it after all that it covers. Two at once do no harm."""
    before = max((v for v in deltalog.checkpoints(table.files, table.name) if v < table.version), default=-1)
    table.files.sync(
        *(
            deltalog.commit_path(table.name, v)
            for v in deltalog.versions(table.files, table.name)
            if before < v <= table.version
        )
    )
    asked(table.files, table.delta.create_checkpoint)
    reach("checkpoint.half")
    table.files.sync(
        deltalog.checkpoint_path(table.name, table.version), f"{table.name}/{deltalog.LOG}/_last_checkpoint"
    )


def when_overdue(table: LakeTable) -> None:
    """For writers: a table that nobody maintains must not get slower for ever. Looks only now and then."""
    if table.version and table.version % 50 == 0 and age(table) >= OVERDUE:
        make(table)
