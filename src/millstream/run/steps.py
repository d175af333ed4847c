"""The steps of a project: one class a kind of asset that is built from tables, and `steps`, which finds all of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from millstream.base.errors import Conflict, NotFound
from millstream.declare.features import Features
from millstream.declare.model import Model
from millstream.declare.source import FileReader
from millstream.declare.table import Table
from millstream.declare.training_set import TrainingSet
from millstream.features.define import define
from millstream.run.intake import SourceStep, StreamStep, version_of
from millstream.run.step import Cost, Made, Report, Step, digest
from millstream.serve.decisions import all_streams

if TYPE_CHECKING:
    from millstream.declare.model import Scoring
    from millstream.ports import Engines

_FILLS_S = 600.0
"""For how long a step waits for another process that fills the same features."""


class _Recorded:
    """Steps whose last making is remembered; inputs are compared by the versions recorded then."""

    recorded = True
    ws: Engines
    name: str
    upstream: tuple[str, ...]

    def inputs(self) -> dict[str, str]:
        return {name: version_of(self.ws, name) for name in self.upstream}

    def pending(self) -> str:
        return ""

    def gone(self) -> str:
        """Of what is kept in a table of the step's name: whether the version that was built last is not there
        any more.
        """
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

    def __init__(self, ws: Engines, table: Table, upstream: tuple[str, ...], force: bool = False) -> None:
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

    def __init__(self, ws: Engines, table: Table, scoring: Scoring, upstream: tuple[str, ...]) -> None:
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
    """A definition's online state: over a stream filled from the lake once, then moved on by the updater; over a table,
    of its version.
    """

    kind = "features"

    def __init__(self, ws: Engines, features: Features, upstream: tuple[str, ...]) -> None:
        self.ws, self.features, self.name, self.upstream = ws, features, features.name, upstream

    @property
    def definition(self) -> str:
        return define(self.features, self.ws.project.params).generation

    def pending(self) -> str:
        definition = define(self.features, self.ws.project.params)
        applied = self.ws.online.applied(definition.generation)
        if applied is None or not applied.active or self._filled():
            return ""
        if definition.live:
            return f"the rules of {definition.stream} have changed since it was filled"
        now = self.ws.lake.table(definition.stream).version
        return (
            f"{definition.stream} was rebuilt: it is at version {now}, and requests are answered from version"
            f" {applied.offsets.get(0, 'none')}"
        )

    def cost(self) -> Cost:
        return Cost() if self._filled() else super().cost()

    def expects(self, rows: int) -> Cost:
        """Over a stream what comes is the updater's; a table's version is filled anew."""
        return self.cost() if define(self.features, self.ws.project.params).live else super().cost()

    def _filled(self) -> bool:
        from millstream.features.fill import current

        return current(
            self.ws.lake, self.ws.online, define(self.features, self.ws.project.params), self.features.source
        )

    def make(self, report: Report) -> Made:
        """Filled here, or by the process that serves, which may be about it at this moment."""
        from millstream.features.fill import fill

        definition, source, until = (
            define(self.features, self.ws.project.params),
            self.features.source,
            time.monotonic() + _FILLS_S,
        )
        while not self._filled():
            try:
                return Made(
                    definition.generation,
                    rows=fill(self.ws.compute, self.ws.lake, self.ws.online, definition, source),
                    note="filled",
                )
            except Conflict:
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)
        return Made(definition.generation, note="live")


class SetStep(_Recorded):
    """A training set: one mature row a moment, with what was known then."""

    kind = "training_set"

    def __init__(self, ws: Engines, training_set: TrainingSet[Any], upstream: tuple[str, ...]) -> None:
        self.ws, self.set, self.name, self.upstream = ws, training_set, training_set.name, upstream

    def pending(self) -> str:
        return self.gone()

    @property
    def definition(self) -> str:
        from millstream.train.dataset import definition_of

        return definition_of(self.set, self.ws.project.params)

    def make(self, report: Report) -> Made:
        from millstream.train import blank
        from millstream.train.dataset import build
        from millstream.train.kept import sentence

        made = build(self.set, self.ws.lake, self.ws.compute, self.ws.project.params)
        parts = ", ".join(f"{rows:,} {part}" for part, rows in made.rows.items())
        told = (
            [f"({parts})", sentence(made), blank.sentence(made.blank)]
            if made.total is not None
            else [parts, blank.sentence(made.blank)]
        )
        return Made(str(made.version), sum(made.rows.values()), note="; ".join(text for text in told if text))


class ModelStep(_Recorded):
    """A model: trained, tracked, registered, promoted or not."""

    kind = "model"

    def __init__(
        self, ws: Engines, model: Model[Any], upstream: tuple[str, ...], params: Mapping[str, Any] | None = None
    ) -> None:
        self.ws, self.model, self.name, self.upstream = ws, model, model.name, upstream
        self.params = dict(params or {})

    @property
    def definition(self) -> str:
        from millstream.train.run import code_of

        return digest(
            code_of(self.model), {**self.model.params, **self.params}, self.model.metrics, self.model.promote_if
        )

    def make(self, report: Report) -> Made:
        from millstream.train.dataset import build
        from millstream.train.run import train

        dataset = build(self.model.on, self.ws.lake, self.ws.compute, self.ws.project.params)
        # Its rows come to this process anyway
        version = train(self.model, dataset, self.ws.tracking, self.ws.lake, self.ws.sql, self.params or None)
        metrics = self.ws.tracking.run(version.run_id).metrics
        shown = " ".join(f"{name} {metrics[name]:.3f}" for name in self.model.metrics if name in metrics)
        return Made(
            str(version.number),
            note=f"version {version.number} {shown} {' '.join(version.aliases)}".strip(),
            details={"metrics": dict(metrics)},
        )


def steps(
    ws: Engines,
    *,
    until_us: int | None = None,
    model_params: Mapping[str, Mapping[str, Any]] | None = None,
    force: bool = False,
) -> list[Step]:
    """Every asset of the project, in order of dependency. `force`: tables are rebuilt whole."""
    project, graph = ws.project, ws.project.graph
    files = [s for s in project.sources.values() if isinstance(s.reader, FileReader)]
    made: list[Step] = [SourceStep(ws, files, until_us)] if files else []
    fed = {s.into.name for s in files}
    made += [StreamStep(ws, s, ("sources",) if s.name in fed else ()) for s in all_streams(ws.project).values()]
    known = {step.name for step in made} | set(project.tables) | set(project.training_sets) | set(project.features)
    for name in graph.order():
        noun = project.by_name.get(name)
        before = tuple(u for u in graph.upstream(name) if u in known)
        if isinstance(noun, Table) and noun.scoring is not None:
            model = noun.scoring.ref.model
            sources = [
                noun.scoring.spine.name,
                *(f.source.name for f in model.on.upstream() if isinstance(f, Features)),
            ]
            made.append(ScoringStep(ws, noun, noun.scoring, tuple(dict.fromkeys([*sources, model.name]))))
        elif isinstance(noun, Table):
            made.append(TableStep(ws, noun, before, force))
        elif isinstance(noun, Features):
            made.append(FeaturesStep(ws, noun, before))
        elif isinstance(noun, TrainingSet):
            # The set reads the sources of its features from the lake; the online state is not an input of it.
            sources = [
                noun.at.name,
                *(f.source.name for f in noun.upstream() if isinstance(f, Features)),
                *(o.stream.name for o in noun.labels.values()),
            ]
            made.append(SetStep(ws, noun, tuple(dict.fromkeys(sources))))
        elif isinstance(noun, Model):
            made.append(ModelStep(ws, noun, (noun.on.name,), (model_params or {}).get(name)))
    return made
