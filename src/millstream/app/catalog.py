"""The catalog kept up with the lake: beside the commits, after them, and never at their cost."""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from millstream.base.errors import MillstreamError

if TYPE_CHECKING:
    from millstream.run.workspace import Workspace

log = logging.getLogger("millstream")
LEASE = timedelta(minutes=2)
PAUSE_S, SHARE = 5.0, 4
"""Between two passes; and at least so many times what the last one took, since a metastore serves others too."""


def tell(ws: Workspace, owner: str) -> list[str]:
    """One pass: what could not be published, in words; empty when all is well, none is set, or somebody else
    is at it.
    """
    from millstream.lake.catalog import publish

    if ws.catalog is None:
        return []
    lease = f"catalog/{ws.catalog.name}"
    try:
        if not ws.state.lease(lease, owner, LEASE):
            return []
        try:
            return [f"catalog: {error}" for error in publish(ws.lake, ws.catalog).values()]
        finally:
            ws.state.release(lease, owner)
    except MillstreamError as error:
        return [f"catalog: {error}; the next pass makes up for it"]


def follow(ws: Workspace, owner: str, stop: threading.Event) -> None:
    """Passes until told to stop. What goes wrong is said once, and again when it is something else."""
    said: list[str] = []
    pause = PAUSE_S
    while not stop.wait(pause):
        begun = time.monotonic()
        wrong = tell(ws, owner)
        for text in (text for text in wrong if text not in said):
            log.warning("%s", text)
        said, pause = wrong, max(PAUSE_S, SHARE * (time.monotonic() - begun))
