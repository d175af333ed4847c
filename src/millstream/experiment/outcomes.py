"""The table `<endpoint>_outcomes`: each decision with what became of it, once that is mature, and what it was worth.

Columns: all of the decision's, then `outcome` (a number; booleans are 0 and 1), `reward` and `guardrail__<name>`. A
decision is there as soon as every outcome its experiment asks for is mature, for early answers too; `outcome` is NULL
when nothing came and `otherwise` says nothing about that (a cancelled flight), so that arms whose outcomes go missing
can be seen.

A refresh replaces the interval of decision times that new files of the decisions or of the outcomes' streams can have
touched, in one commit whose metadata names the versions it was made from: killed or run twice, it gives the same rows.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from millstream.base.errors import NotFound, Truncated
from millstream.base.event import ENVELOPE, TIMESTAMP, Kind
from millstream.declare.endpoint import Endpoint
from millstream.declare.event import Event
from millstream.declare.experiment import Experiment
from millstream.declare.outcome import Outcome, Reward
from millstream.features.outcome import meaning, outcome_sql
from millstream.lang.expression import Expression
from millstream.lang.expression import compile as compile_expression

if TYPE_CHECKING:
    from millstream.lake.lake import Lake
    from millstream.lake.table import LakeTable
    from millstream.transform.port import Relation, Sql

FORMAT = 2
META = "millstream.outcomes"
REWARD = "reward"


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did.

    Attributes:
        version: Of the outcomes table; None while there is no decision or no mature outcome.
        rows: Written; 0 when all stood already.
        low_us: Decision times from here were made anew.
        mature_us: Decisions before this are mature (for the slowest of the endpoint's outcomes).
    """

    version: int | None
    rows: int
    low_us: int
    mature_us: int


@dataclass(frozen=True)
class Group:
    """Decisions that are judged alike: those of one experiment, or (None) those that no experiment took."""

    experiment: str | None
    metrics: Mapping[str, Reward]
    others: tuple[str, ...] = ()

    def chosen(self) -> str:
        """SQL that picks its decisions."""
        if self.experiment is not None:
            return f"experiment = '{self.experiment}'"
        return "experiment is null" + "".join(
            f" or experiment not in ({', '.join(repr(o) for o in self.others)})" for _ in self.others[:1]
        )


def groups(endpoint: Endpoint[Any, Any]) -> list[Group]:
    """The endpoint's experiments with their metrics, the reward first; then the rest, which is judged by the first
    experiment's outcome or by the label of the model that answers."""
    made = [Group(e.name, metrics_of(e)) for e in endpoint.experiments]
    rest = endpoint.experiments[0].reward.outcome if endpoint.experiments else _label(endpoint)
    if rest is not None:
        made.append(Group(None, {REWARD: rest.score("outcome")}, tuple(e.name for e in endpoint.experiments)))
    return made


def metrics_of(experiment: Experiment[Any]) -> dict[str, Reward]:
    """Column of the outcomes table -> reward: `reward`, and `guardrail__<name>`."""
    return {REWARD: experiment.reward} | {
        f"guardrail__{name}": reward for name, reward in experiment.guardrails.items()
    }


def reward_kind(reward: Reward, event: type[Event] | None, params: Mapping[str, Any]) -> Kind:
    """The type of a reward; "bool" is learnt by Beta posteriors and compared as a share."""
    return _expression(reward, event, params).kind


def refresh(endpoint: Endpoint[Any, Any], lake: Lake, sql: Sql, params: Mapping[str, Any]) -> Refreshed:
    """Bring `<endpoint>_outcomes` up to date with the lake.

    Raises:
        Conflict: Another process refreshed it meanwhile; its result is as good.
    """
    nothing = Refreshed(None, 0, 0, 0)
    judged = groups(endpoint)
    if not lake.exists(endpoint.decisions) or not judged:
        return nothing
    bounds = {g: b for g in range(len(judged)) if (b := _mature(judged[g], lake)) is not None}
    if not bounds:
        return nothing
    tables = {
        name: lake.table(name)
        for name in dict.fromkeys(
            [endpoint.decisions, *(r.outcome.stream.name for g in judged for r in g.metrics.values())]
        )
        if lake.exists(name)
    }
    work = _Work(endpoint, judged, bounds, tables, sql, params)
    schema = work.schema()
    made = lake.table(endpoint.outcomes) if lake.exists(endpoint.outcomes) else None
    last = _last(made) if made is not None else None
    low = work.low(last) if made is not None and made.schema.names == schema.names else 0
    high = max(bounds.values())
    if made is not None and low >= high:
        return Refreshed(made.version, 0, low, high)
    table = made or lake.create(endpoint.outcomes, schema)
    batches = work.rows(low)
    first = next(batches, None)
    if first is None and low > 0 and last is not None:
        return Refreshed(table.version, 0, low, high)
    counted = _Counted(first, batches)
    note = {
        META: {
            "format": FORMAT,
            "definition": work.definition(),
            "versions": {name: [t.uuid, t.version] for name, t in tables.items()},
            "ripe": work.bounds_by_experiment(),
        }
    }
    where = ("ts", low, max(high, low)) if low > 0 else None
    version = table.replace(pa.RecordBatchReader.from_batches(schema, counted), where=where, metadata=note)
    return Refreshed(version, counted.rows, low, high)


def due(endpoint: Endpoint[Any, Any], lake: Lake, sql: Sql) -> int:
    """How many landed decisions are mature by now: the rows that a refresh would leave in the outcomes table."""
    judged = groups(endpoint)
    if not lake.exists(endpoint.decisions):
        return 0
    bounds = {g: b for g in range(len(judged)) if (b := _mature(judged[g], lake)) is not None}
    picked = " or ".join(f"(epoch_us(ts) < {bound} and ({judged[g].chosen()}))" for g, bound in bounds.items())
    found = sql.query(
        f"select count(*) as n from d where {picked or 'false'}", {"d": lake.table(endpoint.decisions).snapshot()}
    ).read_all()
    return int(found["n"][0].as_py())


class _Counted:
    """Batches, counted as they pass."""

    def __init__(self, first: pa.RecordBatch | None, rest: Iterator[pa.RecordBatch]) -> None:
        self.rows, self._first, self._rest = 0, first, rest

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if self._first is not None:
            self.rows += self._first.num_rows
            yield self._first
        for batch in self._rest:
            self.rows += batch.num_rows
            yield batch


@dataclass(frozen=True)
class _Work:
    """One refresh: what is read, at fixed versions."""

    endpoint: Endpoint[Any, Any]
    groups: Sequence[Group]
    bounds: Mapping[int, int]
    tables: Mapping[str, LakeTable]
    sql: Sql
    params: Mapping[str, Any]

    def schema(self) -> pa.Schema:
        """Decision columns, `outcome`, `reward`, guardrails of all experiments."""
        decided = [f for f in self.tables[self.endpoint.decisions].schema if f.name not in ENVELOPE]
        extra = dict.fromkeys(["outcome", *(m for g in self.groups for m in g.metrics)])
        return pa.schema([*decided, *(pa.field(name, pa.float64()) for name in extra)])

    def definition(self) -> str:
        """Fingerprint of how decisions are judged: by another reward, horizon or parameter all are judged anew."""
        said = json.dumps(
            [
                [g.experiment, [[name, r.expression, meaning(r.outcome)] for name, r in g.metrics.items()]]
                for g in self.groups
            ]
        )
        used = {name: self.params.get(name) for name in sorted(set(re.findall(r"\$(\w+)", said)))}
        return hashlib.sha256(f"{said}{json.dumps(used, default=str)}".encode()).hexdigest()[:16]

    def bounds_by_experiment(self) -> dict[str, int]:
        return {self.groups[g].experiment or "": bound for g, bound in self.bounds.items()}

    def low(self, last: Mapping[str, Any] | None) -> int:
        """The least decision time whose row may differ from what is stored; 0 is all."""
        if last is None or last.get("format") != FORMAT or last["definition"] != self.definition():
            return 0
        if any(r.outcome.credit != "all" for g in self.groups for r in g.metrics.values()):
            return 0
        if {name: uuid for name, (uuid, _) in last["versions"].items()} != {
            name: t.uuid for name, t in self.tables.items()
        }:
            return 0
        stood = last["ripe"]
        if set(stood) != set(self.bounds_by_experiment()):
            return 0
        lows = [stood[name] for name, bound in self.bounds_by_experiment().items() if bound > stood[name]]
        within = {
            name: max(
                (r.outcome.within_us for g in self.groups for r in g.metrics.values() if r.outcome.stream.name == name),
                default=0,
            )
            for name in self.tables
        }
        times = {
            r.outcome.stream.name: r.outcome.stream.schema.event_time for g in self.groups for r in g.metrics.values()
        } | {self.endpoint.decisions: "ts"}
        for name, table in self.tables.items():
            try:
                added = table.appended(last["versions"][name][1])
            except (Truncated, NotFound):
                return 0
            if added is None:  # rows have gone, or are others now: what was judged by them cannot be told apart
                return 0
            if added:
                snapshot = replace(table.snapshot(), files=tuple(added), partitions=())
                text = f'select min(epoch_us("{times[name]}")) as low from "{name}"'
                least = self.sql.query(text, {name: snapshot}).read_all()["low"][0].as_py()
                lows += [] if least is None else [least - within[name]]
        return min([*lows, max(self.bounds.values())])

    def rows(self, low: int) -> Iterator[pa.RecordBatch]:
        """Mature decisions from `low` on, judged."""
        schema = self.schema()
        for g, bound in self.bounds.items():
            if bound > low:
                for batch in self._judged(self.groups[g], low, bound, schema):
                    if batch.num_rows:
                        yield batch

    def _judged(self, group: Group, low: int, bound: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        decisions = self.endpoint.decisions
        relations: dict[str, Relation] = {decisions: self.tables[decisions].snapshot()}
        keys = dict.fromkeys(k for r in group.metrics.values() for k in r.outcome.on)
        picked = (  # a bound that lets whole files out
            f"ts < make_timestamptz({bound}) and ts >= make_timestamptz({low}) and ({group.chosen()})"
        )
        # `credit` looks at neighbours before the interval, so only its whole history is right; low is 0 then.
        spine = self.sql.query(
            f'select row_number() over (order by ts, decision_id) - 1 as _row, ts as _t, * from "{decisions}" where'
            f" {picked}",
            relations,
        ).read_all()
        if spine.num_rows == 0:
            return
        tables: dict[str, Relation] = {"spine": spine}
        narrow = spine.select(["_row", "_t", *keys])
        ends = pc.min_max(narrow["_t"].cast(pa.int64())).as_py()
        moments = ends["min"], ends["max"]
        fields = ", ".join(f's."{name}"' for name in spine.schema.names if name != "outcome")
        distinct: list[Outcome] = []
        columns, joins = "", ""
        for name, reward in group.metrics.items():
            if reward.outcome not in distinct:
                distinct.append(reward.outcome)
                query = outcome_sql(reward.outcome, self.params, moments=moments)
                tables[f"o{len(distinct) - 1}"] = self.sql.query(
                    query.sql, {"spine": narrow, query.stream: self.tables[query.stream].snapshot()}
                ).read_all()
            value = _expression(reward, self.endpoint.event, self.params)
            of = f"o{distinct.index(reward.outcome)}"
            # Each metric names its own outcome "outcome", so each is a table of its own. A correlated subquery costs
            # ten times as much.
            judged = f'select {fields}, {of}.outcome as "outcome" from spine s left join {of} using (_row)'
            joins += f""" left join (select _row, cast({value.sql} as double) as value from ({judged})) "m_{name}"
                using (_row)"""
            columns += f', "m_{name}".value as "{name}"'
        decided = [f.name for f in schema if f.name in spine.schema.names]
        inner = ", ".join(f's."{c}"' for c in decided)
        text = f"""select {inner}, {_number("o0.outcome", tables["o0"])} as "outcome"{columns}
            from spine s left join o0 using (_row){joins} order by s._row"""
        found = self.sql.query(text, tables)
        for batch in found:
            yield _fitted(batch, schema)


def _number(column: str, of: Any) -> str:
    """The outcome as a double; a text has none."""
    kind = of.schema.field("outcome").type
    return "null::double" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else f"cast({column} as double)"


def _expression(reward: Reward, event: type[Event] | None, params: Mapping[str, Any]) -> Expression:
    kind = outcome_sql(reward.outcome, params).kind
    request: dict[str, Kind] = {f.name: f.kind for f in event.__schema__.fields} if event is not None else {}
    fields: dict[str, Kind] = {**request, "outcome": kind, "prediction": "float64", "arm": "string", "value": "string"}
    return compile_expression(reward.expression, fields, params, place=reward.place, what="the reward")


def _mature(group: Group, lake: Lake) -> int | None:
    """Decisions before this are mature for every metric of the group; None while a stream is empty."""
    bounds = []
    for reward in group.metrics.values():
        mark = lake.watermark(reward.outcome.stream)
        if mark is None:
            return None
        bounds.append(mark - reward.outcome.within_us)
    return min(bounds)


def _label(endpoint: Endpoint[Any, Any]) -> Outcome | None:
    refs = endpoint.refs()
    return next(iter(refs[0].model.on.labels.values())) if refs else None


def _last(table: LakeTable) -> Mapping[str, Any] | None:
    """What the newest refresh said of itself; None when its commit is gone."""
    told = table.newest_of(META)
    return None if told is None else dict(told[1])


def _fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with the schema's columns; those of other experiments' guardrails are NULL."""
    columns = []
    for field in schema:
        if field.name in batch.schema.names:
            column = batch.column(field.name)
            columns.append(column if column.type == field.type else column.cast(field.type))
        else:
            columns.append(pa.nulls(batch.num_rows, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


__all__ = ["META", "REWARD", "TIMESTAMP", "Group", "Refreshed", "due", "groups", "metrics_of", "refresh", "reward_kind"]
