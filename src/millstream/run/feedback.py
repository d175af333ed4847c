"""Decisions and labels back into outcomes, rewards and posteriors, as the labels mature.

Nothing here counts anything up: outcomes replace an interval, posteriors are computed anew from them. So it may be
killed, or run by two processes at once, and the next pass is right.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from millstream.base.errors import Conflict
from millstream.base.theirs import pass_on
from millstream.run.trouble import EXPERIMENT, OUTCOMES

if TYPE_CHECKING:
    from millstream.declare.endpoint import Endpoint
    from millstream.declare.experiment import Experiment
    from millstream.ports import Engines


Attempt = Callable[[str, str, Callable[[], object]], object]
"""Does a piece of work (part, name, work), and what it raises costs the others nothing."""


def feedback(ws: Engines, attempt: Attempt | None = None) -> int:
    """One pass over all endpoints; outcomes written.

    Args:
        attempt: Takes what a piece raises; without one the first error is raised when all others are done.
    """
    from millstream.experiment.analyse import update

    written, errors = [0], list[BaseException]()

    def outcomes(endpoint: Endpoint[Any, Any]) -> None:
        from millstream.experiment.outcomes import refresh

        with contextlib.suppress(Conflict):  # another process did the same just now
            written[0] += refresh(endpoint, ws.lake, ws.sql, ws.project.params).rows

    def bandit(experiment: Experiment[Any], endpoint: Endpoint[Any, Any]) -> None:
        with contextlib.suppress(Conflict):
            update(experiment, endpoint, ws.lake, ws.sql, ws.state, ws.project.params)

    def noted(part: str, name: str, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            pass_on(error)
            errors.append(error)

    attempt = attempt or noted
    for endpoint in ws.project.endpoints.values():
        attempt(OUTCOMES, endpoint.name, partial(outcomes, endpoint))
        for experiment in endpoint.experiments:
            attempt(EXPERIMENT, experiment.name, partial(bandit, experiment, endpoint))
    if errors:
        raise errors[0]
    return written[0]


def unjudged(ws: Engines, endpoint: Endpoint[Any, Any]) -> int:
    """Landed decisions that are mature and that the outcomes table does not hold yet."""
    from millstream.experiment.outcomes import due

    judged = ws.lake.table(endpoint.outcomes).rows() if ws.lake.exists(endpoint.outcomes) else 0
    return max(0, due(endpoint, ws.lake, ws.sql) - judged)
