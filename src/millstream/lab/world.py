"""A world of its own for a project: fresh engines below one folder, a clock that the caller moves, and stubs for
models.

Nothing of the project's own data is read or written: settings come from the defaults, with every path below the folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from millstream.base.errors import NotFound
from millstream.base.event import ARRIVED_AT, TIMESTAMP
from millstream.base.settings import settle
from millstream.declare.model import Model
from millstream.declare.stream import Stream
from millstream.features.outcome import fields_of
from millstream.lake.lake import Lake
from millstream.lang.expression import compile as compile_expression
from millstream.log.port import Append, Log, Range
from millstream.run.workspace import Workspace
from millstream.train.dataset import feature_kinds, uses_of
from millstream.train.port import Version

if TYPE_CHECKING:
    from millstream.declare.project import Project
    from millstream.declare.training_set import TrainingSet
    from millstream.ingest.doors import Doors
    from millstream.lake.port import Files
    from millstream.train.port import Tracking

Says = float | Mapping[str, float] | Callable[[Mapping[str, Any]], Any]
"""What a stub answers: the same always, or what it makes of the row."""


class World(Workspace):
    """The engines of one world. `now_us` is its clock, None before anything has happened."""

    def __init__(self, project: Project, folder: Path) -> None:
        super().__init__(project, settle(folder, [], profile="lab", secret=lambda reference: None))
        self._folder = folder
        self.now_us: int | None = None
        self.stubs = Stubs()

    @property
    def folder(self) -> Path:
        return self._folder / ".millstream"

    @cached_property
    def lake(self) -> Lake:
        return _Maturing(self.files, lambda: self.now_us)

    @cached_property
    def doors(self) -> Doors:
        """All of this world is as of its clock; the log's own stamps are of the machine's, and say nothing here."""
        from millstream.ingest.doors import Doors, Machine

        return Doors(None, newest=lambda topic: None, machine=Machine(self.wall_us, self.wall_us))

    def wall_us(self) -> int:
        """Its clock; the machine's before anything has happened."""
        return time.time_ns() // 1000 if self.now_us is None else self.now_us

    @cached_property
    def tracking(self) -> Tracking:
        return cast("Tracking", self.stubs)

    @cached_property
    def clocked(self) -> Log:
        """The log, with what is appended stamped by this world's clock."""
        return cast("Log", _Clocked(self.log, lambda: self.now_us or 0))


class _Maturing(Lake):
    """A lake whose streams have all caught up with the clock: a quiet stream's labels mature too, as with `up`."""

    def __init__(self, files: Files, now_us: Callable[[], int | None]) -> None:
        super().__init__(files, now_us=lambda: 2**62)  # capped by the clock of its world below
        self._world_us = now_us

    def watermark(self, stream: Stream[Any]) -> int | None:
        landed, now = super().watermark(stream), self._world_us()
        caught_up = None if now is None or not self.exists(stream.name) else now - stream.lateness_us
        return landed if caught_up is None else caught_up


@dataclass(frozen=True)
class _Clocked:
    """What a recorder needs of a log."""

    log: Log
    now_us: Callable[[], int]

    def append(self, appends: Sequence[Append]) -> list[Range]:
        return self.log.append(
            [
                Append(a.topic, a.partition, a.schema_id, stamped(a.rows, [self.now_us()] * a.rows.num_rows))
                for a in appends
            ]
        )


def stamped(rows: pa.RecordBatch, arrived_us: Sequence[int]) -> pa.RecordBatch:
    """The rows with their times of arrival."""
    return rows.append_column(ARRIVED_AT, pa.array(arrived_us, pa.int64()).cast(TIMESTAMP))


@dataclass
class Stub:
    """A predictor of fixed answers: its features are looked up and recorded as a real version's are."""

    says: Says
    definitions: list[Any]
    derive: dict[str, Callable[[Mapping[str, Any]], Any]]

    @classmethod
    def of(cls, on: TrainingSet[Any], says: Says, params: Mapping[str, Any]) -> Stub:
        request = fields_of(on.at) if isinstance(on.at, Stream) else {}
        kinds = {**request, **feature_kinds(on)}
        derive = {name: compile_expression(text, kinds, params, what=name).evaluate for name, text in on.derive.items()}
        return cls(says, [(use.definition, use.columns, use.prefix) for use in uses_of(on, params)], derive)

    def predict_row(self, row: Mapping[str, Any]) -> Any:
        said = self.says(row) if callable(self.says) else self.says
        return said if isinstance(said, Mapping) else float(said)


@dataclass
class Stubs:
    """The registry of a world: one version of each stubbed model, under every alias."""

    made: dict[str, Stub] = field(default_factory=dict)

    def version(self, model: str, version: str = "champion") -> Version:
        if model not in self.made:
            raise NotFound(f'model "{model}" has no version in this lab; say lab.stub({model}, 0.5) first')
        return Version(model, 1, "lab", datetime.now(UTC), ("challenger", "champion", "latest"), {})

    def versions(self, model: str) -> list[Version]:
        return [self.version(model)] if model in self.made else []

    def load(self, model: Model[Any], version: int) -> Stub:
        """The predictor, as `Live` asks for it."""
        return self.made[model.name]
