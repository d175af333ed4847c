"""What of the stored version of a training set still holds: rows that nothing which landed since can have changed.

A row's features are those of the events known before its moment, so events that landed since change no row up to the
first of them to be known. Spine and labels are read anew either way; only looking features up is spared, which is most
of the work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from millstream.base.errors import NotFound, Truncated
from millstream.base.event import ARRIVED_AT
from millstream.train.pinned import Use

if TYPE_CHECKING:
    from millstream.lake.table import LakeTable
    from millstream.train.dataset import Dataset, Mode
    from millstream.transform.port import Sql

FOREVER = 2**62


def holds_until(
    stored: Dataset,
    pinned: Mapping[str, LakeTable],
    spine: str,
    spine_time: str | None,
    uses: Sequence[Use],
    mode: Mode,
    sql: Sql,
) -> int:
    """Rows of the stored version with a moment before this (us) have the place in the spine and the features that they
    would get anew.

    Args:
        spine_time: The event time of the spine when it is a stream; None for a table, whose rows may change anywhere.
        stored: Made by the same declaration.
    """
    times = {use.definition.stream: use.definition.time for use in uses}
    until = FOREVER
    for name in {spine, *times}:
        before, table = stored.inputs[name], pinned[name]
        if before["uuid"] != table.uuid:
            return 0
        if before["version"] == table.version:
            continue
        if any(use.definition.stream == name and not use.definition.live for use in uses) or (
            name == spine and spine_time is None
        ):
            return 0
        try:
            files = table.appended(int(before["version"]))
        except (Truncated, NotFound):
            return 0
        if files is None:
            return 0
        moments = [spine_time] if name == spine and spine_time is not None else []
        if files and (oldest := _oldest(table, files, sql, times.get(name), moments, mode)) is not None:
            until = min(until, oldest)
    return until


def _oldest(
    table: LakeTable, files: list[str], sql: Sql, time: str | None, moments: list[str], mode: Mode
) -> int | None:
    """The least moment (us) that one of the rows in these files can count for, as a row of the spine or as an event."""
    known = (
        []
        if time is None
        else [f'epoch_us("{time}")' if mode == "event" else f'greatest(epoch_us("{time}"), epoch_us("{ARRIVED_AT}"))']
    )
    terms = [*known, *(f'epoch_us("{name}")' for name in moments)]
    text = f"select least({', '.join(f'min({term})' for term in terms)}) as low from t"
    snapshot = replace(table.snapshot(), files=tuple(files), partitions=())
    low = sql.query(text, {"t": snapshot}).read_all()["low"][0].as_py()
    return None if low is None else int(low)
