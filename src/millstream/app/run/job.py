"""One group of a manifest, run to its end: what another orchestrator's task calls."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from millstream.app.run.claim import Claim
from millstream.app.run.runner import Done, alone, carry_out, row
from millstream.app.run.steps import Report, steps
from millstream.declare.errors import Fenced, NotFound, UsageError

if TYPE_CHECKING:
    from millstream.app.export import Manifest
    from millstream.app.workspace import Workspace


def check_code(manifest: Manifest, root: Path) -> None:
    """Raises UsageError when the project is not the one that was exported."""
    from millstream.app.export import code

    found = code.changed(root, manifest.code)
    if found:
        shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        raise UsageError(
            f"the project in {root} is not the one that was exported; changed since: {shown}. "
            "Export it again (millstream export airflow DIR), or go back to the code of the manifest"
        )


def run_job(
    ws: Workspace, manifest: Manifest, name: str, run_id: str, attempt: int, *, only: Collection[str] = (), report: Callable[[str], Report] | None = None,
    told: Callable[[Done], None] = lambda done: None,
) -> list[Done]:  # fmt: skip
    """Bring the assets of a group up to date, under the claim of this attempt.

    Args:
        only: Those of its assets that are wanted; all when none is named.

    Raises:
        Fenced: A newer attempt has taken over, before or meanwhile; what it had not committed by then, it does not commit.
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
    with alone(ws.folder, shared=True), claim.guarding():
        carry_out([s for s in steps(ws) if s.name in chosen], ws.state, run_id, results, report=report, told=told)
    done = list(results.values())
    if claim.lost:
        raise Fenced(next(d.error for d in done if d.status == "failed"))
    claim.finish("failed" if any(d.status in ("failed", "blocked") for d in done) else "finished", [row(d) for d in done])
    return done
