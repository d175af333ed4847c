"""What a run would do, why, and what it would cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from millstream.base.errors import ConfigError, EngineMissing, MillstreamError, WorkFailed
from millstream.base.theirs import pass_on
from millstream.run.step import Cost, Expects, Feeds, Step
from millstream.run.trouble import said
from millstream.state.port import State


@dataclass(frozen=True)
class Planned:
    """One asset in a plan. `reasons` is empty when it is up to date; `seconds` is what it took last time, scaled by
    rows; `error`: why it cannot be looked at.
    """

    name: str
    kind: str
    reasons: tuple[str, ...]
    cost: Cost = field(default_factory=Cost)
    seconds: float | None = None
    error: MillstreamError | None = None

    @property
    def stale(self) -> bool:
        return bool(self.reasons)


@dataclass(frozen=True)
class Plan:
    """All selected assets in order of dependency, and the endpoints whose models would change."""

    assets: tuple[Planned, ...]
    endpoints: tuple[str, ...]

    @property
    def stale(self) -> tuple[Planned, ...]:
        return tuple(a for a in self.assets if a.stale)


def reasons(step: Step, last: Mapping[str, Any] | None) -> list[str]:
    """Why this asset is not up to date, judged by what stands now; empty when it is."""
    pending = step.pending()
    if pending:
        return [pending]
    if last is None:
        return ["never made"] if step.recorded else []
    found = []
    if last["definition"] != step.definition:
        found.append("its definition changed")
    now = step.inputs()
    found += [f"{name} has changed" for name, version in now.items() if last["inputs"].get(name) != version]
    return found


def plan(steps: Sequence[Step], selected: Iterable[str], state: State, endpoints: Mapping[str, Sequence[str]]) -> Plan:
    """Walk the assets in order: stale by itself, or because something it is made from would be made again.

    Args:
        steps: In order of dependency.
        selected: Names to plan.
        state: Holds what is known of the last making of each.
        endpoints: Endpoint -> models it uses.
    """
    wanted, assets = set(selected), list[Planned]()
    stale = dict[
        str, Mapping[str, int] | None
    ]()  # asset -> whom it brings something, and about how many rows; None: all that are made from it
    for step in steps:
        if step.name not in wanted:
            continue
        try:
            made, reached = _planned(step, steps, state, stale)
        except (ConfigError, EngineMissing):  # without its engines there is nothing to plan
            raise
        except BaseException as error:  # the others are planned; it counts as stale, since a run would try it
            pass_on(error)
            wrong = error if isinstance(error, MillstreamError) else WorkFailed(said(error))
            made, reached = Planned(step.name, step.kind, (f"it cannot be looked at: {wrong}",), error=wrong), None
        if made.stale and (step.kind != "source" or not made.error):  # files that cannot be looked at bring nothing new
            stale[step.name] = reached
        assets.append(made)
    return Plan(tuple(assets), tuple(name for name, models in endpoints.items() if stale.keys() & set(models)))


def _planned(
    step: Step, steps: Sequence[Step], state: State, stale: Mapping[str, Mapping[str, int] | None]
) -> tuple[Planned, Mapping[str, int] | None]:
    """One asset, and whom it would bring something; `stale`: those before it that would be made."""
    doc = state.get("asset", step.name)
    last = doc.value if doc else None
    why = reasons(step, last)
    fed = {
        name: reached
        for name in step.upstream
        if name in stale and ((reached := stale[name]) is None or step.name in reached)
    }
    if last is not None or not step.recorded:  # what was never made needs no further reason
        why += [f"{name} will be made again" for name in fed]
    elif not why:
        why = ["never made"]
    if not why:
        return Planned(step.name, step.kind, ()), None
    cost = _cost(step, sum(reached[step.name] for reached in fed.values() if reached is not None), bool(fed))
    reaches = step.feeds() if isinstance(step, Feeds) else _passed(step, steps, cost)
    return Planned(step.name, step.kind, tuple(dict.fromkeys(why)), cost, _seconds(last, cost)), reaches


def _cost(step: Step, more: int, fed: bool) -> Cost:
    """What it would read: what is there, and what would come before it is made."""
    if isinstance(step, Expects):
        return step.expects(more) if fed else step.cost()
    cost = step.cost()
    return Cost(cost.rows + more, cost.bytes)


def _passed(step: Step, steps: Sequence[Step], cost: Cost) -> Mapping[str, int] | None:
    """Of a stream, the rows that it would bring; of anything else nothing is known beforehand."""
    if step.kind != "stream":
        return None
    return {other.name: cost.rows for other in steps if step.name in other.upstream}


def _seconds(last: Mapping[str, Any] | None, cost: Cost) -> float | None:
    if last is None or not last.get("seconds"):
        return None
    rows = last.get("rows_read") or 0
    return float(last["seconds"]) * (cost.rows / rows if rows else 1.0)
