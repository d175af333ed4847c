"""Batch scoring: a table that is a model applied to every row of a spine, with what was known at the row's moment.

The features are those pinned in the version, looked up as for training (only what had arrived before the moment), so a row's prediction is what the
endpoint would have said then. The table has the spine's columns, `prediction` (with several labels `prediction_<label>`), and `version`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from millstream.base.errors import DefinitionError, WorkFailed
from millstream.base.theirs import details, pass_on, spot
from millstream.declare.table import Table
from millstream.train import predictor, spine

if TYPE_CHECKING:
    from millstream.declare.model import Scoring
    from millstream.lake.lake import Lake
    from millstream.lake.table import LakeTable
    from millstream.train.port import Tracking
    from millstream.train.predictor import Predictor
    from millstream.transform.port import Sql

FORMAT = 1
META = "millstream.scoring"
VERSION = "version"
_BATCH = 65_536


@dataclass(frozen=True)
class Scored:
    """What a scoring did.

    Attributes:
        version: Of the table.
        rows: Written; 0 when `reused`.
        model_version: That predicted.
        reused: The same version had scored the same rows with the same sources already.
    """

    version: int
    rows: int
    model_version: int
    reused: bool


def definition_of(scoring: Scoring) -> str:
    """Fingerprint of the declaration."""
    return _digest([FORMAT, scoring.ref.model.name, scoring.ref.version, scoring.spine.name])


def score(table: Table, lake: Lake, sql: Sql, tracking: Tracking) -> Scored:
    """Bring the table up to date with the version and the rows that there are now, in one commit.

    Raises:
        NotFound: There is no such version, or the spine is not in the lake yet.
        DefinitionError: The spine is a table without a time, or lacks a column that the model wants.
        WorkFailed: The model failed on the rows.
    """
    assert table.scoring is not None
    at, ref = table.scoring.spine, table.scoring.ref
    model = predictor.load(tracking, ref.model.name, ref.version)
    names = dict.fromkeys([at.name, *(definition.stream for definition, _, _ in model.definitions)])
    pinned = {name: lake.table(name) for name in names}  # handles on one version each, whoever appends meanwhile
    made = _digest([definition_of(table.scoring), model.version.run_id, sorted((name, t.uuid, t.version) for name, t in pinned.items())])
    target = lake.table(table.name) if lake.exists(table.name) else None
    if target is not None and (told := target.newest_of(META)) is not None and told[1]["made"] == made:
        return Scored(target.version, 0, model.version.number, True)
    rows = _Rows(table, model, pinned, lake, sql)
    target = target or lake.create(table.name, rows.schema)
    version = target.replace(pa.RecordBatchReader.from_batches(rows.schema, rows), metadata={META: {"made": made, "model": str(model.version.number)}})
    return Scored(version, rows.count, model.version.number, False)


def _digest(told: object) -> str:
    return hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest()[:16]


class _Rows:
    """The table's rows, batch by batch, in the order of the spine."""

    def __init__(self, table: Table, model: Predictor, pinned: Mapping[str, LakeTable], lake: Lake, sql: Sql) -> None:
        assert table.scoring is not None
        self.table, self.model, self.count = table, model, 0
        at = table.scoring.spine
        self.fields = spine.fields(at, pinned[at.name].schema)
        self._check()
        moments = sql.query(spine.query(at, self.fields, str(table), table.place), {at.name: pinned[at.name].snapshot()}).read_all()
        kept = pa.schema([moments.schema.field(name) for name in self.fields])
        labels = list(model.labels)
        self.predicted = ["prediction"] if len(labels) == 1 else [f"prediction_{label}" for label in labels]
        self.schema = pa.schema([*kept, *(pa.field(name, pa.float64()) for name in self.predicted), pa.field(VERSION, pa.int64())])
        self._reader = sql.query(*self._featured(moments, pinned, lake, sql))

    def _check(self) -> None:
        looked = {f"{prefix}__{o.column(w)}" for definition, _, prefix in self.model.definitions for o, w in definition.answers()}
        wanted = [c for _, columns, _ in self.model.definitions for c in columns]
        wanted += [c for c in self.model.columns if c not in looked and c not in self.model.derive]
        missing = [name for name in wanted if name not in self.fields]
        if missing:
            raise DefinitionError(f'{self.table}: {self.model.version.model}@{self.model.version.number} wants "{missing[0]}", which its spine does not have',
                                  place=self.table.place, found=", ".join(self.fields), fix="score a spine with the columns of the training set's", code="E146")  # fmt: skip

    def _featured(self, moments: pa.Table, pinned: Mapping[str, LakeTable], lake: Lake, sql: Sql) -> tuple[str, dict[str, Any]]:
        """A query for rows with all that the model wants, and its tables."""
        from millstream.features.offline import offline

        tables: dict[str, Any] = {"spine": moments}
        definitions, looked, join = self.model.definitions, "", ""
        if definitions:
            narrow = moments.select([spine.ROW, spine.MOMENT, *dict.fromkeys(c for _, columns, _ in definitions for c in columns)])
            tables["looked"] = offline(sql, lake, narrow, definitions, versions={name: t.version for name, t in pinned.items()})
            taken = [column for told in self.model.manifest["features"] for column in told["taken"]]
            looked, join = "".join(f', looked."{c}"' for c in taken), f"join looked using ({spine.ROW})"
        derived = "".join(f', {expression} as "{name}"' for name, expression in self.model.derived_sql().items())
        return f"select *{derived} from (select spine.*{looked} from spine {join}) order by {spine.ROW}", tables

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._reader:
            for start in range(0, batch.num_rows, _BATCH):
                yield self._scored(pa.Table.from_batches([batch.slice(start, _BATCH)]))

    def _scored(self, rows: pa.Table) -> pa.RecordBatch:
        try:
            said = self.model.predict(rows).reshape(rows.num_rows, -1)
        except BaseException as error:
            pass_on(error)
            by = f"{self.model.version.model}@{self.model.version.number}"
            raise WorkFailed("\n".join([f"{self.table}: {by} failed on its rows: {type(error).__name__}: {error} ({spot(error)})", *details(error)])) from error
        made = [rows.column(name).combine_chunks() for name in self.fields]
        made += [pa.array(said[:, i], pa.float64()) for i in range(len(self.predicted))]
        self.count += rows.num_rows
        return pa.record_batch([*made, pa.array([self.model.version.number] * rows.num_rows, pa.int64())], schema=self.schema)
