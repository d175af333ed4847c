"""The server of a project: its endpoints, the collector beside them, and the feature updaters behind them, in one
process or two.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from millstream.features.define import define
from millstream.run import trouble

if TYPE_CHECKING:
    from millstream.base.waits import Wait
    from millstream.declare.model import Model
    from millstream.run.workspace import Workspace
    from millstream.serve.live import Live
    from millstream.state.port import State


def live(ws: Workspace, **options: Any) -> Live:
    """What stands behind the endpoints; every feature of the project is kept live, used by a model or not yet."""
    from millstream.serve.live import Live

    def waiting() -> list[tuple[str, str, str]]:
        """Of the other parts: what fails here is known here."""
        return [(one.part, one.name, one.why) for one in trouble.found(ws.state) if one.part != trouble.ENDPOINT]

    kept = None if "predictor" in options else _kept(ws.state)
    definitions = {name: define(features, ws.project.params) for name, features in ws.project.features.items()}
    return Live(ws, definitions=definitions, waiting=waiting, failing=kept, **options)


def _kept(state: State) -> Callable[[Mapping[str, Wait]], None]:
    """Keeps which endpoints and versions wait, where `show waiting`, `doctor` and the console look; what a process
    before this one has left there goes.
    """
    last: dict[str, Wait] | None = None

    def keep(waits: Mapping[str, Wait]) -> None:
        nonlocal last
        for name in set(last if last is not None else trouble.names(state, trouble.ENDPOINT) or ()) - waits.keys():
            trouble.clear(state, trouble.ENDPOINT, name)
        for name, wait in waits.items():
            if last is None or last.get(name) != wait:
                trouble.keep(state, trouble.ENDPOINT, name, wait.why, wait.pause_s)
        last = dict(waits)

    return keep


def must_write(*engines: Any) -> None:
    """Raises what keeps an engine from writing: said at the start, not at each request. An engine on a disk says it by
    `refused`.
    """
    for found in (getattr(one, "refused", None) for one in engines):
        if found is not None:
            raise found


def features(ws: Workspace, stop: threading.Event) -> None:
    """Move on what the served versions look up, in a process of its own: neither the look-ups nor the updates wait for
    the other's interpreter.

    The versions are read for the features they pinned; their models stay unloaded.
    """
    from millstream.train.pinned import from_json
    from millstream.train.predictor import manifest

    def pinned(model: Model[Any], number: int) -> SimpleNamespace:
        return SimpleNamespace(
            definitions=[from_json(told) for told in manifest(ws.tracking, model.name, number)["features"]], derive={}
        )

    must_write(ws.online)
    made = live(ws, predictor=pinned)
    made.start()
    stop.wait()
    made.close()


def run(ws: Workspace, *, update: bool = True) -> None:
    """Serve until told to stop.

    Args:
        update: Move the features on in this process; False when another does.

    Raises:
        ConfigError: The address is beyond loopback and there is no token.
        Busy: Another process listens there.
    """
    from millstream.http.access import guard
    from millstream.http.address import free
    from millstream.ingest.collector import Collector
    from millstream.serve.server import EVENTS, Server
    from millstream.serve.server import run as serve

    settings = ws.settings
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    guard(settings.serve_host, settings.serve_token, "serve")
    free(settings.serve_host, settings.serve_port, "serve")
    taken = {s.into.name: s.into for s in ws.project.sources.values() if s.reader.kind == "http"}
    must_write(ws.log)
    collector = Collector(ws.log, ws.schemas, taken, token=settings.serve_token, doors=ws.doors)
    server = Server(live(ws, update=update), ws.log, token=settings.serve_token, mounts={EVENTS: collector})
    collector.start()
    try:
        serve(
            server,
            host=settings.serve_host,
            port=settings.serve_port,
            started=lambda url: print(
                f"serving {', '.join(ws.project.endpoints) or 'the collector'} on {url}", flush=True
            ),
        )
    finally:
        collector.close()
