"""One class a kind of asset: what its definition is, what it is made from, what that costs, and the making.

A step is idempotent: made twice, it is as if made once; killed in the middle, it is made by making it again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from millstream.app import trouble
from millstream.app.sources import apart, count, few
from millstream.app.sources import left as left_of
from millstream.declare.errors import ClockWrong, Conflict, MillstreamError, NotFound, Transient
from millstream.declare.features import Features
from millstream.declare.model import Model
from millstream.declare.source import FileReader, Source
from millstream.declare.stream import Stream
from millstream.declare.table import Table
from millstream.declare.training_set import TrainingSet

if TYPE_CHECKING:
    from millstream.app.workspace import Workspace
    from millstream.declare.model import Scoring
    from millstream.ingest.port import SourceEngine, Standing
    from millstream.ingest.pump import Counts

AGAIN = 2
"""Tries after the first at what may pass."""


_FILLS_S = 600.0
"""For how long a step waits for another process that fills the same features."""
LIMIT = "until"
"""Kind of the state document that says where `ingest --until` stopped."""


class Report:
    """Where a step tells how far it is; this one listens to nobody."""

    def __call__(self, done: int, total: int | None = None, note: str = "") -> None:
        """`done` of `total` units, and a word about them."""


@dataclass(frozen=True)
class Cost:
    """What a step would read: rows and bytes, as far as they are known."""

    rows: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Made:
    """What a step made: its version's name, rows and bytes written, and a remark for people.

    Attributes:
        problems: What went wrong with parts of it. The run has failed then, but what is made from this step is made all the same.
    """

    version: str
    rows: int = 0
    bytes: int = 0
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


class Step(Protocol):
    """One asset, as the planner and the runner see it."""

    name: str
    kind: str
    upstream: tuple[str, ...]
    recorded: bool  # False: it keeps its own position, and `pending` alone says whether there is work

    @property
    def definition(self) -> str:
        """Fingerprint of how it is made."""
        ...

    def inputs(self) -> dict[str, str]:
        """Asset -> its version now."""
        ...

    def pending(self) -> str:
        """Work that is there whatever the record says ("1.2 MB to read"), or ""."""
        ...

    def cost(self) -> Cost: ...

    def make(self, report: Report) -> Made: ...


@runtime_checkable
class Feeds(Protocol):
    """A step that brings something to some of those made from it, and nothing to the others."""

    def feeds(self) -> Mapping[str, int]:
        """Those it would bring something -> about how many rows, 0 where nothing tells."""
        ...


@runtime_checkable
class Expects(Protocol):
    """A step that reads another part of what is there when more has come."""

    def expects(self, rows: int) -> Cost:
        """What it would read once what it is made from has been made again, with so many rows more; 0 where nothing tells."""
        ...


def digest(*parts: object) -> str:
    """A short fingerprint of JSON-able parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


class SourceStep:
    """All file sources of a project: they are read together, merged by event time, so they are one step."""

    kind, recorded, definition = "source", False, ""
    upstream: tuple[str, ...] = ()

    def __init__(self, ws: Workspace, sources: Sequence[Source], until_us: int | None = None) -> None:
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
        said = [f"{size(left)} of files to read{past and f', past {past}'}" if left else "", count(new, "new empty file", "new empty files") if new else "",
                "files were renamed" if any(s.moved_from for s in fine) else ""]  # fmt: skip
        return "; ".join([*(text for text in said if text), *stopped])

    def _look(self) -> tuple[list[Standing], list[str]]:
        """Splits that can be read, and why the others cannot, nor sources that could not be looked at."""
        from millstream.ingest.pump import standings

        found: list[tuple[Source, SourceEngine, Standing]] = []
        failed: list[str] = []
        for source, engine in self.ws.source_engines(self.sources):
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
        """The limit of the last `ingest --until` that left something unread, in words; "" where this call keeps to it, or there was none."""
        from millstream.lake.far import moment

        doc = self.ws.state.get(LIMIT, self.name)
        limit = doc.value["until_us"] if doc is not None else None
        if limit is None or (self.until_us is not None and self.until_us <= limit):
            return ""
        return f"{moment(limit)}, where `ingest --until` had stopped"

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
            if not any(isinstance(error, Transient) and not isinstance(error, ClockWrong) for error in counts.failed.values()):
                break
            time.sleep(0.2 * 4**attempt)
            more = self._pumped(report)
            counts = replace(more, rows=counts.rows + more.rows, bad=counts.bad + more.bad, faults=counts.faults | more.faults)
        left = f"{', '.join(counts.unended)} may still be being written: what follows its last whole line is left for the next time" if counts.unended else ""
        empty = f"no record in {few(counts.empty)}" if counts.empty else ""
        self._keep_limit(counts.held)
        beyond = f"read past {past}" if past and counts.rows else ""
        said = [f"{counts.bad:,} bad" if counts.bad else "", beyond, empty, left]
        return Made("", rows=counts.rows, note=", ".join(text for text in said if text),
                    details={"rows": counts.rows, "bad": counts.bad},
                    problems=(*reasons(counts), *counts.faults.values()))  # fmt: skip

    def _pumped(self, report: Report) -> Counts:
        from millstream.ingest.pump import pump_all

        return pump_all(self.ws.log, self.ws.schemas, self.ws.source_engines(self.sources), until_us=self.until_us, report=report, doors=self.ws.doors)


class StreamStep:
    """A stream's records from the log into its lake table."""

    kind, recorded, definition = "stream", False, ""

    def __init__(self, ws: Workspace, stream: Stream[Any], upstream: tuple[str, ...]) -> None:
        self.ws, self.stream, self.name, self.upstream = ws, stream, stream.name, upstream

    def inputs(self) -> dict[str, str]:
        return {}

    def cost(self) -> Cost:
        return Cost(rows=self._behind())

    def pending(self) -> str:
        if behind := self._behind():
            return f"{behind:,} records to land"
        if not self.ws.lake.exists(self.name):
            return "it has no table yet"
        return "its class, id or window has changed; what comes from now on is judged by it, what is in the table stays" if self._changed() else ""

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
        return sum(max(0, end.high - txns.get(f"millstream/{topic.uuid}/{partition}", 0)) for partition, end in ends.items())

    def make(self, report: Report) -> Made:
        from millstream.lake.complete import taken_back
        from millstream.lake.ruling import ensure

        before = self.ws.lake.exists(self.name) and taken_back(self.ws.lake.table(self.name))
        try:
            with closing(self.ws.sink(self.stream)) as sink:
                progress = sink.drain(report)
            if self._changed() and (topic := self.ws.log.topic(self.name)) is not None:  # a sink says it with its next records, and there are none
                ensure(self.ws.lake, self.stream, topic)
        except (MillstreamError, OSError) as error:
            trouble.keep(self.ws.state, trouble.SINK, self.name, str(error), None)  # for `show streams` and `doctor`
            raise
        trouble.clear(self.ws.state, trouble.SINK, self.name)
        notes = [f"{n:,} {word}" for n, word in ((progress.dead, "dead"), (progress.duplicates, "duplicates"), (progress.late, "late")) if n]
        if not before and taken_back(self.ws.lake.table(self.name)):
            notes.append("it was declared complete, and is not any more")
        return Made(stream_version(self.ws, self.name), rows=progress.rows, note=", ".join(notes))


def stream_version(ws: Workspace, name: str) -> str:
    """How far a stream's table reaches, whatever compaction did to its files."""
    return digest(ws.lake.table(name).txns()) if ws.lake.exists(name) else ""


class _Recorded:
    """Steps whose last making is remembered; inputs are compared by the versions recorded then."""

    recorded = True
    ws: Workspace
    name: str
    upstream: tuple[str, ...]

    def inputs(self) -> dict[str, str]:
        return {name: self.ws.version_of(name) for name in self.upstream}

    def pending(self) -> str:
        return ""

    def gone(self) -> str:
        """Of what is kept in a table of the step's name: whether the version that was built last is not there any more."""
        doc = self.ws.state.get("asset", self.name)
        if doc is None or not str(doc.value["version"]).isdigit():
            return ""
        there = self.ws.lake.table(self.name).version if self.ws.lake.exists(self.name) else -1
        return "its table was deleted or cut back since it was built" if there < int(doc.value["version"]) else ""

    def cost(self) -> Cost:
        tables = [self.ws.lake.table(n) for n in self.upstream if self.ws.lake.exists(n)]
        return Cost(sum(t.rows() for t in tables), sum(t.bytes() for t in tables))


class TableStep(_Recorded):
    """A table in SQL, by a function, or from a stream's contents."""

    kind = "table"

    def __init__(self, ws: Workspace, table: Table, upstream: tuple[str, ...], force: bool = False) -> None:
        self.ws, self.table, self.name, self.upstream, self.force = ws, table, table.name, upstream, force

    def pending(self) -> str:
        return self.gone()

    @property
    def definition(self) -> str:
        from millstream.transform.build import fingerprint

        return fingerprint(self.table, {}, self.ws.project.params)

    def cost(self) -> Cost:
        from millstream.transform.estimate import estimate

        found = estimate(self.table, self.ws.lake, self.ws.project.params)
        return Cost(found.rows, found.bytes)

    def expects(self, rows: int) -> Cost:
        from millstream.transform.estimate import estimate

        found = estimate(self.table, self.ws.lake, self.ws.project.params)
        if found.kind == "nothing" and not (self.table.incremental and rows):
            found = estimate(self.table, self.ws.lake, self.ws.project.params, full=True)
        return Cost(found.rows + rows, found.bytes)

    def make(self, report: Report) -> Made:
        from millstream.transform.build import build

        doc = self.ws.state.get("asset", self.name)
        changed = doc is not None and doc.value["definition"] != self.definition
        built = build(self.table, self.ws.lake, self.ws.compute, self.ws.project.params, full=changed or self.force)
        return Made(str(built.version), built.rows, built.bytes, note=built.kind)


class ScoringStep(_Recorded):
    """A table that a version of a model makes of the rows of a spine."""

    kind = "table"

    def __init__(self, ws: Workspace, table: Table, scoring: Scoring, upstream: tuple[str, ...]) -> None:
        self.ws, self.table, self.scoring, self.name, self.upstream = ws, table, scoring, table.name, upstream

    def pending(self) -> str:
        return self.gone()

    @property
    def definition(self) -> str:
        from millstream.train.scoring import definition_of

        return definition_of(self.scoring)

    def inputs(self) -> dict[str, str]:
        """Of the model the version that the reference means now: an alias may move without a training."""
        model = self.scoring.ref.model.name
        try:
            version = str(self.ws.tracking.version(model, self.scoring.ref.version).number)
        except NotFound:
            version = ""
        return {**super().inputs(), model: version}

    def make(self, report: Report) -> Made:
        from millstream.train.scoring import score

        made = score(self.table, self.ws.lake, self.ws.compute, self.ws.tracking)
        by = f"{self.scoring.ref.model.name}@{made.model_version}"
        return Made(str(made.version), made.rows, note=f"{by} had scored them" if made.reused else f"scored by {by}")


class FeaturesStep(_Recorded):
    """A definition's online state: over a stream filled from the lake once, then moved on by the updater; over a table, of its version."""

    kind = "features"

    def __init__(self, ws: Workspace, features: Features, upstream: tuple[str, ...]) -> None:
        self.ws, self.features, self.name, self.upstream = ws, features, features.name, upstream

    @property
    def definition(self) -> str:
        return self.ws.definition(self.features).generation

    def pending(self) -> str:
        definition = self.ws.definition(self.features)
        applied = self.ws.online.applied(definition.generation)
        if applied is None or not applied.active or self._filled():
            return ""
        if definition.live:
            return f"the rules of {definition.stream} have changed since it was filled"
        now = self.ws.lake.table(definition.stream).version
        return f"{definition.stream} was rebuilt: it is at version {now}, and requests are answered from version {applied.offsets.get(0, 'none')}"

    def cost(self) -> Cost:
        return Cost() if self._filled() else super().cost()

    def expects(self, rows: int) -> Cost:
        """Over a stream what comes is the updater's; a table's version is filled anew."""
        return self.cost() if self.ws.definition(self.features).live else super().cost()

    def _filled(self) -> bool:
        from millstream.features.fill import current

        return current(self.ws.lake, self.ws.online, self.ws.definition(self.features), self.features.source)

    def make(self, report: Report) -> Made:
        """Filled here, or by the process that serves, which may be about it at this moment."""
        from millstream.features.fill import fill

        definition, source, until = self.ws.definition(self.features), self.features.source, time.monotonic() + _FILLS_S
        while not self._filled():
            try:
                return Made(definition.generation, rows=fill(self.ws.compute, self.ws.lake, self.ws.online, definition, source), note="filled")
            except Conflict:
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)
        return Made(definition.generation, note="live")


class SetStep(_Recorded):
    """A training set: one ripe row a moment, with what was known then."""

    kind = "training_set"

    def __init__(self, ws: Workspace, training_set: TrainingSet[Any], upstream: tuple[str, ...]) -> None:
        self.ws, self.set, self.name, self.upstream = ws, training_set, training_set.name, upstream

    def pending(self) -> str:
        return self.gone()

    @property
    def definition(self) -> str:
        from millstream.train.dataset import definition_of

        return definition_of(self.set, self.ws.project.params)

    def make(self, report: Report) -> Made:
        from millstream.train.dataset import build
        from millstream.train.kept import sentence

        made = build(self.set, self.ws.lake, self.ws.compute, self.ws.project.params)
        parts = ", ".join(f"{rows:,} {part}" for part, rows in made.rows.items())
        return Made(str(made.version), sum(made.rows.values()), note=f"({parts}); {sentence(made)}" if made.total is not None else parts)


class ModelStep(_Recorded):
    """A model: trained, tracked, registered, promoted or not."""

    kind = "model"

    def __init__(self, ws: Workspace, model: Model[Any], upstream: tuple[str, ...], params: Mapping[str, Any] | None = None) -> None:
        self.ws, self.model, self.name, self.upstream = ws, model, model.name, upstream
        self.params = dict(params or {})

    @property
    def definition(self) -> str:
        from millstream.train.run import code_of

        return digest(code_of(self.model), {**self.model.params, **self.params}, self.model.metrics, self.model.promote_if)

    def make(self, report: Report) -> Made:
        from millstream.train.dataset import build
        from millstream.train.run import train

        dataset = build(self.model.on, self.ws.lake, self.ws.compute, self.ws.project.params)
        version = train(self.model, dataset, self.ws.tracking, self.ws.lake, self.ws.sql, self.params or None)  # its rows come to this process anyway
        metrics = self.ws.tracking.run(version.run_id).metrics
        shown = " ".join(f"{name} {metrics[name]:.3f}" for name in self.model.metrics if name in metrics)
        return Made(str(version.number), note=f"version {version.number} {shown} {' '.join(version.aliases)}".strip(),
                    details={"metrics": dict(metrics)})  # fmt: skip


def size(count: float) -> str:
    """Bytes for people.

    >>> size(1_500_000)
    '1.5 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def steps(ws: Workspace, *, until_us: int | None = None, model_params: Mapping[str, Mapping[str, Any]] | None = None, force: bool = False) -> list[Step]:
    """Every asset of the project, in order of dependency. `force`: tables are rebuilt whole."""
    project, graph = ws.project, ws.project.graph
    files = [s for s in project.sources.values() if isinstance(s.reader, FileReader)]
    made: list[Step] = [SourceStep(ws, files, until_us)] if files else []
    fed = {s.into.name for s in files}
    made += [StreamStep(ws, s, ("sources",) if s.name in fed else ()) for s in ws.all_streams().values()]
    known = {step.name for step in made} | set(project.tables) | set(project.training_sets) | set(project.features)
    for name in graph.order():
        noun = project.by_name.get(name)
        before = tuple(u for u in graph.upstream(name) if u in known)
        if isinstance(noun, Table) and noun.scoring is not None:
            model = noun.scoring.ref.model
            sources = [noun.scoring.spine.name, *(f.source.name for f in model.on.upstream() if isinstance(f, Features))]
            made.append(ScoringStep(ws, noun, noun.scoring, tuple(dict.fromkeys([*sources, model.name]))))
        elif isinstance(noun, Table):
            made.append(TableStep(ws, noun, before, force))
        elif isinstance(noun, Features):
            made.append(FeaturesStep(ws, noun, before))
        elif isinstance(noun, TrainingSet):
            # The set reads the sources of its features from the lake; the online state is no input of it.
            sources = [noun.at.name, *(f.source.name for f in noun.upstream() if isinstance(f, Features)), *(o.stream.name for o in noun.labels.values())]
            made.append(SetStep(ws, noun, tuple(dict.fromkeys(sources))))
        elif isinstance(noun, Model):
            made.append(ModelStep(ws, noun, (noun.on.name,), (model_params or {}).get(name)))
    return made
