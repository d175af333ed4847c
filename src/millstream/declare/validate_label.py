"""Checks that go by the type of a label: what a model can learn, and which metrics say something of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from millstream.base.errors import DefinitionError, Place
from millstream.base.event import Kind
from millstream.declare.endpoint import Endpoint
from millstream.declare.features import Aggregate
from millstream.declare.model import METRICS, Model
from millstream.declare.monitor import Performance
from millstream.declare.outcome import Outcome
from millstream.declare.validate_data import Errors, fields_of
from millstream.lang.cache import Cache
from millstream.lang.facts import kind_of

if TYPE_CHECKING:
    from millstream.declare.project import Project

_OF_TRUTH = ("auc", "brier", "log_loss", "accuracy")
"""Metrics of a boolean; the others are of a number, and of a boolean as 0 and 1."""
_OF_CLASSES = ("accuracy",)
"""Of whole numbers too, which are classes: a classifier's `predict` gives them."""
_NUMBERS: tuple[Kind, ...] = ("bool", "int64", "float64")
_WORD = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


def outcome_kind(outcome: Outcome, project: Project, cache: Cache) -> Kind:
    """The type of what an outcome says."""
    of = outcome.value
    if isinstance(of, Aggregate) and (of.expression is None or of.operation == "count"):
        return "int64"
    kind = kind_of(
        of.expression or "" if isinstance(of, Aggregate) else of, fields_of(outcome.stream), project.params, cache, place=outcome.place, what="the outcome"
    )
    return (
        "float64" if isinstance(of, Aggregate) and of.operation in ("mean", "variance") else "int64" if isinstance(of, Aggregate) and kind == "bool" else kind
    )


def check_labels(model: Model[Any], project: Project, cache: Cache) -> Errors:
    """Each label is a number or a boolean, and each metric of `metrics` and `promote_if` says something of one of them."""
    kinds = {name: kind for name, outcome in model.on.labels.items() if (kind := _known(outcome, project, cache)) is not None}
    for name, kind in kinds.items():
        if kind not in _NUMBERS:
            outcome = model.on.labels[name]
            yield DefinitionError(f'{model}: its label "{name}" is {_named(kind)}, and a model learns a boolean or a number', place=model.place,
                                  found=_said(outcome), fix=_comparison(outcome, kind), code="E154")  # fmt: skip
    if model.output == "probability" or len(kinds) < len(model.on.labels) or any(kind not in _NUMBERS for kind in kinds.values()):
        return
    for word in dict.fromkeys(word.removeprefix("champion.") for word in [*model.metrics, *_WORD.findall(model.promote_if or "")]):
        *before, metric = word.split(".")
        meant = [name for name in before if name in kinds] or list(kinds)
        if metric in _OF_TRUTH and not any(_fits(metric, kinds[name]) for name in meant):
            yield _unfit(f"{model}", word, model.place, meant[0], model.on.labels[meant[0]], kinds[meant[0]])


def check_performance(check: Performance, target: Model[Any] | Endpoint[Any, Any], project: Project, cache: Cache) -> Errors:
    """Each metric of the expression says something of the outcome."""
    kind = _known(check.outcome, project, cache)
    named = [word for word in dict.fromkeys(_WORD.findall(check.expression)) if word in METRICS]
    if kind is None or not named:
        return
    what = f"expect.performance of {target}"
    if kind not in _NUMBERS:
        yield DefinitionError(f"{what}: its outcome is {_named(kind)}, and a metric compares a boolean or a number", place=check.place,
                              found=_said(check.outcome), fix=_comparison(check.outcome, kind), code="E154")  # fmt: skip
    elif kind != "bool" and not _probable(target):
        for metric in named:
            if metric in _OF_TRUTH and not _fits(metric, kind):
                yield _unfit(what, metric, check.place, "outcome", check.outcome, kind)


def _fits(metric: str, kind: Kind) -> bool:
    return kind == "bool" or (kind == "int64" and metric in _OF_CLASSES)


def _probable(target: Model[Any] | Endpoint[Any, Any]) -> bool:
    """Whether all that it answers are probabilities, so that whole numbers of the outcome are 0 and 1."""
    models = [target] if isinstance(target, Model) else [ref.model for ref in target.refs()]
    return bool(models) and all(model.output == "probability" for model in models)


def _known(outcome: Outcome, project: Project, cache: Cache) -> Kind | None:
    """None when the outcome has a mistake of its own, which is reported there; what follows from it is withheld."""
    from millstream.declare.validate_model import check_outcome

    if any(True for _ in check_outcome(outcome, project, cache)):
        return None
    return outcome_kind(outcome, project, cache)


def _unfit(what: str, metric: str, place: Place | None, label: str, outcome: Outcome, kind: Kind) -> DefinitionError:
    of = f'the label "{label}"' if label != "outcome" else "its outcome"
    proba = f'; or, if it is 0 and 1, {"write" if label != "outcome" else "give the models"} output="probability"' if kind == "int64" else ""
    others = "accuracy, rmse, mae, r2" if kind == "int64" else "rmse, mae, r2"
    return DefinitionError(f'{what}: "{metric}" is of a boolean, and {of} is {_named(kind)}', place=place, found=_said(outcome),
                           fix=f"{_comparison(outcome, kind)}{proba}; or a metric of numbers: {others}", code="E155")  # fmt: skip


def _said(outcome: Outcome) -> str:
    of = outcome.value
    text = f'value="{of}"' if isinstance(of, str) else f"value=agg.{of.operation}({of.expression or ''!r})" if of.expression else f"value=agg.{of.operation}()"
    return f"{text} of {outcome.stream.name}" + (f" ({outcome.place})" if outcome.place else "")


def _comparison(outcome: Outcome, kind: Kind) -> str:
    of = outcome.value
    text = of if isinstance(of, str) else of.expression or "amount"
    if kind in ("int64", "float64"):
        return f'compare it, e.g. value="{text} > x"'
    return f"compare it, e.g. value=\"{text} = 'x'\"" if kind in ("string", "enum") else f'say a number or a comparison, e.g. value="{text} is not null"'


def _named(kind: Kind) -> str:
    return {"int64": "a whole number", "float64": "a number", "string": "text", "enum": "text"}.get(kind, kind)
