"""A project as loaded: its nouns by name and kind, and the graph of what is made from what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from millstream.base.errors import NotFound
from millstream.base.words import nearest
from millstream.declare.endpoint import Endpoint
from millstream.declare.experiment import Experiment
from millstream.declare.features import Features
from millstream.declare.graph import Graph, build
from millstream.declare.model import Model
from millstream.declare.monitor import Monitor
from millstream.declare.noun import Noun
from millstream.declare.source import Source
from millstream.declare.stream import Stream
from millstream.declare.table import Table
from millstream.declare.training_set import TrainingSet

N = TypeVar("N", bound=Noun)


class Project:
    """The folder with `millstream.toml`, as declared.

    Attributes:
        root: The folder, absolute.
        name: `[project] name`.
        params: `[params]`: constants of the logic, `$name` in every expression and table.
        nouns: In order of declaration.
        withheld: Names of what was declared wrongly, or with something that was, and so was not made.
        unchecked: Names, as far as they are known, of what was withheld without a mistake of its own, or stands in text
            that was not run.
        by_name: The first noun of each name (a second one is an error of the load).
    """

    def __init__(
        self, root: Path, name: str, params: Mapping[str, Any], nouns: Iterable[Noun], withheld: Iterable[str] = ()
    ) -> None:
        self.root, self.name, self.params, self.nouns, self.withheld = (
            root,
            name,
            dict(params),
            list(nouns),
            frozenset(withheld),
        )
        self.unchecked: Sequence[str] = ()
        self.by_name: dict[str, Noun] = {}
        for noun in self.nouns:
            self.by_name.setdefault(noun.name, noun)
        self.streams: dict[str, Stream[Any]] = self._of(Stream)
        self.sources: dict[str, Source] = self._of(Source)
        self.tables: dict[str, Table] = self._of(Table)
        self.features: dict[str, Features] = self._of(Features)
        self.training_sets: dict[str, TrainingSet[Any]] = self._of(TrainingSet)
        self.models: dict[str, Model[Any]] = self._of(Model)
        self.experiments: dict[str, Experiment[Any]] = self._of(Experiment)
        self.endpoints: dict[str, Endpoint[Any, Any]] = self._of(Endpoint)
        self.monitors: dict[str, Monitor] = self._of(Monitor)

    def _of(self, kind: type[N]) -> dict[str, N]:
        return {name: noun for name, noun in self.by_name.items() if isinstance(noun, kind)}

    @cached_property
    def graph(self) -> Graph:
        """Edges by name, those found in SQL included."""
        return build(self.nouns)

    def __getitem__(self, name: str) -> Noun:
        """The noun of that name. Raises NotFound."""
        if name not in self.by_name:
            raise NotFound(f'nothing is called "{name}"; {nearest(name, self.by_name) or "see millstream show graph"}')
        return self.by_name[name]

    def __repr__(self) -> str:
        return f"<Project {self.name}: {len(self.nouns)} nouns>"
