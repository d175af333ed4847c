"""The lake: tables by name, below one root."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from millstream.base.errors import Conflict, NotFound, UsageError
from millstream.base.storage import refused
from millstream.base.words import choices
from millstream.declare.stream import Stream
from millstream.lake import deltalog, parquet, pins
from millstream.lake.commit import HOOKS_OFF, asked
from millstream.lake.complete import declared
from millstream.lake.port import CanPrepare, Files
from millstream.lake.positions import NEVER, TIME
from millstream.lake.repair import examine, repair
from millstream.lake.table import LakeTable

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]*")


def _now_us() -> int:
    return time.time_ns() // 1000


class Lake:
    """Tables in a tree of files. Holds nothing but the files, so it is cheap and safe for several threads.

    Args:
        complete: Gives the moment (us) up to which all of a stream has landed, by the log's own clock; None where only
            its events tell.
        now_us: The wall clock, in microseconds since 1970 UTC; no watermark passes it.
    """

    def __init__(
        self,
        files: Files,
        complete: Callable[[LakeTable], int | None] = lambda table: None,
        *,
        now_us: Callable[[], int] = _now_us,
    ) -> None:
        self.files, self._complete, self._now_us = files, complete, now_us

    def names(self) -> list[str]:
        """Tables there are, sorted; those of dead letters and lineage (`x__dead`, `x__lineage`) too."""
        return [name for name in self.files.list("") if _NAME.fullmatch(name) and self.exists(name)]

    def exists(self, name: str) -> bool:
        return any(
            entry.endswith((".json", ".checkpoint.parquet"))
            for entry in self.files.list(f"{_named(name)}/{deltalog.LOG}")
        )

    def table(self, name: str) -> LakeTable:
        """The newest version of a table. Raises NotFound; Corrupt when its log cannot be read."""
        if not self.exists(name):
            raise NotFound(f'table "{name}" is not in the lake; {choices(name, self.names())}')
        return LakeTable.open(self.files, name)

    def create(self, name: str, schema: pa.Schema, partition_by: tuple[str, ...] = ()) -> LakeTable:
        """An empty table; one that someone else created a moment ago is returned as it is (docs/exactly-once.md,
        section 6).

        Raises:
            Conflict: It exists with other columns.
        """
        wanted = parquet.plain_schema(schema)
        if not self.exists(name) or self._torn(name):
            if isinstance(self.files, CanPrepare):
                self.files.prepare(name)
            place = f"{self.files.root}/{name}"
            try:
                made = asked(
                    self.files,
                    lambda: DeltaTable.create(
                        place,
                        wanted,
                        mode="error",
                        partition_by=list(partition_by) or None,
                        storage_options=dict(self.files.options) or None,
                        # Tried again, a second creation lands as version 1, with another uuid
                        commit_properties=CommitProperties(max_commit_retries=0),
                        post_commithook_properties=HOOKS_OFF,
                    ),
                )
            except (CommitFailedError, DeltaError, OSError) as error:
                if isinstance(error, OSError) or not self.exists(name):
                    raise refused(error, place, f'create table "{name}"') or error from error
            else:
                self.files.sync(deltalog.commit_path(name, 0))
                return LakeTable(self.files, name, made)
        table = self.table(name)
        have = {field.name: field.type for field in table.schema}
        differs = next((f for f in wanted if have.get(f.name) != f.type), None)
        if differs is not None or table.partition_by != tuple(partition_by):
            found = (
                f'"{differs.name}" {have.get(differs.name)} and not {differs.type}'
                if differs is not None
                else f"partitioned by {table.partition_by}"
            )
            raise Conflict(f'table "{name}" exists with other columns: {found}')
        return table

    def _torn(self, name: str) -> bool:
        """Whether a power cut has torn its creation, which is then cleared away. Nobody was told of it, and nothing
        stands on it.
        """
        if deltalog.versions(self.files, name) != [0]:
            return False
        damage = examine(self.files, name)
        if damage is None or damage.cut != 0:
            return False
        repair(self.files, name)
        return not self.exists(name)

    def drop(self, name: str) -> None:
        """Remove the table, its versions and its pins; absent is fine."""
        self.files.remove_tree(_named(name))
        self.files.remove_tree(f"{pins.FOLDER}/{name}")

    def watermark(self, stream: Stream[Any]) -> int | None:
        """Newest event time that landed, less the stream's lateness, in microseconds; None before the first row.

        Labels and windows up to it are mature. It needs no scan: each commit of the sink carries it. A stream that has
        caught up moves it by the clock, or the labels of a quiet stream would never mature. It never passes the wall
        clock: one event of 2099 that is stored does not complete the labels of today. What is stored, and what `_late`
        is held against, stays a function of the log. A history that was declared complete (`complete.py`) is complete
        up to that moment, without the lateness.
        """
        if not self.exists(stream.name):
            return None
        table = self.table(stream.name)
        newest = [at for app, at in table.txns().items() if app.startswith(TIME) and at > NEVER]
        complete = self._complete(table) if newest else None
        newest += [] if complete is None else [complete]  # before 1970 times are negative, so none is not 0
        bounds = [min(max(newest), self._now_us()) - stream.lateness_us] if newest else []
        upto = declared(table)
        bounds += [] if upto is None else [min(upto, self._now_us())]
        return max(bounds, default=None)


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(f'"{name}" is not a name of a table: letters, digits, "_", "-" and "."')
    return name
