"""Which rows are held against which training set.

An endpoint's decisions have the columns of all its models, and each row fills those of the model that answered it. So
the rows of a version are compared with the set, at the version, that it was trained on: beside another model's set a
column would "drift" by the other arm's share of rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from millstream.base.errors import NotFound
from millstream.declare.endpoint import Endpoint
from millstream.declare.monitor import Drift
from millstream.declare.noun import Noun
from millstream.train.dataset import Dataset
from millstream.train.predictor import manifest
from millstream.watch.scene import Scene

if TYPE_CHECKING:
    from millstream.lake.port import Snapshot
    from millstream.train.port import Tracking

_ANSWERED = "model || '@' || version in (select unnest($versions::varchar[]))"


@dataclass(frozen=True)
class Reference:
    """A version of a training set: what rows are compared with."""

    name: str
    version: int
    fingerprint: str
    columns: tuple[str, ...]

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Part:
    """Rows with one reference.

    Attributes:
        of: The versions that answered them, "trees@1, trees@2"; "" when they are all the rows there are.
        columns: To compare, as far as the rows have them.
        where: SQL over `t` that picks them, with `params`.
    """

    of: str
    reference: Reference
    columns: tuple[str, ...]
    table: Snapshot
    where: str = "true"
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answered:
    """The parts of a window.

    Attributes:
        left: What is not compared, as the end of a sentence: "; 12 that no model answered are left out".
        lacks: Why there is no part; "" otherwise.
    """

    parts: list[Part]
    left: str = ""
    lacks: str = ""


def parts(check: Drift, target: Noun, scene: Scene, table: Snapshot, since: str, stored: Dataset | None) -> Answered:
    """The rows of a window by what they are to be compared with.

    A check against a set that none of the versions was trained on compares the rows of each with that set, in the
    columns that the version has.

    Args:
        since: SQL that picks the window.
        stored: `check.against` as last made; the reference of streams, tables, and endpoints that no model answers.
    """
    against = None if stored is None else Reference(stored.name, stored.version, stored.fingerprint, stored.columns)
    alone = (
        Answered([Part("", against, against.columns, table)])
        if against
        else Answered([], lacks=f'the training set "{check.against.name}" was never made')
    )
    if not isinstance(target, Endpoint):
        return alone
    found = scene.rows(f"select model, version, count(*) as n from t where {since} group by all order by all", table)
    versions = {
        (row["model"], int(row["version"])): row["n"]
        for row in found
        if row["model"] is not None and row["version"] is not None
    }
    if not versions:
        return alone
    trained, gone = _trained(scene.engines.tracking, scene, versions)
    groups = {(reference, reference.columns): names for reference, names in trained.items()}
    if trained and check.against.name not in {reference.name for reference in trained}:
        if against is None:
            return alone
        groups = {}
        for own, names in trained.items():
            groups.setdefault((against, tuple(c for c in against.columns if c in own.columns)), []).extend(names)
    made = [
        Part("" if len(groups) == 1 else ", ".join(names), reference, columns, table, _ANSWERED, {"versions": names})
        for (reference, columns), names in groups.items()
    ]
    unanswered = sum(row["n"] for row in found) - sum(versions.values())
    left = f"; {unanswered:,} that no model answered are left out" if unanswered else ""
    left += f"; the training sets of {', '.join(gone)} are gone" if gone else ""
    return Answered(made, left, "" if made else f"the training sets of {', '.join(gone)} are gone")


def _trained(
    tracking: Tracking, scene: Scene, versions: Mapping[tuple[str, int], int]
) -> tuple[dict[Reference, list[str]], list[str]]:
    """Training set -> the versions that were trained on it; and versions whose files, or whose set's, are gone."""
    found: dict[Reference, list[str]] = {}
    gone = []
    for model, version in versions:
        try:
            told = manifest(tracking, model, version)
            held = told["dataset"]
            scene.engines.lake.table(held["name"]).snapshot(held["version"])
        except NotFound:
            gone.append(f"{model}@{version}")
            continue
        reference = Reference(held["name"], held["version"], held["fingerprint"], tuple(told["columns"]))
        found.setdefault(reference, []).append(f"{model}@{version}")
    return found, gone
