"""The same version, trained again: from the recorded rows, parameters and seed, beside what it said then."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from millstream.base.errors import NotFound
from millstream.declare.model import Model
from millstream.train import dataset as sets
from millstream.train.code import code_of, libraries
from millstream.train.port import Tracking
from millstream.train.predictor import MANIFEST, PREDICTIONS
from millstream.train.run import fit, parameters, read_parts

if TYPE_CHECKING:
    from millstream.lake.lake import Lake
    from millstream.transform.port import Sql


class Reproduced(NamedTuple):
    """How the model trained again compares.

    Attributes:
        same: Every prediction is the same, bit for bit.
        apart: The greatest difference of two predictions of one row.
        rows: That both were asked about: those the version was judged by.
        changed: What is not as it was then: "code", or a library with its versions.
    """

    same: bool
    apart: float
    rows: int
    changed: tuple[str, ...]


def reproduce(model: Model[Any], tracking: Tracking, lake: Lake, sql: Sql, version: str = "champion") -> Reproduced:
    """Train the version again as it was recorded. Nothing is kept or registered.

    Raises:
        NotFound: There is no such version, or its rows or files are gone.
        WorkFailed: The function raised.
    """
    held = tracking.version(model.name, version)
    folder = tracking.artifacts(model.name, held.number)
    if not (folder / MANIFEST).exists():
        raise NotFound(f"{MANIFEST} of {model.name}@{held.number} is gone ({folder}); train it again")
    told: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    recorded = told["dataset"]
    stored = lake.table(recorded["name"]).metadata(recorded["version"]).get(sets.META)
    if not stored:
        raise NotFound(
            f'"{recorded["name"]}" version {recorded["version"]} is not a training set any more;'
            f" {model.name}@{held.number} cannot be trained again"
        )
    dataset = sets.read(json.loads(stored) if isinstance(stored, str) else stored, recorded["version"])
    fitted = fit(model, dataset, read_parts(dataset, lake, sql), parameters(model, told["params"]), told["seed"])
    labels = list(dataset.labels)
    before = pq.read_table(folder / PREDICTIONS)
    names = ["prediction"] if len(labels) == 1 else [f"prediction_{name}" for name in labels]
    then = np.stack([before.column(name).to_numpy() for name in names], axis=1)
    now = fitted.said.reshape(len(fitted.said), -1)
    apart = float(np.nanmax(np.abs(now - then), initial=0.0)) if now.shape == then.shape else float("inf")
    return Reproduced(np.array_equal(now, then, equal_nan=True), apart, before.num_rows, _changed(model, told))


def _changed(model: Model[Any], told: dict[str, Any]) -> tuple[str, ...]:
    now, then = libraries(), told["libraries"]
    moved = [
        f"{name} {then.get(name, 'none')} -> {now.get(name, 'none')}"
        for name in sorted({*now, *then})
        if now.get(name) != then.get(name)
    ]
    return (*(["code"] if code_of(model) != told["code"]["function"] else []), *moved)
