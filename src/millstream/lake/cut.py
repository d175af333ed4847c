"""A torn table cut back, and everybody told who must know: the log before it, those who count by its verdicts after it."""

from __future__ import annotations

from collections.abc import Mapping

from millstream.lake.lake import Lake
from millstream.lake.port import Files
from millstream.lake.positions import app_id
from millstream.lake.repair import Damage, examine, repair
from millstream.lake.ruling import amend
from millstream.log.port import Log


def needed(files: Files, name: str) -> Damage | str | None:
    """What `cut` would do, in words: the damage, or what a cut that was killed has left to do."""
    return examine(files, name) or (f'table "{name}" was cut back, and not all were told' if files.size(_note(name)) is not None else None)


def cut(lake: Lake, log: Log, name: str) -> None:
    """Cut off what is torn (`repair`); nobody may write the table meanwhile. One that was killed is completed by the next.

    The log keeps what the table is about to lose. A ruling may have gone with the tail, so what was counted since is counted again.
    """
    files, topic = lake.files, log.topic(name)

    def lower(positions: Mapping[str, int]) -> None:
        if topic is not None:
            log.retain(name, before={p: positions.get(app_id(topic, p), 0) for p in range(topic.partitions)}, uuid=topic.uuid)
        if files.size(_note(name)) is None:
            files.create(_note(name)).close()
            files.sync(_note(name))

    repair(files, name, lower)
    if files.size(_note(name)) is None:
        return
    if topic is not None and lake.exists(name):
        amend(lake, topic, "the table was cut back")
    files.remove(_note(name))


def _note(name: str) -> str:
    """There from before a cut until all were told."""
    return f"{name}/_cut"
