"""Drift: a stored profile of the training set against one of the window, each made by one scan.

Numbers: Kolmogorov-Smirnov distance. Categories: total variation distance. NULLs and unseen categories: on their own, as
shares. Each distance is held against the tolerance plus an allowance for the samples' sizes, never against a p-value, which
at a million rows fires on everything:

- a distribution function from n rows is within sqrt(ln(2 / a) / 2n) of the truth with probability 1 - a (Dvoretzky, Kiefer,
  Wolfowitz; the constant is Massart's, 1990); a share likewise (Hoeffding 1963);
- k category shares from n rows are within sqrt((k ln 2 + ln(1 / a)) / 2n) in total variation (Weissman et al. 2003).

Both samples are allowed for, and what the profile itself rounds away (its quantiles' step). `a` is 0.01 over all columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from millstream.declare.endpoint import Endpoint
from millstream.declare.errors import Incompatible
from millstream.declare.monitor import Drift
from millstream.declare.noun import Noun
from millstream.train.dataset import Dataset, latest
from millstream.transform.profile import Column, Profile, profile
from millstream.watch.scene import Scene, quoted, table_of, time_of
from millstream.watch.verdict import Verdict, unknown

ALPHA = 0.01


class Distance(NamedTuple):
    """How far one column has moved.

    Attributes:
        column: Its name.
        kind: "ks", "tv", "nulls" or "unseen".
        value: The distance, 0 to 1.
        allowance: What chance and the profile's rounding can make of no change at all.
        status: "drifted" when value > tolerance + allowance; "unknown" when it is not and the allowance is larger than
            the tolerance (not enough data); else "ok".
    """

    column: str
    kind: str
    value: float
    allowance: float
    status: str


def dkw(rows: int, alpha: float = ALPHA) -> float:
    """The greatest distance between a distribution function and the one of `rows` drawn from it, with probability 1 - alpha.

    >>> round(dkw(10_000, 0.05), 4)
    0.0136
    """
    return 1.0 if rows <= 0 else min(1.0, math.sqrt(math.log(2 / alpha) / (2 * rows)))


def weissman(categories: int, rows: int, alpha: float = ALPHA) -> float:
    """The same for total variation over so many categories."""
    return 1.0 if rows <= 0 else min(1.0, math.sqrt((categories * math.log(2) + math.log(1 / alpha)) / (2 * rows)))


def ks(reference: Sequence[float], window: Sequence[float]) -> float:
    """The greatest distance between two distribution functions, each given by its quantiles at even steps from 0 to 1.

    Both functions are looked at on and just before every quantile, so masses at one value count whole. The result is within
    one step of each of the two of the exact distance.
    """
    first, second = np.asarray(reference, float), np.asarray(window, float)
    if not len(first) or not len(second):
        return 0.0
    points = np.union1d(first, second)
    return max(float(np.abs(_below(first, points, side) - _below(second, points, side)).max()) for side in ("right", "left"))


def _below(quantiles: np.ndarray[Any, Any], points: np.ndarray[Any, Any], side: Any) -> np.ndarray[Any, Any]:
    """Share of the rows <= (right) or < (left) each point. Between two quantiles it lies on the line through them."""
    steps = max(len(quantiles) - 1, 1)
    on = np.searchsorted(quantiles, points, side=side)
    exact = np.isin(points, quantiles)
    before, after = np.clip(on - 1, 0, steps), np.clip(on, 0, steps)
    width = quantiles[after] - quantiles[before]
    inside = np.where(width > 0, (points - quantiles[before]) / np.where(width > 0, width, 1.0), 0.0)
    at_value = np.where(side == "right", on - 1, on) / steps
    share = np.where(exact, at_value, (on - 1 + inside) / steps)
    return np.asarray(np.where(on <= 0, 0.0, np.where((on > steps) & (points > quantiles[-1]), 1.0, np.clip(share, 0.0, 1.0))))


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
    """The columns of a training set as they come in now, against the set as it was stored; the verdict's value is the distance
    that is furthest beyond its allowance.

    The set's profile is made once for each version and kept in the state; the window's ends at the newest event that the wall clock has reached.
    """
    stored = latest(check.against.name, scene.lake)
    name, time = table_of(target), "ts" if isinstance(target, Endpoint) else time_of(target)
    table = scene.table(name)
    if stored is None or table is None or time is None:
        lacks = (
            f'the training set "{check.against.name}" was never made' if stored is None else f"{target} holds nothing yet" if time else f"{target} has no time"
        )
        return unknown("drift", lacks, check.tolerance)
    columns = [c for c in stored.columns if c in table.schema.names]
    if not columns:
        return unknown("drift", f'{target} and "{stored.name}" have no column in common', check.tolerance)
    past = scene.past(time)
    text = (f"select {', '.join(map(quoted, columns))} from t where {past} and "
            f"epoch_us({quoted(time)}) > (select max(epoch_us({quoted(time)})) from t where {past}) - {check.window_us}")  # fmt: skip
    window = profile(scene.sql, scene.sql.query(text, {"t": table}).read_all(), columns)
    if not window.rows:
        return unknown("drift", f"{target} holds nothing yet", check.tolerance)
    reference = _reference(stored, scene)
    found = compare({c.name: c for c in reference.columns}, {c.name: c for c in window.columns}, check.tolerance)
    return _verdict(found, reference.rows, window.rows, check)


def _reference(stored: Dataset, scene: Scene) -> Profile:
    """The profile of a version of the set, as kept; made when it is first needed."""
    key = f"{stored.name}@{stored.fingerprint}"
    kept = scene.state.get("profile", key)
    if kept is not None:
        with suppress(Incompatible):  # written in another form: made again
            return Profile.from_dict(kept.value)
    made = profile(scene.sql, scene.lake.table(stored.name).snapshot(stored.version), list(stored.columns))
    scene.state.put("profile", key, made.to_dict())
    return made


def _verdict(found: list[Distance], before: int, now: int, check: Drift) -> Verdict:
    drifted, unsure = [d for d in found if d.status == "drifted"], [d for d in found if d.status == "unknown"]
    columns = list(dict.fromkeys(d.column for d in found))
    details = {"reference_rows": before, "window_rows": now, "distances": [d._asdict() for d in found]}
    rows = f"{now:,} rows against {before:,}"
    if drifted:
        far = list(dict.fromkeys(d.column for d in drifted))
        first = max(drifted, key=lambda d: d.value - d.allowance)
        text = (f"{len(far)} of {len(columns)} columns have drifted by more than {check.tolerance:g}, furthest {first.column} "
                f"({first.kind} {first.value:.3f}, chance explains {first.allowance:.3f}); {rows}")  # fmt: skip
        return Verdict("drift", "drifted", first.value, check.tolerance, text, details)
    furthest = max(found, key=lambda d: d.value, default=None)
    value = furthest.value if furthest else 0.0
    if unsure and len(unsure) == len(found):
        return Verdict("drift", "unknown", value, check.tolerance, f"not enough data to tell a distance of {check.tolerance:g}: {rows}", details)
    few = f"; {len(unsure)} distances have too few rows to tell" if unsure else ""
    return Verdict("drift", "ok", value, check.tolerance, f"{len(columns)} columns are within {check.tolerance:g}, furthest "
                   f"{furthest.column if furthest else 'none'} ({value:.3f}); {rows}{few}", details)  # fmt: skip


def compare(reference: Mapping[str, Column], window: Mapping[str, Column], tolerance: float) -> list[Distance]:
    """Every distance of every column that both have, the furthest beyond its allowance first."""
    columns = [c for c in reference if c in window and reference[c].kind != "time"]  # time moves on, and that is no drift
    alpha = ALPHA / max(1, 2 * len(columns))
    found = [d for c in columns for d in _column(c, reference[c], window[c], tolerance, alpha)]
    return sorted(found, key=lambda d: d.allowance - d.value)


def _column(name: str, old: Column, new: Column, tolerance: float, alpha: float) -> Iterable[Distance]:
    share = abs(_share(old.nulls, old.rows) - _share(new.nulls, new.rows))
    yield judged(name, "nulls", share, dkw(old.rows, alpha) + dkw(new.rows, alpha), tolerance)
    if not old.known or not new.known:
        return
    if old.kind == new.kind == "number":
        rounding = 1 / max(len(old.quantiles) - 1, 1) + 1 / max(len(new.quantiles) - 1, 1)
        yield judged(name, "ks", ks(old.quantiles, new.quantiles), dkw(old.known, alpha) + dkw(new.known, alpha) + rounding, tolerance)
    elif old.kind == new.kind == "category":
        before, after = _listed(old, new), _listed(new, old)
        categories = len({*before, *after})
        yield judged(name, "tv", total_variation(before, after), weissman(categories, old.known, alpha) + weissman(categories, new.known, alpha), tolerance)
        if old.complete:
            unseen = 1.0 - math.fsum(s for category, s in new.shares.items() if category in old.shares)
            if not new.complete:
                unseen = math.fsum(s for category, s in new.shares.items() if category not in old.shares)
            yield judged(name, "unseen", max(0.0, unseen), dkw(new.known, alpha), tolerance)


def _listed(column: Column, other: Column) -> dict[str, float]:
    """Shares of what both list; when one lists only its most frequent, all else is one category."""
    if column.complete and other.complete:
        return column.shares
    common = {c: s for c, s in column.shares.items() if c in other.shares}
    return common | {"": max(0.0, 1.0 - math.fsum(common.values()))}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
