"""Decisions and labels back into outcomes, rewards and posteriors, as the labels ripen.

Nothing here counts anything up: outcomes replace an interval, posteriors are computed anew from them. So it may be killed, or run
by two processes at once, and the next pass is right.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from millstream.declare.errors import Conflict

if TYPE_CHECKING:
    from millstream.app.workspace import Workspace
    from millstream.declare.endpoint import Endpoint


def feedback(ws: Workspace) -> int:
    """One pass over all endpoints; outcomes written."""
    from millstream.experiment.analyse import update
    from millstream.experiment.outcomes import refresh

    written = 0
    for endpoint in ws.project.endpoints.values():
        with contextlib.suppress(Conflict):  # another process did the same just now
            written += refresh(endpoint, ws.lake, ws.sql, ws.project.params).rows
        for experiment in endpoint.experiments:
            with contextlib.suppress(Conflict):
                update(experiment, endpoint, ws.lake, ws.sql, ws.state, ws.project.params)
    return written


def unjudged(ws: Workspace, endpoint: Endpoint[Any, Any]) -> int:
    """Landed decisions that are ripe and that the outcomes table does not hold yet."""
    from millstream.experiment.outcomes import due

    judged = ws.lake.table(endpoint.outcomes).rows() if ws.lake.exists(endpoint.outcomes) else 0
    return max(0, due(endpoint, ws.lake, ws.sql) - judged)
