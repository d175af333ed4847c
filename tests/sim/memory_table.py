"""Tables in memory: the `Tables` and `Table` ports as lists of commits. They pass `TableContract`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from millstream.declare.errors import Conflict, Incompatible, NotFound
from millstream.lake import deltalog, lineage, points
from millstream.lake.parquet import Written, fit, plain_schema
from millstream.lake.port import Txns


@dataclass
class Commit:
    files: tuple[str, ...]
    txns: Mapping[str, int]
    metadata: Mapping[str, Any]
    schema: pa.Schema
    instead: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Files of earlier commits that were edited -> those in their place."""


@dataclass
class Held:
    """What outlives a process: the commits of a table, and files that may be named by none."""

    name: str
    uuid: str
    commits: list[Commit]
    files: dict[str, pa.RecordBatch] = field(default_factory=dict)


class MemoryTables:
    """Args:
    fault: Called with "write", "land" or "landed" where a store may fail; raises what it raises.
    """

    def __init__(self, held: dict[str, Held] | None = None, fault: Callable[[str], None] = lambda point: None) -> None:
        self.held, self.fault = held if held is not None else {}, fault

    def exists(self, name: str) -> bool:
        return name in self.held

    def table(self, name: str) -> MemoryTable:
        if name not in self.held:
            raise NotFound(f'table "{name}" is not there')
        return MemoryTable(self, self.held[name])

    def create(self, name: str, schema: pa.Schema) -> MemoryTable:
        wanted = plain_schema(schema)
        if name not in self.held:
            self.held[name] = Held(name, str(uuid.uuid4()), [Commit((), {}, {}, wanted)])
        table = self.table(name)
        have = {f.name: f.type for f in table.schema}
        if any(have.get(f.name) != f.type for f in wanted):
            raise Conflict(f'table "{name}" exists with other columns')
        return table

    def cut(self, name: str, version: int) -> None:
        """A torn tail cut off, as `repair` does: only versions below stay."""
        del self.held[name].commits[version:]


class MemoryTable:
    def __init__(self, tables: MemoryTables, held: Held) -> None:
        self._tables, self._held = tables, held
        self.configuration: Mapping[str, str] = {}
        self._stand(len(held.commits))

    def _stand(self, count: int) -> None:
        self._commits = self._held.commits[:count]
        self.version, self.schema = count - 1, self._commits[-1].schema
        self._whole: pa.RecordBatch | None = None
        self._txns: dict[str, int] = {}
        for commit in self._commits:
            self._txns.update(commit.txns)

    @property
    def name(self) -> str:
        return self._held.name

    @property
    def uuid(self) -> str:
        return self._held.uuid

    def refresh(self) -> MemoryTable:
        return MemoryTable(self._tables, self._held)

    def position(self, app: str) -> int | None:
        return self._txns.get(app)

    def txns(self) -> dict[str, int]:
        return dict(self._txns)

    def check(self, txns: Txns | None) -> None:
        for app, (expected, _) in (txns or {}).items():
            if self.position(app) != expected:
                raise Conflict(f'table "{self.name}": {app} stands at {self.position(app)}, not at {expected}')

    def write(self, batches: Iterable[pa.RecordBatch]) -> list[Written]:
        self._tables.fault("write")
        held = [fit(batch, self.schema) for batch in batches if batch.num_rows]
        if not held:
            return []
        whole = pa.concat_batches(held)
        path = uuid.uuid4().hex
        self._held.files[path] = whole
        return [Written(path, whole.nbytes, whole.num_rows, "{}", {})]

    def land(self, files: Sequence[Written], *, txns: Txns, metadata: Mapping[str, Any]) -> int:
        return self._commit(files, {}, txns, metadata)

    def edit(
        self, change: Callable[[pa.RecordBatch], pa.RecordBatch], bounds: Mapping[str, tuple[Any, Any]], files: Sequence[Written] = (), *,
        txns: Txns, metadata: Mapping[str, Any],
    ) -> int:  # fmt: skip
        self.check(txns)
        instead = {}
        for path in self._paths():
            before = fit(self._held.files[path], self.schema)
            after = change(before)
            if after is not before:
                instead[path] = tuple(file.path for file in self.write([after]))
        points.reach("edit.files")
        return self._commit(files, instead, txns, metadata)

    def _paths(self) -> list[str]:
        """Files of this version, in order of writing."""
        paths: list[str] = []
        for commit in self._commits:
            paths = [new for path in paths for new in commit.instead.get(path, (path,))] + list(commit.files)
        return paths

    def _commit(self, files: Sequence[Written], instead: Mapping[str, tuple[str, ...]], txns: Txns, metadata: Mapping[str, Any]) -> int:
        self.check(txns)
        self._tables.fault("land")
        between = self._held.commits[self.version + 1 :]
        if self._held.commits[: self.version + 1] != self._commits or any(
            txns.keys() & commit.txns.keys() or commit.schema != self.schema or (instead and commit.instead) for commit in between
        ):
            raise Conflict(f'table "{self.name}": another commit came first')
        moved = {app: after for app, (_, after) in txns.items()}
        self._held.commits.append(Commit(tuple(file.path for file in files), moved, json.loads(json.dumps(metadata)), self.schema, instead))
        self._tables.fault("landed")
        self._stand(len(self._held.commits))
        return self.version

    def add_columns(self, fields: Iterable[pa.Field]) -> MemoryTable:
        table = self.refresh()
        known = {f.name: f.type for f in table.schema}
        wanted = plain_schema(pa.schema(list(fields)))
        if any(f.name in known and known[f.name] != f.type for f in wanted):
            raise Incompatible("only new columns can be added")
        missing = [f.with_nullable(True) for f in wanted if f.name not in known]
        if missing:
            self._held.commits.append(Commit((), {}, {}, pa.schema([*table.schema, *missing])))
        return self.refresh()

    def scan(
        self, columns: Sequence[str], bounds: Mapping[str, tuple[Any, Any]] | None = None, where: Any = None, *, skip: Collection[str] = ()
    ) -> Iterator[pa.RecordBatch]:
        if self._whole is None:
            files = [fit(self._held.files[path], self.schema) for path in self._paths()]
            self._whole = pa.concat_batches(files) if files else pa.RecordBatch.from_pylist([], schema=self.schema)
        batch = self._whole
        if batch.num_rows and where is not None:
            batch = batch.filter(where)
        if batch.num_rows:
            yield batch.select(list(columns))

    def ranges(self) -> list[lineage.Range]:
        found = [
            one for version, commit in enumerate(self._commits) for one in lineage.of(deltalog.Commit(version, "", 0, commit.metadata, {}, (), {}, commit.txns))
        ]
        return lineage.merged(found)

    def metadata(self) -> Iterator[Mapping[str, Any]]:
        """What each commit said about itself, in order."""
        return (commit.metadata for commit in self._commits)

    def tend(self) -> None: ...
