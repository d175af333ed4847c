"""One experiment's report: the engine computes sufficient statistics, and only those reach Python."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from millstream.base.errors import NotFound
from millstream.declare.endpoint import Endpoint
from millstream.declare.experiment import Experiment
from millstream.experiment import ab, learn, outcomes, phases
from millstream.experiment.bandit import Posterior, Stat, context_sql, posteriors, read_stat, stat_sql
from millstream.experiment.learn import Snapshot
from millstream.experiment.phases import Phase
from millstream.state.port import State

if TYPE_CHECKING:
    from millstream.lake.lake import Lake
    from millstream.transform.port import Sql


class Share(NamedTuple):
    """Of one arm in one interval of time.

    Attributes:
        at_us: Start of the interval.
        decisions: Of this arm.
        share: Of all decisions of the experiment in the interval.
        reward: Mean of the mature rewards, NaN without any.
    """

    at_us: int
    arm: str
    decisions: int
    share: float
    reward: float


class ArmReport(NamedTuple):
    """One arm of one phase.

    Attributes:
        decisions: All there are.
        units: Different units among them.
        judged: Units whose first decision is mature.
        stat: Of the first decision's reward, one a unit.
        missing: Mature units without an outcome.
        believed_mean: Mean of the posterior (bandits), NaN otherwise.
        believed_sd: Its standard deviation.
        probability: With which the arm is chosen now, all contexts weighed by their rewards; the weight, for an A/B.
    """

    arm: str
    decisions: int
    units: int
    judged: int
    stat: Stat
    missing: int
    believed_mean: float
    believed_sd: float
    probability: float


class Report(NamedTuple):
    """What there is to say about a phase of an experiment."""

    experiment: str
    phase: Phase
    arms: list[ArmReport]
    result: ab.Result
    shares: list[Share]
    snapshot: Snapshot | None


def analyse(
    experiment: Experiment[Any],
    endpoint: Endpoint[Any, Any],
    lake: Lake,
    sql: Sql,
    state: State,
    params: Mapping[str, Any],
    *,
    phase: int | None = None,
    level: float = 0.95,
    every_us: int = 86_400_000_000,
) -> Report:
    """The report of a phase, the present one by default.

    Args:
        level: Of the intervals.
        every_us: Length of an interval of `shares`.

    Raises:
        NotFound: The experiment was never started, or has no such phase.
    """
    known = phases.history(state, experiment.name)
    if not known:
        raise NotFound(f'experiment "{experiment.name}" was never started')
    chosen = known[-1] if phase is None else next((p for p in known if p.number == phase), None)
    if chosen is None:
        raise NotFound(f'experiment "{experiment.name}" has phases 1 to {known[-1].number}, not {phase}')
    metrics = outcomes.metrics_of(experiment)
    kinds = {name: outcomes.reward_kind(reward, endpoint.event, params) for name, reward in metrics.items()}
    exposed = _exposed(experiment, endpoint, chosen, lake, sql)
    booleans = frozenset(name for name, kind in kinds.items() if kind == "bool")
    stats, judged = first_statistics(experiment, endpoint, chosen, lake, sql, list(metrics), booleans)
    result = ab.analyse(
        stats,
        control=next(iter(chosen.arms)),
        exposed={arm: units for arm, (_, units) in exposed.items()},
        weights=chosen.weights,
        shares=booleans,
        level=level,
    )
    snapshot = learn.snapshot_of(state, experiment.name)
    snapshot = snapshot if snapshot is not None and snapshot.phase == chosen.number else None
    believed = _believed(snapshot)
    arms = [
        _arm(
            arm,
            exposed.get(arm, (0, 0)),
            stats["reward"][arm],
            judged.get(arm, 0),
            believed.get(arm),
            _probability(arm, chosen, snapshot),
        )
        for arm in chosen.arms
    ]
    return Report(
        experiment.name, chosen, arms, result, shares(experiment, endpoint, chosen, lake, sql, every_us), snapshot
    )


def update(
    experiment: Experiment[Any],
    endpoint: Endpoint[Any, Any],
    lake: Lake,
    sql: Sql,
    state: State,
    params: Mapping[str, Any],
) -> Snapshot | None:
    """Bring a bandit's posterior up to the outcomes table; None for an A/B, or before a phase or an outcome.

    Every mature decision counts, not only a unit's first: what is learnt is the worth of an arm's answers.

    Raises:
        Conflict: Another process wrote a snapshot just now.
    """
    phase = phases.current(state, experiment.name)
    if (
        experiment.assign.method == "ab"
        or phase is None
        or phase.status != "running"
        or not lake.exists(endpoint.outcomes)
    ):
        return None
    table = lake.table(endpoint.outcomes)
    last = learn.snapshot_of(state, experiment.name)
    if last is not None and last.phase == phase.number and last.position.get("outcomes") == table.version:
        return last
    boolean = outcomes.reward_kind(experiment.reward, endpoint.event, params) == "bool"
    inner, outer = stat_sql("reward", "r", whole=boolean)
    text = f"""select context, arm, {outer}, max(epoch_us(ts)) as newest from (
        select *, {inner.format(groups="context, arm")} from (
            select ts, arm, reward, {context_sql(learn.by_of(experiment.assign))} as context from o
            where experiment = $name and phase = $phase and reward is not null))
        group by all order by all"""
    found = (
        sql.query(text, {"o": table.snapshot()}, {"name": experiment.name, "phase": phase.number})
        .read_all()
        .to_pylist()
    )
    stats: dict[str, dict[str, Stat]] = {}
    for row in found:
        if row["arm"] in phase.arms:
            stats.setdefault(row["context"], {})[row["arm"]] = read_stat(row, "r")
    position = {"outcomes": table.version, "decisions_us": max((row["newest"] for row in found), default=0)}
    return learn.refresh(experiment, phase, stats, position, state, boolean=boolean)


def first_statistics(
    experiment: Experiment[Any],
    endpoint: Endpoint[Any, Any],
    phase: Phase,
    lake: Lake,
    sql: Sql,
    metrics: list[str],
    booleans: frozenset[str],
) -> tuple[dict[str, dict[str, Stat]], dict[str, int]]:
    """Metric -> arm -> statistics over units, each by its first decision of the phase; and arm -> units judged.

    A unit has one arm in an A/B, so its later decisions are not independent of the first and would only narrow the
    interval falsely.
    """
    none = {metric: {arm: Stat() for arm in phase.arms} for metric in metrics}
    if not lake.exists(endpoint.outcomes):
        return none, {}
    parts = [stat_sql(f'"{metric}"', f"m{i}", whole=metric in booleans) for i, metric in enumerate(metrics)]
    text = f"""select arm, count(*) as judged, {", ".join(outer for _, outer in parts)} from (
        select *, {", ".join(inner.format(groups="arm") for inner, _ in parts)} from (
            select *, row_number() over (partition by unit order by ts, decision_id) as place from o
            where experiment = $name and phase = $phase)
        where place = 1) group by arm"""
    found = (
        sql.query(
            text, {"o": lake.table(endpoint.outcomes).snapshot()}, {"name": experiment.name, "phase": phase.number}
        )
        .read_all()
        .to_pylist()
    )
    for row in found:
        if row["arm"] in phase.arms:
            for i, metric in enumerate(metrics):
                none[metric][row["arm"]] = read_stat(row, f"m{i}")
    return none, {row["arm"]: row["judged"] for row in found}


def shares(
    experiment: Experiment[Any], endpoint: Endpoint[Any, Any], phase: Phase, lake: Lake, sql: Sql, every_us: int
) -> list[Share]:
    """Decisions of each arm over time, with the mean of their mature rewards; in order of time, arms in theirs."""
    if not lake.exists(endpoint.decisions):
        return []
    named = {"name": experiment.name, "phase": phase.number}
    slot = f"epoch_us(ts) // {every_us} * {every_us}"
    text = f"select {slot} as at, arm, count(*) as n from d where experiment = $name and phase = $phase group by all"
    counts = {
        (r["at"], r["arm"]): r["n"]
        for r in sql.query(text, {"d": lake.table(endpoint.decisions).snapshot()}, named).read_all().to_pylist()
    }
    means: dict[tuple[int, str], float] = {}
    if lake.exists(endpoint.outcomes):
        text = (
            f"select {slot} as at, arm, avg(reward) as mean from o where experiment = $name and phase = $phase and"
            " reward is not null group by all"
        )
        means = {
            (r["at"], r["arm"]): r["mean"]
            for r in sql.query(text, {"o": lake.table(endpoint.outcomes).snapshot()}, named).read_all().to_pylist()
        }
    told = []
    for at in sorted({at for at, _ in counts}):
        whole = sum(n for (when, _), n in counts.items() if when == at)
        told += [
            Share(at, arm, counts.get((at, arm), 0), counts.get((at, arm), 0) / whole, means.get((at, arm), math.nan))
            for arm in phase.arms
        ]
    return told


def _exposed(
    experiment: Experiment[Any], endpoint: Endpoint[Any, Any], phase: Phase, lake: Lake, sql: Sql
) -> dict[str, tuple[int, int]]:
    """Arm -> decisions and units."""
    if not lake.exists(endpoint.decisions):
        return {}
    text = (
        "select arm, count(*) as n, count(distinct unit) as units from d where experiment = $name and phase = $phase"
        " group by arm"
    )
    found = (
        sql.query(
            text, {"d": lake.table(endpoint.decisions).snapshot()}, {"name": experiment.name, "phase": phase.number}
        )
        .read_all()
        .to_pylist()
    )
    return {row["arm"]: (row["n"], row["units"]) for row in found}


def _believed(snapshot: Snapshot | None) -> dict[str, Posterior]:
    """Posteriors of all contexts together."""
    if snapshot is None:
        return {}
    pooled: dict[str, Stat] = {}
    for of in snapshot.stats.values():
        for arm, stat in of.items():
            pooled[arm] = pooled.get(arm, Stat()) + stat
    return posteriors(pooled, boolean=snapshot.boolean)


def _probability(arm: str, phase: Phase, snapshot: Snapshot | None) -> float:
    if phase.winner is not None:
        return float(arm == phase.winner)
    if phase.weights:
        return phase.weights[arm]
    if snapshot is None or not snapshot.probabilities:
        return 1.0 / len(phase.arms)
    sizes = {key: sum(s.n for s in of.values()) + 1 for key, of in snapshot.stats.items()}
    return sum(sizes[key] * of[arm] for key, of in snapshot.probabilities.items()) / sum(sizes.values())


def _arm(
    arm: str, exposed: tuple[int, int], stat: Stat, judged: int, believed: Posterior | None, probability: float
) -> ArmReport:
    mean, sd = (believed.mean, believed.sd) if believed is not None else (math.nan, math.nan)
    return ArmReport(arm, *exposed, judged, stat, judged - stat.n - stat.odd, mean, sd, probability)
