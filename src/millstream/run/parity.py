"""Every table, feature set and training set of a project on a sample, by two compute engines, compared row by row:
`check --parity`.

The sample is the newest stretch of every stream, one stretch for all, so that joins still find their other side; where
training sets end at a moment, it ends with the last of them. It lies in a lake of its own
below the project's, where tables are made by the one engine, dropped, and made by the other; what follows reads the
embedded engine's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from millstream.base.errors import ConfigError, EngineMissing, MillstreamError, NotFound, Transient
from millstream.base.moments import moment_us
from millstream.base.registry import engine
from millstream.base.sql import quoted
from millstream.declare.features import Features
from millstream.declare.stream import Stream
from millstream.declare.table import Table
from millstream.declare.training_set import TrainingSet
from millstream.features.define import define
from millstream.serve.decisions import all_streams
from millstream.transform.parity import Difference, Row, compare

if TYPE_CHECKING:
    from millstream.lake.lake import Lake
    from millstream.ports import Engines
    from millstream.transform.port import Sql

FOLDER = "_parity"
ROWS = 20_000
_EVER = 2**62


@dataclass(frozen=True)
class Judged:
    """One asset.

    Attributes:
        difference: None when it was not compared, for the reason in `note`.
        failed: An engine refused it.
    """

    name: str
    kind: str
    difference: Difference | None = None
    note: str = ""
    failed: bool = False

    @property
    def same(self) -> bool:
        return not self.failed and (self.difference is None or self.difference.same)

    @property
    def mark(self) -> tuple[str, str]:
        """Style and word."""
        return (
            ("red", "differs") if not self.same else ("green", "same") if self.difference else ("dim", "not compared")
        )

    @property
    def rows(self) -> str:
        counts = self.difference.rows if self.difference else ()
        return " / ".join(f"{count:,}" for count in dict.fromkeys(counts))

    @property
    def description(self) -> str:
        """What is wrong, for people: the first rows that differ, DuckDB's value first."""
        if self.difference is None:
            return self.note
        types = [
            f"{name} is {left or 'not there'}, and {right or 'not there'}"
            for name, (left, right) in self.difference.schema.items()
        ]
        rows = [_row(row) for row in self.difference.shown]
        return "\n".join(
            [*types, *([f"{self.difference.differ:,} rows differ"] if self.difference.differ else []), *rows]
        )


def shown(judged: Judged) -> dict[str, Any]:
    """As JSON."""
    found = judged.difference
    told = {"name": judged.name, "kind": judged.kind, "same": judged.same, "note": judged.note}
    if found is None:
        return told
    rows = [
        {"at": row.at, "only": row.only, "columns": {name: list(pair) for name, pair in row.columns.items()}}
        for row in found.shown
    ]
    return told | {
        "rows": list(found.rows),
        "schema": {name: list(pair) for name, pair in found.schema.items()},
        "differ": found.differ,
        "shown": rows,
    }


def _row(row: Row) -> str:
    at = ", ".join(f"{name} {value}" for name, value in list(row.at.items())[:6])
    if row.only:
        return f"only {'DuckDB' if row.only == 'left' else 'the other'} has {at}"
    return f"{at}: " + ", ".join(f"{name} {left!r} and {right!r}" for name, (left, right) in row.columns.items())


def parity(ws: Engines, other: Sql, rows: int = ROWS) -> Iterator[Judged]:
    """Compare the embedded engine with another one, asset by asset in the order of the graph.

    Args:
        rows: Of the largest stream, at most.

    Raises:
        EngineMissing, ConfigError, Transient: The other engine cannot be had, which is not a difference between the
            two.
    """
    from millstream.lake.lake import Lake
    from millstream.train.build import NoRows

    other.query("select 1 as one", {}).read_all()  # before anything is sampled
    folder, asked = f"{FOLDER}-{os.getpid()}", ws.settings.lake.partition("?")[2]
    files = engine("files", ws.settings.lake)(f"{ws.files.root}/{folder}" + (f"?{asked}" if asked else ""))
    sampled, embedded = Lake(files), engine("sql", "duckdb")("duckdb", ws.folder / "scratch")
    try:
        _sample(ws, sampled, embedded, rows)
        for name in ws.project.graph.order():
            noun = ws.project.by_name.get(name)
            if noun is None:  # the decisions of an endpoint
                continue
            try:
                judged = _judged(ws, noun, sampled, embedded, other, rows)
            except (NotFound, NoRows) as error:
                judged = Judged(name, noun.kind, note=str(error))
            except (EngineMissing, ConfigError, Transient):
                raise
            except MillstreamError as error:
                judged = Judged(name, noun.kind, note=str(error), failed=True)
            if judged is not None:
                yield judged
    finally:
        embedded.close()
        ws.files.remove_tree(folder)


def _judged(ws: Engines, noun: Any, lake: Lake, embedded: Sql, other: Sql, rows: int) -> Judged | None:
    if isinstance(noun, Table):
        return _table(ws, noun, lake, embedded, other)
    if isinstance(noun, Features) and noun.base is None:
        return _features(ws, noun, lake, embedded, other, rows)
    if isinstance(noun, TrainingSet):
        from millstream.train.dataset import build
        from millstream.train.spine import ROW

        made = _twice(lake, noun.name, embedded, other, lambda sql: build(noun, lake, sql, ws.project.params))
        return Judged(noun.name, "training_set", compare(*made, key=[ROW]))
    return None


def _table(ws: Engines, table: Table, lake: Lake, embedded: Sql, other: Sql) -> Judged:
    from millstream.transform.build import build
    from millstream.transform.parse import header

    if table.scoring is not None:
        return Judged(table.name, "table", note="made by a model, not by SQL")
    made = _twice(lake, table.name, embedded, other, lambda sql: build(table, lake, sql, ws.project.params))
    return Judged(table.name, "table", compare(*made, key=table.key or header(table.sql or "").key or ()))


def _twice(lake: Lake, name: str, embedded: Sql, other: Sql, make: Callable[[Sql], Any]) -> tuple[pa.Table, pa.Table]:
    """The rows as each engine makes them; the embedded one's stay."""
    make(other)
    theirs = _rows(lake, name, embedded)
    lake.drop(name)
    make(embedded)
    return _rows(lake, name, embedded), theirs


def _rows(lake: Lake, name: str, sql: Sql) -> pa.Table:
    return sql.query("select * from made", {"made": lake.table(name).snapshot()}).read_all()


def _features(ws: Engines, features: Features, lake: Lake, embedded: Sql, other: Sql, rows: int) -> Judged:
    """The moments are those of the features' own events: each looks back at the others."""
    from millstream.features.offline import offline

    definition = define(features, ws.project.params)
    keys = [quoted(column) for column in definition.key]
    time = f"{quoted(definition.time)}::timestamptz" if definition.time else "make_timestamptz(0)"
    newest = f"select {time} as _t, {', '.join(keys)} from source order by {time} desc limit {rows}"
    spine = embedded.query(
        f"select row_number() over (order by _t, {', '.join(keys)}) - 1 as _row, * from ({newest})",
        {"source": lake.table(definition.stream).snapshot()},
    ).read_all()
    found = [
        offline(sql, lake, spine, [(definition, definition.key, features.name)]).read_all() for sql in (embedded, other)
    ]
    return Judged(features.name, "features", compare(found[0], found[1], key=["_row"]))


def _sample(ws: Engines, lake: Lake, sql: Sql, rows: int) -> None:
    """The streams, and the tables that no SQL makes, as far as they have landed: all from one moment on."""
    landed = {name: stream for name, stream in all_streams(ws.project).items() if ws.lake.exists(name)}
    high = _until(ws)
    low = max((_from(ws, stream, sql, rows, high) for stream in landed.values()), default=-_EVER)
    for name, stream in landed.items():
        time = f"epoch_us({quoted(stream.schema.event_time)})"
        _copied(ws, lake, sql, name, f"{time} >= {low} and {time} < {high}")
    for name, noun in ws.project.by_name.items():
        if isinstance(noun, Table) and noun.scoring is not None and ws.lake.exists(name):
            _copied(ws, lake, sql, name, "true")


def _until(ws: Engines) -> int:
    """The moment (us) up to which any training set looks."""
    ends = []
    for noun in ws.project.nouns:
        if isinstance(noun, TrainingSet):
            until = _EVER if noun.until is None else moment_us(noun.until)
            ends.append(until + max(outcome.within_us for outcome in noun.labels.values()))
    return max(ends, default=_EVER)


def _from(ws: Engines, stream: Stream[Any], sql: Sql, rows: int, high: int) -> int:
    """The moment (us) from which on the stream has at most so many rows."""
    time = f"epoch_us({quoted(stream.schema.event_time)})"
    text = (
        f"select min(t) as low, count(*) as n from (select {time} as t from t where {time} < {high} order by 1 desc"
        f" limit {rows})"
    )
    (found,) = sql.query(text, {"t": ws.lake.table(stream.name).snapshot()}).read_all().to_pylist()
    return int(found["low"]) if found["n"] == rows else -_EVER


def _copied(ws: Engines, lake: Lake, sql: Sql, name: str, chosen: str) -> None:
    source = ws.lake.table(name)
    made = lake.create(name, source.schema)
    rows = sql.query(f"select * from t where {chosen}", {"t": source.snapshot()})
    # The positions say how far a stream has come
    made.append(rows, txns={app: (None, at) for app, at in source.txns().items()})


__all__ = ["Judged", "parity", "shown"]
