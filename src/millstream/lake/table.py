"""A table of the lake: rows that are there whole or not at all, at versions that can be read again.

A `LakeTable` is a handle on one version. What it commits, it commits from there: positions (`txns`) are compared on the
very handle that delta-rs then commits from, and delta-rs refuses the commit if another one with the same app id came in
between (docs/exactly-once.md, section 4). The handle moves on by its own commits and by `refresh`, never by itself.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from millstream.base.errors import Conflict, Corrupt, Incompatible, NotFound, Truncated, Unreachable
from millstream.base.points import reach
from millstream.lake import deltalog, parquet, pins
from millstream.lake.commit import HOOKS_OFF, ONCE, Commit, asked, room
from millstream.lake.port import Files, Snapshot, Txns

if TYPE_CHECKING:
    from millstream.lake.lineage import Range

Rows: TypeAlias = Iterable[pa.RecordBatch] | pa.Table | pa.RecordBatchReader  # type: ignore[valid-type,unused-ignore]
REWRITE = "millstream-rewrite"
"""The app id that every commit which takes files away moves on. delta-rs accepts a commit that removes a file which an
earlier one removed already (tried: rows of two compactions side by side, doubled); that two of one app id exclude one
another, it does check."""


class LakeTable:
    """See the module. Made by `Lake.table` and `Lake.create`.

    Attributes:
        name: Its folder below the lake's root.
        uuid: Of the table; another one when it was dropped and made again.
    """

    def __init__(self, files: Files, name: str, delta: DeltaTable) -> None:
        self.files, self.name, self.delta = files, name, delta
        self.uuid = str(delta.metadata().id)
        self._txns: tuple[int, dict[str, int]] | None = None
        self._settled: int | None = None  # every commit up to here survives a power cut, as this handle has seen to

    @classmethod
    def open(cls, files: Files, name: str, version: int | None = None) -> LakeTable:
        """The newest version, or a given one.

        Raises:
            NotFound: There is no such table, or the version is not kept any more.
            Corrupt: Its log cannot be read; `repair` fixes a torn tail.
        """
        what = f'table "{name}"' + ("" if version is None else f" at version {version}")
        try:
            table = cls(
                files,
                name,
                asked(
                    files,
                    lambda: DeltaTable(
                        f"{files.root}/{name}", version=version, storage_options=dict(files.options) or None
                    ),
                    anew=True,
                ),
            )
        except TableNotFoundError as error:
            raise NotFound(f"{what} is not in the lake {files.root}") from error
        except DeltaError as error:
            if version is not None and version not in deltalog.versions(files, name):
                raise NotFound(
                    f"{what} is not kept any more, or not yet made; the lake has {_span(files, name)}"
                ) from error
            raise Corrupt(
                f"{what} cannot be opened: {next(iter(str(error).splitlines()), '')}; millstream doctor fixes a torn"
                " tail"
            ) from error
        # Delta-rs takes it for a commit that says nothing, and would build on it
        if files.size(deltalog.commit_path(name, table.version)) == 0:
            raise Corrupt(
                f'commit {table.version} of table "{name}" is empty: a power cut tore it; millstream doctor fixes it'
            )
        return table

    @property
    def version(self) -> int:
        return int(self.delta.version())

    @property
    def schema(self) -> pa.Schema:
        """Columns in order, partition columns included."""
        return pa.schema(self.delta.schema().to_arrow())

    @property
    def partition_by(self) -> tuple[str, ...]:
        return tuple(self.delta.metadata().partition_columns)

    @property
    def configuration(self) -> Mapping[str, str]:
        """The table's Delta properties."""
        return dict(self.delta.metadata().configuration)

    def refresh(self) -> LakeTable:
        """The newest version, on a new handle; what was checked on this one must be checked again."""
        newest = LakeTable.open(self.files, self.name)
        if newest.uuid == self.uuid and self._settled is not None and self._settled <= newest.version:
            newest._settled = self._settled
        return newest

    def at(self, version: int) -> LakeTable:
        """The table as it was at a version, to read. Raises NotFound."""
        return LakeTable.open(self.files, self.name, version)

    # -- reading
    # ---------------------------------------------------------------------------------------------------------

    def actions(self) -> pa.Table:
        """One row a file: `path`, `size_bytes`, `num_records`, `min.*`, `max.*`, `null_count.*`, `partition.*`; in
        order of writing.
        """
        found = asked(self.files, lambda: pa.table(self.delta.get_add_actions(flatten=True)))
        return found.sort_by("path")

    def snapshot(self, version: int | None = None) -> Snapshot:
        """The files of this version, or of another, for a compute engine. Raises NotFound."""
        if version is not None and version != self.version:
            return self.at(version).snapshot()
        actions, columns = self.actions(), self.partition_by
        paths = tuple(f"{self.files.root}/{self.name}/{path}" for path in actions["path"].to_pylist())
        values = [actions[f"partition.{c}"].to_pylist() for c in columns]
        partitions = tuple(dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)) if columns else ()
        return Snapshot(
            self.name, self.version, self.schema, paths, partitions, self.files if "://" in self.files.root else None
        )

    def rows(self) -> int:
        """Rows of this version, from the log alone."""
        return sum(n or 0 for n in self.actions()["num_records"].to_pylist())

    def bytes(self) -> int:
        """Bytes of this version's files."""
        return sum(self.actions()["size_bytes"].to_pylist())

    def position(self, app: str) -> int | None:
        """Where an app id stands on this handle; None when it never committed."""
        return self._positions().get(app)

    def txns(self) -> dict[str, int]:
        """Every app id of this version, with where it stands; how many commits were of what kind is nobody's
        position.
        """
        return {app: at for app, at in self._positions().items() if app not in (REWRITE, ONCE)}

    def _positions(self) -> dict[str, int]:
        """Those of the handle's version. Kept, since the log behind an old handle may be cleaned away; then its commit
        is refused, not its question.
        """
        if self._txns is None or self._txns[0] != self.version:
            if self._txns is not None and self._txns[0] < self.version:
                with suppress(Truncated):
                    found = dict(self._txns[1])
                    for commit in deltalog.commits(self.files, self.name, self._txns[0], self.version):
                        found.update(commit.txns)
                    self._txns = (self.version, found)
                    return found
            self._txns = (self.version, deltalog.txns(self.files, self.name, self.version))
        return self._txns[1]

    def metadata(self, version: int) -> Mapping[str, Any]:
        """What the commit of a version said about itself; empty when it said nothing.

        Raises:
            NotFound: The commit has been cleaned away, or is not made yet.
        """
        try:
            return deltalog.read(self.files, self.name, version).user
        except FileNotFoundError as error:
            raise NotFound(
                f'commit {version} of table "{self.name}" is not kept; the lake has {_span(self.files, self.name)}'
            ) from error

    def newest_of(self, key: str) -> tuple[int, Any] | None:
        """What the newest commit that says this key says, and its version; None when no commit that is kept does. JSON
        given as text is read.
        """
        for version in range(self.version, -1, -1):
            try:
                said = self.metadata(version).get(key)
            except NotFound:  # the log's clean-up took the commit
                return None
            if said:
                return version, json.loads(said) if isinstance(said, str) else said
        return None

    def history(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Commits still kept, newest first: version, operation, at (UTC, ISO), rows added, files added and removed,
        metadata.
        """
        kept = [v for v in deltalog.versions(self.files, self.name) if v <= self.version][::-1]
        return [_entry(deltalog.read(self.files, self.name, v)) for v in kept[:limit]]

    def added(self, since: int) -> list[str]:
        """Files that bring rows which version `since` did not have, as `snapshot().files` names them, in order of
        writing.

        Files that only hold old rows in another form (compaction) are left out, and so are new ones whose rows have
        been replaced since.

        Raises:
            Truncated: The log no longer reaches back that far, or such a file has been vacuumed; read the table whole.
        """
        paths: dict[str, None] = {}
        within: dict[str, list[str]] = {}  # a compacted file -> the files whose rows it holds
        for commit in deltalog.commits(self.files, self.name, since, self.version):
            for old in commit.user.get("compacted", ()):
                held = [path for one in old["from"] for path in within.pop(one, [one])]
                within.update(dict.fromkeys(old["into"], held))
            edited = [path for one in commit.user.get("edited", ()) for path in self._still_new(one, paths, within)]
            for path in (path for path, with_rows in commit.removed.items() if with_rows):
                for one in within.pop(path, [path]):
                    paths.pop(one, None)
            paths.update((file.path, None) for file in commit.added if file.data_change)
            paths.update(dict.fromkeys(edited))
        gone = next((path for path in paths if self.files.size(f"{self.name}/{path}") is None), None)
        if gone:
            raise Truncated(
                f'table "{self.name}": file {gone}, added after version {since}, has been vacuumed; read the table'
                " whole"
            )
        return [f"{self.files.root}/{self.name}/{path}" for path in paths]

    def _still_new(
        self, edited: Mapping[str, Any], paths: Mapping[str, None], within: Mapping[str, list[str]]
    ) -> list[str]:
        """The files in the place of an edited one, when its rows are new; none when they are old."""
        held = within.get(edited["from"], [edited["from"]])
        new = [path for path in held if path in paths]
        if new and len(new) < len(held):
            raise Truncated(
                f'table "{self.name}": old rows and new ones were joined, and then edited; read the table whole'
            )
        return list(edited["into"]) if new else []

    def appended(self, since: int) -> list[str] | None:
        """The same, or None when rows of version `since` have been taken away or replaced.

        Raises:
            Truncated: As `added` does.
        """
        if any(
            with_rows
            for commit in deltalog.commits(self.files, self.name, since, self.version)
            for with_rows in commit.removed.values()
        ):
            return None
        return self.added(since)

    def scan(
        self,
        columns: Sequence[str],
        bounds: Mapping[str, tuple[Any, Any]] | None = None,
        where: Any = None,
        *,
        skip: Collection[str] = (),
    ) -> Iterator[pa.RecordBatch]:
        """Batches of these columns, file after file in order of writing; see `scan.scan`."""
        from millstream.lake.scan import scan

        return scan(self, columns, bounds, where, skip)

    def inspect(self, *, deep: bool) -> Iterator[tuple[str, str]]:
        """Files of this version that are not as they were written, and in which way; see `inspect.inspect`."""
        from millstream.lake.inspect import inspect

        return inspect(self, deep=deep)

    def ranges(self) -> list[Range]:
        """What each commit of a sink brought, up to this version, by partition and start."""
        from millstream.lake.lineage import ranges

        return ranges(self)

    # -- writing
    # ---------------------------------------------------------------------------------------------------------

    def append(self, batches: Rows, *, txns: Txns | None = None, metadata: Mapping[str, Any] | None = None) -> int:
        """Add rows, and move positions, in one commit that survives a power cut on return. No rows: the positions
        alone.

        Args:
            batches: Fitted to the table by name; a column that they lack is null.
            txns: Checked on this handle before anything is written, and by delta-rs against every commit since.
            metadata: JSON-able; `metadata(version)` gives it back.

        Returns:
            The version that holds the rows.

        Raises:
            Conflict: A position is not where the caller believed, or the table's columns changed meanwhile. Nothing was
                committed: open the table again and look.
        """
        self.check(txns)
        written = self.write(batches)
        reach("append.files")
        return self.commit([file.action() for file in written], txns=txns, metadata=metadata)

    def replace(
        self,
        batches: Rows,
        *,
        where: tuple[str, Any, Any] | None = None,
        txns: Txns | None = None,
        metadata: Mapping[str, Any] | None = None,
        tries: int = 5,
    ) -> int:
        """Put these rows in the place of all rows, or of those with `low <= column < high`, in one commit.

        Args:
            where: (column, low, high); bounds are values of the column's type, or microseconds for a time. Rows outside
                stay, NULL too.
            tries: Other commits come in between at most so often before Conflict.

        Returns:
            The version that holds the rows.

        Raises:
            Conflict: As for `append`; or other writers never left a gap.
        """
        from millstream.lake.replace import replace

        return replace(self, batches, where, txns or {}, metadata or {}, tries)

    def add_columns(self, fields: Iterable[pa.Field]) -> LakeTable:
        """The table with these columns as well, null in every old row: a commit of its own, before the first row that
        has them (docs/exactly-once.md, section 4).

        A race is not a loss: whoever comes second finds the column there.

        Raises:
            Incompatible: The table has a column of that name with another type, or in other letter case.
        """
        table: LakeTable = self
        for _ in range(10):
            table = table.refresh()
            known = {f.name: f.type for f in table.schema}
            wanted = parquet.plain_schema(pa.schema(list(fields)))
            wrong = next((f for f in wanted if f.name in known and known[f.name] != f.type), None)
            if wrong is not None:
                raise Incompatible(
                    f'table "{self.name}": column "{wrong.name}" is {known[wrong.name]}, and {wrong.type} now; only new'
                    " columns can be added"
                )
            by_case = {name.lower(): name for name in known}
            twin = next((f.name for f in wanted if by_case.setdefault(f.name.lower(), f.name) != f.name), None)
            if twin is not None:
                raise Incompatible(
                    f'table "{self.name}" has a column "{by_case[twin.lower()]}", which differs from "{twin}" by letter'
                    " case only; keep the name it has, or declare a new stream"
                )
            missing = [f.with_nullable(True) for f in wanted if f.name not in known]
            if not missing:
                return table
            before = table.version
            try:
                columns = list(DeltaSchema.from_arrow(pa.schema(missing)).fields)
                self.files.call(partial(table.delta.alter.add_columns, columns, post_commithook_properties=HOOKS_OFF))
            except CommitFailedError:
                continue
            except Unreachable:  # opening it again waits for the store, and tells what became of this try
                continue
            table = table.refresh()
            table._sync(before)
            return table
        raise Conflict(f'table "{self.name}": other commits never left a gap to add a column in')

    def pin(self, version: int, by: str) -> None:
        """Keep the version readable until `unpin(by)`: neither its files nor the log up to it are cleaned away. Raises
        NotFound.
        """
        if version != self.version:
            self.at(version)
        pins.pin(self.files, self.name, version, by)

    def unpin(self, by: str) -> None:
        """Let go what `by` pinned; nothing pinned is fine."""
        pins.unpin(self.files, self.name, by)

    def check(self, txns: Txns | None) -> None:
        """Raises Conflict when a position on this handle is not where the caller believes."""
        for app, (expected, _) in (txns or {}).items():
            found = self.position(app)
            if found != expected:
                raise Conflict(
                    f'table "{self.name}": {app} stands at {found}, not at {expected}; somebody else committed'
                )

    def write(self, batches: Rows) -> list[parquet.Written]:
        """The rows in new, synced files that no commit names yet. Raises Full, with nothing left behind."""
        with room(self.name):
            return parquet.write(self.files, self.name, self.schema, rows_of(batches), self.partition_by)

    def land(self, files: Sequence[parquet.Written], *, txns: Txns, metadata: Mapping[str, Any]) -> int:
        """Commit these files and positions from this handle; see `append`."""
        return self.commit([file.action() for file in files], txns=txns, metadata=metadata)

    def edit(
        self,
        change: Callable[[pa.RecordBatch], pa.RecordBatch],
        bounds: Mapping[str, tuple[Any, Any]],
        files: Sequence[parquet.Written] = (),
        *,
        txns: Txns,
        metadata: Mapping[str, Any],
    ) -> int:
        """Put what `change` makes of the rows in their place, in one commit from this handle; see `edit.edit`."""
        from millstream.lake.edit import edit

        return edit(self, change, bounds, files, txns, metadata)

    def settle(self) -> None:
        """Every commit up to this version survives a power cut. Who wrote the newest ones may have died before it
        synced them; a checkpoint is synced after all that it covers."""
        since = self._settled
        if since == self.version:
            return
        if since is None:
            since = max((v for v in deltalog.checkpoints(self.files, self.name) if v <= self.version), default=-1)
        self.files.sync(
            *(
                deltalog.commit_path(self.name, v)
                for v in deltalog.versions(self.files, self.name)
                if since < v <= self.version
            )
        )
        self._settled = self.version

    def tend(self) -> None:
        """A table that nobody maintains must not get slower for ever."""
        from millstream.lake.checkpoint import when_overdue

        when_overdue(self)

    def commit(
        self,
        actions: list[AddAction | RemoveAction],
        *,
        txns: Txns | None = None,
        metadata: Mapping[str, Any] | None = None,
        alone: bool = False,
        schema: pa.Schema | None = None,
    ) -> int:
        """Commit these files and positions from this handle, durably; the handle moves on. For rooms' own writers: see
        `append`.

        Args:
            alone: Refuse when any other commit came in between.
            schema: New columns of the table; only for a commit that takes every old file away (mode overwrite).
        """
        self.check(txns)
        gone = next(
            (a.path for a in actions if isinstance(a, AddAction) and self.files.size(f"{self.name}/{a.path}") is None),
            None,
        )
        if gone is not None:  # a machine that slept for a week in between: see clean.vacuum
            raise Conflict(f'table "{self.name}": file {gone} was removed before it was committed; write it again')
        moves = {app: after for app, (_, after) in (txns or {}).items()}
        if schema is not None or any(isinstance(a, RemoveAction) for a in actions):
            moves[REWRITE] = (self.position(REWRITE) or 0) + 1
        commit = Commit(
            self,
            actions,
            schema,
            {"userMetadata": json.dumps(dict(metadata or {})), "commitTag": uuid.uuid4().hex},
            alone,
        )
        before = self.version
        commit.land(moves)
        reach("commit.linked")
        asked(self.files, self.delta.update_incremental)
        self._positions()
        self._sync(before)
        if self.version == before + 1:
            return self.version
        landed = commit.landed(before)
        assert landed is not None
        return landed

    def _sync(self, before: int) -> None:
        """Every commit after `before` survives a power cut: ours, and those it stands on."""
        since = before if self._settled is None else min(before, self._settled)
        self.files.sync(*(deltalog.commit_path(self.name, v) for v in range(since + 1, self.version + 1)))
        self._settled = None if self._settled is None else self.version


def rows_of(batches: Rows) -> Iterator[pa.RecordBatch]:
    """Batches of whatever holds rows."""
    return iter(
        batches.to_batches()
        if isinstance(batches, pa.Table)
        else [batches]
        if isinstance(batches, pa.RecordBatch)
        else batches
    )


def _entry(commit: deltalog.Commit) -> dict[str, Any]:
    return {
        "version": commit.version,
        "operation": commit.operation,
        "at": datetime.fromtimestamp(commit.at_ms / 1e3, UTC).isoformat(timespec="milliseconds"),
        "rows": commit.rows,
        "files_added": len(commit.added),
        "files_removed": len(commit.removed),
        "metadata": dict(commit.user),
    }


def _span(files: Files, name: str) -> str:
    kept = deltalog.versions(files, name)
    return f"versions {kept[0]} to {kept[-1]}" if kept else "none"
