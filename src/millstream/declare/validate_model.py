"""Checks of what learns and decides: training sets, models, experiments, endpoints, monitors."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from millstream.base.duration import spell
from millstream.base.errors import DefinitionError
from millstream.base.event import Kind
from millstream.base.words import dialect, nearest
from millstream.declare.features import Aggregate, Feature, Features
from millstream.declare.model import METRICS, Model
from millstream.declare.outcome import Outcome
from millstream.declare.stream import Payload, Stream
from millstream.declare.table import Table
from millstream.declare.training_set import TrainingSet
from millstream.declare.validate_data import Errors, columns_of, condition, fields_of, of_types
from millstream.declare.validate_label import check_labels, outcome_kind
from millstream.lang.cache import Cache
from millstream.lang.facts import Anything, kind_of, query
from millstream.lang.query import increment

if TYPE_CHECKING:
    from millstream.declare.project import Project

_WORD = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_WORDS_OF_SQL = (
    "and",
    "or",
    "not",
    "is",
    "null",
    "true",
    "false",
    "between",
    "in",
    "case",
    "when",
    "then",
    "else",
    "end",
    "abs",
    "least",
    "greatest",
    "coalesce",
)


def check_training_set(of: TrainingSet[Any], project: Project, cache: Cache) -> Errors:
    """Its spine has a moment, its features find their keys there, its labels come after it."""
    fields = columns_of(of.at, cache)
    if isinstance(of.at, Table) and of.at.time is None:
        yield DefinitionError(
            f'{of}: the table "{of.at.name}" has no time, so its rows have no moment',
            place=of.place,
            found="no @time header and no time=",
            fix='say which column is the moment: ms.table(..., time="...")',
            code="E148",
        )
    if not of.labels:
        yield DefinitionError(
            f"{of} has no label", place=of.place, found="label={}", fix="give an outcome: ms.outcome(...)", code="E148"
        )
    made: dict[str, Kind] = {}
    for item in of.inputs:
        yield from _input(of, item, fields, made)
    for name, outcome in of.labels.items():
        yield from _outcome(of, outcome, fields, project, cache)
        if name in fields and not isinstance(fields, Anything):
            yield DefinitionError(
                f'{of}: the label "{name}" has the name of a column of "{of.at.name}"',
                place=of.place,
                found=name,
                fix="name it otherwise: label={...}",
                code="E149",
            )
    for name in [*(of.labels if [*of.labels] != ["label"] else ()), *of.derive]:
        spoken = dialect(name)
        if spoken:
            yield DefinitionError(
                f'{of}: the column "{name}" is a word of SQL',
                place=of.place,
                found=f"select {name} from {of.name}  does not parse in {spoken}",
                fix=f"name it otherwise, e.g. {name}_value",
                code="E112",
            )
    for name, text in of.derive.items():
        if name in made or (name in fields and not isinstance(fields, Anything)):
            yield DefinitionError(
                f'{of}: derive "{name}" is taken', place=of.place, found=name, fix="name it otherwise", code="E149"
            )
        yield from _expression(
            text, _also(fields, made), project, cache, of, f"{of}, {name}", loose=isinstance(of.at, Table)
        )
    if of.where is not None:
        yield from condition(of.where, fields, project, cache, of, f"{of}, where", loose=isinstance(of.at, Table))
    if of.split is not None and of.until is None:
        yield DefinitionError(
            f"{of}: the split counts back from a moment that is not said",
            place=of.place,
            found="until=None",
            fix='say until="2013-11-01"',
            code="E149",
        )


def _also(fields: Mapping[str, Kind], more: Mapping[str, Kind]) -> Mapping[str, Kind]:
    return fields if isinstance(fields, Anything) else {**fields, **more}


def _input(
    of: TrainingSet[Any], item: Features | Feature | Payload[Any], fields: Mapping[str, Kind], made: dict[str, Kind]
) -> Errors:
    if isinstance(item, Payload):
        if item.stream is not of.at:
            yield DefinitionError(
                f'{of}: .fields(...) is of "{item.stream.name}", and the request is "{of.at.name}"',
                place=item.place or of.place,
                found=", ".join(item.names),
                fix=f"say {of.at.name}.fields(...), or make features of {item.stream.name}",
                code="E141",
            )
            return
        for name in item.names:
            if name not in fields:
                yield DefinitionError(
                    f'{of}: "{of.at.name}" has no field "{name}"',
                    place=item.place or of.place,
                    found=", ".join(sorted(fields)),
                    fix=nearest(name, fields) or "name one of them",
                    code="E111",
                )
        return
    features = item if isinstance(item, Features) else item.features
    outputs = features.outputs()
    wanted = list(outputs) if isinstance(item, Features) else [item.output]
    for output in wanted:
        if output not in outputs:
            yield DefinitionError(
                f'{of}: features "{features.name}" have no "{output}"',
                place=item.place or of.place,
                found=", ".join(outputs),
                fix=nearest(output, outputs) or "name one of them",
                code="E111",
            )
            continue
        column = f"{features.prefix or features.name}__{output}"
        if column in made:
            yield DefinitionError(
                f'{of} uses features "{features.name}" twice under one name',
                place=of.place,
                found=column,
                fix=f'say {features.name}.on("...", name="...")',
                code="E149",
            )
        made[column] = features.aggregates[outputs[output][0]].kind
    yield from _key(of, features, fields)


def _key(of: TrainingSet[Any], features: Features, fields: Mapping[str, Kind]) -> Errors:
    on = features.on_columns or features.key
    if len(on) != len(features.key):
        yield DefinitionError(
            f'{of}: features "{features.name}" have {len(features.key)} key columns, and .on(...) names {len(on)}',
            place=of.place,
            found=f"key {', '.join(features.key)}; on {', '.join(on)}",
            fix="name one column of the request for each, in the key's order",
            code="E141",
        )
        return
    theirs_all = fields_of(features.source) if isinstance(features.source, Stream) else None
    for key, column in zip(features.key, on, strict=True):
        if features.on_columns is None and theirs_all is not None and key not in theirs_all:
            continue  # the features' own mistake, told there
        if column not in fields:
            said = (
                f'features "{features.name}" are keyed by "{key}"'
                if features.on_columns is None
                else f'features "{features.name}" are looked up by "{column}"'
            )
            yield DefinitionError(
                f'{of}: {said}, and "{of.at.name}" has no "{column}"',
                place=of.place,
                found=", ".join(sorted(fields)),
                fix=f'say {features.name}.on("...") with the field of {of.at.name} that holds a {key}',
                code="E141",
            )
        elif isinstance(features.source, Stream) and isinstance(of.at, Stream):
            theirs, ours = _plain(fields_of(features.source).get(key)), _plain(fields[column])
            if theirs and theirs != ours:
                yield DefinitionError(
                    f'{of}: "{column}" is {ours} in "{of.at.name}" and {theirs} in "{features.source.name}"',
                    place=of.place,
                    found=f"features {features.name}, key {key}",
                    fix="give both fields one type: a key of another type is another key",
                    code="E146",
                )


def _plain(kind: Kind | None) -> Kind | None:
    return "string" if kind == "enum" else kind


def _outcome(
    of: TrainingSet[Any], outcome: Outcome, fields: Mapping[str, Kind], project: Project, cache: Cache
) -> Errors:
    place = outcome.place or of.place
    if outcome.stream is of.at:
        yield DefinitionError(
            f'{of}: the label comes from "{outcome.stream.name}", the stream of the predictions itself',
            place=of.place,
            found=f"outcome({outcome.stream.name}, ...) and at={of.at.name}",
            fix="the label must be an event after the prediction's moment",
            code="E142",
        )
    theirs = fields_of(outcome.stream)
    for name in outcome.on:
        for where, there in ((outcome.stream, theirs), (of.at, fields)):
            if name not in there:
                yield DefinitionError(
                    f'{of}: the label joins on "{name}", and "{where.name}" has no "{name}"',
                    place=place,
                    found=", ".join(sorted(there)),
                    fix=nearest(name, there) or "join on fields that both have",
                    code="E141",
                )
                break
        if (
            isinstance(of.at, Stream)
            and name in theirs
            and name in fields
            and _plain(theirs[name]) != _plain(fields[name])
        ):
            yield DefinitionError(
                f'{of}: "{name}" is {fields[name]} in "{of.at.name}" and {theirs[name]} in "{outcome.stream.name}"',
                place=place,
                found=f"outcome(..., on={name})",
                fix="give both fields one type",
                code="E146",
            )
    if isinstance(of.at, Table) and of.at.incremental and of.at.sql:
        step = increment(of.at.incremental)
        if (
            step.length_us
            and step.lookback_us < outcome.within_us
            and outcome.stream.name in query(of.at.sql, of.at.file or "", cache).reads
        ):
            yield DefinitionError(
                f'{of}: "{of.at.name}" looks back {spell(step.lookback_us)}, and its label may come'
                f" {spell(outcome.within_us)} later",
                place=of.place,
                found=f"incremental {step}",
                fix=f"-- @incremental {spell(step.length_us)} lookback {spell(outcome.within_us)}",
                code="E147",
            )
    yield from check_outcome(outcome, project, cache)


def check_outcome(outcome: Outcome, project: Project, cache: Cache) -> Errors:
    """Its value and its condition over the stream; a mistake is the outcome's own, however many use it."""
    fields, what = fields_of(outcome.stream), f'the outcome of "{outcome.stream.name}"'
    if outcome.where is not None:
        yield from condition(outcome.where, fields, project, cache, outcome, f"{what}, where")
    text = outcome.value.expression if isinstance(outcome.value, Aggregate) else outcome.value
    wrong = [] if text is None else [*_expression(text, fields, project, cache, outcome, f"{what}, value")]
    yield from wrong or _answers(outcome, text, what, project, cache)


def _answers(outcome: Outcome, text: str | None, what: str, project: Project, cache: Cache) -> Errors:
    """What it adds up is a number, and what no event means is of the type of what an event means: the engine would read
    the one as the other.
    """
    kind, of = outcome_kind(outcome, project, cache), outcome.value
    if isinstance(of, Aggregate) and of.operation in ("sum", "mean", "variance"):
        told = kind_of(text or "", fields_of(outcome.stream), project.params, cache, place=outcome.place, what=what)
        if told not in ("float64", "int64", "bool"):
            yield DefinitionError(
                f"{what}: {of.operation} needs a number",
                place=of.place or outcome.place,
                found=f"{text} is {told}",
                fix="count it, or compare it: a boolean is 0 or 1",
                code="E114",
            )
            return
    if outcome.otherwise is None:
        return
    types, example = _OTHERWISE.get(kind, ((), ""))
    if type(outcome.otherwise) not in types:
        yield DefinitionError(
            f"{what}: otherwise is of another type than its value",
            place=outcome.place,
            found=f"otherwise={outcome.otherwise!r} beside a value of type {kind}",
            fix=(
                f"{example}, or leave it out: rows without an event then have no label"
                if example
                else "leave it out: rows without an event then have no label"
            ),
            code="E126",
        )


_OTHERWISE: dict[Kind, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "write otherwise=False or otherwise=True"),
    "int64": ((int,), "write a whole number, e.g. otherwise=0"),
    "float64": ((int, float), "write a number, e.g. otherwise=0.0"),
    "string": ((str,), 'write a text, e.g. otherwise="none"'),
    "enum": ((str,), 'write a text, e.g. otherwise="none"'),
}
"""Kind of an outcome -> the types of what no event means, and how to write one."""


def _expression(
    text: str, fields: Mapping[str, Kind], project: Project, cache: Cache, noun: Any, what: str, *, loose: bool = False
) -> Errors:
    try:
        kind_of(text, fields, project.params, cache, place=noun.place, what=what)
    except DefinitionError as error:
        if not (loose and of_types(error)):
            yield error


def check_model(model: Model[Any], project: Project, cache: Cache) -> Errors:
    """Its metrics, its rule, its parameters."""
    parameters = list(inspect.signature(model.function).parameters.values())
    if not parameters:
        yield DefinitionError(
            f"{model} takes nothing",
            place=model.place,
            found=f"def {model.name}()",
            fix=f"def {model.name}(train: ms.Train) -> object",
            code="E151",
        )
    for parameter in parameters[1:]:
        if parameter.default is parameter.empty or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            yield DefinitionError(
                f'{model}: its parameter "{parameter.name}" has no default',
                place=model.place,
                found=str(parameter),
                fix=f"{parameter.name}=...: parameters are versioned with the model",
                code="E151",
            )
    if model.promote_if is not None:
        yield from _rule(model, project, cache)
    yield from check_labels(model, project, cache)


def _metric(message: str, model: Model[Any], name: str, code: str) -> DefinitionError:
    return DefinitionError(
        message,
        place=model.place,
        found=name,
        fix=nearest(name, METRICS) or f"there are {', '.join(METRICS)}",
        code=code,
    )


def _rule(model: Model[Any], project: Project, cache: Cache) -> Errors:
    rule, labels = model.promote_if or "", model.on.labels
    known: dict[str, Kind] = {}
    wrong = False
    for word in dict.fromkeys(_WORD.findall(rule)):
        parts = word.split(".")
        last, before = parts[-1], [p for p in parts[:-1] if p != "champion"]
        if len(parts) == 1 and word.lower() in _WORDS_OF_SQL:
            continue
        if wrong:
            break
        if last not in METRICS or any(label not in labels for label in before):
            wrong = True
            yield _metric(
                f'{model}: promote_if names "{word}", which is not a metric',
                model,
                last if last not in METRICS else before[0],
                "E150",
            )
        known[word.replace(".", "__")] = "float64"
    if not wrong:
        yield from condition(
            _WORD.sub(lambda m: m[0].replace(".", "__"), rule), known, project, cache, model, f"{model}, promote_if"
        )


def _or(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
