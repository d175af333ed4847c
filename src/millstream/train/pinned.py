"""The features of a version, as text: enough to look them up for as long as the version serves, whatever the project
says by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millstream.base.event import Kind
from millstream.declare.features import kind_of
from millstream.features.define import AnyColumn
from millstream.features.definition import Definition, Output, Value
from millstream.lang.expression import Expression
from millstream.lang.expression import compile as compile_expression
from millstream.train import constants

FORMAT = 1


@dataclass
class Use:
    """One definition used by a training set.

    Attributes:
        columns: The spine's columns in the key's order.
        outputs: Which are taken (`delay_3h`).
        fields: Of its stream, as its expressions were checked against.
    """

    name: str
    definition: Definition
    columns: tuple[str, ...]
    prefix: str
    outputs: set[str]
    fields: Mapping[str, Kind]

    def taken(self) -> list[str]:
        """`<prefix>__<output>`, in the definition's order."""
        return [f"{self.prefix}__{o}" for o in self.definition.columns if o in self.outputs]


def to_json(use: Use, params: Mapping[str, Any]) -> dict[str, Any]:
    """What `from_json` reads. Of the project's parameters only those its expressions name are kept."""
    definition = use.definition
    texts = [e.text for e, _ in definition.values] + ([definition.where.text] if definition.where else [])
    named = {k: v for k, v in params.items() if any(f"${k}" in text for text in texts)}
    return {
        "format": FORMAT,
        "features": use.name,
        "generation": definition.generation,
        "stream": definition.stream,
        "time": definition.time,
        "key": list(definition.key),
        "values": [[e.text, scale] for e, scale in definition.values],
        "where": definition.where.text if definition.where else None,
        "outputs": [[o.name, o.operation, o.value, o.default] for o in definition.outputs],
        "windows_us": list(definition.windows_us),
        "live": definition.live,
        "bucket_us": definition.bucket_us,
        "wait_us": definition.wait_us,
        "columns": list(use.columns),
        "prefix": use.prefix,
        "taken": use.taken(),
        "fields": dict(use.fields),
        "params": constants.plain(named),
    }


def from_json(told: Mapping[str, Any]) -> tuple[Definition, tuple[str, ...], str]:
    """The definition, the request's key columns and the prefix."""

    live, params = told.get("live", True), constants.typed(told["params"])
    fields = told["fields"] if live else AnyColumn()

    def compiled(text: str, truth: bool = False) -> Expression:
        return compile_expression(text, fields, params, what=f'features "{told["features"]}"', truth=truth)

    definition = Definition(
        generation=told["generation"],
        name=told["features"],
        stream=told["stream"],
        time=told["time"],
        key=tuple(told["key"]),
        values=tuple(Value(compiled(text), scale) for text, scale in told["values"]),
        where=compiled(told["where"], True) if told["where"] is not None else None,
        outputs=tuple(Output(*o) for o in told["outputs"]),
        windows_us=tuple(told["windows_us"]),
        live=live,
        bucket_us=told.get("bucket_us", 0),
        wait_us=told.get("wait_us", 0),
    )
    return definition, tuple(told["columns"]), told["prefix"]


def derived(
    manifest: Mapping[str, Any], definitions: Iterable[tuple[Definition, Sequence[str], str]]
) -> dict[str, Expression]:
    """Derived column -> its expression over the request's fields and the features, as a version's manifest has them."""
    if not manifest.get("derive"):
        return {}
    kinds: dict[str, Kind] = dict(manifest["fields"])
    for told, (definition, _, prefix) in zip(manifest["features"], definitions, strict=True):
        for output, window in definition.answers():
            column = f"{prefix}__{output.column(window)}"
            if column in told["taken"]:
                kinds[column] = kind_of(output.operation)
    params = constants.typed(manifest["project_params"])
    return {name: compile_expression(text, kinds, params, what=name) for name, text in manifest["derive"].items()}
