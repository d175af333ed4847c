"""One training run: a dataset and a function in, a registered version out, with all that made it written down beside
it.
"""

from __future__ import annotations

import json
import random
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from millstream.base.errors import MillstreamError, UsageError, WorkFailed
from millstream.base.points import reach
from millstream.base.theirs import details, pass_on, raised, spot
from millstream.base.words import counted
from millstream.declare.model import Model
from millstream.train import constants, predictor
from millstream.train.answers import outside
from millstream.train.code import code_of, commit_of, libraries, source_of
from millstream.train.dataset import SPLIT, Dataset
from millstream.train.hush import hushed
from millstream.train.matrix import Encoder
from millstream.train.metrics import measure
from millstream.train.port import Tracking, Version
from millstream.train.promote import decide
from millstream.train.scorer import PlainScorer, save, scorer
from millstream.train.spine import MOMENT, ROW

if TYPE_CHECKING:
    from millstream.lake.lake import Lake
    from millstream.transform.port import Sql

Floats: TypeAlias = NDArray[np.float64]
Report = Callable[..., None]
SEED = 1
_CHECKED, _SHOWN = 256, 200
_STEPS = 5

__all__ = ["Fitted", "Training", "code_of", "fit", "read_parts", "train"]


@dataclass
class Part:
    """Rows of one part of the split."""

    X: Any
    y: Any


@dataclass
class Training(Part):
    """See `declare.model.Train`."""

    valid: Part
    columns: list[str]
    categorical: list[int]
    numeric: list[int]
    weight: Floats
    seed: int


@dataclass(frozen=True)
class Fitted:
    """A model just fitted, not yet kept.

    Attributes:
        judged: The rows it is judged by: test, else valid, else train; `part` says which.
        X: Their matrix (or frame), `y` their labels, `said` its predictions; `checked` are those of the first rows,
            asked alone.
    """

    model: object
    scorer: PlainScorer
    encoder: Encoder
    part: str
    judged: pa.Table
    X: Any
    y: Floats
    said: Floats
    checked: Floats
    params: Mapping[str, Any]
    output: str
    warned: list[str] = field(default_factory=list)


def train(
    model: Model[Any],
    dataset: Dataset,
    tracking: Tracking,
    lake: Lake,
    sql: Sql,
    params: Mapping[str, Any] | None = None,
    seed: int = SEED,
    report: Report | None = None,
) -> Version:
    """Run the function, judge the model, keep it, register it, and promote it or not.

    Args:
        params: Of the function, in place of its defaults; texts are read as the default's type.
        seed: What `train.seed` is; the generators of `random` and `numpy` are seeded with it too.
        report: Called with (done, total, note).

    Raises:
        WorkFailed: The function raised, or returned what cannot predict. The run is kept as failed.
        UsageError: A parameter or metric does not exist.
    """
    tell = report or (lambda *_: None)
    given = parameters(model, params or {})
    run = tracking.start(
        model.name,
        given,
        {
            "dataset": f"{dataset.name}@{dataset.version}",
            "fingerprint": dataset.fingerprint,
            "code": code_of(model),
            "seed": str(seed),
        },
    )
    try:
        tell(0, _STEPS, "rows")
        parts = read_parts(dataset, lake, sql)
        tell(1, _STEPS, "fitting")
        fitted = fit(model, dataset, parts, given, seed)
        tell(2, _STEPS, "judging")
        wanted = list(dict.fromkeys([*model.metrics, *rule_metrics(model)])) or _usual(dataset)
        metrics = measure(wanted, fitted.y, fitted.said, list(dataset.labels))
        tracking.log(run, metrics)
        tell(3, _STEPS, "champion")
        verdict = decide(model, tracking, metrics, fitted.judged, list(dataset.labels), wanted)
        tell(4, _STEPS, "keeping")
        with tempfile.TemporaryDirectory(prefix="millstream-") as folder:
            _write(Path(folder), model, dataset, fitted, given, seed, metrics, run)
            predictor.prove(model.name, Path(folder), placed(model))
            tracking.store(run, Path(folder))
        tracking.finish(run)
    except BaseException as error:
        tracking.finish(run, "failed" if isinstance(error, Exception) else "killed")
        raise
    reach("model.ready")
    version = tracking.register(
        model.name,
        run,
        {
            "dataset": f"{dataset.name}@{dataset.version}",
            "promoted": str(verdict.promoted).lower(),
            "reason": verdict.reason,
        },
    )
    lake.table(dataset.name).pin(dataset.version, f"model/{model.name}@{version.number}")
    reach("model.ready")
    tracking.alias(model.name, "latest", version.number)
    tracking.alias(model.name, "champion" if verdict.promoted else "challenger", version.number)
    tell(_STEPS, _STEPS, verdict.reason)
    return tracking.version(model.name, str(version.number))


def parameters(model: Model[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The function's parameters, with these in place of the defaults.

    Raises:
        UsageError: It has no such parameter, or the text is not of its type.
    """
    params = model.params
    for name, value in given.items():
        if name not in params:
            raise UsageError(f'model "{model.name}" has no parameter "{name}"; it has {", ".join(params) or "none"}')
        params[name] = _like(value, params[name], f'parameter "{name}" of model "{model.name}"')
    return params


def _like(value: Any, default: Any, what: str) -> Any:
    if not isinstance(value, str) or isinstance(default, str) or default is None:
        return value
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
        return type(default)(value) if isinstance(default, int | float) else json.loads(value)
    except (KeyError, ValueError):
        raise UsageError(f"{what} is {value!r}, and its default {default!r} is {type(default).__name__}") from None


def read_parts(dataset: Dataset, lake: Lake, sql: Sql) -> dict[str, pa.Table]:
    """Part of the split -> its rows, in the order of `_row`, from exactly the dataset's version."""
    snapshot = lake.table(dataset.name).snapshot(dataset.version)
    columns = ", ".join(f'"{c}"' for c in dict.fromkeys([ROW, MOMENT, *dataset.columns, *dataset.labels]))
    return {
        part: (
            sql.query(
                f"select {columns} from \"{dataset.name}\" where {SPLIT} = '{part}' order by {ROW}",
                {dataset.name: snapshot},
            ).read_all()
        )
        for part in dataset.rows
    }


def fit(
    model: Model[Any], dataset: Dataset, parts: Mapping[str, pa.Table], params: Mapping[str, Any], seed: int
) -> Fitted:
    """Call the function on the train rows, and the model on the rows it is judged by. Nothing is kept.

    Raises:
        WorkFailed: There is no train row, the function raised, or what it returned cannot predict.
    """
    if "train" not in parts:
        raise WorkFailed(
            f'model "{model.name}": "{dataset.name}" has no train rows before the valid and test parts'
            f" ({dict(dataset.rows)}); shorten them in split="
        )
    encoder = Encoder.fit(parts["train"], dataset.columns)
    labels = list(dataset.labels)
    given = predictor.inputs(model.input, encoder)
    rows = parts["train"]
    empty = rows.slice(0, 0)
    valid = parts.get("valid", empty)
    training = Training(
        X=given(rows),
        y=targets(rows, labels),
        valid=Part(given(valid), targets(valid, labels)),
        columns=list(dataset.columns),
        categorical=list(encoder.categorical),
        numeric=list(encoder.numeric),
        weight=np.ones(rows.num_rows),
        seed=seed,
    )
    place = placed(model)
    made, warned = _call(model, training, params, seed, place)
    boolean = all(kind == "bool" for kind in dataset.labels.values())
    answering = scorer(made, output=model.output, boolean=boolean, place=place, labels=len(labels))
    part = next(p for p in ("test", "valid", "train") if p in parts)
    X, first = given(parts[part]), parts[part].slice(0, min(_CHECKED, (parts[part].num_rows + 1) // 2))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            said, again = answering.matrix(X), answering.matrix(given(first))
    except WorkFailed as error:
        raise WorkFailed(f"{place}: {error}") from error
    except BaseException as error:
        pass_on(error)
        raise WorkFailed(
            "\n".join(
                [
                    (
                        f"{place}: what it returned cannot predict: {type(error).__name__}: {error}"
                        f" ({spot(error, model.function)})"
                    ),
                    *details(error, model.function),
                ]
            )
        ) from error
    y = targets(parts[part], labels)
    if said.shape != y.shape:
        raise WorkFailed(
            f"{place}: its predictions have shape {said.shape} where the labels have {y.shape}; return a model of"
            f" {counted(len(labels), 'output')}"
        )
    odd = ~np.isfinite(said.reshape(len(said), -1)).all(axis=1)
    if odd.any():
        row = int(np.argmax(odd))
        raise WorkFailed(
            f"{place}: {int(odd.sum()):,} of its {len(said):,} predictions for the {part} rows are NaN or infinite, the"
            f" first {said[row]} for {ROW} {parts[part][ROW][row].as_py()}; such a model is not kept: fill missing"
            " values, or return a model that can do without them"
        )
    wild = outside(said) if answering.probability else None
    if wild is not None:
        raise WorkFailed(
            f"{place}: its predict_proba() answers {said[wild]} for {ROW} {parts[part][ROW][wild].as_py()} of the"
            f' {part} rows, which is not a probability; return numbers from 0 to 1, or say output="predict"'
        )
    if not _same(X, given(parts[part])):
        raise WorkFailed(
            f"{place}: its predict() writes into the rows that it is given; work on a copy, e.g. X = X.copy()"
        )
    if again.shape != said[: first.num_rows].shape or not np.allclose(
        again, said[: first.num_rows], rtol=1e-4, atol=1e-6
    ):
        raise WorkFailed(
            f"{place}: of the same {first.num_rows} rows it says other things alone than among {len(said):,}; an"
            " endpoint asks for one row at a time: predict() must neither draw lots nor depend on its other rows"
        )
    output = "probability" if answering.probability else "predict"
    return Fitted(made, answering, encoder, part, parts[part], X, y, said, again, params, output, warned)


def placed(model: Model[Any]) -> str:
    """`model "m" (models.py:3)`."""
    return f'model "{model.name}"' + (f" ({model.place})" if model.place else "")


def _same(one: Any, other: Any) -> bool:
    """Whether two matrices or frames hold the same."""
    return bool(one.equals(other)) if hasattr(one, "equals") else np.array_equal(one, other, equal_nan=True)


def targets(rows: pa.Table, labels: list[str]) -> Floats:
    """[rows], or [rows, labels]; booleans are 0 and 1, NULL is NaN.

    Raises:
        UsageError: A label is not a number.
    """
    columns = []
    for name in labels:
        values = rows.column(name)
        if not (
            pa.types.is_boolean(values.type) or pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
        ):
            raise UsageError(f'label "{name}" is {values.type}; a label is a boolean or a number')
        columns.append(np.asarray(values.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64))
    return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)


def _call(
    model: Model[Any], training: Training, params: Mapping[str, Any], seed: int, place: str
) -> tuple[object, list[str]]:
    random.seed(seed)
    np.random.seed(seed)  # what draws from the global generators is then repeatable as well
    with hushed() as said, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            made = model.function(training, **params)
        except MillstreamError:
            raise
        except BaseException as error:
            pass_on(error)
            raise WorkFailed(raised(place, error, model.function, said.getvalue())) from error
    lines = [f"{w.category.__name__}: {w.message}" for w in caught]
    return made, [*dict.fromkeys(lines)][:_SHOWN] + said.getvalue().splitlines()[:_SHOWN]


def _usual(dataset: Dataset) -> list[str]:
    return ["auc", "brier"] if all(kind == "bool" for kind in dataset.labels.values()) else ["rmse", "mae"]


def rule_metrics(model: Model[Any]) -> list[str]:
    """The metrics that the promotion rule names."""
    from millstream.train.promote import metrics_of

    return metrics_of(model.promote_if) if model.promote_if else []


def _write(
    folder: Path,
    model: Model[Any],
    dataset: Dataset,
    fitted: Fitted,
    params: Mapping[str, Any],
    seed: int,
    metrics: Mapping[str, float],
    run: str,
) -> None:
    """The version's files: model, encoder, manifest, source, log, what it said of the rows it was judged by."""
    frame = model.input == "frame"
    try:
        file = save(
            fitted.model,
            folder,
            model.function.__module__,
            native=not frame,
            probability=fitted.scorer.probability,
            check=(fitted.X[:_CHECKED], fitted.said[:_CHECKED]),
        )
    except WorkFailed as error:
        raise WorkFailed(f"{placed(model)}: {error}") from error
    (folder / predictor.ENCODER).write_text(fitted.encoder.to_json())
    (folder / "source.py").write_text(source_of(model))
    (folder / "log.txt").write_text("\n".join(fitted.warned))
    labels = list(dataset.labels)
    said = fitted.said if fitted.said.ndim == 2 else fitted.said[:, None]
    told = fitted.judged.select([ROW, MOMENT, *labels])
    for i, name in enumerate(labels):
        told = told.append_column("prediction" if len(labels) == 1 else f"prediction_{name}", pa.array(said[:, i]))
    pq.write_table(told, folder / predictor.PREDICTIONS)
    rows = fitted.judged.select(list(dataset.columns)).slice(0, len(fitted.checked))
    for i, column in enumerate(fitted.checked.reshape(rows.num_rows, -1).T):
        rows = rows.append_column(f"{predictor.SAID}{i}", pa.array(column))
    pq.write_table(rows, folder / predictor.CHECKED)
    if not frame:
        np.savez(folder / predictor.CHECK, X=fitted.X[:_CHECKED], said=fitted.said[:_CHECKED])
    manifest = {
        "format": predictor.FORMAT,
        "model": model.name,
        "run": run,
        "made_at": datetime.now(UTC).isoformat(),
        "file": file,
        "input": model.input,
        "output": fitted.output,
        "params": dict(params),
        "seed": seed,
        "labels": dict(dataset.labels),
        "metrics": dict(metrics),
        "judged_by": fitted.part,
        "promote_if": model.promote_if,
        "columns": list(dataset.columns),
        "derive": dict(dataset.derive),
        "fields": dict(dataset.fields),
        "project_params": constants.plain(
            {k: v for k, v in dataset.params.items() if any(f"${k}" in text for text in dataset.derive.values())}
        ),
        "dataset": {
            "name": dataset.name,
            "version": dataset.version,
            "fingerprint": dataset.fingerprint,
            "rows": dict(dataset.rows),
            "purged": dataset.purged,
            "unlabelled": dataset.unlabelled,
            "total": dataset.total,
            "left_out": dict(dataset.left_out),
            "mode": dataset.mode,
            "until_us": dataset.until_us,
        },
        "inputs": {k: dict(v) for k, v in dataset.inputs.items()},
        "features": [dict(use) for use in dataset.uses],
        "code": {
            "function": code_of(model),
            "commit": commit_of(model),
            "place": str(model.place) if model.place else "",
        },
        "libraries": libraries(),
    }
    (folder / predictor.MANIFEST).write_text(json.dumps(manifest, indent=1, default=str))
