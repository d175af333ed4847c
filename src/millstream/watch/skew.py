"""Skew: what the online store answered, beside what offline says of the same positions, and of tables by their rule.
One bit that differs is a violation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from millstream.base.duration import UNITS, spell
from millstream.base.errors import NotFound
from millstream.base.event import ARRIVED_AT
from millstream.base.sql import quoted
from millstream.base.words import counted
from millstream.declare.endpoint import Endpoint
from millstream.declare.features import Features
from millstream.declare.monitor import Skew
from millstream.declare.noun import Noun
from millstream.declare.table import Table
from millstream.features.definition import Definition
from millstream.features.missed import Missed, missed
from millstream.features.offline import Use
from millstream.features.skew import Compared, compare
from millstream.lang.expression import Expression
from millstream.train.pinned import derived, from_json
from millstream.train.predictor import manifest
from millstream.watch.scene import Scene
from millstream.watch.verdict import Verdict

if TYPE_CHECKING:
    from millstream.lake.port import Snapshot
    from millstream.train.port import Tracking

ROWS = 200_000
"""Look-ups compared at once."""


@dataclass(frozen=True)
class _Pinned:
    """Features as versions of models were trained with them; versions with the same ones are compared together."""

    uses: list[Use]
    taken: list[str]
    versions: list[tuple[str, int]]
    derived: Mapping[str, Expression] = field(default_factory=dict)


def skew(check: Skew, target: Noun, scene: Scene) -> Verdict:
    """Every logged look-up of an endpoint, or of one features noun behind any endpoint, compared in bits with the
    offline reader.

    Each is held against the definitions that its model's version pinned, at the positions that it logged; features over
    a table by when its rows are known. Rows of tables that came too late for a look-up, or have been restated since,
    are counted, with the lag that the table would need. So are values that count events which arrived after the
    look-up's moment, where that was in the past: online, all that was applied counts. Left out, and counted in the
    details: what the look-up itself called inexact, and what it had seen that has not landed in the lake yet.
    """
    found, lookups, gone = Compared(), 0, list[str]()
    examples: list[dict[str, Any]] = []
    definitions: dict[str, Definition] = {}
    for endpoint in scene.engines.project.endpoints.values():
        if isinstance(target, Endpoint) and endpoint.name != target.name:
            continue
        table = scene.table(endpoint.decisions)
        if table is None:
            continue
        since = _since(check, scene, table)
        answered = _answered(scene, table, since)
        groups, lost = _pinned(scene.engines.tracking, answered, target)
        gone += lost
        for pinned in groups:
            definitions |= {
                definition.generation: definition for definition, _, _ in pinned.uses if not definition.live
            }
            lookups += sum(answered[version] for version in pinned.versions)
            for part in _logged(scene, table, pinned, since):
                some = compare(scene.engines.sql, scene.engines.lake, part, pinned.uses, pinned.taken, pinned.derived)
                told = (
                    {row["_row"]: row for row in part.select(["_row", "decision_id", "model", "version"]).to_pylist()}
                    if some.examples
                    else {}
                )
                examples += [
                    {
                        "endpoint": endpoint.name,
                        "model": f"{told[d.row]['model']}@{told[d.row]['version']}",
                        "decision_id": told[d.row]["decision_id"],
                        "column": d.column,
                        "online": d.online,
                        "offline": d.offline,
                    }
                    for d in some.examples
                ]
                found += some
    return _verdict(found, lookups, gone, examples, _tables(scene, definitions, found.seen))


def _tables(
    scene: Scene, definitions: Mapping[str, Definition], seen: Mapping[str, Mapping[int, int]]
) -> dict[str, dict[str, Any]]:
    """Table -> what its look-ups missed: rows late and restated, its lag, and the lag that it would need."""
    found: dict[str, Missed] = {}
    for generation, versions in seen.items():
        definition = definitions[generation]
        if scene.engines.lake.exists(definition.stream):
            part, known = (
                missed(scene.engines.sql, scene.engines.lake, definition, versions),
                found.get(definition.stream, Missed()),
            )
            # Two definitions over one table miss the same rows.
            found[definition.stream] = Missed(
                *(max(a, b) for a, b in zip(vars(part).values(), vars(known).values(), strict=True))
            )
    rules = {noun.source.name: noun.source.known for noun in _features(scene) if isinstance(noun.source, Table)}
    told = {}
    for name, one in found.items():
        rule = rules.get(name)
        lag = None if rule is None or rule.missing else rule.lag_us
        told[name] = {
            "late": one.late,
            "restated": one.restated,
            "unread_versions": one.unread,
            "lag": None if lag is None else spell(lag),
            "declare": spell(_whole((lag or 0) + one.longer_us)) if one.late else None,
        }
    return told


def _features(scene: Scene) -> Iterator[Features]:
    """The features that the endpoints' models take."""
    for endpoint in scene.engines.project.endpoints.values():
        for ref in endpoint.refs():
            yield from (noun for noun in ref.model.on.upstream() if isinstance(noun, Features))


def _whole(length_us: int) -> int:
    """Up to the next whole minute; hour, from a day on."""
    unit = UNITS["m"] if length_us < UNITS["d"] else UNITS["h"]
    return -(-length_us // unit) * unit


def _missed(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """In words."""
    said = []
    for name, one in tables.items():
        if one["late"]:
            lag = f"later than its lag of {one['lag']}" if one["lag"] else "after they should have been known"
            said.append(
                f'{one["late"]:,} rows of "{name}" came {lag}, and none would be late with lag="{one["declare"]}"'
            )
        if one["restated"]:
            said.append(f'{one["restated"]:,} rows of "{name}" were restated after look-ups had counted them')
        if one["unread_versions"]:
            said.append(f'{one["unread_versions"]:,} versions of "{name}" that answered are gone from the lake')
    return f"; {'; '.join(said)}" if said else ""


def _verdict(
    found: Compared,
    lookups: int,
    gone: list[str],
    examples: list[dict[str, Any]],
    tables: Mapping[str, Mapping[str, Any]],
) -> Verdict:
    details = {
        "lookups": lookups,
        "compared": found.rows,
        "values": found.values,
        "inexact": found.inexact,
        "ahead": found.ahead,
        "look_ahead": found.look_ahead,
        "differ": dict(found.differ),
        "examples": examples[:20],
        "versions_gone": gone,
        "tables": dict(tables),
    }
    left = [
        text
        for n, text in (
            (found.ahead, f"{found.ahead:,} look-ups had seen what has not landed yet"),
            (
                found.inexact,
                f"{counted(found.inexact, 'value was', 'values were')} looked up for a moment too old to be exact",
            ),
            (len(gone), f"the files of {', '.join(gone)} are gone"),
        )
        if n
    ]
    late = (
        f"; {found.look_ahead:,} values for moments in the past are not those of that moment: events came later, or"
        " were sent as history since"
        if found.look_ahead
        else ""
    )
    rest = f"; left out: {', '.join(left)}" if left else ""
    if not found.values:
        return Verdict(
            "skew",
            "unknown",
            None,
            0.0,
            (f"{lookups:,} look-ups, none of which can be compared" if lookups else "no look-ups yet") + rest,
            details,
        )
    differ = sum(found.differ.values())
    told = f"{differ:,} of {found.values:,} values on {found.rows:,} look-ups differ from offline"
    named = f": {', '.join(sorted(found.differ))}" if differ else ""
    return Verdict(
        "skew",
        "violated" if differ else "ok",
        float(differ),
        0.0,
        told + named + late + _missed(tables) + rest,
        details,
    )


def _since(check: Skew, scene: Scene, table: Snapshot) -> str:
    """The condition of the window that ends at the newest look-up that the wall clock has reached."""
    newest = (
        None
        if check.window_us is None
        else scene.row(f"select max(epoch_us(ts)) as newest from t where {scene.past('ts')}", table)["newest"]
    )
    return "true" if newest is None else f"epoch_us(ts) > {newest - (check.window_us or 0)} and {scene.past('ts')}"


def _answered(scene: Scene, table: Snapshot, since: str) -> dict[tuple[str, int], int]:
    """Look-ups of each version."""
    text = (
        f"select model, version, count(*) as n from t where model is not null and version is not null and {since} group"
        " by model, version order by 1, 2"
    )
    return {(row["model"], int(row["version"])): row["n"] for row in scene.rows(text, table)}


def _pinned(tracking: Tracking, versions: Iterable[tuple[str, int]], target: Noun) -> tuple[list[_Pinned], list[str]]:
    """Versions by their features, those without any left out; and the names of those whose files are gone."""
    groups: dict[str, _Pinned] = {}
    gone = []
    for model, version in versions:
        try:
            said = manifest(tracking, model, version)
        except NotFound:
            gone.append(f"{model}@{version}")
            continue
        told = [
            use
            for use in said["features"]
            if not isinstance(target, Features) or use["features"] == (target.base or target).name
        ]
        whole = len(told) == len(said["features"])  # a derived column may read any of them
        key = json.dumps(
            [
                told,
                {name: said[name] for name in ("derive", "fields", "project_params") if name in said} if whole else {},
            ],
            sort_keys=True,
        )
        if told and key not in groups:
            uses: list[Use] = [from_json(use) for use in told]
            groups[key] = _Pinned(
                uses, [column for use in told for column in use["taken"]], [], derived(said, uses) if whole else {}
            )
        if told:
            groups[key].versions.append((model, version))
    return list(groups.values()), gone


def _logged(scene: Scene, table: Snapshot, pinned: _Pinned, since: str) -> Iterator[pa.Table]:
    """The look-ups of these versions, some at a time, as `compare` takes them."""
    keys = [column for _, key, _ in pinned.uses for column in key]
    made = [name for column, expression in pinned.derived.items() for name in (column, *expression.columns)]
    columns = [
        name
        for name in dict.fromkeys(
            [*made, "decision_id", "model", "version", ARRIVED_AT, "as_of", "reasons", *keys, *pinned.taken]
        )
        if name in table.schema.names
    ]
    text = f"""select row_number() over () as _row, ts as _t, {", ".join(map(quoted, columns))} from t
               where model || '@' || version in (select unnest($versions::varchar[])) and {since}"""
    held: list[pa.RecordBatch] = []
    for batch in scene.engines.sql.query(
        text, {"t": table}, {"versions": [f"{model}@{version}" for model, version in pinned.versions]}
    ):
        held.append(batch)
        if sum(b.num_rows for b in held) >= ROWS:
            yield pa.Table.from_batches(held)
            held = []
    if held:
        yield pa.Table.from_batches(held)
