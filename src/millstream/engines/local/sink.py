"""The sink of this process, under the name that a profile gives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from millstream.declare.errors import ConfigError
from millstream.declare.stream import Stream
from millstream.lake.lake import Lake
from millstream.lake.sink import Sink
from millstream.log.port import Log, Schemas


class LocalSink(Sink):
    """`sink = "local"`, which has no options."""

    def __init__(self, url: str, folder: Path, log: Log, schemas: Schemas, lake: Lake, stream: Stream[Any], **more: Any) -> None:
        if url != "local":
            raise ConfigError(f'sink = "{url}": write sink = "local", which has no options')
        super().__init__(log, schemas, lake, stream, **more)
