"""A version of a model, loaded for use: one row in a few microseconds, or a table."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from millstream.base.errors import Corrupt, WorkFailed
from millstream.base.event import Kind
from millstream.base.theirs import details, pass_on, spot
from millstream.features.definition import Definition
from millstream.lang.expression import Expression
from millstream.train import scorer
from millstream.train.code import libraries
from millstream.train.matrix import Encoder
from millstream.train.pinned import derived, from_json
from millstream.train.port import Tracking, Version

Floats: TypeAlias = NDArray[np.float64]
FORMAT = 1
MANIFEST, ENCODER, CHECK, PREDICTIONS = "manifest.json", "encoder.json", "check.npz", "predictions.parquet"
CHECKED = "check.parquet"
"""Rows as they come, before they are encoded, and what the model said of them when it was registered."""
SAID = "_said"
_CLOSE = 1e-9
_ASKED = 8
log = logging.getLogger("millstream.train")


class Predictor:
    """One version, safe for several threads.

    Attributes:
        columns: What a row must hold: the payload fields, features and derived columns of the matrix, in order.
        definitions: The features it was trained with, pinned: (definition, the request's key columns, prefix).
        derive: Derived column -> closure over the request and the features.
        labels: Label -> kind; with several, a prediction is a mapping.
        manifest: All that made it.
    """

    def __init__(self, version: Version, folder: Path, *, new: bool = False) -> None:
        """`new`: it is about to be registered, and `prove` asks it."""
        self.version, self.folder = version, folder
        self.manifest: dict[str, Any] = json.loads(_text(folder / MANIFEST))
        if self.manifest.get("format") != FORMAT:
            raise Corrupt(
                f"{version.model}@{version.number} was written in format {self.manifest.get('format')!r}; this"
                f" Millstream reads {FORMAT}"
            )
        self.columns: list[str] = self.manifest["columns"]
        self.labels: dict[str, Kind] = self.manifest["labels"]
        self.definitions: list[tuple[Definition, tuple[str, ...], str]] = [
            from_json(told) for told in self.manifest["features"]
        ]
        self._derived = self._compile()
        self.derive: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            name: e.evaluate for name, e in self._derived.items()
        }
        self.encoder = Encoder.from_json(_text(folder / ENCODER))
        frame = self.manifest["input"] == "frame"
        self.scorer = scorer.load(
            folder,
            self.manifest["file"],
            probability=self.manifest["output"] == "probability",
            check=self._check(),
            frame=frame,
            labels=len(self.labels),
        )
        self._given = inputs(self.manifest["input"], self.encoder)
        self._several = list(self.labels) if len(self.labels) > 1 else None
        self._encode, self._score = self.encoder.row, self.scorer.row
        if self._several is None and not frame:
            self.predict_row: Callable[[Mapping[str, Any]], Any] = self._one
        else:
            self.predict_row = self._slow
        if not new:
            self._as_registered()

    def _one(self, row: Mapping[str, Any]) -> float:
        """The prediction for one row: request, features and derived columns by name (None is NULL)."""
        return self._score(self._encode(row))

    def _slow(self, row: Mapping[str, Any]) -> Any:
        if self.manifest["input"] == "frame":
            told = self.scorer.row(
                self._given(pa.table({c.name: _array(row[c.name], c.kind) for c in self.encoder.columns}))
            )
        else:
            told = self._score(self._encode(row))
        return dict(zip(self._several, map(float, told), strict=True)) if self._several else float(told)

    def predict(self, rows: pa.Table) -> Floats:
        """[rows], or [rows, labels], of a table that has `columns` (a derived one that is absent is computed).

        Raises:
            UsageError: A column is missing.
        """
        for name, expression in self._derived.items():
            if name not in rows.column_names and all(c in rows.column_names for c in expression.columns):
                values = rows.select(list(expression.columns)).to_pylist()
                rows = rows.append_column(
                    name, pa.array([expression.evaluate(v) for v in values], _KINDS.get(expression.kind, pa.float64()))
                )
        return self.scorer.matrix(self._given(rows))

    def derived_sql(self) -> dict[str, str]:
        """Derived column -> its expression in SQL, over the request's fields and the features."""
        return {name: expression.sql for name, expression in self._derived.items()}

    def describe(self) -> dict[str, Any]:
        """The manifest, with the version's number, aliases and the form it predicts in."""
        return {
            "version": self.version.number,
            "aliases": list(self.version.aliases),
            "form": self.scorer.form,
            **self.manifest,
        }

    def _compile(self) -> dict[str, Expression]:
        return derived(self.manifest, self.definitions)

    def _as_registered(self) -> None:
        """Predict the stored rows again: a version is what was registered, whatever has become of the files and
        libraries that it uses.

        Raises:
            WorkFailed: It says something else now.
        """
        name = f"{self.version.model}@{self.version.number}"
        if not (self.folder / CHECKED).exists():
            log.warning(
                "%s keeps no rows to check it by (it was made by an older Millstream): train it again to know that it"
                " answers as registered",
                name,
            )
            return
        kept, then = self._kept()
        try:
            now = self._now(kept)
        except BaseException as error:
            pass_on(error)
            said = (
                f"{name} cannot predict the rows it was registered with any more: {type(error).__name__}: {error}"
                f" ({spot(error)}){self._changed()}"
            )
            raise WorkFailed("\n".join([said, *details(error)])) from error
        row = differs(now, then)
        if row is not None:
            raise WorkFailed(
                f"{name} is not what was registered: of its stored row {row} it says {_plain(now[row])} and said"
                f" {_plain(then[row])}{self._changed()}; put back what it uses, or train it again"
            )

    def _kept(self) -> tuple[pa.Table, Floats]:
        kept = pq.read_table(self.folder / CHECKED)
        return kept, np.stack([kept.column(f"{SAID}{i}").to_numpy() for i in range(len(self.labels))], axis=1)

    def _now(self, kept: pa.Table) -> Floats:
        return np.asarray(self.scorer.matrix(self._given(kept)), dtype=np.float64).reshape(kept.num_rows, -1)

    def prove(self) -> None:
        """Ask for the stored rows, as a load will, and for some of them one by one, as an endpoint will.

        Raises:
            WorkFailed: It says other things than the model that was stored.
        """
        kept, then = self._kept()
        row = differs(self._now(kept), then)
        if row is not None:
            raise WorkFailed(
                f"of row {row} it says {_plain(self._now(kept)[row])}, and said {_plain(then[row])} before it was"
                " stored"
            )
        for i, values in enumerate(kept.select(self.columns).slice(0, _ASKED).to_pylist()):
            told = self.predict_row(values)
            alone = np.array(list(told.values()) if self._several else [told], dtype=np.float64)
            if not np.allclose(alone, then[i], rtol=1e-4, atol=1e-6):
                raise WorkFailed(
                    f"of row {i} alone, as an endpoint asks, it says {_plain(alone)}, and said {_plain(then[i])} among"
                    " others"
                )

    def _changed(self) -> str:
        """Libraries that are others now."""
        then, now = self.manifest.get("libraries", {}), libraries()
        others = [f"{name} {was} is {now.get(name, 'gone')} now" for name, was in then.items() if now.get(name) != was]
        return f" ({', '.join(others)})" if others else ""

    def _check(self) -> tuple[Floats, Floats] | None:
        if not (self.folder / CHECK).exists():
            return None
        with np.load(self.folder / CHECK) as kept:
            return kept["X"], kept["said"]


_ARROW = {
    "number": pa.float64(),
    "bool": pa.bool_(),
    "category": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
}


def _array(value: Any, kind: str) -> pa.Array:
    """A number is a double, rounded if it must be, as in the rows that the model was trained on: a frame's column with
    NULLs holds no larger whole numbers.
    """
    return pa.array([float(value) if kind == "number" and value is not None else value], _ARROW[kind])


_KINDS: dict[Kind, pa.DataType] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "enum": pa.string(),
}


def load(tracking: Tracking, model: str, version: str = "champion") -> Predictor:
    """A registered version, by number or alias.

    Raises:
        NotFound: No such version, or its files are gone.
        Corrupt: Its files are of another format.
        WorkFailed: The model cannot be read, e.g. because a library is missing.
    """
    held = tracking.version(model, version)
    return Predictor(held, tracking.artifacts(model, held.number))


def prove(model: str, folder: Path, place: str) -> None:
    """Load what is about to be registered once, so that no version is that an endpoint cannot load or that answers
    otherwise.

    Raises:
        WorkFailed: It is one of these.
    """
    try:
        Predictor(Version(model, 0, "", datetime.now(UTC), (), {}), folder, new=True).prove()
    except BaseException as error:
        pass_on(error)
        said = f"{type(error).__name__}: {error} ({spot(error)})" if not isinstance(error, WorkFailed) else str(error)
        raise WorkFailed(
            "\n".join(
                [
                    (
                        f"{place}: what was stored of it is not the model that was trained, so it is not registered:"
                        f" {said}"
                    ),
                    *details(error),
                ]
            )
        ) from error


def manifest(tracking: Tracking, model: str, number: int) -> dict[str, Any]:
    """All that made a registered version, without the model itself and its libraries.

    Raises:
        NotFound: No such version, or its files are gone.
    """
    return dict(json.loads(_text(tracking.artifacts(model, number) / MANIFEST)))


def differs(now: Floats, then: Floats) -> int | None:
    """The first row of two arrays [rows, labels] that is not the same within 1e-9 of its size; None when all are."""
    if now.shape != then.shape:
        return 0
    apart = np.abs(now - then) > _CLOSE * np.maximum(np.abs(then), 1e-6)
    wrong = (apart | (np.isnan(now) != np.isnan(then))).any(axis=1)
    return int(np.argmax(wrong)) if wrong.any() else None


def _plain(said: Floats) -> str:
    return ", ".join(f"{float(value):.9g}" for value in said)


def inputs(form: str, encoder: Encoder) -> Callable[[pa.Table], Any]:
    """From rows to what the model is given: a float64 matrix, or a pandas frame whose strings are categories of the
    vocabulary.
    """
    if form == "matrix":
        return encoder.matrix

    def frame(rows: pa.Table) -> Any:
        import pandas as pd

        made = rows.select(list(encoder.names)).to_pandas()
        for column in encoder.columns:
            if column.kind == "category":
                made[column.name] = pd.Categorical(made[column.name], categories=list(column.vocabulary))
            elif column.kind == "number":
                made[column.name] = made[column.name].astype("float64")
        return made

    return frame


def _text(path: Path) -> str:
    from millstream.base.errors import NotFound

    try:
        return path.read_text()
    except FileNotFoundError:
        raise NotFound(f"{path.name} of the version is gone ({path.parent}); train it again") from None
