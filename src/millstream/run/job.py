"""One group of a manifest, run to its end: what another orchestrator's task calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from millstream.base.errors import Fenced, NotFound, Transient, UsageError
from millstream.run.claim import Claim
from millstream.run.runner import Done, alone, carry_out, row
from millstream.run.step import Report
from millstream.run.steps import steps
from millstream.state.port import State

if TYPE_CHECKING:
    from millstream.ports import Engines
    from millstream.run.export import Manifest

_LEASE, _LOOK_S = timedelta(seconds=30), 0.3


def check_code(manifest: Manifest, root: Path) -> None:
    """Raises UsageError when the project is not the one that was exported."""
    from millstream.run.export import code

    found = code.changed(root, manifest.code)
    if found:
        shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        raise UsageError(
            f"the project in {root} is not the one that was exported; changed since: {shown}. "
            "Export it again (millstream export), or go back to the code of the manifest"
        )


@contextmanager
def turn(state: State, name: str, run_id: str) -> Iterator[None]:
    """One run at a time at a group: others wait, since what they would do is then done. Attempts of one run do not wait
    for one another.

    A lease, so a hint: without it the second would be refused by the log or the lake, and be tried again.
    """
    lease, ended = f"step/{name}", threading.Event()

    def keep() -> None:
        while not ended.wait(_LEASE.total_seconds() / 3):
            with suppress(Transient):
                state.lease(lease, run_id, _LEASE)

    while not state.lease(lease, run_id, _LEASE):
        time.sleep(_LOOK_S)
    keeper = threading.Thread(target=keep, name="lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()
        with suppress(Transient):
            state.release(lease, run_id)


def run_job(
    ws: Engines,
    manifest: Manifest,
    name: str,
    run_id: str,
    attempt: int,
    *,
    only: Collection[str] = (),
    report: Callable[[str], Report] | None = None,
    told: Callable[[Done], None] = lambda done: None,
) -> list[Done]:
    """Bring the assets of a group up to date, under the claim of this attempt.

    Args:
        only: Those of its assets that are wanted; all when none is named.

    Raises:
        Fenced: A newer attempt has taken over, before or meanwhile; what it had not committed by then, it does not
            commit.
        Busy: `millstream run` or `ingest` is at work in this project on this machine.
        NotFound: The manifest has no such group, or the group no such asset.
    """
    assets = manifest.group(name).assets
    strange = [asset for asset in only if asset not in assets]
    if strange:
        raise NotFound(f'step "{name}" has no asset "{strange[0]}"; there are {", ".join(assets)}')
    chosen = set(only or assets)
    claim = Claim(ws.state, run_id, name, attempt)
    claim.take()
    results: dict[str, Done] = {}
    with alone(ws.folder, shared=True), turn(ws.state, name, run_id), claim.guarding():
        carry_out([s for s in steps(ws) if s.name in chosen], ws.state, run_id, results, report=report, told=told)
    done = list(results.values())
    if claim.lost:
        raise Fenced(next(d.error for d in done if d.status == "failed"))
    claim.finish(
        "failed" if any(d.status in ("failed", "blocked") for d in done) else "finished", [row(d) for d in done]
    )
    return done
