"""Tables in memory: the `Tables` and `Table` ports as lists of commits. They pass `TableContract`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from millstream.base import points
from millstream.base.errors import Conflict, Incompatible, NotFound, Transient
from millstream.lake import deltalog, lineage
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
    read: dict[str, pa.RecordBatch] = field(default_factory=dict)
    """What was read of this version, by its condition."""


@dataclass
class Held:
    """What outlives a process: the commits of a table, and files that may be named by none."""

    name: str
    uuid: str
    commits: list[Commit]
    late: tuple[int, Commit] | None = None
    """A commit that a slow disk still has under way, and its version."""
    files: dict[str, pa.RecordBatch] = field(default_factory=dict)


class Late(Transient):
    """The store did not answer in time, and may still do what it was asked."""


class MemoryTables:
    """Args:
    fault: Called with "write", "torn", "written", "land" or "landed" where a store may fail; raises what it raises.
    Past "torn" a part of the files
        is there, past "written" all of them, past "landed" the commit. When "land" raises Late, the commit may come
        later.
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
        """A torn tail cut off, as `repair` does: only versions below stay. Nothing is under way any more: the machines
        were off.
        """
        del self.held[name].commits[version:]
        self.held[name].late = None

    def arrive(self) -> None:
        """What is under way is there now, unless another commit took its version."""
        for held in self.held.values():
            late, held.late = held.late, None
            if late is not None and late[0] == len(held.commits):
                held.commits.append(late[1])


class MemoryTable:
    def __init__(self, tables: MemoryTables, held: Held) -> None:
        self._tables, self._held = tables, held
        self.configuration: Mapping[str, str] = {}
        self._stand(len(held.commits))

    def _stand(self, count: int) -> None:
        self._commits = self._held.commits[:count]
        self.version, self.schema = count - 1, self._commits[-1].schema
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

    def settle(self) -> None:
        """What is there is durable: torn tails are cut by `cut`."""

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
        self._held.files[path] = whole.slice(0, whole.num_rows // 2)
        self._tables.fault("torn")
        self._held.files[path] = whole
        self._tables.fault("written")
        return [Written(path, whole.nbytes, whole.num_rows, "{}", {})]

    def land(self, files: Sequence[Written], *, txns: Txns, metadata: Mapping[str, Any]) -> int:
        return self._commit(files, {}, txns, metadata)

    def edit(
        self,
        change: Callable[[pa.RecordBatch], pa.RecordBatch],
        bounds: Mapping[str, tuple[Any, Any]],
        files: Sequence[Written] = (),
        *,
        txns: Txns,
        metadata: Mapping[str, Any],
    ) -> int:
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

    def _commit(
        self, files: Sequence[Written], instead: Mapping[str, tuple[str, ...]], txns: Txns, metadata: Mapping[str, Any]
    ) -> int:
        self.check(txns)
        between = self._held.commits[self.version + 1 :]
        if self._held.commits[: self.version + 1] != self._commits or any(
            txns.keys() & commit.txns.keys() or commit.schema != self.schema or (instead and commit.instead)
            for commit in between
        ):
            raise Conflict(f'table "{self.name}": another commit came first')
        moved = {app: after for app, (_, after) in txns.items()}
        commit = Commit(
            tuple(file.path for file in files), moved, json.loads(json.dumps(metadata)), self.schema, instead
        )
        try:
            self._tables.fault("land")
        except Late:
            self._held.late = len(self._held.commits), commit
            raise
        self._held.commits.append(commit)
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
        self,
        columns: Sequence[str],
        bounds: Mapping[str, tuple[Any, Any]] | None = None,
        where: Any = None,
        *,
        skip: Collection[str] = (),
    ) -> Iterator[pa.RecordBatch]:
        batch = self._read(where)
        if batch.num_rows:
            yield batch.select(list(columns))

    def _read(self, where: Any) -> pa.RecordBatch:
        """Kept, since nothing before a commit ever changes."""
        kept, name = self._commits[-1].read, str(where)
        if name not in kept:
            if where is None:
                files = [fit(self._held.files[path], self.schema) for path in self._paths()]
                kept[name] = pa.concat_batches(files) if files else pa.RecordBatch.from_pylist([], schema=self.schema)
            else:
                whole = self._read(None)
                kept[name] = whole.filter(where) if whole.num_rows else whole
        return kept[name]

    def ranges(self) -> list[lineage.Range]:
        found = [
            one
            for version, commit in enumerate(self._commits)
            for one in lineage.of(deltalog.Commit(version, "", 0, commit.metadata, {}, (), {}, commit.txns))
        ]
        return lineage.merged(found)

    def metadata(self) -> Iterator[Mapping[str, Any]]:
        """What each commit said about itself, in order."""
        return (commit.metadata for commit in self._commits)

    def tend(self) -> None: ...
