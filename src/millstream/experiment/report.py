"""The report of an experiment as plain values, and in sentences: what the command line, `--json` and the
console show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from millstream.base.duration import UNITS
from millstream.base.words import counted
from millstream.declare.experiment import Experiment
from millstream.experiment.ab import LARGE, ODD, Effect
from millstream.experiment.analyse import Report
from millstream.experiment.phases import Phase

DAY_US = UNITS["d"]
POOLED = (
    "It learns from means pooled over time: when the rewards of all arms rise and fall from day to day, it moves to the"
    " arm that had more traffic on good days, which may be the worse one. An A/B test does not."
)
"""Of a bandit, until it learns within stretches of equal probability."""
LACKS = {
    "not enough data": "Not enough mature rewards to compare {treatment} with {control}.",
    "no variance": (
        "{treatment} cannot be compared with {control}: the rewards of each are all alike, so nothing says what chance"
        " can do."
    ),
    "rewards that are not finite numbers": (
        "{treatment} cannot be compared with {control}: some of their rewards are NaN or infinite; correct the reward's"
        " expression."
    ),
    "rewards too large to square": (
        "{treatment} cannot be compared with {control}: the squares of their rewards are not doubles; scale the"
        " reward's expression down."
    ),
}


def started(experiment: Experiment[Any], shown: Phase | None, known: Sequence[Phase]) -> dict[str, Any]:
    """What is known of an experiment without its decisions: `shown` is the phase in question, `known` all phases, first
    to last.
    """
    return {
        "name": experiment.name,
        "method": shown.method if shown else experiment.assign.method,
        "unit": experiment.unit,
        "layer": experiment.layer,
        "traffic": list(experiment.traffic),
        "status": shown.status if shown else "not started",
        "phase": shown.number if shown else 0,
        "phases": [_phase(one) for one in known],
    }


def nothing(why: str) -> dict[str, Any]:
    """In place of `judged`, where there is nothing to judge."""
    return {
        "arms": [],
        "effects": [],
        "guardrails": {},
        "ratio": "",
        "srm": None,
        "shares": {},
        "rewards": {},
        "days": [],
        "counted": "",
        "verdict": why,
    }


def judged(experiment: Experiment[Any], found: Report) -> dict[str, Any]:
    """What the decisions of a phase say of its arms."""
    shares, rewards = _series(found)
    return {
        "arms": _arms(found),
        "effects": [_effect(e) for e in found.result.effects],
        "guardrails": dict(found.result.guards),
        "ratio": _ratio(found),
        "srm": _srm(found),
        "shares": shares,
        "rewards": rewards,
        "days": sorted({s.at_us // DAY_US for s in found.shares}),
        "counted": _counted(experiment, found),
        "verdict": _verdict(experiment, found),
    }


def _phase(phase: Phase) -> dict[str, Any]:
    """When it was, and what its arms were."""
    return {
        "phase": phase.number,
        "status": phase.status,
        "started_at": phase.started_at.isoformat(),
        "ended_at": phase.ended_at and phase.ended_at.isoformat(),
        "winner": phase.winner,
        "arms": {name: f"{arm.model}@{arm.version}" if arm.model else arm.value for name, arm in phase.arms.items()},
    }


def _arms(found: Report) -> list[dict[str, Any]]:
    """One row an arm; the first is the control. `mean` is that of mature rewards, a unit's first decision each."""
    whole = sum(arm.units for arm in found.arms)
    effects = {e.treatment: e for e in found.result.effects if e.metric == "reward"}
    rows = []
    for place, arm in enumerate(found.arms):
        effect = effects.get(arm.arm)
        pinned = found.phase.arms[arm.arm]
        rows.append(
            {
                "arm": arm.arm,
                "model": f"{pinned.model}@{pinned.version}" if pinned.model else None,
                "value": pinned.value,
                "control": place == 0,
                "decisions": arm.decisions,
                "units": arm.units,
                "share": arm.units / whole if whole else 0.0,
                "judged": arm.judged,
                "missing": arm.missing,
                "mean": _number(arm.stat.mean),
                "probability": arm.probability,
                "believed_mean": _number(arm.believed_mean),
                "believed_sd": _number(arm.believed_sd),
                "effect": _number(effect.difference) if effect else None,
                "low": _number(effect.low) if effect else None,
                "high": _number(effect.high) if effect else None,
                "p": _number(effect.p) if effect else None,
            }
        )
    return rows


def _effect(effect: Effect) -> dict[str, Any]:
    told = {key: _number(value) if isinstance(value, float) else value for key, value in effect._asdict().items()}
    return told | {"verdict": effect.verdict}


def _srm(found: Report) -> dict[str, Any] | None:
    return None if found.result.srm is None else found.result.srm._asdict()


def _ratio(found: Report) -> str:
    srm = found.result.srm
    if srm is None:
        return "moves on purpose"
    return f"as weighed (p = {srm.p:.2g})" if srm.ok else f"not as weighed (p = {srm.p:.1g}): do not believe the effect"


def _counted(experiment: Experiment[Any], found: Report) -> str:
    """Which decisions the reward and the effect are of, and how many of those have it yet."""
    units, judged = sum(a.units for a in found.arms), sum(a.judged for a in found.arms)
    missing, later = sum(a.missing for a in found.arms), sum(a.decisions - a.units for a in found.arms)
    rest = [
        f"{units - judged:,} {'waits' if units - judged == 1 else 'wait'} for theirs" if units > judged else "",
        f"{missing:,} got no outcome" if missing else "",
        (
            f"{counted(later, 'later decision of the same units does', 'later decisions of the same units do')} not"
            " count"
            if later
            else ""
        ),
    ]
    said = "".join(f"; {text}" for text in rest if text)
    learnt = (
        "" if found.result.srm is not None else " The bandit itself learns from every decision with a complete reward."
    )
    return (
        f"Only the first decision of each {experiment.unit} in phase {found.phase.number} ({_span(found.phase)})"
        f" counts: {judged - missing:,} of {units:,} have a complete reward{said}.{learnt}"
    )


def _span(phase: Phase) -> str:
    if phase.ended_at is None:
        return f"since {phase.started_at:%Y-%m-%d %H:%M} UTC"
    return f"{phase.started_at:%Y-%m-%d %H:%M} to {phase.ended_at:%Y-%m-%d %H:%M} UTC"


def _verdict(experiment: Experiment[Any], found: Report) -> str:
    """What to make of it, in a sentence or two."""
    srm = found.result.srm
    if srm is not None and not srm.ok:
        return f"The arms' shares are {_ratio(found)}."
    if found.phase.status == "shipped":
        return f"Shipped: all of its traffic gets {found.phase.winner}."
    if found.result.srm is None and found.phase.ended_at is not None:
        return "The phase is over; the probabilities that its bandit had learnt are not kept."
    if found.result.srm is None:
        leader = max(found.arms, key=lambda a: a.probability)
        chance = f"{leader.arm} is chosen with probability {leader.probability:.1%} now"
        judged = sum(a.judged for a in found.arms)
        return (
            f"{chance}, learnt from {counted(judged, 'mature unit')}. {POOLED}"
            if judged
            else f"No reward is mature yet. {POOLED}"
        )
    told = [_sentence(e) for e in found.result.effects if e.metric == "reward"]
    bad = [name for name, kept in found.result.guards.items() if not kept]
    blind = dict.fromkeys(e.metric for e in found.result.effects if e.metric != "reward" and e.lacks in (ODD, LARGE))
    return " ".join(
        [
            *told,
            f"Shares are {_ratio(found)}.",
            *([f"Guardrail {', '.join(bad)} is hurt."] if bad else []),
            *(
                [f"Guardrail {', '.join(blind)} cannot be judged: rewards are NaN, infinite or too large."]
                if blind
                else []
            ),
        ]
    )


def _sentence(effect: Effect) -> str:
    if effect.lacks:
        return LACKS[effect.lacks].format(treatment=effect.treatment, control=effect.control)
    return (
        f"{effect.treatment} beside {effect.control}: {effect.verdict} ({effect.difference:+.4f}, p = {effect.p:.2g})."
    )


def _series(found: Report) -> tuple[dict[str, list[tuple[float, float]]], dict[str, list[tuple[float, float]]]]:
    """Arm -> (day of the phase, share), and arm -> (day, mean reward)."""
    shares: dict[str, list[tuple[float, float]]] = {}
    rewards: dict[str, list[tuple[float, float]]] = {}
    first = min((s.at_us for s in found.shares), default=0)
    for share in found.shares:
        day = (share.at_us - first) / DAY_US
        shares.setdefault(share.arm, []).append((day, share.share))
        if not math.isnan(share.reward):
            rewards.setdefault(share.arm, []).append((day, share.reward))
    return shares, rewards


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value


PHASES = ("phase", "status", "from", "to", "arms")


def phase_rows(found: dict[str, Any]) -> list[list[str]]:
    """A line a phase, in UTC, first to last."""
    return [
        [
            str(p["phase"]),
            p["status"],
            p["started_at"][:16].replace("T", " "),
            (p["ended_at"] or "")[:16].replace("T", " "),
            f"all {p['winner']}" if p["winner"] else ", ".join(f"{arm} = {gives}" for arm, gives in p["arms"].items()),
        ]
        for p in found["phases"]
    ]
