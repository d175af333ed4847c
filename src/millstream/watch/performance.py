"""Performance: a metric of the decisions whose outcomes are mature."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from millstream.base.errors import DefinitionError
from millstream.base.words import counted
from millstream.declare.model import METRICS, Model
from millstream.declare.monitor import Performance
from millstream.declare.noun import Noun
from millstream.lang.expression import compile as compile_expression
from millstream.train.metrics import measure
from millstream.watch.scene import Scene
from millstream.watch.verdict import Verdict, unknown

ENOUGH = 50
"""Mature decisions below which no metric is judged."""
_BOUND = re.compile(r"\s*(\w+)\s*(?:>=|<=|>|<)\s*([-+0-9.eE]+)\s*")


def performance(check: Performance, target: Noun, scene: Scene) -> Verdict:
    """The metrics of the last window of mature decisions, of an endpoint, or of one model behind any endpoint.

    Raises:
        DefinitionError: The expression names no metric.
    """
    expression = compile_expression(
        check.expression, dict.fromkeys(METRICS, "float64"), scene.engines.project.params, place=check.place, what="expect.performance"
    )
    if not expression.columns:
        raise DefinitionError(f'expect.performance of {target}: "{check.expression}" names no metric', place=check.place, found=check.expression,
                              fix=f"one of {', '.join(METRICS)}, e.g. auc >= 0.6", code="E181")  # fmt: skip
    named = _BOUND.fullmatch(check.expression)
    metric, bound = (named[1], float(named[2])) if named else (expression.columns[0], None)
    y, p, newest = _mature(check, target, scene)
    if len(y) < ENOUGH:
        return unknown("performance", f"{counted(len(y), 'decision has', 'decisions have')} a mature outcome; {ENOUGH} are needed", bound, rows=len(y))
    odd = int(np.sum(~np.isfinite(p)))
    if odd:  # a model that answers NaN is not one that nothing is known of
        return Verdict("performance", "violated", None, bound, f"{odd:,} of {len(y):,} predictions with a mature outcome are NaN or infinite; {check.expression}",
                       {"rows": len(y), "odd": odd, "newest_us": newest})  # fmt: skip
    found = measure(list(expression.columns), y, p)
    if any(math.isnan(value) for value in found.values()):
        why = (
            "whose outcomes are not all finite numbers"
            if not np.isfinite(y).all()
            else "that all came out alike, or were predicted by what is not a probability"
        )
        return unknown("performance", f"{metric} is not defined on {counted(len(y), 'decision')} {why}", bound, rows=len(y))
    good = expression.evaluate(found)
    text = ", ".join(f"{name} {value:.4f}" for name, value in found.items()) + f" on {len(y):,} mature decisions; {check.expression}"
    details = {"rows": len(y), "metrics": found, "newest_us": newest, "share": float(np.mean(y)), "predicted": float(np.mean(p))}
    return Verdict("performance", "ok" if good else "violated", found[metric], bound, text, details)


def _mature(check: Performance, target: Noun, scene: Scene) -> tuple[Any, Any, int | None]:
    """Outcome and prediction of the window that ends at the newest mature decision; one whose time the wall clock has not reached does not count."""
    truths, said, newest = [], [], None
    for endpoint in scene.engines.project.endpoints.values():
        if endpoint.name != target.name and not (isinstance(target, Model) and target.name in {r.model.name for r in endpoint.refs()}):
            continue
        table = scene.table(endpoint.outcomes)
        if table is None:
            continue
        mine = f" and model = '{target.name}'" if isinstance(target, Model) else ""
        text = f"""with mature as (
                select epoch_us(ts) as t, cast(outcome as double) as y, prediction as p from t
                where outcome is not null and prediction is not null and {scene.past("ts")}{mine})
            select y, p, t from mature where t > (select max(t) from mature) - {check.window_us}"""
        found = scene.engines.sql.query(text, {"t": table}).read_all()
        if found.num_rows:
            truths.append(found["y"].to_numpy())
            said.append(found["p"].to_numpy())
            newest = max(newest or 0, int(max(found["t"].to_pylist())))
    return (np.concatenate(truths), np.concatenate(said), newest) if truths else (np.empty(0), np.empty(0), None)
