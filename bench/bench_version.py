"""Loading a model's version, with its stored rows predicted again, beside loading it without that.

A version keeps up to 256 rows as they came and what the model said of them; a load encodes them, asks the model, and
compares. Two models: a pipeline of scikit-learn, which is also compiled to its fast form, and an object with a
`predict` of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from millstream.train import predictor
from millstream.train.code import libraries
from millstream.train.matrix import Encoder
from millstream.train.port import Version
from millstream.train.predictor import Predictor
from millstream.train.scorer import save, scorer

COLUMNS = 12
_CITIES = [f"city{at}" for at in range(40)]


class Weighted:
    """A model without a library: weights, and a line of numpy."""

    def __init__(self, weights: Any) -> None:
        self.weights = weights

    def predict(self, X: Any) -> Any:
        """Of a matrix [rows, columns]."""
        return np.nan_to_num(X) @ self.weights


class Unchecked(Predictor):
    """What loading costs without the stored rows."""

    def _as_registered(self) -> None:
        pass


def rows_of(count: int) -> pa.Table:
    random = np.random.default_rng(1)
    columns: dict[str, Any] = {f"x{at}": random.normal(size=count) for at in range(COLUMNS - 2)}
    columns |= {f"city{at}": random.choice(_CITIES, count) for at in range(2)}
    return pa.table(columns)


def fitted(kind: str, X: Any, y: Any) -> Any:
    if kind == "callable":
        return Weighted(np.linspace(-1, 1, X.shape[1]))
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(X, y)


def version(kind: str, folder: Path, rows: pa.Table, checked: int) -> None:
    """A version's files, as `train` writes them."""
    encoder = Encoder.fit(rows, rows.column_names)
    X = encoder.matrix(rows)
    y = (X[:, 0] > 0).astype(float)
    model = fitted(kind, X, y)
    answering = scorer(model, output="auto", boolean=kind == "sklearn")
    kept = rows.slice(0, checked)
    pq.write_table(
        kept.append_column(f"{predictor.SAID}0", pa.array(answering.matrix(encoder.matrix(kept)))),
        folder / predictor.CHECKED,
    )
    np.savez(folder / predictor.CHECK, X=X[:checked], said=answering.matrix(X[:checked]))
    (folder / predictor.ENCODER).write_text(encoder.to_json())
    manifest = {
        "format": predictor.FORMAT,
        "columns": rows.column_names,
        "labels": {"late": "bool"},
        "features": [],
        "derive": {},
        "fields": {},
        "project_params": {},
        "input": "matrix",
        "output": "probability" if answering.probability else "predict",
        "file": save(model, folder),
        "libraries": libraries(),
    }
    (folder / predictor.MANIFEST).write_text(json.dumps(manifest))


def milliseconds(kind: type[Predictor], folder: Path) -> float:
    held = Version(model="m", number=1, run_id="r", created_at=datetime.now(UTC), aliases=(), tags={})
    begun = time.process_time()
    kind(held, folder)
    return (time.process_time() - begun) * 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=256, help="stored rows")
    given = parser.parse_args()
    said = []
    for kind in ("sklearn", "callable"):
        with tempfile.TemporaryDirectory() as name:
            version(kind, Path(name), rows_of(2_000), given.rows)
            for form in (Predictor, Unchecked):
                milliseconds(form, Path(name))  # imports
            pairs = [
                (milliseconds(Predictor, Path(name)), milliseconds(Unchecked, Path(name)))
                for _ in range(given.runs * 4)
            ]
        ours, bare = (statistics.median(side) for side in zip(*pairs, strict=True))
        said.append(
            {
                "what": f"loading a version ({kind}), {given.rows} stored rows predicted again",
                "figure": round(ours, 2),
                "limit": round(bare, 2),
                "unit": "ms of CPU",
                "of": "loading it without that",
                "ratio": round(ours / bare, 2),
            }
        )
    if given.json:
        print(json.dumps(said))
        return
    for row in said:
        print(f"{row['what']:72} {row['figure']:8.2f} ms   without {row['limit']:8.2f} ms   ratio {row['ratio']}")


if __name__ == "__main__":
    main()
