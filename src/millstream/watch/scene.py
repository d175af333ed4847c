"""What checks look at."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from millstream.base.errors import MillstreamError, UsageError
from millstream.base.event import Kind
from millstream.base.sql import quoted
from millstream.declare.endpoint import Endpoint
from millstream.declare.noun import Noun
from millstream.declare.source import FileReader
from millstream.declare.stream import Stream
from millstream.declare.table import Table
from millstream.lake.live import in_time, live

if TYPE_CHECKING:
    from millstream.lake.port import Snapshot
    from millstream.ports import Engines


FEW = 100
"""Live rows of a stream; with fewer, a verdict by the wall clock says so."""


def _now_us() -> int:
    return time.time_ns() // 1000


@dataclass(frozen=True)
class Scene:
    """The tables and the clock of a project, as its monitors read them.

    Attributes:
        wall_us: The wall clock.
    """

    engines: Engines
    wall_us: Callable[[], int] = _now_us
    _seen: dict[str, tuple[int, int | None, bool]] = field(default_factory=dict)

    def table(self, name: str) -> Snapshot | None:
        """The table as of now, None when nothing has made it."""
        return self.engines.lake.table(name).snapshot() if self.engines.lake.exists(name) else None

    def row(self, text: str, table: Snapshot, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The single row of a query over `t`."""
        return self.rows(text, table, params)[0]

    def rows(self, text: str, table: Snapshot, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The rows of a query over `t`."""
        return self.engines.sql.query(text, {"t": table}, params or {}).read_all().to_pylist()

    def newest_us(self, name: str, time: str) -> int | None:
        """The newest event time of a table that the wall clock has reached: one row of 2099 does not make a table fresh
        until then.
        """
        table = self.table(name)
        return (
            None
            if table is None
            else self.row(f"select max(epoch_us({quoted(time)})) as newest from t where {self.past(time)}", table)[
                "newest"
            ]
        )

    def past(self, time: str) -> str:
        """The SQL condition of rows whose time the wall clock has reached."""
        return f"epoch_us({quoted(time)}) <= {self.wall_us()}"

    def clock_us(self) -> int:
        """The project's clock: now, unless all it has is history (`lake/live.py`). While history is replayed, the clock
        is the newest event time.
        """
        newest = self._history_us()
        return self.wall_us() if newest is None else min(newest, self.wall_us())

    def _history_us(self) -> int | None:
        """The newest event time of a project that is all history; None where a stream is live, or nothing is
        there yet.
        """
        newest: list[int] = []
        for stream in self.engines.project.streams.values():
            try:
                table = self.table(stream.name)
                moment, history = (None, True) if table is None else self._last(stream, table)
            except MillstreamError:  # the checks that look at it say so; the others have a clock all the same
                continue
            if moment is not None:
                if not history:
                    return None
                newest.append(moment)
        return max(newest, default=None)

    def is_growing(self, target: Noun, within_us: int) -> bool:
        """Whether more is expected of it, so that its age is held against the wall clock.

        So it is in a project that is live; and of a stream whose files are watched, or whose newest event was no older
        than this when it was written.
        """
        if self._history_us() is None:
            return True
        if not isinstance(target, Stream):
            return False
        if any(isinstance(reader, FileReader) and reader.watch for reader in target.fed_by):
            return True
        return self.engines.lake.exists(target.name) and in_time(self.engines.lake.table(target.name), within_us)

    def few_live(self, target: Noun) -> str:
        """What a verdict by the wall clock adds where nearly all that it judges is history: one live record is enough
        for the project to count as live.

        Where records bring their own arrival time, nothing tells the two apart, so nothing is said.
        """
        if (
            not isinstance(target, Stream)
            or target.schema.arrival_time is not None
            or self._history_us() is not None
            or (table := self.table(target.name)) is None
        ):
            return ""
        ts = quoted(target.schema.event_time)
        found = self.row(f"select count(*) as n, count(*) filter (_arrived_at > {ts}) as live from t", table)
        if found["live"] >= FEW or found["live"] == found["n"]:
            return ""
        came = f"{found['live']:,} of its {found['n']:,} rows came live, the others are history"
        return f". Since records come live, it is judged by the wall clock; {came}"

    def _last(self, stream: Stream[Any], table: Snapshot) -> tuple[int | None, bool]:
        """The newest event time of a version that has come, and whether the stream is history; asked for each check, so
        read once.
        """
        known = self._seen.get(stream.name)
        if known is None or known[0] != table.version:
            ts = quoted(stream.schema.event_time)
            past = self.past(stream.schema.event_time)
            found = self.row(
                f"select max(epoch_us({ts})) filter ({past}) as newest, arg_max(_arrived_at > {ts}, {ts}) filter"
                f" ({past}) as later, count(*) filter (not {past}) as ahead from t",
                table,
            )
            history = not live(self.engines.lake.table(stream.name), stream, arrived_later=bool(found["later"]))
            known = table.version, found["newest"], history
            if not found["ahead"]:  # what is still to come changes the answer as the clock continues
                self._seen[stream.name] = known
        return known[1], known[2]


def time_of(target: Noun) -> str | None:
    """The column of event time of a stream or table."""
    return (
        target.schema.event_time if isinstance(target, Stream) else target.time if isinstance(target, Table) else None
    )


def table_of(target: Noun) -> str:
    """The lake table that a check on this target reads."""
    if isinstance(target, Stream | Table):
        return target.name
    if isinstance(target, Endpoint):
        return target.decisions
    raise UsageError(f"{target} has no table to look at")


def kinds(schema: pa.Schema) -> dict[str, Kind]:
    """Columns that an expression may name."""
    found: dict[str, Kind] = {}
    for column in schema:
        kind = _kind(column.type)
        if kind:
            found[column.name] = kind
    return found


def _kind(type_: pa.DataType) -> Kind | None:
    tests: list[tuple[Callable[[pa.DataType], bool], Kind]] = [
        (pa.types.is_boolean, "bool"),
        (pa.types.is_integer, "int64"),
        (pa.types.is_floating, "float64"),
        (pa.types.is_decimal, "float64"),
        (pa.types.is_timestamp, "timestamp"),
        (pa.types.is_date, "date"),
        (pa.types.is_string, "string"),
        (pa.types.is_large_string, "string"),
        (pa.types.is_binary, "binary"),
    ]
    return next((kind for test, kind in tests if test(type_)), None)
