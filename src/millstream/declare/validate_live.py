"""Checks of experiments, endpoints and monitors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from millstream.base.errors import DefinitionError
from millstream.base.event import Kind
from millstream.base.words import nearest
from millstream.declare.endpoint import Endpoint
from millstream.declare.experiment import AB, Experiment, Thompson
from millstream.declare.model import METRICS, ModelRef
from millstream.declare.monitor import Monitor, NotNull, Performance, Rows, Volume
from millstream.declare.outcome import Reward
from millstream.declare.stream import Stream
from millstream.declare.table import Table
from millstream.declare.validate_data import Errors, columns_of, condition
from millstream.declare.validate_label import check_performance, outcome_kind
from millstream.lang.cache import Cache
from millstream.lang.facts import kind_of

if TYPE_CHECKING:
    from millstream.declare.project import Project
from millstream.declare.validate_model import _WORD, _or, check_outcome


def check_experiment(experiment: Experiment[Any], project: Project, cache: Cache) -> Errors:
    """Its arms and weights, its traffic, its rewards."""
    how, arms = experiment.assign, len(experiment.arms)
    if arms < 2:
        yield DefinitionError(
            f"{experiment} compares nothing",
            place=experiment.place,
            found=f"{arms} arm",
            fix="name two arms or more",
            code="E160",
        )
    if len({isinstance(arm, ModelRef) for arm in experiment.arms.values()}) > 1:
        yield DefinitionError(
            f"{experiment}: some of its arms are models and some are values",
            place=experiment.place,
            found=", ".join(experiment.arms),
            fix="all arms answer in one way: versions of models, or values",
            code="E160",
        )
    if isinstance(how, AB) and how.weights:
        if len(how.weights) != arms:
            yield DefinitionError(
                f"{experiment} has {arms} arms and {len(how.weights)} weights",
                place=how.place or experiment.place,
                found=str(how.weights),
                fix="one weight an arm, in their order",
                code="E160",
            )
        if abs(sum(how.weights) - 1) > 1e-9:
            yield DefinitionError(
                f"{experiment}: the weights do not sum to 1",
                place=how.place or experiment.place,
                found=f"{how.weights} sum to {sum(how.weights):g}",
                fix="e.g. assign.ab(0.5, 0.5)",
                code="E160",
            )
    if isinstance(how, Thompson) and how.floor * arms > 1:
        yield DefinitionError(
            f"{experiment}: the floors leave nothing to learn with",
            place=how.place or experiment.place,
            found=f"{arms} arms with at least {how.floor:g} each",
            fix=f"at most {1 / max(arms, 1):.2g} each",
            code="E160",
        )
    low, high = experiment.traffic
    if low >= high:
        yield DefinitionError(
            f"{experiment}: traffic is a part of [0, 1)",
            place=experiment.place,
            found=str(experiment.traffic),
            fix="e.g. (0.0, 0.5)",
            code="E162",
        )
    if experiment.adjust is not None:
        yield DefinitionError(
            f"{experiment}: no report adjusts by a feature yet",
            place=experiment.place,
            found=f'adjust={experiment.adjust.features.name}["{experiment.adjust.output}"]',
            fix="leave adjust= out; the plain comparison is unbiased, its interval is wider",
            code="E164",
        )
    for reward in (experiment.reward, *experiment.guardrails.values()):
        yield from check_outcome(reward.outcome, project, cache)


def check_endpoint(endpoint: Endpoint[Any, Any], project: Project, cache: Cache) -> Errors:
    """One request for all arms; experiments of one layer, side by side; rewards over what a decision says."""
    spines = {ref.model.on.at: ref for ref in endpoint.refs()}
    if len(spines) > 1:
        yield DefinitionError(
            f"{endpoint}: its models have different requests",
            place=endpoint.place,
            found=", ".join(f"{ref.model.name} at {at.name}" for at, ref in spines.items()),
            fix="all arms of an endpoint must share one spine",
            code="E175",
        )
    if endpoint.event is None:
        yield DefinitionError(
            f"{endpoint} has no class of a request",
            place=endpoint.place,
            found="models over a table, or values without request=",
            fix="say request=YourEvent",
            code="E173",
        )
        return
    if endpoint.request and isinstance(endpoint.spine, Stream) and endpoint.request is not endpoint.spine.event:
        yield DefinitionError(
            f"{endpoint}: its request is another class than that of its models",
            place=endpoint.place,
            found=(
                f"request={endpoint.request.__name__}, and the models' spine {endpoint.spine.name} has"
                f" {endpoint.spine.event.__name__}"
            ),
            fix="leave request= out; it is for models over a table, and for values",
            code="E175",
        )
        return
    layers: dict[str, list[Experiment[Any]]] = {}
    for experiment in endpoint.experiments:
        layers.setdefault(experiment.layer, []).append(experiment)
    if len(layers) > 1:
        yield DefinitionError(
            f"{endpoint}: two layers choose one thing",
            place=endpoint.place,
            found=", ".join(f"{e.name} in {e.layer}" for e in endpoint.experiments),
            fix="put its experiments into one layer, with disjoint traffic",
            code="E172",
        )
    for layer, members in layers.items():
        for i, one in enumerate(members):
            for other in members[i + 1 :]:
                if one.traffic[0] < other.traffic[1] and other.traffic[0] < one.traffic[1]:
                    yield _overlap(endpoint, layer, one, other)
    request: dict[str, Kind] = {field.name: field.kind for field in endpoint.event.__schema__.fields}
    for experiment in endpoint.experiments:
        yield from _decided(experiment, endpoint, request, project, cache)


def _overlap(endpoint: Endpoint[Any, Any], layer: str, one: Experiment[Any], other: Experiment[Any]) -> DefinitionError:
    return DefinitionError(
        f'{endpoint}: "{one.name}" ({one.place}) and "{other.name}" ({other.place}) overlap in layer "{layer}"',
        place=endpoint.place,
        found=f"traffic {one.traffic} and {other.traffic}",
        fix="make the ranges disjoint, e.g. (0.0, 0.5) and (0.5, 1.0)",
        code="E171",
    )


def _decided(
    experiment: Experiment[Any],
    endpoint: Endpoint[Any, Any],
    request: Mapping[str, Kind],
    project: Project,
    cache: Cache,
) -> Errors:
    by = getattr(experiment.assign, "by", ())
    for what, name in (("unit", experiment.unit), *(("by", name) for name in by)):
        if name not in request:
            yield DefinitionError(
                f'{experiment}: its {what} "{name}" is not in the request of {endpoint}',
                place=experiment.place,
                found=", ".join(sorted(request)),
                fix=nearest(name, request) or "name a field of the request",
                code="E161",
            )
    for reward in (experiment.reward, *experiment.guardrails.values()):
        yield from _reward(reward, experiment, request, project, cache)


def _reward(
    reward: Reward, experiment: Experiment[Any], request: Mapping[str, Kind], project: Project, cache: Cache
) -> Errors:
    for name in reward.outcome.on:
        if name != "decision_id" and name not in request:
            yield DefinitionError(
                f'{experiment}: its outcome joins on "{name}", which the request does not have',
                place=reward.outcome.place or experiment.place,
                found=", ".join(sorted(request)),
                fix=nearest(name, request) or 'join on="decision_id"',
                code="E141",
            )
    try:
        kind = outcome_kind(reward.outcome, project, cache)
    except DefinitionError:
        return  # told by the outcome's own check
    fields: dict[str, Kind] = {**request, "outcome": kind, "prediction": "float64", "arm": "string"}
    try:
        made = kind_of(
            reward.expression, fields, project.params, cache, place=reward.place, what=f"the reward of {experiment}"
        )
    except DefinitionError as error:
        yield error
        return
    if made not in ("float64", "int64", "bool"):
        yield DefinitionError(
            f"the reward of {experiment} is not a number",
            place=reward.place or experiment.place,
            found=f"{reward.expression} is {made}",
            fix="higher is better: a number or a boolean",
            code="E163",
        )


def check_monitor(monitor: Monitor, project: Project, cache: Cache) -> Errors:
    """Each check can watch the target, and what it names is there."""
    if not monitor.checks:
        yield DefinitionError(
            f"{monitor} expects nothing",
            place=monitor.place,
            found="no check",
            fix='e.g. ms.expect.fresh("3h")',
            code="E180",
        )
    target = monitor.target
    for check in monitor.checks:
        if target.kind not in check.watches:
            an = "an" if target.kind[0] in "aeiou" else "a"
            yield DefinitionError(
                f"monitor on {target}: {check.check} cannot watch {an} {target.kind.replace('_', ' ')}",
                place=check.place or monitor.place,
                found=target.kind,
                fix=f"{check.check} watches {_or(check.watches)}",
                code="E180",
            )
            continue
        fields = columns_of(target, cache) if isinstance(target, Stream | Table) else {}
        if isinstance(check, Rows):
            yield from condition(
                check.expression,
                fields,
                project,
                cache,
                check,
                f"expect.rows of {target}",
                loose=isinstance(target, Table),
            )
        elif isinstance(check, NotNull):
            if not check.columns:
                yield DefinitionError(
                    f"expect.not_null: it names no column of {target}",
                    place=check.place,
                    found="no column",
                    fix="name one or more",
                    code="E193",
                )
            for name in check.columns:
                if name not in fields:
                    yield DefinitionError(
                        f'expect.not_null: {target} has no field "{name}"',
                        place=check.place,
                        found=", ".join(sorted(fields)),
                        fix=nearest(name, fields) or "name one of them",
                        code="E111",
                    )
        elif isinstance(check, Volume) and check.at_most is not None and check.at_most < check.at_least:
            yield DefinitionError(
                f"expect.volume of {target}: no number is at least {check.at_least} and at most {check.at_most}",
                place=check.place,
                found=f"{check.at_least}, {check.at_most}",
                fix="give the smaller one first",
                code="E192",
            )
        elif isinstance(check, Performance):
            yield from _performance(check, target, project, cache)


def _performance(check: Performance, target: Any, project: Project, cache: Cache) -> Iterator[DefinitionError]:
    yield from check_outcome(check.outcome, project, cache)
    named = [word for word in _WORD.findall(check.expression) if word in METRICS]
    if not named:
        yield DefinitionError(
            f'expect.performance of {target}: "{check.expression}" names no metric',
            place=check.place,
            found=check.expression,
            fix=f"one of {', '.join(METRICS)}, e.g. auc >= 0.6",
            code="E181",
        )
        return
    yield from condition(
        check.expression, dict.fromkeys(METRICS, "float64"), project, cache, check, f"expect.performance of {target}"
    )
    yield from check_performance(check, target, project, cache)
