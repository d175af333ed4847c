"""Rows of a table that look-ups should have counted by its rule, and could not: they came later than the table's lag,
or have other values by now.

Nothing is taken from the clocks of builds, which say nothing where history is replayed: a look-up logged its moment and
the version of the table that answered it, and a row that this version lacks, although it is known before that moment,
came too late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from millstream.base.errors import MillstreamError
from millstream.features.definition import Definition
from millstream.features.tiles import Tiling
from millstream.transform.port import Relation, Sql

if TYPE_CHECKING:
    from millstream.lake.lake import Lake


@dataclass(frozen=True)
class Missed:
    """Of one definition over a table.

    Attributes:
        late: Rows that a look-up's version lacked although they are known before its moment.
        restated: Rows known before a look-up's moment that have other values, or are gone, in a later version.
        longer_us: How much longer the lag must be for none of them to be late.
        unread: Versions that answered and are gone from the lake, so that nothing can be said of them.
    """

    late: int = 0
    restated: int = 0
    longer_us: int = 0
    unread: int = 0

    def __add__(self, other: Missed) -> Missed:
        return Missed(
            self.late + other.late,
            self.restated + other.restated,
            max(self.longer_us, other.longer_us),
            self.unread + other.unread,
        )


def missed(sql: Sql, lake: Lake, definition: Definition, seen: Mapping[int, int]) -> Missed:
    """What the look-ups missed of a table.

    Args:
        seen: Version that answered -> the latest moment (us) that it answered for; -1 where there was no table yet.
    """
    table = lake.table(definition.stream)
    ordered, latest, found = sorted(seen), 0, Missed()
    for i, version in enumerate(ordered):
        latest = max(latest, seen[version])
        following = ordered[i + 1] if i + 1 < len(ordered) else table.version
        if version == following:
            continue
        try:
            before, after = None if version < 0 else table.snapshot(version), table.snapshot(following)
            found += _between(sql, definition, *_apart(before, after), latest)
        except (MillstreamError, OSError):
            found += Missed(unread=1)
    return found


def _apart(before: Any, after: Any) -> tuple[Relation, Relation]:
    """Two versions without the files that both have: what is in those is the same."""
    nothing = after.schema.empty_table()
    if before is None or not hasattr(after, "files"):
        return nothing if before is None else before, after
    shared = {*before.files} & {*after.files}
    return _without(before, shared), _without(after, shared)


def _without(snapshot: Any, files: set[str]) -> Relation:
    kept = [i for i, file in enumerate(snapshot.files) if file not in files]
    if not kept:
        return snapshot.schema.empty_table()
    partitions = tuple(snapshot.partitions[i] for i in kept) if snapshot.partitions else ()
    return replace(snapshot, files=tuple(snapshot.files[i] for i in kept), partitions=partitions)


def _between(sql: Sql, definition: Definition, before: Relation, after: Relation, latest_us: int) -> Missed:
    """What the later of two versions says otherwise of rows that were known before a moment."""
    tiling, keys = Tiling(definition), [f"k{i}" for i in range(len(definition.key))]
    names = ", ".join([*keys, "t", *(f"r{i}" for i in range(len(definition.values)))])
    known, place = definition.known_sql("t"), ", ".join([*keys, "t"])
    sides = [
        f"select {names} from ({tiling.events(side, '0', raw=True)}) where"
        f" {'true' if definition.time is None else f'{known} < {latest_us}'}"
        for side in ("before", "after")
    ]
    text = f"""with b as ({sides[0]}), a as ({sides[1]}),
        came as (select {place}, count(*) as n from (select * from a except all select * from b) group by all),
        went as (select {place}, count(*) as n from (select * from b except all select * from a) group by all)
        select coalesce(sum(greatest(coalesce(came.n, 0) - coalesce(went.n, 0), 0)), 0)::bigint as late,
               coalesce(sum(coalesce(went.n, 0)), 0)::bigint as restated,
               max(case when coalesce(came.n, 0) > coalesce(went.n, 0) then {latest_us} - {known} end)::bigint as longer
        from came full join went using ({place})"""
    row = sql.query(text, {"before": before, "after": after}).read_all().to_pylist()[0]
    return Missed(row["late"], row["restated"], row["longer"] or 0)


__all__ = ["Missed", "missed"]
