"""One decision followed back: its model, its features, the very rows they were made of, and where those came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from millstream.base.duration import spell
from millstream.base.errors import MillstreamError, NotFound
from millstream.base.event import OFFSET, PARTITION
from millstream.base.moments import moment_of, moment_us
from millstream.base.sql import quoted
from millstream.declare.endpoint import Endpoint
from millstream.features.definition import Definition, Output
from millstream.features.window import SLOT_US, start_slot
from millstream.lake.dead import dead_name
from millstream.serve.decisions import decisions_stream, feature_columns, request_schema
from millstream.watch.traced import FeatureTrace, ModelTrace, RowTrace, Trace

if TYPE_CHECKING:
    from millstream.declare.project import Project
    from millstream.declare.source import Source
    from millstream.ingest.port import SourceEngine
    from millstream.lake.lake import Lake
    from millstream.lake.table import LakeTable
    from millstream.train.port import Tracking
    from millstream.transform.port import Sql

ROWS = 20


def trace(
    decision_id: str,
    project: Project,
    lake: Lake,
    sql: Sql,
    tracking: Tracking,
    sources: Sequence[tuple[Source, SourceEngine]] = (),
    *,
    limit: int | None = ROWS,
) -> Trace:
    """Follow a decision back.

    Args:
        sources: The project's pulled sources with their engines; they know the file and line of an event.
        limit: How many of a feature's rows are shown, newest first; None shows all.

    Raises:
        NotFound: No endpoint has landed a decision of this id.
    """
    endpoint, row = _decision(decision_id, project, lake, sql)
    stream = decisions_stream(endpoint, project.params)
    request = {name: row[name] for name in request_schema(endpoint).names()}
    said = {
        name: row[name]
        for name in stream.schema.names()
        if name not in request and name not in feature_columns(endpoint, project.params)
    }
    place = {
        "table": endpoint.decisions,
        "version": lake.table(endpoint.decisions).version,
        "partition": row["_partition"],
        "offset": row["_offset"],
    }
    finder = _Finder(lake, sql, sources, limit)
    return Trace(
        endpoint.name,
        said,
        request,
        place,
        _model(row, project, tracking),
        _features(endpoint, row, project, tracking, finder),
    )


def _decision(decision_id: str, project: Project, lake: Lake, sql: Sql) -> tuple[Endpoint[Any, Any], dict[str, Any]]:
    for endpoint in project.endpoints.values():
        if lake.exists(endpoint.decisions):
            found = sql.query(
                "select * from t where decision_id = $id",
                {"t": lake.table(endpoint.decisions).snapshot()},
                {"id": decision_id},
            ).read_all()
            if found.num_rows:
                return endpoint, found.to_pylist()[0]
    for endpoint in project.endpoints.values():
        if lake.exists(dead_name(endpoint.decisions)):
            letter = _letter(decision_id, lake.table(dead_name(endpoint.decisions)))
            if letter is not None:
                raise NotFound(
                    f'decision "{decision_id}" is a dead letter, record {letter[PARTITION]}:{letter[OFFSET]} of'
                    f" {endpoint.decisions}: {letter['error']}"
                )
    known = ", ".join(project.endpoints) or "none"
    raise NotFound(
        f'no decision "{decision_id}" has landed in the lake; looked at the endpoints {known}. A fresh one lands with'
        " `millstream up` or `millstream run`"
    )


def _letter(decision_id: str, table: LakeTable) -> dict[str, Any] | None:
    """The dead letter of a decision; None when there is none."""
    for batch in table.scan(["error", "raw", PARTITION, OFFSET]):
        for letter in batch.to_pylist():
            if decision_id.encode() in letter["raw"] and _said_by(letter["raw"]) == decision_id:
                return dict(letter)
    return None


def _said_by(raw: bytes) -> Any:
    """Which decision a record says it is; None where it cannot be read."""
    try:
        return msgspec.json.decode(raw).get("decision_id")
    except (msgspec.DecodeError, AttributeError):
        return None


def _model(row: Mapping[str, Any], project: Project, tracking: Tracking) -> ModelTrace | None:
    if row["model"] is None:
        return None
    version = tracking.version(row["model"], str(row["version"]))
    noun = project.models.get(row["model"])
    return ModelTrace(
        row["model"],
        version.number,
        version.run_id,
        version.created_at,
        noun.on.name if noun else "",
        dict(version.tags),
    )


def _features(
    endpoint: Endpoint[Any, Any], row: Mapping[str, Any], project: Project, tracking: Tracking, finder: _Finder
) -> list[FeatureTrace]:
    if row["model"] is None:
        return []
    from millstream.train.pinned import from_json
    from millstream.train.predictor import manifest

    uses = manifest(tracking, row["model"], row["version"])["features"]
    reasons = msgspec.json.decode(row["reasons"]) if row["reasons"] else {}
    as_of = {
        stream: {int(p): end for p, end in ends.items()}
        for stream, ends in msgspec.json.decode(row["as_of"] or "{}").items()
    }
    found: list[FeatureTrace] = []
    for definition, columns, prefix in map(from_json, uses):
        stood = as_of.get(f"{definition.stream}/{prefix}", as_of.get(definition.stream, {}))
        found += finder.features(
            definition, prefix, {k: row[c] for k, c in zip(definition.key, columns, strict=True)}, row, reasons, stood
        )
    derive = next((ref.model.on.derive for ref in endpoint.refs() if ref.model.name == row["model"]), {})
    return found + [
        FeatureTrace(name, row.get(name), reasons.get(name), f"derived: {text}") for name, text in derive.items()
    ]


class _Finder:
    """Finds the rows of windows, each window once however many outputs it has."""

    def __init__(self, lake: Lake, sql: Sql, sources: Sequence[tuple[Source, SourceEngine]], limit: int | None) -> None:
        self._lake, self._sql, self._sources, self._limit = lake, sql, sources, limit
        self._tables: dict[str, LakeTable] = {}
        self._commits: dict[str, Any] = {}

    def features(
        self,
        definition: Definition,
        prefix: str,
        key: Mapping[str, Any],
        row: Mapping[str, Any],
        reasons: Mapping[str, str],
        as_of: Mapping[int, int],
    ) -> Iterable[FeatureTrace]:
        end_us = moment_us(row["ts"])
        for window in definition.windows_us:
            start_us = None if window is None else start_slot(end_us // SLOT_US, window) * SLOT_US
            until_us = definition.until_us(end_us) if definition.ruled else end_us
            version, count, rows = self._rows(definition, key, start_us, until_us, as_of)
            for output in definition.outputs:
                column = f"{prefix}__{output.column(window)}"
                if column not in row:
                    continue  # looked up, and not taken by the model
                yield FeatureTrace(
                    column,
                    row.get(column),
                    reasons.get(column) or reasons.get(prefix),
                    _words(definition, output, key, window),
                    definition.generation,
                    definition.stream,
                    key,
                    None if start_us is None else moment_of(start_us),
                    moment_of(until_us),
                    as_of,
                    version,
                    count,
                    rows,
                    definition.live,
                )

    def _rows(
        self,
        definition: Definition,
        key: Mapping[str, Any],
        start_us: int | None,
        end_us: int,
        as_of: Mapping[int, int],
    ) -> tuple[int | None, int, list[RowTrace]]:
        if not self._lake.exists(definition.stream) or not as_of or any(value is None for value in key.values()):
            return None, 0, []
        if not definition.live:
            return self._table_rows(definition, key, start_us, end_us, as_of.get(0))
        table = self._table(definition.stream).snapshot()
        time = quoted(definition.time or "_arrived_at")
        held = " or ".join(f"(_partition = {p} and _offset < {end})" for p, end in as_of.items())
        conditions = [f"{quoted(name)} = $k{i}" for i, name in enumerate(key)] + [
            f"epoch_us({time}) < {end_us}",
            f"({held})",
        ]
        conditions += [f"epoch_us({time}) >= {start_us}"] if start_us is not None else []
        conditions += [f"({definition.where.sql})"] if definition.where else []
        values = [f"({expression.sql}) as v{i}" for i, (expression, _) in enumerate(definition.values)]
        columns = ", ".join([f"{time} as t", "_partition", "_offset", "_event_id", "_arrived_at", *values])
        text = f"""select {columns}, count(*) over () as n from t where {" and ".join(conditions)}
            order by {time} desc, _partition desc, _offset desc"""
        text += f" limit {self._limit}" if self._limit else ""
        found = (
            self._sql.query(text, {"t": table}, {f"k{i}": value for i, value in enumerate(key.values())})
            .read_all()
            .to_pylist()
        )
        return table.version, found[0]["n"] if found else 0, [self._row(definition, one) for one in found]

    def _table_rows(
        self, definition: Definition, key: Mapping[str, Any], start_us: int | None, until_us: int, version: int | None
    ) -> tuple[int | None, int, list[RowTrace]]:
        """The rows of the version that answered; of the newest where that one is gone."""
        table = self._table(definition.stream)
        try:
            snapshot = table.snapshot(version)
            self._sql.query("select 1 from t limit 1", {"t": snapshot}).read_all()
        except (MillstreamError, OSError):  # cleaned up
            snapshot = table.snapshot()
        conditions = [f"{quoted(name)} = $k{i}" for i, name in enumerate(key)]
        time = "null::timestamptz"
        if definition.time is not None:
            time = f"{quoted(definition.time)}::timestamptz"
            conditions += [
                f"epoch_us({quoted(definition.time)}) < {until_us}",
                f"epoch_us({quoted(definition.time)}) >= {start_us or 0}",
            ]
        conditions += [f"({definition.where.sql})"] if definition.where else []
        values = [f"({expression.sql}) as v{i}" for i, (expression, _) in enumerate(definition.values)]
        order = ", ".join(["t desc", *(f"v{i} desc" for i in range(len(values)))])
        text = (
            f"select {', '.join([f'{time} as t', *values])}, count(*) over () as n from t where"
            f" {' and '.join(conditions)} order by {order}"
        )
        text += f" limit {self._limit}" if self._limit else ""
        found = (
            self._sql.query(text, {"t": snapshot}, {f"k{i}": value for i, value in enumerate(key.values())})
            .read_all()
            .to_pylist()
        )
        made = self._built(definition.stream, snapshot.version)
        rows = [
            RowTrace(
                one["t"],
                {expression.text: one[f"v{i}"] for i, (expression, _) in enumerate(definition.values)},
                None,
                None,
                None,
                None,
                {"version": snapshot.version},
                None,
                made,
            )
            for one in found
        ]
        return snapshot.version, found[0]["n"] if found else 0, rows

    def _built(self, table: str, version: int) -> str | None:
        """What a version of a table is built from, in words."""
        try:
            said = self._table(table).metadata(version)
        except (MillstreamError, OSError):
            return None
        inputs = said.get("inputs") or {}
        return f"built from {', '.join(f'{name} at version {at}' for name, at in inputs.items())}" if inputs else None

    def _row(self, definition: Definition, one: Mapping[str, Any]) -> RowTrace:
        values = {expression.text: one[f"v{i}"] for i, (expression, _) in enumerate(definition.values)}
        return RowTrace(
            one["t"],
            values,
            one["_partition"],
            one["_offset"],
            one["_event_id"],
            one["_arrived_at"],
            self._commit(definition.stream, one["_partition"], one["_offset"]),
            self._file(definition.stream, one["_partition"], one["_offset"]),
            self._source(definition.stream, one["_event_id"]),
        )

    def _file(self, table: str, partition: int, offset: int) -> str | None:
        from millstream.lake.scan import holder

        return holder(self._table(table), partition, offset)

    def _table(self, name: str) -> LakeTable:
        if name not in self._tables:
            self._tables[name] = self._lake.table(name)
        return self._tables[name]

    def _commit(self, table: str, partition: int, offset: int) -> dict[str, int] | None:
        from millstream.lake.lineage import ranges

        if table not in self._commits:
            self._commits[table] = ranges(self._table(table))
        for held in self._commits[table]:
            if held.partition == partition and held.start <= offset < held.end:
                return {"version": held.version, "start": held.start, "end": held.end}
        return None

    def _source(self, stream: str, event_id: str | None) -> str | None:
        if event_id is None:
            return None
        for source, engine in self._sources:
            if source.into.name == stream:
                for split in engine.splits():
                    where = engine.locate(split, event_id)
                    if where:
                        return where
        return f"sent as {event_id}"


def _words(definition: Definition, output: Output, key: Mapping[str, Any], window: int | None) -> str:
    of = "" if output.value is None else f" of {definition.values[output.value][0].text}"
    where = f" where {definition.where.text}" if definition.where else ""
    span = f"the last {spell(window)}" if window is not None else "all time"
    return (
        f"{output.operation}{of} over {span} of {definition.stream}{where},"
        f" {', '.join(f'{k} = {v}' for k, v in key.items())}"
    )
