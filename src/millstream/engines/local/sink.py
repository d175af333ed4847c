"""This process, as the sink port."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from millstream.base.errors import ConfigError
from millstream.declare.stream import Stream
from millstream.lake.lake import Lake
from millstream.lake.landing import SinkLimits
from millstream.lake.sink import Sink
from millstream.log.port import Log, Schemas


class LocalSinks:
    """`sink = "local"`, which has no options."""

    def __init__(self, url: str, folder: Path) -> None:
        if url != "local":
            raise ConfigError(f'sink = "{url}": write sink = "local", which has no options')
        self._folder = folder

    def worker(
        self, log: Log, schemas: Schemas, lake: Lake, stream: Stream[Any], limits: SinkLimits | None = None
    ) -> Sink:
        return Sink(log, schemas, lake, stream, limits=limits, folder=self._folder)

    def close(self) -> None:
        """Nothing is held."""
