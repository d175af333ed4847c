"""Spark, as the sink port: workers that share one Spark, which stays up between them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from millstream.declare.stream import Stream
from millstream.engines.spark.session import Options, acquire, release
from millstream.engines.spark.sink import SparkSink
from millstream.lake.lake import Lake
from millstream.lake.landing import SinkLimits
from millstream.log.port import Log, Schemas


class SparkSinks:
    """`sink = "spark://..."`; Spark starts with the first worker and ends when this is closed."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder, self.options = url, Path(folder).absolute(), Options.read(url)
        self._lock, self._held = threading.Lock(), False

    def worker(
        self, log: Log, schemas: Schemas, lake: Lake, stream: Stream[Any], limits: SinkLimits | None = None
    ) -> SparkSink:
        made = SparkSink(self.url, self.folder, log, schemas, lake, stream, limits=limits)
        with self._lock:
            if not self._held:
                acquire(self.options, self.folder)
                self._held = True
        return made

    def close(self) -> None:
        with self._lock:
            if self._held:
                self._held = False
                release()
