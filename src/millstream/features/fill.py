"""A new definition from what has landed: tiles of one version of the stream's table, whose positions are where the
updater continues.

The table at a version is exactly the log below its positions, without duplicates and dead letters, as the updater would
have it. So nothing is counted twice or missed, whatever comes meanwhile. A fill that is killed leaves a generation that
is not active; the next one replaces it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from millstream.base import points
from millstream.base.errors import Recreated, Truncated
from millstream.base.event import ARRIVED_AT
from millstream.base.sql import quoted
from millstream.declare.stream import Stream
from millstream.declare.table import Table
from millstream.features import fits, keys
from millstream.features.definition import Definition
from millstream.features.lift import pack, schema, tile_schema
from millstream.features.online import HEAD_US
from millstream.features.port import OnlineStore
from millstream.features.state import PARTITION_BITS, Part
from millstream.features.tiles import Tiling
from millstream.features.window import DAY, HOUR, SLOT_US, horizon_us, reach
from millstream.lake import deltalog
from millstream.lake.port import Tables
from millstream.lake.positions import topics_of
from millstream.lake.ruling import Rule, stamp
from millstream.transform.port import Sql

if TYPE_CHECKING:
    from millstream.lake.lake import Lake
    from millstream.lake.table import LakeTable

CHUNK_ROWS = 10_000_000
"""Rows worked on at once. Each chunk of keys reads the table again; of so many rows the groups take less than a
gigabyte.
"""
_DAY = DAY // HOUR
"""Hours."""


def fill(
    sql: Sql,
    lake: Lake,
    store: OnlineStore,
    definition: Definition,
    source: Stream[Any] | Table,
    *,
    chunk_rows: int = CHUNK_ROWS,
    wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> int:
    """Fill and activate the definition's generation; the rows of the table it came from. One that is active answers
    until the new one takes its place.

    Args:
        wall_us: The wall clock, in microseconds since 1970 UTC; the store's clock never passes it.

    Raises:
        Conflict: Another fills it.
        Recreated: The table was filled from more than one topic.
    """
    rule = Rule.of(source) if isinstance(source, Stream) else None
    if not lake.exists(source.name):  # nothing has landed: the updater begins at the beginning
        points.reach("features.ready")
        store.load(definition, _nothing(tile_schema(definition)), _nothing(schema(definition)))
        store.activate(definition.generation, {}, 0, stamp(rule, None, "") if rule else "")
        return 0
    table = lake.table(source.name)
    fits.check(definition, table.schema)
    tables = {"source": table.snapshot()}
    offsets = landed(table) if definition.live else {0: table.version}
    clock = min(_clock(sql, definition, tables), wall_us())
    horizon = horizon_us(clock, HEAD_US)
    rows = table.rows()
    chunks = max(1, -(-rows // chunk_rows))
    plan = _Fill(definition, table.schema, horizon)
    tiles = plan.packed(
        sql.script([s for chunk in range(chunks) for s in plan.statements(chunk, chunks)], plan.result(), tables)
    )
    heads = sql.query(plan.heads(), tables)
    points.reach("features.ready")
    store.load(definition, tiles, heads.cast(schema(definition)))
    points.reach("features.ready")
    store.activate(
        definition.generation,
        offsets,
        clock,
        stamp(rule, table, next(iter(topics_of(table.txns())), "")) if rule else table.uuid,
    )
    return rows


def current(lake: Tables, store: OnlineStore, definition: Definition, source: Stream[Any] | Table) -> bool:
    """Whether the generation is filled, and what it counted is what counts now: else it must be filled (again)."""
    applied = store.applied(definition.generation)
    if applied is None or not applied.active:
        return False
    if not lake.exists(source.name):
        return True
    table = lake.table(source.name)
    if not isinstance(source, Stream):
        return applied.ruling == table.uuid and not rebuilt(cast("LakeTable", table), applied.offsets.get(0, -1))
    return applied.ruling == stamp(Rule.of(source), table, next(iter(topics_of(table.txns())), ""))


def rebuilt(table: LakeTable, since: int) -> bool:
    """Whether the table's rows are others than at that version, as far as its commits say: compaction changes none."""
    try:
        return any(
            any(file.data_change for file in commit.added) or any(commit.removed.values())
            for commit in deltalog.commits(table.files, table.name, since, table.version)
        )
    except Truncated:
        return True


def landed(table: LakeTable) -> dict[int, int]:
    """Partition -> the offset below which the stream's table has everything.

    Raises:
        Recreated: It was filled from more than one topic.
    """
    txns = table.txns()
    if len(topics_of(txns)) > 1:
        raise Recreated(
            f'table "{table.name}" holds records of more than one topic; rebuild it before features are made from it'
        )
    return {int(app.rpartition("/")[2]): at for app, at in txns.items() if at and topics_of([app])}


def _nothing(columns: pa.Schema) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(columns, [])


def _clock(sql: Sql, definition: Definition, tables: dict[str, Any]) -> int:
    """The largest arrival time; for a table, the largest event time: while history is replayed nobody asks for a moment
    at which its last row is known.
    """
    if definition.time is None:
        return 0
    column = ARRIVED_AT if definition.live else definition.time
    found = (
        sql.query(f"select max(epoch_us({quoted(column)})) as clock from source", tables).read_all()["clock"][0].as_py()
    )
    return max(0, found or 0)


class _Fill:
    """The SQL of a fill."""

    def __init__(self, definition: Definition, columns: pa.Schema, horizon: int) -> None:
        self.definition, self.horizon = definition, horizon
        self.recent = definition.until_us(horizon) // SLOT_US * SLOT_US
        self.tiling = Tiling(definition, late=False)
        self.keys = [f"k{i}" for i in range(len(definition.key))]
        self.key = keys.sql(self.keys, [columns.field(column).type for column in definition.key])
        self.position = ["_partition", "_offset"] if definition.live else []

    def statements(self, chunk: int, chunks: int) -> Iterator[str]:
        """Statements that add the tiles of one chunk of keys. A coarse tile is made of finer ones where those are
        wanted, else of the events.
        """
        part = f"hash({', '.join(self.keys)}) % {chunks} = {chunk}" if chunks > 1 else "true"
        first, hours, days = reach(self.horizon, self.definition.windows_us, self.recent)
        whole = hours // _DAY * _DAY  # an hour that is wanted has its whole day made of hours
        yield f"create table t0 as {self._lifted(1, f'{part} and t >= {first * SLOT_US}')}"
        yield f"create table t1 as {self._lifted(HOUR, f'{part} and t >= {whole * HOUR * SLOT_US}')}"
        keys, merged = ", ".join(self.keys), ", ".join(self.tiling.merge())
        coarse = f"create table t2 as select {keys}, b // {_DAY} as b, {merged} from t1 group by all"
        if whole:
            early = f"{part} and t < {whole * HOUR * SLOT_US}" + (f" and t >= {days * DAY * SLOT_US}" if days else "")
            coarse += f" union all {self._lifted(DAY, early)}"
        yield coarse
        for level, least in enumerate((first, hours, days or 0)):
            verb = "insert into tiles" if chunk or level else "create table tiles as"
            yield (
                f"{verb} select {self.key} as key, {level}::bigint as level, b, {', '.join(self._columns())} from"
                f" t{level} where b >= {least}"
            )
        for name in ("t0", "t1", "t2"):
            yield f"drop table {name}"

    def _lifted(self, slots: int, when: str) -> str:
        """A select of keys, b and states: the events as tiles of so many slots."""
        events = (
            f"select *{''.join(f', {order}' for order in self.tiling.orders())} from"
            f" ({self.tiling.events('source', '0', self.position)}) where {when}"
        )
        return (
            f"select {', '.join(self.keys)}, t // {slots * SLOT_US} as b, {', '.join(self.tiling.lift())} from"
            f" ({events}) group by all"
        )

    def result(self) -> str:
        return "select * from tiles order by key, level, b"  # the order of the store's tables: no page is touched twice

    def heads(self) -> str:
        """The events that a look-up at the horizon or later may see or not, one row each."""
        events = self._raw(self.position)
        if self.definition.live:
            tie = f"_partition::bigint * {1 << PARTITION_BITS} + _offset"
            return f"select key, t, {tie} as tie{self._values('r{0} as v{0}')} from ({events})"
        # A table has no positions: events of one key and microsecond are ordered by value, each column for itself, as
        # offline orders them. Each column is numbered alone and they are joined: Spark takes apart one list a select.
        many = len(self.definition.values)
        sides = [
            f"(select key, t, row_number() over (partition by key, t order by r{i} + 0) - 1 as tie, r{i} + 0 as v{i}"
            f" from ({events})) x{i}"
            for i in range(many)
        ]
        if not sides:
            return f"select key, t, row_number() over (partition by key, t order by t) - 1 as tie from ({events})"
        joins = "".join(
            f" join {side} on x{i}.key = x0.key and x{i}.t = x0.t and x{i}.tie = x0.tie"
            for i, side in enumerate(sides)
            if i
        )
        return f"select x0.key, x0.t, x0.tie{self._values('v{0}')} from {sides[0]}{joins}"

    def _raw(self, extra: Sequence[str]) -> str:
        events = self.tiling.events("source", "0", extra, raw=True)
        # What is timeless lies in 1970, long before any look-up
        recent = "false" if self.definition.time is None else f"t >= {self.recent}"
        return (
            f"select {', '.join([f'{self.key} as key', 't', *extra])}{self._values('r{0}')} from ({events}) where"
            f" {recent}"
        )

    def _values(self, text: str) -> str:
        return "".join(f", {text.format(i)}" for i in range(len(self.definition.values)))

    def _columns(self) -> list[str]:
        return [column for part in self.tiling.parts for column in _stored(part, self.definition.live)]

    def packed(self, found: pa.RecordBatchReader) -> pa.RecordBatchReader:
        """Firsts and lasts as the store keeps them: DuckDB has no way to pack bytes."""
        wanted = tile_schema(self.definition)
        pairs = [part.name for part in self.tiling.parts if part.kind in ("f", "l")]

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in found:
                columns = {name: batch.column(name) for name in batch.schema.names}
                for name in pairs:
                    value = columns[name]
                    times, tied = (np.asarray(columns[f"{name}_{of}"].fill_null(0)) for of in ("t", "tie"))
                    columns[name] = pack(times, tied, np.asarray(value.fill_null(0.0)), np.asarray(value.is_null()))
                yield pa.RecordBatch.from_arrays(
                    [columns[field.name].cast(field.type) for field in wanted], schema=wanted
                )

        return pa.RecordBatchReader.from_batches(wanted, batches())


def _stored(part: Part, live: bool) -> list[str]:
    """A state as stored columns: sums in limbs, since 128 bits leave no engine."""
    if part.kind in ("s", "x"):
        bits = 32 if part.kind == "s" else 36
        whole = (  # a tile of events without a value that counts: SQL's sum is NULL, ours 0
            f"coalesce({part.name}, 0::hugeint)"
        )
        limbs = [f"({whole} >> {bits * i})" for i in range(len(part.columns))]
        return [
            f"cast({limb if i == len(limbs) - 1 else f'{limb} & {(1 << bits) - 1}'} as bigint) as {part.columns[i]}"
            for i, limb in enumerate(limbs)
        ]
    if part.kind in ("f", "l"):
        o = f"{part.name}o"
        # Ordered by time and value (tiles.NO_ORDER); no two tiles share a time, so the tie decides nothing
        if not live:
            return [part.name, f"{o}[1] as {part.name}_t", f"0::bigint as {part.name}_tie"]
        return [
            part.name,
            f"cast({o} >> 64 as bigint) as {part.name}_t",
            f"cast({o} & 18446744073709551615 as bigint) as {part.name}_tie",
        ]
    return [part.name]


__all__ = ["current", "fill", "rebuilt"]
