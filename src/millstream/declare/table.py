"""`table`: a Delta table of the lake, made by SQL, by a function over Arrow batches, or by batch scoring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, overload

import pyarrow as pa

from millstream.base.duration import micros
from millstream.declare.arguments import checked
from millstream.declare.duration import Duration
from millstream.declare.known import Known
from millstream.declare.noun import Noun
from millstream.declare.rules import Columns, Doc, Name, Schedule
from millstream.declare.stream import Contents, Stream

if TYPE_CHECKING:
    from millstream.declare.model import Scoring

ArrowFunction = Callable[[pa.RecordBatch], Any]
"""Gives rows, in any form that `transform/given.py` takes."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Table(Noun):
    """See `table`.

    Attributes:
        sql: The query's text; None while `tables/<name>.sql` has not been read, and for the other bodies.
        function: An Arrow batch function over `reads`.
        incremental: None (rebuilt whole), "append", or "1d lookback 2d".
        lag_us: As declared; None: the default, where there is one.
        known: When its rows are known, which a load finds out (`known.settle`); None where the project does not say
            enough.
    """

    kind: ClassVar[str] = "table"
    sql: str | None = None
    contents: Contents | None = None
    scoring: Scoring | None = None
    function: ArrowFunction | None = None
    reads: Noun | None = None
    time: str | None = None
    key: tuple[str, ...] = ()
    incremental: str | None = None
    schedule: str | None = None
    lag_us: int | None = None
    known: Known | None = None
    file: str | None = None

    def upstream(self) -> tuple[Noun, ...]:
        named: list[Noun | None] = [self.reads]
        if self.contents:
            named.append(self.contents.stream)
        if self.scoring:
            named += [self.scoring.spine, self.scoring.ref.model]
        return tuple(noun for noun in named if noun is not None)


@overload
def table(
    name: str,
    body: str | Contents | Scoring | None = None,
    *,
    time: str | None = None,
    key: str | Sequence[str] = (),
    incremental: str | None = None,
    schedule: str | None = None,
    lag: Duration | None = None,
    doc: Doc = "",
) -> Table: ...
@overload
def table(
    name: Stream[Any] | Table,
    *,
    time: str | None = None,
    key: str | Sequence[str] = (),
    incremental: str | None = None,
    schedule: str | None = None,
    lag: Duration | None = None,
) -> Callable[[ArrowFunction], Table]: ...
@checked
def table(
    name: Name | Stream[Any] | Table,
    body: str | Contents | Scoring | None = None,
    *,
    time: str | None = None,
    key: Columns = (),
    incremental: str | None = None,
    schedule: Schedule | None = None,
    lag: Duration | None = None,
    doc: Doc = "",
) -> Table | Callable[[ArrowFunction], Table]:
    """Declare a table of the lake.

    `table("carrier_days", "select ...")` holds SQL; without a body the SQL is `tables/carrier_days.sql`.
    `@table(departures)` above a function makes one table of the function's name, batch by batch. It takes a pyarrow
    `RecordBatch`, and gives rows: a `RecordBatch` or `Table`, a frame of pandas (an index with a name becomes a column)
    or Polars, or a list of dicts; or it yields several of these. An edit of the function, or of what it names in the
    project's folder (functions, classes, modules, constants), makes the table stale; what no name shows (`getattr` by a
    computed name, a file that it reads, an installed package) does not.

    Args:
        name: The table's name; or, as a decorator, what the function reads.
        body: SQL in DuckDB's dialect, `stream.latest()`, `stream.history()`, or `model["champion"].over(spine)`.
        time: The column of event time, a timestamp or a date, needed by features and by intervals. A row without one is
            in no interval and counts in no feature.
        key: The columns that identify a row. A build whose rows repeat a key, or have NULL in one, fails and commits
            nothing.
        incremental: "append" (row-wise over one stream's new rows) or "1d lookback 2d" (whole intervals of `time`).
            Intervals are for SQL alone; a function can append; contents of a stream, and what a model scores, are made
            whole.
        schedule: A cron line or "@daily", for `up`.
        lag: When features may count a row: this long after its time, or after the end of the bucket that it sums up (an
            interval, an hour of `date_trunc('hour', ts)`). It must cover how late the inputs come and how long it takes
            until the next build has committed. By default the largest lateness (streams) or lag (tables) of what the
            table reads, plus the interval of `schedule`.
    """
    keys = (key,) if isinstance(key, str) else tuple(key)
    lag_us = None if lag is None else micros(lag)
    if isinstance(name, Noun):

        @checked
        def declare(function: ArrowFunction) -> Table:
            return Table(
                name=function.__name__,
                function=function,
                reads=name,
                time=time,
                key=keys,
                incremental=incremental,
                schedule=schedule,
                lag_us=lag_us,
                doc=function.__doc__ or "",
            )

        return declare
    made: dict[str, Any] = (
        {"sql": body}
        if isinstance(body, str) or body is None
        else {"contents": body}
        if isinstance(body, Contents)
        else {"scoring": body}
    )
    return Table(
        name=name, time=time, key=keys, incremental=incremental, schedule=schedule, lag_us=lag_us, doc=doc, **made
    )
