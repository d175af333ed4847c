"""Under which names a sink keeps its positions in the tables it fills."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow.compute as pc

from millstream.base.errors import Corrupt
from millstream.base.event import PARTITION
from millstream.lake.port import Table
from millstream.log.port import Topic

APP = "millstream/"
"""`millstream/<topic uuid>/<partition>` -> the offset that lands next."""
TIME = "millstream-time/"
"""`millstream-time/<topic uuid>/<partition>` -> the newest event time that landed, in microseconds."""

NEVER = -(1 << 61)
"""The newest event time of a partition that has no rows any more: before all others."""
LETTERS = "millstream-letters/"
"""`millstream-letters/<topic uuid>/<partition>`, in a table of dead letters -> how many commits brought letters of the
partition.
"""
LETTERS_RULE = "millstream-letters-rule/"
"""`millstream-letters-rule/<topic uuid>`, in a table of dead letters -> the fingerprint of the rule that letters are
written by, once a rule has changed.
"""


def app_id(topic: Topic, partition: int) -> str:
    return f"{APP}{topic.uuid}/{partition}"


def time_id(topic: Topic, partition: int) -> str:
    return f"{TIME}{topic.uuid}/{partition}"


def letters_id(topic: Topic, partition: int) -> str:
    return f"{LETTERS}{topic.uuid}/{partition}"


def topics_of(apps: Iterable[str]) -> set[str]:
    """The topics, by uuid, that a table with these app ids was filled from."""
    return {
        app.split("/")[1]
        for app in apps
        if app.startswith(APP) and app.count("/") == 2 and app.rpartition("/")[2].isdigit()
    }


def stored(table: Table, topic: Topic, partition: int) -> int:
    """Where a partition's next batch must begin; 0 for one that was never written.

    Raises:
        Corrupt: The table has rows of it and no position: a forgotten position must not become a second copy.
    """
    at = table.position(app_id(topic, partition))
    if at is not None:
        return at
    found = table.scan([PARTITION], {PARTITION: (partition, partition)}, pc.field(PARTITION) == partition)
    if any(batch.num_rows for batch in found):
        raise Corrupt(
            f'table "{table.name}" has rows of partition {partition} and no position for it; writing from the start'
            " would double them"
        )
    return 0
