"""What a log may remove, and whom it refuses when its disk runs short: pure functions, the same for every engine.

A record may go when it is older than its topic's retention AND below the mark of every reader: the offset up to which
that reader has it safely. The lake is a reader of each topic from the moment that the topic exists; until a sink has
said otherwise its mark is 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from millstream.base.errors import Recreated

LAKE = "lake"
"""The reader that every topic has."""


class Stretch(NamedTuple):
    """Records up to offset `end` (exclusive), the newest of which was appended at `newest_us` (microseconds since
    1970).
    """

    end: int
    newest_us: int


def same(topic: str, stands: str, uuid: str | None) -> None:
    """Raises Recreated when a mark is of another topic of this name than the one that stands."""
    if uuid is not None and uuid != stands:
        raise Recreated(
            f'topic "{topic}" was deleted and created again; up to where its records were read before means nothing any'
            " more"
        )


def needed(marks: Mapping[str, int]) -> int:
    """The offset from which on some reader still needs the records."""
    return min([*marks.values(), *([] if LAKE in marks else [0])])


def removable(
    stretches: Iterable[Stretch],
    marks: Mapping[str, int],
    now_us: int,
    retention_us: int | None,
    *,
    tight: bool = False,
    whole: bool = True,
) -> int | None:
    """The offset below which a partition's records may be removed; None when none may.

    Args:
        stretches: From the partition's beginning, in order of offset. They end at the first that must stay, so that no
            hole is made: where a clock ran backwards, old records behind young ones wait. A stamp of the future was
                made by a clock that was wrong: such a stretch is as old as the next one
            that has another.
        marks: Reader -> the offset up to which it has the records.
        retention_us: How long records are kept; None: for ever, unless the disk is tight.
        tight: The disk is nearly full: where records are kept for ever, all that every reader has may go.
        whole: Stretches go as a whole or not at all; else a part of one may go.
    """
    if retention_us is None and not tight:
        return None
    limit, horizon = needed(marks), now_us if retention_us is None else now_us - retention_us
    found = None
    for stretch in _corrected_by_later(stretches, now_us):
        if stretch.newest_us >= horizon or (whole and stretch.end > limit):
            break
        if limit <= 0:
            return None
        found = min(stretch.end, limit)
    return found


def _corrected_by_later(stretches: Iterable[Stretch], now_us: int) -> list[Stretch]:
    found, later = list[Stretch](), None
    for stretch in reversed(list(stretches)):
        if stretch.newest_us <= now_us:
            later = stretch.newest_us
        found.append(stretch if later is None or stretch.newest_us <= now_us else stretch._replace(newest_us=later))
    return found[::-1]


def refused(free: int, floor: int, unwritten: Mapping[str, int]) -> frozenset[str] | None:
    """The topics that must not grow while the disk is short; None: all of them.

    Above twice the floor nobody is refused. Below it, whoever holds more than its share of (what is free + all that
    waits for the lake), so that a stream whose sink stands still does not take the room of the others. Below the floor,
    all.

    Args:
        free: Bytes left on the disk.
        floor: Bytes that appends must leave.
        unwritten: Topic -> bytes of records that are not in the lake yet; every topic is named.
    """
    if free >= 2 * floor:
        return frozenset()
    if free < floor:
        return None
    share = (free + sum(unwritten.values())) / max(1, len(unwritten))
    return frozenset(topic for topic, held in unwritten.items() if held > share)
