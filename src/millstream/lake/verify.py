"""Proof that a stream's table holds each record of the log once: recomputed from the log, rows, dead letters, ranges
and positions.

Per partition: the ranges of all commits chain from the beginning to the stored position; each range's rows are those
that its commit counted and checksummed; no offset is twice in the table, in the dead letters, or in both; no two rows
of one id lie within the window, each range by the id column and window that its commit names (`tally.py`). What the log
still holds is judged again (`recheck.py`).

One pass over four columns, and one over the log. While a partition's rows lie in the order of its log, as sink and
compaction write them, only counters are held; a partition that is out of order is read again and sorted in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millstream.base.errors import NotFound, Truncated
from millstream.base.event import ARRIVED_AT, OFFSET, PARTITION
from millstream.declare.stream import Stream
from millstream.lake.dead import STANDS, dead_name
from millstream.lake.port import CanInspect, Table, Tables
from millstream.lake.positions import app_id
from millstream.lake.recheck import Rechecked, recheck
from millstream.lake.ruling import Rule
from millstream.lake.tally import MOST, Finding, Ints, Part, Tally
from millstream.log.port import Ends, Log


@dataclass(frozen=True)
class Report:
    """What was found; each list names partitions and offsets, at most `MOST` of a kind.

    Attributes:
        version: Of the table, that was looked at; None when there is no table yet.
        records: Read from the log, by the commits' own count: rows + dead + duplicates when all is well.
        gaps: Offsets [start, end) that no commit covers; `recorded` when `--accept-loss` said so, which is reported and
            no fault.
        overlaps: Offsets that two commits cover.
        doubles: An offset more than once in the table or in the dead letters, or in both places; an id again within the
            window.
        torn: Ranges whose rows or dead letters are not those that the commit counted, rows outside every range, a
            position past the log's end, files that are missing or damaged.
        verdicts: Records in the log whose verdict is another than what became of them.
        recomputed: Records of the log that were judged again.
        not_recomputed: Offsets in the log that were not: another definition of the stream judged them, or the log is
            damaged there.
    """

    stream: str
    version: int | None = None
    records: int = 0
    rows: int = 0
    dead: int = 0
    duplicates: int = 0
    gaps: list[Finding] = field(default_factory=list)
    overlaps: list[Finding] = field(default_factory=list)
    doubles: list[Finding] = field(default_factory=list)
    torn: list[Finding] = field(default_factory=list)
    verdicts: list[Finding] = field(default_factory=list)
    recomputed: int = 0
    not_recomputed: int = 0

    @property
    def ok(self) -> bool:
        return not (
            self.overlaps or self.doubles or self.torn or self.verdicts or any(not gap["recorded"] for gap in self.gaps)
        )

    def words(self) -> list[str]:
        """What is wrong, a sentence each."""
        return [
            *(
                f"partition {g['partition']}: no commit brought offsets [{g['start']}, {g['end']})"
                for g in self.gaps
                if not g["recorded"]
            ),
            *(
                f"partition {o['partition']}: two commits brought offsets [{o['start']}, {o['end']})"
                for o in self.overlaps
            ),
            *(
                f"partition {d['partition']}, offset {d['offset']} is there twice ({d['where']})"
                + (f": id {d['id']}" if "id" in d else "")
                for d in self.doubles
            ),
            *(
                (
                    t["why"]
                    if "start" not in t
                    else f"partition {t['partition']}, offsets [{t['start']}, {t['end']}): {t['why']}"
                )
                for t in self.torn
            ),
            *(
                f"partition {v['partition']}, offset {v['offset']} is a {v['found']} and should be a {v['right']}:"
                f" {v['why']}"
                for v in self.verdicts
            ),
        ]


def verify(
    lake: Tables,
    log: Log,
    stream: Stream[Any],
    *,
    deep: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Prove the newest version of a stream's table; sinks may run meanwhile.

    Args:
        deep: Read every page of every file, and check its checksum.
        report: Called with (records of the log judged again, records to judge).

    Raises:
        NotFound: The stream has no topic.
    """
    topic = log.topic(stream.name)
    if topic is None:
        raise NotFound(f'stream "{stream.name}" has no topic in the log; nothing was ever sent')
    if not lake.exists(stream.name):
        gone = {p: end.low for p, end in log.ends(stream.name).items() if end.low}
        return Report(
            stream.name,
            gaps=[
                {"partition": p, "start": 0, "end": low, "recorded": False, "version": None} for p, low in gone.items()
            ],
        )
    table = lake.table(stream.name)
    ends = log.ends(stream.name)  # after the table: what the table has read cannot lie past these
    said = [r for r in table.ranges() if r.topic == topic.uuid]
    parts = {
        p: Part(p, [r for r in said if r.partition == p], table.position(app_id(topic, p)) or 0)
        for p in range(topic.partitions)
    }
    broken = _broken(lake, table, stream, deep)
    for partition, (letters, aside) in _letters(lake, stream, topic.uuid, broken).items():
        if partition in parts:
            parts[partition].bury(letters, aside)
    rows, strange = _count(table, parts, broken)
    found = [part.findings(ends.get(p)) for p, part in parts.items()]
    torn = {"torn": [*({"why": f"file {path} {why}"} for path, why in broken.items()), *strange]}
    again = [] if broken else _again(log, table, stream, parts, ends, report)
    return Report(
        stream.name,
        table.version,
        sum(r.records for r in said),
        rows,
        sum(len(part.dead) for part in parts.values()),
        sum(r.duplicates for r in said),
        **{
            kind: _most([one.get(kind, []) for one in [*found, torn]])
            for kind in ("gaps", "overlaps", "doubles", "torn")
        },
        verdicts=_most([one.wrong for one in again]),
        recomputed=sum(one.records for one in again),
        not_recomputed=sum(one.skipped for one in again),
    )


def _most(found: Sequence[list[Finding]]) -> list[Finding]:
    return [one for some in found for one in some][:MOST]


def _broken(lake: Tables, table: Table, stream: Stream[Any], deep: bool) -> dict[str, str]:
    """File of the table or its dead letters -> what is wrong with it."""
    tables = [table, *([lake.table(dead_name(stream.name))] if lake.exists(dead_name(stream.name)) else [])]
    return {
        f"{one.name}/{path}": why
        for one in tables
        if isinstance(one, CanInspect)
        for path, why in one.inspect(deep=deep)
    }


def _again(
    log: Log,
    table: Table,
    stream: Stream[Any],
    parts: Mapping[int, Part],
    ends: Mapping[int, Ends],
    report: Callable[[int, int], None],
) -> list[Rechecked]:
    """Every partition judged again. Retention may pass meanwhile: then from the log's new start on."""
    total, done, made = sum(max(0, min(part.stored, ends[p].high) - ends[p].low) for p, part in parts.items()), [0], []

    def count(records: int) -> None:
        done[0] += records
        report(done[0], total)

    for partition, part in parts.items():
        low = ends[partition].low
        while True:
            try:
                made.append(recheck(log, table, stream, part, low, ends[partition].high, count))
                break
            except Truncated:
                now = log.ends(stream.name)[partition].low
                if now <= low:
                    raise
                low = now
    return made


def _count(table: Table, parts: Mapping[int, Part], broken: Mapping[str, str]) -> tuple[int, list[Finding]]:
    """Tally every row; returns how many there are, and those of no partition of the topic. Files that are broken are
    left out.
    """
    ids = {r.id_column for part in parts.values() for r in part.said if r.id_column is not None}
    columns = [
        PARTITION,
        OFFSET,
        ARRIVED_AT,
        *sorted(ids.intersection(table.schema.names) - {PARTITION, OFFSET, ARRIVED_AT}),
    ]

    def begin(part: Part) -> None:
        part.tally = Tally(part, None if broken else table)

    def take(part: Part, rows: pa.RecordBatch) -> None:
        part.tally.take(rows, rows.column(OFFSET).to_numpy(), _micros(rows.column(ARRIVED_AT)))

    for part in parts.values():
        begin(part)
    total, strange = 0, dict[int, int]()
    for batch in table.scan(columns, skip=frozenset(broken)):
        total += batch.num_rows
        for partition, rows in _by_partition(batch):
            if partition not in parts:
                strange[partition] = strange.get(partition, 0) + rows.num_rows
            elif parts[partition].tally.in_order:
                take(parts[partition], rows)
    for part in parts.values():
        if not part.tally.in_order:
            begin(part)
            held = table.scan(
                columns,
                {PARTITION: (part.partition, part.partition)},
                pc.field(PARTITION) == part.partition,
                skip=frozenset(broken),
            )
            for rows in pa.Table.from_batches(held).sort_by(OFFSET).to_batches(max_chunksize=1 << 20):
                take(part, rows)
    return total, [
        {"partition": p, "start": 0, "end": 0, "why": f"{rows} rows of a partition that the topic does not have"}
        for p, rows in strange.items()
    ]


def _letters(lake: Tables, stream: Stream[Any], topic: str, broken: Mapping[str, str]) -> dict[int, tuple[Ints, Ints]]:
    """Offsets of the topic's dead letters, by partition, and those of them whose recorded verdict stands: an
    operator's, or an older definition's.
    """
    if not lake.exists(dead_name(stream.name)):
        return {}
    found: dict[int, list[tuple[Ints, Ints]]] = {}
    table = lake.table(dead_name(stream.name))
    rule, judged = Rule.of(stream).fingerprint, "rule" in table.schema.names
    for batch in table.scan(
        [PARTITION, OFFSET, "error", *(["rule"] if judged else [])],
        where=pc.field("topic") == topic,
        skip=frozenset(broken),
    ):
        for partition, rows in _by_partition(batch):
            stands = reduce(
                pc.or_, (pc.fill_null(pc.starts_with(rows.column("error"), reason), False) for reason in STANDS)
            )
            other = (
                pc.fill_null(pc.not_equal(rows.column("rule"), rule), True)
                if judged
                else pa.array([True] * rows.num_rows)
            )
            aside = rows.filter(pc.or_(stands, other))
            found.setdefault(partition, []).append((rows.column(OFFSET).to_numpy(), aside.column(OFFSET).to_numpy()))
    return {
        partition: (np.concatenate([of for of, _ in pieces]), np.concatenate([aside for _, aside in pieces]))
        for partition, pieces in found.items()
    }


def _by_partition(batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Runs of rows of one partition; a sink writes one run a partition a file."""
    values = batch.column(PARTITION).to_numpy()
    cuts = (np.flatnonzero(np.diff(values)) + 1).tolist()
    for a, b in zip([0, *cuts], [*cuts, len(values)], strict=True):
        yield int(values[a]), batch.slice(a, b - a)


def _micros(column: pa.Array) -> Ints:
    values: Ints = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return values
