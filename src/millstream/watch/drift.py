"""Drift: a stored profile of a training set against one of the rows that came in, each made by one scan.

Of an endpoint, each version's rows are compared with the set that the version was trained on (`answered.py`).

Numbers: Kolmogorov-Smirnov distance. Categories: total variation distance, over buckets of a hash too where they are
too many to list. NULLs, NaN and infinities, and unseen categories: on their own, as shares. A column of another type
has moved whole. Each distance is held against the tolerance plus an allowance for the samples' sizes, never against a
p-value, which at a million rows fires on everything:

- a distribution function from n rows is within sqrt(ln(2 / a) / 2n) of the truth with probability 1 - a (Dvoretzky,
  Kiefer, Wolfowitz; the constant is Massart's, 1990); a share likewise (Hoeffding 1963);
- k category shares from n rows are within sqrt((k ln 2 + ln(1 / a)) / 2n) in total variation (Weissman et al. 2003);
- what n rows of k categories have not shown is at most k / (e n) + sqrt(ln(1 / a) / n) of the truth (McAllester and
  Ortiz 2003).

Both samples are allowed for, and what the profile itself rounds away (its quantiles' step). `a` is 0.01 over all looks
at all columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from millstream.base.errors import Incompatible
from millstream.base.sql import quoted
from millstream.base.words import counted
from millstream.declare.endpoint import Endpoint
from millstream.declare.monitor import Drift
from millstream.declare.noun import Noun
from millstream.train.dataset import latest
from millstream.transform.buckets import BUCKETS, Buckets, bucketed, of_listed
from millstream.transform.profile import Column, Profile, profile
from millstream.watch.answered import Part, Reference, parts
from millstream.watch.scene import Scene, table_of, time_of
from millstream.watch.verdict import Verdict, unknown

ALPHA = 0.01
_FOLDS = (BUCKETS, 256, 16)  # fine buckets tell rare categories apart, coarse ones need few rows
WORDS = {
    "ks": "distribution",
    "tv": "shares of categories",
    "nulls": "share of NULL",
    "unseen": "share unseen before",
    "odd": "share of NaN and infinities",
    "type": "type",
}
"""What each kind of distance compares, for people."""
_REST = "\0"  # all that a list leaves out; no text of a lake is this


class Distance(NamedTuple):
    """How far one column has moved.

    Attributes:
        column: Its name.
        kind: "ks", "tv", "nulls", "odd" (NaN and infinities), "unseen" or "type".
        value: The distance, 0 to 1.
        allowance: What chance and the profile's rounding can make of no change at all.
        status: "drifted" when value > tolerance + allowance; "unknown" when it is not and the allowance is larger than
            the tolerance (not enough data); else "ok".
        of: The versions whose rows these are, when the rows of one endpoint have several training sets; else "".
    """

    column: str
    kind: str
    value: float
    allowance: float
    status: str
    of: str = ""

    @property
    def name(self) -> str:
        return f"{self.column} of {self.of}" if self.of else self.column


@dataclass(frozen=True)
class Sample:
    """Rows as they are compared: their profile, and the buckets of categories that it does not list whole."""

    profile: Profile
    buckets: Mapping[str, Buckets] = field(default_factory=dict)


def dkw(rows: int, alpha: float = ALPHA) -> float:
    """The greatest distance between a distribution function and the one of `rows` drawn from it, with probability 1 -
    alpha.

    >>> round(dkw(10_000, 0.05), 4)
    0.0136
    """
    return 1.0 if rows <= 0 else min(1.0, math.sqrt(math.log(2 / alpha) / (2 * rows)))


def weissman(categories: int, rows: int, alpha: float = ALPHA) -> float:
    """The same for total variation over so many categories."""
    return 1.0 if rows <= 0 else min(1.0, math.sqrt((categories * math.log(2) + math.log(1 / alpha)) / (2 * rows)))


def missing_mass(categories: int, rows: int, alpha: float = ALPHA) -> float:
    """The share of the truth that so many rows may have shown nothing of."""
    return 1.0 if rows <= 0 else min(1.0, categories / (math.e * rows) + math.sqrt(math.log(1 / alpha) / rows))


def ks(reference: Sequence[float], window: Sequence[float]) -> float:
    """The greatest distance between two distribution functions, each given by its quantiles at even steps from 0 to 1.

    Both functions are looked at on and just before every quantile, so masses at one value count whole. The result is
    within one step of each of the two of the exact distance.
    """
    first, second = np.asarray(reference, float), np.asarray(window, float)
    if not len(first) or not len(second):
        return 0.0
    points = np.union1d(first, second)
    return max(
        float(np.abs(_below(first, points, side) - _below(second, points, side)).max()) for side in ("right", "left")
    )


def _below(quantiles: np.ndarray[Any, Any], points: np.ndarray[Any, Any], side: Any) -> np.ndarray[Any, Any]:
    """Share of the rows <= (right) or < (left) each point. Between two quantiles it lies on the line through them."""
    steps = max(len(quantiles) - 1, 1)
    on = np.searchsorted(quantiles, points, side=side)
    exact = np.isin(points, quantiles)
    before, after = np.clip(on - 1, 0, steps), np.clip(on, 0, steps)
    width = quantiles[after] / 2 - quantiles[before] / 2  # in halves, whose difference is a double whatever the two are
    inside = np.where(width > 0, (points / 2 - quantiles[before] / 2) / np.where(width > 0, width, 1.0), 0.0)
    at_value = np.where(side == "right", on - 1, on) / steps
    share = np.where(exact, at_value, (on - 1 + inside) / steps)
    return np.asarray(
        np.where(on <= 0, 0.0, np.where((on > steps) & (points > quantiles[-1]), 1.0, np.clip(share, 0.0, 1.0)))
    )


def total_variation(reference: Mapping[str, float], window: Mapping[str, float]) -> float:
    """Half the sum of the differences of the shares.

    >>> total_variation({"a": 0.5, "b": 0.5}, {"a": 0.5, "c": 0.5})
    0.5
    """
    return 0.5 * math.fsum(abs(reference.get(name, 0.0) - window.get(name, 0.0)) for name in {*reference, *window})


def judged(column: str, kind: str, value: float, allowance: float, tolerance: float) -> Distance:
    """A distance with its verdict."""
    status = "drifted" if value > tolerance + allowance else "unknown" if allowance > tolerance else "ok"
    return Distance(column, kind, value, allowance, status)


def drift(check: Drift, target: Noun, scene: Scene) -> Verdict:
    """The columns of a training set as they come in now, against the set as it was stored; the verdict's value is the
    distance that is furthest beyond its allowance.

    A set's profile is made once for each version and kept in the state; the window's ends at the newest event that the
    wall clock has reached.
    """
    name, time = table_of(target), "ts" if isinstance(target, Endpoint) else time_of(target)
    table = scene.table(name)
    if table is None or time is None:
        return unknown("drift", f"{target} holds nothing yet" if time else f"{target} has no time", check.tolerance)
    past = scene.past(time)
    newest = scene.row(f"select max(epoch_us({quoted(time)})) as newest from t where {past}", table)["newest"]
    if newest is None:
        return unknown("drift", f"{target} holds nothing yet", check.tolerance)
    since = f"{past} and epoch_us({quoted(time)}) > {newest - check.window_us}"
    answered = parts(check, target, scene, table, since, latest(check.against.name, scene.engines.lake))
    found: list[Distance] = []
    told: list[dict[str, Any]] = []
    for part in answered.parts:
        columns = [c for c in part.columns if c in table.schema.names]
        if not columns:
            continue
        reference = _reference(part.reference, scene)
        window = _window(part, columns, since, scene)
        told.append(
            {
                "of": part.of,
                "against": part.reference.label,
                "reference_rows": reference.profile.rows,
                "window_rows": window.profile.rows,
            }
        )
        before, now = ({c.name: c for c in sample.profile.columns} for sample in (reference, window))
        distances = compare(before, now, check.tolerance, (reference.buckets, window.buckets), len(answered.parts))
        found += [d._replace(of=part.of) for d in distances]
    if not told:
        return unknown(
            "drift", answered.lacks or f'{target} and "{check.against.name}" have no column in common', check.tolerance
        )
    return _verdict(sorted(found, key=lambda d: d.allowance - d.value), told, answered.left, check)


def _window(part: Part, columns: Sequence[str], since: str, scene: Scene) -> Sample:
    rows = scene.engines.sql.query(
        f"select {', '.join(map(quoted, columns))} from t where {since} and {part.where}",
        {"t": part.table},
        part.params,
    ).read_all()
    made = profile(scene.engines.sql, rows, columns)
    return Sample(made, bucketed(scene.engines.sql, rows, made))


def _reference(of: Reference, scene: Scene) -> Sample:
    """The profile of a version of a set, as kept; made when it is first needed."""
    key = f"{of.name}@{of.fingerprint}"
    kept = scene.engines.state.get("profile", key)
    if kept is not None and "buckets" in kept.value:
        with suppress(Incompatible):  # written in another form: made again
            return Sample(
                Profile.from_dict(kept.value), {name: dict(pairs) for name, pairs in kept.value["buckets"].items()}
            )
    snapshot = scene.engines.lake.table(of.name).snapshot(of.version)
    made = profile(scene.engines.sql, snapshot, list(of.columns))
    counted = bucketed(scene.engines.sql, snapshot, made)
    scene.engines.state.put(
        "profile",
        key,
        {**made.to_dict(), "buckets": {name: list(map(list, counts.items())) for name, counts in counted.items()}},
    )
    return Sample(made, counted)


def _verdict(found: list[Distance], told: list[dict[str, Any]], left: str, check: Drift) -> Verdict:
    before, now = (sum(part[of] for part in told) for of in ("reference_rows", "window_rows"))
    drifted, unsure = [d for d in found if d.status == "drifted"], [d for d in found if d.status == "unknown"]
    columns = list(dict.fromkeys(d.name for d in found))
    details = {"reference_rows": before, "window_rows": now, "parts": told, "distances": [d._asdict() for d in found]}
    rows = f"{counted(now, 'row')} against {before:,}{left}"
    if drifted:
        far = list(dict.fromkeys(d.name for d in drifted))
        first = max(drifted, key=lambda d: d.value - d.allowance)
        text = (
            f"{len(far)} of {counted(len(columns), 'column')} {'has' if len(far) == 1 else 'have'} drifted by more than"
            f" {check.tolerance:g}, furthest {first.name} ({first.kind} {first.value:.3f}, chance explains"
            f" {first.allowance:.3f}); {rows}"
        )
        return Verdict("drift", "drifted", first.value, check.tolerance, text, details)
    furthest = max(found, key=lambda d: d.value, default=None)
    value = furthest.value if furthest else 0.0
    if unsure and len(unsure) == len(found):
        return Verdict(
            "drift",
            "unknown",
            value,
            check.tolerance,
            f"not enough data to tell a distance of {check.tolerance:g}: {rows}",
            details,
        )
    few = f"; {counted(len(unsure), 'distance has', 'distances have')} too few rows to tell" if unsure else ""
    return Verdict(
        "drift",
        "ok",
        value,
        check.tolerance,
        f"{counted(len(columns), 'column is', 'columns are')} within {check.tolerance:g}, furthest "
        f"{furthest.name if furthest else 'none'} ({value:.3f}); {rows}{few}",
        details,
    )


def compare(
    reference: Mapping[str, Column],
    window: Mapping[str, Column],
    tolerance: float,
    buckets: tuple[Mapping[str, Buckets], Mapping[str, Buckets]] = ({}, {}),
    parts: int = 1,
) -> list[Distance]:
    """Every distance of every column that both have, the furthest beyond its allowance first.

    Args:
        buckets: Of the reference's and the window's categories that are not listed whole.
        parts: So many such comparisons share the chance of a false alarm.
    """
    pairs = [(c, reference[c], window[c]) for c in reference if c in window]
    alpha = ALPHA / max(1, 2 * parts * sum(_looks(old, new) for _, old, new in pairs))
    found = [d for c, old, new in pairs for d in _column(c, old, new, tolerance, alpha, *(of.get(c) for of in buckets))]
    return sorted(found, key=lambda d: d.allowance - d.value)


def _looks(old: Column, new: Column) -> int:
    """How often chance may raise an alarm about a column, at most; two samples each."""
    return (
        3
        if old.kind == "number"
        else 1
        if old.kind != "category"
        else 3
        if old.complete and new.complete
        else 2 + len(_FOLDS)
    )


def _column(
    name: str,
    old: Column,
    new: Column,
    tolerance: float,
    alpha: float,
    buckets: Buckets | None = None,
    now: Buckets | None = None,
) -> Iterable[Distance]:
    share = abs(_share(old.nulls, old.rows) - _share(new.nulls, new.rows))
    both = dkw(old.rows, alpha) + dkw(new.rows, alpha)
    yield judged(name, "nulls", share, both, tolerance)
    if old.odd or new.odd:
        yield judged(name, "odd", abs(_share(old.odd, old.rows) - _share(new.odd, new.rows)), both, tolerance)
    if old.kind != new.kind:
        yield judged(name, "type", 1.0, 0.0, tolerance)
    elif not old.known or not new.known:
        return
    elif old.kind == "number":
        rounding = 1 / max(len(old.quantiles) - 1, 1) + 1 / max(len(new.quantiles) - 1, 1)
        yield judged(
            name,
            "ks",
            ks(old.quantiles, new.quantiles),
            dkw(old.known, alpha) + dkw(new.known, alpha) + rounding,
            tolerance,
        )
    elif old.kind == "category":  # of times nothing more: they move on, and that is no drift
        before, after = (
            of_listed(dict(c.top)) if c.complete else counted for c, counted in ((old, buckets), (new, now))
        )
        yield judged(name, "tv", *_variation(old, new, before, after, tolerance, alpha), tolerance)
        unseen = _unseen(old, new, before, after)
        if unseen is not None:
            categories = max(len({*old.shares, *new.shares}), new.distinct) if old.complete else BUCKETS
            yield judged(
                name, "unseen", unseen, missing_mass(categories, old.known, alpha) + dkw(new.known, alpha), tolerance
            )


def _variation(
    old: Column, new: Column, before: Buckets | None, after: Buckets | None, tolerance: float, alpha: float
) -> tuple[float, float]:
    """Total variation with its allowance. Where a list is cut, buckets of the size that says most: a list's own choice
    of what is frequent is biased.
    """
    if (old.complete and new.complete) or not before or not after:
        return _apart(_listed(old, new), _listed(new, old), old.known, new.known, alpha)
    folded = [
        [_folded(counted, known, size) for counted, known in ((before, old.known), (after, new.known))]
        for size in _FOLDS
    ]
    looks = [_apart(first, second, old.known, new.known, alpha) for first, second in folded]
    furthest = max(looks, key=lambda look: look[0] - look[1])
    if furthest[0] - furthest[1] > tolerance:
        return furthest
    return next((look for look in looks if look[1] <= tolerance), min(looks, key=lambda look: look[1]))


def _apart(
    before: Mapping[str, float], after: Mapping[str, float], rows: int, now: int, alpha: float
) -> tuple[float, float]:
    categories = len({*before, *after})
    return total_variation(before, after), weissman(categories, rows, alpha) + weissman(categories, now, alpha)


def _folded(counted: Buckets, known: int, size: int) -> dict[str, float]:
    """Shares by buckets of a smaller number."""
    made: dict[str, float] = {}
    for at, count in counted.items():
        made[str(at % size)] = made.get(str(at % size), 0.0) + count / known
    return made


def _unseen(old: Column, new: Column, before: Buckets | None, after: Buckets | None) -> float | None:
    """At least this share of the window's rows is of categories that the reference did not have; None when nothing
    tells.
    """
    listed = hashed = None
    if old.complete:
        listed = math.fsum(s for category, s in new.shares.items() if category not in old.shares)
    if before and after and not (old.complete and new.complete):
        hashed = math.fsum(count for at, count in after.items() if at not in before) / new.known
    return None if listed is None and hashed is None else max(listed or 0.0, hashed or 0.0)


def _listed(column: Column, other: Column) -> dict[str, float]:
    """Shares of what is listed, and of all else as one category.

    What the other's list does not have is less frequent there than all that it has. A share is taken for gone there
    only when it is twice that: of categories that are equally frequent each list has others.
    """
    if column.complete and other.complete:
        return column.shares
    least = 0.0 if other.complete else min(other.shares.values(), default=1.0)
    kept = {
        category: share for category, share in column.shares.items() if category in other.shares or share > 2 * least
    }
    return kept | {_REST: max(0.0, 1.0 - math.fsum(kept.values()))}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
