"""A state in memory, and a webhook that remembers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
from given import engines

from millstream.base.errors import Conflict
from millstream.base.event import ARRIVED_AT, ENVELOPE, OFFSET, PARTITION
from millstream.declare.noun import Noun
from millstream.declare.stream import Stream
from millstream.state.port import Doc
from millstream.watch.scene import Scene


class MemoryState:
    """The state port, kept in a dictionary."""

    def __init__(self) -> None:
        self.docs: dict[tuple[str, str], Doc] = {}

    def put(self, kind: str, key: str, value: Mapping[str, Any], *, expect: int | None = None) -> Doc:
        revision = self.docs[kind, key].revision if (kind, key) in self.docs else 0
        if expect is not None and expect != revision:
            raise Conflict(f"{kind}/{key} is at {revision}")
        # What is kept must be JSON
        doc = Doc(kind, key, revision + 1, datetime.now(UTC), json.loads(json.dumps(value)))
        self.docs[kind, key] = doc
        return doc

    def get(self, kind: str, key: str) -> Doc | None:
        return self.docs.get((kind, key))

    def list(self, kind: str, *, prefix: str = "", limit: int | None = None, newest: bool = False) -> list[Doc]:
        found = sorted(
            (d for d in self.docs.values() if d.kind == kind and d.key.startswith(prefix)), key=lambda d: d.key
        )
        return (sorted(found, key=lambda d: d.written_at, reverse=True) if newest else found)[:limit]

    def delete(self, kind: str, key: str) -> None:
        self.docs.pop((kind, key), None)

    def lease(self, name: str, owner: str, length: timedelta) -> bool:
        return True

    def release(self, name: str, owner: str) -> None: ...

    def close(self) -> None: ...


@contextmanager
def webhook() -> Iterator[tuple[str, list[dict[str, Any]], list[int]]]:
    """Address, what was posted, and the statuses to answer with (200 when empty)."""
    posted, statuses = list[dict[str, Any]](), list[int]()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(statuses.pop(0) if statuses else 200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/alerts", posted, statuses
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def scene_in(folder: Path, *nouns: Noun, wall_us: Callable[[], int] | None = None, **given: Any) -> Scene:
    """A scene on a real lake with the embedded compute engine, and a state in memory."""
    options: dict[str, Any] = {"wall_us": wall_us} if wall_us else {}
    return Scene(engines(folder, *nouns, **{"state": MemoryState(), **given}), **options)


def land(
    scene: Scene,
    stream: Stream[Any],
    rows: Sequence[Mapping[str, Any]],
    *,
    arrived_us: Callable[[int], int] = lambda ts: ts,
) -> None:
    """Rows of a stream as its sink lands them; `ts` in microseconds, and when each arrived."""
    plain = stream.schema.arrow()
    schema = pa.schema([*plain, *(pa.field(n, t) for n, t in ENVELOPE.items())])
    time = stream.schema.event_time
    table = scene.engines.lake.create(stream.name, schema)
    first = table.rows()
    full = [
        {**dict.fromkeys(schema.names), **row, ARRIVED_AT: arrived_us(row[time]), PARTITION: 0, OFFSET: first + i}
        for i, row in enumerate(rows)
    ]
    scene.engines.lake.table(stream.name).append([pa.RecordBatch.from_pylist(full, schema)])
