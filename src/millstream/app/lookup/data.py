"""Streams, the sources that feed them, and tables of the lake."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from millstream.app.each import Rows
from millstream.base.moments import spelled
from millstream.run import trouble
from millstream.run.sources import source_engines
from millstream.serve.decisions import all_streams

if TYPE_CHECKING:
    from millstream.declare.source import Source
    from millstream.declare.stream import Stream
    from millstream.ingest.port import SourceEngine
    from millstream.run.workspace import Workspace


def streams(ws: Workspace, limit: int = 0) -> Rows:
    """Each stream, see `STREAMS` for what the columns say."""
    rows = Rows()
    for stream in all_streams(ws.project).values():
        rows.add(stream.name, partial(_stream, ws, stream))
    return rows


STREAMS = {
    "in the log": "records that the log still holds",
    "in the lake": "rows of its table",
    "behind": "records of the log that are not in the lake yet",
    "held": "records that an open transaction of a producer holds back",
    "end": "records ever appended to the log: the next offsets, summed over its partitions",
    "newest event": "the latest event time in its table",
    "watermark": "no earlier event is waited for; labels are complete up to it",
    "complete": "its history was declared complete (ingest --complete)",
    "given up": "records that are gone, and were accepted as lost",
    "stuck": "why its sink cannot continue",
}
"""Columns of `streams`, in words."""


def _stream(ws: Workspace, stream: Stream[Any]) -> dict[str, Any]:
    from millstream.lake import complete, gaps
    from millstream.lake.positions import NEVER, TIME

    topic = ws.log.topic(stream.name)
    ends = ws.log.ends(stream.name) if topic else {}
    table = ws.lake.table(stream.name) if ws.lake.exists(stream.name) else None
    txns = table.txns() if table else {}
    behind = (
        sum(max(0, end.high - txns.get(f"millstream/{topic.uuid}/{p}", 0)) for p, end in ends.items()) if topic else 0
    )
    mark = ws.lake.watermark(stream) if table else None
    newest = max((at for app, at in txns.items() if app.startswith(TIME) and at > NEVER), default=None)
    upto = complete.declared(table) if table else None
    said = (
        f"up to {_moment(upto)}"
        if upto is not None
        else "taken back: records came later"
        if table and complete.taken_back(table)
        else ""
    )
    return {
        "stream": stream.name,
        "in the log": sum(e.high - e.low for e in ends.values()),
        "in the lake": table.rows() if table else 0,
        "behind": behind,
        "held": sum(e.held for e in ends.values()),
        "end": sum(e.high for e in ends.values()),
        "newest event": _moment(newest),
        "watermark": _moment(mark),
        "complete": said,
        "given up": sum(gap.end - gap.start for gap in gaps.recorded(table)) if table else 0,
        "stuck": trouble.why(ws, stream) if topic else "",
    }


def _moment(us: int | None) -> str:
    """To the second, in UTC; "" for none."""

    return "" if us is None else spelled(us).removesuffix(" UTC")


def sources(ws: Workspace, limit: int = 0) -> Rows:
    """Each file source: its files, the bytes of them that were read, and which stand still."""
    from millstream.ingest.pump import standings

    rows = Rows()
    kept = [t for t in trouble.found(ws.state) if t.part == trouble.SOURCE]

    def row(source: Source, engine: SourceEngine) -> dict[str, Any]:
        found = standings(ws.log, source, engine)
        waits = [str(s.error) for s in found if s.error is not None]
        waits += [t.why for t in kept if t.name == source.name or t.name.startswith(f"{source.name}/")]
        return {
            "source": source.name,
            "stream": source.into.name,
            "files": len(found),
            "read": sum(s.done for s in found),
            "bytes": sum(s.size or 0 for s in found),
            "stuck": "; ".join(dict.fromkeys(waits)),
        }

    for source, engine in source_engines(ws.project):
        rows.add(f"source {source.name}", partial(row, source, engine))
    return rows


def tables(ws: Workspace, limit: int = 0) -> Rows:
    """Each table of the lake: version, rows, bytes, columns."""
    rows = Rows()

    def row(name: str) -> dict[str, Any]:
        t = ws.lake.table(name)
        return {"table": name, "version": t.version, "rows": t.rows(), "bytes": t.bytes(), "columns": len(t.schema)}

    for name in ws.lake.names():
        rows.add(f"table {name}", partial(row, name))
    return rows
