"""A torn table cut back, and everybody informed who must know: the log before it, those who count by its verdicts after
it.
"""

from __future__ import annotations

from collections.abc import Mapping

from millstream.base.errors import Truncated
from millstream.lake import lineage
from millstream.lake.dead import Quarantine
from millstream.lake.lake import Lake
from millstream.lake.port import Files
from millstream.lake.positions import app_id
from millstream.lake.repair import Damage, examine, repair
from millstream.lake.ruling import amend
from millstream.log.port import Log, Topic


def needed(files: Files, name: str) -> Damage | str | None:
    """What `cut` would do, in words: the damage, or what a cut that was killed has left to do."""
    return examine(files, name) or (
        f'table "{name}" was cut back, and not all were informed' if files.size(_note(name)) is not None else None
    )


def cut(lake: Lake, log: Log, name: str, *, lossy: bool = False) -> None:
    """Cut off what is torn (`repair`); nobody may write the table meanwhile. One that was killed is completed by the
    next.

    The log keeps what the table is about to lose. A ruling may have gone with the tail, so what was counted since is
    counted again.

    Args:
        lossy: Cut also what the log no longer holds: those records are gone.

    Raises:
        Truncated: The log no longer holds all that would go; nothing was cut.
    """
    files, topic = lake.files, log.topic(name)

    def lower(positions: Mapping[str, int]) -> None:
        if topic is not None:
            if not lossy:
                _check(log, topic, positions, examine(files, name))
            log.retain(
                name, before={p: positions.get(app_id(topic, p), 0) for p in range(topic.partitions)}, uuid=topic.uuid
            )
        if files.size(_note(name)) is None:
            files.create(_note(name)).close()
            files.sync(_note(name))

    repair(files, name, lower)
    if files.size(_note(name)) is None:
        return
    if topic is not None and lake.exists(name):
        lineage.unfold(lake, lake.table(name))
        # A letter may be under way whose verdict, a ruling, was cut away
        Quarantine(lake, name, topic.uuid).claim(topic)
        amend(lake, topic, "the table was cut back")
    files.remove(_note(name))


def _check(log: Log, topic: Topic, positions: Mapping[str, int], damage: Damage | None) -> None:
    ends = log.ends(topic.name)
    lost = {
        p: (at, ends[p].low)
        for p in range(topic.partitions)
        if (at := positions.get(app_id(topic, p), 0)) < ends[p].low
    }
    if lost:
        said = ", ".join(f"partition {p}: [{start}, {end})" for p, (start, end) in lost.items())
        raise Truncated(
            f"{damage}. It was left as it is, since the log no longer holds the records that would go ({said}). Put"
            " what is missing back from a copy; without one, to continue without those records:  millstream doctor"
            f" --fix --accept-loss {topic.name}"
        )


def _note(name: str) -> str:
    """There from before a cut until all were informed."""
    return f"{name}/_cut"
