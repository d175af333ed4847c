"""The server of a project: its endpoints, the collector beside them, and the feature updaters behind them, in one process."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millstream.app.workspace import Workspace
    from millstream.serve.live import Live


def live(ws: Workspace, **options: Any) -> Live:
    """What stands behind the endpoints; every feature of the project is kept live, used by a model or not yet."""
    from millstream.serve.live import Behind, Live

    behind = Behind(endpoints=ws.project.endpoints, streams=ws.project.streams, log=ws.log, schemas=ws.schemas, lake=ws.lake, sql=ws.sql, store=ws.online,
                    tracking=ws.tracking, state=ws.state, params=ws.project.params)  # fmt: skip
    return Live(behind, definitions={name: ws.definition(f) for name, f in ws.project.features.items()}, **options)


def run(ws: Workspace) -> None:
    """Serve until told to stop.

    Raises:
        ConfigError: The address is beyond loopback and there is no token.
    """
    from millstream.ingest.collector import Collector
    from millstream.serve.server import Server, guard
    from millstream.serve.server import run as serve

    settings = ws.settings
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    guard(settings.serve_host, settings.serve_token)
    taken = {s.into.name: s.into for s in ws.project.sources.values() if s.reader.kind == "http"}
    collector = Collector(ws.log, ws.schemas, taken, token=settings.serve_token)
    server = Server(live(ws), ws.log, token=settings.serve_token, mounts={"/v1/events": collector})
    collector.start()
    try:
        serve(
            server,
            host=settings.serve_host,
            port=settings.serve_port,
            started=lambda url: print(f"serving {', '.join(ws.project.endpoints) or 'the collector'} on {url}", flush=True),
        )
    finally:
        collector.close()
