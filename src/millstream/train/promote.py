"""Champion, challenger, latest: both versions are judged now, by the same rows, so that a drifting world does not
favour the newer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from millstream.base.errors import MillstreamError, NotFound, UsageError
from millstream.declare.model import METRICS, Model
from millstream.lang.expression import compile as compile_expression
from millstream.train.metrics import measure
from millstream.train.predictor import load

if TYPE_CHECKING:
    import pyarrow as pa

    from millstream.train.port import Tracking

_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_CHAMPION = "champion"
_WORST = 1e300  # a metric of this size, or less than nothing by as much, loses under any rule


@dataclass(frozen=True)
class Verdict:
    """Whether a version becomes champion, and why; `champion` holds the champion's metrics on the same rows."""

    promoted: bool
    reason: str
    champion: dict[str, float] = field(default_factory=dict)


def metrics_of(rule: str) -> list[str]:
    """The metrics a rule names, without label or champion.

    >>> metrics_of("late.auc >= champion.late.auc and brier < 0.2")
    ['auc', 'brier']
    """
    return list(dict.fromkeys(last for word in _DOTTED.findall(rule) if (last := word.split(".")[-1]) in METRICS))


def decide(
    model: Model[Any],
    tracking: Tracking,
    metrics: dict[str, float],
    judged: pa.Table,
    labels: Sequence[str],
    wanted: Sequence[str],
) -> Verdict:
    """Whether the version with these metrics is promoted.

    Args:
        judged: The rows the metrics were computed on, with their labels.

    Raises:
        UsageError: The rule names a metric that was not computed.
    """
    try:
        champion = tracking.version(model.name, _CHAMPION)
    except NotFound:
        return Verdict(True, "promoted: the first version")
    if model.promote_if is None:
        return Verdict(True, "promoted: no rule asks for more")
    if "champion" not in model.promote_if:
        passed = holds(model, metrics, {})
        return Verdict(passed, f"{'promoted' if passed else 'not promoted'}: {model.promote_if}")
    try:
        held = load(tracking, model.name, str(champion.number))
    except MillstreamError as error:  # and so it answers nothing either
        passed = _any_worst(model, metrics, dict.fromkeys(metrics, math.nan))
        return Verdict(
            passed,
            f"{'promoted' if passed else 'not promoted'}: {model.promote_if}: champion {champion.number} cannot be"
            f" loaded, which loses to any: {error}",
        )
    try:
        theirs = measure(wanted, _targets(judged, labels), held.predict(judged), labels)
    except MillstreamError as error:
        return Verdict(False, f"not promoted: champion {champion.number} cannot be judged by these rows: {error}")
    blind = _blind(model, metrics, theirs)
    if blind:
        passed = _any_worst(model, metrics, theirs)
        told = f"{', '.join(blind)} of champion {champion.number} is not a number on these rows, which loses to any"
        return Verdict(passed, f"{'promoted' if passed else 'not promoted'}: {model.promote_if}: {told}", theirs)
    passed = holds(model, metrics, theirs)
    shown = ", ".join(f"{name} {metrics[name]:.5f} against {theirs[name]:.5f}" for name in metrics if name in theirs)
    return Verdict(
        passed,
        f"{'promoted' if passed else 'not promoted'}: {model.promote_if}: {shown} of champion {champion.number}",
        theirs,
    )


def _any_worst(model: Model[Any], metrics: dict[str, float], champion: dict[str, float]) -> bool:
    """Whether the rule holds when the champion's metrics that are not numbers are the worst there are, whichever way
    that is.
    """
    blind = _blind(model, metrics, champion)
    return any(
        holds(model, metrics, {**champion, **dict(zip(blind, worst, strict=True))})
        for worst in product((-_WORST, _WORST), repeat=len(blind))
    )


def _blind(model: Model[Any], metrics: dict[str, float], champion: dict[str, float]) -> list[str]:
    """The champion's metrics in the rule that it alone does not have: on the same rows, it is its answers that are not
    numbers.
    """
    asked = set(_DOTTED.findall(model.promote_if or ""))
    return [
        name
        for name, value in champion.items()
        if f"{_CHAMPION}.{name}" in asked and math.isnan(value) and not math.isnan(metrics[name])
    ]


def holds(model: Model[Any], metrics: dict[str, float], champion: dict[str, float]) -> bool:
    """Whether the rule is true; NaN (a metric that these rows cannot give) makes it NULL, and so not true."""
    assert model.promote_if is not None
    row: dict[str, Any] = {**metrics, **{f"{_CHAMPION}.{name}": value for name, value in champion.items()}}
    row = {name.replace(".", "__"): None if math.isnan(value) else value for name, value in row.items()}
    text = _DOTTED.sub(lambda m: m[0].replace(".", "__"), model.promote_if)
    missing = [
        w for w in _DOTTED.findall(model.promote_if) if w.split(".")[-1] in METRICS and w.replace(".", "__") not in row
    ]
    if missing:
        raise UsageError(
            f'model "{model.name}": promote_if names {missing[0]}, which is not computed; there are {", ".join(row)}'
        )
    rule = compile_expression(
        text, dict.fromkeys(row, "float64"), {}, place=model.place, what=f'promote_if of model "{model.name}"'
    )
    return rule.evaluate(row) is True


def _targets(judged: pa.Table, labels: Sequence[str]) -> Any:
    from millstream.train.run import targets

    return targets(judged, list(labels))
