"""The continuous parts of `up`, each the body of one process."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from types import FrameType
from typing import Any

from millstream.base.errors import MillstreamError, Transient
from millstream.base.storage import refused
from millstream.base.waits import Waits
from millstream.declare.source import FileReader
from millstream.run import intake
from millstream.run.sources import source_engines
from millstream.run.workspace import Workspace
from millstream.serve.decisions import all_streams

log = logging.getLogger("millstream")
LAND_WITHIN = timedelta(seconds=2)
"""How long a record waits for others to land with: a commit costs the same for one as for a hundred thousand."""


def until_stopped() -> threading.Event:
    """Set by SIGTERM and Ctrl-C."""
    stop = threading.Event()

    def tell(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, tell)
    return stop


def owner() -> str:
    """Who this process is, for leases."""
    return f"{socket.gethostname()}:{os.getpid()}"


def persist(name: str, work: Callable[[], object], stop: threading.Event) -> None:
    """Do the work again after a transient error, a full disk among them; any other ends the process, so that the
    supervisor and the person see it.
    """
    waits = Waits()
    while not stop.is_set():
        try:
            work()
            return
        except (Transient, OSError) as error:
            known = error if isinstance(error, Transient) else refused(error, None, name)
            if not isinstance(known, Transient):
                raise known or error from error
            wait = waits.failed(name, str(known))
            if wait.news:
                log.warning("%s: %s; again in %.1f s, then after longer pauses", name, known, wait.pause_s)
            stop.wait(wait.pause_s)


def serve(ws: Workspace) -> None:
    """The collector and the endpoints."""
    from millstream.run.serving import run

    run(ws, update=False)


def features(ws: Workspace) -> None:
    """The feature updaters."""
    from millstream.run import serving

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    serving.features(ws, until_stopped())


def sinks(ws: Workspace) -> None:
    """Every stream from the log into the lake; the log's and the tables' upkeep, under leases; and what has changed to
    the catalog.
    """
    from millstream.app.catalog import follow
    from millstream.lake.maintain import maintain
    from millstream.lake.sink import SinkLimits
    from millstream.run import trouble

    stop, waits = until_stopped(), Waits()
    fix(ws, stop)

    def write(stream: Any) -> None:
        def run(well: Callable[[], None]) -> None:
            with closing(intake.sink(ws, stream, SinkLimits(age=LAND_WITHIN))) as sink:
                sink.step()
                well()
                sink.run(stop)

        trouble.alone(ws.state, stream.name, run, stop)

    def tend(tables: list[str]) -> None:
        for name in tables:
            if not stop.is_set():
                _upkeep(waits, name, partial(maintain, ws.lake, name, ws.state, owner()))

    threads = [
        threading.Thread(target=write, args=(s,), name=f"sink-{s.name}") for s in all_streams(ws.project).values()
    ]
    for thread in threads:
        thread.start()
    if ws.catalog is not None:  # a pass may be cut off anywhere, so nothing waits for a metastore that is slow
        threading.Thread(target=follow, args=(ws, owner(), stop), name="catalog", daemon=True).start()
    try:
        while not stop.wait(5.0):
            _upkeep(waits, "the log", lambda: ws.log.maintain())
            _upkeep(waits, "the lake", lambda: tend(ws.lake.names()))
    finally:  # also when this thread fails: the engines are closed after it, and none may be at work with them
        stop.set()
        for thread in threads:
            thread.join()


def _upkeep(waits: Waits, what: str, work: Callable[[], object]) -> None:
    """It saves work, and safety never rests on it: what fails is said once, tried again in the next round, and nobody
    waits for it.
    """
    try:
        work()
    except Exception as error:
        if waits.failed(what, str(error)).news:
            log.warning("upkeep of %s: %s", what, error, exc_info=not isinstance(error, MillstreamError | OSError))
    else:
        if waits.well(what):
            log.warning("upkeep of %s works again", what)


def fix(ws: Workspace, stop: threading.Event) -> None:
    """Cut off what a power cut tore, before anybody builds on it. Looking costs milliseconds, so no boot is taken for a
    clean one.
    """
    from millstream.lake.cut import cut, needed

    for name in ws.lake.names():
        if not needed(ws.files, name):
            continue
        lease, waits = f"mend/{name}", False
        while not ws.state.lease(lease, owner(), timedelta(minutes=1)):
            if not waits:
                log.warning(
                    'table "%s" is being repaired by another process; the sinks wait for it, at most a minute after'
                    " that process has died",
                    name,
                )
            waits = True
            if stop.wait(0.5):
                return
            if not needed(ws.files, name):
                break
        try:
            if damage := needed(ws.files, name):
                cut(ws.lake, ws.log, name)
                log.warning("%s; the log fills it again", damage)
        except MillstreamError as error:  # a person decides; the other tables continue
            log.error("%s", error)
        finally:
            ws.state.release(lease, owner())


def sources(ws: Workspace) -> None:
    """Folders watched for new files."""
    from millstream.ingest.pump import follow
    from millstream.run.serving import must_write
    from millstream.run.trouble import SOURCE, Watch

    stop = until_stopped()
    watched = [s for s in ws.project.sources.values() if isinstance(s.reader, FileReader) and s.reader.watch]

    persist("sources", lambda: must_write(ws.log), stop)
    follow(ws.log, ws.schemas, source_engines(ws.project, watched), stop, doors=ws.doors, watch=Watch(ws.state, SOURCE))


def schedule(ws: Workspace) -> None:
    """Outcomes, rewards and posteriors as labels mature; scheduled assets; monitors when they are due."""
    from millstream.run.feedback import feedback
    from millstream.run.schedule import Schedule
    from millstream.run.trouble import ASSET, EXPERIMENT, MONITOR, OUTCOMES, SCHEDULE, Watches, of

    stop, watches = until_stopped(), Watches(ws.state)
    declared: dict[str, Iterable[str]] = {
        MONITOR: ws.project.monitors,
        OUTCOMES: ws.project.endpoints,
        EXPERIMENT: ws.project.experiments,
        ASSET: ws.project.by_name,
    }
    for part, names in declared.items():
        # What is declared no longer waits for nothing
        watches.of(part).only([name for name in names if of(ws.state, part, name)])
    due = Schedule(ws, assets=not ws.orchestrator.keeps_time, attempt=watches.attempt)
    while not stop.is_set():
        begun = time.monotonic()
        watches.attempt(SCHEDULE, "feedback", lambda: feedback(ws, watches.attempt))
        took = time.monotonic() - begun
        # Not in the pause: a monitor of minutes would hold rewards back for three times as long.
        watches.attempt(SCHEDULE, "clock", lambda: due.tick(datetime.now(UTC), stop))
        stop.wait(min(15.0, max(1.0 - took, 2.0 * took)))  # about a third of a core, however much there is to judge


def console(ws: Workspace) -> None:
    """Pages for a browser."""
    from millstream.app.console.server import run

    run(ws)


PARTS: dict[str, Callable[[Workspace], None]] = {
    "serve": serve,
    "features": features,
    "sinks": sinks,
    "sources": sources,
    "schedule": schedule,
    "console": console,
}
