"""Which offsets each commit of a sink brought: said in the commit, and folded into `<stream>__lineage` before the log
is cleaned.

Delta drops a commit's metadata when its log is cleaned up (docs/exactly-once.md, section 16), and what verify, trace
and replay rest on must outlive that. A commit that moves rows to the dead letters (`move.py`) counts the ranges that
they were in again; the last count holds. The fold's position, `millstream-lineage/<table uuid>`, is the last version
folded, so a range is in the commits or in the lineage table and never counted twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from millstream.base.errors import Conflict, NotFound
from millstream.base.event import ENVELOPE, PARTITION
from millstream.base.points import reach
from millstream.lake import deltalog
from millstream.lake.lake import Lake
from millstream.lake.positions import topics_of
from millstream.lake.scan import scan
from millstream.lake.table import LakeTable

APP = "millstream-lineage/"
"""`millstream-lineage/<table uuid>` -> the last version whose ranges are folded."""
LINEAGE = pa.schema(
    [
        pa.field("table", pa.string()),
        pa.field("topic", pa.string()),
        pa.field("version", pa.int64()),
        pa.field("at_ms", pa.int64()),
        pa.field(PARTITION, ENVELOPE[PARTITION]),
        pa.field("start", pa.int64()),
        pa.field("end", pa.int64()),
        pa.field("records", pa.int64()),
        pa.field("rows", pa.int64()),
        pa.field("dead", pa.int64()),
        pa.field("duplicates", pa.int64()),
        pa.field("late", pa.int64()),
        pa.field("gap_start", pa.int64()),
        pa.field("gap_end", pa.int64()),
        pa.field("min_us", pa.int64()),
        pa.field("max_us", pa.int64()),
        pa.field("schema_ids", pa.list_(pa.field("element", pa.int64()))),
        pa.field("checksum", pa.int64()),
        pa.field("ruling", pa.int64()),
        pa.field("rule", pa.int64()),
        pa.field("id_column", pa.string()),
        pa.field("within_us", pa.int64()),
        pa.field("restated", pa.int64()),
    ]
)
"""`table` and `topic` are uuids: a table dropped and made again begins a lineage of its own."""


@dataclass(frozen=True)
class Range:
    """Offsets [start, end) of one partition, as one commit brought them.

    Attributes:
        version: Of the table, the first that holds them.
        at_ms: When it was committed, in milliseconds since 1970, by the committer's clock.
        records: What was read; rows + dead + duplicates.
        late: Rows among `rows` that came behind their partition's watermark, as it stood when this was counted.
        gap: Offsets [a, b) inside that the log had lost before they landed (`--accept-loss`).
        min_us: Least event time of its rows; None without rows.
        schema_ids: Under which its records were written.
        checksum: CRC-32 over the offsets of its rows, ascending, as little-endian 64-bit integers.
        ruling, rule, id_column, within_us: By what its records were judged (`ruling.py`); 0, None where its commit does
            not say.
        restated: The version whose commit counted it again, when rows were moved out of it; 0: none did.
    """

    version: int
    partition: int
    start: int
    end: int
    topic: str = ""
    at_ms: int = 0
    records: int = 0
    rows: int = 0
    dead: int = 0
    duplicates: int = 0
    late: int = 0
    gap: tuple[int, int] | None = None
    min_us: int | None = None
    max_us: int | None = None
    schema_ids: tuple[int, ...] = ()
    checksum: int | None = None
    ruling: int = 0
    rule: int | None = None
    id_column: str | None = None
    within_us: int | None = None
    restated: int = 0

    def restated_as(self) -> dict[str, Any]:
        """As a commit that counts it again says it."""
        return {name: value for name, value in asdict(self).items() if name not in ("topic", "restated")}


def lineage_name(stream: str) -> str:
    """The table that keeps a stream's ranges."""
    return f"{stream}__lineage"


def ranges(table: LakeTable) -> list[Range]:
    """Every range up to the handle's version, each once, by partition and start.

    A commit that others than Millstream's upkeep have cleaned away unfolded is missing here; verify says so.
    """
    lake = Lake(table.files)
    for _ in range(10):
        found, done = _folded(lake, table)
        try:
            found += _committed(table, done)
        except _Gone as gone:  # folded and cleaned since we looked; or cleaned by somebody who folds nothing
            if folded(lake, table) > done:
                continue
            found += gone.rest
        return merged(found)
    raise Conflict(f'the lineage of table "{table.name}" moved ten times while it was read')


def fold(lake: Lake, table: LakeTable) -> int:
    """Copy the ranges of this version's commits into the lineage table; those there already are left.

    What is folded survives a power cut in the log as well, so a torn tail never takes away a commit whose range stays.

    Returns:
        How many ranges were added; 0 as well when another holder of the lease was faster.
    """
    app = f"{APP}{table.uuid}"
    if not topics_of(table.txns()):
        return 0
    kept = (
        lake.table(lineage_name(table.name)).add_columns(LINEAGE)
        if lake.exists(lineage_name(table.name))
        else lake.create(lineage_name(table.name), LINEAGE)
    )
    stands = kept.position(app)
    done = -1 if stands is None else stands
    if done >= table.version:
        return 0
    try:
        found = _committed(table, done)
    except _Gone as gone:
        found = gone.rest
    table.files.sync(
        *(
            deltalog.commit_path(table.name, v)
            for v in deltalog.versions(table.files, table.name)
            if done < v <= table.version
        )
    )
    try:
        kept.append(
            _rows(table, found),
            txns={app: (stands, table.version)},
            metadata={"by": "lineage", "table": table.uuid, "from": done + 1, "to": table.version},
        )
    except Conflict:
        return 0
    reach("fold.appended")
    return len(found)


def unfold(lake: Lake, table: LakeTable) -> None:
    """Forget the ranges of versions that the table has lost: those with their numbers that come next have
    other ranges.
    """
    app = f"{APP}{table.uuid}"
    if folded(lake, table) <= table.version:
        return
    kept = lake.table(lineage_name(table.name))

    def change(rows: pa.RecordBatch) -> pa.RecordBatch:
        later = pc.or_(
            pc.greater(rows.column("version"), table.version),
            pc.greater(pc.fill_null(rows.column("restated"), 0), table.version),
        )
        gone = pc.and_(pc.equal(rows.column("table"), table.uuid), later)
        return rows.filter(pc.invert(gone)) if pc.any(gone).as_py() else rows

    kept = kept.add_columns(LINEAGE)
    kept.edit(
        change,
        {},
        txns={app: (kept.position(app), table.version)},
        metadata={"by": "lineage", "table": table.uuid, "unfolded": table.version},
    )


def merged(found: Iterable[Range]) -> list[Range]:
    """Each range once, as it was counted last, by partition and start."""
    last: dict[tuple[str, int, int, int, int], Range] = {}
    for one in found:
        place = (one.topic, one.partition, one.start, one.end, one.version)
        if place not in last or last[place].restated <= one.restated:
            last[place] = one
    return sorted(last.values(), key=lambda r: (r.partition, r.start, r.end, r.version))


_SAME = (
    "version",
    "start",
    "end",
    "topic",
    "at_ms",
    "records",
    "rows",
    "dead",
    "duplicates",
    "late",
    "min_us",
    "max_us",
    "checksum",
)


class _Gone(Exception):
    """Commits of the stretch are not in the log any more; `rest` is what is."""

    def __init__(self, rest: list[Range]) -> None:
        super().__init__()
        self.rest = rest


def _committed(table: LakeTable, since: int) -> list[Range]:
    found: list[Range] = []
    kept = [v for v in deltalog.versions(table.files, table.name) if since < v <= table.version]
    missing = len(kept) < table.version - since
    for version in kept:
        try:
            found += of(deltalog.read(table.files, table.name, version))
        except FileNotFoundError:
            missing = True
    if missing:
        raise _Gone(found)
    return found


def of(commit: deltalog.Commit) -> Iterator[Range]:
    """The ranges that a commit says it brought, or counted again."""
    for again in commit.user.get("restated", ()):
        gap, ids = again.get("gap"), tuple(again.get("schema_ids", ()))
        yield Range(
            **{**again, "gap": (gap[0], gap[1]) if gap else None, "schema_ids": ids},
            topic=str(commit.user.get("topic", "")),
            restated=commit.version,
        )
    if commit.user.get("by") != "sink":
        return
    for partition, said in commit.user.get("ranges", {}).items():
        if "rows" not in said:
            continue  # the quarantine's own commits
        gap = said.get("gap")
        yield Range(
            commit.version,
            int(partition),
            said["start"],
            said["end"],
            str(commit.user.get("topic", "")),
            commit.at_ms,
            said.get("records", said["rows"] + said["dead"] + said["duplicates"]),
            said["rows"],
            said["dead"],
            said["duplicates"],
            said.get("late", 0),
            (gap[0], gap[1]) if gap else None,
            said.get("min_us"),
            said.get("max_us"),
            tuple(said.get("schema_ids", ())),
            said.get("checksum"),
            said.get("ruling", 0),
            said.get("rule"),
            said.get("id"),
            said.get("within_us"),
        )


def folded(lake: Lake, table: LakeTable) -> int:
    """The last version whose ranges are in the lineage table; -1 when none is."""
    try:
        found = lake.table(lineage_name(table.name)).position(f"{APP}{table.uuid}")
    except NotFound:
        return -1
    return -1 if found is None else found


def _folded(lake: Lake, table: LakeTable) -> tuple[list[Range], int]:
    """Ranges in the lineage table up to this handle's version, and the last version that it covers."""
    try:
        kept = lake.table(lineage_name(table.name))
    except NotFound:
        return [], -1
    stands = kept.position(f"{APP}{table.uuid}")
    if stands is None:
        return [], -1
    where = (pc.field("table") == table.uuid) & (pc.field("version") <= table.version)
    found = [
        _range(row)
        for batch in scan(kept, kept.schema.names, {"version": (None, table.version)}, where)
        for row in batch.to_pylist()
    ]
    return [one for one in found if one.restated <= table.version], stands


def _range(row: Mapping[str, Any]) -> Range:
    said = {name: row[name] for name in _SAME}
    said |= {name: row.get(name) for name in ("rule", "id_column", "within_us")} | {
        name: row.get(name) or 0 for name in ("ruling", "restated")
    }
    gap = None if row["gap_start"] is None else (row["gap_start"], row["gap_end"])
    return Range(partition=row[PARTITION], gap=gap, schema_ids=tuple(row["schema_ids"] or ()), **said)


def _rows(table: LakeTable, found: Iterable[Range]) -> list[pa.RecordBatch]:
    rows = [
        {
            **{name: getattr(r, name) for name in LINEAGE.names if hasattr(r, name)},
            "table": table.uuid,
            PARTITION: r.partition,
            "schema_ids": list(r.schema_ids),
            "gap_start": r.gap[0] if r.gap else None,
            "gap_end": r.gap[1] if r.gap else None,
        }
        for r in found
    ]
    return [pa.RecordBatch.from_pylist(rows, schema=LINEAGE)] if rows else []
