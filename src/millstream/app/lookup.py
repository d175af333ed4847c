"""What there is to see, as plain values: one reading for the command line, `--json` and the console."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from millstream.app.each import Rows
from millstream.base.errors import NotFound, UsageError, WorkFailed
from millstream.base.moments import spelled
from millstream.base.words import choices
from millstream.features.define import define
from millstream.run import trouble
from millstream.run.sources import source_engines
from millstream.serve.decisions import all_streams

if TYPE_CHECKING:
    import pyarrow as pa

    from millstream.declare.model import Model
    from millstream.declare.source import Source
    from millstream.declare.stream import Stream
    from millstream.declare.training_set import TrainingSet
    from millstream.ingest.port import SourceEngine
    from millstream.run.port import Run
    from millstream.run.steps import FeaturesStep
    from millstream.run.workspace import Workspace
    from millstream.train.port import Version


def ask(ws: Workspace, query: str, limit: int | None = None) -> pa.Table:
    """A checked, read-only query over the lake; at most `limit` rows are fetched.

    Raises:
        UsageError: It is not one query, it reaches outside the lake, or it asks for what is not there.
        WorkFailed: It failed on the data.
    """
    import pyarrow as pa

    from millstream.transform.guard import read_only

    text = read_only(query, ws.lake.names())
    snapshots = {name: ws.lake.table(name).snapshot() for name in text.tables}
    try:
        reader = ws.sql.query(text, snapshots, ws.project.params)
    except WorkFailed as error:
        raise _refused(ws, text, {name: snapshot.schema for name, snapshot in snapshots.items()}) or error from None
    batches, rows = [], 0
    try:
        for batch in reader:
            batches.append(batch)
            rows += batch.num_rows
            if limit is not None and rows >= limit:
                break
    finally:
        reader.close()
    found = pa.Table.from_batches(batches, reader.schema)
    return found if limit is None else found.slice(0, limit)


def _refused(ws: Workspace, text: str, schemas: Mapping[str, pa.Schema]) -> UsageError | None:
    """The mistake in a query that failed; None when there is none, so that it failed on the data."""
    from millstream.transform.refused import refusal

    try:
        ws.sql.describe(text, schemas, ws.project.params)
    except WorkFailed as error:
        return UsageError(str(refusal(str(error), text, schemas)))
    return None


def runs(ws: Workspace, limit: int = 20) -> list[dict[str, Any]]:
    """The latest runs of the project, newest first: the orchestrator's, and those that somebody waited for."""
    rows = []
    for found in _runs(ws, limit):
        results, ended = found.results, found.ended_at
        seconds = (ended - found.started_at).total_seconds() if ended and found.started_at else None
        rows.append({"run": found.run_id, "status": found.status, "made": sum(r["status"] == "made" for r in results), "up to date": sum(r["status"] == "skipped" for r in results),
                     "failed": sum(r["status"] in ("failed", "blocked") for r in results), "seconds": "" if seconds is None else round(seconds, 1), "started": found.started_at.isoformat()[:19] if found.started_at else ""})  # fmt: skip
    return rows


def _spelled(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _runs(ws: Workspace, limit: int) -> list[Run]:
    from millstream.base.registry import engine

    here = engine("orchestrator", "local")("local", ws).runs(limit)
    known = {found.run_id for found in here}
    there = [found for found in ws.orchestrator.runs(limit) if found.run_id not in known]
    newest = datetime.max.replace(tzinfo=UTC)  # what is queued has not begun
    return sorted([*here, *there], key=lambda found: found.started_at or newest, reverse=True)[:limit]


def run(ws: Workspace, name: str) -> dict[str, Any]:
    """One run with the end of each of its steps."""
    found = find_run(ws, name)
    return {"run": name, "status": found.status, "started_at": _spelled(found.started_at), "ended_at": _spelled(found.ended_at), "results": list(found.results)}


def find_run(ws: Workspace, name: str) -> Run:
    """As it stands: of this machine's, or the orchestrator's. Raises NotFound."""
    from millstream.base.registry import engine

    try:
        return engine("orchestrator", "local")("local", ws).run(name)
    except NotFound:
        return ws.orchestrator.run(name)


def steps(ws: Workspace, name: str) -> list[dict[str, Any]]:
    """Steps of a run that another orchestrator runs, as far as they have begun: the last attempt at each, and what became of it."""
    from millstream.run.claim import KIND

    docs = ws.state.list(KIND, prefix=f"{name}/")
    return [{"step": doc.key.rpartition("/")[2], "status": doc.value["status"], "attempt": doc.value["attempt"], "at": doc.value["at"][:19]} for doc in docs]


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
    behind = sum(max(0, end.high - txns.get(f"millstream/{topic.uuid}/{p}", 0)) for p, end in ends.items()) if topic else 0
    mark = ws.lake.watermark(stream) if table else None
    newest = max((at for app, at in txns.items() if app.startswith(TIME) and at > NEVER), default=None)
    upto = complete.declared(table) if table else None
    said = f"up to {_moment(upto)}" if upto is not None else "taken back: records came later" if table and complete.taken_back(table) else ""
    return {"stream": stream.name, "in the log": sum(e.high - e.low for e in ends.values()), "in the lake": table.rows() if table else 0,
            "behind": behind, "held": sum(e.held for e in ends.values()), "end": sum(e.high for e in ends.values()),
            "newest event": _moment(newest), "watermark": _moment(mark), "complete": said,
            "given up": sum(gap.end - gap.start for gap in gaps.recorded(table)) if table else 0, "stuck": trouble.why(ws, stream) if topic else ""}  # fmt: skip


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
        return {"source": source.name, "stream": source.into.name, "files": len(found), "read": sum(s.done for s in found),
                "bytes": sum(s.size or 0 for s in found), "stuck": "; ".join(dict.fromkeys(waits))}  # fmt: skip

    for source, engine in source_engines(ws.project):
        rows.add(f"source {source.name}", partial(row, source, engine))
    return rows


def waiting(ws: Workspace, limit: int = 0) -> list[dict[str, Any]]:
    """All that has failed and waits: streams, sources, assets, monitors, experiments; each with its reason and its next try."""
    return list(trouble.lines(trouble.found(ws.state)))


def tables(ws: Workspace, limit: int = 0) -> Rows:
    """Each table of the lake: version, rows, bytes, columns."""
    rows = Rows()

    def row(name: str) -> dict[str, Any]:
        t = ws.lake.table(name)
        return {"table": name, "version": t.version, "rows": t.rows(), "bytes": t.bytes(), "columns": len(t.schema)}

    for name in ws.lake.names():
        rows.add(f"table {name}", partial(row, name))
    return rows


def features(ws: Workspace, limit: int = 0) -> Rows:
    """Each features noun: what it is made of, when a row of that is known, where the online state stands, and why it is stale."""
    from millstream.run.steps import FeaturesStep
    from millstream.run.steps import steps as every

    rows = Rows()
    for step in every(ws):
        if isinstance(step, FeaturesStep):
            rows.add(f"features {step.name}", partial(_features, ws, step))
    return rows


def _features(ws: Workspace, step: FeaturesStep) -> dict[str, Any]:
    from millstream.declare.table import Table
    from millstream.run.plan import reasons

    source, definition, doc = step.features.source, define(step.features, ws.project.params), ws.state.get("asset", step.name)
    applied = ws.online.applied(definition.generation)
    stands: Any = "" if applied is None or not applied.active else sum(applied.offsets.values())
    shown = {"features": step.name, "of": source.name, "a row is known at": "as it arrives", "online": stands, "in the lake": "", "stale": step.pending()}
    if isinstance(source, Table):
        known = "always" if definition.time is None else str(source.known or "its time")
        at = ws.lake.table(source.name).version if ws.lake.exists(source.name) else ""
        shown |= {"a row is known at": known, "in the lake": at, "stale": ", ".join(reasons(step, doc.value if doc else None))}
    return shown


def models(ws: Workspace, limit: int = 0) -> Rows:
    """Each version of each model, newest first."""
    found = Rows()

    def row(model: Model[Any], version: Version) -> dict[str, Any]:
        metrics = ws.tracking.run(version.run_id).metrics
        return {"model": f"{model.name}@{version.number}", "aliases": " ".join(version.aliases), **{m: metrics.get(m) for m in model.metrics},
                "made": version.created_at.isoformat(" ", "seconds")[:19]}  # fmt: skip

    for model in ws.project.models.values():
        for version in reversed(found.each.attempt(f"model {model.name}", partial(ws.tracking.versions, model.name)) or []):
            found.add(f"{model.name}@{version.number}", partial(row, model, version))
    columns = list(dict.fromkeys(key for row in found for key in row))
    found[:] = [{key: row.get(key, "") for key in columns} for row in found]
    return found


def sets(ws: Workspace, limit: int = 0) -> Rows:
    """Each training set as last built: its rows by part, of how many of its spine, and why the others are not in it."""
    rows = Rows()
    for noun in ws.project.training_sets.values():
        rows.add(f"training set {noun.name}", partial(_set, ws, noun))
    return rows


def _set(ws: Workspace, noun: TrainingSet[Any]) -> dict[str, Any]:
    from millstream.train.dataset import latest
    from millstream.train.kept import left

    found = latest(noun.name, ws.lake)
    parts, counted = dict(found.rows) if found else {}, found is not None and found.total is not None
    return {"training set": noun.name, "version": found.version if found else "", "rows": sum(parts.values()) if found else "not built",
            "of": f"{found.total:,} of {found.spine}" if found and counted else noun.at.name, "parts": parts,
            "others": left(found.left_out) if found and counted else ""}  # fmt: skip


def model(ws: Workspace, name: str) -> dict[str, Any]:
    """`trees@champion`: what the version is made from."""
    from millstream.train.describe import describe

    base, _, version = name.partition("@")
    if base not in ws.project.models:
        raise NotFound(f'no model "{base}"; {choices(base, ws.project.models)}')
    return dict(describe(ws.tracking, base, version or "champion"))


def experiments(ws: Workspace, limit: int = 0) -> Rows:
    """Each experiment: method, layer, traffic, status, phase."""
    from millstream.app.experiments import status

    rows = Rows()
    for e in ws.project.experiments.values():
        base = {"experiment": e.name, "method": e.assign.method, "arms": " ".join(e.arms), "unit": e.unit, "layer": e.layer, "traffic": f"{e.traffic[0]:g} to {e.traffic[1]:g}"}  # fmt: skip
        rows.add(f"experiment {e.name}", lambda e=e, base=base: {**base, **status(ws, e)})  # type: ignore[misc]
    return rows


def endpoints(ws: Workspace, limit: int = 0) -> Rows:
    """Each endpoint with its decisions."""
    rows = Rows()
    for name in ws.project.endpoints:
        rows.add(f"endpoint {name}", partial(endpoint, ws, name))
    return rows


def endpoint(ws: Workspace, name: str) -> dict[str, Any]:
    """An endpoint: its decisions in the log and in the lake, how many are judged, how many will be but are not yet."""
    if name not in ws.project.endpoints:
        raise NotFound(f'no endpoint "{name}"; {choices(name, ws.project.endpoints)}')
    from millstream.run.feedback import unjudged

    noun = ws.project.endpoints[name]
    landed = ws.lake.table(noun.decisions).rows() if ws.lake.exists(noun.decisions) else 0
    judged = ws.lake.table(noun.outcomes).rows() if ws.lake.exists(noun.outcomes) else 0
    return {"endpoint": name, "models": " ".join(dict.fromkeys(f"{r.model.name}@{r.version}" for r in noun.refs())),
            "experiments": " ".join(e.name for e in noun.experiments), "decisions": landed, "outcomes": judged, "unjudged": unjudged(ws, noun)}  # fmt: skip


def graph(ws: Workspace, limit: int = 0) -> list[dict[str, Any]]:
    """Every noun, what it is made from, and what is made from it."""
    g = ws.project.graph
    return [
        {"name": name, "kind": ws.project.by_name[name].kind, "from": " ".join(g.upstream(name)), "to": " ".join(g.downstream(name))}
        for name in g.order()
        if name in ws.project.by_name
    ]


def page(code: str) -> str:
    """The page of an error code."""
    from millstream.declare.pages import PAGES

    if code not in PAGES:
        raise UsageError(f"no page {code}; {choices(code, sorted(PAGES))}")
    return PAGES[code]


def trace(ws: Workspace, decision_id: str) -> Any:
    """A decision followed back to its rows and files."""
    from millstream.watch.trace import trace as follow

    return follow(decision_id, ws.project, ws.lake, ws.sql, ws.tracking, source_engines(ws.project))
