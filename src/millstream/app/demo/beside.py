"""The same project on other engines, beside the laptop's: tables row for row, metrics of models, numbers of
experiments.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millstream.base.event import ENVELOPE
from millstream.base.sql import quoted
from millstream.run.workspace import Workspace

if TYPE_CHECKING:
    from millstream.lake.port import Snapshot
    from millstream.transform.port import Sql

ROUNDING = 1e-9
"""Relative difference of metrics that summing in another order may make."""


@dataclass(frozen=True)
class Compared:
    """One thing on both sides. `differ` is the number of rows that one side alone has; None for a number."""

    what: str
    here: str
    there: str
    same: bool
    differ: int | None = None


def compare(here: Workspace, there: Workspace, experiments: Mapping[str, list[dict[str, Any]]]) -> list[Compared]:
    """Everything that must not depend on the engines. A bandit's draws hang on when its rewards came, so of bandits and
    of the decisions that they made only the numbers of rows are compared.

    Args:
        experiments: "here" and "there" -> what `experiment show --json` said.
    """
    return [*_tables(here, there), *_models(here, there), *_experiments(experiments["here"], experiments["there"])]


def beside(folder: Path) -> Workspace:
    """The laptop's project, that was made before."""
    return Workspace.open(str(folder), "laptop")


def _tables(here: Workspace, there: Workspace) -> Iterator[Compared]:
    project = here.project
    bandits = {e.decisions for e in project.endpoints.values() if any(x.assign.method != "ab" for x in e.experiments)}
    for name in [*project.streams, *project.tables, *project.training_sets, *sorted(bandits)]:
        ours, theirs = (ws.lake.table(name) if ws.lake.exists(name) else None for ws in (here, there))
        if ours is None or theirs is None:
            yield Compared(
                f"table {name}",
                "absent" if ours is None else "there",
                "absent" if theirs is None else "there",
                same=ours is theirs,
            )
            continue
        differ = None if name in bandits else differing(there.sql, ours.snapshot(), theirs.snapshot())
        yield Compared(
            f"table {name}",
            f"{ours.rows():,} rows",
            f"{theirs.rows():,} rows",
            same=ours.rows() == theirs.rows() and not differ,
            differ=differ,
        )


def differing(sql: Sql, ours: Snapshot, theirs: Snapshot) -> int:
    """Rows, without the envelope, that one side alone has, as many times as it has them more often."""
    names = [name for name in ours.schema.names if name not in ENVELOPE and name in theirs.schema.names]
    missing = len(set(ours.schema.names) ^ set(theirs.schema.names))
    columns = ", ".join(map(quoted, names))
    only = "select count(*) as n from (select {c} from {a} except all select {c} from {b})"
    counts = [
        sql.query(only.format(c=columns, a=a, b=b), {"ours": ours, "theirs": theirs}).read_all()["n"][0].as_py()
        for a, b in (("ours", "theirs"), ("theirs", "ours"))
    ]
    return int(sum(counts)) + missing


def _models(here: Workspace, there: Workspace) -> Iterator[Compared]:
    for name in here.project.models:
        ours, theirs = (
            [(v.number, ws.tracking.run(v.run_id).metrics) for v in ws.tracking.versions(name)] for ws in (here, there)
        )
        for (number, mine), (_, other) in zip(ours, theirs, strict=False):
            for metric in mine:
                yield _number(f"model {name}@{number}, {metric}", mine[metric], other.get(metric))
        if len(ours) != len(theirs):
            yield Compared(f"model {name}", f"{len(ours)} versions", f"{len(theirs)} versions", same=False)


def _experiments(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> Iterator[Compared]:
    others = {e["name"]: e for e in theirs}
    for experiment in ours:
        other = others.get(experiment["name"])
        if other is None:
            yield Compared(f"experiment {experiment['name']}", "there", "absent", same=False)
            continue
        mine, yours = (sum(arm["units"] for arm in e["arms"]) for e in (experiment, other))
        yield Compared(f"experiment {experiment['name']}, units", f"{mine:,}", f"{yours:,}", same=mine == yours)
        if experiment["method"] != "ab":
            continue
        for arm, its in zip(experiment["arms"], other["arms"], strict=True):
            for of in ("units", "mean", "effect"):
                if arm.get(of) is not None:
                    yield _number(f"experiment {experiment['name']}, {arm['arm']}, {of}", arm[of], its.get(of))


def _number(what: str, here: float, there: float | None) -> Compared:
    if there is None:
        return Compared(what, f"{here:.6g}", "absent", same=False)
    return Compared(
        what, f"{here:.6g}", f"{there:.6g}", same=math.isclose(here, there, rel_tol=ROUNDING, abs_tol=1e-12)
    )
