"""A features noun with its expressions compiled: what both readers work from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from millstream.base.duration import spell
from millstream.base.errors import DefinitionError
from millstream.base.event import Kind
from millstream.declare.features import Aggregate, Features
from millstream.declare.known import Known, known
from millstream.declare.stream import Stream
from millstream.features.definition import NUMBERS, Definition, Output, Value
from millstream.features.state import VERSION
from millstream.features.window import hop_us
from millstream.lang.expression import UNTYPED, Expression

_KEYS = ("string", "enum", "int64", "bool", "date", "timestamp", "binary")
_ON_GRID = ("sum", "mean", "variance")
DEFAULT_SCALE = 6


def define(features: Features, params: Mapping[str, Any]) -> Definition:
    """Compile the noun.

    Raises:
        DefinitionError: A window is not a multiple of its hop, a key cannot be compared exactly, an expression is wrong or no number.
    """
    features = features.base or features
    fields = _fields(features)
    for window in features.windows_us:
        _check_window(features, window)
    for column in features.key:
        _check_key(features, column, fields)
    values: list[Value] = []
    outputs = [_output(features, name, aggregate, fields, params, values) for name, aggregate in features.aggregates.items()]
    where = None
    if features.where is not None:
        where = _compile(features, features.where, fields, params, "where", features.place, truth=True)
        if where.kind != "bool":
            raise DefinitionError(f'features "{features.name}": where is not a condition', place=features.place, found=f"{features.where} is {where.kind}",
                                  fix="write a comparison", code="E113")  # fmt: skip
    return assemble(features.name, features.source, features.key, values, where, outputs, features.windows_us, timeless=features.timeless,
                    known=_known(features))  # fmt: skip


def assemble(
    name: str, source: Any, key: tuple[str, ...], values: list[Value], where: Expression | None, outputs: list[Output],
    windows_us: tuple[int | None, ...], *, timeless: bool = False, known: Known | None = None,
) -> Definition:  # fmt: skip
    """The definition of compiled parts, with its fingerprint."""
    live = isinstance(source, Stream)
    time = None if timeless else source.schema.event_time if live else source.time
    said = {
        "layout": VERSION, "name": name, "source": source.name, "live": live, "time": time, "key": key, "where": where.sql if where else None,
        "values": [(v.expression.sql, v.expression.kind, v.scale) for v in values],
        "outputs": [(o.name, o.operation, o.value, o.default) for o in outputs], "windows_us": windows_us,
    }  # fmt: skip
    bucket_us, wait_us = (0, 0) if known is None or time is None or live else (known.bucket_us, known.wait_us)
    if bucket_us or wait_us:
        said |= {"bucket_us": bucket_us, "wait_us": wait_us}
    generation = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
    return Definition(generation, name, source.name, time, key, tuple(values), where, tuple(outputs), windows_us, live, bucket_us, wait_us)


def _known(features: Features) -> Known | None:
    """When the rows of the source are known; outside of a project only what the table itself says."""
    source = features.source
    return None if isinstance(source, Stream) else source.known or known(source, {})


def _fields(features: Features) -> Mapping[str, Kind]:
    source = features.source
    if isinstance(source, Stream):
        return {field.name: field.kind for field in source.schema.fields}
    if source.time is None and not features.timeless:
        raise DefinitionError(f'features "{features.name}": the table "{source.name}" has no time, so today\'s values would leak into the past',
                              place=features.place, found="a table without time=", fix="give the table its column of event time, or say timeless=True",
                              code="E143")  # fmt: skip
    return AnyColumn()


class AnyColumn(dict[str, Kind]):
    """Fields of a table that may not have been built yet: every column is taken for what the expression asks for, and `fits` holds it against the table."""

    def __missing__(self, name: str) -> Kind:
        return UNTYPED

    def __contains__(self, name: object) -> bool:
        return True


def _output(features: Features, name: str, aggregate: Aggregate, fields: Mapping[str, Kind], params: Mapping[str, Any], values: list[Value]) -> Output:
    if aggregate.expression is None:
        return Output(name, aggregate.operation, None, aggregate.default)
    place = aggregate.place or features.place
    expression = _compile(features, aggregate.expression, fields, params, name, place)
    if expression.kind not in NUMBERS and not (aggregate.operation == "count" and expression.kind != "list"):
        raise DefinitionError(f'features "{features.name}", {name}: {aggregate.operation} needs a number', place=place,
                              found=f"{aggregate.expression} is {expression.kind}", fix="count it, or compare it: a boolean is 0 or 1", code="E114")  # fmt: skip
    scale = None
    if aggregate.operation in _ON_GRID:
        scale = 0 if expression.kind != "float64" else DEFAULT_SCALE if aggregate.scale is None else aggregate.scale
        if not 0 <= scale <= 11:
            raise DefinitionError(f'features "{features.name}", {name}: scale is the number of decimal places that sums keep', place=place,
                                  found=f"scale={scale}", fix="0 to 11", code="E115")  # fmt: skip
    value = Value(expression, scale)
    if value not in values:
        values.append(value)
    return Output(name, aggregate.operation, values.index(value), aggregate.default)


def _compile(features: Features, text: str, fields: Mapping[str, Kind], params: Mapping[str, Any], what: str, place: Any, *,
             truth: bool = False) -> Expression:  # fmt: skip
    from millstream.lang.expression import compile as compile_expression

    return compile_expression(text, fields, params, place=place, what=f'features "{features.name}", {what}', truth=truth)


def _check_window(features: Features, window: int | None) -> None:
    if window is None or (window > 0 and window % hop_us(window) == 0):
        return
    hop = hop_us(max(window, 1))
    nearest = max(hop, round(window / hop) * hop)
    raise DefinitionError(f'features "{features.name}": the window {spell(window)} is not a multiple of {spell(hop)}', place=features.place, found=spell(window),
                          fix=f'say "{spell(nearest)}" (multiples of 5m below 12h, of 1h below 12d, of 1d above)', code="E144")  # fmt: skip


def _check_key(features: Features, column: str, fields: Mapping[str, Kind]) -> None:
    if isinstance(fields, AnyColumn):
        return
    if column not in fields:
        raise DefinitionError(f'features "{features.name}": {features.source} has no field "{column}"', place=features.place, found=", ".join(sorted(fields)),
                              fix="name the key's columns as the source does", code="E111")  # fmt: skip
    if fields[column] not in _KEYS:
        raise DefinitionError(f'features "{features.name}": "{column}" cannot be a key, its values have no exact equality', place=features.place,
                              found=str(fields[column]), fix="use a string, an integer, a boolean, a date or a time", code="E145")  # fmt: skip
