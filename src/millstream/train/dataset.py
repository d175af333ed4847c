"""Training sets: one row a mature moment, with what was known then and what came after; stored in the lake, versioned by what went in.

The lake table `<set name>` has `_row` (place in the order of the spine), `_t` (the moment), the spine's columns, the features, the derived
columns, the labels and `_split`; the commit's metadata pins the version of every input. The same inputs are the same version:
nothing is computed twice.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from millstream.base.errors import DefinitionError
from millstream.base.event import Kind
from millstream.declare.features import Aggregate, Feature, Features
from millstream.declare.outcome import Outcome
from millstream.declare.stream import Payload, Stream
from millstream.declare.training_set import TrainingSet
from millstream.features.outcome import fields_of
from millstream.train import constants
from millstream.train.pinned import Use

if TYPE_CHECKING:
    from millstream.lake.lake import Lake
    from millstream.transform.port import Sql

FORMAT = 1
META = "millstream.training_set"
SPLIT = "_split"
PARTS = ("train", "valid", "test")
Report = Callable[..., None]
Mode = Literal["known", "event"]


@dataclass(frozen=True)
class Dataset:
    """A stored training set.

    Attributes:
        version: Of the lake table `name`.
        fingerprint: Of the declaration and the versions of its inputs.
        rows: Part of the split -> rows; only parts that have any.
        purged: Rows left out because their horizon crossed an edge of the split.
        unlabelled: Mature rows left out because nothing came and `otherwise` is None.
        columns: The feature columns, in the order of the matrix: payload, features, derived.
        labels: Label column -> kind.
        inputs: Table -> {"version", "uuid"} it was made from.
        uses: The features, pinned (see `pinned.to_json`).
        definition: Fingerprint of the declaration alone.
        reused: It was there already.
        spine: The stream or table whose rows it is made of.
        total: Rows of it; None in a set that was stored before they were counted.
        left_out: Why rows are not in it -> how many; with those of `rows` they are `total` (see `kept.py`).
        blank: Columns without a value in any training row -> why, as it was built (see `blank.py`); it is not stored.
    """

    name: str
    version: int
    fingerprint: str
    rows: Mapping[str, int]
    purged: int
    unlabelled: int
    columns: tuple[str, ...]
    labels: Mapping[str, Kind]
    inputs: Mapping[str, Mapping[str, Any]]
    uses: tuple[Mapping[str, Any], ...]
    derive: Mapping[str, str]
    fields: Mapping[str, Kind]
    params: Mapping[str, Any]
    mode: str
    until_us: int
    within_us: int
    definition: str = ""
    reused: bool = field(default=False, compare=False)
    spine: str = ""
    total: int | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    blank: Mapping[str, str] = field(default_factory=dict, compare=False)


def build(
    training_set: TrainingSet[Any], lake: Lake, sql: Sql, params: Mapping[str, Any], *, mode: Mode | None = None, report: Report | None = None
) -> Dataset:
    """Make the set, or find it made.

    Args:
        mode: "known" (only what had arrived by the moment: what an endpoint can know; the default) or "event".

    Raises:
        WorkFailed: There is no mature row with a label.
        DefinitionError: Two columns have one name, or the features do not fit the spine.
    """
    from millstream.train.build import Builder

    return Builder(training_set, lake, sql, params, mode or "known", report or (lambda *_: None)).build()


def latest(name: str, lake: Lake) -> Dataset | None:
    """The set as last stored; None when it never was."""
    if not lake.exists(name):
        return None
    told = lake.table(name).newest_of(META)
    return None if told is None else read(told[1], told[0])


def read(told: Mapping[str, Any], version: int, *, reused: bool = True) -> Dataset:
    """From the metadata of its commit."""
    kept = {k: v for k, v in told.items() if k != "format"}
    kept |= {"columns": tuple(told["columns"]), "uses": tuple(told["uses"]), "params": constants.typed(told["params"])}
    return Dataset(version=version, reused=reused, **kept)


def plain(dataset: Dataset) -> dict[str, Any]:
    """What `read` reads."""
    kept = {k: v for k, v in asdict(dataset).items() if k not in ("version", "reused", "blank")}
    return kept | {"format": FORMAT, "params": constants.plain(dataset.params)}


def definition_of(training_set: TrainingSet[Any], params: Mapping[str, Any], mode: str = "known") -> str:
    """Fingerprint of the declaration: of all that decides the rows besides the data."""
    split = training_set.split
    told = {
        "format": FORMAT, "at": training_set.at.name, "where": training_set.where, "mode": mode,
        "labels": [[name, _outcome(o)] for name, o in training_set.labels.items()],
        "inputs": [_input(i, params) for i in training_set.inputs], "derive": list(training_set.derive.items()),
        "until": training_set.until and training_set.until.isoformat(), "split": split and [split.valid_us, split.test_us],
    }  # fmt: skip
    text = json.dumps(told, default=str)
    used = {name: params.get(name) for name in sorted(set(re.findall(r"\$(\w+)", text)))}
    return hashlib.sha256(f"{text}{json.dumps(used, default=str)}".encode()).hexdigest()[:16]


def uses_of(training_set: TrainingSet[Any], params: Mapping[str, Any]) -> list[Use]:
    """Its features, compiled: definition, the spine's key columns, prefix, and which outputs are taken (None: all)."""
    from millstream.features.define import define

    uses: dict[str, Use] = {}
    for used in training_set.inputs:
        if isinstance(used, Payload):
            continue
        whole = used.features if isinstance(used, Feature) else used
        base, prefix = whole.base or whole, whole.prefix or whole.name
        taken = {used.output} if isinstance(used, Feature) else set(whole.outputs())
        if prefix in uses and uses[prefix].name != base.name:
            raise DefinitionError(f'training_set "{training_set.name}" has two features with the prefix "{prefix}"', place=training_set.place,
                                  found=f"{uses[prefix].name} and {base.name}", fix='rename one: .on(..., name="...")', code="E143")  # fmt: skip
        if prefix in uses:
            uses[prefix].outputs.update(taken)
            continue
        columns = whole.on_columns or whole.key
        uses[prefix] = Use(base.name, define(base, params), tuple(columns), prefix, taken, _source_fields(base))
    return list(uses.values())


def columns_of(training_set: TrainingSet[Any]) -> list[str]:
    """The feature columns in the order of the matrix."""
    names: list[str] = []
    for used in training_set.inputs:
        names += used.names if isinstance(used, Payload) else [used.column] if isinstance(used, Feature) else used.columns()
    return list(dict.fromkeys([*names, *training_set.derive]))


def feature_kinds(training_set: TrainingSet[Any]) -> dict[str, Kind]:
    """Kinds of the looked-up columns: counts are whole numbers, all else is a float."""
    kinds: dict[str, Kind] = {}
    for used in training_set.inputs:
        if isinstance(used, Payload):
            continue
        whole = used.features if isinstance(used, Feature) else used
        for column, (aggregate, _) in whole.columns().items():
            if not isinstance(used, Feature) or used.column == column:
                kinds[column] = whole.aggregates[aggregate].kind
    return kinds


def _source_fields(features: Features) -> dict[str, Kind]:
    return fields_of(features.source) if isinstance(features.source, Stream) else {}


def _outcome(outcome: Outcome) -> dict[str, Any]:
    told = {k: getattr(outcome, k) for k in ("on", "within_us", "where", "otherwise", "credit")}
    return told | {"stream": outcome.stream.name, "value": _aggregate(outcome.value) if isinstance(outcome.value, Aggregate) else outcome.value}


def _aggregate(aggregate: Aggregate) -> dict[str, Any]:
    return {k: getattr(aggregate, k) for k in ("operation", "expression", "default", "scale")}


def _input(used: Features | Feature | Payload[Any], params: Mapping[str, Any]) -> list[Any]:
    from millstream.features.define import define

    if isinstance(used, Payload):
        return ["payload", *used.names]
    whole = used.features if isinstance(used, Feature) else used
    chosen = used.output if isinstance(used, Feature) else ""
    return [whole.name, whole.prefix, list(whole.on_columns or whole.key), chosen, define(whole.base or whole, params).generation]


__all__ = ["Dataset", "build", "columns_of", "definition_of", "feature_kinds", "latest", "read", "uses_of"]
