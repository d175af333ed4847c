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
from typing import TYPE_CHECKING, Any, Protocol

from millstream.app import trouble
from millstream.app.sources import apart, count, few
from millstream.app.sources import left as left_of
from millstream.declare.errors import ClockWrong, MillstreamError, NotFound, Transient
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


def digest(*parts: object) -> str:
    """A short fingerprint of JSON-able parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


class SourceStep:
    """All file sources of a project: they are read together, merged by event time, so they are one step."""

    kind, recorded, definition = "source", False, ""
    upstream: tuple[str, ...] = ()

    def __init__(self, ws: Workspace, sources: Sequence[Source], until_us: int | None = None) -> None:
        self.ws, self.sources, self.until_us = ws, sources, until_us
        self.name = "sources"

    def inputs(self) -> dict[str, str]:
        return {}

    def cost(self) -> Cost:
        return Cost(bytes=left_of(self._look()[0]))

    def pending(self) -> str:
        fine, stopped = self._look()
        left, new = left_of(fine), sum(s.position is None and s.size == 0 for s in fine)
        said = [f"{size(left)} of files to read" if left else "", count(new, "new empty file", "new empty files") if new else "",
                "files were renamed" if any(s.moved_from for s in fine) else ""]  # fmt: skip
        return "; ".join([*(text for text in said if text), *stopped])

    def _look(self) -> tuple[list[Standing], list[str]]:
        """Splits that can be read, and why the others cannot, nor sources that could not be looked at."""
        from millstream.ingest.pump import standings

        found: list[tuple[SourceEngine, Standing]] = []
        failed: list[str] = []
        for source, engine in self.ws.source_engines(self.sources):
            try:
                found += [(engine, s) for s in standings(self.ws.log, source, engine)]
            except Exception as error:
                failed.append(f'source "{source.name}": {trouble.said(error)}')
        fine, stopped = apart(found)
        return fine, [*failed, *stopped]

    def make(self, report: Report) -> Made:
        """Read what can be read; a failure that may pass is tried again, for its own source."""
        from millstream.ingest.pump import reasons

        counts = self._pumped(report)
        for attempt in range(AGAIN):
            if not any(isinstance(error, Transient) and not isinstance(error, ClockWrong) for error in counts.failed.values()):
                break
            time.sleep(0.2 * 4**attempt)
            more = self._pumped(report)
            counts = replace(more, rows=counts.rows + more.rows, bad=counts.bad + more.bad, faults=counts.faults | more.faults)
        left = f"{', '.join(counts.unended)} may still be being written: what follows its last whole line is left for the next time" if counts.unended else ""
        empty = f"no record in {few(counts.empty)}" if counts.empty else ""
        return Made("", rows=counts.rows, note=", ".join(text for text in (f"{counts.bad:,} bad" if counts.bad else "", empty, left) if text),
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
        from millstream.lake.ruling import ensure

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

    def cost(self) -> Cost:
        tables = [self.ws.lake.table(n) for n in self.upstream if self.ws.lake.exists(n)]
        return Cost(sum(t.rows() for t in tables), sum(t.bytes() for t in tables))


class TableStep(_Recorded):
    """A table in SQL, by a function, or from a stream's contents."""

    kind = "table"

    def __init__(self, ws: Workspace, table: Table, upstream: tuple[str, ...], force: bool = False) -> None:
        self.ws, self.table, self.name, self.upstream, self.force = ws, table, table.name, upstream, force

    @property
    def definition(self) -> str:
        from millstream.transform.build import fingerprint

        return fingerprint(self.table, {}, self.ws.project.params)

    def cost(self) -> Cost:
        from millstream.transform.estimate import estimate

        found = estimate(self.table, self.ws.lake, self.ws.project.params)
        return Cost(found.rows, found.bytes)

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
        from millstream.features.fill import current

        definition = self.ws.definition(self.features)
        applied = self.ws.online.applied(definition.generation) if definition.live else None
        if applied is None or not applied.active or current(self.ws.lake, self.ws.online, definition, self.features.source):
            return ""
        return f"the rules of {definition.stream} have changed since it was filled"

    def make(self, report: Report) -> Made:
        from millstream.features.fill import current, fill

        definition = self.ws.definition(self.features)
        applied, source = self.ws.online.applied(definition.generation), self.features.source
        if definition.live:
            filled = current(self.ws.lake, self.ws.online, definition, source)
        else:
            filled = applied is not None and applied.active and applied.offsets.get(0) == self.ws.lake.table(source.name).version
        if filled:
            return Made(definition.generation, note="live")
        rows = fill(self.ws.compute, self.ws.lake, self.ws.online, definition, source)
        return Made(definition.generation, rows=rows, note="filled")


class SetStep(_Recorded):
    """A training set: one ripe row a moment, with what was known then."""

    kind = "training_set"

    def __init__(self, ws: Workspace, training_set: TrainingSet[Any], upstream: tuple[str, ...]) -> None:
        self.ws, self.set, self.name, self.upstream = ws, training_set, training_set.name, upstream

    @property
    def definition(self) -> str:
        from millstream.train.dataset import definition_of

        return definition_of(self.set, self.ws.project.params)

    def make(self, report: Report) -> Made:
        from millstream.train.dataset import build

        made = build(self.set, self.ws.lake, self.ws.compute, self.ws.project.params)
        return Made(str(made.version), sum(made.rows.values()),
                    note=", ".join(f"{rows:,} {part}" for part, rows in made.rows.items()))  # fmt: skip


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
