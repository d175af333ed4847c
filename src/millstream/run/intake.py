"""The steps that bring events in: files into the log, and the log into a stream's table. They keep positions of their
own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from millstream.base.errors import ClockWrong, MillstreamError, Transient
from millstream.base.moments import spelled
from millstream.base.words import counted
from millstream.declare.source import Source
from millstream.declare.stream import Stream
from millstream.log.envelope import topic_of
from millstream.run import trouble
from millstream.run.sources import apart, count, few, source_engines
from millstream.run.sources import left as left_of
from millstream.run.step import Cost, Made, Report, digest, size
from millstream.serve.decisions import all_streams

if TYPE_CHECKING:
    from millstream.ingest.port import SourceEngine, Standing
    from millstream.ingest.pump import Counts
    from millstream.lake.port import LandsStream
    from millstream.lake.sink import SinkLimits
    from millstream.ports import Engines

AGAIN = 2
"""Tries after the first at what may pass."""
LIMIT = "until"
"""Kind of the state document that says where `ingest --until` stopped."""


class SourceStep:
    """All file sources of a project: they are read together, merged by event time, so they are one step."""

    kind, recorded, definition = "source", False, ""
    upstream: tuple[str, ...] = ()

    def __init__(self, ws: Engines, sources: Sequence[Source], until_us: int | None = None) -> None:
        self.ws, self.sources, self.until_us = ws, sources, until_us
        self._seen: list[tuple[Source, Standing]] = []
        self.name = "sources"

    def inputs(self) -> dict[str, str]:
        return {}

    def cost(self) -> Cost:
        return Cost(bytes=left_of(self._look()[0]))

    def pending(self) -> str:
        fine, stopped = self._look()
        left, new = left_of(fine), sum(s.position is None and s.size == 0 for s in fine)
        past = self._past() if left else ""
        said = [
            f"{size(left)} of files to read{past and f', past {past}'}" if left else "",
            count(new, "new empty file", "new empty files") if new else "",
            "files were renamed" if any(s.moved_from for s in fine) else "",
        ]
        return "; ".join([*(text for text in said if text), *stopped])

    def _look(self) -> tuple[list[Standing], list[str]]:
        """Splits that can be read, and why the others cannot, nor sources that could not be looked at."""
        from millstream.ingest.pump import standings

        found: list[tuple[Source, SourceEngine, Standing]] = []
        failed: list[str] = []
        for source, engine in source_engines(self.ws.project, self.sources):
            try:
                found += [(source, engine, s) for s in standings(self.ws.log, source, engine)]
            except Exception as error:
                failed.append(f'source "{source.name}": {trouble.said(error)}')
        fine, stopped = apart((engine, s) for _, engine, s in found)
        self._seen = [(source, s) for source, _, s in found if any(s is one for one in fine)]
        return fine, [*failed, *stopped]

    def feeds(self) -> dict[str, int]:
        """Streams with bytes to read -> about how many records, by those that were read already."""
        if not self._seen:
            self._look()
        waits, done = dict[str, int](), dict[str, int]()
        for source, standing in self._seen:
            stream, left = source.into.name, left_of([standing])
            done[stream] = done.get(stream, 0) + standing.done
            if left or (standing.size is None and not standing.idle):
                waits[stream] = waits.get(stream, 0) + left
        return {stream: left * self._records(stream) // max(done[stream], 1) for stream, left in waits.items()}

    def _past(self) -> str:
        """The limit of the last `ingest --until` that left something unread, in words; "" where this call keeps to it,
        or there was none.
        """

        doc = self.ws.state.get(LIMIT, self.name)
        limit = doc.value["until_us"] if doc is not None else None
        if limit is None or (self.until_us is not None and self.until_us <= limit):
            return ""
        return f"{spelled(limit)}, where `ingest --until` had stopped"

    def _keep_limit(self, held: int) -> None:
        """Remember the limit while there is something behind it, for the next call that has none or another."""
        doc = self.ws.state.get(LIMIT, self.name)
        before = doc.value["until_us"] if doc is not None else None
        limit = max(self.until_us or 0, before or 0) if held else None
        if limit != before:
            self.ws.state.put(LIMIT, self.name, {"until_us": limit})

    def _records(self, stream: str) -> int:
        return sum(end.high for end in self.ws.log.ends(stream).values()) if self.ws.log.topic(stream) else 0

    def make(self, report: Report) -> Made:
        """Read what can be read; a failure that may pass is tried again, for its own source."""
        from millstream.ingest.pump import reasons

        past = self._past()
        counts = self._pumped(report)
        for attempt in range(AGAIN):
            if not any(
                isinstance(error, Transient) and not isinstance(error, ClockWrong) for error in counts.failed.values()
            ):
                break
            time.sleep(0.2 * 4**attempt)
            more = self._pumped(report)
            counts = replace(
                more, rows=counts.rows + more.rows, bad=counts.bad + more.bad, faults=counts.faults | more.faults
            )
        left = (
            f"{', '.join(counts.unended)} may still be being written: what follows its last whole line is left for the"
            " next time"
            if counts.unended
            else ""
        )
        empty = f"no record in {few(counts.empty)}" if counts.empty else ""
        self._keep_limit(counts.held)
        beyond = f"read past {past}" if past and counts.rows else ""
        said = [f"{counts.bad:,} bad" if counts.bad else "", beyond, empty, left]
        return Made(
            "",
            rows=counts.rows,
            note=", ".join(text for text in said if text),
            details={"rows": counts.rows, "bad": counts.bad},
            problems=(*reasons(counts), *counts.faults.values()),
            waits={name: trouble.said(error) for name, error in counts.failed.items()} | counts.faults,
        )

    def _pumped(self, report: Report) -> Counts:
        from millstream.ingest.pump import pump_all

        return pump_all(
            self.ws.log,
            self.ws.schemas,
            source_engines(self.ws.project, self.sources),
            until_us=self.until_us,
            report=report,
            doors=self.ws.doors,
        )


class StreamStep:
    """A stream's records from the log into its lake table."""

    kind, recorded, definition = "stream", False, ""

    def __init__(self, ws: Engines, stream: Stream[Any], upstream: tuple[str, ...]) -> None:
        self.ws, self.stream, self.name, self.upstream = ws, stream, stream.name, upstream

    def inputs(self) -> dict[str, str]:
        return {}

    def cost(self) -> Cost:
        return Cost(rows=self._behind())

    def pending(self) -> str:
        if behind := self._behind():
            return f"{counted(behind, 'record')} to land"
        if not self.ws.lake.exists(self.name):
            return "it has no table yet"
        if added := self._added():
            return f"its class has new fields: {', '.join(added)}"
        return (
            "its class, id or window has changed; what comes from now on is judged by it, what is in the table stays"
            if self._changed()
            else ""
        )

    def _added(self) -> list[str]:
        """Columns that the table lacks. A sink adds them when it begins."""
        from millstream.lake.judge import lacking

        return (
            []
            if self.ws.log.topic(self.name) is None
            else [field.name for field in lacking(self.ws.lake.table(self.name).schema, self.stream)]
        )

    def _changed(self) -> bool:
        from millstream.lake.ruling import Rule, current

        topic = self.ws.log.topic(self.name) if self.ws.lake.exists(self.name) else None
        found = None if topic is None else current(self.ws.lake.table(self.name), topic.uuid)
        return found is not None and found.number > 0 and found.rule != Rule.of(self.stream).fingerprint

    def _behind(self) -> int:
        topic = self.ws.log.topic(self.name)
        if topic is None:
            return 0
        txns = self.ws.lake.table(self.name).txns() if self.ws.lake.exists(self.name) else {}
        ends = self.ws.log.ends(self.name)
        # Records that left the log before they were written count too: the sink stops at them and says so.
        return sum(
            max(0, end.high - txns.get(f"millstream/{topic.uuid}/{partition}", 0)) for partition, end in ends.items()
        )

    def make(self, report: Report) -> Made:
        from millstream.lake.complete import taken_back
        from millstream.lake.ruling import ensure

        before = self.ws.lake.exists(self.name) and taken_back(self.ws.lake.table(self.name))
        try:
            with closing(sink(self.ws, self.stream)) as worker:
                progress = worker.drain(report)
            # A sink says it with its next records, and there are none
            if self._changed() and (topic := self.ws.log.topic(self.name)) is not None:
                ensure(self.ws.lake, self.stream, topic)
        except (MillstreamError, OSError) as error:
            trouble.keep(self.ws.state, trouble.SINK, self.name, str(error), None)  # for `show streams` and `doctor`
            raise
        trouble.clear(self.ws.state, trouble.SINK, self.name)
        notes = [
            f"{n:,} {word}"
            for n, word in ((progress.dead, "dead"), (progress.duplicates, "duplicates"), (progress.late, "late"))
            if n
        ]
        if not before and taken_back(self.ws.lake.table(self.name)):
            notes.append("it was declared complete, and is not any more")
        return Made(stream_version(self.ws, self.name), rows=progress.rows, note=", ".join(notes))


def sink(ws: Engines, stream: Stream[Any], limits: SinkLimits | None = None) -> LandsStream:
    """A worker that writes the stream to the lake; the caller's to close."""
    topic_of(ws.log, ws.schemas, stream)
    return ws.sinks.worker(ws.log, ws.schemas, ws.lake, stream, limits)


def version_of(ws: Engines, name: str) -> str:
    """What identifies an asset's contents now; "" when it was never built."""
    if name in all_streams(ws.project):
        return stream_version(ws, name)
    doc = ws.state.get("asset", name)
    return str(doc.value["version"]) if doc else ""


def stream_version(ws: Engines, name: str) -> str:
    """How far a stream's table reaches, whatever compaction did to its files."""
    return digest(ws.lake.table(name).txns()) if ws.lake.exists(name) else ""
