"""Features of many past moments, from versions of lake tables: tiles, the exact cover of each window, and a running
tail.

Nothing is joined by a range, so a hot key costs no more than its rows. Large sources go through in chunks of keys, each
in tables of the compute engine's scratch database, so memory stays flat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pyarrow as pa

from millstream.base.event import ARRIVED_AT
from millstream.base.sql import quoted
from millstream.features import fits
from millstream.features.definition import Definition
from millstream.features.keys import comparable
from millstream.features.state import empty, sql_output
from millstream.features.steps import Steps, steps_of
from millstream.features.tiles import Tiling
from millstream.features.window import SLOT_US, hop_us
from millstream.transform.port import Relation, Sql

Mode = Literal["known", "event"]
Use = tuple[Definition, Sequence[str], str]
"""A definition, the spine's columns in the order of its key, and the prefix of its columns."""
CHUNK_ROWS = 2_500_000


class Snapshots(Protocol):
    """What is needed of the lake: `table(name).snapshot()`."""

    def table(self, name: str) -> Any: ...


def offline(
    sql: Sql,
    lake: Snapshots,
    spine: Relation,
    uses: Sequence[Use],
    mode: Mode = "known",
    as_of: str | None = None,
    versions: Mapping[str, int] | None = None,
    chunk_rows: int = CHUNK_ROWS,
) -> pa.RecordBatchReader:
    """The features of each row of the spine, as of its moment, the moment itself excluded.

    Args:
        spine: Columns `_row` (int64, unique), `_t` (timestamp) and the key columns. A reader is consumed.
        mode: "known": only what had arrived before the moment. "event": as if nothing were ever late. Rows of a table
            count from when they are known by its rule (`Definition.known_us`), in either mode and beside any positions.
        as_of: A column of the spine with logged positions as JSON, {stream: {partition: next offset}}: an event counts
            if its offset lies below, whatever its arrival. An entry "<stream>/<prefix>" goes before the stream's own.
            The spine must be readable twice.
        versions: Table -> version to read; the newest where absent.
        chunk_rows: Rows of a source worked on at once.

    Returns:
        `_row` and `<prefix>__<output>` for each use, in no particular order.
    """
    plan = _Plan(sql, lake, spine, list(uses), mode, as_of, versions or {}, chunk_rows)
    statements = list(plan.statements())  # fills plan.tables
    return sql.script(statements, plan.result(), plan.tables)


@dataclass
class _Plan:
    sql: Sql
    lake: Snapshots
    spine: Relation
    uses: list[Use]
    mode: Mode
    as_of: str | None
    versions: Mapping[str, int]
    chunk_rows: int

    def __post_init__(self) -> None:
        self.tables: dict[str, Relation] = {"spine": self.spine}
        self._steps: dict[tuple[str, ...], tuple[int, Steps]] = {}

    def statements(self) -> Iterator[str]:
        columns = dict.fromkeys(column for _, key, _ in self.uses for column in key)
        named = {column: f"s{i}" for i, column in enumerate(columns)}
        carried = [f"{quoted(column)} as {name}" for column, name in named.items()] + (
            [f"{quoted(self.as_of)} as as_of"] if self.as_of else []
        )
        yield f"create table sp as select {', '.join(['_row as id', 'epoch_us(_t) as t', *carried])} from spine"
        for number, (definition, key, prefix) in enumerate(self.uses):
            yield from self._use(number, definition, key, [named[column] for column in key], prefix)

    def result(self) -> str:
        columns, joins = ["sp.id as _row"], []
        for number, (definition, _, prefix) in enumerate(self.uses):
            joins.append(f"left join out{number} on out{number}.id = sp.id")
            for i, (output, window) in enumerate(definition.answers()):
                missing = empty(output)
                found = (
                    f"out{number}.a{i}"
                    if missing is None
                    else f"case when out{number}.id is null then {missing!r} else out{number}.a{i} end"
                )
                kind = "bigint" if output.operation == "count" else "double"
                columns.append(f"cast({found} as {kind}) as {quoted(f'{prefix}__{output.column(window)}')}")
        return f"select {', '.join(columns)} from sp {' '.join(joins)}"

    def _use(
        self, number: int, definition: Definition, asked: Sequence[str], key: Sequence[str], prefix: str
    ) -> Iterator[str]:
        snapshot = self.lake.table(definition.stream).snapshot(self.versions.get(definition.stream))
        fits.check(definition, snapshot.schema)
        clock = self.as_of is None or not definition.live  # a table has no positions
        late = (
            definition.ruled
            if not definition.live
            else self.mode == "known" and clock and ARRIVED_AT in snapshot.schema.names
        )
        tiling = Tiling(definition, clock=clock, late=late)
        self.tables[f"source{number}"] = snapshot
        keys = ", ".join(f"{column} as k{i}" for i, column in enumerate(key))
        whole = (
            " and ".join(f"{column} is not null" for column in key)
            if self._meet(definition, snapshot, asked)
            else "false"
        )
        yield (
            f"create table ks as select row_number() over () as k, * from (select distinct {keys} from sp where"
            f" {whole})"
        )
        rows = self._rows(number, snapshot)
        chunks = max(1, -(-rows // self.chunk_rows))
        answers = ", ".join(
            f"a{i} {'bigint' if output.operation == 'count' else 'double'}"
            for i, (output, _) in enumerate(definition.answers())
        )
        yield f"create table out{number} (id bigint, {answers})"
        for chunk in range(chunks):
            part = f" and ks.k % {chunks} = {chunk}" if chunks > 1 else ""
            same = " and ".join(f"sp.{column} = ks.k{i}" for i, column in enumerate(key))
            if clock:
                yield (
                    f"create table l as select sp.id, sp.t, sp.t // {SLOT_US} as b, sp.t // {SLOT_US} as z, ks.k from"
                    f" sp join ks on {same}{part}"
                )
                yield from self._chunk(number, tiling, f"source{number}", "", part)
                continue
            name, steps = self._positions(definition.stream, prefix)
            for chain in range(steps.chains):
                yield (
                    f"create table l as select sp.id, sp.t, sp.t // {SLOT_US} as b, s.step as z, ks.k from sp join ks"
                    f" on {same}{part} join steps{name} s on s.as_of = sp.as_of and s.chain = {chain}"
                )
                yield from self._chunk(
                    number, tiling, f"source{number}", f"(select * from bounds{name} where chain = {chain})", part
                )
        yield "drop table ks"

    def _chunk(self, number: int, tiling: Tiling, source: str, bounds: str, part: str) -> Iterator[str]:
        definition = tiling.definition
        windows = list(definition.windows_us)
        known = (
            "0"
            if not tiling.late
            else (
                "epoch_us(_arrived_at)"
                if definition.live
                else definition.known_sql(f"epoch_us({quoted(definition.time or '')})")
            )
        )
        position = ["_partition", "_offset"] if definition.live else []
        events = tiling.events(source, known, position)
        joined = " and ".join(f"x.k{i} = ks.k{i}" for i in range(len(definition.key)))
        low = (
            f"(select coalesce(min(t), 0) from l) - {max(w + hop_us(w) for w in windows if w is not None)}"
            if None not in windows
            else "0"
        )
        reachable = f"x.t < (select max(t) from l) and x.t >= {low}"
        z = f"known // {SLOT_US} as z" if tiling.clock else "bounds.step as z"
        seen = (
            ""
            if tiling.clock
            else f" asof join {bounds} bounds on bounds.partition = x._partition and x._offset < bounds.upto"
        )
        wanted = ", ".join(
            [
                "ks.k",
                "x.t",
                "x.known",
                *(f"x.{c}" for c in position),
                *(f"x.{c}" for c in tiling.values()),
                *(["bounds.step"] if seen else []),
            ]
        )
        yield (
            f"create table e as select k, t, known, t // {SLOT_US} as b,"
            f" {', '.join([z.replace('bounds.', ''), *tiling.values(), *tiling.orders()])} from (select {wanted} from"
            f" ({events}) x join ks on {joined}{part}{seen} where {reachable})"
        )
        if not tiling.clock:
            yield (
                "create table floors as select b as slot, min(min(z)) over (order by b rows between current row and"
                " unbounded following) as least from l group by b"
            )
        yield from tiling.tiles()
        yield "create table sl as select row_number() over () as sid, * from (select distinct k, b, z from l)"
        for i, window in enumerate(windows):
            yield f"create table r{i} as {tiling.covered(window)}"
        yield (
            "create table tail as"
            f" {tiling.tail(windows if tiling.late else [None]) if tiling.clock else tiling.tail_by_step()}"
        )
        yield f"insert into out{number} {self._answers(tiling, windows)}"
        for table in [
            "l",
            "e",
            "t0",
            "t1",
            "t2",
            "sl",
            "tail",
            *([] if tiling.clock else ["floors"]),
            *(f"r{i}" for i in range(len(windows))),
        ]:
            yield f"drop table {table}"

    def _answers(self, tiling: Tiling, windows: list[int | None]) -> str:
        states = [
            f"{tiling.merged(part.name, f'r{i}', f'tail.w{i if tiling.late and tiling.clock else 0}')} as"
            f" m{i}_{part.name}"
            for i in range(len(windows))
            for part in tiling.parts
        ]
        covers = " ".join(f"left join r{i} on r{i}.sid = sl.sid" for i in range(len(windows)))
        merged = (
            f"select l.id, {', '.join(states)} from l join sl on l.k = sl.k and l.b = sl.b and l.z = sl.z {covers} left"
            " join tail on tail.id = l.id"
        )
        definition = tiling.definition
        answers = []
        for output in definition.outputs:
            for i in range(len(windows)):
                answers.append(sql_output(definition, output, lambda state, i=i: f"m{i}_{state}"))  # type: ignore[misc]
        return f"select id, {', '.join(answers)} from ({merged})"

    def _meet(self, definition: Definition, snapshot: Any, asked: Sequence[str]) -> bool:
        here, there = snapshot.schema, self.spine.schema
        pairs = [
            (column, name)
            for column, name in zip(definition.key, asked, strict=True)
            if column in here.names and name in there.names
        ]
        # What is absent the engine names
        return all(comparable(here.field(column).type, there.field(name).type) for column, name in pairs)

    def _rows(self, number: int, snapshot: Relation) -> int:
        return int(
            self.sql.query(f"select count(*) as n from source{number}", {f"source{number}": snapshot})
            .read_all()["n"][0]
            .as_py()
        )

    def _positions(self, stream: str, prefix: str) -> tuple[int, Steps]:
        assert self.as_of is not None
        names = (f"{stream}/{prefix}", stream)
        if names not in self._steps:
            number = len(self._steps)
            texts = self.sql.query(
                f"select distinct {quoted(self.as_of)} as as_of from spine", {"spine": self.spine}
            ).read_all()["as_of"]
            steps = steps_of(texts.to_pylist(), names)
            self._steps[names] = number, steps
            self.tables[f"steps{number}"], self.tables[f"bounds{number}"] = steps.steps, steps.bounds
        return self._steps[names]
