"""How a training set is made: spine, labels, split, features, derived columns; then one commit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from millstream.base.errors import DefinitionError, WorkFailed
from millstream.base.event import Kind
from millstream.base.moments import moment_of, moment_us, spelled
from millstream.declare.stream import Stream
from millstream.declare.training_set import TrainingSet
from millstream.features.outcome import OutcomeSql, outcome_sql
from millstream.lang.expression import compile as compile_expression
from millstream.train import blank, kept
from millstream.train import dataset as sets
from millstream.train import spine as spines
from millstream.train.pinned import to_json
from millstream.train.reuse import holds_until
from millstream.train.spine import MOMENT, ROW

if TYPE_CHECKING:
    from millstream.lake.lake import Lake
    from millstream.lake.table import LakeTable
    from millstream.transform.port import Sql

_STEPS = 4


class NoRows(WorkFailed):
    """No moment of the spine is mature and has a label."""


class Builder:
    """One building of one set."""

    def __init__(
        self,
        training_set: TrainingSet[Any],
        lake: Lake,
        sql: Sql,
        params: Mapping[str, Any],
        mode: sets.Mode,
        report: Callable[..., None],
    ) -> None:
        self.set, self.lake, self.sql, self.params, self.mode, self.report = (
            training_set,
            lake,
            sql,
            params,
            mode,
            report,
        )
        self.name = training_set.name
        self.labels = dict(training_set.labels)
        self.uses = sets.uses_of(training_set, params)
        self.within_us = max(o.within_us for o in self.labels.values())

    def build(self) -> sets.Dataset:
        mature_us = self._mature()
        names = dict.fromkeys(
            [
                self.set.at.name,
                *(o.stream.name for o in self.labels.values()),
                *(u.definition.stream for u in self.uses),
            ]
        )
        # Handles on one version each, whoever appends meanwhile
        pinned = {name: self.lake.table(name) for name in names}
        inputs = {name: {"version": table.version, "uuid": table.uuid} for name, table in pinned.items()}
        fingerprint = self._fingerprint(inputs, mature_us)
        stored = sets.latest(self.name, self.lake)
        if stored is not None and stored.fingerprint == fingerprint:
            return stored
        self.fields = spines.fields(self.set.at, pinned[self.set.at.name].schema)
        self._check_names()
        self.report(0, _STEPS, "moments")
        spine = self._spine(pinned, mature_us)
        self.report(1, _STEPS, "labels")
        spine, counts = self._labelled(spine, pinned, mature_us)
        self.report(2, _STEPS, f"features of {spine.num_rows:,} rows")
        rows = self._featured(spine, pinned, stored)
        made = self._dataset(fingerprint, inputs, counts)
        watched = blank.Watched(rows, made.columns, sets.SPLIT)
        version = self._store(watched.reader(), made)
        self.report(_STEPS, _STEPS, "stored")
        return replace(
            sets.read(sets.plain(made), version, reused=False),
            blank=blank.reasons(watched.blank(), self.uses, pinned, self.sql),
        )

    def _mature(self) -> int:
        """Moments before this are mature: every label's stream has passed them and the horizon. Read before any version
        is pinned, so it never promises more than the pinned versions hold."""
        bounds = []
        for name, outcome in self.labels.items():
            mark = self.lake.watermark(outcome.stream)
            if mark is None:
                raise NoRows(
                    f'training_set "{self.name}": the stream "{outcome.stream.name}" of its label "{name}" holds no'
                    " event yet; ingest some first"
                )
            bounds.append(mark - outcome.within_us)
        return min(bounds)

    def _until_us(self) -> int | None:
        return None if self.set.until is None else moment_us(self.set.until)

    def _fingerprint(self, inputs: Mapping[str, Any], mature_us: int) -> str:
        until = self._until_us()
        told = [
            sets.FORMAT,
            sets.definition_of(self.set, self.params, self.mode),
            inputs,
            None if until is not None and until <= mature_us else mature_us,
        ]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def _check_names(self) -> None:
        made = [*self.labels, *self.set.derive, *(c for use in self.uses for c in use.taken())]
        twice = {
            name for name in made if made.count(name) > 1 or name in self.fields or name in (ROW, MOMENT, sets.SPLIT)
        }
        if twice:
            raise DefinitionError(
                f'training_set "{self.name}" would have two columns of one name',
                place=self.set.place,
                found=", ".join(sorted(twice)),
                fix="rename the label (label={...}), the derived column or the features (.on(..., name=))",
                code="E144",
            )
        keys = {use.prefix: [c for c in use.columns if c not in self.fields] for use in self.uses}
        for prefix, missing in keys.items():
            if missing:
                raise DefinitionError(
                    f'training_set "{self.name}": features "{prefix}" are keyed by "{missing[0]}", and'
                    f' "{self.set.at.name}" has no "{missing[0]}"',
                    place=self.set.place,
                    found=", ".join(self.fields),
                    fix='say .on("...") with the field that holds it',
                    code="E141",
                )

    def _spine(self, pinned: Mapping[str, LakeTable], mature_us: int) -> pa.Table:
        at, until = self.set.at, self._until_us()
        bound = min(mature_us, until) if until is not None else mature_us
        chosen, condition = "", None
        if self.set.where is not None:
            condition = compile_expression(
                self.set.where, self.fields, self.params, place=self.set.place, what=str(self.set)
            ).sql
            chosen = f" and ({condition.replace('{', '{{').replace('}', '}}')})"
        text = spines.query(at, self.fields, str(self.set), self.set.place, "{time} < $bound" + chosen)
        tables = {at.name: pinned[at.name].snapshot()}
        spine = self.sql.query(text, tables, {"bound": moment_of(bound)}).read_all()
        time = at.schema.event_time if isinstance(at, Stream) else str(at.time)  # a table without one has been refused
        (self.counts,) = (
            self.sql.query(kept.counting(at.name, time, mature_us, until, condition), tables).read_all().to_pylist()
        )
        return spine

    def _labelled(
        self, spine: pa.Table, pinned: Mapping[str, LakeTable], mature_us: int
    ) -> tuple[pa.Table, dict[str, int]]:
        """Rows that have a label, with their part of the split; the others counted."""
        tables: dict[str, Any] = {"spine": spine}
        kinds: dict[str, Kind] = {}
        for i, (name, outcome) in enumerate(self.labels.items()):
            made: OutcomeSql = outcome_sql(outcome, self.params)
            kinds[name] = made.kind
            # One query a label: two labels may come from one stream.
            tables[f"l{i}"] = self.sql.query(
                made.sql, {"spine": spine, made.stream: pinned[made.stream].snapshot()}
            ).read_all()
        self.kinds = kinds
        joins = " ".join(f"left join l{i} using ({ROW})" for i in range(len(self.labels)))
        labels = ", ".join(f'l{i}.outcome as "{name}"' for i, name in enumerate(self.labels))
        some = " or ".join(f"l{i}.outcome is not null" for i in range(len(self.labels)))
        text = f"""select spine.*, {labels}, {self._split(mature_us)} as {sets.SPLIT}, ({some}) as _some
            from spine {joins} order by {ROW}"""
        joined = self.sql.query(text, tables).read_all()
        some_label = joined.column("_some")
        part = joined.column(sets.SPLIT)
        import pyarrow.compute as pc

        keep = pc.and_(some_label, pc.is_valid(part))
        chosen = joined.filter(keep).drop_columns(["_some"])
        if chosen.num_rows == 0:
            labelled = pc.sum(some_label).as_py() or 0
            left = kept.left(self._left(joined.num_rows - labelled, labelled))
            until = spelled(min(mature_us, self._until_us() or mature_us))
            total = f"{self.counts['total']:,} rows of {self.set.at.name}"
            raise NoRows(
                f'training_set "{self.name}" has no mature row with a label: {spine.num_rows:,} moments before {until};'
                f" of {total}, {left}"
            )
        told = pc.value_counts(chosen.column(sets.SPLIT))
        counts = {c["values"].as_py(): c["counts"].as_py() for c in told}
        counts["purged"] = pc.sum(pc.and_(some_label, pc.is_null(part))).as_py() or 0
        counts["unlabelled"] = joined.num_rows - (pc.sum(some_label).as_py() or 0)
        return chosen, counts

    def _left(self, unlabelled: int, purged: int) -> dict[str, int]:
        """Reason -> rows that are not in the set."""
        counted = {**self.counts, kept.UNLABELLED: unlabelled, kept.PURGED: purged}
        return {name: counted[name] for name in kept.REASONS if counted[name]}

    def _split(self, mature_us: int) -> str:
        """SQL of the part; NULL is purged: the horizon of a row before an edge reaches over it, so its label is of the
        other side.
        """
        split = self.set.split
        if split is None:
            return "'train'"
        end = self._until_us() or mature_us
        test, valid = end - split.test_us, end - split.test_us - split.valid_us
        reach = f"epoch_us({MOMENT}) + {self.within_us}"
        cases = [f"when epoch_us({MOMENT}) >= {test} then 'test'"] if split.test_us else []
        if split.valid_us:
            cases.append(
                f"when epoch_us({MOMENT}) >= {valid} then case when {reach} < {test} or {split.test_us} = 0 then"
                " 'valid' end"
            )
        edge = valid if split.valid_us else test
        return f"case {' '.join(cases)} when {reach} < {edge} then 'train' end" if cases else "'train'"

    def _looked_up(
        self, spine: pa.Table, pinned: Mapping[str, LakeTable], stored: sets.Dataset | None
    ) -> tuple[str, dict[str, Any]]:
        """A query for the features of each row, and its tables: those of the stored version that still hold, the others
        anew.
        """
        from millstream.features.offline import offline

        taken = ", ".join(f'"{c}"' for use in self.uses for c in use.taken())
        narrow = spine.select([ROW, MOMENT, *dict.fromkeys(c for use in self.uses for c in use.columns)])
        held, tables = "", dict[str, Any]()
        if stored is not None and (until := self._holds_until(stored, pinned)):
            tables["kept"] = self.lake.table(self.name).snapshot(stored.version)
            there = f"select {ROW} from kept where epoch_us({MOMENT}) < {until}"
            narrow = self.sql.query(
                f"select * from spine where {ROW} not in ({there})", {"spine": narrow, **tables}
            ).read_all()
            held = f"select {ROW}, {taken} from kept where epoch_us({MOMENT}) < {until} union all "
        uses = [(u.definition, u.columns, u.prefix) for u in self.uses]
        versions = {name: table.version for name, table in pinned.items()}
        tables["made"] = offline(self.sql, self.lake, narrow, uses, mode=self.mode, versions=versions)
        return f"{held}select {ROW}, {taken} from made", tables

    def _holds_until(self, stored: sets.Dataset, pinned: Mapping[str, LakeTable]) -> int:
        if stored.definition != sets.definition_of(self.set, self.params, self.mode):
            return 0
        at = self.set.at
        return holds_until(
            stored,
            pinned,
            at.name,
            at.schema.event_time if isinstance(at, Stream) else None,
            self.uses,
            self.mode,
            self.sql,
        )

    def _featured(
        self, spine: pa.Table, pinned: Mapping[str, LakeTable], stored: sets.Dataset | None
    ) -> pa.RecordBatchReader:
        tables: dict[str, Any] = {"spine": spine}
        join, looked_up = "", ""
        if self.uses:
            looked, more = self._looked_up(spine, pinned, stored)
            tables |= more
            looked_up = "".join(f', looked."{c}"' for use in self.uses for c in use.taken())
            join = f"join ({looked}) looked using ({ROW})"
        base = ", ".join(f'spine."{c}"' for c in [ROW, MOMENT, *self.fields])
        fields = {**self.fields, **sets.feature_kinds(self.set)}
        derived = "".join(
            f', {compile_expression(text, fields, self.params, place=self.set.place, what=name).sql} as "{name}"'
            for name, text in self.set.derive.items()
        )
        labels = ", ".join(f'spine."{c}"' for c in [*self.labels, sets.SPLIT])
        last = ", ".join(f'"{c}"' for c in [*self.labels, sets.SPLIT])
        text = f"""select * exclude ({last}){derived}, {last}
            from (select {base}{looked_up}, {labels} from spine {join}) order by {ROW}"""
        return self.sql.query(text, tables)

    def _dataset(self, fingerprint: str, inputs: Mapping[str, Any], counts: dict[str, int]) -> sets.Dataset:
        purged, unlabelled = counts.pop("purged"), counts.pop("unlabelled")
        return sets.Dataset(
            name=self.name,
            version=-1,
            fingerprint=fingerprint,
            rows={p: counts[p] for p in sets.PARTS if p in counts},
            purged=purged,
            unlabelled=unlabelled,
            columns=tuple(sets.columns_of(self.set)),
            labels=self.kinds,
            inputs=inputs,
            uses=tuple(to_json(u, self.params) for u in self.uses),
            derive=dict(self.set.derive),
            fields=self.fields,
            params=dict(self.params),
            mode=self.mode,
            until_us=self._until_us() or -1,
            within_us=self.within_us,
            definition=sets.definition_of(self.set, self.params, self.mode),
            spine=self.set.at.name,
            total=self.counts["total"],
            left_out=self._left(unlabelled, purged),
        )

    def _store(self, rows: pa.RecordBatchReader, made: sets.Dataset) -> int:
        table = self.lake.table(self.name) if self.lake.exists(self.name) else self.lake.create(self.name, rows.schema)
        return table.replace(rows, metadata={sets.META: sets.plain(made)})
