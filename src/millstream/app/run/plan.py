"""What a run would do, why, and what it would cost."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from millstream.app.run.steps import Cost, Step
from millstream.app.trouble import said
from millstream.declare.errors import ConfigError, EngineMissing, MillstreamError, WorkFailed
from millstream.declare.port import State


@dataclass(frozen=True)
class Planned:
    """One asset in a plan. `reasons` is empty when it is up to date; `seconds` is what it took last time, scaled by rows; `error`: why it cannot be looked at."""

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
    wanted, stale, assets = set(selected), set[str](), []
    for step in steps:
        if step.name not in wanted:
            continue
        try:
            made = _planned(step, state, stale)
        except (KeyboardInterrupt, SystemExit, ConfigError, EngineMissing):  # without its engines there is nothing to plan
            raise
        except BaseException as error:  # the others are planned; it counts as stale, since a run would try it
            wrong = error if isinstance(error, MillstreamError) else WorkFailed(said(error))
            made = Planned(step.name, step.kind, (f"it cannot be looked at: {wrong}",), error=wrong)
        if made.stale and (step.kind != "source" or made.cost.bytes):  # files that stopped bring nothing new
            stale.add(step.name)
        assets.append(made)
    return Plan(tuple(assets), tuple(name for name, models in endpoints.items() if stale & set(models)))


def _planned(step: Step, state: State, stale: Collection[str]) -> Planned:
    """One asset; `stale`: those before it that would be made."""
    doc = state.get("asset", step.name)
    last = doc.value if doc else None
    why = reasons(step, last)
    if last is not None or not step.recorded:  # what was never made needs no further reason
        why += [f"{name} will be made again" for name in step.upstream if name in stale]
    elif not why:
        why = ["never made"]
    if not why:
        return Planned(step.name, step.kind, ())
    cost = step.cost()
    return Planned(step.name, step.kind, tuple(dict.fromkeys(why)), cost, _seconds(last, cost))


def _seconds(last: Mapping[str, Any] | None, cost: Cost) -> float | None:
    if last is None or not last.get("seconds"):
        return None
    rows = last.get("rows_read") or 0
    return float(last["seconds"]) * (cost.rows / rows if rows and cost.rows else 1.0)
