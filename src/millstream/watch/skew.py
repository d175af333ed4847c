"""Skew: what the online store answered, beside what offline says of the same positions. One bit that differs is a violation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from millstream.declare.endpoint import Endpoint
from millstream.declare.errors import NotFound
from millstream.declare.features import Features
from millstream.declare.monitor import Skew
from millstream.declare.noun import Noun
from millstream.features.offline import Use
from millstream.features.skew import Compared, compare
from millstream.train.pinned import from_json
from millstream.train.predictor import manifest
from millstream.watch.scene import Scene, quoted
from millstream.watch.verdict import Verdict, unknown

if TYPE_CHECKING:
    from millstream.lake.port import Snapshot
    from millstream.train.port import Tracking

ROWS = 200_000
"""Look-ups compared at once."""


@dataclass(frozen=True)
class _Pinned:
    """The features of one version of a model, as it was trained with them."""

    model: str
    version: int
    uses: list[Use]
    taken: list[str]


def skew(check: Skew, target: Noun, scene: Scene) -> Verdict:
    """Every logged look-up of an endpoint, or of one features noun behind any endpoint, compared in bits with the offline reader.

    Each is held against the definitions that its model's version pinned, at the positions that it logged. Left out, and counted in the
    details: what the look-up itself called inexact, and what it had seen that has not landed in the lake yet.
    """
    if scene.tracking is None:
        return unknown("skew", "no tracking says which features a model's version had", 0.0)
    found, lookups, gone = Compared(), 0, list[str]()
    examples: list[dict[str, Any]] = []
    for endpoint in scene.endpoints.values():
        if isinstance(target, Endpoint) and endpoint.name != target.name:
            continue
        table = scene.table(endpoint.decisions)
        if table is None:
            continue
        since = _since(check, scene, table)
        for model, version, rows in _answered(scene, table, since):
            try:
                pinned = _pinned(scene.tracking, model, version, target)
            except NotFound:
                gone.append(f"{model}@{version}")
                continue
            if not pinned.uses:
                continue
            lookups += rows
            for part in _logged(scene, table, pinned, since):
                some = compare(scene.sql, scene.lake, part, pinned.uses, pinned.taken)
                ids = dict(zip(part["_row"].to_pylist(), part["decision_id"].to_pylist(), strict=True)) if some.examples else {}
                examples += [{"endpoint": endpoint.name, "model": f"{model}@{version}", "decision_id": ids[d.row], "column": d.column,
                              "online": d.online, "offline": d.offline} for d in some.examples]  # fmt: skip
                found += some
    return _verdict(found, lookups, gone, examples)


def _verdict(found: Compared, lookups: int, gone: list[str], examples: list[dict[str, Any]]) -> Verdict:
    details = {"lookups": lookups, "compared": found.rows, "values": found.values, "inexact": found.inexact, "ahead": found.ahead,
               "differ": dict(found.differ), "examples": examples[:20], "versions_gone": gone}  # fmt: skip
    left = [text for n, text in ((found.ahead, f"{found.ahead:,} look-ups had seen what has not landed yet"),
                                 (found.inexact, f"{found.inexact:,} values were looked up for a moment too old to be exact"),
                                 (len(gone), f"the files of {', '.join(gone)} are gone")) if n]  # fmt: skip
    rest = f"; left out: {', '.join(left)}" if left else ""
    if not found.values:
        return Verdict("skew", "unknown", None, 0.0, (f"{lookups:,} look-ups, none of which can be compared" if lookups else "no look-ups yet") + rest, details)
    differ = sum(found.differ.values())
    told = f"{differ:,} of {found.values:,} values on {found.rows:,} look-ups differ from offline"
    named = f": {', '.join(sorted(found.differ))}" if differ else ""
    return Verdict("skew", "violated" if differ else "ok", float(differ), 0.0, told + named + rest, details)


def _since(check: Skew, scene: Scene, table: Snapshot) -> str:
    """The condition of the window that ends at the newest look-up."""
    newest = None if check.window_us is None else scene.row("select max(epoch_us(ts)) as newest from t", table)["newest"]
    return "true" if newest is None else f"epoch_us(ts) > {newest - (check.window_us or 0)}"


def _answered(scene: Scene, table: Snapshot, since: str) -> list[tuple[str, int, int]]:
    text = f"select model, version, count(*) as n from t where model is not null and version is not null and {since} group by model, version order by 1, 2"
    return [(row["model"], int(row["version"]), row["n"]) for row in scene.rows(text, table)]


def _pinned(tracking: Tracking, model: str, version: int, target: Noun) -> _Pinned:
    told = [
        use for use in manifest(tracking, model, version)["features"] if not isinstance(target, Features) or use["features"] == (target.base or target).name
    ]
    return _Pinned(model, version, [from_json(use) for use in told], [column for use in told for column in use["taken"]])


def _logged(scene: Scene, table: Snapshot, pinned: _Pinned, since: str) -> Iterator[pa.Table]:
    """The look-ups of a version, some at a time, as `compare` takes them."""
    keys = [column for _, key, _ in pinned.uses for column in key]
    columns = [name for name in dict.fromkeys(["decision_id", "as_of", "reasons", *keys, *pinned.taken]) if name in table.schema.names]
    text = f"""select row_number() over () as _row, ts as _t, {", ".join(map(quoted, columns))} from t
               where model = $model and version = $version and {since}"""
    held: list[pa.RecordBatch] = []
    for batch in scene.sql.query(text, {"t": table}, {"model": pinned.model, "version": pinned.version}):
        held.append(batch)
        if sum(b.num_rows for b in held) >= ROWS:
            yield pa.Table.from_batches(held)
            held = []
    if held:
        yield pa.Table.from_batches(held)
