"""Make a table: whole, interval by interval, or row by row over what one stream has new.

What a table was made from is part of its own commits, as Delta `txn`s that live through clean-up and are compared on
the handle that commits (docs/exactly-once.md, section 15): `millstream/table/<source uuid>` -> source version done,
`millstream/code` -> the fingerprint of the SQL. So a build that is killed after its commit and run again adds nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from millstream.base.errors import NotFound, Truncated
from millstream.base.moments import moment_of
from millstream.declare.table import Table
from millstream.lake import deltalog
from millstream.lake.port import Snapshot
from millstream.transform.fit import fit, fitted
from millstream.transform.identity import Identity
from millstream.transform.increments import News, Span, drivers, news, spans, touched
from millstream.transform.port import Sql
from millstream.transform.recipe import Recipe, fingerprint, inputs

if TYPE_CHECKING:
    from millstream.lake.lake import Lake
    from millstream.lake.table import LakeTable

__all__ = ["Built", "build", "fingerprint", "inputs"]

CODE, DONE = "millstream/code", "millstream/table/"
How = Literal["full", "intervals", "append", "nothing"]
# Where an interval table's first build starts and ends when its time cannot be traced to a column of a source.
_ALWAYS = (datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC))


@dataclass(frozen=True)
class Built:
    """What a build did.

    Attributes:
        version: Of the table, after it.
        rows: Written.
        bytes: Of the files that hold them.
        kind: "full", "intervals", "append", or "nothing" when no input had anything new.
        spans: The intervals replaced, in microseconds, half-open; empty for the other kinds.
        inputs: Version read of each input.
        seconds: It took.
    """

    version: int
    rows: int
    bytes: int
    kind: How
    spans: tuple[Span, ...] = ()
    inputs: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def build(
    table: Table, lake: Lake, sql: Sql, params: Mapping[str, Any], *, full: bool = False, now_us: int | None = None
) -> Built:
    """Bring the table up to date with what its inputs hold now, in one commit (one for each stretch of intervals).

    A table that is whole, or whose SQL, parameters or sources changed, is rebuilt; an incremental one does what its
    inputs have new. Rows of an interval table whose time is NULL belong to no interval and are left out. Keys are told
    apart within what one build writes.

    Args:
        params: Of the project; each query is given those it names.
        full: Rebuild, whatever is there.
        now_us: When this happens, for the commit's metadata.

    Raises:
        NotFound: An input is not in the lake yet.
        WorkFailed: The query or the function failed, or its rows have no such time or key (transform/identity.py);
            nothing was changed.
        Conflict: Someone else built the table meanwhile.
    """
    started = time.monotonic()
    recipe = Recipe.of(table, params)
    work = replace(Work.open(recipe, lake, sql, now_us or time.time_ns() // 1000), identity=Identity.of(table))
    how = "full" if full else work.how()
    built = {"full": work.full, "intervals": work.intervals, "append": work.append, "nothing": work.nothing}[how]()
    return replace(
        built,
        inputs={name: snapshot.version for name, snapshot in work.inputs.items()},
        seconds=time.monotonic() - started,
    )


@dataclass
class Work:
    """One build: versions are chosen once, at the start. An estimate has no engine: it asks nothing that needs one."""

    recipe: Recipe
    lake: Lake
    engine: Sql | None
    now_us: int
    sources: dict[str, LakeTable]
    inputs: dict[str, Snapshot]
    target: LakeTable | None
    txns: Mapping[str, int]
    identity: Identity | None = None

    @classmethod
    def open(cls, recipe: Recipe, lake: Lake, sql: Sql | None, now_us: int) -> Work:
        sources = {}
        for name in recipe.inputs:
            try:
                sources[name] = lake.table(name)
            except NotFound:
                raise NotFound(
                    f'table "{recipe.table}" reads "{name}", which is not in the lake yet: fill or build it first'
                ) from None
        target = lake.table(recipe.table) if lake.exists(recipe.table) else None
        snapshots = {name: source.snapshot() for name, source in sources.items()}
        return cls(recipe, lake, sql, now_us, sources, snapshots, target, dict(target.txns()) if target else {})

    @property
    def sql(self) -> Sql:
        assert self.engine is not None
        return self.engine

    def how(self) -> How:
        done = [self.txns.get(self.done(name)) for name in self.inputs]
        if self.target is None or self.txns.get(CODE) != self.recipe.code or None in done:
            return "full"
        if done == [snapshot.version for snapshot in self.inputs.values()]:
            return "nothing"
        if self.recipe.step is None:
            return "full"
        return "append" if self.recipe.step.length_us is None else "intervals"

    def done(self, name: str) -> str:
        return DONE + str(self.sources[name].uuid)

    def nothing(self) -> Built:
        assert self.target is not None
        return Built(self.target.version, 0, 0, "nothing")

    def full(self) -> Built:
        rows = self.rows(*_ALWAYS)
        target = self.target or self.lake.create(self.recipe.table, rows.schema)
        version = target.replace(rows.reader(), txns=self.moved(), metadata=self.metadata("full"))
        return self.built(target, version, rows, "full")

    def append(self) -> Built:
        assert self.target is not None
        (name,) = self.inputs
        news = self.news(name)
        if news is None or news.rewritten:
            return self.full()  # what was there has changed, so adding to it would be wrong
        whole, self.inputs[name] = self.inputs[name], news.added
        rows = self.rows(*_ALWAYS)
        if not _same(rows.schema, self.target.schema):
            self.inputs[name] = whole
            return self.full()
        version = self.target.append(rows, txns=self.moved(), metadata=self.metadata("append"))
        return self.built(self.target, version, rows, "append")

    def intervals(self) -> Built:
        assert self.target is not None
        assert self.recipe.step is not None
        assert self.recipe.time is not None
        found, newest = self.reopened(), self.newest()
        if found is None or newest is None:
            return self.full()
        plan = spans(found, newest, self.recipe.step)
        total: Built | None = None
        for low, high in plan:
            rows = self.rows(moment_of(low), moment_of(high))
            if not _same(rows.schema, self.target.schema):
                return self.full()
            last = (low, high) == plan[-1]
            version = self.target.replace(
                rows.reader(),
                where=(self.recipe.time, low, high),
                txns=self.moved() if last else {},
                metadata=self.metadata("intervals", (low, high)),
            )
            one = self.built(self.target, version, rows, "intervals")
            total = one if total is None else replace(one, rows=total.rows + one.rows, bytes=total.bytes + one.bytes)
        assert total is not None
        return replace(total, spans=plan)

    def reopened(self) -> list[Span] | None:
        """Intervals that new rows of the driving sources fall into; None when that cannot be known."""
        step, moment = self.recipe.step, self.recipe.time
        assert step is not None
        assert moment is not None
        found: list[Span] = []
        driving = drivers(self.recipe.text, moment, self.inputs)
        for driver in driving:
            news = self.news(driver.table)
            if news is None or (news.rewritten and (driver.column is None or news.time != driver.column)):
                return None
            found += [(step.floor(low), step.ceil(high)) for low, high in news.spans]
            found += touched(
                self.sql, self.recipe.text, moment, driver, news.added, self.inputs, self.bound(*_ALWAYS), step
            )
        return found if driving else None

    def news(self, name: str) -> News | None:
        """What the source has that it had not at the version done; None when its history no longer reaches
        back there.
        """
        try:
            return news(self.sources[name], self.txns[self.done(name)], self.inputs[name])
        except Truncated:
            return None

    def newest(self) -> int | None:
        """The latest moment in the table so far, in microseconds; None when it is empty."""
        assert self.target is not None
        (found,) = (
            self.sql.query(
                f'select epoch_us(max("{self.recipe.time}")) as t from target', {"target": self.target.snapshot()}
            )
            .read_all()["t"]
            .to_pylist()
        )
        return found

    def rows(self, start: datetime, end: datetime) -> Rows:
        """What the query gives for [start, end), not read yet."""
        text, bound = self.text(), self.bound(start, end)
        if self.recipe.function is not None:
            reader = self.sql.map(text, self.recipe.function, self.inputs, bound, what=f'table "{self.recipe.table}"')
        else:
            reader = self.sql.query(text, self.inputs, bound)
        if self.identity is not None:
            self.identity.check(reader.schema)
        return Rows(fit(reader.schema, self.recipe.table), reader, self.recipe.table, self.identity)

    def text(self) -> str:
        """The query, its output held to the interval as well: a row outside would be doubled when its own interval is
        built.
        """
        step, moment = self.recipe.step, self.recipe.time
        if step is None or step.length_us is None:
            return self.recipe.text
        return f'select * from (\n{self.recipe.text}\n) where "{moment}" >= $start and "{moment}" < $end'

    def bound(self, start: datetime, end: datetime) -> dict[str, Any]:
        return {**self.recipe.params, "start": start, "end": end}

    def moved(self) -> dict[str, tuple[int | None, int]]:
        """The txns of the commit that ends this build: (what they must be now, what they become)."""
        after = {self.done(name): snapshot.version for name, snapshot in self.inputs.items()} | {CODE: self.recipe.code}
        return {app: (self.txns.get(app), version) for app, version in after.items()}

    def metadata(self, how: How, span: Span | None = None) -> dict[str, Any]:
        made: dict[str, Any] = {
            "by": "build",
            "kind": how,
            "inputs": {name: snapshot.version for name, snapshot in self.inputs.items()},
            "code": f"{self.recipe.code:015x}",
            "at_us": self.now_us,
        }
        return made | {"span": list(span), "time": self.recipe.time} if span else made

    def built(self, target: LakeTable, version: int, rows: Rows, how: How) -> Built:
        files = deltalog.read(target.files, target.name, version).added
        return Built(version, rows.count, sum(file.size for file in files if file.data_change), how)


class Rows:
    """The batches of a build on their way into the table, counted."""

    def __init__(
        self, schema: pa.Schema, batches: Iterable[pa.RecordBatch], table: str, identity: Identity | None = None
    ) -> None:
        self.schema, self.count = schema, 0
        self._keys = identity.watch(schema) if identity else None
        self._batches = fitted(batches, schema, table)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.count += batch.num_rows
            if self._keys is not None:
                self._keys.take(batch)
            if batch.num_rows:
                yield batch
        if self._keys is not None:
            self._keys.end()

    def reader(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self.schema, self)


def _same(one: pa.Schema, other: pa.Schema) -> bool:
    """Whether rows of the one fit a table of the other as they are: names and types, whatever is nullable."""
    return one.names == other.names and [str(field.type) for field in one] == [str(field.type) for field in other]
